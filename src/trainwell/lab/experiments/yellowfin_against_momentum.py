"""How near does YellowFin, as it comes, get to momentum whose rate was tuned by hand?

A small network is trained with momentum .9 at each rate of a grid, and with YellowFin, which has no rate to choose.

Source: Zhang and Mitliagkas 2017, arXiv:1706.03471, section 5: on ResNets it needs about as many steps as momentum that
was tuned by hand, with no tuning of its own.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import accuracy, descend, few_digits, seeded
from trainwell.models.mlp import MLP
from trainwell.optimizers.yellowfin import YellowFin
from trainwell.pictures.style import CLASSES, NEUTRAL, figure, translucent

HIDDEN, BATCH, MOMENTUM = (64, 64), 50, 0.9
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
STEPS, QUICK_STEPS, LOOKS = 2_000, 800, 40
REACHED = 0.1  # training loss, mean over a look: to what the steps are counted
CLOSE, SLOWER = 0.01, 2.0  # of accuracy; times the steps
TUNED = "YellowFin"

ARMS: Mapping[str, Mapping[str, Any]] = {f"momentum, {rate:g}": {"rate": rate} for rate in RATES} | {TUNED: {}}


SOON = f"YellowFin comes to a training loss of {REACHED:g} about as soon"


@experiments.card(
    source="Zhang and Mitliagkas 2017, arXiv:1706.03471, section 5",
    claims=(25,),
    fails=(SOON,),  # its slow start takes 200 steps, more than momentum needs in all
)
def yellowfin_against_momentum() -> Experiment:
    """YellowFin with no rate to choose ends near momentum at the best rate of a grid, and far above the others."""
    return Experiment(
        question="How near does YellowFin, as it comes, get to momentum whose rate was tuned by hand?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=2,
        note=f"Two hidden layers of {HIDDEN[0]} ReLU units on 1,000 digits of 8x8, batches of {BATCH}, {STEPS:,} steps"
        f" ({QUICK_STEPS} in the quick form) at a constant rate; accuracy is that on 437 digits that were held out."
        f" Momentum is {MOMENTUM:g} at {len(RATES)} rates; its best rate is the one of the highest mean accuracy over"
        " the seeds, so the choice favours it. YellowFin is the open loop with its defaults: its rate grows to its full"
        f" size over the first 200 steps. Steps are counted to a mean training loss of {REACHED:g} over a look, a"
        f" {LOOKS}th of the run; for momentum at whichever rate gets there first.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the loss over training and the accuracy."""
    samples, steps = few_digits(seed), QUICK_STEPS if is_quick else STEPS
    with seeded(seed, "weights"):
        network = MLP(samples.features, 10, hidden=HIDDEN)
    curve, tuned = _train(network, _optimizer(network, settings), samples, seed, steps)
    every = steps // LOOKS
    means = np.array(curve).reshape(LOOKS, every).mean(axis=1)
    return {
        "loss": np.minimum(np.nan_to_num(means, nan=10.0, posinf=10.0), 10.0).tolist(),
        "accuracy": accuracy(network, samples.held_out, samples.held_out_labels),
        "steps": float(every * (1 + int(np.argmax(means <= REACHED)))) if (means <= REACHED).any() else float(steps),
        "reached": float((means <= REACHED).any()),
        "last rate": tuned[0],
        "last momentum": tuned[1],
    }


def _optimizer(network: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    if "rate" in settings:
        return torch.optim.SGD(network.parameters(), lr=settings["rate"], momentum=MOMENTUM)
    return YellowFin(network.parameters())


def _train(
    network: nn.Module, optimizer: torch.optim.Optimizer, samples: Any, seed: int, steps: int
) -> tuple[list[float], tuple[float, float]]:
    """Return the loss of each step, with the rate and momentum of the last."""
    losses = descend(network, samples, optimizer, batch_size=BATCH, seed=seed)
    curve = [math.inf] * steps
    for step, loss in zip(range(steps), losses, strict=False):
        if not math.isfinite(loss):
            break
        curve[step] = loss
    if isinstance(optimizer, YellowFin):
        return curve, (optimizer.tuned.rate, optimizer.tuned.momentum)
    return curve, (optimizer.param_groups[0]["lr"], MOMENTUM)


def best_rate(table: Table) -> str:
    """Return the arm of momentum with the highest mean accuracy."""
    return max((arm for arm in ARMS if arm != TUNED), key=lambda arm: float(table.numbers(arm, "accuracy").mean()))


def judge(table: Table) -> Sequence[Check]:
    """Compare accuracy and steps with those of the best rate, seed by seed."""
    return [*_accuracy(table), _steps(table)]


def _accuracy(table: Table) -> Iterator[Check]:
    best, found = best_rate(table), table.numbers(TUNED, "accuracy")
    behind = student_interval(table.numbers(best, "accuracy") - found)
    yield Check(
        "YellowFin untouched is close to momentum tuned by hand",
        "close",
        f"accuracy {found.mean():.1%}, {behind} below {best}; rate and momentum end at"
        f" {table.numbers(TUNED, 'last rate').mean():.2g} and {table.numbers(TUNED, 'last momentum').mean():.2f}",
        f"at most {100 * CLOSE:g} point below on average",
        behind.value <= CLOSE,
    )
    others = {arm: float(table.numbers(arm, "accuracy").mean()) for arm in ARMS if arm != TUNED}
    worse = [arm.partition(", ")[2] for arm, mean in others.items() if mean < float(found.mean()) - CLOSE]
    yield Check(
        "momentum needs the tuning: half of the rates or more end further below",
        "tuned by hand",
        f"{len(worse)} of {len(others)} rates end more than {100 * CLOSE:g} point below YellowFin: {', '.join(worse)}",
        "at least half",
        2 * len(worse) >= len(others),
    )


def _steps(table: Table) -> Check:
    momentum: NDArray[np.float64] = np.min([table.numbers(arm, "steps") for arm in ARMS if arm != TUNED], axis=0)
    ours, came = table.numbers(TUNED, "steps"), bool(table.numbers(TUNED, "reached").all())
    factor = float(np.exp(np.log(ours / momentum).mean()))
    words = f"{factor:.2f} times the steps, {ours.mean():.0f} instead of {momentum.mean():.0f}"
    return Check(
        SOON,
        "about as many steps",
        words if came else f"{words}; not in every seed",
        f"at most {SLOWER:g} times the steps on average",
        came and factor <= SLOWER,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the accuracy over the rate and the loss over training."""
    shape = figure("learning rate of momentum", "Accuracy on digits that were held out", height=340)
    arms = [arm for arm in ARMS if arm != TUNED]
    for number in range(table.seeds):
        row = [table.numbers(arm, "accuracy")[number] for arm in arms]
        line = {"color": translucent(CLASSES[0], 0.6)}
        shape.add_scatter(x=RATES, y=row, name="momentum", line=line, mode="lines+markers", showlegend=number == 0)
    level = float(table.numbers(TUNED, "accuracy").mean())
    shape.add_hline(y=level, line={"color": CLASSES[1], "width": 2}, annotation_text=TUNED)
    shape.update_xaxes(type="log", tickvals=RATES, ticktext=[f"{rate:g}" for rate in RATES])
    shape.update_yaxes(range=[0, 1.02], tickformat=".0%")
    caption = "A line a seed; YellowFin: the mean over the seeds."
    shape.update_layout(meta={"title": "Accuracy by the rate", "caption": caption})
    curves = figure("look", "Training loss", height=340)
    for place, arm in enumerate((best_rate(table), TUNED)):
        for number, curve in enumerate(table.numbers(arm, "loss")):
            line = {"color": translucent(CLASSES[place], 0.7)}
            curves.add_scatter(y=curve, name=arm, legendgroup=arm, line=line, mode="lines", showlegend=number == 0)
    curves.add_hline(y=REACHED, line={"dash": "dot", "width": 1, "color": NEUTRAL})
    curves.update_yaxes(type="log", exponentformat="power")
    curves.update_layout(
        meta={"title": "Training loss", "caption": "A line a seed. Dotted: to where steps are counted."}
    )
    return [shape, curves]
