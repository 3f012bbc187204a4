"""Where a run stands, as `trainwell show RUN` says it: from the record alone, also while it is written."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from trainwell.core.record import Record
from trainwell.errors import RunInvalid
from trainwell.report.state import WIDTH, course, follow, read_state

Writer = Callable[..., Any]


def test_layers_are_shown_with_their_last_numbers(writer: Writer) -> None:
    made = writer().begin().learn().look(["body.0", "body.2", "fc"])
    state = read_state(made.folder.path)
    assert [layer.layer for layer in state.layers] == ["body.0", "body.2", "fc"]
    first, _, last = state.layers
    assert (first.mean, first.std, first.dead, first.saturated, first.gradient) == (0.4, 1.0, 0.1, 0.02, 1.0)
    assert first.step == pytest.approx(0.017)
    assert (last.dead, last.saturated) == (None, None)
    assert (state.looked_at, state.step, state.epoch, state.status) == (16, 30, 3, "died")
    text = "\n".join(state.lines())
    assert "convnet on animals: died, 3 epochs done, at step 30" in text
    assert "the layers at step 16" in text
    (row,) = [line for line in text.splitlines() if line.startswith("body.0")]
    assert row.split() == ["body.0", "0.4", "1", "10.0", "%", "2.0", "%", "1", "1.7e-02"]


def test_curves_are_those_of_the_whole_network(writer: Writer) -> None:
    state = read_state(writer().begin().learn().look(["fc", "head"]).folder.path)
    curves = {curve.name: curve for curve in state.curves}
    assert curves["train/loss"].first == 2.0
    assert curves["train/loss"].course[0] == "█"
    assert curves["train/loss"].course[-1] == "▁"
    assert curves["gradient/norm"].last == 1.0
    assert "activation/std" not in curves


def test_no_line_is_wider_than_a_usual_terminal(writer: Writer) -> None:
    names = [f"encoder.stages.{n}.blocks.{n}.attention.projection.weight_normed" for n in range(120)]
    state = read_state(writer().begin().learn().look(names, steps=[0, 1]).folder.path)
    assert max(len(line) for line in state.lines()) <= WIDTH
    few = list(state.lines(most=40))
    assert len(few) <= 40
    assert any("layers more between them" in line for line in few)


def test_a_torn_tail_is_left_out(writer: Writer) -> None:
    made = writer().begin().learn().look(["fc"])
    with open(made.folder.record, "ab") as file:
        file.write(b'{"step":99,"name":"train/lo')
    assert read_state(made.folder.path).step == 30


def test_a_run_without_a_record_says_why(writer: Writer) -> None:
    made = writer().begin()
    with pytest.raises(RunInvalid, match="has no record yet: it ended before its first step: go on with"):
        read_state(made.folder.path)
    with made.folder.owned(), pytest.raises(RunInvalid, match="its data are being prepared: look again in a moment"):
        read_state(made.folder.path)


def test_a_run_that_goes_on_is_followed_to_its_end(writer: Writer) -> None:
    made = writer().begin()
    seen = []
    is_held = threading.Event()
    write = threading.Event()

    def train() -> None:
        with made.folder.owned():
            is_held.set()
            write.wait(10)
            made.learn().look(["fc"])
            made.finish()

    worker = threading.Thread(target=train)
    worker.start()
    is_held.wait(10)
    for_later = threading.Timer(0.05, write.set)
    for_later.start()
    for state in follow(made.folder.path, seconds=0.01):
        seen.append(state)
    worker.join()
    assert seen[-1].status == "finished"
    assert seen[-1].step == 30
    assert seen[-1].layers[0].layer == "fc"


def test_a_run_that_does_not_go_on_is_shown_once(writer: Writer) -> None:
    made = writer().begin().learn()
    assert len(list(follow(made.folder.path))) == 1
    assert read_state(made.folder.path).layers == ()


def test_following_a_run_that_ended_with_nothing_says_so(writer: Writer) -> None:
    with pytest.raises(RunInvalid, match="has no record yet"):
        list(follow(writer().begin().folder.path))


def test_a_course_has_a_bar_for_each_stretch() -> None:
    assert course([1.0]) == "▁"
    assert course(list(range(80)), width=8) == "▁▂▃▄▅▆▇█"


def test_what_was_not_examined_is_said(writer: Writer) -> None:
    made = writer().begin().learn().event(0, "not examined", probe="activations", reason="it needs gradients")
    state = read_state(made.folder.path)
    assert state.remarks == ("Not examined by activations: it needs gradients.",)
    assert list(state.lines())[-1] == state.remarks[0]


def test_numbers_that_are_not_finite_are_left_out(writer: Writer) -> None:
    made = writer().begin().learn().look(["fc"])
    record = Record(made.folder.record)
    from trainwell.core.record import Reading

    record.append([Reading(17, "activation/std", float("nan"), "fc")])
    record.close()
    assert read_state(made.folder.path).layers[0].std == 1.0
