"""What a network said of some inputs where it answers numbers: as values, text, table or page."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainwell.classifier.tables import SHOWN, as_cell, as_page, listed, write_table
from trainwell.data.decode import BadFile


@dataclass(frozen=True, eq=False)
class NumberPrediction:
    """The numbers for one input.

    Attributes:
        name: what a person calls the input.
        numbers: (M,) float64, on the scale of the training data, in the order of `names`.
        names: of the numbers.

    >>> print(NumberPrediction("row 0", np.array([12.5]), ("price",)))
    row 0: price 12.5
    """

    name: str
    numbers: np.ndarray
    names: tuple[str, ...]

    @property
    def value(self) -> float:
        """The first number, which is the only one of most networks."""
        return float(self.numbers[0])

    def __str__(self) -> str:
        words = ", ".join(f"{name} {value:.6g}" for name, value in zip(self.names, self.numbers.tolist(), strict=True))
        return f"{self.name}: {words}"


@dataclass(frozen=True, eq=False, repr=False)
class NumberPredictions:
    """The numbers for N inputs, in their order.

    Attributes:
        numbers: (N, M) float64, on the scale of the training data.
        numbers_of: M names, in the order of the columns.
        names: N, what a person calls each input.
        skipped: files that could not be used and were left out, where that was asked for.
    """

    numbers: np.ndarray
    numbers_of: tuple[str, ...]
    names: tuple[str, ...]
    skipped: tuple[BadFile, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> NumberPrediction:
        return NumberPrediction(self.names[place], self.numbers[place], self.numbers_of)

    def __iter__(self) -> Iterator[NumberPrediction]:
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        return f"NumberPredictions({len(self)} inputs, {', '.join(self.numbers_of)})"

    def to_csv(self, path: str | Path) -> Path:
        """Write one line an input: its name and its numbers, every digit of them.

        Raises:
            OptionInvalid: the file cannot be written.
        """
        rows = ([one.name, *one.numbers.tolist()] for one in self)
        return write_table(path, ["input", *self.numbers_of], rows)

    def to_plain(self) -> dict[str, Any]:
        """Return everything as plain data, ready for JSON."""
        return {
            "numbers": list(self.numbers_of),
            "predictions": [
                {"input": one.name, "numbers": dict(zip(self.numbers_of, one.numbers.tolist(), strict=True))}
                for one in self
            ],
            "skipped": [{"file": str(bad.path), "reason": bad.reason} for bad in self.skipped],
        }

    def __str__(self) -> str:
        return listed(self, self.skipped)

    def _repr_html_(self) -> str:
        """Return a table of the first answers, for notebooks."""
        first = (self[place] for place in range(min(len(self), SHOWN)))
        rows = ([as_cell(one.name), *(f"{value:.6g}" for value in one.numbers.tolist())] for one in first)
        return as_page(("input", *self.numbers_of), rows, len(self), self.skipped)
