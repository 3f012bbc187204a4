"""A CSV or TSV table: of image paths or numbers, and for each row a class, one or more numbers, or labels."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from trainwell.core.shelves import sources
from trainwell.core.task import TaskWish
from trainwell.data.labels import Labelled
from trainwell.data.samples import SPLIT_WORDS, Samples, first_rows
from trainwell.data.targets import read_targets
from trainwell.errors import DataInvalid, did_you_mean

_USUAL = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img"),
    "label": ("label", "labels", "class", "class_name", "target", "category", "y"),
    "split": ("split", "subset", "set", "partition"),
}


@dataclass(frozen=True)
class _Table:
    """The cells of a table below its header; `lines` are the line numbers that a text editor shows."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str) -> list[str]:
        place = self.columns.index(name)
        return [row[place].strip() for row in self.rows]

    def find(self, role: str, asked: str | None) -> str | None:
        """Return the column for a role: the one asked for, or the one with a usual name."""
        if asked is not None:
            if asked not in self.columns:
                raise DataInvalid(
                    f"{self.name} has no column {asked!r} for the {role}{did_you_mean(asked, self.columns)}"
                )
            return asked
        lowered = {column.lower(): column for column in reversed(self.columns)}
        return next((lowered[word] for word in _USUAL[role] if word in lowered), None)


def _accepts(path: Path) -> bool:
    return path.is_file() and is_table(path)


def _example(folder: Path) -> tuple[str, dict[str, Any]]:
    generator = np.random.default_rng(0)
    lines = ["path,label"]
    for number in range(20):
        Image.fromarray(generator.integers(0, 256, (9, 9), dtype=np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'even' if number % 2 == 0 else 'odd'}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "table.csv"), {}


@sources.card(takes="a .csv or .tsv table with a label column", accepts=_accepts, example=_example)
def table(
    location: str,
    *,
    path: str | None = None,
    label: str | tuple[str, ...] | None = None,
    split: str | None = None,
    task: TaskWish = "auto",
) -> Samples:
    """A CSV or TSV table of image paths or float features, and a class, numbers or labels; a split column is respected.

    Args:
        location: the table; its first line names the columns, and paths in it are relative to its folder.
        path: the column of image paths, where its name is not a usual one; without any, all other columns are features.
        label: the column to be answered, where its name is not a usual one; several, as [a, b], are that many numbers,
            or labels of 0 and 1 that may be true at once.
        split: the column of train, val or test, where its name is not a usual one; an empty cell is ours to decide.
        task: what the label is: classes, numbers (regression) or labels; by default what its column holds says.

    Raises:
        DataInvalid: the table is empty or uneven, a column is missing, or a cell cannot be used.
    """
    cells = _read(Path(location))
    label_columns = _label_columns(cells, label)
    path_column, split_column = cells.find("path", path), cells.find("split", split)
    known = _labels(cells, label_columns, task)
    splits = _splits(cells, split_column)
    about: dict[str, Any] = {"task": known.task, "reason": known.reason}
    if path_column is not None:
        folder = Path(location).parent
        files = tuple(folder / name for name in _filled(cells, path_column))
        return Samples(known.classes, known.labels, splits, files=files, root=folder, notes=known.notes, **about)
    columns = [column for column in cells.columns if column not in (*label_columns, split_column)]
    features = torch.from_numpy(_numbers(cells, columns))
    note = f"{cells.name} has no column of paths: its {len(columns)} other columns are features: {first_rows(columns)}"
    about |= {"notes": (note, *known.notes), "columns": tuple(columns)}
    return Samples(known.classes, known.labels, splits, "features", arrays=features, **about)


def is_table(path: Path) -> bool:
    """Whether a path is named as a table is."""
    return path.suffix.lower() in (".csv", ".tsv")


def read_features(path: Path, columns: Sequence[str]) -> np.ndarray:
    """Return the columns of these names of a table as features (N, D) float32, in this order; others are left out.

    Raises:
        DataInvalid: the table cannot be read, columns are missing, or a cell is no finite number.
    """
    cells = _read(path)
    missing = [column for column in columns if column not in cells.columns]
    if missing:
        raise DataInvalid(
            f"{path} has no column {first_rows(map(repr, missing))}, and the network was trained on"
            f" {first_rows(columns, limit=20)}{did_you_mean(missing[0], cells.columns)}"
        )
    return _numbers(cells, columns)


def _label_columns(cells: _Table, label: str | tuple[str, ...] | None) -> tuple[str, ...]:
    asked = label if isinstance(label, tuple) else (label,)
    found = tuple(column for each in asked if (column := cells.find("label", each)) is not None)
    if not found:
        raise DataInvalid(
            f"{cells.name} has no label column: its columns are {', '.join(cells.columns)}; name the column of "
            "labels with "
            f"label=NAME, or call it {' or '.join(_USUAL['label'][:3])} (the first line of the table must name the "
            "columns)"
        )
    doubled = sorted({column for column in found if found.count(column) > 1})
    if doubled:
        raise DataInvalid(f"{cells.name}: column {doubled[0]!r} is named twice as a label: name it once")
    return found


def _read(path: Path) -> _Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataInvalid(f"{path} is not UTF-8 text (byte {error.start}): save the table as UTF-8 CSV") from error
    except OSError as error:
        raise DataInvalid(f"{path} cannot be read: {error.strerror}") from error
    if not text.strip():
        raise DataInvalid(f"{path} is empty: its first line must name the columns, such as path,label")
    head = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = tuple(name.strip() for name in next(reader))
    doubled = sorted({name for name in columns if columns.count(name) > 1})
    if doubled:
        raise DataInvalid(f"{path.name} has several columns called {doubled[0]!r}: rename all but one")
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(columns):
            raise DataInvalid(
                f"{path.name}, line {reader.line_num}: {len(row)} cells where the first line names {len(columns)} "
                "columns; "
                "quote cells that hold the delimiter"
            )
        rows.append(tuple(row))
        lines.append(reader.line_num)
    if not rows:
        raise DataInvalid(f"{path} holds only its first line: there are no samples below {', '.join(columns)}")
    return _Table(path.name, columns, tuple(rows), tuple(lines))


def _filled(cells: _Table, column: str) -> list[str]:
    values = cells.column(column)
    blank = [line for line, value in zip(cells.lines, values, strict=True) if not value]
    if blank:
        raise DataInvalid(
            f"{cells.name}: column {column!r} is empty in {len(blank)} rows (lines {first_rows(blank)}): fill or "
            "remove them"
        )
    return values


def _labels(cells: _Table, columns: Sequence[str], task: TaskWish) -> Labelled:
    """Return what is to be answered; in a single column, all that is no number, and a code such as 007, is a class."""
    if len(columns) > 1:
        where = f"columns {', '.join(map(repr, columns))} of {cells.name}"
        return read_targets(_several(cells, columns), where=where, task=task, names=columns)
    column = columns[0]
    values = _filled(cells, column)
    is_code = any(len(value) > 1 and value.startswith("0") and value.isdigit() for value in values)
    numbers = None if is_code and task in ("auto", "classes") else _parse(values)
    missing = [
        line
        for line, value in zip(cells.lines, values, strict=True)
        if value.lower() in ("nan", "null", "none", "na", "n/a")
    ]
    if missing:
        raise DataInvalid(
            f"{cells.name}: column {column!r} has no label (NaN) in {len(missing)} rows (lines "
            f"{first_rows(missing)}): label or remove them"
        )
    where = f"column {column!r} of {cells.name}"
    if task == "numbers" and numbers is None:
        numbers = _several(cells, columns)[:, 0]  # which names the cell that is no number
    if task == "auto" and numbers is None and not is_code:
        _refuse_broken_numbers(cells, column, values)
    known = read_targets(np.array(values) if numbers is None else _integers(numbers), where=where, task=task)
    return replace(known, classes=(column,)) if known.task != "classes" else known


def _refuse_broken_numbers(cells: _Table, column: str, values: Sequence[str]) -> None:
    """Refuse a column of many numbers in which a few cells are none: as classes, each number would be one.

    Raises:
        DataInvalid: with the first such cell.
    """
    broken = [(line, value) for line, value in zip(cells.lines, values, strict=True) if _parse([value]) is None]
    commas = sum(bool(re.fullmatch(r"[-+]?\d+,\d+", value)) for _, value in broken)
    if len(set(values)) <= MANY or (10 * len(broken) > len(values) and 2 * commas < len(broken)):
        return
    line, value = broken[0]
    if commas:
        fault = f"has decimal commas, such as {value!r} in line {line}: write a point instead"
    else:
        fault = (
            f"holds numbers but for {len(broken)} of {len(values)} rows, such as {value!r} in line {line}: mend or"
            " remove them"
        )
    raise DataInvalid(f"{cells.name}: column {column!r} {fault}, or set task=classes if each value is a class")


def _several(cells: _Table, columns: Sequence[str]) -> np.ndarray:
    """Return columns of numbers, or of true and false, as (N, M)."""
    values = np.empty((len(cells.rows), len(columns)))
    for place, column in enumerate(columns):
        for row, (line, cell) in enumerate(zip(cells.lines, _filled(cells, column), strict=True)):
            parsed = _parse([{"true": "1", "false": "0"}.get(cell.lower(), cell)])
            if parsed is None:
                raise DataInvalid(
                    f"{cells.name}, line {line}: column {column!r} holds {cell!r}, where a number is needed: numbers,"
                    " or 0 and 1, are what several label columns and task=numbers can hold"
                )
            values[row, place] = parsed[0]
    return values


MANY = 20  # so many different values are hardly the names of classes, where most of them are numbers
EXACT = 2.0**53  # up to here float64 holds every whole number


def _parse(values: Sequence[str]) -> np.ndarray | None:
    try:
        return np.array([float(value) for value in values])
    except ValueError:
        return None


def _integers(numbers: np.ndarray) -> np.ndarray:
    """Return whole numbers as such; not those so large that floats hold no others, nor integers them."""
    is_whole = bool(np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all())
    return numbers.astype(np.int64) if is_whole and bool((np.abs(numbers) <= EXACT).all()) else numbers


def _splits(cells: _Table, column: str | None) -> np.ndarray:
    if column is None:
        return np.full(len(cells.rows), "", dtype="<U5")
    values = cells.column(column)
    for line, value in zip(cells.lines, values, strict=True):
        if value and value.lower() not in SPLIT_WORDS:
            raise DataInvalid(
                f"{cells.name}, line {line}: column {column!r} must be train, val, test or empty, got {value!r}"
                f"{did_you_mean(value.lower(), SPLIT_WORDS)}"
            )
    return np.array([SPLIT_WORDS[value.lower()] if value else "" for value in values], dtype="<U5")


def _numbers(cells: _Table, columns: Sequence[str]) -> np.ndarray:
    if not columns:
        raise DataInvalid(
            f"{cells.name} has neither a column of paths nor of numbers beside its label: add one, or say path=NAME"
        )
    features = np.empty((len(cells.rows), len(columns)), dtype=np.float32)
    for place, column in enumerate(columns):
        for row, (line, value) in enumerate(zip(cells.lines, cells.column(column), strict=True)):
            parsed = _parse([value])
            if parsed is None or not np.isfinite(parsed[0]):
                shown = "is empty" if not value else f"holds {value!r}"
                raise DataInvalid(
                    f"{cells.name}, line {line}: column {column!r} {shown}, where a finite number is needed: remove "
                    "the column or the "
                    "row, fill the cell, or say path=NAME if a column names image files"
                )
            features[row, place] = parsed[0]
    return features
