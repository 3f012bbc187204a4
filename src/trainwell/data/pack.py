"""One file on disk that holds the decoded images of a split: memory-mapped, so that they need not fit into memory.

Layout: (N, H, W, C) uint8; then a note in JSON (shape, key, files left out); then the note's length, its
SHA-256 and a magic word. A pack is written under another name, fsynced and renamed: under its own name it
is always whole.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from trainwell.errors import DataInvalid

_END = struct.Struct("<Q32s8s")
_MAGIC = b"TWPACK1\n"
_NOTE_ROOM = 4096  # bytes reserved for a note without many bad files
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Pack:
    """An opened pack: (N, H, W, C) rows, mapped so that nothing can write through to the file, and its note."""

    path: Path
    rows: np.ndarray
    note: Mapping[str, Any]


def pack_path(folder: Path, key: Mapping[str, Any]) -> Path:
    """Return where the pack for a key lies; the key names everything that its bytes depend on."""
    return folder / f"{hashlib.sha256(_json(key)).hexdigest()[:32]}.pack"


def open_pack(path: Path, key: Mapping[str, Any]) -> Pack | None:
    """Return the pack at `path`, or None where there is none that is whole and made for this key."""
    note = _read_note(path)
    if note is None or note["key"] != json.loads(_json(key)):
        return None
    return Pack(path, _mapped(path, "c", tuple(note["shape"])), note)


def _read_note(path: Path) -> dict[str, Any] | None:
    """Return the note of a pack whose size and checksum agree with it."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _END.size))
            end = file.read()
            if len(end) != _END.size:
                return None
            length, digest, magic = _END.unpack(end)
            if magic != _MAGIC or length > size - _END.size:
                return None
            file.seek(size - _END.size - length)
            text = file.read(length)
    except OSError:
        return None
    if hashlib.sha256(text).digest() != digest:
        return None
    note = json.loads(text)
    return note if size == _bytes(note["shape"]) + length + _END.size else None


@dataclass
class Draft:
    """A pack that is being written: fill `rows`, then `publish`."""

    path: Path
    key: Mapping[str, Any]
    rows: np.ndarray
    _part: Path

    def publish(self, kept: int, note: Mapping[str, Any]) -> Pack:
        """Cut the pack to its first `kept` rows, add the note, give it its own name; return it opened.

        Raises:
            DataInvalid: the disk refuses.
        """
        shape = (kept, *self.rows.shape[1:])
        text = _json({"shape": shape, "key": self.key, **note})
        try:
            cast(np.memmap, self.rows).flush()
            with open(self._part, "r+b") as file:
                file.truncate(_bytes(shape))
                file.seek(0, os.SEEK_END)
                file.write(text + _END.pack(len(text), hashlib.sha256(text).digest(), _MAGIC))
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._part, self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise _cannot_write(self.path.parent, _bytes(shape), error) from error
        pack = open_pack(self.path, self.key)
        assert pack is not None, "a pack just published opens"
        return pack


@contextmanager
def draft_pack(path: Path, key: Mapping[str, Any], shape: tuple[int, ...]) -> Iterator[Draft]:
    """Reserve the disk space of a pack and lend it to be filled; unless it is published, nothing remains.

    Raises:
        DataInvalid: the folder cannot be written to, or the disk has not enough room.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        file = open(part, "xb")  # noqa: SIM115  closed below, outside this translation of errors
    except OSError as error:
        raise _cannot_write(path.parent, _bytes(shape), error) from error
    try:
        with file:  # open as long as the draft is: the lock says that someone is writing it
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                _reserve(file.fileno(), _bytes(shape) + _NOTE_ROOM)
                rows = _mapped(part, "r+", shape)
            except OSError as error:
                raise _cannot_write(path.parent, _bytes(shape), error) from error
            yield Draft(path, key, rows, part)
    finally:
        part.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove drafts of this pack that killed processes have left: no one holds their lock."""
    for left in path.parent.glob(f"{path.name}.*.part"):
        with open(left, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            left.unlink(missing_ok=True)


def _reserve(descriptor: int, size: int) -> None:
    """Take the space now: a disk that fills up under a memory map would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    block = bytes(2**20)
    for start in range(0, size, len(block)):
        os.write(descriptor, block[: size - start])


def _cannot_write(folder: Path, size: int, error: OSError) -> DataInvalid:
    what = f"the decoded images take {size / 2**30:.2f} GiB, more than the memory budget"
    if error.errno in _DISK_IS_FULL:
        return DataInvalid(
            f"{what}, and the disk of {folder} has no room for them ({error.strerror}): free space, name a cache "
            "folder on another disk, choose a smaller image_size, or raise the memory budget"
        )
    return DataInvalid(
        f"{what}, and cannot be written to {folder} ({error.strerror or error}): name a cache folder that can be "
        "written to, choose a smaller image_size, or raise the memory budget"
    )


def _mapped(path: Path, mode: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(path, dtype=np.uint8, mode=mode, shape=shape)


def _bytes(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
