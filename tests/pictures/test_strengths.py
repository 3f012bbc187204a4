"""The picture of a head that was solved for along a path of penalties."""

import math

from trainwell.pictures.strengths import strength_curves


def test_what_was_taken_is_marked_where_it_is() -> None:
    strengths = [10.0, 1.0, 0.1]
    shown = strength_curves(strengths, [0.9, 0.5, 0.1], [1.0, 0.6, 0.8], chosen=1, by="val")
    assert [line.x0 for line in shown.layout.shapes] == [1.0]
    assert [note.x for note in shown.layout.annotations] == [math.log10(1.0)]
    assert [list(trace.x) for trace in shown.data] == [strengths, strengths]
    assert [trace.name for trace in shown.data] == ["train", "val"]
