"""Make all layers change at the same relative rate, by moving scale from layer to layer; the network's answers stay.

Source: Krähenbühl, Doersch, Donahue, Darrell 2016, "Data-dependent initializations of convolutional neural networks",
arXiv:1511.06856, algorithm 2.
"""

import math
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from trainwell.core.shelves import initializations
from trainwell.core.units import Count, Positive, Unit
from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.initialization.data_dependent import within_layer_
from trainwell.initialization.looking import (
    Visits,
    check_batch,
    check_outputs,
    own_generator,
    require_batch,
    undisturbed,
)
from trainwell.initialization.patches import patches_of
from trainwell.initialization.report import Entry, Report
from trainwell.initialization.scheme import Initialization
from trainwell.initialization.sites import Site, in_order, require_sites

SAMPLES = 64  # the rates are means of squares over samples and weights: more hardly move them
MOST_VALUES = 2**24  # of patches or gradients in memory at a time: 64 MiB in float32


def between_layer_(
    model: nn.Module,
    batch: Tensor,
    *,
    alpha: float = 0.5,
    max_iterations: int = 20,
    tolerance: float = 0.01,
    generator: torch.Generator | None = None,
) -> Report:
    """Scale the layers of a chain against each other until the gradients of all are equally large beside their weights.

        C_k² = E |dl / dW_k|² / |W_k|²,   C = (prod_k C_k)^(1/L),   r_k = (C_k / C)^(alpha / 2)
        W_k <- r_k W_k,   b_k <- (r_1 ... r_k) b_k

    l is a random linear function of the answers, its factors ~ N(0, 1) and the same in all iterations; E is over
    samples, whose gradients are squared one by one. The product of all r_k is 1, so the answers stay as they are.

    Mind the exponent: a weight times r makes C_k smaller by r² where answers stay; with (C / C_k) the rates run apart.

    Start from weights of another initialization, `within_layer_` in the paper. Valid for a chain of layers whose
    activations keep scale, f(s x) = s f(x): ReLU, leaky ReLU, maxout, pooling. A skip or tanh would change the answers:
    that is found out by looking at them, and refused.

    Args:
        model: changed in place.
        batch: (N, ...) inputs, preprocessed as in training; taken to the device and precision of the weights.
        alpha: how much of the way is gone in an iteration, up to 1.
        max_iterations: at most so many, each a forward and a backward pass.
        tolerance: ends when the largest C_k is above the smallest by less than this share.
        generator: of the draws; by default torch's own.

    Returns:
        The factor of each layer, and how far apart the rates were before and after.

    Raises:
        DataInvalid: the batch is no tensor of at least two samples, or holds NaN or Inf.
        ModelInvalid: fewer than two layers can be scaled; no such chain; the network cannot take the batch.
        OptionInvalid: an argument is outside its range.

    >>> net = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 5))
    >>> inputs = torch.randn(32, 20)
    >>> before = net(inputs)
    >>> _ = between_layer_(net, inputs)
    >>> torch.allclose(net(inputs), before, atol=1e-4)
    True
    """
    if not 0 < alpha <= 1 or max_iterations < 1 or not tolerance > 0:
        words = "between_layer needs 0 < alpha <= 1, max_iterations >= 1 and tolerance > 0"
        raise OptionInvalid(f"{words}, got {alpha!r}, {max_iterations!r} and {tolerance!r}")
    sites, left = require_sites(model, choice="between_layer")
    inputs, source = check_batch(model, batch), own_generator(generator)
    with undisturbed(model, sites):
        balance = _Balance(model, inputs, sites, source)
        first = spread = balance.spread()
        count = 0
        while spread > 1 + tolerance and count < max_iterations:
            balance.move(alpha)
            spread, count = balance.spread(), count + 1
    note = f"largest rate of change {first:.4g} times the smallest before, {spread:.4g} after {count} iterations"
    return Report("between_layer", in_order(model, balance.entries() + left), (note,))


class _Balance:
    """The layers of a chain with their rates of change C_k, measured anew after each move."""

    def __init__(self, model: nn.Module, inputs: Tensor, sites: list[Site], generator: torch.Generator) -> None:
        self.model, self.inputs, self.sites = model, inputs, sites
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}
        self.chain: list[Site] = []
        self.visits = self._pass()
        self.expected = self._answers.detach()
        weighting = torch.randn(self.expected.shape, generator=generator, device=generator.device)
        self.weighting = weighting.to(self.expected)
        self.chain = [site for site in self.visits.order if not self.why(site)]
        self.factors = {site.name: 1.0 for site in self.chain}
        self.rates: list[float] = []

    def why(self, site: Site) -> str:
        """Say why a layer is no part of the chain, or nothing."""
        count = self.visits.counts[site.name]
        if site.tied:
            return f"tied to {', '.join(site.tied)}"
        if count != 1:
            return f"used {count} times" if count else "never executed on this batch"
        return "a transposed convolution, whose gradients are not taken by sample" if site.is_transposed else ""

    def entries(self) -> list[Entry]:
        """Return what was done to each layer, and why others are no part of the chain."""
        done = [site.entry(f"scaled by {self.factors[site.name]:.4g}") for site in self.chain]
        return done + [site.entry(self.why(site), is_set=False) for site in self.sites if site not in self.chain]

    def _pass(self) -> Visits:
        def act(site: Site, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if self.chain and site not in self.chain:
                return None
            self.seen[site.name] = (given[0].detach(), check_outputs(site, output))
            return output.clone()  # what follows may overwrite its input

        visits = Visits(self.sites, act=act)
        with torch.enable_grad():
            self._answers = visits.run(self.model, self.inputs)
        return visits

    def spread(self) -> float:
        """Measure C_k of each layer, and return the largest over the smallest.

        Raises:
            ModelInvalid: fewer than two layers to compare, no gradient in one of them, or other answers than at first.
        """
        if len(self.chain) < 2:
            raise ModelInvalid(
                f"between_layer compares layers, and can scale {len(self.chain)} of this network: "
                + "; ".join(f"{site.name}: {self.why(site)}" for site in self.sites if self.why(site))
            )
        if self.rates:
            self._pass()
        self._require_same_answers()
        outputs = [self.seen[site.name][1] for site in self.chain]
        with torch.enable_grad():
            linear = (self._answers * self.weighting).sum()
        if not linear.requires_grad:
            raise ModelInvalid("between_layer: no gradient reaches the layers: the network switches gradients off")
        gradients = torch.autograd.grad(linear, outputs, allow_unused=True)
        self.rates = []
        for site, gradient in zip(self.chain, gradients, strict=True):
            size = 0.0 if gradient is None else mean_squared_gradient(site, self.seen[site.name][0], gradient)
            rate = math.sqrt(size) / float(site.weight.detach().double().norm())
            if not 0 < rate < math.inf:
                raise ModelInvalid(
                    f"between_layer: {site.name} has no gradient on this batch, or an endless one (rate of change"
                    f" {rate}): start from weights that let signals through, such as within_layer's"
                )
            self.rates.append(rate)
        self.seen.clear()
        return max(self.rates) / min(self.rates)

    def move(self, alpha: float) -> None:
        """Scale each layer by r_k, and the biases by what reaches them."""
        logs = [math.log(rate) for rate in self.rates]
        middle, reaching = sum(logs) / len(logs), 1.0
        with torch.no_grad():
            for site, log in zip(self.chain, logs, strict=True):
                factor = math.exp((log - middle) * alpha / 2)
                reaching *= factor
                site.weight.detach().mul_(factor)
                if site.bias is not None:
                    site.bias.detach().mul_(reaching)
                self.factors[site.name] *= factor

    def _require_same_answers(self) -> None:
        answers = self._answers.detach()
        size = float(self.expected.double().norm())
        apart = float((answers - self.expected).double().norm())
        if not apart <= size * math.sqrt(torch.finfo(answers.dtype).eps):
            raise ModelInvalid(
                f"between_layer needs a chain of layers with activations that keep scale (ReLU, leaky ReLU, pooling):"
                f" moving scale between these changed the answers by {apart / max(size, 1e-30):.2g} of their size; the"
                " network has skips, tanh or the like, or norms or biases that are not scaled: use lsuv or within_layer"
            )


def mean_squared_gradient(site: Site, inputs: Tensor, gradient: Tensor) -> float:
    """Return the mean over samples of |dl / dW|², from a layer's inputs and the gradient of its outputs.

    Each sample's gradient is the sum over positions of an outer product, never averaged over samples first.
    """
    rows, outputs, fan_in = site.rows().shape
    total, count = 0.0, max(1, len(inputs))
    positions = gradient[0].numel() // (rows * outputs)
    piece = max(1, MOST_VALUES // max(rows * outputs * fan_in, positions * rows * fan_in))
    for some, slopes in zip(inputs.split(piece), gradient.split(piece), strict=True):
        patches = patches_of(site, some)  # (n, positions, groups, fan_in)
        if site.spatial:
            slopes = slopes.flatten(2).transpose(1, 2)  # (n, M, ...) -> (n, positions, M)
        slopes = slopes.reshape(len(some), positions, rows, outputs)
        each = torch.einsum("npgd,npgm->ngmd", patches, slopes)
        total += float(torch.linalg.vector_norm(each, dtype=torch.promote_types(each.dtype, torch.float32))) ** 2
    return total / count


@initializations.card(source="Krähenbühl et al. 2016, arXiv:1511.06856, algorithm 2", needs_batch=True)
def between_layer(
    *,
    alpha: Annotated[float, Gt(0), Le(1), Unit("share of the way in an iteration")] = 0.5,
    max_iterations: Count = 20,
    tolerance: Positive = 0.01,
    samples: Count = SAMPLES,
) -> Initialization:
    """Within-layer weights, then scale moved between layers until all change at the same relative rate.

    Cures layers that learn much faster or slower than the others, whatever the learning rate. For chains of layers with
    ReLU and the like; networks with skips or tanh are refused. Costs some forward and backward passes, once.

    Args:
        alpha: share of the way gone in an iteration.
        max_iterations: at most so many.
        tolerance: of the rates of change among each other.
        samples: of the batch whose gradients are taken, at most; each costs as much as in training.

    >>> net = nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 3))
    >>> between_layer()(net, batch=torch.randn(9, 9)).changed
    ('0', '2')
    """

    def start(model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None) -> Report:
        inputs, source = require_batch(batch, choice="between_layer"), own_generator(generator)
        options: dict[str, Any] = {"alpha": alpha, "max_iterations": max_iterations, "tolerance": tolerance}
        with undisturbed(model, require_sites(model, choice="between_layer")[0]):  # where the second fails, undo both
            first = within_layer_(model, inputs, generator=source)
            second = between_layer_(model, inputs[:samples], generator=source, **options)
        words = {entry.name: entry.words for entry in second.entries if entry.is_set}
        entries = tuple(_with(entry, words.get(entry.name)) for entry in first.entries)
        return Report("between_layer", entries, second.notes)

    return start


def _with(entry: Entry, words: str | None) -> Entry:
    return entry if words is None else Entry(entry.name, entry.kind, entry.is_set, f"{entry.words}; then {words}")
