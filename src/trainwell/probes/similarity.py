"""How alike two layers answer to the same samples: canonical correlations (CCA) and centred kernel alignment (CKA).

A layer is a matrix of activations (N, D): a row for each sample, a column for each unit. Both families look past what
the next layer could undo, CCA past any invertible affine map of the units, CKA past rotations and one scale alone, so
that the large directions of a layer count for more. Everything is computed in float64.

A comparison with an earlier moment needs that moment: keep what `layer_activations` returned. It is no probe of a run,
because a run that is resumed no longer knows its first weights.

Source: Raghu et al. 2017, "SVCCA", arXiv:1706.05806; Morcos et al. 2018, arXiv:1806.05759, section 2 (projection
weights); Kornblith et al. 2019, arXiv:1905.00414, section 3 (CKA); Song et al. 2012, "Feature selection via dependence
maximization", equation 4 (the unbiased estimate).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from trainwell.errors import DataInvalid, OptionInvalid, ShapeError
from trainwell.probes.places import underlying
from trainwell.probes.shadow import without_a_trace
from trainwell.probes.watching import MOST_VALUES, watching

ENERGY = 0.99  # of the variance: what SVCCA's directions hold
LEAST_UNBIASED = 4  # samples that the unbiased estimate is defined for
ROUNDING = 100  # units of rounding of the type: a unit or a direction that varies less is taken for constant

Measure = Callable[[Tensor, Tensor], float]
Maps = Literal["pooled", "positions"]


def canonical_correlations(first: Tensor, second: Tensor, *, energy: float = 1.0) -> Tensor:
    """Return the canonical correlations of two sets of units, largest first.

        X = U S V', Y = U~ S~ V~' centred;     the singular values of U' U~

    Each set is first reduced to its leading principal directions that hold a share of its variance, the sum of the
    squared singular values; constant and repeated units add none.

    Args:
        first, second: (N, D) and (N, E) activations to the same N samples; N larger than D and than E.
        energy: share of the variance that is kept, in (0, 1]; 1 keeps every direction, which is plain CCA.

    Returns:
        (min(d, e),) float64 in [0, 1], of d and e directions that were kept; empty where a set has no unit that
        varies. Unrelated units have correlations too: their squares have a mean of max(d, e) / (N - 1), and d + e
        beyond N - 1 makes the excess exactly 1, so N should be many times the units.

    Raises:
        ShapeError: not two matrices of as many samples, or no more samples than units.
        DataInvalid: an activation is NaN or infinite.
        OptionInvalid: energy is not in (0, 1].

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0], [4.0, 2.0]])
    >>> canonical_correlations(x, x @ torch.tensor([[1.0, 2.0], [0.0, 3.0]]) + 7).round(decimals=6).tolist()
    [1.0, 1.0]
    """
    ours, theirs = _directions(first, second, energy)
    found: Tensor = torch.linalg.svdvals(ours.T @ theirs)
    return found.clamp(max=1.0)


def svcca(first: Tensor, second: Tensor, *, energy: float = ENERGY) -> float:
    """Return the mean canonical correlation over all directions that hold a share of the variance, in [0, 1].

    Differences: the mean is over all min(d, e) coefficients. The authors' published code also takes their mean over
    the leading ones that hold 98 % of their sum, which is larger, and its threshold is a share of the singular values;
    here it is one of the variance. The arguments are those of `canonical_correlations`; NaN where a set has no unit
    that varies.

    >>> x = torch.eye(8, dtype=torch.float64)[:, :3]
    >>> round(svcca(x, 2 * x[:, [2, 0, 1]]), 9)
    1.0
    """
    found = canonical_correlations(first, second, energy=energy)
    return float(found.mean()) if len(found) else math.nan


def pwcca(first: Tensor, second: Tensor) -> float:
    """Return the mean canonical correlation weighted by how much of the first set each direction accounts for.

        weight_i = sum_j |h_i' x_j|,     h_i the canonical directions of the first set, x_j its centred units

    It is not symmetric. Difference from the authors' published code, whose directions lack a whitening and which weighs
    by the same set whichever is named: here the directions are orthonormal and the first set gives the weights.

    Args:
        first, second: as in `canonical_correlations`.

    Returns:
        A number in [0, 1]; NaN where a set has no unit that varies.

    Raises:
        ShapeError, DataInvalid: as in `canonical_correlations`.
    """
    ours, theirs = _directions(first, second, 1.0)
    if not (ours.shape[1] and theirs.shape[1]):
        return math.nan
    left, found, _ = torch.linalg.svd(ours.T @ theirs, full_matrices=False)
    weights = ((ours @ left).T @ _varying(first)).abs().sum(dim=1)  # (N, k), (N, D) -> (k,)
    return float((found.clamp(max=1.0) * weights).sum() / weights.sum())


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Return the alignment of two sets of units with a linear kernel, in [0, 1].

        |Y'X|^2 / (|X'X| |Y'Y|)     centred, Frobenius norms

    It is biased upwards where samples are not many times the units: unrelated units have about D E / sqrt((N D + D^2)
    (N E + E^2)). `unbiased_cka` takes that off.

    Args:
        first, second: (N, D) and (N, E) activations to the same N samples; N may be smaller than the units.

    Returns:
        A number in [0, 1]; NaN where a set has no unit that varies.

    Raises:
        ShapeError: not two matrices of as many samples.
        DataInvalid: an activation is NaN or infinite.

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0]])
    >>> round(linear_cka(x, -3 * x[:, [1, 0]] + 5), 9), linear_cka(x, x * 0)
    (1.0, nan)
    """
    ours, theirs = _pair(first, second, least=1)
    if not (ours.shape[1] and theirs.shape[1]):
        return math.nan
    own = torch.linalg.matrix_norm(ours.T @ ours) * torch.linalg.matrix_norm(theirs.T @ theirs)
    return min(1.0, float(torch.linalg.matrix_norm(theirs.T @ ours) ** 2 / own))


def unbiased_cka(first: Tensor, second: Tensor) -> float:
    """Return the linear alignment from estimates without bias: near 0 for unrelated units however few the samples.

        HSIC(K, L) = (tr KL + 1'K1 1'L1 / ((N-1)(N-2)) - 2/(N-2) 1'KL1) / (N(N-3)),     K = XX', L = YY', diagonals 0
        HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

    The estimates are without bias, their quotient nearly so. No matrix (N, N) is made.

    Args:
        first, second: (N, D) and (N, E) activations to the same N samples; N at least 4.

    Returns:
        A number of at most 1, below 0 by chance; NaN where a set has no unit that varies.

    Raises:
        ShapeError: not two matrices of as many samples, or fewer than 4 of them.
        DataInvalid: an activation is NaN or infinite.

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0], [4.0, 2.0]])
    >>> round(unbiased_cka(x, -3 * x[:, [1, 0]] + 5), 9)
    1.0
    """
    ours, theirs = _pair(first, second, least=LEAST_UNBIASED)
    own = _hsic(ours, ours) * _hsic(theirs, theirs)
    return min(1.0, _hsic(ours, theirs) / math.sqrt(own)) if own > 0 else math.nan


def layer_activations(
    model: nn.Module, inputs: Tensor, *, maps: Maps = "pooled", batch_size: int = 256
) -> dict[str, Tensor]:
    """Return what each layer hands on, in evaluation mode, as matrices (samples, units) by the place of the layer.

    What a layer hands on is its output after the last activation function before the next layer. The network is left
    as it was, its mode and random states too.

    Args:
        model: the network.
        inputs: (N, ...) what it takes.
        maps: what is a sample of maps (N, C, H, W): `"pooled"` takes the mean over positions, (N, C), which compares
            networks of any resolution; `"positions"` makes each position a sample, (N H W, C), for networks whose maps
            are of one size. Of a layer with more than 65,536 values a sample, evenly spread positions stand for all.
        batch_size: samples that are computed at once; fewer where their maps are large.

    Raises:
        ModelInvalid and others: whatever the network raises on these inputs.
        DataInvalid: it calls no layer that owns weights.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    >>> {place: tuple(found.shape) for place, found in layer_activations(net, torch.zeros(5, 1, 4, 4)).items()}
    {'0': (5, 4), '3': (5, 3)}
    """
    if maps not in ("pooled", "positions"):
        raise OptionInvalid(f"maps must be 'pooled' or 'positions', got {maps!r}")
    model = underlying(model)
    found: dict[str, list[Tensor]] = {}
    with without_a_trace(model, inputs.device):
        model.eval()
        largest = max((rows.numel() for rows in _rows(model, inputs[:1]).values()), default=0)
        if not largest:
            raise DataInvalid("the network calls no layer that owns weights, so there is nothing to compare")
        for some in inputs.split(max(1, min(batch_size, MOST_VALUES // largest))):
            for place, rows in _rows(model, some).items():
                samples = rows.unflatten(1, (len(some), -1))  # (U, n P) -> (U, n, P)
                samples = samples.mean(dim=2) if maps == "pooled" else samples.flatten(1)
                found.setdefault(place, []).append(samples.T)
    return {place: torch.cat(parts) for place, parts in found.items()}


def layer_similarities(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], measure: Measure = svcca
) -> dict[str, float]:
    """Return how alike the layers of the same place are, in two networks or at two moments of one.

    Args:
        first, second: what `layer_activations` returned for the same inputs.
        measure: (N, D), (N, E) -> number: one of this module, or your own.

    Raises:
        DataInvalid: a place is in one of them alone.
        ShapeError: as the measure does; the layer is named.

    >>> found = {"fc": torch.eye(5)[:, :2]}
    >>> [f"{place}: {value:.6f}" for place, value in layer_similarities(found, {"fc": 3 * found["fc"]}).items()]
    ['fc: 1.000000']
    """
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        raise DataInvalid(
            f"{', '.join(alone)} is in one of the networks alone: compare networks of one structure, or call the"
            " measure on the two layers that you mean"
        )
    return dict(_by_place(first, second, measure))


def _by_place(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], measure: Measure
) -> Iterator[tuple[str, float]]:
    for place, ours in first.items():
        try:
            yield place, measure(ours, second[place])
        except ShapeError as error:
            raise ShapeError(f"layer {place}: {error}") from None


def _rows(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    with watching(model) as outputs:
        model(inputs.clone())
    return {place: output.rows for place, output in outputs.items()}


def _pair(first: Tensor, second: Tensor, *, least: int) -> tuple[Tensor, Tensor]:
    """Return both matrices centred, in float64, without the units that are constant."""
    for name, given in (("first", first), ("second", second)):
        if given.ndim != 2:
            raise ShapeError(
                f"{name} must be (N, D), a row for each sample and a column for each unit, got {tuple(given.shape)}:"
                " make maps such a matrix with layer_activations, or flatten them"
            )
        if not given.is_floating_point():
            raise DataInvalid(f"{name} must hold floating point numbers, got {given.dtype}: convert it with .double()")
        if not bool(torch.isfinite(given).all()):
            raise DataInvalid(f"{name} holds NaN or Inf: compare layers of a network that has not diverged")
    if len(first) != len(second):
        raise ShapeError(
            f"first and second must answer to the same samples, got {len(first)} and {len(second)}: run both networks"
            " on the same inputs, in the same order"
        )
    if len(first) < least:
        raise ShapeError(f"at least {least} samples are needed, got {len(first)}")
    return _varying(first), _varying(second)


def _varying(activations: Tensor) -> Tensor:
    """Return the centred units that vary by more than the rounding of their own values."""
    values = activations.detach().double()
    centred = values - values.mean(dim=0)
    rounding = ROUNDING * torch.finfo(activations.dtype).eps * values.abs().amax(dim=0)
    return centred[:, centred.abs().amax(dim=0) > rounding]


def _directions(first: Tensor, second: Tensor, energy: float) -> tuple[Tensor, Tensor]:
    """Return an orthonormal basis (N, d) of each set's leading principal directions in the space of samples."""
    if not 0.0 < energy <= 1.0:
        raise OptionInvalid(f"energy must be in (0, 1], a share of the variance, got {energy}")
    ours, theirs = _pair(first, second, least=1)
    units = max(first.shape[1], second.shape[1])
    if len(first) <= units:
        raise ShapeError(
            f"canonical correlations need more samples than units, got {len(first)} samples of {units} units: with so"
            " few any two layers correlate perfectly; give more inputs, take positions of maps as samples, or use"
            " linear_cka or unbiased_cka"
        )
    return _leading(ours, energy, first.dtype), _leading(theirs, energy, second.dtype)


def _leading(centred: Tensor, energy: float, dtype: torch.dtype) -> Tensor:
    basis: Tensor
    basis, values, _ = torch.linalg.svd(centred, full_matrices=False)
    if not len(values):
        return basis
    kept = values > ROUNDING * torch.finfo(dtype).eps * values[0]
    if energy < 1.0:
        held = values.square().cumsum(dim=0)
        kept &= held - values.square() < energy * held[-1]  # those before it do not hold enough
    return basis[:, kept]


def _hsic(ours: Tensor, theirs: Tensor) -> float:
    """Return the unbiased estimate from sums over units: (K1)_i = x_i' sum_j x_j - K_ii, and so on."""
    count = len(ours)
    own, their_own = ours.square().sum(dim=1), theirs.square().sum(dim=1)  # (N,) the diagonals
    sums, their_sums = ours @ ours.sum(dim=0) - own, theirs @ theirs.sum(dim=0) - their_own
    product = (ours.T @ theirs).square().sum() - own @ their_own
    product = product + sums.sum() * their_sums.sum() / ((count - 1) * (count - 2))
    return float(product - 2 * (sums @ their_sums) / (count - 2)) / (count * (count - 3))
