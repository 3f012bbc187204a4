"""First weights that are directions of the data: principal axes, or centres, of what each layer reads.

Source: Krähenbühl, Doersch, Donahue, Darrell 2016, "Data-dependent initializations of convolutional neural networks",
arXiv:1511.06856, section 3.3; Coates & Ng 2012, "Learning feature representations with k-means".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainwell.core.shelves import initializations
from trainwell.core.units import Count
from trainwell.initialization.data_dependent import (
    draw_gaussian,
    normalize_channels,
    reported,
    require_variation,
)
from trainwell.initialization.looking import Visits, check_batch, own_generator, require_batch, undisturbed
from trainwell.initialization.patches import some_patches
from trainwell.initialization.report import Entry, Report
from trainwell.initialization.scheme import Initialization
from trainwell.initialization.schemes import Bias
from trainwell.initialization.sites import Site, require_sites

PATCHES = 8192  # of a layer: eight or more for each of its weights' rows in usual networks
FLOOR = 1e-3  # of the mean variance of all directions, added to each before it is divided by
LEAST_VARIANCE = 1e-6  # of the largest: directions below hold rounding alone

Rows = NDArray[np.float64]
Finder = Callable[[Rows, int, int], tuple[Rows, str]]


def pca_(
    model: nn.Module,
    batch: Tensor,
    *,
    bias: float = 0.0,
    patches: int = PATCHES,
    generator: torch.Generator | None = None,
) -> Report:
    """Take the principal axes of what each layer reads as its weights, then scale its channels as `within_layer_` does.

    The first rows are the axes of largest variance, largest first; outputs of the layer are uncorrelated over the
    patches. Rows beyond the number of axes are Gaussian. Layers are set in the order of execution, in one pass.

    Args:
        model: changed in place.
        batch: (N, ...) inputs, preprocessed as in training; taken to the device and precision of the weights.
        bias: mean of every channel.
        patches: of a layer, drawn from all samples and positions; at most so many.
        generator: of the draws; by default torch's own.

    Returns:
        What was set. Where a layer has fewer patches than outputs, or is a transposed convolution, which reads no
        patches, it begins Gaussian, and the report says so.

    Raises:
        DataInvalid: the batch is no tensor of at least two samples, or holds NaN or Inf.
        ModelInvalid: no layer can be set; lazy layers; the network cannot take the batch; NaN or Inf inside it.

    >>> net = nn.Linear(6, 3)
    >>> inputs = torch.randn(50, 6)
    >>> _ = pca_(net, inputs)
    >>> torch.allclose(net(inputs).T @ net(inputs) / 50, torch.eye(3), atol=1e-3)
    True
    """
    return _from_patches("pca", principal_rows, model, batch, bias=bias, patches=patches, generator=generator)


def kmeans_(
    model: nn.Module,
    batch: Tensor,
    *,
    bias: float = 0.0,
    patches: int = PATCHES,
    generator: torch.Generator | None = None,
) -> Report:
    """Take the centres of clusters of what each layer reads as its weights, then scale as `within_layer_` does.

    Patches are whitened and brought to length 1 before they are clustered, and the centres brought back. Arguments,
    answers and errors are those of `pca_`.

    >>> net = nn.Linear(6, 3)
    >>> kmeans_(net, torch.randn(50, 6)).changed
    ('',)
    """
    return _from_patches("kmeans", central_rows, model, batch, bias=bias, patches=patches, generator=generator)


def _from_patches(
    choice: str,
    find: Finder,
    model: nn.Module,
    batch: Tensor,
    *,
    bias: float,
    patches: int,
    generator: torch.Generator | None,
) -> Report:
    sites, left = require_sites(model, choice=choice)
    inputs, source = check_batch(model, batch), own_generator(generator)
    words: dict[str, str] = {}
    entries: list[Entry] = []

    def prepare(site: Site, given: tuple[Any, ...]) -> None:
        words[site.name] = _put_rows(site, given[0], find, patches, source)

    def act(site: Site, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        scaled, done = normalize_channels(site, given, output, bias)
        entries.append(site.entry(f"{words[site.name]}, {done}"))
        return scaled

    visits = Visits(sites, act=act, prepare=prepare)
    with undisturbed(model, sites):
        for site in sites:
            draw_gaussian(site, source, bias)
        visits.run(model, inputs)
        require_variation(entries, choice=choice)
    return reported(choice, model, visits, entries, left, "Gaussian")


def _put_rows(site: Site, inputs: Tensor, find: Finder, most: int, generator: torch.Generator) -> str:
    """Write the rows that the inputs of a layer suggest; return what was written."""
    if site.is_transposed:
        return "Gaussian, since a transposed convolution reads no patches"
    if site.tied or not _is_readable(site, inputs):
        return "Gaussian"
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    chosen = some_patches(site, inputs.detach(), most, generator)
    rows, outputs = site.rows().clone(), site.rows().shape[1]
    said = ""
    for group, read in zip(rows, chosen.transpose(0, 1), strict=True):
        values = read.double().cpu().numpy()
        if not np.ptp(values, axis=0).any():
            return "Gaussian, since the patches are all alike"
        found, said = find(values, outputs, seed)
        group[: len(found)] = torch.from_numpy(found).to(group)
    site.put(rows)
    return said


def _is_readable(site: Site, inputs: Tensor) -> bool:
    """Whether inputs are what the layer takes, and finite; if not, the layer itself will say so."""
    module = site.module
    if isinstance(module, nn.Linear):
        fits = inputs.shape[-1:] == (module.in_features,)
    else:
        fits = inputs.dim() == 2 + site.spatial and inputs.shape[1] == module.in_channels
    return fits and bool(inputs.isfinite().all())


def principal_rows(patches: Rows, count: int, seed: int) -> tuple[Rows, str]:
    """Return at most `count` principal axes of patches (P, D), largest variance first, and what they are in words.

    Too few patches give none.
    """
    if len(patches) <= count:
        return patches[:0], f"Gaussian, since {len(patches)} patches are too few for {count} axes"
    axes, variances, _ = _axes(patches, count, seed)
    rows = axes[variances > LEAST_VARIANCE * max(variances[0], 0.0)]
    rest = "" if len(rows) == count else f" and {count - len(rows)} Gaussian rows"
    return rows / np.sqrt(rows.shape[1]), f"{len(rows)} principal axes{rest}"


def central_rows(patches: Rows, count: int, seed: int) -> tuple[Rows, str]:
    """Return `count` centres of whitened patches (P, D) of length 1, in the space of the patches, and the words.

        whitened z = diag(l + floor)^(-1/2) V (x - mean),   rows = centres diag(l + floor)^(-1/2) V

    Too few different patches give none.
    """
    from sklearn.cluster import MiniBatchKMeans

    different = np.unique(patches, axis=0)
    if len(different) <= count:
        return patches[:0], f"Gaussian, since {len(different)} different patches are too few for {count} centres"
    axes, variances, mean = _axes(patches, count, seed)
    kept = variances > LEAST_VARIANCE * max(variances[0], 0.0)
    axes, variances = axes[kept], variances[kept]
    back = axes / np.sqrt(variances + FLOOR * variances.mean())[:, None]
    white = (patches - mean) @ back.T
    lengths = np.linalg.norm(white, axis=1)
    white = white[lengths > 0] / lengths[lengths > 0, None]
    if len(np.unique(white, axis=0)) <= count:
        return patches[:0], f"Gaussian, since too few patches differ for {count} centres"
    found = MiniBatchKMeans(n_clusters=count, batch_size=1024, n_init=1, random_state=seed).fit(white)
    rows = np.asarray(found.cluster_centers_, dtype=np.float64) @ back
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0), f"{count} cluster centres"


def _axes(patches: Rows, count: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Return the first principal axes (at most `count`, D), the variance along each, and the mean (D,)."""
    from sklearn.decomposition import PCA

    found = PCA(min(count, *patches.shape), random_state=seed).fit(patches)
    return found.components_, found.explained_variance_, found.mean_


def _start(choice: Callable[..., Report], name: str, **options: Any) -> Initialization:
    def start(model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None) -> Report:
        return choice(model, require_batch(batch, choice=name), generator=generator, **options)

    return start


@initializations.card(source="Krähenbühl et al. 2016, arXiv:1511.06856, section 3.3", needs_batch=True)
def pca(*, bias: Bias = 0.0, patches: Count = PATCHES) -> Initialization:
    """Principal axes of what each layer reads, each channel then brought to variance 1.

    Features of the first layers are there before training, which helps where data are few. Costs a decomposition
    of each layer's patches: seconds for small networks, minutes for one of the size of ResNet-50.

    Args:
        bias: mean of every channel before its activation.
        patches: of a layer, at most.

    >>> pca()(nn.Linear(5, 5), batch=torch.randn(9, 5)).changed
    ('',)
    """
    return _start(partial(pca_, bias=bias, patches=patches), "pca")


@initializations.card(
    source="Krähenbühl et al. 2016, arXiv:1511.06856, section 3.3; Coates & Ng 2012", needs_batch=True
)
def kmeans(*, bias: Bias = 0.0, patches: Count = PATCHES) -> Initialization:
    """Cluster centres of what each layer reads, each channel then brought to variance 1.

    Like `pca`, with as many features as the layer has outputs, each of them a pattern that occurs. Costs a clustering
    of each layer's patches: seconds for small networks, minutes for one of the size of ResNet-50.

    Args:
        bias: mean of every channel before its activation.
        patches: of a layer, at most.

    >>> kmeans()(nn.Linear(5, 5), batch=torch.randn(9, 5)).changed
    ('',)
    """
    return _start(partial(kmeans_, bias=bias, patches=patches), "kmeans")
