"""The landscapes: gradients and Hessians against autograd and differences, minima, and the noise of mini-batches."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from trainwell.errors import NameUnknown, OptionInvalid
from trainwell.lab.landscapes.landscape import Landscape, landscape, landscapes

NAMES = [card.name for card in landscapes]


def somewhere(ground: Landscape, count: int = 8) -> torch.Tensor:
    """Points all over the window, drawn evenly."""
    low, high = torch.tensor(ground.window, dtype=torch.float64).T
    shares = torch.rand(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.lerp(low.expand_as(shares), high.expand_as(shares), shares)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_hessians_are_those_of_autograd(name: str) -> None:
    ground = landscape(name)
    for point in somewhere(ground):
        torch.testing.assert_close(ground.gradient(point), jacobian(ground.value, point), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(ground.hessian(point), hessian(ground.value, point), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_hessians_are_the_limits_of_differences(name: str) -> None:
    ground, step = landscape(name), 1e-5
    points = somewhere(ground)
    for axis in (0, 1):
        nudge = step * torch.eye(2, dtype=torch.float64)[axis]
        rise = (ground.value(points + nudge) - ground.value(points - nudge)) / (2 * step)
        bend = (ground.gradient(points + nudge) - ground.gradient(points - nudge)) / (2 * step)
        size = 1 + float(ground.value(points).abs().max())
        torch.testing.assert_close(ground.gradient(points)[:, axis], rise, rtol=1e-6, atol=1e-8 * size)
        torch.testing.assert_close(ground.hessian(points)[:, axis], bend, rtol=1e-6, atol=1e-7 * size)


@pytest.mark.parametrize("name", NAMES)
def test_at_a_minimum_the_gradient_is_zero_and_the_hessian_positive(name: str) -> None:
    ground = landscape(name)
    (left, right), (bottom, top) = ground.window
    for place in ground.minima:
        point = torch.tensor(place, dtype=torch.float64)
        assert float(ground.gradient(point).norm()) < 1e-9
        assert float(torch.linalg.eigvalsh(ground.hessian(point))[0]) > 0
        assert left < place[0] < right
        assert bottom < place[1] < top
    assert left < ground.start[0] < right
    assert bottom < ground.start[1] < top
    assert ground.lesson.endswith(".")


def test_published_values_hold() -> None:
    assert landscape("rosenbrock").height((-1.2, 1.0)) == pytest.approx(24.2)  # Rosenbrock 1960
    assert landscape("rosenbrock").height((1.0, 1.0)) == 0
    assert landscape("beale").height((3.0, 0.5)) == 0
    assert landscape("beale").height((0.0, 0.0)) == pytest.approx(1.5**2 + 2.25**2 + 2.625**2)
    assert landscape("beale").height((1.0, 1.0)) == pytest.approx(14.203125)  # More, Garbow, Hillstrom 1981


def test_the_saddle_has_curvatures_of_both_signs() -> None:
    ground = landscape("saddle:down=0.25")
    origin = torch.zeros(2, dtype=torch.float64)
    assert ground.gradient(origin).tolist() == [0, 0]
    assert torch.linalg.eigvalsh(ground.hessian(origin)).tolist() == pytest.approx([-0.25, 1.0])


def test_the_bowl_is_as_ill_conditioned_as_asked() -> None:
    matrix = landscape("ravine:shallow=0.5,steep=50").hessian(torch.zeros(2, dtype=torch.float64))
    assert torch.linalg.cond(matrix).item() == pytest.approx(100)


def test_a_landscape_without_a_second_minimum_names_one() -> None:
    assert [len(landscape(f"two_minima:tilt={tilt}").minima) for tilt in (0.1, 0.38, 0.39)] == [2, 2, 1]


@pytest.mark.parametrize("name", ["ill_conditioned_bowl", "ten_terms"])
def test_gradient_noise_falls_as_one_over_the_root_of_the_samples(name: str) -> None:
    """1000 draws of two coordinates know a deviation to 2.2 %: five times that is the tolerance."""
    ground, generator = landscape(name), np.random.default_rng(0)
    point = torch.tensor(ground.start, dtype=torch.float64)
    exact = ground.gradient(point)

    def off(size: int) -> np.ndarray[Any, Any]:
        draws = [(ground.minibatch(size, generator).gradient(point) - exact).numpy() for _ in range(1000)]
        return np.array(draws)

    one, many = off(1), off(16)
    np.testing.assert_allclose(one.std() / many.std(), 4, rtol=0.15)
    np.testing.assert_allclose(one.mean(0), 0, atol=5 * one.std(0).max() / np.sqrt(1000))


def test_a_made_up_noise_has_the_deviation_of_one_sample() -> None:
    ground, generator = landscape("plateau"), np.random.default_rng(1)
    origin = torch.zeros(2, dtype=torch.float64)
    tilts = np.array([ground.minibatch(25, generator).gradient(origin).numpy() for _ in range(1000)])
    assert tilts.std() == pytest.approx(ground.deviation / 5, rel=0.05)


def test_a_mini_batch_is_a_landscape_whose_gradient_is_that_of_its_value() -> None:
    for name in ("beale", "ten_terms"):
        part = landscape(name).minibatch(3, np.random.default_rng(0))
        point = torch.tensor([0.3, -0.4], dtype=torch.float64)
        torch.testing.assert_close(part.gradient(point), jacobian(part.value, point))


def test_all_ten_terms_together_are_the_landscape() -> None:
    ground = landscape("ten_terms")

    everyone = SimpleNamespace(integers=lambda *_: np.arange(10))
    whole = ground.minibatch(10, cast(np.random.Generator, everyone))
    points = somewhere(ground)
    torch.testing.assert_close(whole.value(points), ground.value(points))
    torch.testing.assert_close(whole.gradient(points), ground.gradient(points))


def test_heights_are_laid_out_as_pictures_read_them() -> None:
    ground = landscape("rosenbrock")
    x, y, z = ground.heights(7)
    assert z[5, 2] == pytest.approx(ground.height((x[2], y[5])))


def test_an_unknown_landscape_is_refused_with_the_nearest() -> None:
    with pytest.raises(NameUnknown, match="no landscape is called 'ravin': did you mean 'ravine'"):
        landscape("ravin")
    with pytest.raises(OptionInvalid, match="ill_conditioned_bowl:steep must be a number > 0, got -1"):
        landscape("ill_conditioned_bowl:steep=-1")
    with pytest.raises(OptionInvalid, match="a landscape needs a name"):
        landscape("")
