"""Which files are images, and which of them cannot be used: all found first, then named at once."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainwell.data.decode import BadFile, Header, decode_into, inspect, mismatch
from trainwell.data.resize import ImageForm
from trainwell.data.samples import shown_path
from trainwell.errors import FilesInvalid

_SHOWN = 20
_CHUNK = 256
_SMALLEST = ImageForm(8, 8, 1, "stretch")

# Endings by which people know images. Those of formats that are not read are then named as bad files, not passed over.
READ_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff")
_UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".tga", ".ico", ".mpo", ".ppm", ".pgm", ".pbm", ".pnm")
IMAGE_SUFFIXES = frozenset(READ_SUFFIXES + _UNREAD_SUFFIXES)


def is_image_name(name: str) -> bool:
    """Return whether a file's extension is an image's, in any case.

    >>> is_image_name("A.JPG"), is_image_name("Thumbs.db")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def files_invalid(files: Sequence[BadFile], total: int, root: Path | None) -> FilesInvalid:
    """Return the error that names the first of the bad files among `total` and holds all of them."""
    shown = "; ".join(f"{shown_path(bad.path, root)} {bad.reason}" for bad in files[:_SHOWN])
    more = f"; and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    words = (
        f"{len(files)} of {total} image files{f' in {root}' if root else ''} cannot be used: {shown}{more}. "
        "Repair or remove them, or leave them out with --skip-bad (skip_bad=True)"
    )
    return FilesInvalid(words, files)


def look(paths: Sequence[Path], *, threads: int) -> list[Header | BadFile]:
    """Return for each file its header or what is wrong with it; an ending that names another format is wrong too."""
    answers = inspect(paths, threads=threads)
    return [_with_its_ending(path, answer) for path, answer in zip(paths, answers, strict=True)]


def _with_its_ending(path: Path, answer: Header | BadFile) -> Header | BadFile:
    if isinstance(answer, BadFile) or not is_image_name(path.name) or mismatch(path, answer) is None:
        return answer
    return BadFile(path, f"holds a {answer.format} image, not what its ending {path.suffix} says: rename it")


def undecodable(paths: Sequence[Path], *, threads: int) -> list[BadFile]:
    """Decode files only to see which cannot be, in pieces, so that memory stays small."""
    bad = []
    for start in range(0, len(paths), _CHUNK):
        piece = paths[start : start + _CHUNK]
        out = np.empty((len(piece), *_SMALLEST.shape), dtype=np.uint8)
        bad += decode_into(piece, _SMALLEST, out, threads=threads)
    return bad
