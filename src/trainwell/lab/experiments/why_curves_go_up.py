"""A training curve goes up: is it the rate, a fault in the network, a wrong loss, or the noise of batches?

The same small network is trained five times, four of them with one thing wrong, so that its cost goes up. Three
questions are put to each run, none of which knows what was done to it:

    gradient    does the backward pass agree with central differences of the loss that is trained?
    loss        at a hundredth of the rate, does the cost on all samples fall with the loss that is trained?
    rate        at the rate itself, does the cost on all samples fall?

The first "no" names the reason; three times "yes" leaves the noise of batches, which m samples reduce by sqrt(m).

Source: Karpathy 2019, "A recipe for training neural networks"; Bottou, Curtis and Nocedal 2018, arXiv:1606.04838,
section 4 (noise of batches).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, batches, few_digits, seeded
from trainwell.pictures.style import CLASSES, NEUTRAL, figure

HIDDEN, COUNT, BATCH, SMALL, LARGE = 50, 1_000, 100, 10, 40
GOOD, TOO_HIGH, STEPS, SLOWER = 0.1, 10.0, 200, 100
SLOW_STEPS = 100
PARTS, MOVE = 20, 1e-5  # directions in which the gradient is checked, and how far
WRONG = 1e-2  # relative error from which a gradient is wrong: the course's bound
GONE = 1e3  # what stands for a cost that is infinite or NaN, and for any above it
OFTEN = 0.25  # share of steps that go up: what "goes up again and again" means
NEAR = 0.25  # of 1/2: how near the noise of four times as many samples has to be
HEALTHY, RATE, FAULT, LOSS, NOISE = "healthy", "the rate", "a fault in the network", "a wrong loss", "batch noise"
NOTHING = "none found"

ARMS: Mapping[str, Mapping[str, Any]] = {
    HEALTHY: {"rate": GOOD, "batch": COUNT},
    RATE: {"rate": TOO_HIGH, "batch": BATCH},
    FAULT: {"rate": GOOD, "batch": BATCH, "fault": True},
    LOSS: {"rate": GOOD, "batch": BATCH, "loss": "log-probability without its minus"},
    NOISE: {"rate": GOOD, "batch": SMALL},
}


@experiments.card(source="Karpathy 2019; Bottou et al. 2018, arXiv:1606.04838", claims=(14,))
def why_curves_go_up() -> Experiment:
    """Three measurements tell a rate, a faulty network, a wrong loss and the noise of batches apart."""
    return Experiment(
        question="A training curve goes up: is it the rate, the network, the loss, or the noise of batches?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=10,
        quick_seeds=2,
        note=f"One hidden layer of {HIDDEN} tanh units on {COUNT:,} digits, {STEPS} steps of plain gradient descent in"
        f" float64. Healthy: all samples at once at {GOOD:g}. The rate: {TOO_HIGH:g}. The fault: a layer behind the"
        " scores hands the slope down with the wrong sign. The wrong loss: the log-probability of the right class is"
        f" descended without its minus. Batch noise: batches of {SMALL}. The curve is the cost (cross-entropy, whatever"
        f" is trained) of each batch before its step; infinite or above {GONE:g} is drawn as {GONE:g}. The gradient is"
        f" checked at the first weights in {PARTS} random directions of each layer; it is wrong above {WRONG:g}.",
    )


class _Backwards(torch.autograd.Function):
    """The identity, whose backward pass has the wrong sign."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return -slopes[0]


class Backwards(nn.Module):
    """A layer that changes nothing forward and the sign of the slope backward."""

    def forward(self, values: Tensor) -> Tensor:
        """Return what is given."""
        return _Backwards.apply(values)  # type: ignore[no-any-return, no-untyped-call]


def without_its_minus(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean log-probability of the right classes: falling, it makes them ever less likely."""
    return -cross_entropy(scores, labels)


Loss = Callable[[Tensor, Tensor], Tensor]


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train with one thing wrong, then ask the three questions."""
    few = few_digits(seed, count=COUNT)
    samples = Samples(few.inputs.double().flatten(1), few.labels, few.held_out, few.held_out_labels)
    loss: Loss = without_its_minus if "loss" in settings else cross_entropy

    def start() -> nn.Sequential:
        with seeded(seed, "weights"):
            layers = [nn.Linear(samples.features, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10)]
        fault = [Backwards()] if settings.get("fault") else []
        return nn.Sequential(*layers, *fault).double()

    network = start()
    curve = list(islice(descend(network, samples, loss, settings["rate"], settings["batch"], seed), STEPS))
    slow = start()
    first = cost_of(slow, samples)
    for _ in islice(descend(slow, samples, loss, settings["rate"] / SLOWER, settings["batch"], seed), SLOW_STEPS):
        pass
    return {
        "curve": [min(cost, GONE) if math.isfinite(cost) else GONE for cost in curve],
        "gradient error": gradient_error(start(), samples, loss, seed),
        "cost fell slowly": first - cost_of(slow, samples),
        "cost fell": first - cost_of(network, samples),
        "noise": noise_of(start(), samples, settings["batch"], seed),
    }


def descend(network: nn.Module, samples: Samples, loss: Loss, rate: float, batch: int, seed: int) -> Iterator[float]:
    """Train on a loss without end, and yield the cost of each step's batch as it was before the step."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for inputs, labels in batches(samples, batch, seed):
        optimizer.zero_grad()
        scores = network(inputs)
        loss(scores, labels).backward()
        optimizer.step()
        yield float(cross_entropy(scores.detach(), labels))


def cost_of(network: nn.Module, samples: Samples) -> float:
    """Return the cross-entropy on all samples, at most `GONE`."""
    with torch.no_grad():
        cost = float(cross_entropy(network(samples.inputs), samples.labels))
    return min(cost, GONE) if math.isfinite(cost) else GONE


def gradient_error(network: nn.Module, samples: Samples, loss: Loss, seed: int) -> float:
    """Return the largest relative error |a - n| / max(|a|, |n|) of slopes in random directions, a layer at a time."""
    inputs, labels = samples.inputs[:BATCH], samples.labels[:BATCH]
    network.zero_grad()
    loss(network(inputs), labels).backward()
    worst = 0.0
    with seeded(seed, "directions"), torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            for _ in range(PARTS):
                direction = torch.randn_like(parameter)
                direction /= direction.norm()
                ends = []
                for side in (MOVE, -2 * MOVE):
                    parameter.add_(direction, alpha=side)
                    ends.append(float(loss(network(inputs), labels)))
                parameter.add_(direction, alpha=MOVE)
                ours, theirs = float((parameter.grad * direction).sum()), (ends[0] - ends[1]) / (2 * MOVE)
                worst = max(worst, abs(ours - theirs) / max(abs(ours), abs(theirs), 1e-12))
    return worst


def noise_of(network: nn.Module, samples: Samples, batch: int, seed: int) -> list[float]:
    """Return by how much the cost of batches spreads at the first weights: of one size, and of four times as many."""
    spreads = []
    for size in (batch, 4 * batch):
        drawn = batches(samples, min(size, COUNT), seed)
        with torch.no_grad():
            costs = [float(cross_entropy(network(inputs), labels)) for inputs, labels in islice(drawn, 200)]
        spreads.append(float(np.std(costs)))
    return spreads


def reason(gradient_error: float, fell_slowly: float, fell: float) -> str:
    """Return why a curve goes up, by the first of the three questions that is answered with no.

    >>> reason(0.9, 0.1, 0.1), reason(0.0, -0.1, -0.5), reason(0.0, 0.1, -0.5), reason(0.0, 0.1, 1.0)
    ('a fault in the network', 'a wrong loss', 'the rate', 'batch noise')
    """
    if gradient_error > WRONG:
        return FAULT
    if fell_slowly <= 0:
        return LOSS
    return RATE if fell <= 0 else NOISE


def judge(table: Table) -> Sequence[Check]:
    """Say of each run whether its curve goes up and whether the measurements name what was done to it."""
    checks = []
    for arm in ARMS:
        checks += [_goes_up(table, arm), _named(table, arm)]
    return [*checks, _same(table), _noise(table)]


def _ups(curve: Sequence[float]) -> float:
    return float(np.mean([later > earlier for earlier, later in pairwise(curve)]))


def _goes_up(table: Table, arm: str) -> Check:
    curves = table.numbers(arm, "curve")
    ups = np.array([_ups(curve) for curve in curves])
    words = f"from {curves[:, 0].mean():.2f} to {curves[:, -1].mean():.4g}; {ups.mean():.0%} of the steps go up"
    if arm == HEALTHY:
        return Check("healthy: the curve never goes up", "falls", words, "in each seed", bool((ups == 0).all()))
    if arm == NOISE:
        return Check(
            "batch noise: the curve goes up again and again",
            "goes up and down",
            words,
            f"at least {OFTEN:.0%} of the steps in each seed",
            bool((ups >= OFTEN).all()),
        )
    return Check(
        f"{arm}: the curve ends above its start",
        "goes up",
        words,
        "in each seed",
        bool((curves[:, -1] > curves[:, 0]).all()),
    )


def _named(table: Table, arm: str) -> Check:
    found = [table.numbers(arm, name) for name in ("gradient error", "cost fell slowly", "cost fell")]
    names = [reason(*row) for row in zip(*(numbers.tolist() for numbers in found), strict=True)]
    if arm == HEALTHY:
        ups = [_ups(curve) for curve in table.numbers(arm, "curve")]
        names = [NOTHING if name == NOISE and share == 0 else name for name, share in zip(names, ups, strict=True)]
    slowly, fell = (numbers.mean() for numbers in found[1:])
    expected = NOTHING if arm == HEALTHY else arm
    return Check(
        f"{arm}: the measurements name it",
        expected,
        f"{', '.join(sorted(set(names)))}: gradient error {found[0].max():.1e}, the cost falls by {slowly:.3g} at a"
        f" hundredth of the rate and by {fell:.3g} at the rate",
        "in each seed",
        set(names) == {expected},
    )


def _same(table: Table) -> Check:
    apart = float(np.abs(table.numbers(FAULT, "curve") - table.numbers(LOSS, "curve")).max())
    return Check(
        "the faulty network and the wrong loss have one and the same curve: it cannot tell them apart",
        "the same",
        f"at most {apart:.1e} apart",
        "1e-9 of the cost",
        apart <= 1e-9 * GONE,
    )


def _noise(table: Table) -> Check:
    spreads = table.numbers(NOISE, "noise")
    ratios = spreads[:, 1] / spreads[:, 0]
    return Check(
        "the noise of four times as many samples is half as large",
        "1/2",
        f"{ratios.mean():.3f} ({ratios.min():.3f} to {ratios.max():.3f})",
        f"within {NEAR:.0%} on average",
        abs(float(ratios.mean()) - 0.5) <= 0.5 * NEAR,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the five curves of the first seed."""
    shape = figure("step", "Cost of each batch; cut at a thousand", height=380)
    for place, arm in enumerate(ARMS):
        line = {"color": CLASSES[place], "width": 1.5}
        shape.add_scatter(y=table.numbers(arm, "curve")[0], name=arm, mode="lines", line=line)
    shape.add_hline(y=math.log(10), line={"dash": "dot", "width": 1, "color": NEUTRAL})
    shape.update_yaxes(type="log")
    caption = "One seed. Dotted: ln 10, the cost of knowing nothing."
    return [shape.update_layout(meta={"title": "Four curves that go up, and one that does not", "caption": caption})]
