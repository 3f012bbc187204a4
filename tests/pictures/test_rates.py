"""The pictures of rates: a schedule over the epochs, and a range test with its zones, also where there is no answer."""

import numpy as np

from trainwell.pictures.rates import range_curve, rate_curve


def test_a_schedule_is_drawn_over_epochs() -> None:
    figure = rate_curve([0, 5, 10], [0.5, 1.0, 0.25], "one<b>", steps_per_epoch=10)
    (line,) = figure.data
    assert list(line.x) == [0, 0.5, 1.0]
    assert list(line.y) == [0.5, 1.0, 0.25]
    assert "one&lt;b&gt;" in figure.layout.title.text


def test_a_range_test_shows_zones_suggestion_and_cuts_what_exploded() -> None:
    rates = np.geomspace(1e-3, 1, 4).tolist()
    zones = {"too low": (1e-3, 1e-2), "good": (1e-2, 1e-1), "too high": (1e-1, 1.0)}
    figure = range_curve(
        rates,
        [[2.0, 1.0, 1.2], [2.0, 1.1, 50.0, 60.0]],
        [2.0, 1.0, 1.2, 6.0],
        zones=zones,
        suggestion=0.05,
        unit="nats",
    )
    assert len(figure.layout.shapes) == 4, "three zones and a line"
    words = {note.text: note.x for note in figure.layout.annotations}
    assert list(words) == ["too low", "good", "too high", "suggested: 0.05"]
    assert words["good"] == -1.5, "the power of ten in the middle of the zone"
    second, smoothed = figure.data[1], figure.data[2]
    assert np.isnan(second.y[2:]).all()
    assert np.isnan(smoothed.y[3])
    assert smoothed.y[2] == 1.2


def test_without_an_answer_there_are_only_the_losses() -> None:
    figure = range_curve([1e-3, 1.0], [[2.0, 2.0]], [2.0, 2.0], zones={}, suggestion=None, unit="nats")
    assert not figure.layout.shapes
    nothing = range_curve([1e-3, 1.0], [[]], [], zones={}, suggestion=None, unit="nats")
    assert len(nothing.data) == 2
