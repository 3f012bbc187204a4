"""How files reach the disk: synced, readable by whom the user lets read, tensors as safetensors."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder.

    Raises:
        OSError: it cannot be read or written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with the permissions that any new file has: the library's own are the owner's alone.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
