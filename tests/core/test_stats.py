"""Intervals against their closed forms, and resampling against what it must give on average."""

import math

import numpy as np
import pytest
from scipy import stats

from trainwell.core.stats import (
    UNDEFINED,
    Interval,
    bootstrap,
    bootstrap_counts,
    mean_interval,
    percentile_interval,
    reversed_interval,
    share,
)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (87, 263)])
def test_wilson_interval_solves_its_equation(hits: int, count: int) -> None:
    found, z = share(hits, count), 1.959963984540054
    for end in (found.low, found.high):
        assert (found.value - end) ** 2 == pytest.approx(z * z * end * (1 - end) / count, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_an_undefined_interval_says_so() -> None:
    assert str(UNDEFINED) == "undefined"
    assert not UNDEFINED.is_defined
    assert UNDEFINED.to_plain() == {"value": None, "low": None, "high": None}
    assert Interval(0.5, 0.25, 0.75).to_plain() == {"value": 0.5, "low": 0.25, "high": 0.75}


def test_resampled_means_spread_like_the_standard_error() -> None:
    values = np.random.default_rng(3).gamma(2, size=(500, 2))
    means = bootstrap(values, seed=0, resamples=4_000)
    assert means.shape == (4_000, 2)
    np.testing.assert_allclose(means.mean(axis=0), values.mean(axis=0), rtol=0.005)
    np.testing.assert_allclose(means.std(axis=0), values.std(axis=0) / math.sqrt(500), rtol=0.05)


def test_columns_are_resampled_together() -> None:
    values = np.random.default_rng(0).normal(size=(50, 1))
    means = bootstrap(np.hstack([values, -values]), seed=0, resamples=20)
    np.testing.assert_allclose(means[:, 0], -means[:, 1], atol=1e-15)


def test_resamples_do_not_depend_on_how_many_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    whole = bootstrap(values, seed=5, resamples=20)
    monkeypatch.setattr("trainwell.core.stats._DRAWS_AT_ONCE", 150)
    np.testing.assert_allclose(bootstrap(values, seed=5, resamples=20), whole, rtol=1e-12)


def test_the_seed_decides_the_resamples() -> None:
    values = np.arange(20.0)[:, None]
    assert (bootstrap(values, seed=1) == bootstrap(values, seed=1)).all()
    assert (bootstrap(values, seed=1) != bootstrap(values, seed=2)).any()


def test_counts_are_resampled_like_the_samples_they_count() -> None:
    counts = np.array([5, 0, 20, 75])
    drawn = np.array(list(bootstrap_counts(counts, seed=0, resamples=5_000)))
    assert (drawn.sum(axis=1) == 100).all()
    assert (drawn[:, 1] == 0).all()
    np.testing.assert_allclose(drawn.mean(axis=0), counts, rtol=0.02)
    np.testing.assert_allclose(drawn.var(axis=0), counts * (1 - counts / 100), rtol=0.08)


def test_percentiles_hold_the_value_even_where_all_resamples_lie_beside_it() -> None:
    assert percentile_interval(0.2, np.array([0.5, 0.5])) == Interval(0.2, 0.2, 0.5)


def test_the_reversed_interval_is_the_mirror_of_the_percentiles() -> None:
    resampled = np.random.default_rng(0).gamma(2, size=999)
    straight, mirrored = percentile_interval(2.0, resampled), reversed_interval(2.0, resampled)
    assert mirrored.low == pytest.approx(4 - straight.high)
    assert mirrored.high == pytest.approx(4 - straight.low)


@pytest.mark.parametrize("count", [3, 30, 300])
def test_a_mean_of_one_perfect_share_has_the_exact_binomial_end(count: int) -> None:
    found = mean_interval(np.ones(1), np.array([count]), np.ones(1_000), seed=0)
    exact = stats.binomtest(count, count).proportion_ci(0.95, method="exact")
    assert found.low == pytest.approx(exact.low, rel=0.01)
    assert found.high == 1


def test_a_mean_of_shares_without_a_hit_has_the_mirrored_end() -> None:
    ones = mean_interval(np.ones(2), np.array([50, 5]), np.ones(1_000), seed=0)
    zeros = mean_interval(np.zeros(2), np.array([50, 5]), np.zeros(1_000), seed=0)
    assert (zeros.low, zeros.value, zeros.high) == pytest.approx((0, 0, 1 - ones.low))


def test_a_small_perfect_share_keeps_the_mean_unsure() -> None:
    resampled = np.random.default_rng(0).normal(0.995, 0.001, size=1_000)
    shares = np.array([0.99, 1.0])
    assert mean_interval(shares, np.array([10_000, 5]), resampled, seed=0).low < 0.8
    assert mean_interval(shares, np.array([10_000, np.inf]), resampled, seed=0).low > 0.99


def test_a_shift_by_resampling_alone_is_taken_back() -> None:
    resampled = np.random.default_rng(0).normal(0.4, 0.01, size=1_000)
    found = mean_interval(np.full(100, 0.5), np.full(100, np.inf), resampled, seed=0)
    assert (found.low, found.high) == pytest.approx((0.48, 0.52), abs=0.002)
