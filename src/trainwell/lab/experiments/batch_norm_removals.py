"""What can go where batch norm is there, and what gives its generalization without it?

With batch norm a network should do as well without dropout, local response norm, and changes of brightness and
contrast. And if most of what batch norm does for generalization is that nothing explodes at the final layer, then a
network without batch norm should win much of it by preventing that alone: its input standardized, or its scores, or
its input, held small by a penalty,

    functional L2   lambda E |f(x)|^2          embedding L2   lambda E |h(x)|^2

Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 4.2.1; Dauphin and Cubuk 2021, "Deconstructing the
regularization of BatchNorm".
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm

from trainwell.core.shelves import experiments
from trainwell.core.stats import Interval, student_interval
from trainwell.initialization import initialize
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, batches, few_images, seeded
from trainwell.layers import make_norm
from trainwell.pictures.style import CLASSES, SYMBOLS, figure

CHANNELS, WIDTH, COUNT, HELD_OUT = (12, 24), 64, 500, 2_000
BATCH, LR, MOMENTUM = 50, 0.02, 0.9
STEPS, QUICK_STEPS = 300, 150
DROPOUT, JITTER = 0.5, 0.4  # jitter: up to this share of contrast, and of a deviation of brightness
# Lambda: the best of three in accuracy and loss together, on draws of the data that no seed here takes.
FUNCTIONAL, EMBEDDING = 0.003, 0.001
COSTS = 0.005  # of accuracy: what may be lost at most where something "can go"
MUCH = 0.25  # of what batch norm gains
WITHOUT, NORMED = "without", "batch norm"
EXTRAS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": DROPOUT},
    "local response norm": {"local_response": True},
    "brightness and contrast": {"jitter": JITTER},
}
HELD_BACK: dict[str, dict[str, Any]] = {
    "input of the final layer standardized": {"standardized": True},
    "functional L2": {"functional": FUNCTIONAL},
    "embedding L2": {"embedding": EMBEDDING},
}

NOT_HERE = (
    "with batch norm, dropout can go",
    "without batch norm, functional L2 recovers much of its generalization, accuracy",
    "without batch norm, embedding L2 recovers much of its generalization, accuracy",
)
ARMS: Mapping[str, Mapping[str, Any]] = {
    WITHOUT: {},
    NORMED: {"norm": "batch"},
    **{f"{WITHOUT}, {name}": extra for name, extra in (EXTRAS | HELD_BACK).items()},
    **{f"{NORMED}, {name}": {"norm": "batch", **extra} for name, extra in EXTRAS.items()},
}


@experiments.card(
    source="Ioffe and Szegedy 2015, arXiv:1502.03167, section 4.2.1; Dauphin and Cubuk 2021",
    claims=(16,),
    fails=NOT_HERE,
)
def batch_norm_removals() -> Experiment:
    """With batch norm other regularizers can go; holding back the final layer gives much of what it does."""
    return Experiment(
        question="What can go where batch norm is there, and what gives its generalization without it?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=10,
        quick_seeds=2,
        needs=("mnist",),
        note=f"Two convolutions and a hidden layer of {WIDTH} ReLU units on {COUNT} images of MNIST averaged to 14x14,"
        f" {HELD_OUT:,} held out; He's weights, rate {LR:g}, momentum {MOMENTUM:g}, batches of {BATCH}, {STEPS} steps"
        f" ({QUICK_STEPS} in the quick form). Local response norm stands behind the activations of the convolutions;"
        f" dropout of {DROPOUT:g} in front of the final layer. Standardized means each sample's hidden units to mean 0"
        f" and variance 1, without learned scale; the penalties have lambda {FUNCTIONAL:g} and {EMBEDDING:g}. On so few"
        " images dropout still adds to batch norm, whose own noise is small in batches of 50, and the penalties repair"
        " the loss, which overconfident scores spoil, but hardly the accuracy. The published gains, of ResNet-50 and"
        " EfficientNet on ImageNet, are in accuracy.",
    )


class Network(nn.Module):
    """Two convolutions, a hidden layer, and a final one, which can be held back."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        norm, is_local = settings.get("norm", "none"), settings.get("local_response", False)
        parts: list[nn.Module] = []
        before = 1
        for channels in CHANNELS:
            parts += [nn.Conv2d(before, channels, 3, padding=1), make_norm(norm, channels, 2), nn.ReLU()]
            parts += [make_norm("local_response", channels, 2)] if is_local else []
            parts.append(nn.MaxPool2d(2))
            before = channels
        parts += [nn.Flatten(), nn.Linear(before * 9, WIDTH), make_norm(norm, WIDTH, 0), nn.ReLU()]  # 14 -> 7 -> 3
        self.body = nn.Sequential(*parts)
        self.is_standardized = settings.get("standardized", False)
        self.dropout = nn.Dropout(settings.get("dropout", 0.0))
        self.final = nn.Linear(WIDTH, 10)

    def embed(self, images: Tensor) -> Tensor:
        """Return what the final layer reads (N, WIDTH), before dropout."""
        hidden: Tensor = self.body(images)
        return layer_norm(hidden, (WIDTH,)) if self.is_standardized else hidden

    def read(self, hidden: Tensor) -> Tensor:
        """Return the scores (N, 10) of what the final layer reads."""
        scores: Tensor = self.final(self.dropout(hidden))
        return scores

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (N, 10)."""
        return self.read(self.embed(images))


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train one arm; return the accuracy, the losses, and how large the scores have grown."""
    samples = few_images("mnist", seed, count=COUNT, held_out=HELD_OUT)
    with seeded(seed, "weights"):
        network = Network(settings)
        initialize(network, "he")
    with seeded(seed, "steps"):
        _train(network, samples, settings, seed, QUICK_STEPS if is_quick else STEPS)
    network.eval()
    with torch.no_grad():
        scores = network(samples.held_out)
        training_loss = cross_entropy(network(samples.inputs), samples.labels)
    return {
        "accuracy": accuracy(network, samples.held_out, samples.held_out_labels),
        "held-out loss": float(cross_entropy(scores, samples.held_out_labels)),
        "training loss": float(training_loss),
        "size of the scores": float(scores.square().sum(dim=1).mean().sqrt()),
    }


def _train(network: Network, samples: Samples, settings: Mapping[str, Any], seed: int, steps: int) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)
    for _, (images, labels) in zip(range(steps), batches(samples, BATCH, seed), strict=False):
        optimizer.zero_grad()
        loss(network, jittered(images, settings.get("jitter", 0.0)), labels, settings).backward()
        optimizer.step()


def loss(network: Network, images: Tensor, labels: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Return the mean cross-entropy with the penalties of an arm, each a mean over samples of a squared length."""
    hidden = network.embed(images)
    scores = network.read(hidden)
    functional: float = settings.get("functional", 0.0)
    embedding: float = settings.get("embedding", 0.0)
    sizes = functional * scores.square().sum(dim=1).mean() + embedding * hidden.square().sum(dim=1).mean()
    return cross_entropy(scores, labels) + sizes


def jittered(images: Tensor, most: float) -> Tensor:
    """Return images (N, C, H, W) of random contrast, around each one's own mean, and random brightness."""
    if most == 0:
        return images
    contrast, brightness = torch.empty(2, len(images), 1, 1, 1).uniform_(-most, most)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    changed: Tensor = mean + (1 + contrast) * (images - mean) + brightness
    return changed


def judge(table: Table) -> Sequence[Check]:
    """Compare what was held out, seed by seed."""
    return [_gain(table), *_removed(table), *_recovered(table)]


def _higher(table: Table, arm: str, other: str) -> Interval:
    return student_interval(table.numbers(arm, "accuracy") - table.numbers(other, "accuracy"))


def _lower_loss(table: Table, arm: str, other: str) -> Interval:
    return student_interval(table.numbers(other, "held-out loss") - table.numbers(arm, "held-out loss"))


def _gain(table: Table) -> Check:
    gain = _higher(table, NORMED, WITHOUT)
    return Check(
        "batch norm generalizes better",
        "better",
        f"accuracy {gain} higher than {table.numbers(WITHOUT, 'accuracy').mean():.3f}",
        "the sign",
        gain.value > 0,
    )


def _removed(table: Table) -> Iterator[Check]:
    for name in EXTRAS:
        missed, instead = _higher(table, f"{NORMED}, {name}", NORMED), _higher(table, NORMED, f"{WITHOUT}, {name}")
        tolerance = f"at most {100 * COSTS:g} points are lost on average"
        yield Check(
            f"with batch norm, {name} can go",
            "no loss",
            f"accuracy {missed} higher with both",
            tolerance,
            missed.value <= COSTS,
        )
        yield Check(
            f"batch norm does as well as {name} does without it",
            "as well",
            f"accuracy {instead} higher with batch norm instead",
            tolerance,
            instead.value >= -COSTS,
        )


def _recovered(table: Table) -> Iterator[Check]:
    for what, compare in (("accuracy", _higher), ("loss", _lower_loss)):
        gain = compare(table, NORMED, WITHOUT).value
        for name in HELD_BACK:
            found = compare(table, f"{WITHOUT}, {name}", WITHOUT)
            share = found.value / gain if gain > 0 else math.nan
            yield Check(
                recovers(name, what),
                "most of it",
                f"{what} {found} better, {f'{share:.0%} of' if gain > 0 else 'without'} batch norm's gain",
                f"at least {MUCH:.0%} of batch norm's gain on average",
                share >= MUCH,
            )


def recovers(name: str, what: str) -> str:
    """Return the claim about one way to hold the final layer back, by accuracy or by loss."""
    return f"without batch norm, {name} recovers much of its generalization, {what}"


def figures(table: Table) -> Sequence[Any]:
    """Draw the accuracy of each arm, and the size of its scores."""
    shapes = []
    for name, axis in (
        ("accuracy", "Accuracy on images that were held out"),
        ("size of the scores", "Root mean square"),
    ):
        shape = figure(axis, "", height=440)
        for number in range(table.seeds):
            values = [table.numbers(arm, name)[number] for arm in ARMS]
            colors = [CLASSES[1] if arm.startswith(NORMED) else CLASSES[0] for arm in ARMS]
            marker = {"color": colors, "symbol": SYMBOLS[0], "size": 7, "opacity": 0.45}
            shape.add_scatter(x=values, y=list(ARMS), mode="markers", marker=marker, showlegend=False)
        means = [table.numbers(arm, name).mean() for arm in ARMS]
        marker = {"color": CLASSES[6], "symbol": "line-ns-open", "size": 16}
        shape.add_scatter(x=means, y=list(ARMS), mode="markers", name="mean", marker=marker, showlegend=False)
        shape.update_yaxes(autorange="reversed")
        caption = "Dots: seeds, orange with batch norm, blue without. Bars: their mean."
        shapes.append(shape.update_layout(meta={"title": f"{name.capitalize()} of each arm", "caption": caption}))
    return shapes
