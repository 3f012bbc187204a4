"""A vector through a hundred random layers, and a batch through six wide ones: what each scale of the weights does."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown, within_deviations, within_log_deviations
from trainwell.pictures.style import CLASSES, NEUTRAL, SYMBOLS, figure

LAYERS, UNITS = 100, 512
RELU_DRAWS, QUICK_RELU_DRAWS = 100, 40  # of one layer and one vector, for each seed
MOST = 0.75  # of the draws inside a printed range, whose ends are about two deviations of one draw from its middle
WIDE_LAYERS, WIDE_UNITS, WIDE_BATCH = 6, 4096, 16
WIDE_SCALES = {"0.01": 0.01, "0.05": 0.05, "1/√k": WIDE_UNITS**-0.5}
POWERS_OF_THREE = 33  # 3^33 < 2^53: so far 1.5^L is a float64 without rounding
GLOROT = math.sqrt(6 / (UNITS + UNITS))

ARMS: Mapping[str, Mapping[str, Any]] = {
    "no activation, 1": {"kind": "deep", "activation": "none", "deviation": 1.0},
    "no activation, 0.01": {"kind": "deep", "activation": "none", "deviation": 0.01},
    "tanh, √(1/k)": {"kind": "deep", "activation": "tanh", "deviation": UNITS**-0.5},
    "ReLU, Xavier uniform": {"kind": "deep", "activation": "relu", "bound": GLOROT},
    "ReLU, Kaiming": {"kind": "deep", "activation": "relu", "deviation": (2 / UNITS) ** 0.5},
    "one ReLU layer": {"kind": "one"},
    "multiples of the identity": {"kind": "identity"},
    "six wide tanh layers": {"kind": "wide"},
}
RANGES = {
    "tanh, √(1/k)": (".0613", 0.037, 0.087),
    "ReLU, Xavier uniform": ("7.8e-16", 2e-16, 1.6e-15),
    "ReLU, Kaiming": (".4226", 0.25, 2.0),
}
WIDE_PRINTED = {"0.01": (".49", ".046"), "0.05": (".87", ".85"), "1/√k": (".63", ".29")}


@experiments.card(source="Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852, section 2.2", claims=(4,))
def hundred_layers() -> Experiment:
    """Does a vector survive a hundred random layers, by the scale of the weights?"""
    return Experiment(
        question="Does a vector survive a hundred random layers, by the scale of the weights?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=24,
        quick_seeds=8,
        note=f"One vector of {UNITS} unit Gaussians through {LAYERS} layers of {UNITS} units in float32; the same in"
        " float64 neither overflows nor underflows, which is measured beside it. k is the fan-in. The printed numbers"
        f" are single draws. Deviations of single draws spread by factors, so they are compared as logarithms. The six"
        f" wide layers have {WIDE_UNITS:,} units and a batch of {WIDE_BATCH}. One ReLU layer: the 16 that is sometimes"
        " called a deviation is the root mean square √(512/2).",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return what the layers of an arm do to a vector or a batch of unit Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    if settings["kind"] == "deep":
        return _deep(settings, generator)
    if settings["kind"] == "one":
        return _one_layer(generator, QUICK_RELU_DRAWS if is_quick else RELU_DRAWS)
    return _identity(generator) if settings["kind"] == "identity" else _wide(generator)


def _deep(settings: Mapping[str, Any], generator: torch.Generator) -> Values:
    """Send one vector through all layers in float32, and beside it in float64."""
    single = torch.randn(UNITS, generator=generator)
    double = single.double()
    activate = _activation(settings["activation"])
    deviations, doubles = list[float](), list[float]()
    for _ in range(LAYERS):
        if "bound" in settings:
            weights = torch.empty(UNITS, UNITS).uniform_(-settings["bound"], settings["bound"], generator=generator)
        else:
            weights = torch.randn(UNITS, UNITS, generator=generator) * settings["deviation"]
        single, double = activate(weights @ single), activate(weights.double() @ double)
        deviations.append(float(single.double().std(correction=0)))
        doubles.append(float(double.std(correction=0)))
    lost = [layer for layer, value in enumerate(deviations, start=1) if not math.isfinite(value) or value == 0]
    kept = [value if math.isfinite(value) and value > 0 else 0.0 for value in deviations]
    return {
        "deviation": kept,
        "deviation in float64": doubles,
        "first layer lost": float(lost[0] if lost else LAYERS + 1),
        "overflowed": float(not math.isfinite(deviations[-1])),
        "underflowed": float(deviations[-1] == 0),
    }


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    functions: dict[str, Callable[[Tensor], Tensor]] = {"none": Tensor.clone, "tanh": torch.tanh, "relu": torch.relu}
    return functions[name]


def _one_layer(generator: torch.Generator, draws: int) -> Values:
    """Average one ReLU layer with unit Gaussian weights over many draws of weights and vector."""
    squares, means = 0.0, 0.0
    for _ in range(draws):
        outputs = torch.relu(
            torch.randn(UNITS, UNITS, generator=generator) @ torch.randn(UNITS, generator=generator)
        ).double()
        squares += float(outputs.square().mean()) / draws
        means += float(outputs.mean()) / draws
    return {"mean square": squares, "mean": means}


def _identity(generator: torch.Generator) -> Values:
    """Multiply by 1.5 I and 0.5 I again and again, and compare with the powers."""
    inputs = 2.0 ** torch.randint(-10, 10, (UNITS,), generator=generator).double()  # one bit each: no rounding
    values: dict[str, list[float]] = {}
    for factor, layers in ((1.5, POWERS_OF_THREE), (0.5, LAYERS)):
        weights, outputs = factor * torch.eye(UNITS, dtype=torch.float64), inputs
        errors = []
        for layer in range(1, layers + 1):
            outputs = weights @ outputs
            errors.append(float((outputs / inputs / factor**layer - 1).abs().max()))
        values[f"error of {factor}^L"] = errors
    return values


def _wide(generator: torch.Generator) -> Values:
    """Send a batch through six wide layers, once for each scale, with the same draws of weights."""
    batches = dict.fromkeys(WIDE_SCALES, torch.randn(WIDE_BATCH, WIDE_UNITS, generator=generator))
    values: dict[str, list[float]] = {name: [] for name in WIDE_SCALES}
    for _ in range(WIDE_LAYERS):
        weights = torch.randn(WIDE_UNITS, WIDE_UNITS, generator=generator)
        for name, deviation in WIDE_SCALES.items():
            batches[name] = torch.tanh(batches[name] @ weights * deviation)
            values[name].append(float(batches[name].std(correction=0)))
    return values


def judge(table: Table) -> Sequence[Check]:
    """Hold every printed number against what was measured."""
    return [*_lost(table), *_kept(table), *_single_layer(table), *_powers(table), *_wide_layers(table)]


def _lost(table: Table) -> Iterator[Check]:
    for arm, what, printed in (
        ("no activation, 1", "overflowed", "overflow"),
        ("no activation, 0.01", "underflowed", "0"),
    ):
        share, at = table.numbers(arm, what).mean(), table.numbers(arm, "first layer lost")
        ends = f"{at.min():.0f}" if at.min() == at.max() else f"{at.min():.0f} to {at.max():.0f}"
        words = f"{100 * share:.0f} % of {len(at)} draws {what}, from layer {ends} on"
        yield Check(f"{arm}: after {LAYERS} layers in float32", printed, words, "every draw", bool(share == 1))
        last = table.numbers(arm, "deviation in float64")[:, -1]
        is_kept = bool(np.isfinite(last).all() and (last > 0).all())
        words = f"{shown(float(last.min()))} to {shown(float(last.max()))}, n = {len(last)}"
        yield Check(f"{arm}: the same in float64", "neither over- nor underflow", words, "every draw", is_kept)


def _kept(table: Table) -> Iterator[Check]:
    for arm, (printed, low, high) in RANGES.items():
        last = table.numbers(arm, "deviation")[:, -1]
        yield within_log_deviations(f"{arm}: deviation after {LAYERS} layers, the printed draw", printed, last)
        middle = float(np.exp(np.log(last).mean()))
        inside = int(((last >= low) & (last <= high)).sum())
        words = f"{shown(middle)} in the middle, {inside} of {len(last)} draws inside"
        claim = f"{arm}: deviation after {LAYERS} layers, the range"
        holds = low <= middle <= high and inside >= MOST * len(last)
        yield Check(claim, f"{low:g} to {high:g}", words, "the middle and 3 in 4 draws", holds)


def _single_layer(table: Table) -> Iterator[Check]:
    arm = "one ReLU layer"
    root = math.sqrt(table.numbers(arm, "mean square").mean())
    mean = float(table.numbers(arm, "mean").mean())
    for name, printed, found in (("root mean square √(512/2)", "16", root), ("mean √(512/2π)", "9.03", mean)):
        holds = abs(found / float(printed) - 1) <= 0.01
        yield Check(f"{arm}: {name}", printed, f"{shown(found)}, n = {table.seeds}", "1 %", holds)


def _powers(table: Table) -> Iterator[Check]:
    arm = "multiples of the identity"
    for factor in (1.5, 0.5):
        errors = table.numbers(arm, f"error of {factor}^L")
        claim = f"W = {factor} I: after L layers up to {errors.shape[1]}"
        worst = float(errors.max())
        yield Check(claim, f"{factor}^L", f"{factor}^L, error {worst:g}", "exact", worst == 0)


def _wide_layers(table: Table) -> Iterator[Check]:
    for name, printed in WIDE_PRINTED.items():
        numbers = table.numbers("six wide tanh layers", name)
        for layer, number in zip((1, WIDE_LAYERS), printed, strict=True):
            claim = f"six tanh layers of {WIDE_UNITS:,}, {name}: deviation at layer {layer}"
            yield within_deviations(claim, number, numbers[:, layer - 1])


def figures(table: Table) -> Sequence[Any]:
    """Draw the deviation by layer: of the hundred layers, and of the six wide ones."""
    return [_hundred(table), _six(table)]


def _hundred(table: Table) -> Any:
    shape = figure("Layer", "Deviation of the activations, float32", height=420)
    layers = np.arange(1, LAYERS + 1)
    for arm, color in zip((arm for arm in table.arms if ARMS[arm]["kind"] == "deep"), CLASSES, strict=False):
        numbers = table.numbers(arm, "deviation")
        middle = np.exp(np.log(np.where(numbers > 0, numbers, np.nan)).mean(axis=0))  # no line where a draw is lost
        shape.add_scatter(x=layers, y=middle, name=arm, mode="lines", line={"color": color, "width": 2})
        if arm in RANGES:
            mark = {"color": color, "symbol": "circle", "size": 9}
            number = [float(RANGES[arm][0])]
            shape.add_scatter(x=[LAYERS], y=number, name=f"{arm}, printed", marker=mark, showlegend=False)
    shape.update_yaxes(type="log", exponentformat="power", dtick=10)
    caption = "Lines: geometric mean over the seeds, ending where float32 cannot hold it. Marks: the printed numbers."
    return shape.update_layout(meta={"title": "A vector through a hundred layers", "caption": caption})


def _six(table: Table) -> Any:
    shape = figure("Layer", "Deviation of the activations", height=420)
    layers = list(range(1, WIDE_LAYERS + 1))
    for name, color, symbol in zip(WIDE_SCALES, CLASSES, SYMBOLS, strict=False):
        mean = table.numbers("six wide tanh layers", name).mean(axis=0)
        shape.add_scatter(x=layers, y=mean, name=name, mode="lines", line={"color": color, "width": 2})
        mark = {"color": color, "symbol": symbol, "size": 9, "line": {"color": NEUTRAL, "width": 1}}
        ends = [float(number) for number in WIDE_PRINTED[name]]
        words = {"name": f"{name}, printed", "mode": "markers", "showlegend": False}
        shape.add_scatter(x=[1, WIDE_LAYERS], y=ends, marker=mark, **words)
    shape.update_yaxes(range=[0, 1]).update_xaxes(dtick=1)
    caption = "Lines: mean over the seeds, by the deviation of the weights. Marks: the printed numbers."
    return shape.update_layout(meta={"title": f"Six tanh layers of {WIDE_UNITS:,} units", "caption": caption})
