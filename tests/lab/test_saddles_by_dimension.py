"""The shares of saddles, against exact ones, and against critical points that are really looked for."""

import numpy as np
import pytest

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.saddles_by_dimension import (
    ARMS,
    DIMENSIONS,
    EXACT,
    FIELD,
    MATRIX,
    hessians,
    judge,
    measure,
)


def test_entries_of_a_fields_hessian_have_the_covariance_of_an_isotropic_one() -> None:
    """E H_ij H_kl = d_ij d_kl + d_ik d_jl + d_il d_jk, within five standard errors of 200,000 draws."""
    drawn = hessians(3, 200_000, is_field=True, seed=0)
    delta = np.eye(3)
    wanted = np.einsum("ij,kl->ijkl", delta, delta) + np.einsum("ik,jl->ijkl", delta, delta)
    wanted += np.einsum("il,jk->ijkl", delta, delta)
    found = np.einsum("nij,nkl->ijkl", drawn, drawn) / len(drawn)
    np.testing.assert_allclose(found, wanted, atol=5 * np.sqrt(2 * 9 / len(drawn)))


def test_critical_points_that_newton_finds_in_a_random_plane_are_saddles_by_half() -> None:
    """On a torus minima and maxima are as many as saddles: a sum of waves whose critical points are all found."""
    generator = np.random.default_rng(3)
    waves = np.array([(k, m) for k in range(-2, 3) for m in range(-2, 3) if (k, m) > (0, 0)], dtype=float)
    cosine, sine = generator.standard_normal((2, len(waves)))
    points = generator.uniform(0, 2 * np.pi, (4000, 2))
    for _ in range(60):
        phase = points @ waves.T
        slope = (-cosine * np.sin(phase) + sine * np.cos(phase)) @ waves
        bend = np.einsum("nw,wi,wj->nij", -cosine * np.cos(phase) - sine * np.sin(phase), waves, waves)
        step = np.linalg.solve(bend + 1e-12 * np.eye(2), slope[:, :, None])[:, :, 0]
        points = points - step * np.minimum(1, 0.3 / np.maximum(np.hypot(*step.T), 1e-12))[:, None]
    kept = np.hypot(*slope.T) < 1e-8
    places = np.unique(np.round(np.exp(1j * points[kept]), 5), axis=0, return_index=True)[1]
    signs = np.sign(np.linalg.det(bend[kept][places]))
    assert len(signs) > 10
    assert signs.sum() == 0


@pytest.mark.parametrize("arm", ARMS)
def test_shares_in_one_to_three_dimensions_are_the_exact_ones(arm: str) -> None:
    found = np.mean([measure(ARMS[arm], seed, True)["share"] for seed in range(10)], axis=0)
    wanted = [EXACT[arm][dimension] for dimension in (1, 2, 3)]
    np.testing.assert_allclose(found[:3], wanted, atol=0.025)  # five errors of 30,000 weighted draws
    assert (np.diff(found[:5]) > 0).all()


def test_a_share_that_falls_is_judged_so() -> None:
    curves = {arm: [EXACT[arm].get(dimension, 1 - 0.1 / dimension) for dimension in DIMENSIONS] for arm in ARMS}
    assert all(check.holds for check in judge(Table({arm: [{"share": curves[arm]}] * 2 for arm in ARMS})))
    curves[MATRIX][4] = 0.9
    checks = judge(Table({arm: [{"share": curves[arm]}] * 2 for arm in ARMS}))
    failing = [check.claim for check in checks if not check.holds]
    assert len(failing) == 1
    assert failing[0].startswith(MATRIX)
    assert FIELD in curves
