"""Does momentum leave a saddle and a plateau where gradient descent stays?

Source: Goodfellow, Bengio, Courville 2016, Deep learning, sections 8.2.3 and 8.3.2; Dauphin et al. 2014,
"Identifying and attacking the saddle point problem", arXiv:1406.2572.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from trainwell.core.chance import Chance
from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.landscapes.landscape import Floats, landscape
from trainwell.lab.landscapes.paths import path
from trainwell.pictures.landscape import losses, walks

RATE, MEMORY, DOWN = 0.14, 0.9, 0.1
BUDGET, MOST = 200, 700  # iterations: by when one should be gone, and how long is waited
LINEAR, EARLY = 60, 1e-9  # iterations whose growth is measured, and the distance from the saddle at their start
GROWTH = 1e-6
OPTIMIZERS = {
    "gradient descent": f"gradient_descent:lr={RATE}",
    "momentum": f"momentum:lr={RATE},momentum={MEMORY}",
    "Nesterov": f"nesterov:lr={RATE},momentum={MEMORY}",
    "RMSprop": f"rmsprop:lr={RATE}",
    "Adam": f"adam:lr={RATE}",
}
DESCENT, MOMENTUM, *_ = OPTIMIZERS
PLACES = ("saddle", "plateau")
ARMS: dict[str, dict[str, Any]] = {
    f"{place}, {name}": {"place": place, "optimizer": optimizer}
    for place in PLACES
    for name, optimizer in OPTIMIZERS.items()
}


@experiments.card(
    source="Goodfellow et al. 2016, Deep learning, sections 8.2.3, 8.3.2; Dauphin et al. 2014, arXiv:1406.2572",
    claims=(12,),
)
def leaving_saddles_and_plateaus() -> Experiment:
    """Momentum leaves saddles and plateaus where gradient descent stays."""
    return Experiment(
        question="Does momentum leave a saddle and a plateau where gradient descent stays?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=20,
        quick_seeds=3,
        note=(
            f"Rate {RATE}, momentum {MEMORY}, exact gradients. The saddle falls off with curvature -{DOWN:g}; paths "
            "start 1e-4 to 1e-2 beside the line that leads into it, and have left it half a unit away. Paths on the "
            "plateau start 4 units from the minimum, and have left it at 1. Left counts within "
            f"{BUDGET} iterations: from the growth rates gradient descent needs at least 280 at the saddle, momentum "
            "at most 120. RMSprop and Adam, whose steps do not shrink with the gradient, are measured beside them."
        ),
    )


def start_of(place: str, seed: int) -> tuple[float, float]:
    """Return where a path starts."""
    draw = Chance(seed, "leaving").generator(place)
    if place == "saddle":
        return -1.8, float(10 ** draw.uniform(-4, -2))
    angle = draw.uniform(0, 2 * math.pi)
    return 4 * math.cos(angle), 4 * math.sin(angle)


def has_left(place: str, positions: Floats) -> Any:
    """Return for positions (T, 2) whether each is away from the saddle, or off the plateau."""
    return np.abs(positions[:, 1]) > 0.5 if place == "saddle" else np.hypot(*positions.T) < 1


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the iterations until it has left, `MOST` if never, and the growth of one iteration at the saddle."""
    place, optimizer = settings["place"], settings["optimizer"]
    gone = has_left(place, path(place, optimizer, steps=MOST, start=start_of(place, seed)).positions)
    values = {"iterations": float(gone.argmax() if gone.any() else MOST)}
    if place == "saddle":
        away = path(f"saddle:down={DOWN}", optimizer, steps=LINEAR, start=(0.0, EARLY)).positions[:, 1]
        values["growth"] = float(away[-1] / away[-2])
    return values


def growth_of_momentum() -> float:
    """Return the larger root of z^2 - (1 + m + lr c) z + m, by which a linear saddle's distance grows each step.

    >>> round(growth_of_momentum(), 4)
    1.0829
    """
    half = (1 + MEMORY + RATE * DOWN) / 2
    return half + math.sqrt(half**2 - MEMORY)


def judge(table: Table) -> list[Check]:
    """Ask who is gone within the budget, and whether distances grow at the saddle as linear theory says."""
    return [*_gone(table), *_growth(table)]


def _gone(table: Table) -> Iterator[Check]:
    for place in PLACES:
        for name, printed in ((MOMENTUM, "leaves"), (DESCENT, "stays")):
            waited = table.numbers(f"{place}, {name}", "iterations")
            left = int((waited <= BUDGET).sum())
            ends = f"left after {waited.min():g} to {waited.max():g}" if waited.max() < MOST else "some never left"
            yield Check(
                f"{place}: {name} within {BUDGET} iterations",
                printed,
                f"{left} of {len(waited)} gone; {ends}",
                "every start",
                left == (len(waited) if name == MOMENTUM else 0),
            )
        ratio = table.numbers(f"{place}, {DESCENT}", "iterations") / table.numbers(f"{place}, {MOMENTUM}", "iterations")
        yield Check(
            f"{place}: iterations of {DESCENT} over those of {MOMENTUM}",
            "momentum is faster",
            f"{ratio.mean():.1f}, at least {ratio.min():.1f}, n = {len(ratio)}",
            "3 in every start; 10 is the terminal velocity's",
            bool((ratio >= 3).all()),
        )


def _growth(table: Table) -> Iterator[Check]:
    wanted = {DESCENT: 1 + RATE * DOWN, MOMENTUM: growth_of_momentum()}
    forms = {DESCENT: "1 + lr c", MOMENTUM: "root of z² - (1 + m + lr c) z + m"}
    for name, growth in wanted.items():
        found = float(table.numbers(f"saddle, {name}", "growth")[0])
        holds = abs(found - growth) <= GROWTH
        claim = f"saddle: growth of the distance in iteration {LINEAR}, {name}"
        yield Check(claim, f"{forms[name]} = {growth:.6f}", f"{found:.6f}", f"{GROWTH:g}", holds)


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the paths from the landscapes' own starts beside their losses."""
    drawn = []
    for place in PLACES:
        ground = landscape(place)
        some = {name: path(ground, one, steps=BUDGET) for name, one in OPTIMIZERS.items()}
        on_ground = {"title": f"On the {place}", "caption": f"{BUDGET} iterations from {ground.start}."}
        over_time = {"title": f"Loss on the {place}", "caption": "It stays where a path stays."}
        drawn += [walks(ground, some).update_layout(meta=on_ground), losses(ground, some).update_layout(meta=over_time)]
    return drawn
