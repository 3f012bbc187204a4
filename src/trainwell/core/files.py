"""How files reach the disk: synced, readable by whom the user lets read, tensors as safetensors."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with the permissions that any new file has: the library's own are the owner's alone.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    from safetensors.torch import save  # imports torch, and whoever only waits for files needs none

    path.write_bytes(save(dict(tensors), None if metadata is None else dict(metadata)))
