"""The sources that need no files: the digits, and points in the plane against their definitions."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from trainwell.core.shelves import sources
from trainwell.data.samples import Samples, Scale


def points(**options: Any) -> tuple[np.ndarray, np.ndarray, Samples]:
    samples = sources.build("points", options)
    assert samples.arrays is not None
    return samples.arrays.numpy(), samples.labels, samples


def test_digits_hold_every_level_of_the_original() -> None:
    samples = sources.build("digits")
    assert samples.arrays is not None
    assert samples.arrays.shape == (1797, 8, 8, 1)
    levels = np.rint(samples.arrays[..., 0].numpy() * (16 / 255))
    original: Any = load_digits()
    assert np.array_equal(levels, original.images)
    assert np.array_equal(samples.labels, original.target)
    assert samples.arrays.max() == 255
    assert samples.arrays.min() == 0


KINDS = ["moons", "circles", "xor", "spirals", "ring", "modes"]


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_balanced_float32_and_seeded(kind: str) -> None:
    x, y, samples = points(kind=kind, samples=501)
    assert x.dtype == np.float32
    assert x.shape == (501, 2)
    assert np.isfinite(x).all()
    assert np.bincount(y).tolist() == [251, 250]
    assert samples.kind == "features"
    again, other = points(kind=kind, samples=501)[0], points(kind=kind, samples=501, seed=1)[0]
    assert np.array_equal(x, again)
    assert not np.array_equal(x, other)


def test_ring_points_are_those_with_norm_from_1_to_2() -> None:
    x, y, samples = points(kind="ring", noise=0, samples=4000)
    norm = np.linalg.norm(x.astype(float), axis=1)
    assert np.array_equal((norm >= 1 - 1e-6) & (norm <= 2 + 1e-6), y == 1)
    assert norm.max() <= 3 + 1e-6
    inside = (norm[y == 0] < 1).mean()  # areas pi and 5 pi
    assert abs(inside - 1 / 6) < 0.03
    assert samples.classes == ("elsewhere", "ring")


def test_xor_classes_are_opposite_quadrants() -> None:
    x, y, _ = points(kind="xor", noise=0)
    assert np.array_equal(x[:, 0] * x[:, 1] < 0, y == 1)
    assert all(((np.sign(x[:, 0]) == a) & (np.sign(x[:, 1]) == b)).sum() > 150 for a in (-1, 1) for b in (-1, 1))


def test_circles_have_radius_1_and_a_half() -> None:
    x, y, _ = points(kind="circles", noise=0)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.where(y == 0, 1.0, 0.5), atol=1e-6)


def test_three_modes_stand_apart_from_everything_else() -> None:
    x, y, _ = points(kind="modes", noise=0, samples=3000)
    angles = np.pi * np.array([1 / 2, 7 / 6, 11 / 6])
    centres = 1.2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distance = np.linalg.norm(x[:, None] - centres, axis=2)
    assert np.array_equal(distance.min(1) <= 0.5 + 1e-6, y == 1)
    assert (np.bincount(distance[y == 1].argmin(1)) > 400).all()


def test_the_levels_of_the_digits_times_their_scale_are_its_images() -> None:
    samples = sources.build("digits", {})
    assert samples.scale == Scale(255 / 16, is_float=True)
    assert samples.arrays is not None
    levels = np.asarray(load_digits().images)
    np.testing.assert_allclose(samples.arrays[..., 0].numpy(), levels * samples.scale.factor, atol=0.5)


def test_moons_are_half_circles_that_reach_into_each_other() -> None:
    x, y, _ = points(kind="moons", noise=0)
    np.testing.assert_allclose(np.linalg.norm(x[y == 0], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(x[y == 1] - [1, 0.5], axis=1), 1, atol=1e-6)
    assert (x[y == 0][:, 1] >= -1e-6).all()
    assert (x[y == 1][:, 1] <= 0.5 + 1e-6).all()


def test_spirals_are_each_other_turned_by_half_a_turn() -> None:
    x, y, _ = points(kind="spirals", noise=0)
    for label, phase in ((0, 0.0), (1, np.pi)):
        mine = x[y == label].astype(float)
        radius = np.linalg.norm(mine, axis=1)
        expected = np.stack([radius * np.cos(np.pi * radius + phase), radius * np.sin(np.pi * radius + phase)], axis=1)
        np.testing.assert_allclose(mine, expected, atol=1e-5)


def test_noise_is_gaussian_of_the_given_size() -> None:
    x, y, _ = points(kind="circles", noise=0.05, samples=20_000)
    along = np.linalg.norm(x[y == 0], axis=1)
    assert abs(along.std() - 0.05) < 0.003


@pytest.mark.parametrize("kind", ["circles", "xor", "ring", "modes"])
def test_no_straight_line_tells_the_classes_apart(kind: str) -> None:
    x, y, _ = points(kind=kind, samples=2000)
    design = torch.from_numpy(np.c_[x, np.ones(len(x))]).double()
    weights = torch.linalg.lstsq(design, torch.from_numpy(2.0 * y - 1).unsqueeze(1)).solution
    accuracy = ((design @ weights).squeeze(1).numpy() > 0) == (y == 1)
    assert accuracy.mean() < 0.7


@pytest.mark.parametrize("kind", ["plane", "gauss"])
def test_points_with_numbers_have_those_of_their_formula(kind: str) -> None:
    samples = sources.build("points", {"kind": kind, "samples": 300, "noise": 0.0})
    assert samples.task == "numbers"
    assert samples.arrays is not None
    x, y = samples.arrays.double().numpy().T
    assert max(abs(x).max(), abs(y).max()) <= 6
    if kind == "plane":
        expected = (x + y) / 10
    else:
        tops = [(-4, 2.5, 1), (0, 2.5, -1), (4, 2.5, 1), (-4, -2.5, -1), (0, -2.5, 1), (4, -2.5, -1)]
        heights = np.array([sign * np.clip(1 - np.hypot(x - a, y - b) / 2, 0, 1) for a, b, sign in tops])
        expected = heights[abs(heights).argmax(0), np.arange(300)]
        assert (expected > 0.5).any()
        assert (expected < -0.5).any()
    np.testing.assert_allclose(samples.labels[:, 0], expected, atol=1e-6)
