"""Content hashes: the name of a sample that neither its file name nor its place can change."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from torch import Tensor

_FILES_PER_TASK = 64


def hash_files(paths: Sequence[Path], *, threads: int) -> list[str]:
    """Return the SHA-256 of each file's bytes, in hex; the empty string where a file cannot be read."""

    def task(start: int) -> list[str]:
        return [_hash_file(path) for path in paths[start : start + _FILES_PER_TASK]]

    with ThreadPoolExecutor(threads) as pool:
        return list(chain.from_iterable(pool.map(task, range(0, len(paths), _FILES_PER_TASK))))


def _hash_file(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with open(path, "rb", buffering=0) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


def hash_rows(rows: Tensor) -> list[str]:
    """Return the SHA-256 of each row's type, shape and bytes, in hex.

    >>> import torch
    >>> one, two = hash_rows(torch.tensor([[1, 2], [1, 2]], dtype=torch.uint8))
    >>> one == two
    True
    """
    array = rows.contiguous().numpy()
    head = hashlib.sha256(f"{array.dtype}{array.shape[1:]}".encode())

    def digest(row: memoryview) -> str:
        hasher = head.copy()
        hasher.update(row)
        return hasher.hexdigest()

    return [digest(row.data) for row in array]


def fingerprint(parts: Iterable[str]) -> str:
    """Return one hash for a collection of texts, whatever their order.

    >>> fingerprint(["a", "b"]) == fingerprint(["b", "a"])
    True
    """
    hasher = hashlib.sha256()
    for part in sorted(parts):
        hasher.update(part.encode("utf-8", "surrogatepass") + b"\n")  # names are bytes, not always UTF-8
    return hasher.hexdigest()
