"""Which rates does batch norm permit, how many steps does it save, and how much do the first weights still matter?

A deep network is trained at each rate of a grid until it reaches an accuracy: without batch norm, with it before the
activation, and with it after. Then from four starts, at the rate that was best from He's.

Source: Ioffe and Szegedy 2015, arXiv:1502.03167, sections 3.3 and 4.2: Inception on ImageNet reaches 72.2 % in 31.0
million steps without batch norm and in 2.1 million with it, at five times the rate; thirty times the rate works too.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainwell.core.shelves import experiments
from trainwell.core.stats import Interval, student_interval
from trainwell.initialization import initialize
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, descend, few_digits, seeded
from trainwell.models.mlp import MLP
from trainwell.pictures.style import CLASSES, SYMBOLS, figure, translucent

LAYERS, WIDTH, BATCH = 10, 50, 50
RATES = tuple(0.03 * 3**power for power in range(6))  # 0.03 to 7.3
TARGET = 0.9  # accuracy on digits that were held out
STEPS, QUICK_STEPS, EVERY = 600, 200, 5
PRINTED, LARGER, AS_GOOD = 14.0, 5.0, 1.5
STARTS = ("he", "xavier", "orthogonal", "gaussian:std=0.01", "gaussian:std=0.3")
SPREAD = 0.5  # of the spread over the starts without batch norm: "little"
WITHOUT, BEFORE, AFTER = "without", "before the activation", "after the activation"

ARMS: Mapping[str, Mapping[str, Any]] = {
    WITHOUT: {"norm": "none", "order": "before"},
    BEFORE: {"norm": "batch", "order": "before"},
    AFTER: {"norm": "batch", "order": "after"},
}


@experiments.card(
    source="Ioffe and Szegedy 2015, arXiv:1502.03167, sections 3.3 and 4.2",
    claims=(16,),
    fails=("batch norm reaches the same accuracy in 14 times fewer steps",),
)
def batch_norm_rates() -> Experiment:
    """Batch norm permits larger rates, needs fewer steps, and minds the first weights less."""
    return Experiment(
        question="Which rates does batch norm permit, how many steps does it save, and do first weights still matter?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=3,
        note=f"{LAYERS} hidden layers of {WIDTH} ReLU units on 1,000 digits of 8x8, plain gradient descent in batches"
        f" of {BATCH}, at rates from {RATES[0]:g} to {RATES[-1]:.2g}, each three times the one before, He's weights; at"
        f" most {STEPS} steps ({QUICK_STEPS} in the quick form), until {TARGET:.0%} of 437 held-out digits are right,"
        f" looked at every {EVERY}. Steps are those at the best rate of each arm, so the network without batch norm has"
        " its own best rate too; the printed 14 times compare a tuned rate with one five times as large. A rate works"
        " if it gets there. The starts are trained for all steps at the rate that was best from He's.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the steps to the accuracy at each rate, and the accuracy from each start."""
    samples, most = few_digits(seed), QUICK_STEPS if is_quick else STEPS
    steps = [steps_to_target(_network(samples, settings, "he", seed), samples, rate, seed, most) for rate in RATES]
    best = RATES[int(np.argmin(steps))]
    return {
        "steps": [min(count, most) for count in steps],
        "reached": [float(count <= most) for count in steps],
        "accuracy": [_accuracy(samples, settings, start, best, seed, most) for start in STARTS],
    }


def _network(samples: Samples, settings: Mapping[str, Any], start: str, seed: int) -> MLP:
    with seeded(seed, "weights"):
        hidden = (WIDTH,) * LAYERS
        network = MLP(samples.features, 10, hidden=hidden, norm=settings["norm"], norm_order=settings["order"])
        initialize(network, start)
    return network


def steps_to_target(network: torch.nn.Module, samples: Samples, rate: float, seed: int, most: int) -> float:
    """Return after how many steps of gradient descent the accuracy is reached; infinity where `most` do not suffice."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    losses = descend(network, samples, optimizer, batch_size=BATCH, seed=seed)
    for step, loss in zip(range(1, most + 1), losses, strict=False):
        if not math.isfinite(loss):
            break
        if step % EVERY == 0 and accuracy(network, samples.held_out, samples.held_out_labels) >= TARGET:
            return float(step)
    return math.inf


def _accuracy(samples: Samples, settings: Mapping[str, Any], start: str, rate: float, seed: int, steps: int) -> float:
    network = _network(samples, settings, start, seed)
    losses = descend(network, samples, torch.optim.SGD(network.parameters(), lr=rate), batch_size=BATCH, seed=seed)
    for _, loss in zip(range(steps), losses, strict=False):
        if not math.isfinite(loss):
            break
    return accuracy(network, samples.held_out, samples.held_out_labels)


def judge(table: Table) -> Sequence[Check]:
    """Compare steps, rates and starts, seed by seed."""
    return [*_steps(table), *_rates(table), _starts(table)]


def _factor(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Interval:
    """Return the geometric mean of ratios of positive numbers with its interval."""
    found = student_interval(np.log(numerator / denominator))
    return Interval(*np.exp([found.value, found.low, found.high]).tolist())


def _steps(table: Table) -> Iterator[Check]:
    best = {arm: table.numbers(arm, "steps").min(axis=1) for arm in ARMS}  # all steps where no rate got there
    saved = _factor(best[WITHOUT], best[BEFORE])
    words = f"{saved} times fewer, {best[BEFORE].mean():.0f} instead of {best[WITHOUT].mean():.0f}, best rates"
    yield Check(
        "batch norm reaches the same accuracy in fewer steps", "fewer", words, "interval above 1", saved.low > 1
    )
    yield Check(
        "batch norm reaches the same accuracy in 14 times fewer steps",
        f"{PRINTED:g} times",
        words,
        f"at least {PRINTED:g} on average",
        saved.value >= PRINTED,
    )
    order = _factor(best[AFTER], best[BEFORE])
    yield Check(
        "batch norm after the activation is about as fast as before it",
        "compared; before it in the source",
        f"{order} times the steps",
        f"within a factor of {AS_GOOD:g} on average",
        1 / AS_GOOD <= order.value <= AS_GOOD,
    )


def _rates(table: Table) -> Iterator[Check]:
    largest = {arm: _largest(table.numbers(arm, "reached")) for arm in ARMS}
    for arm in (BEFORE, AFTER):
        factor = _factor(largest[arm], largest[WITHOUT])
        yield Check(
            f"batch norm {arm} permits larger rates",
            f"{LARGER:g} times as large at best, 30 times works",
            f"{factor} times as large, up to {largest[arm].mean():.2g}",
            f"at least {LARGER:g} times on average",
            factor.value >= LARGER,
        )


def _largest(reached: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest rate at which each seed got there, the smallest of all where none did."""
    largest: NDArray[np.float64] = np.where(reached > 0, np.array(RATES), RATES[0]).max(axis=1)
    return largest


def _starts(table: Table) -> Check:
    spreads = {arm: np.ptp(table.numbers(arm, "accuracy"), axis=1) for arm in (WITHOUT, BEFORE)}
    share = student_interval(spreads[BEFORE] / spreads[WITHOUT])
    return Check(
        "with batch norm the accuracy depends little on the first weights",
        "little",
        f"best minus worst of {len(STARTS)} starts: {100 * spreads[BEFORE].mean():.0f} points instead of"
        f" {100 * spreads[WITHOUT].mean():.0f}, a share of {share}",
        f"at most {SPREAD:g} of the spread without",
        share.value <= SPREAD,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the steps by the rate, and the accuracy by the start."""
    return [_by_rate(table), _by_start(table)]


def _by_rate(table: Table) -> Any:
    shape = figure("learning rate", f"Steps to an accuracy of {TARGET:.0%}; none where it is not reached", height=380)
    for place, arm in enumerate(ARMS):
        steps = np.where(table.numbers(arm, "reached") > 0, table.numbers(arm, "steps"), np.nan)
        for row in steps:
            marker = {"color": translucent(CLASSES[place], 0.35), "symbol": SYMBOLS[place], "size": 6}
            shape.add_scatter(x=RATES, y=row, mode="markers", marker=marker, showlegend=False)
        came = np.isfinite(steps).all(axis=0)
        line = {"color": CLASSES[place], "width": 2}
        middle = np.where(came, np.exp(np.log(steps).mean(axis=0)), np.nan)
        shape.add_scatter(x=RATES, y=middle, name=arm, mode="lines", line=line)
    shape.update_xaxes(type="log", tickvals=RATES, ticktext=[f"{rate:.2g}" for rate in RATES])
    shape.update_yaxes(type="log", tickvals=[5, 10, 20, 50, 100, 200, 500])
    caption = "Marks: each seed. Lines: geometric mean, where every seed got there."
    return shape.update_layout(meta={"title": "Steps by the learning rate", "caption": caption})


def _by_start(table: Table) -> Any:
    shape = figure("first weights", "Accuracy on digits that were held out", height=320)
    for place, arm in enumerate(ARMS):
        for number, row in enumerate(table.numbers(arm, "accuracy")):
            marker = {"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 9, "opacity": 0.6}
            shape.add_scatter(
                x=STARTS, y=row, name=arm, legendgroup=arm, mode="markers", marker=marker, showlegend=number == 0
            )
    shape.update_yaxes(range=[0, 1.02], tickformat=".0%")
    caption = "One mark a seed, at the rate that was best from He's weights."
    return shape.update_layout(meta={"title": "Accuracy by the first weights", "caption": caption})
