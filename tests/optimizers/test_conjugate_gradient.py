"""Conjugate gradients against scipy's, a dense solve, and the printed rule of the stop."""

import math

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from torch import Tensor

from trainwell.optimizers.conjugate_gradient import conjugate_gradient


def system(size: int = 40, condition: float = 1e3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A symmetric positive definite matrix of a condition, and a right side."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
    curvatures = torch.logspace(0, math.log10(condition), size, dtype=torch.float64)
    return axes * curvatures @ axes.T, torch.randn(size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("is_preconditioned", [False, True])
@pytest.mark.parametrize("starts_elsewhere", [False, True])
@pytest.mark.parametrize("iterations", [1, 2, 7, 14, 20])
def test_iterates_are_those_of_scipy(iterations: int, starts_elsewhere: bool, is_preconditioned: bool) -> None:
    matrix, b = system(condition=50)
    start = torch.linspace(-1, 1, len(b), dtype=torch.float64) if starts_elsewhere else None
    diagonal = matrix.diagonal() ** 0.75 if is_preconditioned else None
    ours = conjugate_gradient(
        lambda v: matrix @ v, b, start=start, preconditioner=diagonal, most=iterations, tolerance=0
    )
    theirs, _ = scipy.sparse.linalg.cg(
        matrix.numpy(),
        b.numpy(),
        x0=None if start is None else start.numpy(),
        M=None if diagonal is None else np.diag(1 / diagonal.numpy()),
        rtol=0,
        maxiter=iterations,
    )
    np.testing.assert_allclose(ours.x.numpy(), theirs, rtol=1e-7, atol=1e-9)
    assert ours.iterations == iterations
    assert ours.products == iterations + starts_elsewhere


def test_a_solved_system_ends_it() -> None:
    matrix, b = system(size=8, condition=10)
    found = conjugate_gradient(lambda v: matrix @ v, b, most=100, tolerance=0)
    torch.testing.assert_close(found.x, torch.linalg.solve(matrix, b), rtol=1e-12, atol=1e-12)
    assert found.reason == "solved"
    assert found.iterations <= 12
    assert conjugate_gradient(lambda v: matrix @ v, torch.zeros(8, dtype=torch.float64)).iterations == 0


def test_it_stops_by_the_printed_rule_at_the_printed_iteration() -> None:
    """The rule, applied to phi of the iterates that it would have stopped at."""
    matrix, b = system(size=200, condition=2e4)
    found = conjugate_gradient(lambda v: matrix @ v, b)
    assert found.reason == "progress"
    assert 100 < found.iterations < 200, "the share of a tenth is what counts here"
    phis = {0: 0.0}
    for i in range(1, found.iterations + 1):
        x = conjugate_gradient(lambda v: matrix @ v, b, most=i, tolerance=0).x
        phis[i] = float(x @ matrix @ x / 2 - b @ x)
    stops = [
        i
        for i in range(1, found.iterations + 1)
        for k in [max(10, math.ceil(0.1 * i))]
        if i > k and phis[i] < 0 and (phis[i] - phis[i - k]) / phis[i] < k * 5e-4
    ]
    assert stops == [found.iterations]


def test_kept_iterates_are_the_powers_of_1_3_and_the_last() -> None:
    matrix, b = system(condition=1e6)
    found = conjugate_gradient(lambda v: matrix @ v, b, most=30, tolerance=0)
    assert [iteration for iteration, _, _ in found.iterates] == [1, 2, 3, 4, 5, 7, 9, 11, 14, 18, 24, 30]
    phis = [phi for _, _, phi in found.iterates]
    assert phis == sorted(phis, reverse=True)
    for _, x, phi in found.iterates:
        assert float(x @ matrix @ x / 2 - b @ x) == pytest.approx(phi, rel=1e-9)


def test_a_direction_that_bends_downwards_ends_it() -> None:
    matrix = torch.diag(torch.tensor([2.0, -1.0]))
    found = conjugate_gradient(lambda v: matrix @ v, torch.tensor([1.0, 1.0]))
    assert found.reason == "downwards"
    assert torch.isfinite(found.x).all()
    assert conjugate_gradient(lambda v: v * float("nan"), torch.ones(2)).reason == "downwards"
