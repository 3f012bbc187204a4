"""The narrow waist: an append-only file of Readings, one checksummed JSON object a line.

Everything measured is a Reading; everything judged or drawn reads Readings. A line that was torn by a
kill or a full disk is cut when the file is opened for writing and left out when it is read; a line
that was altered is an error. The file may be read while it is written.
"""

import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainwell.errors import RunDamaged, RunInvalid

_MARK = ',"crc":"'


@dataclass(frozen=True)
class Measure:
    """What a reading's name means: its unit and its definition in a sentence."""

    name: str
    unit: str
    definition: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One measured number: at which step, of what, where in the net (empty: the whole), how much."""

    step: int
    name: str
    value: float
    where: str = ""


def seal(fields: Mapping[str, Any]) -> str:
    """Return one line: the fields as JSON with a CRC-32 of themselves as the last field.

    >>> seal({"step": 1}).partition(',"crc":')[0]
    '{"step":1'
    """
    return _sealed(json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False)[:-1])


def _sealed(body: str) -> str:
    return f'{body}{_MARK}{zlib.crc32(body.encode()):08x}"}}\n'


def unseal(line: str) -> dict[str, Any] | None:
    """Return the fields of one line, or None if the line is torn or altered.

    >>> unseal(seal({"step": 1})), unseal(seal({"step": 1}).replace("1", "2", 1))
    ({'step': 1}, None)
    """
    body, mark, tail = line.rstrip("\n").rpartition(_MARK)
    if not mark or tail != f'{zlib.crc32(body.encode()):08x}"}}':
        return None
    fields: dict[str, Any] = json.loads(body + "}")
    return fields


class Journal:
    """An append-only file of sealed lines, open for writing.

    Opening cuts a torn tail. `append` hands the line to the operating system at once, so that a kill
    of the process loses nothing that was appended; `sync` also survives a power cut.

    Raises:
        RunInvalid: the file cannot be written.
        RunDamaged: a line that is not the last one fails its checksum.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = open(path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the run
        except OSError as error:
            raise RunInvalid(f"{path} cannot be written: {error.strerror}: choose another folder with --out") from None
        try:
            whole = _whole_length(path)
        except RunDamaged:
            self._file.close()
            raise
        if whole < self.length:
            self.cut(whole)

    @property
    def length(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append one sealed line for each mapping, in one write."""
        self.write("".join(seal(fields) for fields in lines))

    def write(self, text: str) -> None:
        """Append lines that are already sealed."""
        if not text:
            return
        data = memoryview(text.encode())
        before = self.length
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self.cut(before)
            raise RunInvalid(
                f"{self.path} cannot be written: {error.strerror}: free some space or choose another"
                " disk, then go on with `trainwell resume`"
            ) from None

    def cut(self, length: int) -> None:
        """Forget everything behind the first `length` bytes."""
        os.ftruncate(self._file.fileno(), length)

    def sync(self) -> None:
        """Wait until the disk has everything."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_lines(path: Path, *, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the fields of each whole line from byte `start`; a torn last line is left out.

    Raises:
        RunDamaged: a line that is not the last one fails its checksum.
    """
    with open(path, "rb") as file:
        file.seek(start)
        position = start
        lines = file.read().split(b"\n")[:-1]  # what follows the last newline is empty or torn
    for number, line in enumerate(lines):
        fields = unseal(line.decode("utf-8", "replace")) if line else None
        if fields is not None:
            yield fields
        elif any(lines[number + 1 :]):
            raise _damaged(path, position)
        position += len(line) + 1


def _damaged(path: Path, position: int) -> RunDamaged:
    return RunDamaged(
        f"{path} is damaged at byte {position}: a line fails its checksum and more lines follow it;"
        " it was altered after it was written: restore the file or start a new run"
    )


def _whole_length(path: Path) -> int:
    """Return how many bytes of the file are whole lines; a torn last line is not counted."""
    data = path.read_bytes()
    lines = data.split(b"\n")[:-1]
    if lines and unseal(lines[-1].decode("utf-8", "replace")) is None:
        lines.pop()  # a torn line that happens to end like a whole one
    position = 0
    for line in lines:
        if unseal(line.decode("utf-8", "replace")) is None:
            raise _damaged(path, position)
        position += len(line) + 1
    return position


class Record:
    """The Readings of one run, open for writing; each name's definition stands before its first use."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._defined = self._names()

    def define(self, measures: Iterable[Measure]) -> None:
        """Write unit and definition of each name that has none yet."""
        new = [measure for measure in measures if measure.name not in self._defined]
        self._journal.append({"define": m.name, "unit": m.unit, "definition": m.definition} for m in new)
        self._defined.update(measure.name for measure in new)

    def append(self, readings: Iterable[Reading]) -> None:
        """Append readings in the order given, in one write."""
        text = []
        for reading in readings:
            assert reading.name in self._defined, f"{reading.name} is recorded before it is defined"
            where = f',"where":{json.dumps(reading.where)}' if reading.where else ""
            value = float(reading.value)
            shown = repr(value) if math.isfinite(value) else f'"{value}"'
            text.append(_sealed(f'{{"step":{reading.step},"name":{json.dumps(reading.name)}{where},"value":{shown}'))
        self._journal.write("".join(text))

    def append_series(self, name: str, first_step: int, values: Iterable[float]) -> None:
        """Append one finite reading of the whole network for each of consecutive steps, quicker than `append`."""
        assert name in self._defined, f"{name} is recorded before it is defined"
        label = json.dumps(name)
        bodies = (f'{{"step":{step},"name":{label},"value":{value!r}' for step, value in enumerate(values, first_step))
        self._journal.write("".join(map(_sealed, bodies)))

    def _names(self) -> set[str]:
        return {fields["define"] for fields in read_lines(self._journal.path) if "define" in fields}

    @property
    def length(self) -> int:
        """Bytes written."""
        return self._journal.length

    def cut(self, length: int) -> None:
        """Forget everything behind the first `length` bytes."""
        self._journal.cut(length)
        self._defined = self._names()

    def sync(self) -> None:
        """Wait until the disk has everything."""
        self._journal.sync()

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def read_readings(path: Path, *, name: str | None = None) -> list[Reading]:
    """Return the readings of a record, in order; only those of one name if given.

    Raises:
        RunDamaged: a line that is not the last one fails its checksum.
    """
    return [
        Reading(fields["step"], fields["name"], float(fields["value"]), fields.get("where", ""))
        for fields in read_lines(path)
        if "name" in fields and (name is None or fields["name"] == name)
    ]


def read_measures(path: Path) -> dict[str, Measure]:
    """Return what each name in a record means."""
    return {
        fields["define"]: Measure(fields["define"], fields["unit"], fields["definition"])
        for fields in read_lines(path)
        if "define" in fields
    }
