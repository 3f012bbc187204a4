"""Polygons drawn: every corner is there, rings are closed and do not touch one another."""

import numpy as np

from trainwell.pictures.polygons import polygons

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def test_each_number_is_a_trace_of_closed_rings_with_gaps_between() -> None:
    shown = polygons([SQUARE, SQUARE + 2, SQUARE + 4], [3, 5, 3], title="Second", unit="active")
    three, five, bar = shown.data
    assert (three.name, five.name) == ("3 active", "5 active")
    assert three.x == (0.0, 1.0, 1.0, 0.0, 0.0, None, 4.0, 5.0, 5.0, 4.0, 4.0, None)
    assert five.y == (2.0, 2.0, 3.0, 3.0, 2.0, None)
    assert three.fillcolor != five.fillcolor
    assert bar.marker.color == (3, 5)


def test_no_polygons_make_an_empty_picture() -> None:
    assert len(polygons([], [], title="Second", unit="active").data) == 1
