"""Weights from patches: the patches themselves against unfold, axes against NumPy, centres against scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional

from trainwell.initialization import kmeans_, pca_
from trainwell.initialization.from_patches import central_rows, principal_rows
from trainwell.initialization.patches import patches_of, some_patches
from trainwell.initialization.sites import Layer, Site


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def site_of(layer: nn.Module) -> Site:
    assert isinstance(layer, Layer)
    return Site("", layer)


LAYERS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Linear(5, 4), (6, 5)),
    (lambda: nn.Conv1d(4, 6, 3, padding=1, groups=2), (5, 4, 9)),
    (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (5, 3, 8, 7)),
    (lambda: nn.Conv2d(4, 6, (3, 2), dilation=2, groups=2, padding="same"), (5, 4, 8, 7)),
    (lambda: nn.Conv2d(4, 4, 3, padding=2, padding_mode="circular"), (5, 4, 8, 7)),
    (lambda: nn.Conv3d(2, 4, 3, padding=1), (3, 2, 5, 4, 6)),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_the_weight_times_the_patches_is_what_the_layer_answers(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    layer = make().double()
    site, inputs = site_of(layer), torch.randn(shape, generator=seeded(), dtype=torch.float64)
    found = torch.einsum("npgd,gmd->ngmp", patches_of(site, inputs), site.rows()).flatten(1, 2)
    expected = layer(inputs).detach() - site.bias.detach().view(-1, *[1] * site.spatial)  # type: ignore[union-attr]
    torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_some_patches_are_all_of_them_or_different_ones(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    site, inputs = site_of(make()), torch.randn(shape, generator=seeded())
    everything = patches_of(site, inputs).flatten(0, 1)
    assert torch.equal(some_patches(site, inputs, 10**6, seeded()), everything)
    few = some_patches(site, inputs, 4, seeded())
    places = [int((everything == patch).flatten(1).all(1).nonzero()[0]) for patch in few]
    assert len(set(places)) == 4


def correlated(count: int, size: int, seed: int = 0) -> np.ndarray:
    dice = np.random.default_rng(seed)
    return np.asarray(dice.standard_normal((count, size)) @ dice.standard_normal((size, size)) + 3)


def test_principal_rows_are_the_eigenvectors_of_the_covariance() -> None:
    patches = correlated(400, 12)
    rows, _ = principal_rows(patches, 7, seed=0)
    _, vectors = np.linalg.eigh(np.cov(patches.T))
    cosines = np.abs(np.sum(rows / np.linalg.norm(rows, axis=1, keepdims=True) * vectors.T[::-1][:7], axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-10)


def test_pca_makes_outputs_white_over_the_patches() -> None:
    """Uncorrelated with variance 1 and mean 0, in every group of a convolution and behind another layer."""
    net = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 6, 1)).double()
    smooth = functional.avg_pool2d(torch.randn(30, 4, 12, 12, generator=seeded(), dtype=torch.float64), 3, 1)
    report = pca_(net, smooth, patches=10**6, generator=seeded())
    assert all("principal axes" in entry.words for entry in report.entries)
    with torch.no_grad():
        outputs = {"0": net[0](smooth), "2": net(smooth)}
    for groups, output in ((2, outputs["0"]), (1, outputs["2"])):
        for part in output.movedim(1, 0).flatten(1).chunk(groups):
            np.testing.assert_allclose(np.cov(part.numpy(), bias=True), np.eye(len(part)), atol=1e-9)
            np.testing.assert_allclose(part.mean(1), 0, atol=1e-10)


def clustered(count: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points close to `size` orthogonal directions and their opposites, at any length."""
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, 2 * size, count)
    directions = np.concatenate([np.eye(size), -np.eye(size)])
    points = directions[labels] * dice.uniform(1, 4, (count, 1)) + 0.02 * dice.standard_normal((count, size))
    return np.asarray(points), directions


def test_centres_of_clear_clusters_are_found() -> None:
    points, directions = clustered(3000, 4)
    rows, _ = central_rows(points, 8, seed=0)
    cosines = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ directions.T
    assert sorted(cosines.argmax(1)) == list(range(8))
    assert cosines.max(1).min() > 0.99


def test_centres_are_about_as_good_as_those_of_ten_starts_of_full_k_means() -> None:
    """On whitened patches of length 1, by the mean squared distance to the nearest centre."""
    patches = correlated(2000, 6)
    rows, _ = central_rows(patches, 6, seed=0)
    centred = patches - patches.mean(0)
    variances, vectors = np.linalg.eigh(np.cov(patches.T))
    back = vectors.T / np.sqrt(variances + 1e-3 * variances.mean())[:, None]
    white = centred @ back.T
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    ours = rows @ np.linalg.inv(back)  # directions of the centres; their best length along each is what they explain
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    theirs = KMeans(6, n_init=10, random_state=0).fit(white).cluster_centers_
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert (white @ ours.T).max(1).mean() > 0.95 * (white @ theirs.T).max(1).mean()


@pytest.mark.parametrize("start", [pca_, kmeans_])
def test_channels_have_variance_one_and_the_mean_asked_for(start: Callable[..., object]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)).double()
    batch = torch.randn(200, 3, 6, 6, generator=seeded(), dtype=torch.float64)
    start(net, batch, bias=0.1, generator=seeded())
    outputs = net(batch).detach()
    assert (outputs.mean(0) - 0.1).abs().max() < 1e-10
    assert (outputs.var(0, correction=0) - 1).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("layer", "batch", "words"),
    [
        (nn.Linear(4, 9), torch.randn(9, 4, generator=seeded()), "patches are too few for 9"),
        (nn.Linear(4, 3), torch.randn(2, 4, generator=seeded()).repeat(20, 1), "too few"),
        (nn.ConvTranspose2d(2, 3, 2), torch.randn(9, 2, 3, 3, generator=seeded()), "Gaussian, since a transposed conv"),
    ],
)
def test_where_patches_are_too_few_a_layer_begins_gaussian(layer: nn.Module, batch: Tensor, words: str) -> None:
    assert words in kmeans_(layer, batch, generator=seeded()).entries[0].words
    if isinstance(layer, nn.ConvTranspose2d) or layer.out_features == 9:  # type: ignore[union-attr]
        assert "Gaussian" in pca_(layer, batch, generator=seeded()).entries[0].words
    weight = layer.weight
    assert isinstance(weight, Tensor)
    assert bool(weight.isfinite().all())


def test_more_outputs_than_axes_leave_gaussian_rows() -> None:
    report = pca_(nn.Linear(4, 9), torch.randn(50, 4, generator=seeded()), generator=seeded())
    assert "4 principal axes and 5 Gaussian rows" in report.entries[0].words


@pytest.mark.parametrize("start", [pca_, kmeans_])
def test_one_seed_gives_the_same_bits(start: Callable[..., object]) -> None:
    nets = [nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)) for _ in range(2)]
    for net in nets:
        start(net, torch.randn(40, 3, 8, 8, generator=seeded(3)), patches=300, generator=seeded(1))
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
