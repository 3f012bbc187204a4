"""Does a deeper network learn its training images less well, and do skips change that?

Plain nets and residual nets of the same layers are trained alike. A deeper net could do what a shallower one does, its
further layers being the identity; where its *training* error is higher, it is the optimization that fails, not the
generalization.

Source: He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", arXiv:1512.03385, figures 1 and 6.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import accuracy, few_images
from trainwell.lab.units import trained
from trainwell.pictures.style import CLASSES, SYMBOLS, figure, translucent

DEPTHS = (8, 20, 32)
WIDTH, RATE, BATCH = 8, 0.1, 64
RATES = (0.03, 0.1, 0.3)  # of which plain nets of 32 layers learned most at RATE, in runs with another seed
COUNT, QUICK_COUNT, HELD_OUT = 5_000, 500, 2_000
STEPS, QUICK_STEPS, BLOCKS = 1_300, 100, 20
POOLED, QUICK_POOLED = 2, 4
SHARE = 0.25  # of the plain nets' rise: none to speak of
KINDS = {"plain": ("plain", {}), "residual": ("cifar_resnet", {"shortcut": "A"})}
MEASURED = {"training error": "training error", "held-out error": "error on images held out"}

ARMS: Mapping[str, Mapping[str, Any]] = {
    f"{kind}, {depth} layers": {"kind": kind, "depth": depth} for kind in KINDS for depth in DEPTHS
}


GAIN = "residual nets gain by depth: {}"


@experiments.card(
    source="He et al. 2016, arXiv:1512.03385, figures 1 and 6",
    claims=(21,),
    fails=tuple(GAIN.format(name) for name in MEASURED.values()),  # in the quick form
)
def degradation() -> Experiment:
    """Deeper plain nets have a higher training error, deeper residual nets have not."""
    return Experiment(
        question="Does a deeper network learn its training images less well, and do skips change that?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"Reduced: {COUNT:,} images of CIFAR-10 averaged to 16x16, {WIDTH} to {4 * WIDTH} channels instead of 16"
        f" to 64, {STEPS:,} steps in batches of {BATCH} instead of 64,000 of 128, no augmentation ({QUICK_COUNT} images"
        f" of 8x8 and {QUICK_STEPS} steps in the quick form). Batch norm everywhere, skips without parameters (A),"
        f" momentum 0.9, weight decay 0.0001. All nets have the rate {RATE:g}, kept for half of the steps and then"
        f" falling to zero: of {', '.join(f'{rate:g}' for rate in RATES)} the one at which the plain net of 32 layers"
        " learned most, in runs with another seed. Errors are those at the end, in evaluation mode.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train a network, and return its errors at the end and its losses on the way."""
    name, options = KINDS[settings["kind"]]
    count, pooled, steps = (QUICK_COUNT, QUICK_POOLED, QUICK_STEPS) if is_quick else (COUNT, POOLED, STEPS)
    samples = few_images("cifar10", seed, count=count, held_out=HELD_OUT, pooled=pooled)
    choice = name, {**options, "depth": settings["depth"], "width": WIDTH}
    network, losses = trained(choice, samples, steps=steps, rate=RATE, batch_size=BATCH, seed=seed)
    return {
        "training error": 1 - accuracy(network, samples.inputs, samples.labels),
        "held-out error": 1 - accuracy(network, samples.held_out, samples.held_out_labels),
        "loss": np.array(losses).reshape(BLOCKS, -1).mean(axis=1).tolist(),
    }


def judge(table: Table) -> Sequence[Check]:
    """Compare the errors of depths and kinds, seed by seed."""
    return [*_rises(table), *_gains(table), *_against(table)]


def errors(table: Table, kind: str, measure: str = "training error") -> NDArray[np.float64]:
    """Return the errors of a kind, (depths, seeds)."""
    return np.array([table.numbers(f"{kind}, {depth} layers", measure) for depth in DEPTHS])


def _words(found: NDArray[np.float64]) -> str:
    means = ", ".join(f"{mean:.1%}" for mean in found.mean(axis=1))
    return f"{means} with {', '.join(map(str, DEPTHS))} layers; n = {found.shape[1]}"


def _rises(table: Table) -> Iterator[Check]:
    for measure, name in MEASURED.items():
        found = errors(table, "plain", measure)
        yield Check(
            f"plain nets: the {name} rises with depth",
            "rises",
            _words(found),
            f"both deeper ones above {DEPTHS[0]} layers, in each seed",
            bool((found[1:] > found[0]).all()),
        )


def _gains(table: Table) -> Iterator[Check]:
    found, plain = errors(table, "residual"), errors(table, "plain")
    apart, rise = found[-1] - found[0], plain[-1] - plain[0]
    yield Check(
        "residual nets: the training error does not rise as it does in plain nets",
        "does not rise",
        f"{100 * apart.mean():+.1f} points from {DEPTHS[0]} to {DEPTHS[-1]} layers, {100 * rise.mean():+.1f} in plain"
        " nets",
        f"at most {SHARE:g} of the plain nets' rise on average",
        bool(apart.mean() <= SHARE * rise.mean()),
    )
    for measure, name in MEASURED.items():
        found = errors(table, "residual", measure)
        apart = found[-1] - found[0]
        yield Check(
            GAIN.format(name),
            "falls",
            f"{_words(found)}; difference {student_interval(apart)}",
            f"{DEPTHS[-1]} layers below {DEPTHS[0]} on average",
            bool(apart.mean() < 0),
        )


def _against(table: Table) -> Iterator[Check]:
    for depth, place in ((depth, DEPTHS.index(depth)) for depth in DEPTHS[1:]):
        plain, residual = errors(table, "plain")[place], errors(table, "residual")[place]
        yield Check(
            f"{depth} layers: the residual net has the lower training error",
            "lower",
            f"{residual.mean():.1%} against {plain.mean():.1%}",
            "in each seed",
            bool((residual < plain).all()),
        )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the errors by depth, and the losses on the way."""
    return [_by_depth(table), _on_the_way(table)]


def _by_depth(table: Table) -> go.Figure:
    drawn = figure("layers", "Error; lines: of training, dotted: on images held out", height=360)
    for kind, color, symbol in zip(KINDS, CLASSES, SYMBOLS, strict=False):
        for measure, dash in (("training error", "solid"), ("held-out error", "dot")):
            found, is_training = errors(table, kind, measure), measure == "training error"
            line, marker = {"color": color, "width": 2, "dash": dash}, {"color": color, "symbol": symbol, "size": 8}
            drawn.add_scatter(
                x=DEPTHS, y=found.mean(axis=1), name=kind, mode="lines+markers", line=line, marker=marker,
                showlegend=is_training,
            )  # fmt: skip
            for row in found.T if is_training else ():
                faint = {"color": translucent(color, 0.4), "symbol": symbol, "size": 6}
                drawn.add_scatter(x=DEPTHS, y=row, mode="markers", marker=faint, showlegend=False)
    drawn.update_yaxes(tickformat=".0%", rangemode="tozero")
    drawn.update_xaxes(tickvals=DEPTHS)
    caption = "Lines: means over the seeds; faint marks: training error of each."
    return drawn.update_layout(meta={"title": "Error by depth, with and without skips", "caption": caption})


def _on_the_way(table: Table) -> go.Figure:
    drawn = figure("share of the steps", "Training loss", height=360)
    for kind, dash in (("plain", "dot"), ("residual", "solid")):
        for depth, color in zip(DEPTHS, CLASSES, strict=False):
            curve = table.numbers(f"{kind}, {depth} layers", "loss").mean(axis=0)
            line = {"color": color, "width": 2, "dash": dash}
            x = (np.arange(len(curve)) + 0.5) / len(curve)
            drawn.add_scatter(x=x, y=curve, name=f"{kind} {depth}", mode="lines", line=line)
    caption = "Means over the seeds and over a twentieth of the steps. Dotted: plain nets."
    return drawn.update_layout(meta={"title": "Training loss by depth, with and without skips", "caption": caption})
