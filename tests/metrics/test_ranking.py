"""The area under the ROC curve against counting all pairs, its influences against moving a weight."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trainwell.metrics.ranking import roc_auc


def test_the_area_is_the_share_of_pairs_won_and_a_tie_counts_half() -> None:
    generator = np.random.default_rng(0)
    scores, is_positive = generator.integers(5, size=60) / 5, generator.random(60) < 0.3
    pairs = itertools.product(scores[is_positive], scores[~is_positive])
    won = [1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs]
    assert roc_auc(scores, is_positive)[0] == pytest.approx(np.mean(won), abs=1e-12)


def test_an_influence_is_the_slope_of_the_area_in_the_weight_of_a_sample() -> None:
    generator = np.random.default_rng(1)
    scores, is_positive = generator.integers(8, size=40) / 8, generator.random(40) < 0.4
    influences, step = roc_auc(scores, is_positive)[1], 1e-5
    assert influences.mean() == pytest.approx(0, abs=1e-12)
    for sample in range(40):
        ends = []
        for sign in (-1, 1):
            weights = np.ones(40)
            weights[sample] += sign * step
            ends.append(roc_auc_score(is_positive, scores, sample_weight=weights))
        assert influences[sample] / 40 == pytest.approx((ends[1] - ends[0]) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("positive", [True, False])
def test_the_area_of_one_kind_of_sample_is_undefined(positive: bool) -> None:
    area, influences = roc_auc(np.array([0.1, 0.2]), np.array([positive, positive]))
    assert np.isnan(area)
    assert (influences == 0).all()
