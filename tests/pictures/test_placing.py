"""Names beside marks: none covers another, all stay inside, and the nearest free place is taken."""

import math

import numpy as np
import pytest

from trainwell.pictures.placing import GAPS, Box, Line, Mark, place_names


def overlap(one: Box, two: Box) -> bool:
    return abs(one.x - two.x) < (one.width + two.width) / 2 and abs(one.y - two.y) < (one.height + two.height) / 2


def covers(box: Box, mark: Mark) -> bool:
    across, down = max(abs(mark.x - box.x) - box.width / 2, 0), max(abs(mark.y - box.y) - box.height / 2, 0)
    return math.hypot(across, down) < mark.radius


@pytest.mark.parametrize("seed", range(4))
def test_of_many_marks_no_name_covers_anything_and_all_are_inside(seed: int) -> None:
    """Eighteen on an area that would hold twelve times as many names."""
    random = np.random.default_rng(seed)
    marks = [
        Mark(*random.uniform((40, 30), (660, 370)), radius=r, width=80, height=13) for r in random.uniform(3, 20, 18)
    ]
    boxes = place_names(marks, 700, 400)
    assert not [1 for place, box in enumerate(boxes) for other in boxes[:place] if overlap(box, other)]
    assert not [1 for box in boxes for mark in marks if covers(box, mark)]
    assert all(box.beyond(700, 400) == 0 for box in boxes)


@pytest.mark.parametrize(("x", "y"), [(195, 50), (5, 50), (100, 4), (100, 96), (196, 96)])
def test_a_mark_at_the_edge_has_its_name_inside_and_beside_it(x: float, y: float) -> None:
    mark = Mark(x, y, 4, 60, 12)
    (box,) = place_names([mark], 200, 100)
    assert box.beyond(200, 100) == 0
    assert not covers(box, mark)
    assert box.gap == min(GAPS)


def test_two_marks_at_one_place_have_names_at_different_places() -> None:
    one, two = place_names([Mark(100, 50, 5, 60, 12)] * 2, 300, 100)
    assert not overlap(one, two)


def test_a_line_is_left_free_where_it_costs_little() -> None:
    (box,) = place_names([Mark(100, 50, 5, 60, 12)], 300, 100, [Line(100, 50, 300, 50)])
    assert not box.is_on(Line(100, 50, 300, 50))


def test_a_name_that_had_to_go_far_is_tied_by_a_line_that_no_other_name_lies_on() -> None:
    marks = [Mark(100 + 9 * n, 60, 5, 70, 12) for n in range(7)]
    boxes = place_names(marks, 260, 120)
    ties = [box.tie(mark) for box, mark in zip(boxes, marks, strict=True)]
    assert {tie is None for tie in ties} == {True, False}
    for place, tie in enumerate(ties):
        others = [box for other, box in enumerate(boxes) if other != place]
        assert tie is None or not any(box.is_on(tie) for box in others)


def test_a_line_meets_the_marks_that_it_runs_through() -> None:
    line = Line(0, 0, 100, 0)
    assert [line.meets(Mark(x, y, 5, 0, 0)) for x, y in ((50, 4), (50, 6), (103, 3), (106, 0))] == [
        True,
        False,
        True,
        False,
    ]
    assert Line(1, 1, 1, 1).meets(Mark(3, 1, 5, 0, 0))


def test_the_answer_is_a_function_of_the_places() -> None:
    marks = [Mark(100 + 3 * n, 50, 5, 60, 12) for n in range(6)]
    assert place_names(marks, 400, 200) == place_names(marks, 400, 200)
