"""Does a warm restart cross a barrier to another minimum, and is there a way around it?

A network is trained over two cycles of a rate that falls and springs back. Between the weights at the ends of both
cycles the loss is read along the straight line, and along a Bezier curve

    w(t) = (1 - t)^2 w1 + 2 t (1 - t) theta + t^2 w2

whose theta is trained so that the loss along it is low.

Source: Gotmare et al. 2019, arXiv:1810.13243, section 3 (VGG-16 on CIFAR-10, restarts at epochs 10, 30 and 70); Garipov
et al. 2018, arXiv:1802.10026, section 3; Loshchilov and Hutter 2017, arXiv:1608.03983 (the rate).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwell.core.shelves import experiments
from trainwell.lab.connecting import Plane, bend, bezier, look_at, straight, weights_of
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, descend, few_images, seeded
from trainwell.models.convnet import ConvNet
from trainwell.pictures.style import CLASSES, figure, translucent
from trainwell.schedules import warm_restarts

COUNT, HELD_OUT, BATCH, WIDTH, DEPTH = 500, 500, 50, 12, 2
CYCLE, RATE, MOMENTUM = 600, 1.0, 0.9  # steps, the highest rate
CURVE_STEPS, CURVE_RATE = 500, 0.5
LOOKS, QUICK_LOOKS, SIDE, QUICK_SIDE = 41, 11, 21, 7  # points of a line, and a side of the plane's grid
EVERY = 30  # steps between the points of the path that are drawn
BARRIER, LOW = 2.0, 0.25  # times the loss of the higher end; of the height of the line above it
MARGIN = 0.25  # of the plane's width, around what it shows
HIGHEST = 3.0  # loss that is told apart in the picture of the plane

ARMS: Mapping[str, Mapping[str, Any]] = {"warm restarts": {}}


CROSSES = "warm restarts cross a barrier on the straight line between minima"


@experiments.card(
    source="Gotmare et al. 2019, arXiv:1810.13243, section 3; Garipov et al. 2018, arXiv:1802.10026",
    claims=(25,),
    fails=(CROSSES,),  # in the full form: one of five starts finds both ends in one basin
)
def restarts_and_connectivity() -> Experiment:
    """On the line between the ends of two cycles the loss has a barrier, along a trained curve it has none."""
    return Experiment(
        question="Does a warm restart cross a barrier to another minimum, and is there a way around it?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"A convolutional network of {2 * DEPTH} layers, {WIDTH} to {2 * WIDTH} channels with batch norm, on"
        f" {COUNT} images of CIFAR-10 averaged to 8x8: so few that their labels can be learned by heart, which easier"
        f" data need no second minimum for. Two cycles of {CYCLE} steps in batches of {BATCH}, rate {RATE:g} with"
        f" momentum {MOMENTUM:g} at the start of each. The curve is trained for {CURVE_STEPS} steps. Losses are those"
        " on all training images, and batch norm takes its statistics from them anew at each point. The quick form"
        " reads fewer points of the same.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return losses along the line and the curve, on the plane through both ends and theta, and the path over it."""
    samples = few_images("cifar10", seed, count=COUNT, held_out=HELD_OUT, pooled=4)
    with seeded(seed, "weights"):
        network = ConvNet(tuple(samples.inputs.shape[1:]), 10, width=WIDTH, depth=DEPTH)
    path = _train(network, samples, seed)
    ends = path[CYCLE // EVERY], path[-1]
    theta = bend(network, ends, samples, steps=CURVE_STEPS, rate=CURVE_RATE, size=BATCH, seed=seed)
    looks, side = (QUICK_LOOKS, QUICK_SIDE) if is_quick else (LOOKS, SIDE)
    places = np.linspace(0, 1, looks)
    line = [look_at(network, straight(*ends, t), samples) for t in places.tolist()]
    curve = [look_at(network, bezier(ends[0], theta, ends[1], t), samples) for t in places.tolist()]
    plane = Plane.through(*ends, theta)
    return {
        "t": places.tolist(),
        **{f"{name}, loss": [loss for loss, _ in found] for name, found in (("line", line), ("curve", curve))},
        **{f"{name}, accuracy": [right for _, right in found] for name, found in (("line", line), ("curve", curve))},
        **_on_the_plane(network, samples, plane, (*ends, theta), side),
        **dict(
            zip(
                ("path x", "path y"),
                np.transpose([plane.place_of(point) for point in path[CYCLE // EVERY :]]),
                strict=True,
            )
        ),
        "curve x": [plane.place_of(bezier(ends[0], theta, ends[1], t))[0] for t in places.tolist()],
        "curve y": [plane.place_of(bezier(ends[0], theta, ends[1], t))[1] for t in places.tolist()],
    }


def _train(network: ConvNet, samples: Samples, seed: int) -> list[list[Tensor]]:
    """Train over both cycles, and return the weights every so many steps, the first ones included."""
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    share = warm_restarts(2 * CYCLE, 1, first=float(CYCLE), growth=1.0)
    losses, path = descend(network, samples, optimizer, batch_size=BATCH, seed=seed), [weights_of(network)]
    for step in range(2 * CYCLE):
        optimizer.param_groups[0]["lr"] = RATE * share(step)
        next(losses)
        if (step + 1) % EVERY == 0:
            path.append(weights_of(network))
    return path


def _on_the_plane(
    network: ConvNet, samples: Samples, plane: Plane, corners: Sequence[Sequence[Tensor]], side: int
) -> Values:
    """Return the losses on a grid, row by row, and its coordinates."""
    places = np.array([plane.place_of(corner) for corner in corners])
    low, high = places.min(axis=0), places.max(axis=0)
    margin = MARGIN * (high - low).max()
    x, y = (np.linspace(low[axis] - margin, high[axis] + margin, side) for axis in (0, 1))
    losses = [look_at(network, plane.point(a, b), samples)[0] for b in y.tolist() for a in x.tolist()]
    named = {"corners x": places[:, 0].tolist(), "corners y": places[:, 1].tolist()}
    return {"plane x": x.tolist(), "plane y": y.tolist(), "plane": np.minimum(losses, 1e6).tolist(), **named}


def judge(table: Table) -> Sequence[Check]:
    """Compare the highest loss along the line and the curve with that of the higher end."""
    return list(_heights(table))


def _heights(table: Table) -> Iterator[Check]:
    (arm,) = ARMS
    line, curve = table.numbers(arm, "line, loss"), table.numbers(arm, "curve, loss")
    end: NDArray[np.float64] = np.maximum(line[:, 0], line[:, -1])
    height, over = line.max(axis=1), curve.max(axis=1)
    yield Check(
        CROSSES,
        "a barrier",
        f"loss up to {height.mean():.3f} on the line, {end.mean():.3f} at the higher end; at least"
        f" {(height / end).min():.1f} times it",
        f"at least {BARRIER:g} times the higher end in each seed",
        bool((height >= BARRIER * end).all()),
    )
    yield Check(
        "a curve of low loss connects them",
        "low",
        f"up to {over.mean():.3f} along the curve; half way {_half_way(table, 'curve'):.1%} of the held-out images are"
        f" right, {_half_way(table, 'line'):.1%} on the line; the rise above the higher end is at most"
        f" {((over - end) / (height - end)).max():.1%} of that of the line",
        f"at most {LOW:.0%} of the line's in each seed",
        bool((over - end <= LOW * (height - end)).all()),
    )


def _half_way(table: Table, name: str) -> float:
    (arm,) = ARMS
    accuracies = table.numbers(arm, f"{name}, accuracy")
    return float(accuracies[:, accuracies.shape[1] // 2].mean())


def figures(table: Table) -> Sequence[Any]:
    """Draw the losses along both ways, and the plane with the curve and the path of the second cycle."""
    (arm,) = ARMS
    ways = figure("t", "Training loss between the ends of two cycles", height=340)
    for place, name in enumerate(("line", "curve")):
        for number, row in enumerate(table.numbers(arm, f"{name}, loss")):
            line = {"color": translucent(CLASSES[place], 0.8)}
            x = table.numbers(arm, "t")[0]
            ways.add_scatter(x=x, y=row, name=name, legendgroup=name, line=line, mode="lines", showlegend=number == 0)
    caption = "A line a seed. Batch norm takes its statistics anew at each point."
    ways.update_layout(meta={"title": "Loss on the line and on the curve", "caption": caption})
    return [ways, _plane_figure(table, arm)]


def _plane_figure(table: Table, arm: str) -> go.Figure:
    def of(name: str) -> NDArray[np.float64]:
        first: NDArray[np.float64] = table.numbers(arm, name)[0]
        return first

    x, y = of("plane x"), of("plane y")
    shape = figure("along w2 - w1", "Towards theta", height=460)
    heights = np.minimum(of("plane"), HIGHEST).reshape(len(y), len(x))
    shape.add_contour(x=x, y=y, z=heights, colorscale="Viridis", ncontours=20, line={"width": 0.5}, name="loss")
    white: dict[str, Any] = {"color": "#ffffff", "width": 2}
    shape.add_scatter(x=of("curve x"), y=of("curve y"), mode="lines", line=white, name="curve")
    dotted = {"color": CLASSES[1], "width": 1.5}
    shape.add_scatter(
        x=of("path x"), y=of("path y"), mode="lines+markers", line=dotted, marker={"size": 4}, name="path"
    )
    marker = {"color": CLASSES[1], "size": 11, "line": {"color": "#ffffff", "width": 1.5}}
    text = ["w1", "w2", "theta"]
    corners: dict[str, Any] = {"x": of("corners x"), "y": of("corners y"), "text": text, "marker": marker}
    corners["textfont"] = {"color": "#ffffff"}
    shape.add_scatter(**corners, mode="markers+text", textposition="top center", name="points", showlegend=False)
    shape.update_yaxes(scaleanchor="x")
    caption = (
        f"One seed: training loss, {HIGHEST:g} and more in one colour, on the plane through w1, w2 and theta. White:"
        " the curve. Path: the second cycle, each point where the plane comes nearest to it; it leaves the plane."
    )
    return shape.update_layout(meta={"title": "The plane through both ends and theta", "caption": caption})
