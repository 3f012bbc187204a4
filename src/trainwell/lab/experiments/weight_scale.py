"""How exactly must the scale of the first weights be right, with and without batch norm?

Seven hidden layers are trained from normal weights of one deviation, over five decades of it. And why batch norm does
not mind: it takes the scale out of what it is given, and gives a gradient in return that shrinks with it,

    BN(a W x) = BN(W x)      d BN(a W x) / d(a W) = 1/a  d BN(W x) / dW
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from trainwell.core.chance import derive
from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import accuracy, descend, few_digits, seeded
from trainwell.models.mlp import MLP
from trainwell.pictures.style import CLASSES, NEUTRAL, SYMBOLS, figure, translucent

LAYERS, WIDTH, CLASSES_OF_DIGITS = 7, 50, 10
LOWEST, HIGHEST = -4.0, 1.0  # powers of ten of the deviation of the weights
PER_DECADE, STEPS = 4, 300
QUICK_PER_DECADE, QUICK_STEPS = 2, 200
BATCH, LR = 50, 1e-3
POINTS = 0.1  # of accuracy below an arm's best: what still counts as working
DECADES = 1.0  # that batch norm has to add to the range: an order of magnitude
FACTORS = (0.01, 0.1, 10.0, 100.0)
NO_EPSILON = 1e-30  # torch wants a positive one; beside a variance of any layer here this one is rounded away
EXACT, EXACT_64 = 1e-5, 1e-10  # relative errors allowed in float32 and in float64
PLAIN, NORMED, SINGLE, DOUBLE = "without", "batch norm", "one layer, float32", "one layer, float64"

ARMS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {"norm": "none"},
    NORMED: {"norm": "batch"},
    SINGLE: {"dtype": "float32"},
    DOUBLE: {"dtype": "float64"},
}


@experiments.card(source="Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.3", claims=(7,))
def weight_scale() -> Experiment:
    """Accuracy has a narrow peak over the scale of the first weights, and batch norm widens it."""
    return Experiment(
        question="How exactly must the scale of the first weights be right, with and without batch norm?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=2,
        note=f"{LAYERS} hidden layers of {WIDTH} ReLU units on 1,000 digits of 8x8; all weights, those before the"
        f" scores too, are normal of one deviation, biases zero. Adam at {LR:g} in batches of {BATCH}, which is how the"
        f" curve is usually shown; {STEPS} steps ({QUICK_STEPS} in the quick form), accuracy of the last one on 437"
        f" digits that were held out. A range is where an arm comes within {100 * POINTS:g} points of its own best"
        " accuracy, around that best, its ends interpolated. The identities hold with an epsilon of 0: with the usual"
        " 1e-5 the smallest weights here are no longer normalized.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the accuracy over the deviation of the weights, or by how much the identities are missed."""
    if "dtype" in settings:
        return _identities(getattr(torch, settings["dtype"]), seed)
    steps, per_decade = (QUICK_STEPS, QUICK_PER_DECADE) if is_quick else (STEPS, PER_DECADE)
    powers = np.linspace(LOWEST, HIGHEST, round((HIGHEST - LOWEST) * per_decade) + 1)
    return {
        "deviation": (10.0**powers).tolist(),
        "accuracy": [_accuracy_from(10.0**power, settings["norm"], seed, steps) for power in powers.tolist()],
    }


def _accuracy_from(deviation: float, norm: str, seed: int, steps: int) -> float:
    """Train from weights of one deviation and return the accuracy on what was held out."""
    samples = few_digits(seed)
    with seeded(seed, "weights"):
        network = MLP(samples.features, CLASSES_OF_DIGITS, hidden=(WIDTH,) * LAYERS, norm=norm)
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=deviation)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR)
    for _, _ in zip(range(steps), descend(network, samples, optimizer, batch_size=BATCH, seed=seed), strict=False):
        pass
    return accuracy(network, samples.held_out, samples.held_out_labels)


def _identities(dtype: torch.dtype, seed: int) -> Values:
    """Return the largest relative errors of both identities over the factors, for one layer."""
    generator = torch.Generator().manual_seed(derive(seed, "identities"))
    inputs, weight, above = (
        torch.randn(shape, generator=generator, dtype=dtype) for shape in ((64, 30), (20, 30), (64, 20))
    )
    outputs, slope = normalized(inputs, weight, above)
    misses, slope_misses = [], []
    for factor in FACTORS:
        theirs, their_slope = normalized(inputs, factor * weight, above)
        misses.append(float((theirs - outputs).abs().max() / outputs.abs().max()))
        slope_misses.append(float((factor * their_slope - slope).abs().max() / slope.abs().max()))
    return {"outputs": max(misses), "gradients": max(slope_misses)}


def normalized(inputs: Tensor, weight: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return BN(x W^T) with an epsilon of 0, and the gradient to W of its product with `above`.

    Args:
        inputs: (N, D).
        weight: (C, D).
        above: (N, C) the gradient that comes from above.

    Returns:
        (N, C) outputs and the (C, D) gradient.
    """
    weight = weight.detach().requires_grad_()
    outputs = batch_norm(inputs @ weight.T, None, None, training=True, eps=NO_EPSILON)
    (slope,) = torch.autograd.grad(outputs, weight, above)
    return outputs.detach(), slope


def width_in_decades(deviations: NDArray[np.float64], accuracies: NDArray[np.float64], bar: float) -> float:
    """Return over how many decades around its peak a curve stays above a bar, its ends interpolated.

    A curve that is above the bar at an end of the grid is counted up to there, so the true range may be wider; one
    that never reaches the bar has a width of 0.

    >>> width_in_decades(np.array([0.01, 0.1, 1.0, 10.0]), np.array([0.0, 1.0, 1.0, 0.0]), 0.5)
    2.0
    """
    powers, peak = np.log10(deviations), int(np.argmax(accuracies))
    if accuracies[peak] < bar:
        return 0.0
    return sum(_reach(powers[order], accuracies[order], bar) for order in (slice(peak, None), slice(peak, None, -1)))


def _reach(powers: NDArray[np.float64], accuracies: NDArray[np.float64], bar: float) -> float:
    """Return how far a curve stays above a bar, walking from the first point to the last."""
    below = np.flatnonzero(accuracies < bar)
    if not len(below):
        return float(abs(powers[-1] - powers[0]))
    end = int(below[0])
    share = (accuracies[end - 1] - bar) / (accuracies[end - 1] - accuracies[end])
    return float(abs(powers[end - 1] + share * (powers[end] - powers[end - 1]) - powers[0]))


def judge(table: Table) -> Sequence[Check]:
    """Compare the two ranges, seed by seed, and hold the identities against rounding."""
    return [*_ranges(table), *_exact(table)]


def _widths(table: Table, arm: str) -> NDArray[np.float64]:
    """Return the width of an arm's range for each seed."""
    deviations = table.numbers(arm, "deviation")[0]
    return np.array([width_in_decades(deviations, row, row.max() - POINTS) for row in table.numbers(arm, "accuracy")])


def _ranges(table: Table) -> Iterator[Check]:
    widths, normed = _widths(table, PLAIN), _widths(table, NORMED)
    plain, gain = student_interval(widths), student_interval(normed - widths)
    yield Check(
        "without batch norm the range of weights that work is narrow",
        "a narrow peak",
        f"{plain} decades of {HIGHEST - LOWEST:g}",
        "at most 1 decade on average",
        plain.value <= 1.0,
    )
    yield Check(
        "batch norm widens the range of weights that work",
        "by an order of magnitude",
        f"by {gain} decades, to {student_interval(normed)}",
        f"by at least {DECADES:g} decade on average",
        gain.value >= DECADES,
    )


def _exact(table: Table) -> Iterator[Check]:
    for arm, allowed in ((SINGLE, EXACT), (DOUBLE, EXACT_64)):
        for name, claim in (
            ("outputs", "BN(aWx) = BN(Wx)"),
            ("gradients", "the gradient to aW is 1/a times that to W"),
        ):
            worst = float(table.numbers(arm, name).max())
            words = f"at most {worst:.1e} off, for a of {', '.join(f'{factor:g}' for factor in FACTORS)}"
            yield Check(f"{claim}, {arm}", "equal", words, f"{allowed:g} of the largest number", worst <= allowed)


def figures(table: Table) -> Sequence[Any]:
    """Draw the accuracy over the deviation of the weights: each seed, and their mean."""
    shape = figure("deviation of the first weights", "Accuracy on digits that were held out", height=380)
    for place, arm in enumerate((PLAIN, NORMED)):
        deviations, curves = table.numbers(arm, "deviation")[0], table.numbers(arm, "accuracy")
        for curve in curves:
            faint = {"color": translucent(CLASSES[place], 0.3), "width": 1}
            shape.add_scatter(x=deviations, y=curve, mode="lines", line=faint, showlegend=False, hoverinfo="skip")
        marker = {"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 8}
        shape.add_scatter(x=deviations, y=curves.mean(axis=0), name=arm, mode="lines+markers", marker=marker)
    shape.add_vline(x=(2 / WIDTH) ** 0.5, line={"dash": "dot", "width": 1, "color": NEUTRAL})
    shape.update_xaxes(type="log", dtick=1, exponentformat="power")
    shape.update_yaxes(range=[0, 1.02], tickformat=".0%")
    caption = "Thick: mean over the seeds. Thin: each seed. Dotted: He's deviation, √(2/k), for layers of this width."
    return [shape.update_layout(meta={"title": "Accuracy by the scale of the first weights", "caption": caption})]
