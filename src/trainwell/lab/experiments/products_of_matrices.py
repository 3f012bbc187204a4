"""What a product of random matrices does to lengths: Gaussian factors spread them, orthogonal ones keep them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import digamma

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown, within_errors
from trainwell.pictures.style import CLASSES, figure

SIZE = 100
FACTORS = (1, 2, 4, 8, 16, 32, 64)
SHORT = 8  # factors up to which float64 holds the smallest singular value beside the largest
EXACT = 1e-12

ARMS: Mapping[str, Mapping[str, Any]] = {"Gaussian": {"is_orthogonal": False}, "orthogonal": {"is_orthogonal": True}}


@experiments.card(source="Saxe et al. 2014, arXiv:1312.6120, section 3; Newman 1986 for the exact rates", claims=(6,))
def products_of_matrices() -> Experiment:
    """What does a product of many random matrices do to the lengths of vectors?"""
    return Experiment(
        question="What does a product of many random matrices do to the lengths of vectors?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=100,
        quick_seeds=30,
        note=f"Products of {FACTORS[0]} to {FACTORS[-1]} square matrices of side {SIZE}, in float64: Gaussian ones of"
        f" deviation 1/√{SIZE}, and orthogonal ones drawn evenly. Beyond {SHORT} Gaussian factors the smallest singular"
        " value lies below what float64 can tell from zero beside the largest, so the median stands in for it; the mean"
        " of all logarithms comes from the factors' determinants, which lose nothing.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the logarithms of singular values by the number of factors."""
    generator = torch.Generator().manual_seed(seed)
    product, determinant = torch.eye(SIZE, dtype=torch.float64), 0.0
    values: dict[str, list[float]] = {}
    for count in range(1, FACTORS[-1] + 1):
        factor = torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64) / math.sqrt(SIZE)
        if settings["is_orthogonal"]:
            factor = torch.linalg.qr(factor).Q
        determinant += float(torch.linalg.slogdet(factor).logabsdet)
        product = factor @ product
        if count in FACTORS:
            found = torch.linalg.svdvals(product)
            values.setdefault("largest", []).append(float(found[0]))
            values.setdefault("median", []).append(float(found[SIZE // 2]))
            values.setdefault("smallest", []).append(float(found[-1]))
            values.setdefault("mean logarithm", []).append(determinant / SIZE)
            values[f"singular values of {count}"] = found.tolist()
    return values


def rate(place: int) -> float:
    """Return the rate of a Gaussian product's singular value: its logarithm by factor, for many factors.

    Args:
        place: 1 for the largest, `SIZE` for the smallest.

    >>> round(rate(1), 3), round(rate(SIZE), 3)
    (-0.005, -2.938)
    """
    return 0.5 * (math.log(2 / SIZE) + float(digamma((SIZE - place + 1) / 2)))


def judge(table: Table) -> Sequence[Check]:
    """Ask whether Gaussian products spread with every factor, at the exact rate, and orthogonal ones not at all."""
    return [*_spread(table), *_rates(table), *_orthogonal(table)]


def _spread(table: Table) -> Iterator[Check]:
    largest, median, smallest = (table.numbers("Gaussian", name) for name in ("largest", "median", "smallest"))
    last = FACTORS.index(SHORT)
    whole = np.log10(largest / smallest)[:, : last + 1]
    grows = bool((np.diff(whole.mean(axis=0)) > 0).all())
    ends = " → ".join(f"10^{number:.1f}" for number in whole.mean(axis=0))
    claim = f"Gaussian: largest over smallest singular value, {', '.join(map(str, FACTORS[: last + 1]))} factors"
    yield Check(claim, "spreads with the number", f"{ends}, n = {len(whole)}", "every step", grows)
    half = np.log10(largest / median)
    grows = bool((np.diff(half, axis=1) > 0).all())
    ends = " → ".join(f"10^{number:.1f}" for number in half.mean(axis=0))
    claim = f"Gaussian: largest over median, {', '.join(map(str, FACTORS))} factors"
    yield Check(claim, "spreads with the number", f"{ends}, n = {len(half)}", "every step in every draw", grows)


def _rates(table: Table) -> Iterator[Check]:
    exact = sum(rate(place) for place in range(1, SIZE + 1)) / SIZE
    for count in (1, FACTORS[-1]):
        numbers = table.numbers("Gaussian", "mean logarithm")[:, FACTORS.index(count)]
        claim = f"Gaussian: mean logarithm of the singular values of {count} factor{'' if count == 1 else 's'}"
        yield within_errors(claim, count * exact, numbers, printed=f"{count} · {shown(exact)}")


def _orthogonal(table: Table) -> Iterator[Check]:
    for count in (FACTORS[1], FACTORS[-1]):
        values = table.numbers("orthogonal", f"singular values of {count}")
        worst = float(np.abs(values - 1).max())
        claim = f"orthogonal: all singular values of {count} factors"
        yield Check(
            claim, "1", f"1, at most {worst:.1g} off, n = {len(values)}", f"{EXACT:g}, rounding", worst <= EXACT
        )


def figures(table: Table) -> Sequence[Any]:
    """Draw the singular values of the products, sorted, for Gaussian and orthogonal factors."""
    return [_spectra(table, arm) for arm in table.arms]


def _spectra(table: Table, arm: str) -> Any:
    shape = figure("Singular value, from the largest", "Size", height=380)
    places = list(range(1, SIZE + 1))
    for count, color in zip((1, 2, 4, 8, 16, 64), CLASSES, strict=False):
        middle = np.exp(np.log(np.maximum(table.numbers(arm, f"singular values of {count}"), 1e-300)).mean(axis=0))
        kept = np.where(middle > middle[0] * np.finfo(np.float64).eps * SIZE, middle, np.nan)  # the rest is rounding
        name = f"{count} factor{'' if count == 1 else 's'}"
        shape.add_scatter(x=places, y=kept, name=name, mode="lines", line={"color": color, "width": 2})
    shape.update_yaxes(type="log", exponentformat="power", range=[-18, 2])
    caption = "Geometric mean over the draws. A line ends where float64 cannot tell the value from zero."
    if ARMS[arm]["is_orthogonal"]:
        caption = "Geometric mean over the draws: all lines are one, at 1."
    return shape.update_layout(meta={"title": f"Products of {arm} matrices", "caption": caption})
