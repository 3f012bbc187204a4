"""Each picture shows the numbers that it was given."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from trainwell.core.record import Measure, Reading
from trainwell.metrics import calibration, coverage
from trainwell.pictures.answering import answering
from trainwell.pictures.confusion import confusion_matrix, frequent_mistakes, most_confused
from trainwell.pictures.counts import samples_per_class
from trainwell.pictures.curves import accuracy_curves, is_log, loss_curves
from trainwell.pictures.measures import measure_over_steps, most_moved
from trainwell.pictures.points import scatter_of_points
from trainwell.pictures.reliability import reliability
from trainwell.pictures.series import Series, history
from trainwell.pictures.style import SPLITS

RANDOM = np.random.default_rng(0)


def named(shown: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in shown.data if trace.name == name)


def curves() -> dict[str, dict[str, Series]]:
    readings = [Reading(step, "train/loss", 1.0 - step / 200) for step in range(100)]
    for epoch in (1, 2):
        values = {"val/loss": 1.0 / epoch, "val/accuracy": epoch / 4, "epoch/train_accuracy": epoch / 2}
        readings += [Reading(50 * epoch, name, value) for name, value in values.items()]
    return history(readings)


def test_val_stands_at_the_end_of_its_epoch() -> None:
    val = named(loss_curves(curves(), steps_per_epoch=50), "val")
    assert list(val.x) == [1.0, 2.0]
    assert list(val.y) == [1.0, 0.5]


def test_before_the_first_epoch_the_axis_counts_steps() -> None:
    shown = loss_curves(history([Reading(3, "train/loss", 1.0)]), steps_per_epoch=None)
    assert shown.layout.xaxis.title.text == "step"
    assert list(shown.data[0].x) == [3]


def test_accuracy_is_in_percent_and_in_the_colours_of_the_splits() -> None:
    shown = accuracy_curves(curves(), steps_per_epoch=50)
    assert list(named(shown, "val").y) == [25.0, 50.0]
    assert list(named(shown, "train").y) == [50.0, 100.0]
    assert named(shown, "val").line.color == SPLITS["val"]


@pytest.mark.parametrize(("last", "expected"), [(0.5, False), (0.05, True), (0.0, False)])
def test_losses_that_fall_tenfold_get_a_logarithmic_axis_that_says_so(last: float, expected: bool) -> None:
    found = history([Reading(0, "train/loss", 1.0), Reading(1, "train/loss", last)])
    shown = loss_curves(found, steps_per_epoch=None)
    assert is_log(found) == expected
    assert (shown.layout.yaxis.type == "log") == ("logarithmic" in shown.layout.title.text) == expected


def test_of_many_places_those_that_moved_most_are_drawn() -> None:
    places = {f"layer {n}": Series(np.arange(2), np.array([0.0, float(n)])) for n in range(20)}
    assert list(most_moved(places)) == [f"layer {n}" for n in range(12, 20)]
    shown = measure_over_steps(Measure("norm", "nats", "a norm"), places, steps_per_epoch=None)
    assert shown.layout.title.text == "norm, nats"
    assert len(shown.data) == 8


def test_a_measure_without_a_finite_value_gives_an_empty_figure() -> None:
    empty = {"": Series(np.array([], dtype=np.int64), np.array([]))}
    assert len(measure_over_steps(Measure("x", "", ""), empty, steps_per_epoch=None).data) == 0


def test_the_confusion_shows_every_count_and_the_share_of_its_row() -> None:
    counts = np.array([[8, 2], [0, 5]])
    shown = confusion_matrix(counts, ["cat", "dog"])
    right, wrong = shown.data
    assert [list(row) for row in right.z] == [[80.0, None], [None, 100.0]]
    assert [list(row) for row in wrong.z] == [[None, 20.0], [None, None]]
    assert [note.text for note in shown.layout.annotations] == ["8", "2", "5"]
    assert wrong.customdata[0][1] == "cat answered as dog: 2 of 10 (20.0 %)"


def test_a_class_without_samples_leaves_its_row_empty() -> None:
    shown = confusion_matrix(np.array([[3, 0], [0, 0]]), ["cat", "dog"])
    assert [list(row) for row in shown.data[0].z] == [[100.0, None], [None, None]]


def test_of_many_classes_the_most_confused_are_drawn() -> None:
    counts = 5 * np.eye(100, dtype=int)
    counts[70, 90] = 9
    assert {70, 90} < set(most_confused(counts))
    shown = confusion_matrix(counts, [str(n) for n in range(100)])
    assert len(shown.data[0].z) == 20
    assert not shown.layout.annotations


def test_frequent_mistakes_agree_with_counting_pairs() -> None:
    given, answers = RANDOM.integers(4, size=200), RANDOM.integers(4, size=200)
    counts = np.zeros((4, 4), dtype=int)
    np.add.at(counts, (given, answers), 1)
    found = frequent_mistakes(counts, 12)
    assert all(count == int(((given == a) & (answers == b)).sum()) for a, b, count in found)
    assert [count for *_, count in found] == sorted((count for *_, count in found), reverse=True)
    assert all(a != b for a, b, _ in found)


def probabilities(count: int) -> tuple[np.ndarray, np.ndarray]:
    share = RANDOM.uniform(0.5, 1, size=count)
    return np.stack([share, 1 - share], axis=1), (RANDOM.uniform(size=count) > share).astype(int)


def test_reliability_shows_each_used_bin_with_an_interval_around_it() -> None:
    found = calibration(*probabilities(300))
    shown = reliability(found, split="test")
    points = next(trace for trace in shown.data if trace.mode == "markers")
    used = found.count > 0
    np.testing.assert_allclose(points.y, 100 * found.accuracy[used])
    assert all(low >= -1e-9 for low in (*points.error_y.array, *points.error_y.arrayminus))
    bars = next(trace for trace in shown.data if trace.type == "bar")
    assert sum(bars.y) == 300


def test_answering_agrees_with_counting_at_a_threshold() -> None:
    rows, targets = probabilities(200)
    shown = answering(coverage(rows, targets), count=200, split="val")
    kept = rows.max(axis=1) >= 0.8
    place = list(named(shown, "answers right").x).index(80.0)
    assert named(shown, "samples answered").y[place] == pytest.approx(100 * kept.mean(), abs=1e-3)
    right = (rows.argmax(axis=1) == targets)[kept].mean()
    assert named(shown, "answers right").y[place] == pytest.approx(100 * right, abs=1e-3)
    band = named(shown, "95 % interval")
    assert min(band.y) < 100 * right < max(band.y)


def test_samples_are_stacked_by_split() -> None:
    counts = {"train": {"cat": 5, "dog": 3}, "val": {"cat": 1}}
    shown = samples_per_class(counts, ["cat", "dog"])
    assert [(trace.name, list(trace.x)) for trace in shown.data] == [("train", [5, 3]), ("val", [1, 0])]


def test_many_classes_are_sorted_by_size() -> None:
    counts = {"train": {str(n): n for n in range(50)}}
    shown = samples_per_class(counts, [str(n) for n in range(50)])
    assert list(shown.data[0].y) == sorted(range(50), reverse=True)


def test_points_have_a_colour_and_a_symbol_of_their_class() -> None:
    shown = scatter_of_points(RANDOM.normal(size=(30, 2)), np.arange(30) % 12, [f"class {n}" for n in range(12)])
    looks = {(trace.marker.color, trace.marker.symbol) for trace in shown.data}
    assert len(looks) == 12


def test_names_of_classes_are_words_and_never_markup() -> None:
    evil = "<img src=x>"
    figures = [
        confusion_matrix(np.array([[1, 1], [1, 1]]), [evil, "b"]),
        samples_per_class({"train": {evil: 1}}, [evil]),
        scatter_of_points(np.zeros((1, 2)), np.zeros(1, dtype=int), [evil]),
    ]
    assert all("<img" not in json.dumps(shown.to_plotly_json(), default=list) for shown in figures)
