"""What a recipe leaves open is decided once, by rules, each with its reason, and never again."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.core import machine
from trainwell.core.recipe import Recipe
from trainwell.train import resolve
from trainwell.train.reporter import Silence
from trainwell.train.run import Run
from trainwell.train.tuning import keep_freed_memory, return_freed_memory

Same = Callable[[Path, Path], None]
QUIET: dict[str, Any] = {"reporter": Silence(), "seed": 0}


def images(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Small grey images of two classes, bright above or below."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 2
    rows = generator.integers(0, 100, (count, 8, 8))
    rows[labels == 1, :4] += 100
    rows[labels == 0, 4:] += 100
    return rows.astype(np.uint8), labels


def choices(run: Run) -> dict[str, Any]:
    """The choices of a run by field."""
    found = json.loads((run.path / "machine.json").read_text())["choices"]
    assert all(choice["reason"] for choice in found)
    return {choice["field"]: choice for choice in found}


def test_the_time_allowed_becomes_a_number_of_epochs_that_is_kept(tmp_path: Path) -> None:
    run = tw.fit("points:samples=400", model="logistic", minutes=0.1, out=tmp_path / "run", **QUIET)
    assert run.recipe.length.minutes is None
    assert isinstance(run.recipe.length.epochs, int)
    assert "minutes hold" in choices(run)["length.epochs"]["reason"]
    assert run.seconds < 10
    assert run.recipe.length.steps is None, "there is time for many whole epochs"
    again = tw.fit(recipe=run.path, out=tmp_path / "again", reporter=Silence())
    assert again.recipe == run.recipe


def test_minutes_include_what_comes_before_and_after_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 6 seconds 4 are for imports, the last evaluation and the page."""
    monkeypatch.setattr(resolve, "_first_losses", lambda job, batches: [])
    ticks = itertools.count(0.0, resolve.TIMED_STEPS * 0.01)  # a step takes 10 ms
    monkeypatch.setattr(resolve, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    recipe = Recipe().with_values({"length.minutes": 0.1})
    job = SimpleNamespace(steps_per_epoch=10, loaders=SimpleNamespace(val=None))
    done: list[Any] = []
    found = resolve._choose_length(recipe, cast(Any, job), [cast(Any, [0] * 8)], lambda: 0.5, done)
    passes = (6 - 4) * 0.92 * 10 - 5
    assert (found.length.epochs, found.length.steps) == (math.ceil(passes), int(passes * 10))
    assert [choice.reason for choice in done[1:]] == ["13.4 epochs fit: the last one is cut short"]
    assert done[0].reason == "a step takes 10.0 ms, so 0.1 minutes hold 13.4 epochs"


def test_less_time_than_an_epoch_takes_becomes_a_number_of_steps(tmp_path: Path) -> None:
    run = tw.fit("points:samples=5000", model="mlp", minutes=1e-4, out=tmp_path / "run", **QUIET)
    assert run.recipe.length.steps is not None
    assert choices(run)["length.steps"]["reason"] == "less than one epoch fits"


@pytest.mark.parametrize(("count", "size"), [(100, 16), (2000, 64), (40_000, 256)])
def test_the_batch_size_leaves_enough_steps_an_epoch(tmp_path: Path, count: int, size: int) -> None:
    run = tw.fit(f"points:samples={count}", model="logistic", epochs=1, out=tmp_path / "run", **QUIET)
    assert run.recipe.batch.size == size


@pytest.fixture
def bfloat16_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which bfloat16 always pays."""
    monkeypatch.setattr(machine, "has_fast_bfloat16", lambda device: True)
    monkeypatch.setattr(machine, "BF16_MULTIPLY_ADDS", 0)


@pytest.mark.usefixtures("bfloat16_everywhere")
def test_lower_precision_is_taken_where_it_agrees_with_float32(tmp_path: Path) -> None:
    run = tw.fit(images(), model="convnet:width=4,depth=2", epochs=1, out=tmp_path / "run", **QUIET)
    assert run.recipe.machine.precision == "bfloat16"
    assert "differ from float32 by at most" in choices(run)["machine.precision"]["reason"]


class Delicate(nn.Module):
    """Loses everything in bfloat16: the difference of two large, nearly equal numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        large = self.linear(inputs.flatten(1)) + 1000.0
        return (large - 1000.0) * 3


@pytest.mark.usefixtures("bfloat16_everywhere")
def test_lower_precision_is_refused_where_it_does_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = tw.fit(images(), model=Delicate(), epochs=1, out=tmp_path / "run", **QUIET)
    assert run.recipe.machine.precision == "float32"
    assert "bfloat16 refused" in choices(run)["machine.precision"]["reason"]


def test_bfloat16_runs_resume_to_the_bit(tmp_path: Path, assert_same: Same) -> None:
    words = {
        "model": "convnet:width=4,depth=2",
        "set": {"machine.precision": "bfloat16", "machine.threads": 1, "machine.checkpoint_seconds": 0},
    }
    whole = tw.fit(images(), epochs=3, out=tmp_path / "whole", **words, **QUIET)

    class Fail:
        """Dies in step 9."""

        def after_step(self, state: Any) -> None:
            """Die."""
            if state.step == 9:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        tw.fit(images(), epochs=3, out=tmp_path / "cut", hooks=[Fail()], **words, **QUIET)
    assert (tmp_path / "cut").exists()
    tw.resume(tmp_path / "cut", data=images(), reporter=Silence())
    assert_same(whole.path, tmp_path / "cut")


def test_a_resolved_recipe_leaves_nothing_open(tmp_path: Path) -> None:
    run = tw.fit(images(), epochs=1, out=tmp_path / "run", **QUIET)
    stored = Recipe.from_file(run.path / "recipe.yaml").to_plain()
    stored["data"].pop("memory_gib")  # changes no result, and follows from what is free
    assert "auto" not in json.dumps(stored)


def test_the_agreement_is_measured_on_few_samples(tmp_path: Path) -> None:
    assert resolve.REHEARSED_STEPS * resolve.REHEARSED_SAMPLES < 128


def test_memory_can_be_kept_and_given_back() -> None:
    assert keep_freed_memory() in (True, False)
    return_freed_memory()


def test_a_warm_up_longer_than_an_epoch_is_not_refused_before_the_first_step(tmp_path: Path) -> None:
    run = tw.fit(
        "points:samples=200",
        model="mlp:hidden=[4]",
        epochs=5,
        schedule="cosine:warmup=2",
        out=tmp_path / "run",
        **QUIET,
    )
    assert run.epochs == 5
