"""What a network said of some inputs where any number of labels may be true: as names, text, table or page."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainwell.classifier.tables import SHOWN, as_cell, as_page, listed, write_table
from trainwell.data.decode import BadFile

THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class LabelPrediction:
    """The labels for one input.

    Attributes:
        name: what a person calls the input.
        probabilities: (K,) float32, in the order of `names`; each label has its own, and they need not sum to 1.
        names: of the labels.
        threshold: probability from which a label is taken for true.

    >>> print(LabelPrediction("a.jpg", np.array([0.9, 0.2, 0.75], np.float32), ("sun", "rain", "fog")))
    a.jpg: sun (90.0 %), fog (75.0 %)
    """

    name: str
    probabilities: np.ndarray
    names: tuple[str, ...]
    threshold: float = THRESHOLD

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are true; none, where no probability reaches the threshold."""
        pairs = zip(self.names, self.probabilities.tolist(), strict=True)
        return tuple(name for name, probability in pairs if probability >= self.threshold)

    def __str__(self) -> str:
        pairs = zip(self.names, self.probabilities.tolist(), strict=True)
        said = [f"{name} ({100 * value:.1f} %)" for name, value in pairs if value >= self.threshold]
        return f"{self.name}: {', '.join(said) or 'none'}"


@dataclass(frozen=True, eq=False, repr=False)
class LabelPredictions:
    """The labels for N inputs, in their order.

    Attributes:
        probabilities: (N, K) float32, each from 0 to 1.
        labels_of: K names, in the order of the columns.
        names: N, what a person calls each input.
        threshold: probability from which a label is taken for true.
        skipped: files that could not be used and were left out, where that was asked for.
    """

    probabilities: np.ndarray
    labels_of: tuple[str, ...]
    names: tuple[str, ...]
    threshold: float = THRESHOLD
    skipped: tuple[BadFile, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> LabelPrediction:
        return LabelPrediction(self.names[place], self.probabilities[place], self.labels_of, self.threshold)

    def __iter__(self) -> Iterator[LabelPrediction]:
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        return f"LabelPredictions({len(self)} inputs, {len(self.labels_of)} labels, threshold={self.threshold})"

    @property
    def labels(self) -> list[tuple[str, ...]]:
        """The labels of each input that are true."""
        return [one.labels for one in self]

    def to_csv(self, path: str | Path) -> Path:
        """Write one line an input: its name, its labels joined by `;`, and the probability of each label.

        Raises:
            OptionInvalid: the file cannot be written.
        """
        rows = (
            [one.name, ";".join(one.labels), *(f"{value:.6g}" for value in one.probabilities.tolist())] for one in self
        )
        return write_table(path, ["input", "labels", *(f"p({name})" for name in self.labels_of)], rows)

    def to_plain(self) -> dict[str, Any]:
        """Return everything as plain data, ready for JSON."""
        return {
            "labels": list(self.labels_of),
            "threshold": self.threshold,
            "predictions": [
                {
                    "input": one.name,
                    "labels": list(one.labels),
                    "probabilities": dict(zip(self.labels_of, map(float, one.probabilities), strict=True)),
                }
                for one in self
            ],
            "skipped": [{"file": str(bad.path), "reason": bad.reason} for bad in self.skipped],
        }

    def __str__(self) -> str:
        return listed(self, self.skipped)

    def _repr_html_(self) -> str:
        """Return a table of the first answers, for notebooks."""
        first = (self[place] for place in range(min(len(self), SHOWN)))
        rows = ([as_cell(one.name), as_cell(str(one)[len(one.name) + 2 :])] for one in first)
        return as_page(("input", "labels"), rows, len(self), self.skipped)
