"""The lines at the beginning and at the end of a run: few, aligned, and each a thing to know or to do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainwell as tw
from trainwell.core.machine import AutoChoice
from trainwell.core.recipe import Recipe
from trainwell.metrics import Metrics, measure
from trainwell.train.evaluate import Evaluation
from trainwell.train.reporter import StartReport
from trainwell.words import LONGEST, MARGIN, closing, describe_data, opening, shortened

DATA = {
    "kind": "images",
    "input_shape": [3, 24, 32],
    "classes": ["cat", "dog"],
    "samples": {"train": 1400, "val": 200, "test": 400},
    "counts": {"train": {"cat": 700, "dog": 700}, "val": {"cat": 100, "dog": 100}, "test": {"cat": 200, "dog": 200}},
}
RECIPE = Recipe().with_values(
    {
        "model": "whitened:width=24",
        "augmentation": ["horizontal_flip", "shift:pixels=2"],
        "optimizer": "sgd:lr=0.05",
        "schedule": "one_cycle",
        "batch.size": 64,
        "length.epochs": 20,
        "machine": {"device": "cpu", "precision": "bfloat16", "threads": 2},
    }
)
CHOICES = (
    AutoChoice("model", "whitened", "colour images"),
    AutoChoice("length.epochs", 20, "22 steps an epoch"),
    AutoChoice("augmentation", [], "mirrors keep labels"),
)


def start(recipe: Recipe = RECIPE, choices: tuple[AutoChoice, ...] = CHOICES) -> list[str]:
    return list(opening(StartReport(recipe, DATA, choices, 12_345, 440, Path("runs/one"))))


def test_the_start_is_six_lines_that_say_what_was_found_and_decided() -> None:
    assert start() == [
        "data      2,000 colour images of 32x24 in 2 classes: 1,400 train, 200 val, 400 test",
        "network   whitened:width=24, 12,345 weights (colour images)",
        "augment   horizontal_flip, shift:pixels=2 (mirrors keep labels)",
        "training  sgd lr 0.05, one_cycle, batches of 64, 20 epochs = 440 steps (22 steps an epoch)",
        "machine   cpu, bfloat16, 2 threads",
        "reasons   for all 3 automatic choices: runs/one/machine.json",
    ]


def test_a_reason_is_said_only_for_what_was_chosen_for_the_user() -> None:
    lines = start(choices=())
    assert not [line for line in lines if "(" in line]
    assert lines[-1] == "reasons   nothing was left open: every choice is yours; versions are in runs/one/machine.json"


def test_one_thread_one_step_and_no_changes_are_said_as_people_say_them() -> None:
    recipe = RECIPE.with_values({"machine.threads": 1, "augmentation": [], "length.epochs": 1})
    report = StartReport(recipe, DATA, CHOICES[:1], 12_345, 1, Path("one"))
    lines = list(opening(report))
    assert lines[2] == "augment   none: every epoch sees the samples as they are"
    assert lines[3].endswith("1 epoch = 1 step")
    assert lines[4] == "machine   cpu, bfloat16, 1 thread"
    assert lines[5] == "reasons   for the automatic choice: one/machine.json"


def test_options_that_are_defaults_are_left_to_the_recipe() -> None:
    long = "affine:rotation=10.0,smallest=0.9,largest=1.1,shear=0.0,translation=0.1,padding=zero"
    line = start(RECIPE.with_values({"augmentation": [long]}))[2]
    assert line == "augment   affine:translation=0.1 (mirrors keep labels)"


def test_the_end_of_a_resumed_run_says_whose_seconds_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list(closing(run_with(None, monkeypatch, epochs_before=14)))
    assert "took      83.2 s for the last 6 of 20 epochs" in lines


def test_files_are_offered_only_to_a_classifier_that_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(None, monkeypatch)
    monkeypatch.setattr(tw.Run, "takes_files", False)
    monkeypatch.setattr(tw.Run, "takes_tables", False)
    assert list(closing(run))[-1] == "next      trainwell evaluate 'runs/my run' SOURCE"
    monkeypatch.setattr(tw.Run, "takes_tables", True)
    assert list(closing(run))[-1].startswith("next      trainwell predict 'runs/my run' TABLE.csv    ")


def data(**values: Any) -> dict[str, Any]:
    return {**DATA, **values}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"input_shape": [1, 8, 8]}, "2,000 grey images of 8x8 in 2 classes"),
        ({"input_shape": [5, 8, 8]}, "2,000 5-channel images of 8x8 in 2 classes"),
        ({"kind": "features", "input_shape": [1]}, "2,000 samples of 1 feature in 2 classes"),
        ({"counts": {"train": {"cat": 1500, "dog": 500}}}, "2 classes (1,500 of cat, only 500 of dog): 1,400 train"),
        ({"counts": {"train": {"cat": 1499, "dog": 500}}}, "2 classes: 1,400 train"),
        ({"counts": {"train": {"cat": 9, "dog": 0}, "val": {"cat": 0, "dog": 9}}}, "2 classes: 1,400 train"),
    ],
)
def test_data_are_described_by_kind_size_and_balance(values: dict[str, Any], words: str) -> None:
    assert words in describe_data(data(**values))


def run_with(metrics: Metrics | None, monkeypatch: pytest.MonkeyPatch, **values: Any) -> tw.Run:
    monkeypatch.setattr(tw.Run, "metrics", metrics)
    monkeypatch.setattr(tw.Run, "takes_files", True)
    run = tw.Run(
        Path("runs/my run"), RECIPE, ("cat", "dog"), 20, 83.2, Evaluation(0.1, 18, 20), Evaluation(0.2, 97, 100)
    )
    return replace(run, **values)


def metrics(hits: tuple[int, ...], supports: tuple[int, ...]) -> Metrics:
    """Of classes a, b, c … with so many found of so many; what is missed is said to be the next class."""
    targets = np.repeat(np.arange(len(supports)), supports)
    said = np.concatenate(
        [
            np.where(np.arange(n) < h, k, (k + 1) % len(hits))
            for k, (h, n) in enumerate(zip(hits, supports, strict=True))
        ]
    )
    return measure(np.eye(len(hits))[said], targets, "abcdefgh"[: len(hits)])


def test_the_end_says_how_good_how_sure_how_long_and_what_next(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(metrics((10, 7, 9), (10, 10, 10)), monkeypatch)
    lines = list(closing(run))
    assert [line.split()[0] for line in lines] == ["test", "val", "weakest", "took", "report", "next"]
    assert all(line[MARGIN - 1] == " " and line[MARGIN] != " " for line in lines)
    assert lines[0] == (
        "test      97.00 % right (95 % interval 91.55 to 98.97 %), 100 samples never trained or chosen on"
    )  # Wilson's interval of 97 in 100, by hand
    assert lines[1].startswith("val       90.00 % right")
    assert lines[2] == "weakest   found least often: b 70 % of 10, c 90 % of 10"
    assert lines[3] == "took      83.2 s for 20 epochs"
    assert lines[4] == "report    none yet: trainwell report 'runs/my run' writes it"
    assert lines[5] == "next      trainwell predict 'runs/my run' FILES…    trainwell evaluate 'runs/my run' SOURCE"


def test_a_class_without_samples_is_no_weak_class(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [line for line in closing(run_with(metrics((5, 0), (5, 0)), monkeypatch)) if "weakest" in line]


def test_the_three_weakest_classes_are_named_weakest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(metrics((9, 1, 5, 0, 10), (10, 10, 10, 10, 10)), monkeypatch)
    (line,) = [line for line in closing(run) if line.startswith("weakest")]
    assert line == "weakest   found least often: d 0 % of 10, b 10 % of 10, c 50 % of 10"


def test_where_nothing_was_held_out_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list(closing(run_with(None, monkeypatch, val=None, test=None)))
    assert lines[0] == "test      nothing was held out, so nobody knows how good it is: bring a val or a test split"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (99.94, "99.9 s"), (100.0, "1 min 40 s"), (3_599.6, "1 h 0 min"), (7_325.0, "2 h 2 min")],
)
def test_a_duration_is_said(seconds: float, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list(closing(run_with(None, monkeypatch, seconds=seconds, epochs=1)))
    assert f"took      {words} for 1 epoch" in lines


def test_the_lines_of_a_real_run_fit_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tw.fit(
        "points:samples=100", model="mlp:hidden=[4]", epochs=1, out=tmp_path / "run", set={"machine.threads": 1}
    )
    lines = capsys.readouterr().out.splitlines()
    (reasons,) = [line for line in lines if line.startswith("reasons")]
    assert Path(reasons.rpartition(": ")[2]).is_file()
    (page,) = [line for line in closing(run) if line.startswith("report")]
    assert Path(page.split(maxsplit=1)[1]).is_file()


def test_no_opening_line_wraps_to_ten() -> None:
    """Reasons of 300 characters and chains of ten augmentations: no line is longer than two of a terminal."""
    reason = "the narrowest: even it can see every sample only once in a minute; " * 5
    fields = ("model", "augmentation", "length.epochs", "machine.precision")
    long = RECIPE.with_values({"augmentation": [f"shift:pixels={n}" for n in range(2, 20)]})
    lines = start(long, tuple(AutoChoice(field, "x", reason) for field in fields))
    assert len(lines) == 6
    assert max(map(len, lines)) <= LONGEST
    assert lines[1].endswith("12,345 weights (the narrowest: even it can see every sample only once in a minute; …)")
    assert lines[2].endswith(", …")


def test_a_path_is_never_cut() -> None:
    path = Path("/" + "x" * 300)
    report = StartReport(RECIPE, DATA, CHOICES, 1, 1, path)
    assert list(opening(report))[-1].endswith(f"{path}/machine.json")


@pytest.mark.parametrize("room", range(1, 60))
def test_a_short_form_fits_ends_at_a_word_and_closes_its_brackets(room: int) -> None:
    text = "mirrored in 56 % of cases (50 % is guessing); turned never"
    short = shortened(text, room)
    assert len(short) <= room
    assert short.count("(") == short.count(")")
    kept = short.removesuffix("…").rstrip()
    assert text.startswith(kept)
    assert not kept or short == text or text[len(kept)] == " "


def test_after_a_second_look_the_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list(closing(run_with(None, monkeypatch, looks=2)))
    assert lines[0].endswith("100 samples never trained or chosen on, looked at 2 times")
    assert "looked at" not in lines[1]


@pytest.mark.parametrize(("epochs", "words"), [(4, "all 4 epochs were"), (1, "the epoch was")])
def test_where_nothing_was_left_to_do_no_epochs_are_called_the_last_0(
    epochs: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = list(closing(run_with(None, monkeypatch, epochs=epochs, epochs_before=epochs)))
    assert f"took      83.2 s without training: {words} done before" in lines
