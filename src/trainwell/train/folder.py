"""The folder of one run: what lies where, made whole or not at all, and owned by one process at a time."""

import datetime
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from trainwell.core.files import sync
from trainwell.errors import RunInvalid


class RunFolder:
    """Paths of a run folder, and how its small files are written: aside, synced, then renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.data = path / "data.json"
        self.machine = path / "machine.json"
        self.record = path / "record.jsonl"
        self.timing = path / "timing.jsonl"
        self.events = path / "events.jsonl"
        self.requests = path / "requests"
        self.checkpoints = path / "checkpoints"
        self.code = path / "code"
        self.source = path / "source.safetensors"
        self.codes = path / "codes.safetensors"
        self.neighbours = path / "neighbours.safetensors"
        self.samples = path / "samples.safetensors"
        self.predictions = path / "predictions.safetensors"
        self.classifier = path / "classifier"
        self.report = path / "report.html"
        self._made: list[Path] = []

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """Make a new, empty run folder.

        Raises:
            RunInvalid: something is there already, or the place cannot be written.
        """
        try:
            if path.is_file():
                raise RunInvalid(f"{path} is a file, and --out is the run folder itself: choose another path")
            if path.exists() and any(path.iterdir()):
                raise RunInvalid(
                    f"{path} exists already and is not empty: choose another --out, or go on with `trainwell resume"
                    f" {path}`"
                )
            folder = cls(path)
            folder._made = [parent for parent in (path, *path.parents) if not parent.exists()]
            path.mkdir(parents=True, exist_ok=True)
            (path / ".probe").touch()
            (path / ".probe").unlink()
        except OSError as error:
            raise RunInvalid(f"{path} cannot be written: {error.strerror}: choose another folder with --out") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return the run in an existing folder.

        Raises:
            RunInvalid: there is no run at this path.
        """
        folder = cls(path)
        try:
            is_there = path.exists()
        except OSError as error:
            raise RunInvalid(f"{path} cannot be read: {error.strerror}") from None
        if not is_there:
            near = ", ".join(sorted(p.parent.name for p in path.parent.glob("*/recipe.yaml"))[-3:])
            raise RunInvalid(f"{path} does not exist" + (f": beside it are the runs {near}" if near else ""))
        if not folder.recipe.is_file():
            raise RunInvalid(f"{path} is not a run folder: it has no recipe.yaml")
        return folder

    @property
    def has_checkpoint(self) -> bool:
        """Whether anything was trained and stored."""
        return self.checkpoints.is_dir() and any(self.checkpoints.iterdir())

    def discard(self) -> None:
        """Remove a run that was never begun, and the folders that were made for it."""
        for entry in self.path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        for made in self._made:
            if made.is_dir() and not any(made.iterdir()):
                made.rmdir()

    def write_text(self, path: Path, text: str) -> None:
        """Write a file so that a reader sees the old text or the new one, never half of it.

        Raises:
            RunInvalid: the disk is full or may not be written.
        """
        aside = path.with_name(f".{path.name}.new")
        try:
            with open(aside, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            sync(path.parent)
        except OSError as error:
            raise RunInvalid(
                f"{path} cannot be written: {error.strerror}: free some space or choose another disk"
            ) from None
        finally:
            aside.unlink(missing_ok=True)  # nothing is there where all went well

    def write_json(self, path: Path, plain: Any) -> None:
        """Write plain data as indented JSON, like `write_text`; a byte of a name that is no UTF-8 becomes `\\udcxx`."""
        text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
        self.write_text(path, text.encode("utf-8", "backslashreplace").decode())

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            RunInvalid: another process is working on it.
        """
        with ExitStack() as held:
            try:
                lock = held.enter_context(open(self.path / ".lock", "a", encoding="utf-8"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunInvalid(
                    f"{self.path} is being trained by another process: wait for it, or change it with `trainwell set`"
                ) from None
            except OSError as error:
                raise RunInvalid(
                    f"{self.path} cannot be held for this process: {error.strerror}: copy it to a disk that can be"
                    " written and locked"
                ) from None
            yield

    @property
    def is_running(self) -> bool:
        """Whether a process is working on the run now."""
        if not (self.path / ".lock").exists():
            return False
        with open(self.path / ".lock", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def default_path(base: Path, source: str, model: str) -> Path:
    """Return a new path `<time>-<source>-<model>` below base that does not exist yet."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    words = [re.sub(r"[^A-Za-z0-9_.]+", "-", Path(word.rstrip("/")).name).strip("-.") for word in (source, model)]
    name = "-".join([stamp, *filter(None, words)])
    path, number = base / name, 2
    while path.exists():
        path, number = base / f"{name}-{number}", number + 1
    return path
