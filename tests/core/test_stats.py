"""Intervals against their closed form."""

import pytest

from trainwell.core.stats import share


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (87, 263)])
def test_wilson_interval_solves_its_equation(hits: int, count: int) -> None:
    found, z = share(hits, count), 1.959963984540054
    for end in (found.low, found.high):
        assert (found.value - end) ** 2 == pytest.approx(z * z * end * (1 - end) / count, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1
