"""All numbers against scikit-learn's; intervals against simulated truth."""

import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from trainwell.core.stats import Interval
from trainwell.metrics import Metrics, measure
from trainwell.metrics.summary import f1_interval

Maker = Callable[..., Any]
TOTALS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error", "roc_auc")


def names(size: int) -> list[str]:
    return [f"class {label}" for label in range(size)]


def intervals(found: Metrics) -> list[Interval]:
    """Every interval of a measurement."""
    by_class = [value for one in found.per_class for value in (one.precision, one.recall, one.f1, one.roc_auc)]
    return [*(getattr(found, name) for name in TOTALS), *found.top_k.values(), *by_class]


@pytest.mark.parametrize(("count", "size"), [(20, 2), (57, 3), (500, 4), (400, 10), (3_000, 40)])
@pytest.mark.parametrize("decimals", [1, 16], ids=["ties", "no ties"])
def test_every_number_is_scikit_learns(answers: Maker, count: int, size: int, decimals: int) -> None:
    probabilities, targets = answers(count, size, apart=1.0, seed=size)
    targets[:size] = np.arange(size)
    probabilities = np.round(probabilities, decimals) + 1e-3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels, predictions = np.arange(size), probabilities.argmax(axis=1)
    found = measure(probabilities, targets, names(size))

    def same(ours: float, theirs: float) -> None:
        assert ours == pytest.approx(theirs, abs=1e-12)

    same(found.accuracy.value, reference.accuracy_score(targets, predictions))
    same(found.balanced_accuracy.value, reference.balanced_accuracy_score(targets, predictions))
    same(found.log_loss.value, reference.log_loss(targets, probabilities, labels=labels))
    assert (found.confusion == reference.confusion_matrix(targets, predictions, labels=labels)).all()
    for k, interval in found.top_k.items():
        same(interval.value, reference.top_k_accuracy_score(targets, probabilities, k=k, labels=labels))
    ours = [(one.precision.value, one.recall.value, one.f1.value, one.support) for one in found.per_class]
    theirs = reference.precision_recall_fscore_support(targets, predictions, labels=labels, zero_division=np.nan)
    np.testing.assert_allclose(ours, np.transpose(theirs), atol=1e-12)
    same(found.macro_f1.value, reference.f1_score(targets, predictions, average="macro"))
    if size == 2:
        same(found.roc_auc.value, reference.roc_auc_score(targets, probabilities[:, 1]))
    else:
        same(found.roc_auc.value, reference.roc_auc_score(targets, probabilities, multi_class="ovr", labels=labels))
    for label, one in enumerate(found.per_class):
        same(one.roc_auc.value, reference.roc_auc_score(targets == label, probabilities[:, label]))
    assert all(interval.low <= interval.value <= interval.high for interval in intervals(found) if interval.is_defined)


def test_float32_answers_are_clipped_as_scikit_learn_clips_them() -> None:
    probabilities = np.array([[1, 0, 0], [1, 0, 0], [0.25, 0.5, 0.25]], dtype=np.float32)
    targets = np.array([0, 1, 2])
    found = measure(probabilities, targets, names(3)).log_loss.value
    assert found == pytest.approx(reference.log_loss(targets, probabilities, labels=[0, 1, 2]), rel=1e-6)
    tiny = 2.0**-23
    assert found == pytest.approx(-(math.log(1 - tiny) + math.log(tiny) + math.log(0.25)) / 3, abs=1e-12)


def test_rows_that_do_not_sum_to_one_exactly_are_taken_as_they_are() -> None:
    probabilities = np.array([[0.5, 0.4995], [0.3, 0.7]])
    assert measure(probabilities, [0, 1], names(2)).log_loss.value == pytest.approx(-math.log(0.5 * 0.7) / 2, abs=1e-12)


def test_a_class_without_samples_is_undefined_and_left_out_of_the_means(answers: Maker) -> None:
    probabilities, targets = answers(80, 4, apart=1.0)
    probabilities, targets = probabilities[targets != 3], targets[targets != 3]
    predictions = probabilities.argmax(axis=1)
    assert (predictions == 3).any()
    found = measure(probabilities, targets, names(4))
    last = found.per_class[3]
    assert str(last.recall) == str(last.roc_auc) == "undefined"
    assert last.precision.value == last.f1.value == 0
    with warnings.catch_warnings(action="ignore"):
        expected = reference.balanced_accuracy_score(targets, predictions)
    assert found.balanced_accuracy.value == pytest.approx(expected, abs=1e-12)
    assert found.macro_f1.value == pytest.approx(reference.f1_score(targets, predictions, average="macro"), abs=1e-12)
    areas = [reference.roc_auc_score(targets == label, probabilities[:, label]) for label in range(3)]
    assert found.roc_auc.value == pytest.approx(np.mean(areas), abs=1e-12)
    assert "1 class has no sample here" in str(found)


def test_a_class_that_is_neither_there_nor_answered_is_left_out_of_macro_f1() -> None:
    found = measure([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]], [0, 1], names(3))
    last = found.per_class[2]
    assert not any(value.is_defined for value in (last.precision, last.recall, last.f1, last.roc_auc))
    assert found.macro_f1.value == 1


def test_one_sample_is_enough() -> None:
    found = measure([[0.8, 0.2]], [1], names(2))
    assert found.accuracy.value == 0
    assert found.accuracy.high > 0.7
    assert not found.roc_auc.is_defined
    assert "on 1 sample of 2 classes" in str(found)


def test_a_perfect_answer_is_not_taken_for_sure(answers: Maker) -> None:
    targets = np.arange(60) % 3
    found = measure(np.eye(3)[targets] * 0.94 + 0.02, targets, names(3))
    for interval in (found.accuracy, found.balanced_accuracy, found.macro_f1, found.roc_auc, found.per_class[0].f1):
        assert interval.value == interval.high == 1
        assert 0.8 < interval.low < 0.97
    assert "no mistakes among 60" in str(found)


def test_f1_has_the_interval_of_the_share_it_is_made_of() -> None:
    found, z = f1_interval(40, 50, 55), 1.959963984540054
    assert found.value == pytest.approx(80 / 105)
    for end in (found.low, found.high):
        part = end / (2 - end)  # J, of 65 samples that are or were said to be of the class
        assert (40 / 65 - part) ** 2 == pytest.approx(z * z * part * (1 - part) / 65, abs=1e-12)


def test_the_interval_of_the_area_agrees_with_resampling_the_samples_themselves(answers: Maker) -> None:
    probabilities, targets = answers(400, 2, apart=0.8)
    generator, areas = np.random.default_rng(1), []
    for _ in range(400):
        rows = generator.integers(400, size=400)
        areas.append(reference.roc_auc_score(targets[rows], probabilities[rows, 1]))
    low, high = np.quantile(areas, [0.025, 0.975])
    found = measure(probabilities, targets, names(2)).roc_auc
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.2 * (high - low))


def test_the_interval_of_log_loss_agrees_with_the_normal_one(answers: Maker) -> None:
    probabilities, targets = answers(2_000, 5, apart=0.7)
    losses = -np.log(probabilities[np.arange(2_000), targets])
    half = 1.96 * losses.std() / math.sqrt(2_000)
    found = measure(probabilities, targets, names(5)).log_loss
    assert (found.low, found.high) == pytest.approx((losses.mean() - half, losses.mean() + half), abs=0.2 * half)


def test_the_same_seed_gives_the_same_intervals(answers: Maker) -> None:
    probabilities, targets = answers(100, 3)
    one, two, three = (measure(probabilities, targets, names(3), seed=seed) for seed in (1, 1, 2))
    assert intervals(one) == intervals(two)
    assert one.log_loss != three.log_loss


def test_the_plain_form_is_json_and_holds_every_number(answers: Maker) -> None:
    probabilities, targets = answers(50, 6)
    found = measure(probabilities[targets != 5], targets[targets != 5], names(6))
    plain = json.loads(json.dumps(found.to_plain(), allow_nan=False))
    assert plain["accuracy"] == found.accuracy.to_plain()
    assert plain["top_k"]["3"]["value"] == found.top_k[3].value
    assert plain["classes"][5]["recall"]["value"] is None
    assert np.sum(plain["confusion"]) == plain["count"] == found.count
    assert sum(plain["calibration"]["count"]) == found.count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "chances", "apart"), [(150, [0.5, 0.3, 0.2], 2.0), (300, [0.8, 0.17, 0.03], 3.0), (600, [0.1] * 10, 1.5)]
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(
    answers: Maker, count: int, chances: list[float], apart: float
) -> None:
    size, sets = len(chances), 150

    def sample(many: int, seed: int) -> Metrics:
        return measure(*answers(many, size, apart=apart, seed=seed, chances=chances), names(size), seed=seed)

    truth = intervals(sample(200_000, sets))
    tries = [intervals(sample(count, seed)) for seed in range(sets)]
    for place, true in enumerate(truth):
        drawn = [each[place] for each in tries if each[place].is_defined]
        held = np.mean([interval.low <= true.value <= interval.high for interval in drawn])
        assert held > 0.85, f"interval {place} holds the truth {true.value:.4f} in {held:.0%} of {len(drawn)} sets"
