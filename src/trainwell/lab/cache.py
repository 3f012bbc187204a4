"""Where the lab keeps what it need not do twice: measured numbers, decoded data sets, finished runs.

Nothing in it is a source of truth: every entry can be deleted, and one that is damaged is made again.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from trainwell.errors import RunInvalid

# What only shows numbers, or turns them into words, cannot change them; an experiment's own file counts by itself.
SHOWING = ("cli/", "report/", "pictures/", "terminal.py", "words.py", "lab/experiments/", "lab/result", "lab/showing/")


def cache_folder() -> Path:
    """Return the lab's cache: `lab` below $TRAINWELL_CACHE, or below ~/.cache/trainwell."""
    place = os.environ.get("TRAINWELL_CACHE", "")
    return Path(place or Path.home() / ".cache" / "trainwell") / "lab"


def write_aside(path: Path, content: bytes) -> None:
    """Write a file so that a reader, in this process or another, sees the old content or the new one.

    Raises:
        RunInvalid: the folder may not be written, or the disk is full.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise RunInvalid(
            f"{path} cannot be written: {error.strerror}: free some space, or choose another folder (TRAINWELL_CACHE is"
            " that of the cache)"
        ) from None


def digest(plain: Any) -> str:
    """Return the SHA-256 of plain data, the same whatever the order of its fields.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_identity() -> str:
    """Return versions of trainwell and torch, and a SHA-256 of all of our code that can change a number.

    A version says nothing between two releases; the code does.
    """
    package = Path(__file__).parents[1]
    content = hashlib.sha256()
    for path in _measuring_files(package):
        content.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"trainwell {_version('trainwell')}, torch {_version('torch')}, code {content.hexdigest()[:32]}"


def _measuring_files(package: Path) -> Iterator[Path]:
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not name.startswith(SHOWING):
            yield path


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def read_entry(path: Path, key: Mapping[str, Any]) -> Any:
    """Return the content that was stored under a key, or None where there is none.

    Raises:
        ValueError: there is an entry, and it is damaged or of another key.
    """
    try:
        entry = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    if not isinstance(entry, dict) or entry.keys() != {"key", "content", "sha256"}:
        raise ValueError("has not the form of an entry")
    if entry["sha256"] != digest(entry["content"]):
        raise ValueError("does not fit its checksum")
    if digest(entry["key"]) != digest(key):
        raise ValueError("belongs to something else")
    return entry["content"]


def write_entry(path: Path, key: Mapping[str, Any], content: Any) -> None:
    """Store plain data under a key, with a checksum."""
    entry = {"key": dict(key), "content": content, "sha256": digest(content)}
    write_aside(path, json.dumps(entry, default=str).encode())
