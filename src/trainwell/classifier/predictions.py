"""What a classifier said of some inputs: class, confidence and all probabilities, as text, table or page."""

import csv
import html
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainwell.data.decode import BadFile
from trainwell.errors import OptionInvalid

DONT_KNOW = "don't know"
SHOWN = 20
SHOWN_BAD = 5  # files that were left out; all of them are in `skipped`
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell of a spreadsheet begins with that is computed, not shown


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
        path = Path(path)
        aside = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            # Names on disk need not be UTF-8; their bytes go out as they came in.
            with open(aside, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["input", "label", "confidence", *(f"p({name})" for name in self.classes)])
                for one in self:
                    shares = [f"{value:.6g}" for value in one.probabilities.tolist()]
                    writer.writerow([_as_text(one.name), _as_text(one.label or ""), f"{one.confidence:.6g}", *shares])
            os.replace(aside, path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            _remove(aside)
            raise _no_table(path, reason) from None
        return path

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
        lines = [str(self[place]) for place in range(min(len(self), SHOWN))]
        more = [f"and {len(self) - SHOWN} more"] if len(self) > SHOWN else []
        count = len(self.skipped)
        said = "1 file was left out, because it" if count == 1 else f"{count:,} files were left out, because they"
        left_out = [f"{said} cannot be used: {_named(self.skipped)}"] if count else []
        return "\n".join([*lines, *more, *left_out])

    def _repr_html_(self) -> str:
        """Return a table of the first answers, for notebooks."""
        rows = "".join(_html_row(self[place]) for place in range(min(len(self), SHOWN)))
        more = f"<p>and {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        count = len(self.skipped)
        said = "1 file was" if count == 1 else f"{count:,} files were"
        left_out = f"<p>{said} left out: {html.escape(_shown(_named(self.skipped)))}</p>" if count else ""
        return f"<table><tr><th>input</th><th>class</th><th>confidence</th></tr>{rows}</table>{more}{left_out}"


def check_table(path: Path) -> None:
    """Refuse a path at which `to_csv` could not write, before there is anything to write.

    Raises:
        OptionInvalid: it is a folder, or its folder is missing or may not be written.
    """
    if path.is_dir():
        raise _no_table(path, "it is a folder")
    if not path.parent.is_dir():
        raise _no_table(path, f"there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise _no_table(path, f"you may not write to {path.parent}")


def _no_table(path: Path, reason: str) -> OptionInvalid:
    return OptionInvalid(
        f"the table cannot be written to {path}: {reason}: give the path of a new file in a folder that exists and"
        " that you may write to"
    )


def _html_row(one: Prediction) -> str:
    label = DONT_KNOW if one.label is None else one.label
    return (
        f"<tr><td>{html.escape(_shown(one.name))}</td><td>{html.escape(label)}</td>"
        f"<td><meter min=0 max=1 value={one.confidence:.4f}></meter> {100 * one.confidence:.1f} %</td></tr>"
    )


def _named(bad: Sequence[BadFile]) -> str:
    more = f"; and {len(bad) - SHOWN_BAD} more" if len(bad) > SHOWN_BAD else ""
    return "; ".join(map(str, bad[:SHOWN_BAD])) + more


def _shown(text: str) -> str:
    """Return text that a page can hold: names on disk need not be UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _as_text(cell: str) -> str:
    """Return what a spreadsheet shows and does not run as a formula.

    >>> _as_text("=1+2.png"), _as_text("a=1.png")
    ("'=1+2.png", 'a=1.png')
    """
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except (OSError, ValueError):  # its folder is no folder, or may not be written: then there is nothing to remove
        return
