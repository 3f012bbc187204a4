"""The whole product in a page: read this first."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import trainwell as tw
from trainwell.core.record import read_readings
from trainwell.train.reporter import Silence

QUICK = {"epochs": 3, "seed": 0, "reporter": Silence(), "set": {"machine.threads": 1}}


def test_fit_learns_two_moons_and_leaves_a_run_folder(tmp_path: Path) -> None:
    run = tw.fit("points:kind=moons,samples=600", out=tmp_path / "run", **QUICK | {"epochs": 10})
    assert run.test_accuracy is not None
    assert run.test_accuracy > 0.8
    names = {path.name for path in run.path.iterdir()}
    assert {"recipe.yaml", "data.json", "machine.json", "record.jsonl", "timing.jsonl", "checkpoints"} <= names


def test_a_run_is_a_function_of_its_resolved_recipe(tmp_path: Path) -> None:
    first = tw.fit("points:kind=xor,samples=300", out=tmp_path / "a", **QUICK)
    second = tw.fit(recipe=first.path / "recipe.yaml", out=tmp_path / "b", reporter=Silence())
    assert second.recipe.id == first.recipe.id
    assert (second.path / "record.jsonl").read_bytes() == (first.path / "record.jsonl").read_bytes()


def test_what_was_measured_can_be_read_by_anyone(tmp_path: Path) -> None:
    run = tw.fit("points:kind=moons,samples=300", out=tmp_path / "run", **QUICK)
    losses = read_readings(run.path / "record.jsonl", name="train/loss")
    assert [reading.step for reading in losses] == list(range(len(losses)))
    assert losses[-1].value < losses[0].value


def test_any_network_and_any_samples_of_your_own(tmp_path: Path) -> None:
    inputs = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    run = tw.fit((inputs, (inputs[:, 0] > 0).long()), model=nn.Linear(5, 2), out=tmp_path / "run", **QUICK)
    assert isinstance(run.model, nn.Linear)
    assert run.val_accuracy is not None


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    words = [
        "fit",
        "points:kind=moons,samples=300",
        "--epochs",
        "2",
        "--seed",
        "3",
        "--set",
        "machine.threads=1",
        "--json",
        "--out",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "trainwell", *words, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    run = tw.fit("points:kind=moons,samples=300", out=tmp_path / "same", **QUICK | {"epochs": 2, "seed": 3})
    assert answer["test_accuracy"] == run.test_accuracy
    assert answer.keys() >= {"run", "val_accuracy", "test_accuracy", "seconds"}
    assert "epoch 1/2: loss " in done.stdout
