"""Checkpoints: everything that the rest of a run depends on, written whole or not at all.

A checkpoint is a folder `step-000400/` with `tensors.safetensors`, `state.json` and a `manifest.json`
that holds the SHA-256 of both. It is written aside, synced and renamed; loading takes the newest one
whose checksums hold, and says which ones did not.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trainwell.core.files import save_tensors, sync
from trainwell.errors import RunDamaged, RunInvalid

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What was stored: `tensors` on the CPU by name, `state` as plain data, `damaged` ones passed over."""

    path: Path
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    damaged: tuple[str, ...] = ()


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of a step below `folder` and remove all but the newest few.

    Tensors that share memory (tied weights) are stored once each under their own names.

    Raises:
        RunInvalid: the disk is full or may not be written; older checkpoints stay as they were.
    """
    final = folder / f"step-{step:06d}"
    aside, gone = folder / f".{final.name}.new", folder / f".{final.name}.old"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_tensors(aside / TENSORS, {name: _portable(tensor) for name, tensor in tensors.items()})
        (aside / STATE).write_text(json.dumps(state), "utf-8")
        sums = {name: _sha256(aside / name) for name in (TENSORS, STATE)}
        (aside / MANIFEST).write_text(json.dumps({"step": step, "sha256": sums}), "utf-8")
        for name in (TENSORS, STATE, MANIFEST):
            sync(aside / name)
        sync(aside)
        if final.exists():
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(final, gone)  # a rename, so that no moment has a half-removed checkpoint
        os.replace(aside, final)
        sync(folder)
        sync(folder.parent)
        shutil.rmtree(gone, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise RunInvalid(
            f"the checkpoint {final} cannot be written: {reason}: free some space or choose another disk, then"
            " go on with `trainwell resume`; the checkpoints before it are untouched"
        ) from None
    found = _newest_first(folder)
    place = found.index(final)
    for other in [*found[:place], *found[place + KEPT :]]:  # what lies ahead is damaged, or another past of this run
        shutil.rmtree(other, ignore_errors=True)
    return final


def load_newest(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint whose checksums hold, or None if there is none at all.

    Raises:
        RunDamaged: there are checkpoints and every one of them is damaged.
    """
    damaged: list[str] = []
    for path in _newest_first(folder):
        try:
            tensors, state = _load(path)
            return Checkpoint(path, tensors, state, tuple(damaged))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            damaged.append(f"{path.name}: {error}")
    if damaged:
        raise RunDamaged(
            f"every checkpoint in {folder} is damaged ({'; '.join(damaged)}): they were altered after they were"
            " written: restore one from a copy, or start a new run from recipe.yaml"
        )
    return None


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    for name in (TENSORS, STATE):
        if _sha256(path / name) != manifest["sha256"][name]:
            raise ValueError(f"{name} does not have the checksum that manifest.json states")
    return load_file(path / TENSORS), json.loads((path / STATE).read_text("utf-8"))


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def _portable(tensor: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU: safetensors stores no strides and no shared memory."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
