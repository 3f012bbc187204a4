"""What is left of a trained network when parts of it are taken out or change places?

Residual units are deleted, by their branch giving zero, one at a time and several at random, and change places with
others; in a plain net of as many layers a layer is deleted. Nothing is trained after that.

Source: Veit, Wilber & Belongie 2016, "Residual networks behave like ensembles of relatively shallow networks",
arXiv:1605.06431, sections 4.1 to 4.3 (ResNet-110 and VGG on CIFAR-10).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from torch import nn

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, few_images
from trainwell.lab.units import layers_of, reordered, same_shape, trained, units_of, without
from trainwell.pictures.style import CLASSES, SYMBOLS, figure, translucent

DEPTH, QUICK_DEPTH, WIDTH, RATE, BATCH = 32, 20, 8, 0.1, 64
COUNT, HELD_OUT, QUICK_HELD_OUT = 10_000, 600, 300
STEPS, QUICK_STEPS = 1_500, 320
POOLED, QUICK_POOLED = 2, 4
DRAWS, QUICK_DRAWS = 10, 6  # of what is deleted or swapped
MOST_SWAPS = 6
RESIDUAL, PLAIN = "residual", "plain"
HARDLY, DESTROYED = 0.2, 2 / 3  # of what a network knows beyond chance, lost
JUMP, ALONG = 1 / 3, 0.5  # smooth: of what a network knows, lost in one step; correlation with the number of steps

ARMS: Mapping[str, Mapping[str, Any]] = {
    RESIDUAL: {"name": "cifar_resnet", "options": {"shortcut": "A"}},
    PLAIN: {"name": "plain", "options": {}},
}


@experiments.card(source="Veit et al. 2016, arXiv:1605.06431, sections 4.1 to 4.3", claims=(21,))
def lesions() -> Experiment:
    """Deleting a residual unit hardly hurts, deleting a plain layer destroys."""
    return Experiment(
        question="What is left of a trained network when parts of it are taken out or change places?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"Reduced: {DEPTH} layers instead of 110 (15 units instead of 54), {WIDTH} to {4 * WIDTH} channels,"
        f" {COUNT:,} images of CIFAR-10 averaged to 16x16, {STEPS:,} steps in batches of {BATCH}, rate {RATE:g}"
        f" ({QUICK_DEPTH} layers, 8x8 pixels and {QUICK_STEPS} steps in the quick form). Accuracy on"
        f" {HELD_OUT:,} images held out, batch norm with its running statistics. Deleting a unit leaves its skip and"
        " the activation behind the sum; where the shape changes the shortcut stays, every second pixel and zero"
        " channels. Of the plain net those layers are deleted that give the shape they take. What is lost is the share"
        " of the accuracy above chance, 10 %. Few units have much to do each: with 54 of them the source loses less by"
        " each.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train a network, and return its accuracy whole and after each operation."""
    held_out, pooled = (QUICK_HELD_OUT, QUICK_POOLED) if is_quick else (HELD_OUT, POOLED)
    samples = few_images("cifar10", seed, count=COUNT, held_out=held_out, pooled=pooled)
    depth, steps = (QUICK_DEPTH, QUICK_STEPS) if is_quick else (DEPTH, STEPS)
    choice = settings["name"], {**settings["options"], "depth": depth, "width": WIDTH}
    network, _ = trained(choice, samples, steps=steps, rate=RATE, batch_size=BATCH, seed=seed)
    whole = _accuracy(network, samples)
    if settings["name"] == "plain":
        return {"accuracy": whole, "one deleted": one_by_one(network, layers_of(network), samples)}
    chance, draws = np.random.default_rng(seed), QUICK_DRAWS if is_quick else DRAWS
    units = units_of(network)
    kept = [unit for unit in units if same_shape(unit)]
    changing = [unit for unit in units if not same_shape(unit)]
    swapped = several_swapped(network, samples, draws=draws, chance=chance)
    return {
        "accuracy": whole,
        "one deleted": one_by_one(network, kept, samples),
        "one that changes the shape deleted": one_by_one(network, changing, samples),
        "several deleted": several_deleted(network, samples, draws=draws, chance=chance),
        "several swapped": [right for right, _ in swapped],
        "rank correlation": [near for _, near in swapped],
    }


def _accuracy(network: nn.Module, samples: Samples) -> float:
    return accuracy(network, samples.held_out, samples.held_out_labels)


def one_by_one(network: nn.Module, parts: Sequence[nn.Module], samples: Samples) -> list[float]:
    """Return the accuracy without each part alone."""
    found = []
    for part in parts:
        with without([part]):
            found.append(_accuracy(network, samples))
    return found


def several_deleted(network: nn.Module, samples: Samples, *, draws: int, chance: np.random.Generator) -> list[float]:
    """Return the accuracy without 0, 1, ..., n units, one more each time in random orders; shortcuts stay."""
    units, rows = units_of(network), []
    for _ in range(draws):
        order, row = chance.permutation(len(units)), []
        for count in range(len(units) + 1):
            with without([units[place] for place in order[:count]]):
                row.append(_accuracy(network, samples))
        rows.append(row)
    return [float(right) for right in np.mean(rows, axis=0)]


def several_swapped(
    network: nn.Module, samples: Samples, *, draws: int, chance: np.random.Generator
) -> list[tuple[float, float]]:
    """Return accuracy and rank correlation after 0, 1, 2, ... swaps of two units of one stage, means over the draws.

    Units that change the shape stay where they are.
    """
    stages: Sequence[Any] = network.stages  # type: ignore[assignment]
    movable = [[place for place, unit in enumerate(stage) if same_shape(unit)] for stage in stages]
    rows = []
    for _ in range(draws):
        orders = {number: list(range(len(stage))) for number, stage in enumerate(stages)}
        row = []
        for swap in range(MOST_SWAPS + 1):
            if swap > 0:
                _swap(orders, movable, chance)
            with reordered(network, orders):
                row.append((_accuracy(network, samples), rank_correlation(orders)))
        rows.append(row)
    return [(float(right), float(near)) for right, near in np.mean(rows, axis=0)]


def _swap(orders: Mapping[int, list[int]], movable: Sequence[Sequence[int]], chance: np.random.Generator) -> None:
    """Swap two units of a stage, both of which may go there."""
    stage = int(chance.integers(len(orders)))
    one, other = chance.choice(movable[stage], size=2, replace=False)
    order = orders[stage]
    order[one], order[other] = order[other], order[one]


def rank_correlation(orders: Mapping[int, Sequence[int]]) -> float:
    """Return Kendall's tau of all units' places, those of a later stage behind those of an earlier one.

    >>> rank_correlation({0: [0, 1, 2]}), rank_correlation({0: [2, 1, 0]}), rank_correlation({0: [1, 0], 1: [0]})
    (1.0, -1.0, 0.3333333333333333)
    """
    places = [(stage, unit) for stage, order in sorted(orders.items()) for unit in order]
    signs = [1 if one < other else -1 for one, other in itertools.combinations(places, 2)]
    return sum(signs) / len(signs)


def lost(table: Table, arm: str, measure: str) -> NDArray[np.float64]:
    """Return the share of the accuracy above chance that is lost, (seeds, operations)."""
    whole = table.numbers(arm, "accuracy")[:, None]
    shares: NDArray[np.float64] = (whole - table.numbers(arm, measure)) / (whole - 0.1)
    return shares


def judge(table: Table) -> Sequence[Check]:
    """Compare what is lost."""
    return [*_ones(table), *_several(table)]


def _ones(table: Table) -> Iterator[Check]:
    residual, plain = lost(table, RESIDUAL, "one deleted"), lost(table, PLAIN, "one deleted")
    changing = lost(table, RESIDUAL, "one that changes the shape deleted")
    right = table.numbers(RESIDUAL, "accuracy").mean()
    yield Check(
        "deleting one residual unit hardly hurts",
        "hardly",
        f"{np.median(residual):.1%} of what it knows is lost in the middle, {residual.min():.1%} to"
        f" {residual.max():.1%}; {np.median(changing):.1%} where the shape changes; {right:.1%} accurate when whole",
        f"at most {HARDLY:.0%} in the middle of each seed",
        bool(np.median(residual, axis=1).max() <= HARDLY),
    )
    right = table.numbers(PLAIN, "accuracy").mean()
    yield Check(
        "deleting one plain layer destroys",
        "destroys",
        f"{np.median(plain):.1%} of what it knows is lost in the middle, {plain.min():.1%} to {plain.max():.1%};"
        f" {right:.1%} accurate when whole",
        f"at least {DESTROYED:.0%} in the middle of each seed",
        bool(np.median(plain, axis=1).min() >= DESTROYED),
    )
    yield Check(
        "a residual unit is missed less than a plain layer",
        "less",
        f"{residual.mean():.1%} lost against {plain.mean():.1%}, means",
        "in each seed",
        bool((residual.mean(axis=1) < plain.mean(axis=1)).all()),
    )


def _several(table: Table) -> Iterator[Check]:
    for measure, what in (("several deleted", "deleted at random"), ("several swapped", "swapped")):
        shares = lost(table, RESIDUAL, measure).mean(axis=0)
        jump, steps = np.diff(shares).max(), len(shares) - 1
        along = float(np.corrcoef(np.arange(steps + 1), shares)[0, 1]) if np.ptp(shares) > 0 else 0.0
        yield Check(
            f"the error rises smoothly with the number of units {what}",
            "smoothly",
            f"{shares[0]:.1%} to {shares[-1]:.1%} lost in {steps} steps, {jump:.1%} at most in one, correlation with"
            f" the number {along:.2f}",
            f"no step above {JUMP:.0%}, correlation at least {ALONG:g}",
            bool(jump <= JUMP and along >= ALONG),
        )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw what each part is worth, and what is left without several."""
    return [_parts(table), _curves(table)]


def _parts(table: Table) -> go.Figure:
    drawn = figure("part that is deleted, from the first to the last", "Accuracy without it", height=340)
    for place, arm in enumerate(ARMS):
        for number, row in enumerate(table.numbers(arm, "one deleted")):
            x, marker = np.linspace(0, 1, len(row)), {"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 8}
            drawn.add_scatter(
                x=x, y=row, name=arm, legendgroup=arm, mode="markers", marker=marker, opacity=0.7,
                showlegend=number == 0,
            )  # fmt: skip
        line = {"color": translucent(CLASSES[place], 0.7), "width": 1, "dash": "dash"}
        drawn.add_hline(y=table.numbers(arm, "accuracy").mean(), line=line)
    drawn.update_yaxes(tickformat=".0%", rangemode="tozero")
    drawn.update_xaxes(showticklabels=False)
    caption = "Marks: each part and seed. Dashed: whole networks. Parts that change the shape are left out."
    return drawn.update_layout(meta={"title": "Accuracy without one part", "caption": caption})


def _curves(table: Table) -> go.Figure:
    drawn = figure("units deleted, or swaps", "Accuracy", height=340)
    for place, measure in enumerate(("several deleted", "several swapped")):
        for number, row in enumerate(table.numbers(RESIDUAL, measure)):
            line = {"color": translucent(CLASSES[place], 0.8), "width": 1.5}
            drawn.add_scatter(
                x=np.arange(len(row)), y=row, name=measure.partition(" ")[2], legendgroup=measure, mode="lines",
                line=line, showlegend=number == 0,
            )  # fmt: skip
    drawn.update_yaxes(tickformat=".0%", rangemode="tozero")
    caption = "A line a seed, each a mean over random choices."
    return drawn.update_layout(meta={"title": "Accuracy without several units", "caption": caption})
