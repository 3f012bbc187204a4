"""The pictures of the layers show every layer at every look, as lines or as rows of a map."""

import math

import numpy as np
import pytest

from trainwell.pictures.layers import (
    MOST_LINES,
    MOST_LOOKS,
    distributions,
    layers_over_looks,
    log_ticks,
    looks_of,
)
from trainwell.pictures.series import Series

STEPS = np.array([0, 1, 2, 4, 8, 128])


def places(count: int, values: float = 1.0) -> dict[str, Series]:
    return {f"layer{n}": Series(STEPS, np.full(len(STEPS), values) * (n + 1)) for n in range(count)}


def test_a_few_layers_are_lines_at_equal_distances_named_by_their_steps() -> None:
    shown = layers_over_looks(places(3), "spread")
    assert [trace.name for trace in shown.data] == ["layer0", "layer1", "layer2"]
    assert list(shown.data[1].y) == [2.0] * 6
    assert list(shown.data[0].x) == [0, 1, 2, 3, 4, 5]
    assert list(shown.layout.xaxis.ticktext) == ["0", "1", "2", "4", "8", "128"]
    assert list(shown.data[0].customdata) == STEPS.tolist()
    assert len({trace.line.color for trace in shown.data}) == 3


def test_many_layers_are_rows_of_a_map_the_first_on_top() -> None:
    count = 100
    shown = layers_over_looks(places(count), "ratio", scale="logarithmic", usual=10.0)
    (trace,) = shown.data
    assert np.array(trace.z).shape == (count, len(STEPS))
    assert trace.z[99][0] == pytest.approx(math.log10(100), abs=1e-3)
    assert shown.layout.yaxis.autorange == "reversed"
    assert (trace.zmin + trace.zmax) / 2 == pytest.approx(1.0), "the usual value is the middle of the colours"
    assert (trace.y[9], trace.text[9][0], trace.x[-1]) == ("layer9", "10", "128")
    assert list(shown.layout.xaxis.tickvals) == list(trace.x), "a tick is named by its category, not by a number"
    assert len(shown.layout.yaxis.ticktext) <= 30
    assert shown.layout.height < 600


def test_a_layer_that_missed_a_look_has_a_gap() -> None:
    some = {**places(1), "late": Series(STEPS[3:], np.array([1.0, 2.0, 3.0]))}
    late = layers_over_looks(some, "spread").data[1]
    assert list(late.y) == [None, None, None, 1.0, 2.0, 3.0]


def test_zeros_are_left_out_on_a_logarithmic_scale() -> None:
    line = {"fc": Series(STEPS, np.array([0.0, 0.1, 0.1, 0.1, 0.1, 1.0]))}
    shown = layers_over_looks(line, "norm", scale="logarithmic", usual=1e-3)
    assert shown.data[0].y[0] is None
    assert shown.layout.yaxis.type == "log"
    assert "logarithmic" in shown.layout.title.text
    assert shown.layout.shapes[0].y0 == 1e-3
    empty = layers_over_looks({"fc": Series(STEPS, np.zeros(6))}, "norm", scale="logarithmic")
    assert set(empty.data[0].y) == {None}


@pytest.mark.parametrize("count", [2, MOST_LINES + 1])
def test_shares_are_drawn_in_percent(count: int) -> None:
    shown = layers_over_looks(places(count, 0.01), "dead", scale="share")
    values = [trace.y for trace in shown.data] if count == 2 else shown.data[0].z
    assert values[1][0] == 2.0


def test_of_very_many_looks_some_are_drawn() -> None:
    long = {"fc": Series(np.arange(5_000), np.arange(5_000.0))}
    assert len(layers_over_looks(long, "norm").data[0].x) == MOST_LOOKS
    assert looks_of(long, most=3) == [0, 2500, 4999]


def test_names_are_escaped() -> None:
    evil = {f"<b>{n}": series for n, series in enumerate(places(MOST_LINES + 1).values())}
    shown = layers_over_looks(evil, "norm")
    assert "<b>" not in str(shown.data[0].y)
    assert "<b>" not in str(shown.layout.yaxis.ticktext)
    assert layers_over_looks(dict(list(evil.items())[:2]), "norm").data[0].name == "&lt;b&gt;0"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-3, 0, [0.001, 0.01, 0.1, 1.0]), (0.1, 0.5, [2.0]), (-0.1, 0.8, [1.0, 2.0, 5.0]), (-9.0, 5.0, None)],
)
def test_ticks_of_a_logarithmic_axis_are_round(low: float, high: float, expected: list[float] | None) -> None:
    ticks = log_ticks(low, high)
    assert expected is None or ticks == pytest.approx(expected)
    assert 1 <= len(ticks) <= 8
    assert all(low - 1e-9 <= math.log10(tick) <= high + 1e-9 for tick in ticks)


def quantiles(middle: float) -> dict[float, float]:
    return {0.05: middle - 2, 0.25: middle - 1, 0.5: middle, 0.75: middle + 1, 0.95: middle + 2}


def test_a_few_layers_have_a_box_each_before_and_after() -> None:
    looks = {f"step {step}": {f"layer{n}": quantiles(n + step) for n in range(4)} for step in (0, 9)}
    shown = distributions(looks)
    before, after = shown.data
    assert (before.name, after.name) == ("step 0", "step 9")
    assert list(before.median) == [0, 1, 2, 3]
    assert list(after.q1) == [8, 9, 10, 11]
    assert list(after.upperfence) == [11, 12, 13, 14]
    assert list(shown.layout.xaxis.ticktext) == [f"layer{n}" for n in range(4)]


def test_many_layers_are_a_band() -> None:
    shown = distributions({"step 0": {f"layer{n}": quantiles(n) for n in range(60)}})
    medians = shown.data[-1]
    assert list(medians.y) == list(range(60))
    assert [trace.fill for trace in shown.data] == [None, "tonexty", None, "tonexty", None]
    assert len(shown.layout.xaxis.ticktext) <= 10
