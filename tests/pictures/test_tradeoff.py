"""Error over operations: areas are parameters, everything is inside, and every network is named once."""

import math

import pytest

from trainwell.pictures.style import TRAIN, VAL
from trainwell.pictures.tradeoff import LARGEST, SMALLEST, Axis, Point, counted, tradeoff

POINTS = [
    Point("large", 0.05, 4e9, 40e6, False, "net", "a paper"),
    Point("small", 0.08, 1e9, 10e6, False, "net"),
    Point("<b>mine", 0.2, 1e8, 1e3, True),
]


def bubbles(points: list[Point]) -> dict[str, object]:
    return {trace.name: trace for trace in tradeoff(points).data if trace.mode == "markers"}


def test_areas_are_in_proportion_to_the_parameters_but_for_those_too_small_to_see() -> None:
    shown = bubbles(POINTS)
    large, small = shown["published"].marker.size
    assert (large, (large / small) ** 2) == (LARGEST, pytest.approx(4))
    assert list(shown["ours"].marker.size) == [SMALLEST]


def test_ours_and_published_ones_have_two_colours_and_a_legend_only_where_there_are_both() -> None:
    shown = bubbles(POINTS)
    assert (shown["ours"].marker.line.color, shown["published"].marker.line.color) == (VAL, TRAIN)
    assert all(trace.showlegend for trace in shown.values())
    assert not bubbles(POINTS[:2])["published"].showlegend


def test_points_stand_at_their_numbers_and_families_are_joined_in_order() -> None:
    shown = tradeoff(POINTS)
    (line,) = [trace for trace in shown.data if trace.mode == "lines"]
    assert (list(line.x), list(line.y)) == ([1e9, 4e9], [0.08, 0.05])
    assert (list(shown.data[-1].x), list(shown.data[-1].y)) == ([1e8], [0.2])
    assert "5.00% wrong, 4\u00a0G multiply-adds, 40\u00a0M parameters<br>a paper" in shown.data[1].customdata[0][0]


def test_each_network_is_named_once_at_its_place_and_a_user_s_words_are_no_markup() -> None:
    names = {note.text: note for note in tradeoff(POINTS).layout.annotations if note.xref != "paper"}
    assert set(names) == {"large", "small", "&lt;b&gt;mine"}
    assert names["large"].x == pytest.approx(math.log10(4e9))
    assert names["large"].y == pytest.approx(math.log10(0.05))


def test_the_error_has_a_logarithmic_axis_where_it_spreads_and_says_so() -> None:
    assert tradeoff(POINTS).layout.title.text == "Error, logarithmic scale"
    assert tradeoff(POINTS).layout.yaxis.type == "log"
    assert tradeoff(POINTS[:2]).layout.title.text == "Error"
    assert tradeoff(POINTS[:2]).layout.yaxis.type is None


def test_whole_marks_are_within_the_axes() -> None:
    same = [Point(f"net {n}", 0.1, 1e9, 1e6, False) for n in range(2)]
    for points in (POINTS, POINTS[:2], same):
        shown = tradeoff(points, width=760, height=460)
        low, high = shown.layout.xaxis.range
        pixels = (760 - 46 - 14) / (high - low)
        for trace in (trace for trace in shown.data if trace.mode == "markers"):
            for x, size in zip(trace.x, trace.marker.size, strict=True):
                assert low + size / 2 / pixels < math.log10(x) < high - size / 2 / pixels


@pytest.mark.parametrize(
    ("ends", "expected"),
    [((1.5, 40), [2, 5, 10, 20]), ((0.03, 0.09), [0.03, 0.04, 0.05, 0.07]), ((3, 3e4), [10, 100, 1e3, 1e4])],
)
def test_ticks_are_round_and_inside(ends: tuple[float, float], expected: list[float]) -> None:
    assert Axis(*ends, 100, True).ticks() == pytest.approx(expected)


def test_numbers_are_short() -> None:
    assert [counted(number) for number in (999.0, 999_900, 15e9)] == ["999", "1\u00a0M", "15\u00a0G"]
