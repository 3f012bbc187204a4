"""What do first weights that look at the data bring, and for how long?

LSUV scales each layer, within-layer normalization each channel, so that a batch leaves it with variance 1. A network
that starts so should be ahead at first; random weights catch up once the rate has dropped twice.

Source: Mishkin and Matas 2016, arXiv:1511.06422, algorithm 1; Krähenbühl et al. 2016, arXiv:1511.06856, section 4.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.initialization import lsuv_, within_layer_
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, descend, few_digits, few_images, seeded
from trainwell.pictures.style import CLASSES, NEUTRAL, figure, translucent

HIDDEN = (64, 64, 64)
COUNT, HELD_OUT, BATCH, LR, MOMENTUM = 10_000, 2_000, 64, 0.02, 0.9
STEPS, QUICK_STEPS, LOOKS = 4_000, 2_000, 40
DROPS, FACTOR = (0.5, 0.75), 0.1  # places in the run, and what the rate is multiplied with there
EARLY = 0.25  # the share of the run in which it should be ahead
CLOSE, CLOSE_LOSS = 0.01, 0.05  # of accuracy and of training loss: what "caught up" means
TOLERANCE, EXACT = 0.1, 1e-10
LOOKED_AT = 256  # images that the first weights see
SHARE = 0.3  # of He's deviation: the .005 and .01 of the source are .13 to .45 of it in the layers of its network
GAUSSIAN, HE, LSUV, WITHIN = "random", "He", "LSUV", "within-layer"
DEEP_LSUV, DEEP_WITHIN = "LSUV, ten layers", "within-layer, ten layers"

ARMS: Mapping[str, Mapping[str, Any]] = {
    GAUSSIAN: {"start": GAUSSIAN},
    HE: {"start": HE},
    LSUV: {"start": LSUV},
    WITHIN: {"start": WITHIN},
    DEEP_LSUV: {"start": LSUV, "deep": True},
    DEEP_WITHIN: {"start": WITHIN, "deep": True},
}


@experiments.card(
    source="Mishkin and Matas 2016, arXiv:1511.06422; Krähenbühl et al. 2016, arXiv:1511.06856",
    claims=(8,),
    fails=tuple(
        f"random weights have caught up with {arm} after the second drop, training loss" for arm in (LSUV, WITHIN)
    ),
)
def data_dependent_start() -> Experiment:
    """First weights that look at the data give unit variance at once, and are ahead until the rate has dropped."""
    return Experiment(
        question="What do first weights that look at the data bring, and for how long?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=3,
        needs=("cifar10",),
        note=f"Three hidden layers of {HIDDEN[0]} ReLU units on {COUNT:,} images of CIFAR-10 averaged to 8x8; rate"
        f" {LR:g}, momentum {MOMENTUM:g}, batches of {BATCH}, {STEPS:,} steps ({QUICK_STEPS:,} in the quick form), the"
        f" rate multiplied by {FACTOR:g} after {DROPS[0]:.0%} and after {DROPS[1]:.0%} of them. Random means normal"
        f" weights of {SHARE:g} times He's deviation: about what the source's reference network had, which took .005"
        " and .01 in much wider layers. He's weights, which know the widths but not the data, stand beside it: they are"
        " nearly as far ahead. Here accuracy is caught up with even before the rate drops, training loss is not in so"
        " few steps. The ten layers are two convolutions and eight dense ones in float64, before any"
        " training, measured on the images that the weights saw.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the accuracy over training, or what ten layers give at the start."""
    if settings.get("deep", False):
        return _at_the_start(settings["start"], seed)
    samples = few_images("cifar10", seed, count=COUNT, held_out=HELD_OUT, pooled=4)
    with seeded(seed, "weights"):
        network = _dense(samples.features, HIDDEN)
        START[settings["start"]](network, samples.inputs[:LOOKED_AT])
    return _train(network, samples, seed, QUICK_STEPS if is_quick else STEPS)


def _dense(features: int, hidden: Sequence[int]) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        parts += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return nn.Sequential(*parts, nn.Linear(features, 10))


def _gaussian(network: nn.Module, images: Tensor) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=SHARE * (2 / layer.in_features) ** 0.5)
            nn.init.zeros_(layer.bias)


def _he(network: nn.Module, images: Tensor) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


def _lsuv(network: nn.Module, images: Tensor) -> None:
    lsuv_(network, images, tolerance=TOLERANCE)


def _within(network: nn.Module, images: Tensor) -> None:
    within_layer_(network, images)


START: Mapping[str, Callable[[nn.Module, Tensor], None]] = {
    GAUSSIAN: _gaussian,
    HE: _he,
    LSUV: _lsuv,
    WITHIN: _within,
}


def _train(network: nn.Module, samples: Samples, seed: int, steps: int) -> Values:
    """Return loss and accuracy at evenly spaced places of the run."""
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)
    drops, every = {round(place * steps) for place in DROPS}, steps // LOOKS
    losses, curve = [], []
    for step, loss in zip(
        range(1, steps + 1), descend(network, samples, optimizer, batch_size=BATCH, seed=seed), strict=False
    ):
        losses.append(loss)
        if step in drops:
            for group in optimizer.param_groups:
                group["lr"] *= FACTOR
        if step % every == 0:
            curve.append(accuracy(network, samples.held_out, samples.held_out_labels))
    return {
        "step": np.arange(every, steps + 1, every).tolist(),
        "loss": np.reshape(losses[: every * LOOKS], (LOOKS, every)).mean(axis=1).tolist(),
        "accuracy": curve,
    }


def _at_the_start(start: str, seed: int) -> Values:
    """Return, for each of ten layers, how far what it gives is from mean 0 and variance 1."""
    images = few_digits(seed).inputs[:LOOKED_AT].double()
    with seeded(seed, "weights"):
        convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()]
        network = nn.Sequential(*convolutions, *_dense(16 * 4 * 4, (64,) * 7)).double()
        START[start](network, images)
    given = outputs_of(network, images)
    per_channel = [layer.transpose(0, 1).flatten(1) for layer in given]  # (N, C, ...) -> (C, N ...)
    return {
        "variance": [float(layer.var(correction=0)) for layer in given],
        "worst mean of a channel": [float(layer.mean(dim=1).abs().max()) for layer in per_channel],
        "worst variance of a channel": [
            float((layer.var(dim=1, correction=0) - 1).abs().max()) for layer in per_channel
        ],
    }


def outputs_of(network: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """Return what each dense or convolutional layer gives, before the activation, in order."""
    found = []
    with torch.no_grad():
        for module in network:
            inputs = module(inputs)
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                found.append(inputs)
    return found


def judge(table: Table) -> Sequence[Check]:
    """Hold the variances against 1, and the data-dependent starts against the random one, seed by seed."""
    return [*_at_once(table), *(check for arm in (LSUV, WITHIN) for check in _race(table, arm))]


def _at_once(table: Table) -> Iterator[Check]:
    worst = float(np.abs(table.numbers(DEEP_LSUV, "variance") - 1).max())
    yield Check(
        "LSUV brings each of ten layers to unit variance",
        f"within its tolerance of {TOLERANCE:g}",
        f"at most {worst:.1e} off",
        f"{TOLERANCE:g}",
        worst < TOLERANCE,
    )
    for name, words in (("worst mean of a channel", "mean 0"), ("worst variance of a channel", "variance 1")):
        worst = float(table.numbers(DEEP_WITHIN, name).max())
        yield Check(
            f"within-layer: each channel of each of ten layers has {words}, in one pass",
            "exactly",
            f"at most {worst:.1e} off",
            f"{EXACT:g} in float64",
            worst <= EXACT,
        )


def _race(table: Table, arm: str) -> Iterator[Check]:
    """Compare one start with the random one, early and at the end."""
    ahead = table.numbers(arm, "accuracy") - table.numbers(GAUSSIAN, "accuracy")
    early = student_interval(ahead[:, : round(EARLY * LOOKS)].mean(axis=1))
    he = table.numbers(HE, "accuracy") - table.numbers(GAUSSIAN, "accuracy")
    same = student_interval(he[:, : round(EARLY * LOOKS)].mean(axis=1))
    yield Check(
        f"{arm} is ahead of random weights early",
        "ahead",
        f"accuracy {early} higher in the first {EARLY:.0%} of the run; He's weights {same}",
        "interval above 0",
        early.low > 0,
    )
    late = student_interval(ahead[:, -1])
    yield Check(
        f"random weights have caught up with {arm} after the second drop, accuracy",
        "caught up",
        f"accuracy of {arm} {late} higher at the end",
        f"at most {100 * CLOSE:g} point on average",
        late.value <= CLOSE,
    )
    loss = student_interval(table.numbers(GAUSSIAN, "loss")[:, -1] - table.numbers(arm, "loss")[:, -1])
    yield Check(
        f"random weights have caught up with {arm} after the second drop, training loss",
        "caught up",
        f"training loss of {arm} {loss} lower at the end",
        f"at most {CLOSE_LOSS:g} on average",
        loss.value <= CLOSE_LOSS,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw accuracy and loss over training, with the places where the rate drops."""
    shapes = []
    for name, axis in (("accuracy", "Accuracy on images that were held out"), ("loss", "Training loss")):
        shape = figure("step", axis, height=360)
        for place, arm in enumerate((GAUSSIAN, HE, LSUV, WITHIN)):
            steps, curves = table.numbers(arm, "step")[0], table.numbers(arm, name)
            for curve in curves:
                faint = {"color": translucent(CLASSES[place], 0.2), "width": 1}
                shape.add_scatter(x=steps, y=curve, mode="lines", line=faint, showlegend=False, hoverinfo="skip")
            line = {"color": CLASSES[place], "width": 2}
            shape.add_scatter(x=steps, y=curves.mean(axis=0), name=arm, mode="lines", line=line)
        for drop in DROPS:
            shape.add_vline(x=drop * float(steps[-1]), line={"dash": "dot", "width": 1, "color": NEUTRAL})
        caption = "Thick: mean over the seeds. Thin: each seed. Dotted: the rate drops to a tenth."
        shapes.append(shape.update_layout(meta={"title": axis, "caption": caption}))
    return shapes
