"""A question about training as data: arms that differ in one thing, seeds, what is measured, what should come out.

An experiment is a function of its arms and seeds alone: `measure(settings, seed, is_quick)` is called once for each
pair, in any order and any process, and must give the same numbers again. What was printed elsewhere stands in its
checks, beside what was measured here, and a check that fails stays.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwell.core.stats import Interval, student_interval

Values = Mapping[str, float | Sequence[float]]
Measure = Callable[[Mapping[str, Any], int, bool], Values]


@dataclass(frozen=True)
class Check:
    """One claim: what was printed, what was measured, how near it had to be, and whether it is.

    Attributes:
        claim: what should hold, in words: `"tanh, 0.01: deviation at layer 2"`.
        printed: the published number or statement.
        measured: the number found here, with its interval or spread.
        tolerance: how near it has to be, in words.
        holds: whether it is.
    """

    claim: str
    printed: str
    measured: str
    tolerance: str
    holds: bool


class Table:
    """What an experiment measured: for each arm and measure one number, or one curve, a seed."""

    def __init__(self, cells: Mapping[str, Sequence[Values]]) -> None:
        self._cells = {arm: list(rows) for arm, rows in cells.items()}

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms, in order."""
        return tuple(self._cells)

    @property
    def seeds(self) -> int:
        """How many seeds each arm has."""
        return min(map(len, self._cells.values()), default=0)

    def measures(self, arm: str) -> tuple[str, ...]:
        """The names of what was measured in an arm, in order."""
        return tuple(self._cells[arm][0])

    def numbers(self, arm: str, measure: str) -> NDArray[np.float64]:
        """Return a measure of an arm over the seeds: (n,) for numbers, (n, T) for curves of equal length."""
        return np.array([row[measure] for row in self._cells[arm]], dtype=np.float64)

    def mean(self, arm: str, measure: str) -> Interval:
        """Return the mean of a number over the seeds with its 95 % interval."""
        return student_interval(self.numbers(arm, measure))

    def rows(self) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
        """Yield (arm, measure, numbers) for all of them."""
        for arm in self.arms:
            for measure in self.measures(arm):
                yield arm, measure, self.numbers(arm, measure)


def no_figures(table: Table) -> Sequence[Any]:
    """Return no figures."""
    return ()


@dataclass(frozen=True)
class Experiment:
    """A question with arms and seeds, and the judgement of what comes out.

    Attributes:
        question: in one sentence, as a person would ask it.
        arms: name -> settings, plain data that `measure` gets.
        measure: (settings, seed, is_quick) -> name -> number or curve; a module-level function. Quick is less of the
            same: fewer steps or samples, never another question.
        judge: the numbers -> checks.
        figures: the numbers -> Plotly figures.
        seeds, quick_seeds: how many seeds each arm gets; they are 0, 1, 2, ...
        needs: names of data sets outside the package, of `mnist` and `cifar10`; without them it is not examined.
        note: what a reader must know to judge the numbers: settings, slips of the source, what is not covered.
    """

    question: str
    arms: Mapping[str, Mapping[str, Any]]
    measure: Measure
    judge: Callable[[Table], Sequence[Check]]
    figures: Callable[[Table], Sequence[Any]] = no_figures
    seeds: int = 5
    quick_seeds: int = 1
    needs: tuple[str, ...] = field(default=())
    note: str = ""
