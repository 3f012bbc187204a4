"""Can a trained residual network be made deeper without a jump, and is what a unit adds all that it does?

Units whose branch is zero are put into a trained network: y = x + f(x) with f = 0. Both networks are then trained on
alike. In a pre-activation network nothing stands on the skips, so that between any two units x_b = x_a + the sum of all
branches between them.

Source: He et al. 2016, arXiv:1512.03385, section 1 (a deeper network contains the shallower one); He et al. 2016,
arXiv:1603.05027, equation 4; Chen, Goodfellow & Shlens 2016, "Net2Net", arXiv:1511.05641, section 2.3.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, few_images, seeded
from trainwell.lab.units import end_of_branch, same_shape, train, trained, units_of
from trainwell.models.deepen import deepen
from trainwell.pictures.style import CLASSES, figure, translucent

DEPTH, QUICK_DEPTH, WIDTH, ADDED = 14, 8, 8, 2  # units added to each stage
RATE, RATE_ON, BATCH = 0.1, 0.05, 64
COUNT, HELD_OUT = 5_000, 1_000
STEPS, STEPS_ON, QUICK_STEPS, QUICK_STEPS_ON, BLOCKS = 500, 400, 100, 100, 20
POOLED, QUICK_POOLED = 2, 4
NEAR = 1e-6  # of the longest entry, in float32
WORSE = 0.02  # of the loss
RESIDUAL, PREACT = "residual", "pre-activation"

ARMS: Mapping[str, Mapping[str, Any]] = {
    RESIDUAL: {"name": "cifar_resnet", "options": {"shortcut": "A", "width": WIDTH}},
    PREACT: {"name": "preact", "options": {}},
}


@experiments.card(source="He et al. 2016, arXiv:1512.03385, section 1, and arXiv:1603.05027, equation 4", claims=(21,))
def zero_units() -> Experiment:
    """Zero units put into a trained network leave its outputs, and training on is no worse than without them."""
    return Experiment(
        question="Can a trained residual network be made deeper without a jump, and is training on no worse?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"{DEPTH} layers, {WIDTH} to {4 * WIDTH} channels (pre-activation: 16 to 64), {COUNT:,} images of CIFAR-10"
        f" averaged to 16x16, {STEPS} steps in batches of {BATCH} at rate {RATE:g}; then {ADDED} units more in"
        f" each stage, and {STEPS_ON} steps at rate {RATE_ON:g}, on the same batches with and without the new units"
        f" ({QUICK_DEPTH} layers, 8x8 pixels, {QUICK_STEPS} and {QUICK_STEPS_ON} steps in the quick form). Losses are"
        " those on all training images in evaluation mode. Sums over units: of the deeper pre-activation network at"
        " the end, in float32, between any two places of a stage.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train a network, make it deeper, train both on, and compare."""
    samples = few_images("cifar10", seed, count=COUNT, held_out=HELD_OUT, pooled=QUICK_POOLED if is_quick else POOLED)
    depth, steps, on = (QUICK_DEPTH, QUICK_STEPS, QUICK_STEPS_ON) if is_quick else (DEPTH, STEPS, STEPS_ON)
    choice = settings["name"], {**settings["options"], "depth": depth}
    network, _ = trained(choice, samples, steps=steps, rate=RATE, batch_size=BATCH, seed=seed)
    with seeded(seed, "deeper"):
        deeper = deepen(network, units=ADDED)
    found: dict[str, Any] = {"moved": moved(network, deeper, samples.held_out), "loss before": loss(network, samples)}
    for name, one in (("without", network), ("with", deeper)):
        losses = train(one, samples, steps=on, rate=RATE_ON, batch_size=BATCH, seed=seed + 1_000)
        found[f"curve {name}"] = np.array(losses).reshape(BLOCKS, -1).mean(axis=1).tolist()
        found[f"loss {name}"] = loss(one, samples)
        found[f"accuracy {name}"] = accuracy(one, samples.held_out, samples.held_out_labels)
    if settings["name"] == "preact":
        found["apart"] = apart(deeper, samples.held_out[:100])
    return found


@torch.no_grad()
def loss(network: nn.Module, samples: Samples) -> float:
    """Return the mean loss on all training images in evaluation mode."""
    network.eval()
    parts = zip(samples.inputs.split(1_000), samples.labels.split(1_000), strict=True)
    total = sum(float(cross_entropy(network(some), theirs, reduction="sum")) for some, theirs in parts)
    return total / len(samples.labels)


@torch.no_grad()
def moved(network: nn.Module, deeper: nn.Module, images: Tensor) -> float:
    """Return by how much the scores of two networks differ at most, in evaluation mode."""
    return float((network.eval()(images) - deeper.eval()(images)).abs().max())


@torch.no_grad()
def apart(network: nn.Module, images: Tensor) -> float:
    """Return how far x_b is from x_a plus all branches between, at worst, relative to the largest entry of x_b."""
    network.eval()
    units, handles = units_of(network), []
    entered: dict[int, Tensor] = {}
    left: dict[int, Tensor] = {}
    added: dict[int, Tensor] = {}
    for number, unit in enumerate(units):
        handles.append(unit.register_forward_hook(_Keep(entered, left, number)))
        handles.append(end_of_branch(unit).register_forward_hook(_Keep({}, added, number)))
    network(images)
    for handle in handles:
        handle.remove()
    worst = 0.0
    for first, last in itertools.combinations_with_replacement(range(len(units)), 2):
        between = range(first, last + 1)
        if all(same_shape(units[unit]) and not getattr(units[unit], "is_shared", False) for unit in between):
            total = entered[first] + sum(added[unit] for unit in between)
            worst = max(worst, float((total - left[last]).abs().max() / left[last].abs().max()))
    return worst


class _Keep:
    """Keeps what goes into a module and what comes out of it."""

    def __init__(self, entered: dict[int, Tensor], left: dict[int, Tensor], number: int) -> None:
        self.entered, self.left, self.number = entered, left, number

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.entered[self.number], self.left[self.number] = inputs[0].clone(), output.clone()


def judge(table: Table) -> Sequence[Check]:
    """Hold outputs, sums and losses to what was claimed."""
    return [*_identical(table), _sums(table), *_no_worse(table)]


def _identical(table: Table) -> Iterator[Check]:
    for arm in ARMS:
        worst = float(table.numbers(arm, "moved").max())
        yield Check(
            f"{arm}: zero units in a trained network leave its outputs identical",
            "identical",
            f"scores move by {worst:g} at most",
            "exact, bit for bit",
            worst == 0,
        )


def _sums(table: Table) -> Check:
    worst = float(table.numbers(PREACT, "apart").max())
    return Check(
        "pre-activation: x_b = x_a + the sum of the branches between any two units",
        "equal",
        f"apart by {worst:.1e} of the largest entry at most",
        f"{NEAR:g}, float32",
        worst <= NEAR,
    )


def _no_worse(table: Table) -> Iterator[Check]:
    for arm in ARMS:
        before, without, deeper = (table.numbers(arm, f"loss {word}") for word in ("before", "without", "with"))
        difference = deeper - without
        yield Check(
            f"{arm}: training on with zero units is no worse than without",
            "no worse",
            f"training loss {before.mean():.3f}, then {deeper.mean():.3f} with and {without.mean():.3f} without;"
            f" difference {student_interval(difference)}",
            f"at most {WORSE:.0%} of the loss above, on average",
            bool(difference.mean() <= WORSE * without.mean()),
        )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the losses of training on."""
    drawn = figure("share of the further steps", "Training loss", height=340)
    for arm, color in zip(ARMS, CLASSES, strict=False):
        for name, dash in (("without", "dot"), ("with", "solid")):
            curves = table.numbers(arm, f"curve {name}")
            x = (np.arange(curves.shape[1]) + 0.5) / curves.shape[1]
            line = {"color": translucent(color, 0.9), "width": 2, "dash": dash}
            drawn.add_scatter(x=x, y=curves.mean(axis=0), name=f"{arm}, {name} zero units", mode="lines", line=line)
    caption = "Means over the seeds and over a twentieth of the steps."
    return [drawn.update_layout(meta={"title": "Training on, with and without zero units", "caption": caption})]
