"""Similarity of layers against scikit-learn, textbook definitions in other words, and closed forms for noise."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from sklearn.cross_decomposition import CCA
from torch import Tensor, nn

from trainwell.errors import DataInvalid, OptionInvalid, ShapeError
from trainwell.models.convnet import ConvNet
from trainwell.models.mlp import MLP
from trainwell.probes.similarity import (
    canonical_correlations,
    layer_activations,
    layer_similarities,
    linear_cka,
    pwcca,
    svcca,
    unbiased_cka,
)

Measure = Callable[[Tensor, Tensor], float]
CKAS: tuple[Measure, ...] = (linear_cka, unbiased_cka)


def noise(count: int, units: int, seed: int = 0) -> Tensor:
    return torch.randn(count, units, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def related(count: int = 300, units: int = 6) -> tuple[Tensor, Tensor]:
    """Two sets of units that share some of what they answer to."""
    first = noise(count, units) @ noise(units, units, 1)
    return first, first @ noise(units, units - 1, 2) + 2 * noise(count, units - 1, 3)


def rotation(units: int, seed: int = 7) -> Tensor:
    orthogonal: Tensor = torch.linalg.qr(noise(units, units, seed))[0]
    return orthogonal


def test_correlations_are_one_under_every_invertible_affine_map() -> None:
    x = noise(200, 8)
    stretched = noise(8, 8, 1) @ torch.diag(torch.logspace(0, 3, 8, dtype=torch.float64))
    found = canonical_correlations(x, x @ stretched + 100 * noise(1, 8, 2))
    assert found.shape == (8,)
    assert (found - 1).abs().max() < 1e-12
    assert pwcca(x, x @ stretched) == pytest.approx(1, abs=1e-12)


def test_correlations_of_related_units_do_not_change_under_maps_of_either() -> None:
    x, y = related()
    expected = canonical_correlations(x, y)
    assert 0.05 < expected.min() < expected.max() < 0.99
    for mapped in ((x @ noise(6, 6, 4) - 3, y), (x, y @ noise(5, 5, 5) + 9), (y, x)):
        torch.testing.assert_close(canonical_correlations(*mapped), expected, rtol=0, atol=1e-12)


def test_correlations_are_those_of_scikit_learn() -> None:
    x, y = related()
    ours = canonical_correlations(x, y).numpy()
    u, v = CCA(n_components=5, max_iter=20_000, tol=1e-14).fit_transform(x.numpy(), y.numpy())
    theirs = [np.corrcoef(u[:, place], v[:, place])[0, 1] for place in range(5)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_correlations_are_the_roots_of_the_textbook_equation() -> None:
    x, y = (part.numpy() for part in related())
    xx, yy, xy = np.cov(x.T), np.cov(y.T), np.cov(x.T, y.T)[:6, 6:]
    squares = np.linalg.eigvals(np.linalg.solve(yy, xy.T) @ np.linalg.solve(xx, xy)).real
    expected = np.sqrt(np.sort(squares)[::-1])
    np.testing.assert_allclose(canonical_correlations(*map(torch.from_numpy, (x, y))), expected, rtol=1e-9)
    assert svcca(torch.from_numpy(x), torch.from_numpy(y), energy=1.0) == pytest.approx(expected.mean(), rel=1e-9)


def test_the_mean_is_over_all_coefficients_not_over_the_leading_ones() -> None:
    """Half of the units are shared, half are noise: the published code, which stops at 98 % of the sum, has more."""
    shared = noise(20_000, 4)
    first, second = (torch.cat([shared, noise(20_000, 4, seed)], dim=1) for seed in (1, 2))
    assert svcca(first, second) == pytest.approx(0.5, abs=0.01)


def test_energy_is_a_share_of_the_variance() -> None:
    """Deviations 10, 1 and 0.1: the first direction holds 0.9899 of the variance but 0.9009 of singular values."""
    x = torch.linalg.qr(noise(500, 3) - noise(500, 3).mean(0))[0] @ torch.diag(torch.tensor([10.0, 1.0, 0.1]).double())
    count = {energy: len(canonical_correlations(x, x, energy=energy)) for energy in (0.95, 0.989, 0.995, 0.99995, 1.0)}
    assert count == {0.95: 1, 0.989: 1, 0.995: 2, 0.99995: 3, 1.0: 3}


def test_projection_weights_by_hand() -> None:
    """Orthogonal units of weights 9 and 1; the first is shared and the second is not."""
    base = torch.linalg.qr(noise(400, 3) - noise(400, 3).mean(0))[0]
    first = base[:, :2] * torch.tensor([9.0, 1.0], dtype=torch.float64)
    second = torch.stack([base[:, 0], base[:, 2]], dim=1)
    expected = base[:, 0].abs().sum()  # |h'x| of one unit, in the units of base
    assert canonical_correlations(first, second).tolist() == pytest.approx([1, 0], abs=1e-12)
    assert expected > 0
    assert pwcca(first, second) == pytest.approx(9 / 10, abs=1e-9)
    assert pwcca(second, first) == pytest.approx(1 / 2, abs=1e-9)


@pytest.mark.parametrize("measure", CKAS)
def test_alignment_does_not_mind_rotations_scales_and_shifts(measure: Measure) -> None:
    x, y = related()
    expected = measure(x, y)
    assert 0.05 < expected < 0.95
    for mapped in (x @ rotation(6), -7 * x, x + 1000):
        assert measure(mapped, y) == pytest.approx(expected, abs=1e-9)
        assert measure(mapped, x) == pytest.approx(1, abs=1e-9)
    assert measure(y, x) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", CKAS)
def test_alignment_minds_a_general_linear_map(measure: Measure) -> None:
    x = noise(300, 6)
    stretched = x @ torch.diag(torch.tensor([30.0, 1, 1, 1, 1, 1], dtype=torch.float64))
    assert measure(x, stretched) < 0.6
    assert svcca(x, stretched, energy=1.0) == pytest.approx(1, abs=1e-12)


def test_biased_alignment_is_its_definition_with_kernels() -> None:
    x, y = related(50)
    centring = torch.eye(50, dtype=torch.float64) - 1 / 50
    k, m = (centring @ part @ part.T @ centring for part in (x, y))
    expected = float((k * m).sum() / (k.norm() * m.norm()))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-12)


def test_unbiased_alignment_is_its_definition_with_kernels() -> None:
    """Song et al. 2012, equation 4, word by word."""

    def hsic(k: Tensor, m: Tensor) -> float:
        n, ones = len(k), torch.ones(len(k), dtype=torch.float64)
        k, m = k - k.diag().diag(), m - m.diag().diag()
        middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return float(((k @ m).trace() + middle - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3)))

    x, y = related(30)
    k, m = x @ x.T, y @ y.T
    assert unbiased_cka(x, y) == pytest.approx(hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m)), rel=1e-10)


def test_noise_correlates_as_much_as_theory_says() -> None:
    """The mean square is max(d, e) / (N - 1) exactly; the mean is that of Wachter's limit law."""
    n, d, e, draws = 800, 160, 240, 5
    found = torch.stack([canonical_correlations(noise(n, d, 2 * i), noise(n, e, 2 * i + 1)) for i in range(draws)])
    squares = found.square().mean(dim=1)
    assert squares.mean() == pytest.approx(e / (n - 1), abs=4 * float(squares.std()) / math.sqrt(draws))
    a, b = d / (n - 1), e / (n - 1)
    low, high = ((math.sqrt(a * (1 - b)) + sign * math.sqrt(b * (1 - a))) ** 2 for sign in (-1, 1))

    def weighed(square: float) -> float:
        return math.sqrt(square * (square - low) * (high - square)) / (2 * math.pi * a * square * (1 - square))

    assert found.mean() == pytest.approx(quad(weighed, low, high)[0], abs=2e-3)
    assert found[:, 0].mean() == pytest.approx(math.sqrt(high), abs=0.03)


def test_with_few_samples_noise_correlates_perfectly() -> None:
    """Of 30 and 40 units in 49 dimensions at least 21 directions are common."""
    found = canonical_correlations(noise(50, 30), noise(50, 40, 1))
    assert int((found > 1 - 1e-9).sum()) == 30 + 40 - 49


def test_noise_aligns_near_zero_only_without_bias() -> None:
    pairs = [(noise(60, 100, 2 * i), noise(60, 100, 2 * i + 1)) for i in range(30)]
    assert np.mean([linear_cka(*pair) for pair in pairs]) == pytest.approx(100 / 160, abs=0.02)
    found = [unbiased_cka(*pair) for pair in pairs]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(30)


def test_constant_and_repeated_units_add_nothing() -> None:
    x, y = related()
    padded = torch.cat([x, torch.full((300, 2), 5.3).double(), x[:, :2], torch.zeros(300, 1).double()], dim=1)
    torch.testing.assert_close(canonical_correlations(padded, y), canonical_correlations(x, y), rtol=0, atol=1e-12)
    constant = torch.cat([x, torch.full((300, 2), 5.3).double()], dim=1)
    for measure in (svcca, pwcca, linear_cka, unbiased_cka):
        assert measure(constant, y) == pytest.approx(measure(x, y), abs=1e-12)


def test_rounding_of_single_precision_is_no_direction() -> None:
    """Forty units that are combinations of three: the other thirty-seven directions are rounding."""
    x = (noise(500, 3) @ noise(3, 40, 1)).float()
    nearly = x * 0 + 1 + 1e-7 * noise(500, 40, 4).float()
    assert len(canonical_correlations(x, x)) == 3
    assert len(canonical_correlations(x, nearly)) == 0


@pytest.mark.parametrize("measure", [svcca, pwcca, linear_cka, unbiased_cka])
def test_layers_that_never_vary_have_no_similarity(measure: Measure) -> None:
    assert math.isnan(measure(noise(50, 4), torch.full((50, 3), 2.7)))
    assert math.isnan(measure(torch.full((50, 3), 2.7), noise(50, 4)))
    assert canonical_correlations(torch.ones(5, 2), torch.ones(5, 2)).shape == (0,)


def test_what_cannot_be_compared_is_said() -> None:
    x = noise(20, 4)
    with pytest.raises(ShapeError, match="more samples than units, got 20 samples of 30 units.*unbiased_cka"):
        svcca(x, noise(20, 30))
    with pytest.raises(ShapeError, match="more samples than units, got 4 samples of 4 units"):
        canonical_correlations(x[:4], x[:4])
    with pytest.raises(ShapeError, match=r"second must be \(N, D\), .* got \(20, 2, 2\)"):
        linear_cka(x, noise(20, 4).reshape(20, 2, 2))
    with pytest.raises(ShapeError, match="the same samples, got 20 and 19"):
        linear_cka(x, x[:19])
    with pytest.raises(ShapeError, match="at least 4 samples are needed, got 3"):
        unbiased_cka(x[:3], x[:3])
    with pytest.raises(DataInvalid, match="second holds NaN or Inf"):
        pwcca(x, x * math.inf)
    with pytest.raises(DataInvalid, match=r"first must hold floating point numbers, got torch.int64"):
        linear_cka(x.long(), x)
    for energy in (0.0, 1.1, math.nan):
        with pytest.raises(OptionInvalid, match=r"energy must be in \(0, 1\]"):
            svcca(x, x, energy=energy)


def test_layers_hand_on_what_a_pass_by_hand_gives() -> None:
    torch.manual_seed(0)
    model = MLP(6, 3, hidden=(8, 5), norm="batch", dropout=0.5)
    model(torch.randn(40, 6))
    inputs, before = torch.randn(300, 6), torch.get_rng_state()
    found = layer_activations(model, inputs, batch_size=64)
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    model.eval()
    with torch.no_grad():
        hidden = model.body[:3](inputs)
        torch.testing.assert_close(found["body.0"], hidden)
        torch.testing.assert_close(found["fc"], model(inputs))
    assert [tuple(rows.shape) for rows in found.values()] == [(300, 8), (300, 5), (300, 3)]


def test_maps_are_pooled_or_their_positions_are_samples() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    )
    inputs = torch.randn(30, 2, 6, 6)
    with torch.no_grad():
        maps = model[:2](inputs)
    pooled = layer_activations(model, inputs, batch_size=7)
    torch.testing.assert_close(pooled["0"], maps.mean(dim=(2, 3)))
    positions = layer_activations(model, inputs, maps="positions", batch_size=7)
    torch.testing.assert_close(positions["0"], maps.permute(0, 2, 3, 1).flatten(0, 2))
    torch.testing.assert_close(positions["4"], pooled["4"])
    with pytest.raises(OptionInvalid, match="maps must be 'pooled' or 'positions', got 'mean'"):
        layer_activations(model, inputs, maps="mean")  # type: ignore[arg-type]


def test_layers_that_only_permute_and_scale_their_units_are_alike() -> None:
    """A ReLU net whose hidden channels are permuted and scaled, undone in the layer above, is the same function."""
    torch.manual_seed(0)
    first, second = (ConvNet((1, 8, 8), 10, width=8, depth=2, norm="none") for _ in range(2))
    inputs = torch.randn(200, 1, 8, 8)
    other = layer_similarities(layer_activations(first, inputs), layer_activations(second, inputs))
    second.load_state_dict(first.state_dict())
    order, scale = torch.randperm(8), torch.rand(8) + 0.5
    below, above = [module for module in second.modules() if isinstance(module, nn.Conv2d)][:2]
    with torch.no_grad():
        below.weight.copy_(below.weight[order] * scale.view(-1, 1, 1, 1))
        above.weight.copy_(above.weight[:, order] / scale.view(1, -1, 1, 1))
    same = layer_similarities(
        layer_activations(first, inputs), layer_activations(second, inputs), lambda x, y: svcca(x, y, energy=1.0)
    )
    assert list(same) == list(other)
    assert min(same.values()) > 1 - 1e-6
    assert list(other.values())[-1] < 0.9


def test_layers_that_do_not_match_are_named() -> None:
    small, large = noise(10, 2), noise(10, 30)
    with pytest.raises(DataInvalid, match="body.4, fc is in one of the networks alone"):
        layer_similarities({"body.0": small, "fc": small}, {"body.0": small, "body.4": small})
    with pytest.raises(ShapeError, match="layer fc: canonical correlations need more samples than units"):
        layer_similarities({"body.0": small, "fc": large}, {"body.0": small, "fc": large})
    with pytest.raises(DataInvalid, match="calls no layer that owns weights"):
        layer_activations(nn.ReLU(), small)
