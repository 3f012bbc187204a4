"""Answers as a table in a file, as lines on a terminal and as a table in a notebook, whatever was answered."""

import csv
import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from trainwell.data.decode import BadFile
from trainwell.errors import OptionInvalid

SHOWN = 20
SHOWN_BAD = 5  # files that were left out; all of them are in `skipped`
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell of a spreadsheet begins with that is computed, not shown


def write_table(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[str | float]]) -> Path:
    """Write a CSV file, whole or not at all; one that was there is replaced.

    Cells of text that begin with = + - @, a tab or a line's end get an apostrophe in front; numbers stay numbers.

    Raises:
        OptionInvalid: the file cannot be written.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        # Names on disk need not be UTF-8; their bytes go out as they came in.
        with open(aside, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([_as_text(name) for name in header])
            for row in rows:
                writer.writerow([_as_text(cell) if isinstance(cell, str) else cell for cell in row])
        os.replace(aside, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        _remove(aside)
        raise _no_table(path, reason) from None
    return path


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


class Answers(Protocol):
    """Answers to inputs, each with its words."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> object: ...


def listed(answers: Answers, skipped: Sequence[BadFile]) -> str:
    """Return the first answers, one a line, and what was left out."""
    lines = [str(answers[place]) for place in range(min(len(answers), SHOWN))]
    more = [f"and {len(answers) - SHOWN} more"] if len(answers) > SHOWN else []
    count = len(skipped)
    said = "1 file was left out, because it" if count == 1 else f"{count:,} files were left out, because they"
    left_out = [f"{said} cannot be used: {_named(skipped)}"] if count else []
    return "\n".join([*lines, *more, *left_out])


def as_page(head: Sequence[str], rows: Iterable[Sequence[str]], count: int, skipped: Sequence[BadFile]) -> str:
    """Return a table in HTML; `rows` are cells that are HTML already, of the first of `count` answers."""
    first = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    more = f"<p>and {count - SHOWN} more</p>" if count > SHOWN else ""
    said = "1 file was" if len(skipped) == 1 else f"{len(skipped):,} files were"
    left_out = f"<p>{said} left out: {as_cell(_named(skipped))}</p>" if skipped else ""
    return f"<table><tr>{first}</tr>{body}</table>{more}{left_out}"


def as_cell(text: str) -> str:
    """Return text as HTML that a page can hold: names on disk need not be UTF-8."""
    return html.escape(text.encode("utf-8", "replace").decode())


def _named(bad: Sequence[BadFile]) -> str:
    more = f"; and {len(bad) - SHOWN_BAD} more" if len(bad) > SHOWN_BAD else ""
    return "; ".join(map(str, bad[:SHOWN_BAD])) + more


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
