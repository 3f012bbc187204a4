"""Which preprocessing do images need, whose pixels all share one scale already?

Each form of the library is fitted on the training images; a small convolutional network without normalization layers is
trained at several rates, and the best of them on validation images is tested.

Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", section 4.3.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.chance import Chance, derive
from trainwell.core.shelves import experiments, preprocessings
from trainwell.lab.data import cifar10
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.pictures.style import CLASSES, figure

FORMS = ("none", "channel_mean", "mean_image", "standardize")
RATES = (0.03, 0.1, 0.3)
BATCH, EPOCHS = 50, 4
SAMPLES = {True: 3_000, False: 12_000}  # quick and full, to train; half as many validate
TESTED = 5_000
ENOUGH = 0.03  # 2 standard errors of the difference of two accuracies on 5,000 images, and the spread over seeds


@experiments.card(source='LeCun et al. 1998, "Efficient BackProp", section 4.3', claims=(28,))
def centring_images() -> Experiment:
    """On images centring is what helps; dividing by the deviation adds little when each has its own best rate."""
    return Experiment(
        question="Do images need more than their mean subtracted?",
        arms={form: {"preprocessing": form} for form in FORMS},
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=4,
        quick_seeds=1,
        needs=("cifar10",),
        note=(
            f"{SAMPLES[False]:,} images of CIFAR-10 to train ({SAMPLES[True]:,} in the quick form), {EPOCHS} epochs of "
            f"plain gradient descent on batches of {BATCH}, two convolutions and a dense layer with He weights and "
            f"without normalization. Each form has the best of the rates {RATES} on validation images. The copy of "
            "CIFAR-10 is a lossy one; the forms are compared side by side."
        ),
    )


def build(seed: int) -> nn.Sequential:
    """Return conv 5x5/2 -> conv 3x3/2 -> dense, with He weights, zero biases, and a small head."""
    network = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 10),
    )
    generator = torch.Generator().manual_seed(derive(seed, "initialization"))
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01, generator=generator)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network


def train(inputs: Tensor, labels: Tensor, *, rate: float, seed: int) -> nn.Sequential:
    """Return the network after EPOCHS of plain gradient descent."""
    network = build(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for epoch in range(EPOCHS):
        for index in Chance(seed, "shuffle").permutation(epoch, len(inputs)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[index]), labels[index]).backward()
            optimizer.step()
    return network


def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose largest score is their class's."""
    with torch.no_grad():
        hits = torch.cat([network(part).argmax(dim=1) for part in inputs.split(500)]) == labels
    return float(hits.float().mean())


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Choose the rate on validation images, then test."""
    found, count = cifar10(), SAMPLES[is_quick]
    order = Chance(seed, "draw").permutation(0, len(found.train))
    known, unseen = order[:count], order[count : count + count // 2]
    steps = preprocessings.build(settings["preprocessing"])
    steps.fit(found.train[known])
    inputs, labels = steps.apply(found.train[known]).contiguous(), found.train_labels[known]
    val, val_labels = steps.apply(found.train[unseen]).contiguous(), found.train_labels[unseen]
    trained = {rate: train(inputs, labels, rate=rate, seed=seed) for rate in RATES}
    hits = {rate: accuracy(network, val, val_labels) for rate, network in trained.items()}
    best = max(RATES, key=lambda rate: hits[rate])
    test = steps.apply(found.test[:TESTED]).contiguous()
    return {
        "test accuracy": accuracy(trained[best], test, found.test_labels[:TESTED]),
        "rate": best,
        "val accuracies": list(hits.values()),
        "input mean": float(inputs.mean()),
        "input deviation": float(inputs.std()),
    }


def judge(table: Table) -> list[Check]:
    """Compare each form with none, and the richer ones with centring alone."""
    pairs = [
        ("channel_mean", "none", "centring helps", _is_gain, "better on average"),
        ("mean_image", "channel_mean", "no more than a channel's mean", _is_small, f"within {ENOUGH:.0%} on average"),
        ("standardize", "channel_mean", "centring suffices", _is_small, f"at most {ENOUGH:.0%} more on average"),
    ]
    checks = []
    for form, other, words, holds, tolerance in pairs:
        gains = table.numbers(form, "test accuracy") - table.numbers(other, "test accuracy")
        ours, its = (table.mean(arm, "test accuracy").value for arm in (form, other))
        ends = f"{100 * gains.min():+.1f} to {100 * gains.max():+.1f} over {len(gains)} seeds"
        shown = f"{100 * gains.mean():+.1f} points ({ends}), {ours:.1%} against {its:.1%}"
        checks.append(Check(f"{form} against {other}", words, shown, tolerance, holds(gains)))
    return checks


def _is_gain(gains: Any) -> bool:
    return bool(gains.mean() > 0)


def _is_small(gains: Any) -> bool:
    return bool(gains.mean() <= ENOUGH)


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the validation accuracy of each form against the rate."""
    shown = figure("rate", "Validation accuracy, mean over seeds", height=320)
    for place, arm in enumerate(table.arms):
        curve = table.numbers(arm, "val accuracies").mean(axis=0).round(4).tolist()
        shown.add_scatter(x=RATES, y=curve, mode="lines+markers", name=arm, line={"color": CLASSES[place]})
    shown.update_xaxes(type="log", tickvals=RATES)
    shown.update_yaxes(tickformat=".0%")
    return [shown]
