"""What a terminal shows of a run: the opening lines once, and a line for some epochs."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from trainwell.core.machine import AutoChoice
from trainwell.core.recipe import Recipe
from trainwell.terminal import SHOWN_EPOCHS, LiveReporter, PlainReporter, is_shown
from trainwell.train.reporter import EpochReport, StartReport
from trainwell.words import opening

START = StartReport(
    recipe=Recipe().with_values(
        {
            "model": "mlp:hidden=[32, 16]",
            "augmentation": [],
            "optimizer": "adamw",
            "schedule": "cosine",
            "batch.size": 16,
            "length.epochs": 40,
            "machine": {"device": "cpu", "precision": "float32", "threads": 1},
        }
    ),
    data={
        "kind": "features",
        "input_shape": [2],
        "classes": ["[a]", "b"],
        "samples": {"train": 90, "val": 10},
        "counts": {"train": {"[a]": 80, "b": 10}, "val": {"[a]": 9, "b": 1}},
    },
    choices=(AutoChoice("model", "mlp", "the samples are features, " + "and the reason is long " * 12),),
    weights=1_234,
    steps=240,
    path=Path("runs/one"),
)


def live() -> tuple[LiveReporter, io.StringIO]:
    """A live reporter on a terminal of 60 columns, and what it shows."""
    shown = io.StringIO()
    return LiveReporter(Console(file=shown, force_terminal=True, width=60, color_system=None)), shown


def test_a_log_begins_with_the_opening_lines(capsys: pytest.CaptureFixture[str]) -> None:
    PlainReporter().start(START)
    assert capsys.readouterr().out.splitlines() == list(opening(START))


def test_a_narrow_terminal_shows_the_same_lines_unwrapped_and_takes_no_name_for_markup() -> None:
    reporter, shown = live()
    reporter.start(START)
    reporter.close()
    for line in opening(START):
        assert line in shown.getvalue()
    assert "(89 of [a], only 11 of b)" in shown.getvalue()


def report(epoch: int, epochs: int) -> EpochReport:
    return EpochReport(epoch, epochs, 0.1, 0.9, None, None, 0.1, 100.0, 1.0)


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 11, 19, 20, 57, 200, 1000])
def test_the_first_the_last_and_about_ten_epochs_between_get_a_line(epochs: int) -> None:
    shown = [epoch for epoch in range(1, epochs + 1) if is_shown(report(epoch, epochs))]
    assert (shown[0], shown[-1]) == (1, epochs)
    assert min(epochs, SHOWN_EPOCHS // 2) <= len(shown) <= SHOWN_EPOCHS + 2
    gaps = np.diff(shown)
    assert len(gaps) == 0 or gaps.max() <= -(-epochs // SHOWN_EPOCHS)


def test_both_reporters_show_the_same_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    reporter, shown = live()
    for epoch in range(1, 41):
        PlainReporter().epoch(report(epoch, 40))
        reporter.epoch(report(epoch, 40))
    lines = capsys.readouterr().out.splitlines()
    expected = [str(report(epoch, 40)) for epoch in (1, *range(4, 41, 4))]
    assert lines == expected
    assert [line for line in expected if line not in shown.getvalue()] == []
    assert shown.getvalue().count("epoch ") == len(expected)
