"""What a classifier said of some inputs: class, confidence and all probabilities, as text, table or page."""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainwell.classifier.tables import SHOWN, as_cell, as_page, listed, write_table
from trainwell.data.decode import BadFile

DONT_KNOW = "don't know"


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one input.

    Attributes:
        name: what a person calls the input: its path, or its row.
        probabilities: (K,) float32, in the order of `classes`.
        classes: names of the classes.
        threshold: confidence below which the answer is "don't know".

    >>> one = Prediction("a.jpg", np.array([0.25, 0.75], np.float32), ("cat", "dog"))
    >>> one.label, one.confidence, one.top(2)
    ('dog', 0.75, [('dog', 0.75), ('cat', 0.25)])
    >>> print(one)
    a.jpg: dog (75.0 %)
    """

    name: str
    probabilities: np.ndarray
    classes: tuple[str, ...]
    threshold: float = 0.0

    @property
    def label(self) -> str | None:
        """The most probable class; None, "don't know", where its probability is below the threshold."""
        return self.classes[int(self.probabilities.argmax())] if self.confidence >= self.threshold else None

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return float(self.probabilities.max())

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k most probable classes with their probabilities, most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[: max(k, 0)]
        return [(self.classes[place], float(self.probabilities[place])) for place in order]

    def __str__(self) -> str:
        best, confidence = self.top(1)[0]
        if self.label is None:
            return f"{self.name}: {DONT_KNOW} (perhaps {best}, {100 * confidence:.1f} %)"
        return f"{self.name}: {best} ({100 * confidence:.1f} %)"


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """The answers for N inputs, in their order.

    Attributes:
        probabilities: (N, K) float32; each row sums to 1.
        classes: K names, in the order of the columns.
        names: N, what a person calls each input: its path as it was given, or its row.
        threshold: confidence below which the answer is "don't know".
        skipped: files that could not be used and were left out, where that was asked for.
    """

    probabilities: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    threshold: float = 0.0
    skipped: tuple[BadFile, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> Prediction:
        return Prediction(self.names[place], self.probabilities[place], self.classes, self.threshold)

    def __iter__(self) -> Iterator[Prediction]:
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        return f"Predictions({len(self)} inputs, {len(self.classes)} classes, threshold={self.threshold})"

    @property
    def indices(self) -> np.ndarray:
        """(N,) int64 places of the most probable classes, whatever the threshold."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    @property
    def confidences(self) -> np.ndarray:
        """(N,) float32 largest probabilities."""
        return np.asarray(self.probabilities.max(1))

    @property
    def labels(self) -> list[str | None]:
        """The most probable class of each input; None, "don't know", where its probability is below the threshold."""
        return [prediction.label for prediction in self]

    def to_csv(self, path: str | Path) -> Path:
        """Write one line an input: name, label (empty for "don't know"), confidence, and each class's probability.

        Names and labels that begin with = + - @, a tab or a line's end get an apostrophe in front, since a spreadsheet
        would run them as formulas. The file appears whole or not at all; one that was there is replaced.

        Raises:
            OptionInvalid: the file cannot be written.
        """
        rows = (
            [
                one.name,
                one.label or "",
                f"{one.confidence:.6g}",
                *(f"{value:.6g}" for value in one.probabilities.tolist()),
            ]
            for one in self
        )
        return write_table(path, ["input", "label", "confidence", *(f"p({name})" for name in self.classes)], rows)

    def to_plain(self) -> dict[str, Any]:
        """Return everything as plain data, ready for JSON; a label is None for "don't know"."""
        return {
            "classes": list(self.classes),
            "threshold": self.threshold,
            "predictions": [
                {
                    "input": one.name,
                    "label": one.label,
                    "confidence": one.confidence,
                    "probabilities": dict(zip(self.classes, map(float, one.probabilities), strict=True)),
                }
                for one in self
            ],
            "skipped": [{"file": str(bad.path), "reason": bad.reason} for bad in self.skipped],
        }

    def __str__(self) -> str:
        return listed(self, self.skipped)

    def _repr_html_(self) -> str:
        """Return a table of the first answers, for notebooks."""
        rows = (_html_cells(self[place]) for place in range(min(len(self), SHOWN)))
        return as_page(("input", "class", "confidence"), rows, len(self), self.skipped)


def _html_cells(one: Prediction) -> tuple[str, ...]:
    label = DONT_KNOW if one.label is None else one.label
    meter = f"<meter min=0 max=1 value={one.confidence:.4f}></meter> {100 * one.confidence:.1f} %"
    return as_cell(one.name), html.escape(label), meter
