"""What a source found, before anything is decoded, and which source a user's words mean.

A source answers with one `Samples`: labels, the user's own splits where there are any, and exactly
one of files, arrays or a Dataset. Everything a person should know about the reading of their data
stands in `notes`, in words.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainwell.core.catalog import Card
from trainwell.core.shelves import sources
from trainwell.core.task import TaskName
from trainwell.errors import DataInvalid

Kind = Literal["images", "features"]

SPLIT_WORDS: dict[str, str] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "t10k": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How the numbers of image arrays stand to the levels 0 to 255 of images.

    Attributes:
        factor: what each number is multiplied by: 1, 255 for floats from 0 to 1, 1/257 for 16 bits.
        is_float: whether the numbers were floats, whose type does not say what scale they are on.

    >>> Scale(255, is_float=True).highest
    1.0
    """

    factor: float
    is_float: bool

    @property
    def highest(self) -> float:
        """The number that becomes 255."""
        return round(255 / self.factor, 6)


@dataclass(frozen=True)
class Samples:
    """N labelled samples of one data set; exactly one of `files`, `arrays`, `dataset` is set.

    Attributes:
        classes: class names, of which a label is a position; or the names of the numbers, or of the labels.
        labels: (N,) int64 class ids; (N, M) float64 numbers; (N, K) int64 labels, each 0 or 1.
        splits: (N,) str, each "train", "val" or "test" where the user said so, "" where it is ours to decide.
        kind: "images" or "features".
        files: N image files.
        arrays: (N, H, W, C) uint8 or float32 images on the scale 0 to 255, or (N, D) float32 features.
        dataset: a map-style torch Dataset of (input, label) that streams: random or too large to store.
        root: the folder that file names are shown relative to.
        notes: what was found and decided, in words.
        digests: N content hashes where the source knows them (a Dataset that streams).
        scale: how the user's image arrays were brought to 0 to 255; None for files, features, and floats that are on
            no image's scale and were kept as they are.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    splits: np.ndarray
    kind: Kind = "images"
    files: tuple[Path, ...] | None = None
    arrays: Tensor | None = None
    dataset: Dataset[Any] | None = None
    root: Path | None = None
    notes: tuple[str, ...] = ()
    digests: tuple[str, ...] | None = None
    scale: Scale | None = None
    task: TaskName = "classes"
    reason: str = ""
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert (self.files is None) + (self.arrays is None) + (self.dataset is None) == 2, "one of three kinds of input"
        assert len(self.labels) == len(self.splits), "one split name a label"

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, row: int) -> str:
        """Return what a person calls one sample: its file below the root, or its row.

        >>> Samples(("a", "b"), np.array([0]), np.array([""]), files=(Path("x/a/1.png"),), root=Path("x")).name(0)
        'a/1.png'
        """
        return f"row {row}" if self.files is None else shown_path(self.files[row], self.root)

    def answer(self, row: int) -> str:
        """Return what a person calls the right answer for one sample: its class, its numbers, or its labels.

        >>> Samples(("a", "b"), np.array([[1, 1]]), np.array([""]), arrays=torch.zeros(1, 2), task="labels").answer(0)
        'a + b'
        """
        if self.task == "classes":
            return self.classes[int(self.labels[row])]
        if self.task == "numbers":
            return ", ".join(f"{value!r}" for value in self.labels[row].tolist())
        return (
            " + ".join(name for name, is_true in zip(self.classes, self.labels[row], strict=True) if is_true) or "none"
        )

    @property
    def strata(self) -> np.ndarray:
        """(N,) int64 groups whose shares every split keeps: the classes, or a single group for other tasks."""
        return self.labels if self.task == "classes" else np.zeros(len(self), dtype=np.int64)

    def take(self, rows: Sequence[int]) -> "Samples":
        """Return some of the samples of files or arrays, in the order of `rows`; all classes stay known."""
        files = None if self.files is None else tuple(self.files[row] for row in rows)
        arrays = None if self.arrays is None else self.arrays[torch.as_tensor(rows)]
        assert self.dataset is None, "a Dataset that streams has no content to take"
        return replace(self, labels=self.labels[rows], splits=self.splits[rows], files=files, arrays=arrays)

    def noted(self, *notes: str) -> "Samples":
        """Return the same samples with more notes."""
        return replace(self, notes=self.notes + notes)


def shown_path(path: Path, root: Path | None) -> str:
    """Return a path as people look for it: below the root of the data, if it lies there.

    >>> shown_path(Path("photos/cat/1.png"), Path("photos"))
    'cat/1.png'
    """
    return str(path) if root is None else str(path).removeprefix(f"{root}{os.sep}")


def natural_order(names: Iterable[str]) -> list[str]:
    """Return distinct names sorted as people count.

    >>> natural_order(["10", "9", "img2", "img10"])
    ['9', '10', 'img2', 'img10']
    """

    def key(name: str) -> tuple[list[tuple[int, int, str]], str]:
        parts = re.findall(r"[0-9]+|[^0-9]+", name)
        return [(0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts], name

    return sorted(set(names), key=key)


def first_rows(rows: Iterable[Any], limit: int = 5) -> str:
    """Say the first few of many.

    >>> first_rows([3, 4, 5], limit=2)
    '3, 4 and 1 more'
    """
    rows = list(rows)
    more = f" and {len(rows) - limit} more" if len(rows) > limit else ""
    return ", ".join(str(row) for row in rows[:limit]) + more


class Inferred(NamedTuple):
    """The source that a user's words mean: a shelf name, a location ("" where it needs none), and why."""

    name: str
    location: str
    reason: str


_OPTIONS = re.compile(r":[A-Za-z_]\w*=")


def infer_source(text: str) -> Inferred:
    """Return the source that `digits`, `points:kind=moons`, `photos/`, `data.npz` or `idx:folder` means.

    Options after the name or the path (`:key=value,...`) are left to the caller. A source is known
    by its card's `accepts=` (a function Path -> bool), never by its name; one that declares
    `is_last_resort=True` is taken only where no other accepts the path.

    Raises:
        DataInvalid: nothing of that name or path exists, or no source takes it.
    """
    match = None if Path(text).exists() else _OPTIONS.search(text)
    head = text[: match.start()] if match else text
    if not head.strip():
        raise DataInvalid(f"no source of data is named: write {_what_there_is()}")
    cards = {card.name: card for card in sources}
    if head in cards:
        return _by_name(cards[head], head)
    front, colon, rest = head.partition(":")
    if colon and front in cards and not Path(head).exists():
        return Inferred(front, rest, f"the source {front} was named")
    path = Path(head).expanduser()
    if not path.exists():
        raise DataInvalid(_nothing_there(head, path, cards))
    return _by_path(head, path, cards.values())


def _accepts(card: Card) -> Callable[[Path], bool] | None:
    return card.traits.get("accepts")


def _by_name(card: Card, text: str) -> Inferred:
    if "location" in card.needs:
        raise DataInvalid(
            f"the source {text} reads {card.traits.get('takes', 'a place')}: write its path, or {text}:PATH"
        )
    shadowed = f"; to read the folder or file of that name here, write ./{text}" if Path(text).exists() else ""
    return Inferred(text, "", f"{text} is a built-in source{shadowed}")


def _by_path(text: str, path: Path, cards: Iterable[Card]) -> Inferred:
    takers = [card for card in cards if (accepts := _accepts(card)) is not None and accepts(path)]
    first = [card for card in takers if not card.traits.get("is_last_resort", False)] or takers
    if len(first) > 1:
        names = " and ".join(card.name for card in first)
        raise DataInvalid(f"{text} can be read by the sources {names}: say which one, as {first[0].name}:{text}")
    if not first:
        what = "folder" if path.is_dir() else "file"
        raise DataInvalid(f"no source reads the {what} {text}: give {_what_there_is()}")
    return Inferred(first[0].name, str(path), f"{text} is {first[0].traits.get('takes', 'a place it reads')}")


def _what_there_is() -> str:
    places = [card.traits["takes"] for card in sources if "takes" in card.traits]
    built_in = [card.name for card in sources if "location" not in card.needs]
    return "the path of " + ", or of ".join(places) + "; or a built-in set by name: " + ", ".join(built_in)


def _nothing_there(text: str, path: Path, cards: Iterable[str]) -> str:
    while not path.parent.is_dir():  # the outermost part that is missing is the one that is misspelt
        path = path.parent
    parent = path.parent
    beside = {entry.name.lower(): str(parent / entry.name) for entry in _entries(parent)}
    near = difflib.get_close_matches(path.name.lower(), list(beside), n=2, cutoff=0.6)
    known = difflib.get_close_matches(text.lower(), list(cards), n=2, cutoff=0.6) + [beside[name] for name in near]
    hint = (
        "did you mean " + " or ".join(repr(name) for name in known) + "?"
        if known
        else (f"{parent.absolute()} holds nothing like it.")
    )
    return f"there is no file, folder or built-in source called {text!r}: {hint} Give {_what_there_is()}"


def _entries(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []
