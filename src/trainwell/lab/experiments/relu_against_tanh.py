"""How many steps does tanh need where ReLU needs one?

Source: Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks", figure 1:
a convolutional network of four layers reaches a training error of 25 % on CIFAR-10 about six times sooner with ReLU,
the rates chosen for each, without regularization.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any

import plotly.graph_objects as go
import torch
from torch import nn

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown
from trainwell.lab.plain_loop import Samples, accuracy, descend, few_digits, few_images, seeded
from trainwell.pictures.style import CLASSES, figure

CONVOLUTIONAL, DENSE = "convolutional, CIFAR-10", "dense, digits"
ACTIVATIONS = {"ReLU": nn.ReLU, "tanh": nn.Tanh}
GAINS = {"ReLU": 2**0.5, "tanh": 1.0}  # of the initial scale 1/sqrt(fan in): He's and LeCun's
LEVEL, PRINTED, SEVERAL = 0.25, 6.0, 3.0
CHANNELS = 24
RATES = {CONVOLUTIONAL: (0.1, 0.03, 0.3), DENSE: (0.1, 0.3, 1.0, 0.03)}
IMAGES = {True: 1_000, False: 3_000}  # quick and full
MOST_STEPS = {True: 400, False: 1_600}
BATCH, EVERY = 64, {CONVOLUTIONAL: 40, DENSE: 2}


@experiments.card(
    source="Krizhevsky et al. 2012, figure 1",
    claims=(10,),
    fails=(
        "convolutional, CIFAR-10: ReLU is there several times sooner than tanh",
        "dense, digits: ReLU is there several times sooner than tanh",
    ),
)
def relu_against_tanh() -> Experiment:
    """Steps to a training error of 25 % with ReLU and with tanh, each at its best rate."""
    return Experiment(
        question="How much sooner does ReLU reach a training error of 25 % than tanh?",
        arms={
            f"{network}, {name}": {"network": network, "activation": name}
            for network in (CONVOLUTIONAL, DENSE)
            for name in ACTIVATIONS
        },
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=(
            f"Plain gradient descent on batches of {BATCH}, no regularization, the best of the rates "
            f"{RATES[CONVOLUTIONAL]} (convolutional) or {RATES[DENSE]} (dense). Convolutional: three convolutions 5x5 "
            f"of {CHANNELS} with pooling and a dense layer, on {IMAGES[False]:,} images of CIFAR-10 at 16x16 "
            f"({IMAGES[True]:,} in the quick form). Dense: four hidden layers of 64 on the digits. Initial weights are "
            "He's for ReLU and LeCun's for tanh; the source started both alike with small Gaussian weights, and saw "
            "all of CIFAR-10 at 32x32."
        ),
    )


def build(network: str, activation: str) -> nn.Sequential:
    """Return a network of four layers with weights or more, its initial scale that of its activation."""
    act = ACTIVATIONS[activation]
    if network == DENSE:
        hidden = [part for width in (64, 64, 64, 64) for part in (nn.Linear(64, width), act())]
        built = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))
    else:
        parts: list[nn.Module] = []
        for before, after in ((3, CHANNELS), (CHANNELS, CHANNELS), (CHANNELS, CHANNELS)):
            parts += [nn.Conv2d(before, after, 5, padding=2), act(), nn.MaxPool2d(2)]
        built = nn.Sequential(*parts, nn.Flatten(), nn.Linear(4 * CHANNELS, 10))
    layers = [layer for layer in built if isinstance(layer, (nn.Linear, nn.Conv2d))]
    for layer in layers:
        gain = 1.0 if layer is layers[-1] else GAINS[activation]
        nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    return built


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train at each rate until the level is reached, or a better rate has reached it sooner."""
    name, activation = settings["network"], settings["activation"]
    samples = few_digits(seed) if name == DENSE else few_images("cifar10", seed, count=IMAGES[is_quick], held_out=10)
    best, chosen = MOST_STEPS[is_quick], 0.0
    for rate in RATES[name]:
        steps = steps_to_level(name, activation, samples, rate=rate, seed=seed, most=best)
        if steps is not None and (steps < best or not chosen):
            best, chosen = steps, rate
    return {"steps": best, "best rate": chosen, "reached": float(chosen > 0)}


def steps_to_level(name: str, activation: str, samples: Samples, *, rate: float, seed: int, most: int) -> int | None:
    """Return how many steps it takes until the training error is at most the level; None where `most` are too few.

    Args:
        name, activation: of the network.
        samples: to train on.
        rate: of plain gradient descent.
        seed: of the weights and of the batches.
        most: steps.
    """
    with seeded(seed, "initialization"):
        network = build(name, activation)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    losses = descend(network, samples, optimizer, batch_size=BATCH, seed=seed)
    for step in range(EVERY[name], most + 1, EVERY[name]):
        if not all(map(isfinite, islice(losses, EVERY[name]))):
            return None
        if 1 - accuracy(network, samples.inputs, samples.labels) <= LEVEL:
            return step
    return None


def judge(table: Table) -> list[Check]:
    """Hold the ratio of steps against the printed factor."""
    checks = []
    for network in (CONVOLUTIONAL, DENSE):
        relu, tanh = (table.numbers(f"{network}, {name}", "steps") for name in ("ReLU", "tanh"))
        came = [table.numbers(f"{network}, {name}", "reached").all() for name in ("ReLU", "tanh")]
        ratio = float((tanh / relu).mean())
        more = "" if came[1] else "more than "
        found = f"{more}{shown(ratio)} times: {shown(tanh.mean())} steps against {shown(relu.mean())}"
        holds = bool(came[0] and ratio >= SEVERAL)
        claim = f"{network}: ReLU is there several times sooner than tanh"
        checks.append(Check(claim, f"about {PRINTED:g} times", found, f"at least {SEVERAL:g} times", holds))
    return checks


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the steps of each."""
    drawn = figure("", f"Steps to a training error of {LEVEL:.0%}", height=320)
    for number, name in enumerate(ACTIVATIONS):
        found = [table.numbers(f"{network}, {name}", "steps") for network in (CONVOLUTIONAL, DENSE)]
        ends = {"type": "data", "array": [float(one.max() - one.mean()) for one in found], "symmetric": False}
        ends["arrayminus"] = [float(one.mean() - one.min()) for one in found]
        means = [float(one.mean()) for one in found]
        color = {"color": CLASSES[number]}
        drawn.add_bar(x=[CONVOLUTIONAL, DENSE], y=means, name=name, marker=color, error_y=ends)
    caption = "The best rate of each; bars are means over the seeds, lines reach from the lowest to the highest."
    return [drawn.update_layout(meta={"title": f"Steps to a training error of {LEVEL:.0%}", "caption": caption})]
