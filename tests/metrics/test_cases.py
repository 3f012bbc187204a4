"""The samples that people are shown: against sorting by hand, and against labels that were made wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np

from trainwell.metrics import least_certain, likely_label_errors, most_wrong, shown

Maker = Callable[..., Any]


def test_most_wrong_are_mistakes_only_worst_first(answers: Maker) -> None:
    probabilities, targets = answers(200, 4, apart=1.0)
    mistakes = [(probabilities[n, targets[n]], n) for n in range(200) if probabilities[n].argmax() != targets[n]]
    assert most_wrong(probabilities, targets, 10).tolist() == [n for _, n in sorted(mistakes)[:10]]
    assert len(most_wrong(probabilities, targets, 1_000)) == len(mistakes)


def test_least_certain_have_the_smallest_margin(answers: Maker) -> None:
    probabilities, _ = answers(200, 4, apart=1.0)
    margins = [(sorted(row)[-1] - sorted(row)[-2], n) for n, row in enumerate(probabilities)]
    assert least_certain(probabilities, 10).tolist() == [n for _, n in sorted(margins)[:10]]


def test_labels_that_were_made_wrong_are_found(answers: Maker) -> None:
    probabilities, targets = answers(1_000, 5, apart=4.0)
    spoiled = np.random.default_rng(0).choice(1_000, size=40, replace=False)
    given = targets.copy()
    given[spoiled] = (given[spoiled] + 1 + spoiled % 4) % 5
    found = likely_label_errors(probabilities, given, 40)
    assert len(set(found.tolist()) & set(spoiled.tolist())) >= 38


def test_likely_label_errors_follow_confident_learning_by_the_letter(answers: Maker) -> None:
    probabilities, targets = answers(300, 3, apart=0.7)
    thresholds = [probabilities[targets == label, label].mean() for label in range(3)]
    suspects = []
    for n, (row, given) in enumerate(zip(probabilities, targets, strict=True)):
        believed = [row[label] for label in range(3) if label != given and row[label] >= thresholds[label]]
        if row[given] < thresholds[given] and believed and max(believed) > row[given]:
            suspects.append((row[given] - max(believed), n))
    assert len(suspects) > 10
    assert likely_label_errors(probabilities, targets, 300).tolist() == [n for _, n in sorted(suspects)]


def test_a_class_without_samples_is_never_believed() -> None:
    assert likely_label_errors([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]], [0, 0, 0], 5).tolist() == []


def test_shown_takes_from_the_three_lists_in_turn_and_no_sample_twice(answers: Maker) -> None:
    probabilities, targets = answers(500, 4, apart=1.0)
    found = shown(probabilities, targets, n=30)
    assert found.dtype == np.int64
    assert len(set(found.tolist())) == len(found) == 30
    firsts = most_wrong(probabilities, targets, 1)[0], least_certain(probabilities, 1)[0]
    assert (found[0], found[1]) == firsts
    assert set(likely_label_errors(probabilities, targets, 5).tolist()) <= set(found.tolist())
    assert len(shown(probabilities[:3], targets[:3], n=30)) == 3
    assert shown(probabilities, targets, n=0).tolist() == []


def test_equal_samples_keep_their_order() -> None:
    assert most_wrong([[0.9, 0.1]] * 4, [1, 1, 1, 1], 3).tolist() == [0, 1, 2]
    assert least_certain([[0.9, 0.1]] * 4, 3).tolist() == [0, 1, 2]
