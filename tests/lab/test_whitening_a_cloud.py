"""The numbers taken from a preprocessed cloud, against NumPy; the distance of means, against its expectation."""

import numpy as np
import pytest
import torch

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.whitening_a_cloud import (
    DRAWS,
    MEAN_ARM,
    SIZES,
    STEPS,
    draw_cloud,
    judge,
    mean_distances,
    measure,
    preprocessed,
)


@pytest.mark.parametrize("name", STEPS)
def test_what_is_measured_are_the_mean_and_the_covariance_of_numpy(name: str) -> None:
    values = measure({"preprocessing": STEPS[name]}, 1, True)
    points = preprocessed(draw_cloud(1), STEPS[name]).numpy()
    wanted = {
        "mean": np.abs(points.mean(0)).max(),
        "variance": np.abs(points.var(0) - 1).max(),
        "covariance": np.abs(np.cov(points.T)[0, 1]),
        "identity": np.abs(np.cov(points.T) - np.eye(2)).max(),
    }
    assert values == pytest.approx(wanted, abs=1e-12)


def test_whitening_agrees_with_a_cholesky_factor_up_to_a_rotation() -> None:
    raw = draw_cloud(0).double().numpy()
    other = np.linalg.solve(np.linalg.cholesky(np.cov(raw.T)), (raw - raw.mean(0)).T).T
    for name in ("whitened", "whitened and rotated back"):
        ours = preprocessed(draw_cloud(0), STEPS[name]).numpy()
        rotation = np.linalg.lstsq(other, ours, rcond=None)[0]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-9)
        np.testing.assert_allclose(other @ rotation, ours, atol=1e-9)


def test_the_mean_of_m_samples_is_off_by_the_deviation_over_the_root_of_m() -> None:
    """A mean square of DRAWS squared distances in 20 dimensions spreads by sqrt(2 / (20 DRAWS)) = 2 %."""
    samples = torch.randn(5000, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = float(samples.var(dim=0, correction=0).sum())
    wanted = np.sqrt(total / np.array(SIZES))
    np.testing.assert_allclose(mean_distances(samples, 0), wanted, rtol=6 * np.sqrt(1 / (2 * 20 * DRAWS)))


def test_a_cloud_that_is_not_centred_is_judged_so() -> None:
    exact = {"mean": 0.0, "variance": 0.0, "covariance": 0.0, "identity": 0.0}
    cells = {name: [exact] for name in STEPS} | {MEAN_ARM: [{"distance": [m**-0.5 for m in SIZES]}]}
    assert all(check.holds for check in judge(Table(cells)))
    cells |= {"centred": [exact | {"mean": 1e-5}], MEAN_ARM: [{"distance": [m**-1.0 for m in SIZES]}]}
    assert [check.claim[:8] for check in judge(Table(cells)) if not check.holds] == ["centred:", "the mean"]
