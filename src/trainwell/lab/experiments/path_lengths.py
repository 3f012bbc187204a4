"""How long are the paths through a residual network, and along which of them does the gradient come?

n units in a row have 2^n paths, each through the branch or the skip of every unit, so that the number of branches on
them is Binomial(n, 1/2). The gradient is the sum of what comes along each path; that of one path of k branches is had
by a backward pass that goes through k units by the branch alone and through all others by the skip alone.

Source: Veit, Wilber & Belongie 2016, "Residual networks behave like ensembles of relatively shallow networks",
arXiv:1605.06431, sections 5.1 to 5.3.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainwell.core.shelves import experiments, models
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import half_digit, shown
from trainwell.lab.plain_loop import accuracy, few_images, seeded
from trainwell.lab.units import Unit, one_way, trained, units_of
from trainwell.models.anatomy import PathLengths, anatomy
from trainwell.models.anatomy.stand_in import without_numbers
from trainwell.pictures.style import CLASSES, NEUTRAL, SYMBOLS, figure

COUNTED, LINEAR, TRAINED = "counted", "linear", "trained"
PRINTED = {(19, 35): ".9802", (5, 17): ".004537"}  # of 54 units
LONGEST_NET, UNITS = 110, 54  # layers, of the source
FEW_UNITS, FEATURES = 6, 5
EXACT = 1e-10
DEPTH, QUICK_DEPTH, WIDTH, RATE, BATCH = 44, 20, 8, 0.1, 64
COUNT, HELD_OUT = 10_000, 1_000
STEPS, QUICK_STEPS = 1_500, 200
POOLED, QUICK_POOLED = 2, 4
DRAWS, QUICK_DRAWS, LOOKED_AT = 20, 4, 32  # paths of each length, images of each
MOST = 0.5  # of the gradient
SHARE = 0.9  # of the gradient, whose lengths are compared with those of all paths

ARMS: Mapping[str, Mapping[str, Any]] = {kind: {"kind": kind} for kind in (COUNTED, LINEAR, TRAINED)}


FEW = f"{SHARE:.0%} of the gradient comes along few of the paths"


@experiments.card(
    source="Veit et al. 2016, arXiv:1605.06431, sections 5.1 to 5.3",
    claims=(21,),
    fails=(FEW,),  # in the quick form, of 9 units
)
def path_lengths() -> Experiment:
    """Path lengths are binomial, and most of the gradient comes along the short paths."""
    return Experiment(
        question="How long are the paths through a residual network, and along which of them does the gradient come?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"Counted and linear: exact. Linear networks of {FEW_UNITS} units x + W x of {FEATURES} features and of"
        f" {FEW_UNITS} convolutional units, float64, all paths one by one; the latter also with ReLU, whose gates stay"
        f" those of the whole pass. Trained, reduced: {DEPTH} layers (21 units) instead of 110, {WIDTH} to {4 * WIDTH}"
        f" channels, {COUNT:,} images of CIFAR-10 averaged to 16x16, {STEPS:,} steps in batches of {BATCH}, rate"
        f" {RATE:g} ({QUICK_DEPTH} layers, 8x8 pixels and {QUICK_STEPS} steps in the quick form). The gradient is that"
        f" of the loss to the pixels, its length a mean over {LOOKED_AT} training images and {DRAWS} paths of each"
        f" number of branches ({QUICK_DRAWS} in the quick form), batch norm with its running statistics; times the"
        " number of such paths, as in the source: lengths add up as if no two paths opposed each other.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Count paths, compare the sum over all with the gradient, or measure what comes along the paths of a network."""
    if settings["kind"] == COUNTED:
        return _counted()
    if settings["kind"] == LINEAR:
        return {
            "dense": dense_distance(seed),
            "convolutions": network_distance(seed, "identity"),
            "convolutions with ReLU": network_distance(seed, "relu"),
        }
    return _trained(seed, is_quick)


def _counted() -> Values:
    lengths = PathLengths(UNITS)
    subsets = list(itertools.product((0, 1), repeat=FEW_UNITS))
    with without_numbers():
        network = models.build("cifar_resnet", {"depth": LONGEST_NET}, in_channels=3, num_classes=10)
    paths = anatomy(network, (3, 32, 32)).paths
    return {
        "share": [lengths.between(*ends) for ends in PRINTED],
        "paths by length": [float(sum(sum(taken) == k for taken in subsets)) for k in range(FEW_UNITS + 1)],
        "units found": float(paths.units if paths is not None else 0),
    }


def dense_distance(seed: int) -> float:
    """Return how far the sum over the paths of a dense linear network is from its gradient, relative to that.

    The paths are products of matrices, taken one by one without any backward pass.
    """
    drawn = torch.Generator().manual_seed(seed)
    weights = torch.randn(FEW_UNITS, FEATURES, FEATURES, generator=drawn, dtype=torch.float64) / math.sqrt(FEATURES)
    last = torch.randn(FEATURES, generator=drawn, dtype=torch.float64)
    inputs = torch.randn(FEATURES, generator=drawn, dtype=torch.float64).requires_grad_()
    values = inputs
    for weight in weights:
        values = values + weight @ values
    (full,) = torch.autograd.grad(last @ values, inputs)
    total = torch.zeros_like(full)
    for taken in itertools.product((False, True), repeat=FEW_UNITS):
        path = last
        for weight, is_branch in zip(weights.flip(0), reversed(taken), strict=True):
            path = path @ weight if is_branch else path
        total += path
    return _distance(total, full)


def network_distance(seed: int, activation: str) -> float:
    """Return how far the sum over the paths of a residual network of the shelf is from its gradient."""
    with seeded(seed, "weights"):
        options = {"depth": 2 * FEW_UNITS + 2, "width": 4, "shortcut": "A", "norm": "none", "activation": activation}
        network = models.build("cifar_resnet", options, in_channels=3, num_classes=10).double().eval()
        inputs = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    labels, units = torch.tensor([1, 7]), units_of(network)
    full = gradient(network, inputs, labels)
    total = torch.zeros_like(full)
    for through in every_path(len(units)):
        with one_way(units, through):
            total += gradient(network, inputs, labels)
    return _distance(total, full)


def every_path(units: int) -> Iterator[tuple[int, ...]]:
    """Yield the units whose branch a path takes, for each of the 2^n paths, the shortest first."""
    for count in range(units + 1):
        yield from itertools.combinations(range(units), count)


def gradient(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the summed cross-entropy to the inputs; that of the weights is not touched."""
    given = inputs.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(cross_entropy(network(given), labels, reduction="sum"), given)
    return found


def _distance(found: Tensor, full: Tensor) -> float:
    return float((found - full).norm() / full.norm())


def _trained(seed: int, is_quick: bool) -> Values:
    pooled, depth = (QUICK_POOLED, QUICK_DEPTH) if is_quick else (POOLED, DEPTH)
    samples = few_images("cifar10", seed, count=COUNT, held_out=HELD_OUT, pooled=pooled)
    choice = "cifar_resnet", {"depth": depth, "width": WIDTH, "shortcut": "A"}
    steps = QUICK_STEPS if is_quick else STEPS
    network, _ = trained(choice, samples, steps=steps, rate=RATE, batch_size=BATCH, seed=seed)
    network.eval()
    chance = np.random.default_rng(seed)

    def look(through: Collection[int]) -> float:
        chosen = torch.from_numpy(chance.permutation(COUNT)[:LOOKED_AT])
        with one_way(units, through):
            found = gradient(network, samples.inputs[chosen], samples.labels[chosen])
        return float(found.flatten(1).norm(dim=1).mean())

    units = units_of(network)
    lengths = lengths_of_paths(units, look, draws=QUICK_DRAWS if is_quick else DRAWS, chance=chance)
    return {
        "gradient of one path": lengths,
        "accuracy": accuracy(network, samples.held_out, samples.held_out_labels),
    }


def lengths_of_paths(
    units: Sequence[Unit], look: Callable[[Collection[int]], float], *, draws: int, chance: np.random.Generator
) -> list[float]:
    """Return how long the gradient along one path of 0, 1, ..., n branches is, a mean over random paths.

    Args:
        units: that the paths go through.
        look: the length of the gradient along the path through these branches.
        draws: paths of each number of branches.
        chance: what they are drawn with.
    """
    found = []
    for count in range(len(units) + 1):
        paths = [sorted(chance.permutation(len(units))[:count].tolist()) for _ in range(draws)]
        found.append(float(np.mean([look(path) for path in paths])))
    return found


def by_length(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the gradient that comes along all paths of each number of branches, (seeds, n + 1)."""
    units = lengths.shape[1] - 1
    total = lengths * np.array([math.comb(units, k) for k in range(units + 1)], dtype=np.float64)
    shares: NDArray[np.float64] = total / total.sum(axis=1, keepdims=True)
    return shares


def central(shares: NDArray[np.float64], share: float) -> tuple[int, int]:
    """Return the ends of the lengths that are left when the shortest and the longest are cut, a half of the rest each.

    >>> central(np.array([0.0, 0.04, 0.5, 0.42, 0.04]), 0.9)
    (2, 3)
    """
    sums = np.cumsum(shares)
    cut = (1 - share) / 2
    return int(np.argmax(sums >= cut)), int(np.argmax(sums >= 1 - cut))


def judge(table: Table) -> Sequence[Check]:
    """Hold the counts to what was printed, the sums to the gradient, and the gradient to the short paths."""
    return [*_counts(table), *_sums(table), *_short(table)]


def _counts(table: Table) -> Iterator[Check]:
    for column, ((low, high), printed) in enumerate(PRINTED.items()):
        share = float(table.numbers(COUNTED, "share")[0, column])
        yield Check(
            f"{UNITS} units: share of the paths with {low} to {high} branches",
            printed,
            f"{share:.7f}",
            "half the last printed digit",
            abs(share - float(printed)) <= half_digit(printed),
        )
    counts, expected = table.numbers(COUNTED, "paths by length")[0], PathLengths(FEW_UNITS).probabilities
    yield Check(
        f"{FEW_UNITS} units: paths by length, counted one by one, are Binomial({FEW_UNITS}, 1/2)",
        ", ".join(f"{2**FEW_UNITS * share:g}" for share in expected),
        ", ".join(f"{count:g}" for count in counts),
        "exact",
        bool((counts == 2**FEW_UNITS * np.array(expected)).all()),
    )
    found = int(table.numbers(COUNTED, "units found")[0])
    yield Check(f"ResNet-{LONGEST_NET} has so many units", str(UNITS), str(found), "exact", found == UNITS)


def _sums(table: Table) -> Iterator[Check]:
    for measure in table.measures(LINEAR):
        worst = float(table.numbers(LINEAR, measure).max())
        kind = "linear network" if "ReLU" not in measure else "network"
        yield Check(
            f"the sum over all 2^{FEW_UNITS} paths of a {kind} is its gradient: {measure}",
            "equal",
            f"apart by {worst:.1e} of its length at most",
            f"{EXACT:g}",
            worst <= EXACT,
        )


def _short(table: Table) -> Iterator[Check]:
    lengths = table.numbers(TRAINED, "gradient of one path")
    shares, units = by_length(lengths), lengths.shape[1] - 1
    below = shares[:, : (units + 1) // 2].sum(axis=1)
    middle = float((shares.mean(axis=0) * np.arange(units + 1)).sum())
    yield Check(
        "most of the gradient comes along paths shorter than the mean path",
        "most",
        f"{below.mean():.1%} of it along fewer than {units / 2:g} of {units} branches; {middle:.1f} on average",
        f"more than {MOST:.0%} in each seed",
        bool(below.min() > MOST),
    )
    low, high = central(shares.mean(axis=0), SHARE)
    part = PathLengths(units).between(low, high)
    yield Check(
        FEW,
        "almost all along 0.45 % of them, of 54 units",
        f"{low} to {high} of {units} branches, which {part:.1%} of the paths have",
        "along less than half of the paths",
        part < 0.5,
    )
    slopes = [float(np.polyfit(np.arange(units + 1), np.log(row), 1)[0]) for row in np.maximum(lengths, 1e-300)]
    nearness = [float(np.corrcoef(np.arange(units + 1), np.log(row))[0, 1]) for row in np.maximum(lengths, 1e-300)]
    yield Check(
        "the gradient along one path shrinks with each branch on it",
        "exponentially",
        f"to {shown(math.exp(float(np.mean(slopes))))} of it by each; correlation of its logarithm with the number of"
        f" branches {max(nearness):.3f} at most",
        "falls, correlation below -.9 in each seed",
        bool(max(slopes) < 0 and max(nearness) < -0.9),
    )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the length of one path's gradient, and how the gradient and the paths are spread over the lengths."""
    lengths = table.numbers(TRAINED, "gradient of one path")
    x = np.arange(lengths.shape[1])
    alone = figure("branches on the path", "Gradient to the pixels along one path", height=320)
    for number, (row, symbol) in enumerate(zip(lengths, SYMBOLS, strict=False)):
        marker = {"color": CLASSES[0], "symbol": symbol, "size": 7}
        alone.add_scatter(x=x, y=row, name=f"seed {number}", mode="markers", marker=marker)
    alone.update_yaxes(type="log", exponentformat="power")
    alone.update_layout(meta={"title": "Gradient along one path", "caption": "Means over random paths and images."})
    spread = figure("branches on the path", "Share", height=320)
    spread.add_bar(x=x, y=by_length(lengths).mean(axis=0), name="of the gradient", marker={"color": CLASSES[1]})
    spread.add_bar(x=x, y=PathLengths(len(x) - 1).probabilities, name="of the paths", marker={"color": NEUTRAL})
    spread.update_yaxes(tickformat=".0%")
    caption = "The gradient: its length along one path, times the number of such paths; mean over the seeds."
    return [alone, spread.update_layout(meta={"title": "Where the gradient comes from", "caption": caption})]
