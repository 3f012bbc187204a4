"""How deep a plain ReLU network can be trained, by the scale of its first weights, and is deeper better?

Nothing helps here but the scale: no norm, no shortcuts. He's keeps the second moment of every layer, Xavier's halves
it, so that after L layers 2^-L of it is left, and as little of the gradient.

Source: He, Zhang, Ren, Sun 2015, "Delving deep into rectifiers", arXiv:1502.01852, section 2.2, figures 2 and 3.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor, nn

from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.initialization import initialize
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown, within_errors
from trainwell.lab.plain_loop import accuracy, descend, few_digits, seeded
from trainwell.pictures.style import CLASSES, NEUTRAL, SYMBOLS, figure

CHANNELS, SIDE = 16, 4  # of all layers but the first, which sees 8x8
SCALES = {"He": "he", "Xavier": "lecun"}  # the source's Xavier has variance 1 / fan_in
RATE, MOMENTUM, CLIP, BATCH = 0.02, 0.9, 1.0, 32
BLOCK = 25  # steps that are averaged to a point of a curve
STEPS, XAVIER_STEPS = 500, 1_200  # Xavier's get more, to see whether they ever start
QUICK_STEPS, QUICK_XAVIER_STEPS = 125, {22: 500, 30: 150}
HIGHEST = math.log(10)  # the loss of knowing nothing
LEARNED, STALLED = 0.9, 0.99  # of it, at the end
DRAWS, QUICK_DRAWS, WIDE, SCALE_BATCH = 40, 5, 64, 2  # of random networks whose forward scale is measured
DEEPEST = 30
FACTORS = {"He": 1.0, "Xavier": 0.5}  # of the second moment, from layer to layer

TRAINED: dict[str, dict[str, Any]] = {
    f"{layers} layers, {scale}": {"kind": "train", "layers": layers, "scale": scale}
    for layers, scale in ((14, "He"), (22, "He"), (22, "Xavier"), (30, "He"), (30, "Xavier"))
}
FORWARD: dict[str, dict[str, Any]] = {f"forward, {scale}": {"kind": "forward", "scale": scale} for scale in SCALES}


@experiments.card(
    source="He et al. 2015, arXiv:1502.01852, section 2.2, figures 2 and 3",
    claims=(29,),
    fails=("22 layers, Xavier: learns",),
)
def plain_nets_by_depth() -> Experiment:
    """Plain nets of 22 layers train sooner with He's scale, of 30 only with it, and are no better than of 14."""
    return Experiment(
        question="How deep can a plain ReLU network be, with He's scale of weights and with Xavier's?",
        arms=TRAINED | FORWARD,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        note=(
            f"Reduced: 1,000 digits of 8x8 instead of ImageNet, {CHANNELS} channels in each layer, 3x3 convolutions at "
            f"{SIDE}x{SIDE} pixels behind the first, {STEPS} steps of batches of {BATCH} with He's scale and "
            f"{XAVIER_STEPS:,} with Xavier's ({QUICK_STEPS}, and {QUICK_XAVIER_STEPS[22]} with 22 layers and "
            f"{QUICK_XAVIER_STEPS[30]} with 30, in the quick form). Rate {RATE:g} and momentum {MOMENTUM:g}; gradients "
            f"longer than {CLIP:g} are shortened to it, without which 30 layers so narrow die at rates at which "
            "Xavier's ever start. Layers with weights are counted, the last one is dense. Images go round at their "
            "edges instead of being padded with zeros: with zeros the sums over so small an image lack three in ten of "
            "their terms, and He's scale would lose the signal too. Learned is a training loss below "
            f"{LEARNED:g} ln 10 at the end, stalled one above {STALLED:g} ln 10. The source's Xavier has variance 1 / "
            "fan_in, which is Glorot's where a layer has as many outputs as inputs. Forward: what each of "
            f"{DEEPEST} random layers of {WIDE} channels does to the second moment, mean over {DRAWS} networks a seed, "
            "in float64; the product spreads by factors from network to network, the single factors do not."
        ),
    )


def build(layers: int, scale: str, *, channels: int = CHANNELS) -> nn.Sequential:
    """Return a plain network of so many layers with weights for 1x8x8 images, drawn by a scheme of the shelf."""
    parts: list[nn.Module] = []
    for layer in range(1, layers):
        before, stride = (1, 2) if layer == 1 else (channels, 1)
        parts += [nn.Conv2d(before, channels, 3, stride, padding=1, padding_mode="circular"), nn.ReLU()]
    network = nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels * SIDE * SIDE, 10))
    initialize(network, SCALES[scale])
    return network


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train a network, or measure how large the signal of random ones is behind each layer."""
    if settings["kind"] == "forward":
        with seeded(seed, "initialization"):
            return forward_scale(settings["scale"], draws=QUICK_DRAWS if is_quick else DRAWS)
    steps = steps_of(settings, is_quick=is_quick)
    samples = few_digits(seed)
    with seeded(seed, "initialization"):
        network = build(settings["layers"], settings["scale"])
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    optimizer.register_step_pre_hook(lambda *_: _shorten(network))
    descent = descend(network, samples, optimizer, batch_size=BATCH, seed=seed)
    losses = [loss if math.isfinite(loss) else HIGHEST for loss in itertools.islice(descent, steps)]
    curve = np.array(losses).reshape(-1, BLOCK).mean(axis=1)
    return {
        "loss": curve.tolist(),
        "last loss": float(curve[-2:].mean()),
        "error": 1 - accuracy(network, samples.held_out, samples.held_out_labels),
        "training error": 1 - accuracy(network, samples.inputs, samples.labels),
        "steps to learn": float(steps_to(curve, LEARNED * HIGHEST)),
    }


def steps_of(settings: Mapping[str, Any], *, is_quick: bool) -> int:
    """Return how many steps an arm is trained."""
    if settings["scale"] == "He":
        return QUICK_STEPS if is_quick else STEPS
    return QUICK_XAVIER_STEPS[settings["layers"]] if is_quick else XAVIER_STEPS


def _shorten(network: nn.Module) -> None:
    nn.utils.clip_grad_norm_(network.parameters(), CLIP)


def steps_to(curve: Sequence[float] | np.ndarray, level: float) -> int:
    """Return how many steps it takes until the curve is below a level; one block more than all where it never is."""
    blocks = next((number for number, loss in enumerate(curve, start=1) if loss < level), len(curve) + 1)
    return BLOCK * blocks


def forward_scale(scale: str, *, draws: int) -> Values:
    """Return by what each layer multiplies the second moment of the activations, and what is left behind it.

    Both are means over random networks and images. Given what enters a layer, its factor has the same expectation
    whatever that is: 1 for He's scale, 1/2 for Xavier's.
    """
    factors, left = np.zeros(DEEPEST), np.zeros(DEEPEST)
    for _ in range(draws):
        signal: Tensor = torch.randn(SCALE_BATCH, WIDE, SIDE, SIDE, dtype=torch.float64)
        begun = before = float(signal.square().mean())
        for layer in range(DEEPEST):
            convolution = nn.Conv2d(WIDE, WIDE, 3, padding=1, padding_mode="circular", bias=False)
            initialize(convolution, SCALES[scale])
            with torch.no_grad():
                signal = torch.relu(convolution.double()(signal))
            after = float(signal.square().mean())
            factors[layer] += after / before / draws
            left[layer] += after / begun / draws
            before = after
    return {"factor": factors.tolist(), "second moment": left.tolist()}


def judge(table: Table) -> list[Check]:
    """Hold the forward scale to its expectation, and the trained networks to what was published."""
    found = list(_forward(table))
    found += [_learns(table, f"{layers} layers, He") for layers in (14, 22, 30)]
    found.append(_learns(table, "22 layers, Xavier"))
    he, xavier = (table.numbers(f"22 layers, {scale}", "steps to learn") for scale in SCALES)
    found.append(
        Check(
            "22 layers: Xavier learns later than He",
            "later",
            f"after {shown(xavier.mean())} steps against {shown(he.mean())}, {(xavier / he).min():.2g} times at least",
            "later in each seed",
            bool((xavier > he).all()),
        )
    )
    last = table.numbers("30 layers, Xavier", "last loss") / HIGHEST
    ends = f"{last.min():.4f} to {last.max():.4f} of ln 10 at the end, n = {len(last)}"
    found.append(
        Check(
            "30 layers, Xavier: stalled", "stalled", ends, f"above {STALLED:g} in each seed", bool(last.min() > STALLED)
        )
    )
    return [*found, *_deeper_is_worse(table)]


def _forward(table: Table) -> Iterator[Check]:
    for scale, factor in FACTORS.items():
        factors = table.numbers(f"forward, {scale}", "factor").ravel()
        left = table.numbers(f"forward, {scale}", "second moment").mean(axis=0)[-1]
        claim = f"{scale}: each layer multiplies the second moment by"
        check = within_errors(claim, factor, factors, most=4.0)
        words = (
            f"{check.measured}; {shown(float(left))} of it left after {DEEPEST} layers, {factor**DEEPEST:.3g} expected"
        )
        yield Check(claim, check.printed, words, check.tolerance, check.holds)


def _learns(table: Table, arm: str) -> Check:
    last = table.numbers(arm, "last loss") / HIGHEST
    ends = f"{(last < LEARNED).sum()} of {len(last)} seeds, {last.min():.3f} to {last.max():.3f} of ln 10 at the end"
    return Check(f"{arm}: learns", "learns", ends, f"below {LEARNED:g} in each seed", bool(last.max() < LEARNED))


def _deeper_is_worse(table: Table) -> Iterator[Check]:
    for what in ("error", "training error"):
        deep, shallow = (table.numbers(f"{layers} layers, He", what) for layers in (30, 14))
        apart = deep - shallow
        measured = f"{deep.mean():.1%} against {shallow.mean():.1%}, difference {student_interval(apart)}"
        claim = f"30 layers are worse than 14, both with He: {what}"
        yield Check(claim, "worse", measured, "worse in each seed", bool(apart.min() > 0))


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the training losses, and the second moment by layer."""
    losses = figure("Step", "Training loss", height=400)
    for arm, color in zip(TRAINED, CLASSES, strict=False):
        dash = "dot" if TRAINED[arm]["scale"] == "Xavier" else "solid"
        curves = table.numbers(arm, "loss")
        steps = [BLOCK * (number + 1) for number in range(curves.shape[1])]
        line = {"color": color, "width": 2, "dash": dash}
        losses.add_scatter(x=steps, y=curves.mean(axis=0), name=arm, mode="lines", line=line)
        for curve in curves if len(curves) > 1 else ():
            thin = {"color": color, "width": 0.6, "dash": dash}
            losses.add_scatter(x=steps, y=curve, mode="lines", line=thin, showlegend=False, hoverinfo="skip")
    losses.add_hline(y=HIGHEST, line={"color": NEUTRAL, "width": 1, "dash": "dash"})
    caption = f"Thick: mean over the seeds; thin: each seed; dotted: Xavier; dashed: ln 10. Means of {BLOCK} steps."
    losses.update_layout(meta={"title": "Plain networks, by depth and first weights", "caption": caption})
    return [losses, _moments(table)]


def _moments(table: Table) -> go.Figure:
    layers = np.arange(1, DEEPEST + 1)
    drawn = figure("Layer", "Second moment of the activations", height=360)
    for (scale, factor), color, symbol in zip(FACTORS.items(), CLASSES, SYMBOLS, strict=False):
        marks = {"color": color, "symbol": symbol, "size": 6}
        left = table.numbers(f"forward, {scale}", "second moment").mean(axis=0)
        drawn.add_scatter(x=layers, y=left, name=scale, mode="markers", marker=marks)
        line = {"color": NEUTRAL, "width": 1, "dash": "dot"}
        drawn.add_scatter(x=layers, y=factor**layers, mode="lines", line=line, showlegend=False)
    drawn.update_yaxes(type="log", exponentformat="power")
    caption = "Marks: mean over random networks. Dotted: 1 and 2^-L."
    return drawn.update_layout(meta={"title": "What is left of the signal", "caption": caption})
