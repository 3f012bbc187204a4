"""What does the loss do at a rate that is too low, good, high, or far too high?

The small network of the classic course is trained on images as plain vectors, at rates over twelve decades.

Source: Karpathy, Johnson and Li, CS231n at Stanford, winter 2016, lecture 5 (1e-6 and 1e6), and its notes,
"Neural networks, part 3", section "Loss function" (the four curves).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.two_layers import BATCH, TwoLayers, centred_images, descent
from trainwell.pictures.style import CLASSES, NEUTRAL, figure, translucent

RATES = (1e-6, 1e-5, 1e-4, 1e-3, 2e-3, 1e-2, 1.0, 1e6)
LOWEST, GOOD, HIGH, HIGHEST = "1e-06", "0.001", "0.002", "1e+06"
SIZE, STEPS, QUICK_SIZE, QUICK_STEPS, LOOKS = 49_000, 4_900, 20_000, 1_000, 50
GONE = 10.0  # what stands for a cost that is infinite or NaN; ln 10 is 2.3
STILL = 0.01  # of the first cost: what "barely changes" means
AT_ONCE = 10  # steps: what "explodes" means
EARLY, LATE = 0.1, 0.1  # shares of the run: what "at first" and "in the end" mean

ARMS: Mapping[str, Mapping[str, Any]] = {f"{rate:g}": {"rate": rate} for rate in RATES}


@experiments.card(source="Karpathy, Johnson and Li 2016, CS231n, lecture 5 and notes, part 3", claims=(14,))
def loss_curves_by_rate() -> Experiment:
    """Too low a rate crawls, a good one falls far, a high one falls fast and ends higher, a huge one explodes."""
    return Experiment(
        question="What does the loss do at a rate that is too low, good, high, or far too high?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"3,072 levels minus the mean image, 50 ReLU units, weights of 1e-4, plain descent in batches of {BATCH}:"
        f" {STEPS:,} steps, 10 epochs of {SIZE:,} images of our lossy copy of CIFAR-10 ({QUICK_STEPS:,} steps of"
        f" {QUICK_SIZE:,} images in the quick form). A cost is the mean over a fiftieth of the run; one that is"
        f" infinite or NaN is drawn as {GONE:g}, and the run ends there. At first and in the end: the first and the"
        f" last {EARLY:.0%} of the steps. Accuracy is that on the first 1,000 training images.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the cost over training, the step from which it was not finite, and the accuracy."""
    size, steps = (QUICK_SIZE, QUICK_STEPS) if is_quick else (SIZE, STEPS)
    samples = centred_images(seed, size=size)
    network = TwoLayers(samples.features, seed)
    costs: list[float] = []
    for _, cost in zip(range(steps), descent(network, samples, settings["rate"], seed), strict=False):
        if not math.isfinite(cost):
            break
        costs.append(cost)
    every = steps // LOOKS
    curve = np.full(steps, GONE)
    curve[: len(costs)] = np.minimum(costs, GONE)
    return {
        "step": np.arange(every, steps + 1, every).tolist(),
        "cost": curve.reshape(LOOKS, every).mean(axis=1).tolist(),
        "first cost": costs[0],
        "finite steps": float(len(costs)),
        "share of finite steps": len(costs) / steps,
        "accuracy": network.accuracy(samples.inputs[:1000], samples.labels[:1000]),
    }


def judge(table: Table) -> Sequence[Check]:
    """Compare the curves, seed by seed."""
    return [*_ends(table), *_between(table)]


def _part(table: Table, arm: str, *, early: bool) -> NDArray[np.float64]:
    """Return the mean cost at first or in the end for each seed."""
    curve = table.numbers(arm, "cost")
    mean: NDArray[np.float64] = (curve[:, : round(EARLY * LOOKS)] if early else curve[:, -round(LATE * LOOKS) :]).mean(
        1
    )
    return mean


def _ends(table: Table) -> Iterator[Check]:
    first, last = table.numbers(LOWEST, "first cost"), _part(table, LOWEST, early=False)
    fall = (first - last) / first
    yield Check(
        "at 1e-6 the cost barely changes",
        "barely",
        f"from {first.mean():.5f} to {last.mean():.5f}, while accuracy comes to"
        f" {table.numbers(LOWEST, 'accuracy').mean():.1%}",
        f"falls by at most {STILL:.0%} in each seed",
        bool((np.abs(fall) <= STILL).all()),
    )
    survived = table.numbers(HIGHEST, "finite steps")
    yield Check(
        "at 1e6 the cost explodes",
        "NaN",
        f"not finite after {survived.max():.0f} steps",
        f"after at most {AT_ONCE} steps in each seed",
        bool((survived <= AT_ONCE).all()),
    )


def _between(table: Table) -> Iterator[Check]:
    ends = {arm: _part(table, arm, early=False) for arm in ARMS}
    lows = [arm for arm in ARMS if float(arm) <= float(GOOD)]
    falls = [bool((ends[above] < ends[below]).all()) for below, above in pairwise(lows)]
    yield Check(
        "below the good rate a larger rate ends lower",
        "the larger, the faster",
        "in the end " + ", ".join(f"{ends[arm].mean():.3f} at {arm}" for arm in lows),
        "in each seed",
        all(falls),
    )
    others = [ends[arm] for arm in ARMS if arm != GOOD]
    yield Check(
        "1e-3 is a good rate: none of the others ends lower",
        "good",
        f"{ends[GOOD].mean():.3f} in the end, the best of the others {np.min(others, axis=0).mean():.3f}",
        "lowest in each seed",
        bool((ends[GOOD] <= np.min(others, axis=0)).all()),
    )
    fast = {arm: _part(table, arm, early=True) for arm in (GOOD, HIGH)}
    yield Check(
        "at a rate twice as high the cost falls faster at first and ends higher",
        "falls faster, stays worse",
        f"{fast[HIGH].mean():.3f} against {fast[GOOD].mean():.3f} at first, {ends[HIGH].mean():.3f} against"
        f" {ends[GOOD].mean():.3f} in the end",
        "both in each seed",
        bool((fast[HIGH] < fast[GOOD]).all() and (ends[HIGH] > ends[GOOD]).all()),
    )
    yield _still_higher(table)


def _still_higher(table: Table) -> Check:
    still = [arm for arm in ARMS if float(HIGH) < float(arm) < float(HIGHEST)]
    shares = {arm: table.numbers(arm, "finite steps") for arm in still}
    return Check(
        "ten times the good rate and more do not end finite",
        "explodes",
        ", ".join(f"{shares[arm].max():.0f} finite steps at {arm}" for arm in still),
        "in each seed",
        all(bool((table.numbers(arm, "share of finite steps") < 1).all()) for arm in still),
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the cost over training, a line a rate."""
    shape = figure("step", f"Cost of a batch; {GONE:g} stands for infinite", height=420)
    for place, arm in enumerate(ARMS):
        steps, curves = table.numbers(arm, "step")[0], table.numbers(arm, "cost")
        for curve in curves:
            faint = {"color": translucent(CLASSES[place], 0.25), "width": 1}
            shape.add_scatter(x=steps, y=curve, mode="lines", line=faint, showlegend=False, hoverinfo="skip")
        line = {"color": CLASSES[place], "width": 2}
        shape.add_scatter(x=steps, y=curves.mean(axis=0), name=arm, mode="lines", line=line)
    shape.add_hline(y=math.log(10), line={"dash": "dot", "width": 1, "color": NEUTRAL})
    shape.update_yaxes(
        type="log", tickvals=[1, 1.5, 2, math.log(10), 5, GONE], ticktext=["1", "1.5", "2", "ln 10", "5", "∞"]
    )
    caption = "Thick: mean over the seeds. Thin: each seed. Dotted: ln 10, the cost of knowing nothing."
    return [shape.update_layout(meta={"title": "Cost over training by the rate", "caption": caption})]
