"""How the variance of activations, of their gradients and of the weights' gradients changes from layer to layer."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown, within_errors
from trainwell.pictures.style import CLASSES, SYMBOLS, figure

LAYERS, BATCH = 8, 16
EQUAL = (256,) * (LAYERS + 1)
UNEQUAL = tuple(160 if layer % 2 else 320 for layer in range(LAYERS + 1))  # so that fan-in and fan-out differ
GAINS = {"2/3": 2 / 3, "1": 1.0, "3/2": 3 / 2}
WORDS = {"2/3": "vanish", "1": "keep", "3/2": "explode"}


def _arms() -> dict[str, dict[str, Any]]:
    """Return the arms: the gain of a layer is k·var for linear units and k·var/2 for ReLU."""
    arms: dict[str, dict[str, Any]] = {
        f"linear, k·var = {name}": {"activation": "linear", "gain": gain, "widths": EQUAL, "fan": "in"}
        for name, gain in GAINS.items()
    }
    for name, scale in (("4/3", 2 / 3), ("2", 1.0), ("3", 3 / 2)):
        arms[f"ReLU, k·var = {name}"] = {"activation": "relu", "gain": scale, "widths": EQUAL, "fan": "in"}
    for fan, letter in (("in", "k"), ("out", "k'")):
        settings = {"activation": "relu", "gain": 1.0, "widths": UNEQUAL, "fan": fan}
        arms[f"ReLU, unequal widths, {letter}·var = 2"] = settings
    return arms


ARMS = _arms()


@experiments.card(
    source="Glorot and Bengio 2010, section 4.2; He et al. 2015, arXiv:1502.01852, section 2.2", claims=(5,)
)
def variance_by_depth() -> Experiment:
    """How do activations, their gradients and the weights' gradients change with depth at the start?"""
    return Experiment(
        question="How do activations, their gradients and the weights' gradients change with depth at the start?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=200,
        quick_seeds=50,
        note=f"{LAYERS} layers without biases, Gaussian weights, inputs and gradients at the output of unit Gaussians;"
        " what is compared is the mean square over units, samples and draws, whose expectation is exact for linear"
        " units and for ReLU alike. k is the fan-in, k' the fan-out, var the variance of the weights; k and k' differ"
        f" only where widths are unequal: {UNEQUAL[0]} and {UNEQUAL[1]} in turn. A weight gradient is the product of"
        " an activation below and a gradient above, so where one shrinks with depth and the other grows, its size is"
        " the same in all layers.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the mean squares by layer: activations 0..L, gradients to them 0..L, gradients of the weights 1..L."""
    generator = torch.Generator().manual_seed(seed)
    widths, is_relu = settings["widths"], settings["activation"] == "relu"
    inputs = torch.randn(BATCH, widths[0], generator=generator)
    factor = settings["gain"] * (2 if is_relu else 1)
    activations, weights = [inputs], []
    for below, above in pairwise(widths):
        fan = below if settings["fan"] == "in" else above
        weights.append(torch.randn(below, above, generator=generator) * (factor / fan) ** 0.5)
        outputs = activations[-1] @ weights[-1]
        activations.append(outputs.relu() if is_relu else outputs)
    gradient = torch.randn(BATCH, widths[-1], generator=generator)
    forward = [float(layer.square().mean()) for layer in activations]
    backward, of_weights = [float(gradient.square().mean())], list[float]()
    for layer in range(LAYERS, 0, -1):
        before = gradient * (activations[layer] > 0) if is_relu else gradient
        # the mean square of one sample's outer product is the product of the two mean squares
        products = before.square().mean(1) * activations[layer - 1].square().mean(1)
        of_weights.append(float(products.mean()))
        gradient = before @ weights[layer - 1].T
        backward.append(float(gradient.square().mean()))
    return {"forward": forward, "backward": backward[::-1], "weight gradient": of_weights[::-1]}


def expected(settings: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the expectations in closed form: k·var a layer forward and k'·var backward, half of each with ReLU."""
    widths, gain = settings["widths"], settings["gain"]
    fans = [below if settings["fan"] == "in" else above for below, above in pairwise(widths)]
    forward, backward = [1.0], [1.0]
    for below, fan in zip(widths, fans, strict=False):
        forward.append(forward[-1] * gain * below / fan)
    for above, fan in zip(widths[:0:-1], fans[::-1], strict=True):
        backward.append(backward[-1] * gain * above / fan)
    backward.reverse()
    half = 0.5 if settings["activation"] == "relu" else 1.0
    weights = [half * backward[layer] * forward[layer - 1] for layer in range(1, LAYERS + 1)]
    return {"forward": forward, "backward": backward, "weight gradient": weights}


def judge(table: Table) -> Sequence[Check]:
    """Hold the measured mean squares against the powers of the claim."""
    return [*_powers(table), *_unequal(table), *_weight_gradients(table)]


def _powers(table: Table) -> Iterator[Check]:
    for arm, settings in ARMS.items():
        if settings["widths"] != EQUAL:
            continue
        fate = WORDS[next(name for name, gain in GAINS.items() if gain == settings["gain"])]
        base = "k·var" if settings["activation"] == "linear" else "k·var/2"
        for direction, at, letter in (("forward", LAYERS, base), ("backward", 0, base.replace("k", "k'"))):
            number = expected(settings)[direction][at]
            claim = f"{arm}: {direction} through {LAYERS} layers they {fate}"
            printed = f"({letter})^{LAYERS} = {shown(number)}"
            yield within_errors(claim, number, table.numbers(arm, direction)[:, at], printed=printed)


def _unequal(table: Table) -> Iterator[Check]:
    for arm, settings in ARMS.items():
        if settings["widths"] == EQUAL:
            continue
        direction, other = ("forward", "backward") if settings["fan"] == "in" else ("backward", "forward")
        for way, words in ((direction, "kept in every layer"), (other, "halved and doubled in turn")):
            numbers, wanted = table.numbers(arm, way), np.array(expected(settings)[way])
            errors = numbers.std(axis=0, ddof=1) / np.sqrt(len(numbers))
            distance = float(np.max(np.abs(numbers.mean(axis=0) - wanted) / np.maximum(errors, 1e-12)))
            claim = f"{arm}: {way}, the mean square is {words}"
            ends = f"{shown(float(numbers.mean(axis=0).min()))} to {shown(float(numbers.mean(axis=0).max()))}"
            printed = f"{shown(float(wanted.min()))} to {shown(float(wanted.max()))}"
            measured = f"{ends}, at most {distance:.1f} standard errors off, n = {len(numbers)}"
            yield Check(claim, printed, measured, "4 standard errors in the worst layer", distance <= 4)


def _weight_gradients(table: Table) -> Iterator[Check]:
    for arm, settings in ARMS.items():
        if settings["widths"] != EQUAL:
            continue
        numbers = table.numbers(arm, "weight gradient")
        ratio = numbers[:, 0] - numbers[:, -1]
        error = float(ratio.std(ddof=1) / np.sqrt(len(ratio)))
        first, last = (float(numbers[:, end].mean()) for end in (0, -1))
        claim = f"{arm}: gradients of the weights are as large in layer 1 as in layer {LAYERS}"
        measured = f"{shown(first)} and {shown(last)}, n = {len(numbers)}"
        printed = f"the same, {shown(expected(settings)['weight gradient'][0])}"
        yield Check(claim, printed, measured, "3 standard errors of the difference", abs(first - last) <= 3 * error)


def figures(table: Table) -> Sequence[Any]:
    """Draw each mean square by layer, with what is expected."""
    titles = {
        "forward": "Mean square of the activations",
        "backward": "Mean square of the gradients to them",
        "weight gradient": "Mean square of the weights' gradients",
    }
    return [_figure(table, measure, title) for measure, title in titles.items()]


def _figure(table: Table, measure: str, title: str) -> Any:
    shape = figure("Layer", title, height=380)
    arms = [arm for arm, settings in ARMS.items() if settings["widths"] == EQUAL]
    for arm, color, symbol in zip(arms, CLASSES, SYMBOLS, strict=False):
        mean, wanted = table.numbers(arm, measure).mean(axis=0), expected(ARMS[arm])[measure]
        layers = np.arange(LAYERS + 1 - len(mean), LAYERS + 1)
        line = {"color": color, "width": 1.5, "dash": "solid" if arm.startswith("linear") else "dot"}
        marks = {"color": color, "symbol": symbol, "size": 8}
        shape.add_scatter(x=layers, y=mean, name=arm, mode="markers", marker=marks)
        shape.add_scatter(x=layers, y=wanted, mode="lines", line=line, showlegend=False, hoverinfo="skip")
    shape.update_yaxes(type="log", exponentformat="power").update_xaxes(dtick=1)
    caption = "Marks: mean over draws and samples. Lines: the expectation in closed form."
    return shape.update_layout(meta={"title": title, "caption": caption})
