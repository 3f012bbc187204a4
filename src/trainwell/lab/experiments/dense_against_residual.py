"""Does a densely connected network reach a residual network's accuracy with fewer parameters?

Residual networks of three sizes, and DenseNet-BC of three, each with at most a third of the parameters of one of the
former. All see the same images for the same epochs at the same rate. Both families are then fitted by one line each,

    error = a + b ln(parameters) + c [dense]         exp(c / b) times the parameters for the same error

Source: Huang et al. 2017, "Densely connected convolutional networks", arXiv:1608.06993, sections 4.3 and 5, figure 4;
He et al. 2016, arXiv:1603.05027, table 4 (the residual network of 1,001 layers).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwell.core.shelves import experiments
from trainwell.core.stats import Interval, student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.one_cycle import Plan, network_of, train_once
from trainwell.lab.plain_loop import few_images
from trainwell.models.anatomy import anatomy
from trainwell.pictures.style import CLASSES, SYMBOLS, figure, translucent
from trainwell.pictures.tradeoff import Point, tradeoff

POOLED, COUNT, HELD_OUT, EPOCHS = 2, 2_500, 5_000, 20
QUICK_POOLED, QUICK_COUNT, QUICK_HELD_OUT, QUICK_EPOCHS = 4, 600, 2_000, 8
THIRD = 1 / 3  # of the parameters, as printed

RESIDUAL: dict[str, Mapping[str, Any]] = {
    f"ResNet-20, width {width}": {"model": "cifar_resnet", "depth": 20, "width": width} for width in (4, 8, 16)
}
DENSE: dict[str, Mapping[str, Any]] = {
    f"DenseNet-BC-{depth}, k = {growth}": {"model": "cifar_densenet", "depth": depth, "growth": growth}
    for depth, growth in ((16, 4), (16, 8), (22, 12))
}
PAIRS = tuple(zip(DENSE, RESIDUAL, strict=True))  # a dense one, and the residual one whose error it should reach
FEWER = "dense networks need fewer parameters for the same error"


@experiments.card(source="Huang et al. 2017, arXiv:1608.06993, sections 4.3 and 5, figure 4", claims=(22,))
def dense_against_residual() -> Experiment:
    """DenseNet-BC reaches a residual network's accuracy with a third of its parameters."""
    return Experiment(
        question="Does a densely connected network reach a residual network's accuracy with fewer parameters?",
        arms=RESIDUAL | DENSE,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"Reduced: {COUNT:,} images of CIFAR-10 averaged to {32 // POOLED}x{32 // POOLED}, {EPOCHS} epochs in"
        " batches of 50, rate up to 0.1 and down again, no augmentation, instead of 50,000 images of 32x32 and 300"
        " epochs; so the networks are smaller too than the published 0.8 and 10.2 million parameters. The error is"
        f" counted on {HELD_OUT:,} other images. Equal parameters are not equal work: for each parameter these dense"
        " networks take three times the operations, so that one with a third of them costs about as much, as the"
        " second figure shows. The quick form has"
        f" {QUICK_COUNT} images of {32 // QUICK_POOLED}x{32 // QUICK_POOLED} and {QUICK_EPOCHS} epochs.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train a network, and return its error with what it costs."""
    count, held_out, pooled, epochs = (
        (QUICK_COUNT, QUICK_HELD_OUT, QUICK_POOLED, QUICK_EPOCHS) if is_quick else (COUNT, HELD_OUT, POOLED, EPOCHS)
    )
    samples = few_images("cifar10", seed, count=count, held_out=held_out, pooled=pooled)
    options = {option: value for option, value in settings.items() if option != "model"}
    network = network_of(settings["model"], options, samples, seed=seed)
    cost = anatomy(network, tuple(samples.inputs.shape[1:]))
    found = train_once(network, samples, Plan(epochs), seed=seed)
    return {
        "parameters": float(cost.parameters),
        "operations": float(cost.operations),
        "error": found.error,
        "training error": found.training_error,
        "loss": found.by_epoch(epochs),
    }


def judge(table: Table) -> list[Check]:
    """Compare each dense network with the larger residual one, and both families over all sizes."""
    return [*(_pair(table, dense, residual) for dense, residual in PAIRS), *_families(table)]


def _pair(table: Table, dense: str, residual: str) -> Check:
    few, many = (float(table.numbers(arm, "parameters")[0]) for arm in (dense, residual))
    apart = student_interval(100 * (table.numbers(dense, "error") - table.numbers(residual, "error")))
    errors = [table.mean(arm, "error").value for arm in (dense, residual)]
    ends = f" ({apart.low:.1f} to {apart.high:.1f})" if table.seeds > 1 else ""
    return Check(
        f"{dense} tests at least as well as {residual}",
        "as well with a third of the parameters",
        f"{errors[0]:.1%} with {few:,.0f} parameters, {errors[1]:.1%} with {many:,.0f}, {many / few:.1f} times as many:"
        f" {apart.value:+.1f} points{ends}",
        "no higher on average over the seeds, with at most a third of the parameters",
        apart.value <= 0 and few <= THIRD * many,
    )


def times_fewer(parameters: NDArray[np.float64], errors: NDArray[np.float64], is_dense: NDArray[np.bool_]) -> float:
    """Return how many times the parameters of a dense network a residual one needs for the same error.

    It is the distance of two parallel lines, fitted by least squares to the error over the logarithm.

    >>> sizes, dense = np.array([1e3, 1e4, 1e5, 1e3, 1e4]), np.array([False, False, False, True, True])
    >>> print(f"{times_fewer(sizes, np.array([0.6, 0.5, 0.4, 0.5, 0.4]), dense):.1f}")
    10.0
    """
    design = np.stack([np.ones(len(errors)), np.log(parameters), is_dense.astype(float)], axis=1)
    (_, slope, apart), *_ = np.linalg.lstsq(design, errors, rcond=None)
    return math.exp(float(np.clip(apart / slope, -20, 20)))


def _families(table: Table) -> Iterator[Check]:
    arms = [*RESIDUAL, *DENSE]
    is_dense = np.array([arm in DENSE for arm in arms])
    parameters, errors = (np.stack([table.numbers(arm, what) for arm in arms]) for what in ("parameters", "error"))
    logs = [math.log(times_fewer(parameters[:, seed], errors[:, seed], is_dense)) for seed in range(errors.shape[1])]
    found = student_interval(np.array(logs))
    times = Interval(*(math.exp(end) for end in (found.value, found.low, found.high)))
    ends = f" ({times.low:.1f} to {times.high:.1f})" if len(logs) > 1 else ""
    yield Check(
        FEWER,
        "0.8 million instead of 10.2 million for 4.5 and 4.6 %",
        f"a residual network needs {times.value:.1f} times{ends} as many, n\u00a0=\u00a0{len(logs)}",
        "the interval lies above 1" if len(logs) > 1 else "above 1",
        (times.low if len(logs) > 1 else times.value) > 1,
    )
    yield Check(
        "dense networks need a third of the parameters for the same error",
        "about a third",
        f"{1 / times.value:.2f} of them",
        "at most a third, on average over the seeds",
        1 / times.value <= THIRD,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the error by parameters, and by operations with the parameters as areas."""
    return [_by_parameters(table), _by_operations(table)]


def _by_parameters(table: Table) -> Any:
    drawn = figure("parameters, logarithmic scale", "Error on images that were held out", height=380)
    for number, (family, arms) in enumerate((("ResNet", RESIDUAL), ("DenseNet-BC", DENSE))):
        color, symbol = CLASSES[number], SYMBOLS[number]
        parameters = [float(table.numbers(arm, "parameters")[0]) for arm in arms]
        for seed in range(table.seeds):
            errors = [float(table.numbers(arm, "error")[seed]) for arm in arms]
            marker = {"color": translucent(color, 0.45), "symbol": symbol, "size": 6}
            drawn.add_scatter(x=parameters, y=errors, mode="markers", marker=marker, showlegend=False, hoverinfo="skip")
        means = [table.mean(arm, "error").value for arm in arms]
        line, marker = {"color": color, "width": 2}, {"color": color, "symbol": symbol, "size": 9}
        drawn.add_scatter(
            x=parameters, y=means, mode="lines+markers", line=line, marker=marker, text=list(arms), name=family
        )
    drawn.update_xaxes(type="log", dtick=1)
    drawn.update_yaxes(tickformat=".0%")
    caption = "Large marks: mean over the seeds; small ones: each seed."
    return drawn.update_layout(meta={"title": "Error by parameters", "caption": caption})


def _by_operations(table: Table) -> Any:
    points = [
        Point(
            arm,
            family=family,
            error=table.mean(arm, "error").value,
            operations=float(table.numbers(arm, "operations")[0]),
            parameters=float(table.numbers(arm, "parameters")[0]),
            is_ours=True,
        )
        for family, arms in (("ResNet", RESIDUAL), ("DenseNet-BC", DENSE))
        for arm in arms
    ]
    caption = "Areas: parameters. Multiply-adds for one image; mean error over the seeds."
    return tradeoff(points).update_layout(meta={"title": "Error by operations", "caption": caption})
