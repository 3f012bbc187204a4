"""Which sets of points does no straight line tell apart, and how few hidden units do?

Source: Minsky and Papert 1969, "Perceptrons"; the sets are those of the library's `points`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainwell.core.chance import derive
from trainwell.core.shelves import experiments, sources
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown
from trainwell.pictures.style import CLASSES, figure, translucent

HIDDEN = {"circles": 3, "xor": 4, "ring": 10, "modes": 12}
SAMPLES, NOISE = 2000, {"circles": 0.05, "xor": 0.0, "ring": 0.0, "modes": 0.0}
STARTS = 6  # trained side by side; the one with the lowest training loss is kept
STEPS, RATE = {True: 600, False: 2000}, 0.05  # quick and full, of Adam on all points
NEAR_CHANCE, NEEDED, SEPARATED = 0.6, 0.75, 0.95
GRID = 120


LINE = "circles, no hidden layer"


@experiments.card(
    source="Minsky and Papert 1969",
    claims=(2,),
    fails=(LINE,),  # in the full form: one draw of the points lets a line be right a little more often
)
def need_for_hidden_units() -> Experiment:
    """No line separates concentric circles, XOR, a ring or three modes; a few hidden units do."""
    return Experiment(
        question="What can a network without hidden units not tell apart, and how few of them are enough?",
        arms={
            f"{kind}, {count or 'no'} hidden": {"kind": kind, "hidden": count}
            for kind, enough in HIDDEN.items()
            for count in (0, enough)
        },
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=1,
        note=(
            f"{SAMPLES} points, half of each class, half of them to train. tanh units, Adam on all training points at "
            f"once, the best of {STARTS} starts by training loss: the question is what a network can do, not how "
            f"often it gets there. Circles have noise {NOISE['circles']:g}; the other sets have none, and their "
            "classes touch."
        ),
    )


def draw(kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """Return points (N, 2) and their classes (N,) in {0, 1}, float32."""
    samples = sources.build("points", {"kind": kind, "samples": SAMPLES, "noise": NOISE[kind], "seed": seed})
    return samples.arrays, torch.from_numpy(samples.labels).float()


def size(hidden: int) -> int:
    """Return how many weights a network has: 2 inputs, `hidden` units, 1 output."""
    return 4 * hidden + 1 if hidden else 3


def logits(weights: Tensor, points: Tensor, hidden: int) -> Tensor:
    """Return (S, N) logits of S networks, of which each row of weights (S, P) is one."""
    if not hidden:
        return weights[:, :2] @ points.T + weights[:, 2:]
    first, bias, last = weights[:, : 2 * hidden].unflatten(1, (hidden, 2)), *weights[:, 2 * hidden : -1].chunk(2, dim=1)
    units = torch.tanh(first @ points.T + bias.unsqueeze(2))  # (S, hidden, N)
    return torch.einsum("sh,shn->sn", last, units) + weights[:, -1:]


def train(points: Tensor, labels: Tensor, hidden: int, steps: int, seed: int) -> Tensor:
    """Return the weights (P,) of the best of several starts."""
    generator = torch.Generator().manual_seed(derive(seed, "initialization"))
    weights = torch.randn(STARTS, size(hidden), generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=RATE)
    losses = torch.zeros(STARTS)
    for _ in range(steps):
        optimizer.zero_grad()
        answers = logits(weights, points, hidden)
        target = labels.expand(STARTS, -1)
        losses = functional.binary_cross_entropy_with_logits(answers, target, reduction="none").mean(dim=1)
        losses.sum().backward()
        optimizer.step()
    best: Tensor = weights.detach()[losses.argmin()]
    return best


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train on half of the points and count the other half."""
    points, labels = draw(settings["kind"], seed)
    half = SAMPLES // 2
    weights = train(points[:half], labels[:half], settings["hidden"], STEPS[is_quick], seed)
    right = ((logits(weights[None], points, settings["hidden"])[0] > 0) == (labels > 0.5)).double()
    return {
        "accuracy in training": float(right[:half].mean()),
        "accuracy": float(right[half:].mean()),
        "weights": weights.tolist(),
    }


def judge(table: Table) -> list[Check]:
    """Hold the lines near chance and the networks to separation."""
    checks = []
    for kind, enough in HIDDEN.items():
        without = table.numbers(f"{kind}, no hidden", "accuracy")
        hidden = table.numbers(f"{kind}, {enough} hidden", "accuracy")
        limit, words = (NEAR_CHANCE, "near chance") if kind == "circles" else (NEEDED, "cannot be told apart")
        holds = bool((without <= limit).all()), bool((hidden >= SEPARATED).all())
        found = _worst(without, max), _worst(hidden, min)
        checks += [
            Check(f"{kind}, no hidden layer", words, found[0], f"at most {limit:g} in all", holds[0]),
            Check(f"{kind}, one layer of {enough}", "separated", found[1], f"at least {SEPARATED:g} in all", holds[1]),
        ]
    return checks


def _worst(accuracies: NDArray[np.float64], end: Any) -> str:
    return f"{shown(float(accuracies.mean()))}, {'highest' if end is max else 'lowest'} {shown(float(end(accuracies)))}"


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw what the first seed's networks say everywhere, with the points."""
    return [
        _regions(kind, count, torch.tensor(table.numbers(f"{kind}, {count or 'no'} hidden", "weights")[0]).float())
        for kind, enough in HIDDEN.items()
        for count in (0, enough)
    ]


def _regions(kind: str, hidden: int, weights: Tensor) -> go.Figure:
    points, labels = draw(kind, 0)
    reach = float(points.abs().max()) * 1.05
    axis = torch.linspace(-reach, reach, GRID)
    grid = torch.cartesian_prod(axis, axis).flip(1)  # rows are the second coordinate
    sure = torch.sigmoid(logits(weights[None], grid, hidden)[0]).reshape(GRID, GRID)
    drawn = figure("first coordinate", "Second coordinate", height=380)
    scale = [
        (0.0, translucent(CLASSES[0], 0.45)),
        (0.5, "rgba(127,127,127,0.05)"),
        (1.0, translucent(CLASSES[1], 0.45)),
    ]
    ticks = axis.numpy().round(3).tolist()
    drawn.add_heatmap(
        x=ticks, y=ticks, z=sure.numpy().round(2).tolist(), zmin=0, zmax=1, colorscale=scale, showscale=False
    )
    for label in (0, 1):
        mine = points[labels == label][:200].numpy().round(3)
        marker = {"color": CLASSES[label], "size": 5, "symbol": ("circle", "square")[label]}
        drawn.add_scatter(
            x=mine[:, 0].tolist(), y=mine[:, 1].tolist(), mode="markers", marker=marker, name=f"class {label}"
        )
    drawn.update_yaxes(scaleanchor="x", showgrid=False)
    title = f"{kind}, {f'one hidden layer of {hidden}' if hidden else 'no hidden layer'}"
    return drawn.update_layout(meta={"title": title, "caption": "The colour is what the network says, and how surely."})
