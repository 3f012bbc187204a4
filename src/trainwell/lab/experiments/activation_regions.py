"""How many activation regions does a ReLU network have in the plane, and does depth multiply them?

Source: Hanin and Rolnick 2019, "Deep ReLU networks have surprisingly few activation patterns", arXiv:1906.00904.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from trainwell.core.chance import Chance
from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.regions import Layer, regions_of
from trainwell.pictures.polygons import polygons
from trainwell.pictures.style import CLASSES, SYMBOLS, figure

BIAS_DEVIATION = 0.1
HALF_WIDTH = 20.0
DEPTHS, NEURONS = (1, 2, 4, 8), (16, 32, 64)
PRINTED = {1: 2071, 2: 2056, 4: 2029, 8: 1750}  # of 64 neurons, one draw each
NEAR = 0.25  # about N^2/2: twice as many or half would be another claim
WINDOW = 0.4  # of the pictures: the lines cross where biases balance weights, 0.1 from the origin or so


@experiments.card(
    source="Hanin and Rolnick 2019, arXiv:1906.00904",
    claims=(26,),
    fails=("64 neurons, depth 8: mean regions",),  # of ten draws; of forty it lies at the edge of what is allowed
)
def activation_regions() -> Experiment:
    """Activation regions of ReLU networks in two dimensions number about N^2 / 2 whatever the depth."""
    arms = {arm_of(neurons, depth): {"neurons": neurons, "depth": depth} for neurons in NEURONS for depth in DEPTHS}
    return Experiment(
        question="Does a deep ReLU network cut the plane into more pieces than a shallow one with as many neurons?",
        arms={arm_of(12, 1): {"neurons": 12, "depth": 1}} | arms,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=40,
        quick_seeds=10,
        note=(
            f"He normal weights, biases of deviation {BIAS_DEVIATION}, the square of +-{HALF_WIDTH:g}. Regions are "
            "counted exactly, at initialization. The printed numbers are of one draw each; draws at depth 4 and 8 "
            "spread by 0.2 and 0.4 of their mean, so the mean is judged. Layers of 2 or 4 neurons (16 neurons at depth "
            "8 or 4) are bottlenecks and have far fewer regions. With zero biases all lines of the first layer meet in "
            "the origin: one layer then makes only 2N sectors."
        ),
    )


def arm_of(neurons: int, depth: int) -> str:
    """Return the name of an arm."""
    return f"{neurons} neurons, depth {depth}"


def draw_layers(neurons: int, depth: int, seed: int) -> list[Layer]:
    """Return weights and biases of `depth` layers that share the neurons equally, on the plane.

    w ~ N(0, 2 / fan-in), b ~ N(0, 0.1^2)
    """
    generator = Chance(seed, "regions").generator(neurons, depth)
    layers: list[Layer] = []
    fan_in, width = 2, neurons // depth
    for _ in range(depth):
        weight = generator.normal(0, math.sqrt(2 / fan_in), (width, fan_in))
        layers.append((weight, generator.normal(0, BIAS_DEVIATION, width)))
        fan_in = width
    return layers


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Count the regions of one draw; for a single layer also by Euler's formula from the crossings of its lines."""
    layers = draw_layers(settings["neurons"], settings["depth"], seed)
    values = {"regions": float(len(regions_of(layers, half_width=HALF_WIDTH)))}
    if settings["depth"] == 1:
        values["by crossings"] = float(regions_by_crossings(*layers[0], half_width=HALF_WIDTH))
    return values


def regions_by_crossings(weight: np.ndarray, bias: np.ndarray, *, half_width: float) -> int:
    """Return 1 + lines + crossings inside the square, for lines in general position.

    >>> regions_by_crossings(np.eye(2), np.zeros(2), half_width=1)
    4
    """
    inside = 0
    for i, j in itertools.combinations(range(len(bias)), 2):
        crossing = np.linalg.solve(weight[[i, j]], -bias[[i, j]])
        inside += bool(np.abs(crossing).max() < half_width)
    meeting = np.abs(bias) < half_width * np.abs(weight).sum(axis=1)  # the line comes between two corners
    return 1 + int(meeting.sum()) + inside


def judge(table: Table) -> list[Check]:
    """Compare the counts with N^2 / 2, with the printed draws and with Euler's formula."""
    checks = [_closed_form(table)]
    for depth, printed in PRINTED.items():
        counts = table.numbers(arm_of(64, depth), "regions")
        mean, spread = table.mean(arm_of(64, depth), "regions"), float(counts.std(ddof=1))
        half_square = 64**2 / 2
        checks.append(
            Check(
                f"64 neurons, depth {depth}: mean regions",
                f"{half_square:.0f} = N^2/2",
                f"{mean.value:.0f} ({mean.low:.0f} to {mean.high:.0f}), {len(counts)} draws",
                f"mean within {NEAR:.0%}",
                abs(mean.value / half_square - 1) <= NEAR,
            )
        )
        checks.append(
            Check(
                f"64 neurons, depth {depth}: one printed draw",
                str(printed),
                f"{mean.value:.0f}, deviation {spread:.0f} from draw to draw",
                "within 4 deviations of the mean",
                abs(printed - mean.value) <= 4 * spread,
            )
        )
    return [*checks, *(_growth(table, depth) for depth in DEPTHS[:2]), _most(table)]


def _closed_form(table: Table) -> Check:
    shallow = [arm for arm in table.arms if "by crossings" in table.measures(arm)]
    agree = all((table.numbers(arm, "regions") == table.numbers(arm, "by crossings")).all() for arm in shallow)
    twelve = table.numbers(arm_of(12, 1), "regions")
    return Check(
        "12 neurons in one layer, all lines crossing inside the square",
        "79 = 1 + n + n(n-1)/2",
        f"median {np.median(twelve):g}, largest {twelve.max():g}; every draw equals 1 + lines + crossings: {agree}",
        "exactly: largest 79, and every shallow draw equals its own closed form",
        bool(agree and twelve.max() == 79),
    )


def _growth(table: Table, depth: int) -> Check:
    logs = [math.log(table.mean(arm_of(neurons, depth), "regions").value) for neurons in NEURONS]
    power = float(np.polyfit(np.log(NEURONS), logs, 1)[0])
    return Check(
        f"depth {depth}: regions grow as N to the power",
        "2",
        f"{power:.2f} from {NEURONS[0]} to {NEURONS[-1]} neurons",
        "within 0.3",
        abs(power - 2) <= 0.3,
    )


def _most(table: Table) -> Check:
    means = {(n, depth): table.mean(arm_of(n, depth), "regions").value for n in NEURONS for depth in DEPTHS}
    ratio, neurons, depth = max((means[n, depth] / means[n, 1], n, depth) for n in NEURONS for depth in DEPTHS[1:])
    return Check(
        "depth multiplies the regions at no number of neurons",
        "as many as one layer has",
        f"at most {ratio:.2f} times as many, at depth {depth} of {neurons} neurons",
        f"at most {1 + NEAR:.2f} times",
        ratio <= 1 + NEAR,
    )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the regions of the first draw at each depth, and all counts against the number of neurons."""
    return [_counts(table), *(_regions(depth) for depth in DEPTHS)]


def _regions(depth: int) -> go.Figure:
    found = regions_of(draw_layers(64, depth, 0), half_width=WINDOW)
    return polygons(
        [region.corners for region in found],
        [sum(region.pattern) for region in found],
        title=f"Second input; 64 neurons, depth {depth}: {len(found)} regions near the origin",
        unit="active",
    )


def _counts(table: Table) -> go.Figure:
    shown = figure("neurons", "Activation regions, mean and deviation over draws", height=340)
    shown.add_scatter(
        x=NEURONS, y=[n**2 / 2 for n in NEURONS], mode="lines", name="N²/2", line={"dash": "dot", "color": CLASSES[6]}
    )
    for place, depth in enumerate(DEPTHS):
        counts = [table.numbers(arm_of(neurons, depth), "regions") for neurons in NEURONS]
        shown.add_scatter(
            x=[n * (1 + 0.03 * (place - 1.5)) for n in NEURONS],
            y=[float(values.mean()) for values in counts],
            error_y={"array": [float(values.std()) for values in counts]},
            mode="markers",
            name=f"depth {depth}",
            marker={"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 8},
        )
    shown.update_xaxes(type="log", tickvals=NEURONS)
    shown.update_yaxes(type="log")
    return shown
