"""How many of the critical points of a random function are saddles, by the number of its dimensions?

Source: Dauphin et al. 2014, "Identifying and attacking the saddle point problem", arXiv:1406.2572; Bardeen, Bond,
Kaiser, Szalay 1986, "The statistics of peaks of Gaussian random fields", for three dimensions; Dean and Majumdar
2006, "Large deviations of extreme eigenvalues of random matrices", for matrices.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.core.chance import Chance
from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import within_errors
from trainwell.pictures.style import CLASSES, figure

DIMENSIONS = (1, 2, 3, 4, 5, 6, 8)
DRAWS, QUICK_DRAWS = 40_000, 3_000
FIELD, MATRIX = "critical points of a Gaussian field", "random symmetric matrices"
ARMS: dict[str, dict[str, Any]] = {FIELD: {"is_field": True}, MATRIX: {"is_field": False}}
PEAKS = 29 * math.sqrt(15), 18 * math.sqrt(10)
EXACT = {
    FIELD: {1: 0.0, 2: 0.5, 3: (PEAKS[0] + PEAKS[1]) / (2 * PEAKS[0])},
    MATRIX: {1: 0.0, 2: math.sqrt(0.5), 3: 1 - (math.pi - 2 * math.sqrt(2)) / (2 * math.pi)},
}


@experiments.card(source="Dauphin et al. 2014, arXiv:1406.2572; Bardeen et al. 1986, ApJ 304", claims=(12,))
def saddles_by_dimension() -> Experiment:
    """The share of saddles among random critical points rises with the dimension."""
    return Experiment(
        question="How many of the critical points of a random function are saddles, by its dimensions?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=20,
        quick_seeds=10,
        note=(
            "A critical point is a saddle where the Hessian has eigenvalues of both signs. Two kinds of random are "
            "measured. Of a smooth isotropic Gaussian field, the Hessian at any height: its entries have the "
            "covariance δδ + δδ + δδ, and a critical point counts by |det H|, as many as the Rice formula says there "
            "are. And symmetric matrices of independent Gaussian entries (GOE), unweighted. Exact: in one dimension "
            "there are none; in two, half of a field's (the Euler characteristic of a torus is 0); in three, "
            f"saddles are {(PEAKS[0] + PEAKS[1]) / (PEAKS[0] - PEAKS[1]):.3f} times as many as minima and maxima "
            "(Bardeen et al.)."
        ),
    )


def hessians(dimension: int, draws: int, *, is_field: bool, seed: int) -> NDArray[np.float64]:
    """Return random symmetric matrices (draws, n, n): GOE, with a common multiple of I added where they are a field's.

    Entries off the diagonal have variance 1 and those on it 2; a field's have 3 on it, and 1 as covariance there.
    """
    generator = Chance(seed, "hessians").generator(dimension)
    entries = generator.standard_normal((draws, dimension, dimension))
    found: NDArray[np.float64] = (entries + entries.transpose(0, 2, 1)) / math.sqrt(2)
    common = generator.standard_normal(draws)
    return found + common[:, None, None] * np.eye(dimension) if is_field else found


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the share of saddles by dimension."""
    shares = []
    for dimension in DIMENSIONS:
        drawn = hessians(dimension, QUICK_DRAWS if is_quick else DRAWS, is_field=settings["is_field"], seed=seed)
        values = np.linalg.eigvalsh(drawn)
        is_saddle = (values[:, 0] < 0) & (values[:, -1] > 0)
        weights = np.abs(values.prod(axis=1)) if settings["is_field"] else np.ones(len(values))
        shares.append(float((weights * is_saddle).sum() / weights.sum()))
    return {"share": shares}


def judge(table: Table) -> list[Check]:
    """Ask whether the share rises with every dimension, and is the exact one where that is known."""
    return [check for arm in ARMS for check in (_rises(table, arm), *_exact(table, arm))]


def _rises(table: Table, arm: str) -> Check:
    shares = table.numbers(arm, "share")
    ends = ", ".join(_percent(share) for share in shares.mean(axis=0))
    return Check(
        f"{arm}: share of saddles in {', '.join(map(str, DIMENSIONS))} dimensions",
        "rises with the dimension",
        f"{ends}, n = {len(shares)}",
        "at every dimension, until none else is found",
        bool(((np.diff(shares.mean(axis=0)) > 0) | (shares.mean(axis=0)[:-1] == 1)).all()),
    )


def _percent(share: float) -> str:
    """Say a share so that nearly all differs from all.

    >>> _percent(0.5), _percent(0.99996), _percent(1.0)
    ('50.00 %', '100 - 0.004 %', 'all')
    """
    if share == 1:
        return "all"
    return f"{100 * share:.2f} %" if share < 0.9995 else f"100 - {100 * (1 - share):.1g} %"


def _exact(table: Table, arm: str) -> Iterator[Check]:
    for dimension, exact in EXACT[arm].items():
        numbers = table.numbers(arm, "share")[:, DIMENSIONS.index(dimension)]
        words = f"{arm}: share of saddles in {dimension} dimension{'' if dimension == 1 else 's'}"
        yield within_errors(words, exact, numbers, printed=f"{exact:.4f}, exact", most=4.0)


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the share of saddles by dimension, with the exact ones."""
    drawn = figure("dimensions", "Saddles among random critical points, in %", height=340)
    for number, arm in enumerate(ARMS):
        color, shares = CLASSES[number], 100 * table.numbers(arm, "share").mean(axis=0)
        drawn.add_scatter(
            x=list(DIMENSIONS), y=shares.round(4).tolist(), name=arm, mode="lines+markers", line={"color": color}
        )
        x, y = list(EXACT[arm]), [round(100 * share, 4) for share in EXACT[arm].values()]
        ring = {"color": color, "size": 13, "symbol": "circle-open"}
        drawn.add_scatter(x=x, y=y, name="exact", mode="markers", marker=ring, showlegend=number == 0)
    return [drawn]
