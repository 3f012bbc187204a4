"""Does batch norm smooth the loss, and is it internal covariate shift that it removes?

The same deep network is trained at the same rate without batch norm, with it, and with batch norm behind which noise
is added that changes mean and variance of each unit from step to step: all the shift that batch norm is said to remove,
put back in. Along the way the loss is looked at along the gradient (`lab/smoothness.py`).

The bound that explains the smoothing is checked too: with y the outputs of a layer, L the loss of a network without
batch norm behind them and L^ the one with it, over a batch of m,

    |dL^/dy|^2 <= (gamma^2 / sigma^2) (|dL/dz|^2 - <1, dL/dz>^2 / m - <dL/dz, y^>^2 / m)

where z is what the layer hands on and y^ the normalized outputs. Computed exactly, both sides are equal.

Source: Santurkar et al. 2018, arXiv:1805.11604, sections 2 to 4.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import batch_norm, cross_entropy

from trainwell.core.chance import derive
from trainwell.core.shelves import experiments
from trainwell.core.stats import Interval, student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, batches, few_images, seeded
from trainwell.lab.smoothness import along_gradient, internal_covariate_shift
from trainwell.models.mlp import MLP
from trainwell.pictures.style import CLASSES, figure, translucent

LAYERS, WIDTH = 8, 64
COUNT, HELD_OUT, BATCH, LR = 10_000, 2_000, 128, 0.2
STEPS, EVERY = 800, 25
QUICK_STEPS, QUICK_EVERY = 300, 20
LOOKS = (0.5, 1.0, 2.0, 3.0, 4.0)  # of the learning rate
SHIFT, SCALE, SPREAD = 0.5, 1.25, 0.1  # of the noise: n_mu, n_sigma and r_mu = r_sigma
MACHINE = 1e-10
NOT_LOWER = "batch norm does not lower the covariate shift of the layers"
NOT_NEARER = "batch norm does not turn gradients nearer to what they were before the layers in front stepped"
NOISE_GOES = "with the shift put back by noise, batch norm still trains faster than without"
NOT_HERE = (NOT_LOWER, NOT_NEARER, NOISE_GOES)
PLAIN, NORMED, NOISY, BOUND = "without", "batch norm", "batch norm and noise", "the bound, float64"
SMOOTH = ("loss variation", "gradient predictiveness", "effective smoothness")

ARMS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {"norm": "none"},
    NORMED: {"norm": "batch"},
    NOISY: {"norm": "batch", "noise": True},
    BOUND: {"bound": True},
}


@experiments.card(source="Santurkar et al. 2018, arXiv:1805.11604, sections 2 to 4", claims=(16,), fails=NOT_HERE)
def batch_norm_landscape() -> Experiment:
    """Batch norm smooths the loss; the covariate shift inside the network is not what matters."""
    return Experiment(
        question="Does batch norm smooth the loss, and is it internal covariate shift that it removes?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=6,
        quick_seeds=4,
        needs=("cifar10",),
        note=f"{LAYERS} hidden layers of {WIDTH} ReLU units from He's weights, on {COUNT:,} images of CIFAR-10 averaged"
        f" to 8x8; gradient descent at {LR:g} in batches of {BATCH}, {STEPS} steps ({QUICK_STEPS} in the quick form)."
        f" Now and then the loss of the batch is looked at {LOOKS[0]:g} to {LOOKS[-1]:g} steps along its gradient, in"
        " training mode, running statistics given back. An arm counts by the median of its looks, ratios are of one"
        " seed. Covariate shift is that of definition 2.1, as a share of the gradient's length, the mean over layers."
        f" The noise is the paper's: for each unit a mean up to {SHIFT:g} away and a scale up to {SCALE:g}, drawn anew"
        " each step, and a little more for each sample. The paper used VGG, where a unit is a map of many pixels, and"
        " linear networks of 25 layers. In this small network He's weights alone train well, batch norm does lower the"
        " shift, and the noise costs more than batch norm gains: these claims are not reproduced here.",
    )


class Noise(nn.Module):
    """Shifts and scales each unit at random, anew in each step, in training alone: y = s x + m.

    Source: Santurkar et al. 2018, appendix A, algorithm 1.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the noisy inputs (N, C)."""
        if not self.training:
            return inputs
        units = inputs.shape[1]
        mean = torch.empty(units).uniform_(-SHIFT, SHIFT)
        scale = torch.empty(units).uniform_(1.0, SCALE)
        means = mean + torch.empty_like(inputs).uniform_(-SPREAD, SPREAD)
        scales = scale + SPREAD * torch.randn_like(inputs)
        return scales * inputs + means


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return what the looks found over training, the loss of each step, and the accuracy at the end."""
    if "bound" in settings:
        return bound(seed)
    samples = few_images("cifar10", seed, count=COUNT, held_out=HELD_OUT, pooled=4)
    network = _network(samples, settings, seed)
    steps, every = (QUICK_STEPS, QUICK_EVERY) if is_quick else (STEPS, EVERY)
    found = _train(network, samples, seed, steps, every)
    return {**found, "accuracy": accuracy(network, samples.held_out, samples.held_out_labels)}


def _network(samples: Samples, settings: Mapping[str, Any], seed: int) -> MLP:
    with seeded(seed, "weights"):
        network = MLP(samples.features, 10, hidden=(WIDTH,) * LAYERS, norm=settings["norm"])
        nn.init.normal_(network.fc.weight, std=network.fc.in_features**-0.5)  # the MLP's own start is slow here
    if settings.get("noise", False):
        for place, layer in enumerate(network.body):
            if isinstance(layer, nn.BatchNorm1d):
                network.body[place] = nn.Sequential(layer, Noise())
    return network


def _train(network: MLP, samples: Samples, seed: int, steps: int, every: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ("loss", *SMOOTH, "covariate shift", "cosine")}
    optimizer, layers = torch.optim.SGD(network.parameters(), lr=LR), layers_of(network)
    with seeded(seed, "noise"):
        for step, (inputs, labels) in zip(range(steps), batches(samples, BATCH, seed), strict=False):
            if step % every == 0:
                _look(network, layers, inputs, labels, found)
            optimizer.zero_grad()
            loss = cross_entropy(network(inputs), labels)
            loss.backward()
            optimizer.step()
            found["loss"].append(loss.item())
    return found


def _look(
    network: MLP,
    layers: Sequence[Sequence[nn.Parameter]],
    inputs: Tensor,
    labels: Tensor,
    found: dict[str, list[float]],
) -> None:
    def loss() -> Tensor:
        return cross_entropy(network(inputs), labels)

    along = along_gradient(network, loss, [LR * look for look in LOOKS])
    for name, value in zip(
        SMOOTH, (along.loss_variation, along.gradient_predictiveness, along.smoothness), strict=True
    ):
        found[name].append(value)
    shifts = internal_covariate_shift(network, loss, layers, LR)[1:]
    found["covariate shift"].append(float(np.mean([shift.share for shift in shifts])))
    found["cosine"].append(float(np.mean([shift.cosine for shift in shifts])))


def layers_of(network: MLP) -> list[list[nn.Parameter]]:
    """Return the weights of each layer in order, those of a norm with the layer in front of it."""
    layers: list[list[nn.Parameter]] = []
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.Linear):
            layers.append(own)
        elif own:
            layers[-1] += own
    return layers


def bound(seed: int) -> Values:
    """Return both sides of the bound, the right one divided by the left, for the units of a random layer."""
    generator = torch.Generator().manual_seed(derive(seed, "bound"))
    m, units = 32, 20
    outputs = torch.randn(m, units, generator=generator, dtype=torch.float64) * 3 + 1
    scale = torch.rand(units, generator=generator, dtype=torch.float64) + 0.5
    above = torch.randn(units, 7, generator=generator, dtype=torch.float64)
    outputs.requires_grad_()
    handed_on = scale * batch_norm(outputs, None, None, training=True, eps=1e-30)
    loss = torch.tanh(handed_on @ above).square().sum()
    slope, above_slope = torch.autograd.grad(loss, [outputs, handed_on])
    normalized = (handed_on / scale).detach()
    factor = scale**2 / outputs.detach().var(dim=0, correction=0)
    squares = above_slope.square().sum(dim=0)
    along_one, along_normalized = above_slope.sum(dim=0), (above_slope * normalized).sum(dim=0)
    right = factor * (squares - along_one**2 / m - along_normalized**2 / m)
    without = factor * squares  # the bound without what the two projections take away
    left = slope.square().sum(dim=0)
    return {"right / left": (right / left).tolist(), "taken away": float(1 - (right / without).mean())}


def judge(table: Table) -> Sequence[Check]:
    """Compare smoothness and covariate shift, seed by seed, and hold the bound against rounding."""
    return [*_smoothing(table), *_shifting(table), _bound(table)]


def _ratio(table: Table, name: str, arm: str, other: str) -> tuple[Interval, NDArray[np.float64]]:
    """Return the geometric mean of the ratios of two arms over the seeds with its interval, and the ratios."""
    ratios = np.median(table.numbers(arm, name), axis=1) / np.median(table.numbers(other, name), axis=1)
    logs = student_interval(np.log(ratios))
    return Interval(*np.exp([logs.value, logs.low, logs.high]).tolist()), ratios


def _smoothing(table: Table) -> Iterator[Check]:
    for name in SMOOTH:
        ratio, _ = _ratio(table, name, PLAIN, NORMED)
        words = f"{ratio} times as large without batch norm"
        yield Check(f"batch norm lowers {name}", "smaller throughout", words, "interval above 1", ratio.low > 1)


def _shifting(table: Table) -> Iterator[Check]:
    ratio, _ = _ratio(table, "covariate shift", NORMED, PLAIN)
    yield Check(
        NOT_LOWER,
        "similar, or even larger",
        f"{ratio} times that without",
        "not below 1 by its interval",
        ratio.high >= 1,
    )
    cosine = student_interval(
        np.median(table.numbers(NORMED, "cosine"), axis=1) - np.median(table.numbers(PLAIN, "cosine"), axis=1)
    )
    yield Check(
        NOT_NEARER,
        "cosine similar, or even smaller",
        f"cosine {cosine} higher",
        "not above 0 by its interval",
        cosine.low <= 0,
    )
    losses = {arm: table.numbers(arm, "loss")[:, -100:].mean(axis=1) for arm in (PLAIN, NORMED, NOISY)}
    gain = student_interval(losses[PLAIN] - losses[NORMED])
    kept = student_interval(losses[PLAIN] - losses[NOISY])
    yield Check(
        "batch norm trains faster at the same rate",
        "faster",
        f"training loss {gain} lower",
        "interval above 0",
        gain.low > 0,
    )
    yield Check(
        NOISE_GOES,
        "almost as well as batch norm, better than without",
        f"training loss {kept} lower than without",
        "interval above 0",
        kept.low > 0,
    )


def _bound(table: Table) -> Check:
    worst = float(np.abs(table.numbers(BOUND, "right / left") - 1).max())
    taken = float(table.numbers(BOUND, "taken away").mean())
    return Check(
        "the gradient to a layer behind which batch norm stands is bounded (theorem 4.1)",
        "left <= right; equal",
        f"{worst:.1e} off at most; the two projections take {taken:.0%} away",
        f"equal to {MACHINE:g}",
        worst <= MACHINE,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the loss, and each of what was looked at, over training."""
    shapes = [_curves(table, "loss", "Loss of the batch", "The training loss", smooth=20)]
    words = {
        SMOOTH[0]: "Largest loss minus smallest",
        SMOOTH[1]: "Largest change of the gradient minus smallest",
        SMOOTH[2]: "Largest change of the gradient for its distance",
        "covariate shift": "Change of a layer's gradient by the layers in front, as its share",
        "cosine": "Cosine of a layer's gradient before and after",
    }
    for name, title in words.items():
        shapes.append(_curves(table, name, title, f"{name.capitalize()} over training"))
    return shapes


def _curves(table: Table, name: str, axis: str, title: str, smooth: int = 1) -> Any:
    shape = figure("step", axis, height=320)
    length = table.numbers(PLAIN, "loss").shape[1]
    for place, arm in enumerate((PLAIN, NORMED, NOISY)):
        curves = table.numbers(arm, name)
        curves = curves[:, : curves.shape[1] // smooth * smooth].reshape(len(curves), -1, smooth).mean(axis=2)
        x = np.linspace(0, length, curves.shape[1], endpoint=False)
        for curve in curves:
            faint = {"color": translucent(CLASSES[place], 0.25), "width": 1}
            shape.add_scatter(x=x, y=curve, mode="lines", line=faint, showlegend=False, hoverinfo="skip")
        mean = np.exp(np.log(curves).mean(axis=0)) if (curves > 0).all() else curves.mean(axis=0)
        shape.add_scatter(x=x, y=mean, name=arm, mode="lines", line={"color": CLASSES[place], "width": 2})
    if name != "cosine":
        shape.update_yaxes(type="log", exponentformat="power")
    return shape.update_layout(meta={"title": title, "caption": "Thick: mean over the seeds. Thin: each seed."})
