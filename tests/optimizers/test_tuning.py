"""YellowFin's formulas: the cubic against numpy.roots and printed numbers, the robust region, the averages by hand."""

import itertools

import numpy as np
import pytest

from trainwell.optimizers.tuning import Averages, Landscape, averaged, joined, landscape, missing_root, single_step


@pytest.mark.parametrize(
    ("distance", "variance", "curvature", "root"),
    [(1.0, 1.0, 1.0, 0.4102454877), (0.5, 2.0, 3.0, 0.3945531593), (0.01, 1.0, 1.0, 0.96361206)],
)
def test_the_root_is_the_printed_one_and_numpys(
    distance: float, variance: float, curvature: float, root: float
) -> None:
    momentum, rate = single_step(Landscape(curvature, curvature, variance, distance), eps=0.0)
    assert np.sqrt(momentum) == pytest.approx(root, abs=5e-9)
    p = (distance * curvature) ** 2 / (2 * variance)
    roots = np.roots([-1, 3, -(3 + p), 1])  # (1 - x)^3 = p x
    (real,) = roots[np.abs(roots.imag) < 1e-9].real
    assert np.sqrt(momentum) == pytest.approx(real, rel=1e-10)
    assert rate == pytest.approx((1 - real) ** 2 / curvature, rel=1e-9)


def test_momentum_and_rate_of_the_unit_bowl_are_the_printed_ones() -> None:
    momentum, rate = single_step(Landscape(1.0, 1.0, 1.0, 1.0), eps=0.0)
    assert momentum == pytest.approx(0.1683013602, abs=5e-11)
    assert rate == pytest.approx(0.3478103848, abs=5e-11)


@pytest.mark.parametrize("p", [1e-30, 1e-14, 1e-6, 1e-2, 1.0, 1e3, 1e8])
def test_the_root_keeps_its_digits_for_any_p(p: float) -> None:
    """1 - x = z solves z^3 = p (1 - z); where p goes to 0 it is p^(1/3), which Vieta's substitution loses."""
    z = missing_root(p)
    assert z**3 == pytest.approx(p * (1 - z), rel=1e-6 if p > 1e4 else 1e-12)
    if p < 1e-13:
        assert z == pytest.approx(p ** (1 / 3) - p ** (2 / 3) / 3, rel=1e-9)


def test_the_step_minimizes_the_papers_objective() -> None:
    """mu D^2 + (1 - sqrt(mu))^4 C / h_min^2 is nowhere lower on a fine grid."""
    grid = np.linspace(0, 1, 20_001) ** 2
    for distance, variance, lowest in itertools.product((0.1, 1.0, 5.0), (0.01, 1.0, 10.0), (0.3, 2.0)):
        momentum, _ = single_step(Landscape(lowest, lowest, variance, distance), eps=0.0)
        objective = grid * distance**2 + (1 - np.sqrt(grid)) ** 4 * variance / lowest**2
        assert grid[objective.argmin()] == pytest.approx(momentum, abs=2e-4)


def test_momentum_covers_the_range_of_curvature() -> None:
    """With k = h_max / h_min = 100 and next to no noise mu is ((10 - 1) / (10 + 1))^2."""
    momentum, rate = single_step(Landscape(100.0, 1.0, 1e-9, 1.0), eps=0.0)
    assert momentum == pytest.approx((9 / 11) ** 2, rel=1e-12)
    assert rate == pytest.approx((2 / 11) ** 2, rel=1e-12)


def test_in_the_robust_region_momentum_contracts_every_curvature_alike() -> None:
    """The spectral radius of momentum on a bowl is sqrt(mu) for all curvatures from h_min to h_max."""
    momentum, rate = single_step(Landscape(50.0, 0.5, 1.0, 1.0), eps=0.0)
    for curvature in np.geomspace(0.5, 50.0, 25):
        matrix = [[1 - rate * curvature + momentum, -momentum], [1.0, 0.0]]
        assert np.abs(np.linalg.eigvals(matrix)).max() == pytest.approx(np.sqrt(momentum), abs=1e-7)


@pytest.mark.parametrize("is_log", [False, True])
def test_averages_of_a_constant_gradient_are_right_from_the_first_step(is_log: bool) -> None:
    averages, mean_square, total = Averages(), 0.0, 0.0
    for _ in range(30):
        averages = averaged(averages, [9.0] * 3, beta=0.9, eps=0.0, is_log=is_log)
        total = 0.9 * total + 0.1 * 3.0
        mean_square = total**2
        seen = landscape(averages, mean_square, beta=0.9, is_log=is_log)
        np.testing.assert_allclose(seen, [9.0, 9.0, 0.0, 1 / 3], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize("before", [0.0, 9.0])
def test_late_parameters_of_a_constant_gradient_count_as_if_they_had_always_been_there(
    is_log: bool, before: float
) -> None:
    alone, whole = Averages(), Averages()
    for _ in range(30):
        alone = averaged(alone, [before], beta=0.9, eps=1e-12, is_log=is_log)
        whole = averaged(whole, [before + 16.0], beta=0.9, eps=1e-12, is_log=is_log)
    np.testing.assert_allclose(joined(alone, 16.0, beta=0.9, eps=1e-12, is_log=is_log), whole, rtol=1e-9)


def test_logarithms_follow_a_falling_curvature_sooner() -> None:
    falling = [2.0**-step for step in range(60)]
    lowest = {}
    for is_log in (False, True):
        averages = Averages()
        for step in range(60):
            averages = averaged(averages, falling[max(0, step - 19) : step + 1], beta=0.9, eps=1e-30, is_log=is_log)
        lowest[is_log] = landscape(averages, 0.0, beta=0.9, is_log=is_log).lowest
    assert lowest[True] < 1e-3 * lowest[False]
