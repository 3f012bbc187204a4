"""Intervals against closed forms and simulation."""

import numpy as np
import pytest

from trainwell.core.stats import bootstrap_median_ratio, share


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (87, 263)])
def test_wilson_interval_solves_its_equation(hits: int, count: int) -> None:
    found, z = share(hits, count), 1.959963984540054
    for end in (found.low, found.high):
        assert (found.value - end) ** 2 == pytest.approx(z * z * end * (1 - end) / count, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_bootstrap_interval_holds_the_true_ratio() -> None:
    generator = np.random.default_rng(3)
    base = generator.uniform(1, 2, 200)
    found = bootstrap_median_ratio((1.5 * base * generator.normal(1, 0.05, 200)).tolist(), base.tolist())
    assert found.low <= 1.5 <= found.high
    assert found.high - found.low < 0.05
