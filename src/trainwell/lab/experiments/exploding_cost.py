"""Does a rate that is a little too high train for a while and then explode?

The course printed, at 3e-3 and epoch by epoch, a cost of 2.19, 2.18, 1.94, 1.83, then inf, while the accuracy on the
training images fell from .308 to .128.

Source: Karpathy, Johnson and Li, CS231n at Stanford, winter 2016, lecture 5, "babysitting the learning process".
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.two_layers import BATCH, TwoLayers, centred_images, descent
from trainwell.pictures.style import CLASSES, NEUTRAL, figure, translucent

EVERY = 100  # steps from look to look
SIZE, LOOKS, QUICK_SIZE, QUICK_LOOKS = 49_000, 49, 20_000, 30
AFTER = 2  # looks after the first infinite one: the rest of the run is taken to stay so
GONE = 10.0  # what stands for a cost that is infinite or NaN, and for any above it; ln 10 is 2.3
LEARNED, LOST = 0.25, 0.15  # accuracies: chance is .1, printed are .308 before and .128 after
AWHILE = 4  # looks with a finite cost: the printed run has as many
TOO_HIGH, GOOD = "3e-3", "1e-3"

ARMS: Mapping[str, Mapping[str, Any]] = {TOO_HIGH: {"rate": 3e-3}, GOOD: {"rate": 1e-3}}


LOSES = "at 3e-3 what was learned is lost"


@experiments.card(
    source="Karpathy, Johnson and Li 2016, CS231n, lecture 5",
    claims=(14,),
    fails=(LOSES,),  # in the full form, whose seeds keep a little more than the bound on average
)
def exploding_cost() -> Experiment:
    """At 3e-3 the cost falls, stays high for a while and jumps to infinity; at 1e-3 it falls on."""
    return Experiment(
        question="Does a rate that is a little too high train for a while and then explode?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"The network of `loss_curves_by_rate`. A look is {EVERY} steps in batches of {BATCH}; {LOOKS} looks are"
        f" 10 epochs of {SIZE:,} images ({QUICK_LOOKS} looks of {QUICK_SIZE:,} images in the quick form). The cost of a"
        " look is that of its last batch, as the course prints it: infinite once the probability of a right class is"
        " rounded to 0 in double precision, while the weights are still finite. Compared is the shape, not the digits:"
        " when it comes depends on the order of the batches, and how long an epoch of the course is is not said."
        f" {AFTER} looks after the first infinite cost the run is stopped and its accuracy held.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return cost and accuracy at each look, and at how many looks the cost was finite."""
    size, looks = (QUICK_SIZE, QUICK_LOOKS) if is_quick else (SIZE, LOOKS)
    samples = centred_images(seed, size=size)
    network = TwoLayers(samples.features, seed)
    run = descent(network, samples, settings["rate"], seed)
    costs: list[float] = []
    accuracies: list[float] = []
    while len(costs) < looks and sum(not math.isfinite(cost) for cost in costs) <= AFTER:
        costs.append(list(islice(run, EVERY))[-1])
        accuracies.append(network.accuracy(samples.inputs[:1000], samples.labels[:1000]))
    finite = next((place for place, cost in enumerate(costs) if not math.isfinite(cost)), looks)
    held = looks - len(costs)
    return {
        "cost": [min(cost, GONE) if math.isfinite(cost) else GONE for cost in costs] + [GONE] * held,
        "accuracy": accuracies + accuracies[-1:] * held,
        "finite looks": float(finite),
        "looks": float(looks),
    }


def judge(table: Table) -> Sequence[Check]:
    """Hold the shape of the curves against the printed one, seed by seed."""
    return [*_too_high(table), _good(table)]


def _too_high(table: Table) -> Iterator[Check]:
    finite, looks = (table.numbers(TOO_HIGH, name).astype(int) for name in ("finite looks", "looks"))
    costs, accuracies = table.numbers(TOO_HIGH, "cost"), table.numbers(TOO_HIGH, "accuracy")
    before = [costs[seed, :count] for seed, count in enumerate(finite)]
    lows, highs = ([end(row) for row in before if len(row)] or [GONE] for end in (min, max))
    yield Check(
        "at 3e-3 the cost first falls and is finite for a while",
        "2.19, 2.18, 1.94, 1.83",
        f"{min(lows):.2f} to {max(highs):.2f} at the first {', '.join(map(str, finite))} looks",
        f"below ln 10 at one of them in each seed, and finite at {AWHILE} at least on average",
        max(lows) < math.log(10) and float(finite.mean()) >= AWHILE,
    )
    yield Check(
        "at 3e-3 the cost then is infinite",
        "inf, in the fifth epoch",
        f"after {', '.join(str(EVERY * count) for count in finite)} steps of {EVERY * looks[0]:,}",
        "in each seed",
        bool((finite < looks).all()),
    )
    best = [float(accuracies[seed, :count].max()) if count else 0.0 for seed, count in enumerate(finite)]
    after = [float(accuracies[seed, count]) if count < looks[0] else 1.0 for seed, count in enumerate(finite)]
    yield Check(
        LOSES,
        "accuracy .308, then .128 at the infinite cost",
        f"up to {min(best):.3f} at least, then {np.mean(after):.3f} on average,"
        f" {accuracies[:, -1].mean():.3f} two looks later",
        f"at least {LEARNED:g} before in each seed, at most {LOST:g} on average at the first infinite cost",
        min(best) >= LEARNED and float(np.mean(after)) <= LOST,
    )


def _good(table: Table) -> Check:
    finite, looks = table.numbers(GOOD, "finite looks"), table.numbers(GOOD, "looks")
    last, theirs = table.numbers(GOOD, "accuracy")[:, -1], table.numbers(TOO_HIGH, "accuracy").max(axis=1)
    return Check(
        "it is the rate: the same weights and batches at 1e-3 train on",
        "a third of the rate",
        f"finite throughout, accuracy {last.min():.3f} at least, above the best of 3e-3, {theirs.max():.3f}",
        "finite, and at the end above the best accuracy at 3e-3, in each seed",
        bool((finite == looks).all() and (last > theirs).all()),
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw cost and accuracy over the looks."""
    shapes = []
    for name, axis in (
        ("cost", "Cost of a batch; the top stands for infinite"),
        ("accuracy", "Accuracy, training images"),
    ):
        shape = figure("step", axis, height=320)
        for place, arm in enumerate(ARMS):
            curves = table.numbers(arm, name)
            steps = EVERY * np.arange(1, curves.shape[1] + 1)
            for number, curve in enumerate(curves):
                line = {"color": translucent(CLASSES[place], 0.8), "width": 1.5}
                shape.add_scatter(
                    x=steps, y=curve, name=arm, legendgroup=arm, line=line, mode="lines", showlegend=number == 0
                )
        if name == "cost":
            shape.add_hline(y=math.log(10), line={"dash": "dot", "width": 1, "color": NEUTRAL})
        caption = "A line a seed." + (" Dotted: ln 10, the cost of knowing nothing." if name == "cost" else "")
        shapes.append(shape.update_layout(meta={"title": axis, "caption": caption}))
    return shapes
