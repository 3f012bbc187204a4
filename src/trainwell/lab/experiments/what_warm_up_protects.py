"""Warm-up lets a high rate train: which layers does it protect, and does holding the head still do as well?

A convolutional network with three dense layers behind it is trained in large batches at a high rate: at once, with a
rate that rises at first, with the dense layers frozen for as long, and with the convolutions frozen instead. How alike
each layer is before and after that time says what it went through.

Source: Gotmare et al. 2019, arXiv:1810.13243, section 4: VGG-11 on CIFAR-10 in batches of 5,000; without warm-up the
dense layers on top are the ones that change most, and freezing them instead does as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, descend, few_digits, seeded
from trainwell.pictures.style import CLASSES, SYMBOLS, figure
from trainwell.probes.similarity import layer_activations, layer_similarities, linear_cka, svcca

CHANNELS, DENSE, BATCH, RATE, MOMENTUM = 8, 64, 250, 0.2, 0.9
STEPS, QUICK_STEPS, SHARE = 300, 120, 1 / 3  # the last: of the run that warm-up or freezing take
CONVOLUTIONS = 4  # layers below; those above are the head
HELPS, AS_WELL = 0.005, 0.01  # of accuracy
AT_ONCE, WARMED, HEAD, TRUNK = "at once", "warm-up", "head frozen", "convolutions frozen"
MEASURES = {"CCA": svcca, "CKA": linear_cka}
CLAIM = "warm-up keeps the dense layers nearer to their start than the convolutions, by {}"

ARMS: Mapping[str, Mapping[str, Any]] = {
    AT_ONCE: {},
    WARMED: {"warm": True},
    HEAD: {"frozen": "head"},
    TRUNK: {"frozen": "convolutions"},
}


FROZEN_HEAD = "a head that is frozen for as long does as well"


@experiments.card(
    source="Gotmare et al. 2019, arXiv:1810.13243, section 4",
    claims=(25,),
    fails=(FROZEN_HEAD, *(CLAIM.format(name) for name in MEASURES)),  # the head in the full form alone
)
def what_warm_up_protects() -> Experiment:
    """Warm-up helps at a high rate, and so does holding the dense layers on top still for as long."""
    return Experiment(
        question="Which layers does warm-up protect, and does a frozen head do as well?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=10,
        quick_seeds=3,
        note=f"Four convolutions of {CHANNELS} to {2 * CHANNELS} channels with batch norm, then dense layers of"
        f" {DENSE}, {DENSE} and 10 without, on 1,000 digits of 8x8 in batches of {BATCH}; rate {RATE:g} with momentum"
        f" {MOMENTUM:g}, falling to 0 along a line over {STEPS} steps ({QUICK_STEPS} in the quick form). Warm-up and"
        " freezing take the first third. At a rate half as high again a frozen head no longer does as well: when it is"
        " let go it meets the whole rate at once. Similarity is between the first weights and those after that third,"
        " on the 1,000 digits, maps pooled over positions: CCA is the mean canonical correlation over directions with"
        " 99 % of the variance, CKA the linear one. CCA counts every direction alike; a layer whose activations come"
        " to lie in few directions then has a high mean, which is why both are shown. Accuracy is that of the end, on"
        " 437 digits that were held out.",
    )


def build() -> nn.Sequential:
    """Return the network with He's weights; its dense layers are the head."""
    layers: list[nn.Module] = []
    for inputs, outputs, is_last in ((1, 1, False), (1, 1, True), (1, 2, False), (2, 2, True)):
        fan_in = CHANNELS * inputs if layers else 1
        layers += [nn.Conv2d(fan_in, CHANNELS * outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(CHANNELS * outputs), nn.ReLU(), *([nn.MaxPool2d(2)] if is_last else [])]
    dense = [nn.Linear(2 * CHANNELS * 4, DENSE), nn.ReLU(), nn.Linear(DENSE, DENSE), nn.ReLU(), nn.Linear(DENSE, 10)]
    network = nn.Sequential(*layers, nn.Flatten(), *dense)
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    return network


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train, and return the accuracy with how alike each layer is before and after the first third."""
    samples, steps = few_digits(seed), QUICK_STEPS if is_quick else STEPS
    with seeded(seed, "weights"):
        network = build()
    before = layer_activations(network, samples.inputs)
    losses = _train(network, samples, settings, seed, steps)
    early = [next(losses) for _ in range(round(SHARE * steps))]
    after = layer_activations(network, samples.inputs)
    late = list(losses)
    alike = {name: list(layer_similarities(before, after, measured).values()) for name, measured in MEASURES.items()}
    return {
        "accuracy": accuracy(network, samples.held_out, samples.held_out_labels),
        "largest loss": min(max(early + late), 1e9),
        **alike,
    }


def _train(
    network: nn.Sequential, samples: Samples, settings: Mapping[str, Any], seed: int, steps: int
) -> Iterator[float]:
    """Yield the loss of each step, behind it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    warm = round(SHARE * steps)
    losses = descend(network, samples, optimizer, batch_size=BATCH, seed=seed)
    held = partial(_hold, network, settings.get("frozen", ""))
    held(is_frozen=True)
    for step in range(steps):
        if step == warm:
            held(is_frozen=False)
        rise = min(1.0, (step + 1) / warm) if settings.get("warm") else 1.0
        optimizer.param_groups[0]["lr"] = RATE * rise * (1 - step / steps)
        yield next(losses)


def _hold(network: nn.Sequential, part: str, *, is_frozen: bool) -> None:
    """Freeze the head or the convolutions with their norms, or let them go."""
    for layer in network:
        if (isinstance(layer, nn.Linear) and part == "head") or (
            isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)) and part == "convolutions"
        ):
            layer.requires_grad_(not is_frozen)
            for parameter in layer.parameters():
                parameter.grad = None  # a momentum of it would move it all the same


def judge(table: Table) -> Sequence[Check]:
    """Compare the accuracies, and what each layer went through with and without warm-up."""
    return [*_accuracies(table), *(_layers(table, name) for name in MEASURES)]


def _accuracies(table: Table) -> Iterator[Check]:
    found = {arm: table.numbers(arm, "accuracy") for arm in ARMS}
    words = ", ".join(f"{arm} {100 * numbers.mean():.1f} %" for arm, numbers in found.items())
    gain = student_interval(found[WARMED] - found[AT_ONCE])
    yield Check(
        "warm-up helps at this rate",
        "helps",
        f"accuracy {gain} higher; {words}",
        f"by {HELPS:g} on average",
        gain.value >= HELPS,
    )
    behind = student_interval(found[WARMED] - found[HEAD])
    yield Check(
        FROZEN_HEAD,
        "as well",
        f"accuracy {behind} lower than with warm-up",
        f"at most {AS_WELL:g} lower on average",
        behind.value <= AS_WELL,
    )
    less = student_interval(found[HEAD] - found[TRUNK])
    yield Check(
        "it is the head: convolutions that are frozen for as long help less",
        "the top layers are what warm-up protects",
        f"accuracy {less} lower than with a frozen head",
        "lower on average",
        less.value > 0,
    )


def _layers(table: Table, name: str) -> Check:
    kept: NDArray[np.float64] = table.numbers(WARMED, name) - table.numbers(AT_ONCE, name)  # (n, layers)
    below, above = kept[:, :CONVOLUTIONS].mean(axis=1), kept[:, CONVOLUTIONS:].mean(axis=1)
    gain = student_interval(above - below)
    layers = ", ".join(f"{value:+.2f}" for value in kept.mean(axis=0))
    return Check(
        CLAIM.format(name),
        "deeper layers change less with warm-up",
        f"similarity with warm-up minus without, layer by layer: {layers}; dense minus convolutions {gain}",
        "interval above 0",
        gain.low > 0,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the similarity of each layer before and after the first third, for each arm."""
    shapes = []
    for name in MEASURES:
        shape = figure("layer", f"{name} with the first weights after a third of the run", height=340)
        for place, arm in enumerate(ARMS):
            marker = {"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 8}
            curve = table.numbers(arm, name).mean(axis=0)
            names = [f"convolution {n + 1}" if n < CONVOLUTIONS else f"dense {n + 1}" for n in range(len(curve))]
            shape.add_scatter(x=names, y=curve, name=arm, mode="lines+markers", marker=marker)
        shape.update_yaxes(range=[0, 1.02])
        caption = "Mean over the seeds. A frozen layer moves too: what it is given does."
        shapes.append(
            shape.update_layout(meta={"title": f"What each layer went through, by {name}", "caption": caption})
        )
    return shapes
