"""The words of the sections say what the numbers are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainwell.metrics import measure
from trainwell.report.cases import galleries
from trainwell.report.dataset import dataset
from trainwell.report.embed import as_script_data, data_uri
from trainwell.report.evidence import gather, status_of
from trainwell.report.headline import headline
from trainwell.report.making import making
from trainwell.report.quality import quality
from trainwell.train.events import Event


def test_the_headline_counts_mistakes_like_a_plain_loop(finished: Any) -> None:
    evidence = gather(finished.folder)
    answers = evidence.answers["test"]
    wrong = sum(int(np.argmax(row)) != label for row, label in zip(answers.probabilities, answers.targets, strict=True))
    found = headline(evidence)
    assert ("mistakes", str(wrong), "of 24 in test") in found.facts
    assert wrong
    assert found.number == f"{100 * (24 - wrong) / 24:.1f}\u00a0%"
    assert "Always answering the most frequent class would be right on 33.3" in found.doubt


def test_the_totals_are_those_of_the_metrics(finished: Any) -> None:
    evidence = gather(finished.folder)
    answers = evidence.answers["test"]
    metrics = measure(answers.probabilities, answers.targets, evidence.classes)
    found = quality(evidence)
    assert found is not None
    totals = {name: value for name, value, *_ in found.totals}
    assert totals["Log loss"] == f"{metrics.log_loss.value:.3f}"
    assert [row.support for row in found.rows] == ["8", "8", "8"]
    assert all(0 <= row.low <= row.value <= row.high <= 100 for row in found.rows)


def test_every_case_names_its_label_and_marks_a_wrong_answer(finished: Any) -> None:
    evidence = gather(finished.folder)
    answers = evidence.answers["val"]
    for gallery in galleries(evidence):
        for case in gallery.cases:
            place = int(case.name.removeprefix("val/").removesuffix(".jpg"))
            label = evidence.classes[answers.targets[place]]
            assert [bar.name for bar in case.bars if bar.is_label] == [label]
            is_wrong = case.bars[0].name != label
            assert [bar.is_wrong for bar in case.bars] == [is_wrong] + [False] * (len(case.bars) - 1)
            assert case.picture.startswith("data:image/")


def test_problems_of_the_data_are_counted_and_the_first_are_named(finished: Any) -> None:
    found = dataset(gather(finished.folder))
    assert found is not None
    words = {problem.words: problem.samples for problem in found.problems}
    bad = words["14 files could not be used and were left out"]
    assert bad[0] == "bad0.jpg: is cut off"
    assert bad[-1] == "and 2 more, in data.json"
    assert words["1 content has several labels"] == ("c.jpg (cat) = d.jpg (dog)",)


def test_commands_quote_a_folder_with_a_space(writer: Callable[..., Any]) -> None:
    made = making(gather(writer("my run").begin().learn().finish().folder))
    assert all("my run'" in command for _, command in made.commands)


def test_what_was_handed_over_in_python_must_be_handed_over_again(writer: Callable[..., Any]) -> None:
    made = writer().begin().learn()
    made.folder.write_text(made.folder.recipe, "model: given\ndata: {source: given}\n")
    found = making(gather(made.folder))
    assert "pass it again as model=; the samples were handed over in Python: pass them again as data=" in found.remark
    assert "model=Net()" in found.python


@pytest.mark.parametrize(
    ("finished_at", "last", "event", "expected"),
    [
        (30, 30, "", "finished"),
        (30, 45, "", "died"),
        (-1, 12, "stopped", "stopped"),
        (-1, 12, "non-finite", "non-finite"),
        (-1, 20, "stopped", "died"),
        (-1, -1, "", "died"),
    ],
)
def test_the_status_follows_what_was_written_last(finished_at: int, last: int, event: str, expected: str) -> None:
    timing = ({"finished": finished_at, "seconds": 1.0},) if finished_at >= 0 else ()
    events = (Event(12, event, {}),) if event else ()
    assert status_of(False, last, timing, events) == expected
    assert status_of(True, last, timing, events) == "running"


def test_a_small_picture_is_stored_exactly_and_a_large_one_small() -> None:
    small = data_uri(np.zeros((8, 8, 1), dtype=np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, size=(96, 96, 3), dtype=np.uint8)
    assert small.startswith("data:image/png;base64,")
    assert data_uri(noise).startswith("data:image/webp;base64,")
    assert len(data_uri(noise)) < noise.size


def test_data_in_a_script_cannot_end_it() -> None:
    assert "<" not in as_script_data({"name": "</script><script>"})
    assert as_script_data([float("nan"), np.array([1.0])]).startswith("[null,")
