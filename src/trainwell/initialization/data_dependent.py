"""Initial weights that a batch of inputs decides: each layer's outputs are brought to unit variance, in one pass.

The layers are set inside the forward pass, each when the pass reaches it: a layer sees the outputs of those before it
as they are after they were set. The scaled outputs are handed on, so nothing is computed twice.

The network runs in evaluation mode (no dropout, batch norm by its running statistics), and is given back as it was but
for the weights. Where a batch or the network cannot be used, the weights are as before too.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.core.shelves import initializations
from trainwell.core.units import Count, Positive
from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.initialization.looking import (
    Visits,
    channel_dims,
    check_batch,
    check_outputs,
    is_still,
    own_generator,
    require_batch,
    undisturbed,
)
from trainwell.initialization.report import Entry, Report
from trainwell.initialization.scheme import Initialization, drawn, normal
from trainwell.initialization.schemes import Bias, orthonormal
from trainwell.initialization.sites import Site, in_order, require_sites

STILL_WORDS = "not scaled: its outputs do not vary on this batch"
CANCELLING = 0.05  # of the mean square: a variance smaller than that is taken in a second pass over the values


def lsuv_(
    model: nn.Module,
    batch: Tensor,
    *,
    tolerance: float = 0.1,
    max_iterations: int = 10,
    generator: torch.Generator | None = None,
) -> Report:
    """Make all weights orthonormal, then scale each layer so that its outputs on a batch have variance 1.

        W orthonormal, b = 0;   while |Var(B) - 1| >= tolerance:  W <- W / sqrt(Var(B))

    for each layer in the order of execution, Var over batch, channels and positions of its outputs B before the
    activation. The mean is not taken off. A linear or convolutional layer needs one rescaling exactly, done inside the
    pass. Layers that are left alone (frozen, parametrized, norms, embeddings, unknown types) are so wholly.

    Differs from the authors' package, whose tolerance is on the standard deviation, which it divides by plus 1e-8.

    Args:
        model: changed in place.
        batch: (N, ...) inputs, preprocessed as in training; taken to the device and precision of the weights.
        tolerance: of the variance.
        max_iterations: rescalings of one layer, for subclasses of torch's layers whose outputs are not linear in W.
        generator: of the orthonormal draws; by default torch's own.

    Returns:
        What was set; of layers that were not scaled, why; of layers used twice, that the first use has variance 1.

    Raises:
        DataInvalid: the batch is no tensor of at least two samples, or holds NaN or Inf.
        ModelInvalid: no layer can be set; lazy layers; the network cannot take the batch; NaN or Inf inside it.
        OptionInvalid: tolerance or max_iterations is not above 0.

    Source: Mishkin & Matas 2016, "All you need is a good init", arXiv:1511.06422, algorithm 1.

    >>> net = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 50))
    >>> _ = lsuv_(net, torch.randn(64, 20), tolerance=0.01)
    >>> 0.5 < net(torch.randn(64, 20)).var().item() < 2
    True
    """
    if not tolerance > 0 or max_iterations < 1:
        words = "lsuv needs tolerance > 0 and max_iterations >= 1"
        raise OptionInvalid(f"{words}, got {tolerance!r} and {max_iterations!r}")
    sites, left = require_sites(model, choice="lsuv")
    inputs, source = check_batch(model, batch), own_generator(generator)
    entries: list[Entry] = []

    def act(site: Site, given: tuple[Any, ...], output: Tensor) -> Tensor:
        scaled, words = _to_unit_variance(site, given, output, tolerance, max_iterations)
        entries.append(site.entry(words))
        return scaled

    visits = Visits(sites, act=act)
    with undisturbed(model, sites):
        for site in sites:
            site.put(drawn(site, _fill_orthonormal, source))
            site.put_bias(0.0)
        visits.run(model, inputs)
        require_variation(entries, choice="lsuv")
    return reported("lsuv", model, visits, entries, left, "orthonormal")


def _fill_orthonormal(values: Tensor, fans: object, generator: torch.Generator) -> None:
    values.copy_(orthonormal(values.normal_(generator=generator)))


def _to_unit_variance(
    site: Site, given: tuple[Any, ...], output: Tensor, tolerance: float, most: int
) -> tuple[Tensor, str]:
    """Scale a layer; return its outputs afterwards, and what is to be said."""
    if site.tied:
        return output, f"orthonormal, not scaled: {', '.join(site.tied)} holds the same weight"
    factor, variance = 1.0, torch.ones(())
    for count in range(most + 1):
        mean, variance = spread(check_outputs(site, output))
        if bool(is_still(variance, mean)):
            return output, f"orthonormal, {STILL_WORDS}"
        if abs(float(variance) - 1) < tolerance or count == most:
            break
        std = math.sqrt(float(variance))
        site.weight.detach().div_(std)
        factor /= std
        if not site.has_own_forward:
            output, variance = output.div_(std), torch.ones(())
            break
        output = site.module.forward(*given)
    if factor == 1.0:
        return output, f"orthonormal, and its outputs have variance {float(variance):.4g}"
    return output, f"orthonormal, then scaled by {factor:.4g}: its outputs have variance {float(variance):.4g}"


def spread(output: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of all values, from one pass over them where that loses nothing."""
    values = output if output.dtype in (torch.float32, torch.float64) else output.float()
    mean = values.mean()
    square = torch.linalg.vector_norm(values).square() / values.numel()
    variance = square - mean.square()
    if values.dtype == torch.float32 and bool(variance >= CANCELLING * square):
        return mean, variance
    return mean, (values - mean).square_().mean()


def within_layer_(
    model: nn.Module, batch: Tensor, *, bias: float = 0.0, generator: torch.Generator | None = None
) -> Report:
    """Draw Gaussian weights, then scale and shift each channel so that on a batch it has variance 1 and mean `bias`.

        W(i, :) <- W(i, :) / s_i,   b_i <- beta - m_i / s_i

    with mean m_i and standard deviation s_i of channel i over the batch and all positions, before the activation; for
    each layer in the order of execution, in one pass. A layer without bias is scaled alone, and keeps its mean.

    Args:
        model: changed in place.
        batch: (N, ...) inputs, preprocessed as in training; taken to the device and precision of the weights.
        bias: beta, the mean of every channel; 0.1 lets more ReLUs fire at first, as the authors' code does.
        generator: of the draws; by default torch's own.

    Returns:
        What was set; of layers and channels that were not scaled, why. Those have W ~ N(0, 1 / fan_in) and bias beta.

    Raises:
        DataInvalid: the batch is no tensor of at least two samples, or holds NaN or Inf.
        ModelInvalid: no layer can be set; lazy layers; the network cannot take the batch; NaN or Inf inside it.

    Source: Krähenbühl, Doersch, Donahue, Darrell 2016, "Data-dependent initializations of convolutional neural
    networks", arXiv:1511.06856, algorithm 1.

    >>> net = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 5))
    >>> inputs = torch.randn(64, 20)
    >>> _ = within_layer_(net, inputs)
    >>> bool((net(inputs).mean(0).abs() < 1e-5).all()), bool((net(inputs).var(0, correction=0) - 1 < 1e-5).all())
    (True, True)
    """
    sites, left = require_sites(model, choice="within_layer")
    inputs, source = check_batch(model, batch), own_generator(generator)
    entries: list[Entry] = []

    def act(site: Site, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        scaled, words = normalize_channels(site, given, output, bias)
        entries.append(site.entry(f"Gaussian, {words}"))
        return scaled

    visits = Visits(sites, act=act)
    with undisturbed(model, sites):
        for site in sites:
            draw_gaussian(site, source, bias)
        visits.run(model, inputs)
        require_variation(entries, choice="within_layer")
    return reported("within_layer", model, visits, entries, left, "Gaussian")


def draw_gaussian(site: Site, generator: torch.Generator, bias: float) -> None:
    """Set W ~ N(0, 1 / fan_in): what is left of N(0, 1) where nothing is measured."""
    site.put(drawn(site, normal(lambda fans: fans.fan_in**-0.5), generator))
    site.put_bias(bias)


def normalize_channels(site: Site, given: tuple[Any, ...], output: Tensor, bias: float) -> tuple[Tensor, str]:
    """Bring each channel of a layer to variance 1 and mean `bias`; return its outputs afterwards, and the words.

    The bias of the layer must be `bias` before.
    """
    if site.tied:
        return output, f"not scaled: {', '.join(site.tied)} holds the same weight"
    dims = channel_dims(site, check_outputs(site, output))
    values = output if output.dtype == torch.float64 else output.float()
    if site.bias is not None:
        values = values - bias
    mean = values.mean(dims, keepdim=True)
    centred = values - mean
    variance = centred.square().mean(dims, keepdim=True)
    still = is_still(variance, mean)
    scale = torch.where(still, 1.0, variance.clamp_min(torch.finfo(variance.dtype).tiny).rsqrt())
    site.put(site.rows() * scale.reshape(site.groups, -1, 1))
    if site.bias is not None:
        shift = torch.where(still, 0.0, mean * scale)
        site.put_bias((bias - shift).flatten())
        values = centred.mul_(scale).add_(torch.where(still, mean + bias, bias))
    else:
        values = values * scale
    count, words = int(still.sum()), "each channel scaled to variance 1"
    words += f" and mean {bias:g}" if site.bias is not None else "; it has no bias, so means stay"
    if count:
        words += f"; {count} of {still.numel()} channels not, since they do not vary on this batch"
    if count == still.numel():
        words = STILL_WORDS
    return (site.module.forward(*given) if site.has_own_forward else values.to(output.dtype)), words


def require_variation(entries: list[Entry], *, choice: str) -> None:
    """Refuse a batch on which no layer could be measured.

    Raises:
        ModelInvalid: no layer was reached, or the outputs of none vary.
    """
    if not entries:
        raise ModelInvalid(f"{choice} can measure nothing: the batch reaches none of the layers that it can set")
    if all(STILL_WORDS in entry.words for entry in entries):
        raise ModelInvalid(
            f"{choice} can scale no layer: outputs do not vary on this batch, from {entries[0].name or 'the network'}"
            " on; its samples may be all alike, or 0"
        )


def reported(
    choice: str, model: nn.Module, visits: Visits, entries: list[Entry], left: list[Entry], words: str
) -> Report:
    """Return the report of a pass: `entries` of the layers that it reached, `words` for those that it did not."""
    said = {site.name: visits.remark(site) for site in visits.sites}
    done = [Entry(one.name, one.kind, one.is_set, one.words + said[one.name]) for one in entries]
    never = [
        site.entry(f"{words}; never executed on this batch, so not scaled to it")
        for site in visits.sites
        if not visits.counts[site.name]
    ]
    return Report(choice, in_order(model, done + never + left))


@initializations.card(source="Mishkin & Matas 2016, arXiv:1511.06422, algorithm 1", needs_batch=True)
def lsuv(*, tolerance: Positive = 0.1, max_iterations: Count = 10) -> Initialization:
    """Orthonormal weights, each layer scaled to outputs of variance 1 on a batch (layer-sequential unit variance).

    Cures signals that die out or explode whatever the activation, which no formula has to know: deep nets of maxout,
    tanh or odd shapes train without batch norm. Costs about two forward passes, once.

    Args:
        tolerance: of the variance, within which a layer is left as it is.
        max_iterations: rescalings of one layer; one is enough for linear and convolutional ones.

    >>> lsuv()(nn.Linear(5, 5), batch=torch.randn(9, 5)).changed
    ('',)
    """

    def start(model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None) -> Report:
        inputs = require_batch(batch, choice="lsuv")
        return lsuv_(model, inputs, tolerance=tolerance, max_iterations=max_iterations, generator=generator)

    return start


@initializations.card(source="Krähenbühl et al. 2016, arXiv:1511.06856, algorithm 1", needs_batch=True)
def within_layer(*, bias: Bias = 0.0) -> Initialization:
    """Gaussian weights, each channel scaled and shifted to variance 1 and mean `bias` on a batch.

    Cures channels that are always on or always off at the start: all units of a layer learn alike. Costs one forward
    pass, once. What batch norm does in every step this does before the first.

    Args:
        bias: mean of every channel before its activation.

    >>> within_layer(bias=0.1)(nn.Linear(5, 5), batch=torch.randn(9, 5)).changed
    ('',)
    """

    def start(model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None) -> Report:
        return within_layer_(model, require_batch(batch, choice="within_layer"), bias=bias, generator=generator)

    return start
