"""What the scale of random weights does to the activations of ten layers, before any training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown, within_deviations, within_errors, within_share
from trainwell.pictures.style import CLASSES, SYMBOLS, figure, template

LAYERS, UNITS, SAMPLES = 10, 500, 1_000
SATURATED = 0.05  # derivative of tanh below which hardly anything is learned: |activation| > 0.975
BINS, RANGES = 24, {"tanh": (-1.0, 1.0), "relu": (0.0, 5.0)}

ARMS: Mapping[str, Mapping[str, Any]] = {
    "tanh, 0.01": {"activation": "tanh", "deviation": 0.01},
    "tanh, 1": {"activation": "tanh", "deviation": 1.0},
    "tanh, 1/√k": {"activation": "tanh", "deviation": UNITS**-0.5},
    "ReLU, 1/√k": {"activation": "relu", "deviation": UNITS**-0.5},
    "ReLU, √(2/k)": {"activation": "relu", "deviation": (2 / UNITS) ** 0.5},
}
# Of each arm, the printed deviations and means by layer.
DEVIATIONS = {
    "tanh, 0.01": {2: ".0476", 7: ".000026", 10: "3e-7"},
    "tanh, 1": {1: ".98", 5: ".98", 10: ".98"},
    "tanh, 1/√k": {1: ".628", 2: ".486", 3: ".408", 10: ".228"},
    "ReLU, 1/√k": {1: ".584", 2: ".404", 3: ".277", 10: ".026"},
    "ReLU, √(2/k)": {1: ".83", 5: ".83", 10: ".83"},
}
MEANS = {"ReLU, 1/√k": {1: ".399", 10: ".018"}, "ReLU, √(2/k)": {1: ".56", 5: ".56", 10: ".56"}}


@experiments.card(source="Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852, section 2.2", claims=(3,))
def ten_layers() -> Experiment:
    """How large are the activations of ten layers at the start, by the scale of the weights?"""
    return Experiment(
        question="How large are the activations of ten layers at the start, by the scale of the weights?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=40,
        quick_seeds=10,
        note=f"{LAYERS} layers of {UNITS} units without biases on {SAMPLES:,} samples of unit Gaussians; an arm names"
        " activation and deviation of the weights, k is the fan-in, var their variance. Deviations and means are over"
        " all units and samples of a layer. The printed 3e-7 appears as 0.000000 where it was printed. Some lecture"
        " notes print .502 for the first ReLU layer with 1/√k; that is a slip: the deviation of a rectified unit"
        " Gaussian is √(1/2 - 1/2π) = .584. The printed numbers of ReLU are one draw each, and one draw spreads more"
        " with every layer.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return mean, deviation, second moment, saturated share and histogram of each layer."""
    activation = settings["activation"]
    layers = list(_activations(activation, settings["deviation"], seed))
    values: dict[str, list[float]] = {
        "deviation": [float(layer.std(correction=0)) for layer in layers],
        "mean": [float(layer.mean()) for layer in layers],
        "second moment": [float(layer.square().mean(dtype=torch.float64)) for layer in layers],
    }
    if activation == "tanh":
        values["saturated"] = [float((1 - layer.square() < SATURATED).float().mean()) for layer in layers]
    low, high = RANGES[activation]
    for number, layer in enumerate(layers, start=1):
        counts = torch.histc(layer.clamp(low, high), BINS, low, high)
        values[f"histogram of layer {number}"] = (counts / layer.numel()).tolist()
    return values


def _activations(activation: str, deviation: float, seed: int) -> Iterator[Tensor]:
    """Yield the activations (N, D) of each layer."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SAMPLES, UNITS, generator=generator)
    for _ in range(LAYERS):
        weights = torch.randn(UNITS, UNITS, generator=generator) * deviation
        inputs = torch.tanh(inputs @ weights) if activation == "tanh" else torch.relu(inputs @ weights)
        yield inputs


def judge(table: Table) -> Sequence[Check]:
    """Hold every printed number against what was measured."""
    return [*_tanh(table), *_relu(table)]


def _tanh(table: Table) -> Iterator[Check]:
    for arm, printed in DEVIATIONS.items():
        if arm.startswith("tanh"):
            numbers = table.numbers(arm, "deviation")
            for layer, number in printed.items():
                yield within_share(f"{arm}: deviation at layer {layer}", number, numbers[:, layer - 1], share=0.03)
    least = float(table.numbers("tanh, 1", "saturated").mean(axis=0).min())
    measured = f"{100 * least:.0f} % of the units at least"
    yield Check("tanh, 1: every layer is saturated", "saturated", measured, "9 in 10 units", least >= 0.9)


def _relu(table: Table) -> Iterator[Check]:
    for arm in ("ReLU, 1/√k", "ReLU, √(2/k)"):
        for name, printed in (("deviation", DEVIATIONS[arm]), ("mean", MEANS[arm])):
            numbers = table.numbers(arm, name)
            for layer, number in printed.items():
                yield within_deviations(f"{arm}: {name} at layer {layer}", number, numbers[:, layer - 1])
        numbers = table.numbers(arm, "second moment")
        half = UNITS * ARMS[arm]["deviation"] ** 2 / 2
        for layer in (1, 5, 10):
            claim = f"{arm}: second moment at layer {layer} is (k·var/2)^{layer}"
            yield within_errors(claim, half**layer, numbers[:, layer - 1], printed=shown(half**layer))


def figures(table: Table) -> Sequence[Any]:
    """Draw the deviations by layer with the printed ones, and the histograms of each arm."""
    return [_deviations(table), *(_histograms(table, arm) for arm in table.arms)]


def _deviations(table: Table) -> Any:
    shape = figure("Layer", "Deviation of the activations", height=380)
    layers = list(range(1, LAYERS + 1))
    for arm, color, symbol in zip(table.arms, CLASSES, SYMBOLS, strict=False):
        mean = table.numbers(arm, "deviation").mean(axis=0)
        shape.add_scatter(x=layers, y=mean, name=arm, mode="lines", line={"color": color, "width": 2})
        printed = {layer: float(number) for layer, number in DEVIATIONS[arm].items()}
        marker = {"color": color, "symbol": symbol, "size": 9}
        places, numbers = list(printed), list(printed.values())
        shape.add_scatter(x=places, y=numbers, name=f"{arm}, printed", mode="markers", marker=marker, showlegend=False)
    shape.update_yaxes(type="log", exponentformat="power", dtick=1)
    shape.update_xaxes(dtick=1)
    caption = "Lines: mean over the seeds. Marks: the printed numbers. Straight down is vanishing; level is right."
    shape.update_layout(meta={"title": "The deviation of each layer", "caption": caption})
    return shape


def _histograms(table: Table, arm: str) -> Any:
    """Draw one small histogram a layer, from left to right."""
    low, high = RANGES[ARMS[arm]["activation"]]
    centres = low + (np.arange(BINS) + 0.5) * (high - low) / BINS
    shape = make_subplots(1, LAYERS, shared_yaxes=True, horizontal_spacing=0.012)
    for layer in range(1, LAYERS + 1):
        shares = table.numbers(arm, f"histogram of layer {layer}").mean(axis=0)
        words = f"layer {layer}: %{{y:.1%}} at %{{x:.2f}}<extra></extra>"
        bars = {"marker_color": CLASSES[0], "showlegend": False, "hovertemplate": words}
        shape.add_bar(x=centres, y=np.sqrt(shares), row=1, col=layer, customdata=shares, **bars)
        shape.data[-1].hovertemplate = words.replace("%{y:.1%}", "%{customdata:.1%}")
        shape.update_xaxes(title_text=str(layer), range=[low, high], tickvals=[low, high], row=1, col=layer)
    layout = {"template": template("light"), "height": 190, "bargap": 0, "margin": {"l": 4, "r": 4, "t": 8, "b": 8}}
    caption = (
        f"From layer 1 to {LAYERS}, each from {low:g} to {high:g}; heights are roots of shares, so that few are seen."
    )
    shape.update_yaxes(visible=False).update_xaxes(showgrid=False, showticklabels=False, zeroline=False)
    return shape.update_layout(**layout, meta={"title": f"The activations: {arm}", "caption": caption})
