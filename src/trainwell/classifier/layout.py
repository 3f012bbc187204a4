"""The folder of a classifier: which files it holds, and how they are checked before any of them is used.

classifier.json         the contract, versions, the SHA-256 of every other file, and a seal on itself
weights.safetensors     model/NAME for every parameter and buffer, preprocessing/NAME for its statistics
golden/                 made-up image files
golden.safetensors      what each step made of them
code/                   the user's own files
"""

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainwell.classifier.contract import Contract
from trainwell.core.own_code import sha256
from trainwell.data.decode import DECODER
from trainwell.errors import RunDamaged, RunInvalid

FORMAT = 1
HEAD, WEIGHTS, GOLDEN, IMAGES, CODE = "classifier.json", "weights.safetensors", "golden.safetensors", "golden", "code"
SEAL = "seal"
CURE = "restore it from a copy, or copy the folder again from the run"


def versions() -> dict[str, str]:
    """Return the versions of everything that an answer depends on."""
    return {"trainwell": _own_version(), "torch": torch.__version__, **DECODER}


def _own_version() -> str:
    try:
        return metadata.version("trainwell")
    except metadata.PackageNotFoundError:
        return "not installed"


def sealed(plain: dict[str, Any]) -> str:
    """Return plain data as JSON text with the SHA-256 of itself inside."""
    return json.dumps({**plain, SEAL: _seal(plain)}, indent=2) + "\n"


def _seal(plain: dict[str, Any]) -> str:
    bare = {key: value for key, value in plain.items() if key != SEAL}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def find(path: Path) -> Path:
    """Return the folder of a classifier, given itself or the run that it lies in.

    Raises:
        RunInvalid: there is none.
        RunDamaged: there is one without its first file.
    """
    try:
        if (path / HEAD).is_file():
            return path
        inner = path / "classifier"
        if (inner / HEAD).is_file():
            return inner
        is_there, has_inner, is_run = path.exists(), inner.is_dir(), (path / "recipe.yaml").is_file()
        has_weights = (path / WEIGHTS).is_file()
    except OSError as error:
        raise RunInvalid(f"{path} cannot be read: {error.strerror}") from None
    if has_inner or has_weights:
        raise RunDamaged(f"{(inner if has_inner else path) / HEAD} is missing: {CURE}")
    if is_run:
        raise RunInvalid(
            f"{path} has no classifier yet: it is written when a run has come to its end, and this one is still going"
            f" or was stopped: wait for it, or go on with `trainwell resume {path}`"
        )
    if not is_there:
        raise RunInvalid(f"{path} does not exist: give the folder of a run, or of a classifier")
    raise RunInvalid(f"{path} is neither the folder of a run nor of a classifier: it has no recipe.yaml and no {HEAD}")


def read_head(folder: Path) -> tuple[Contract, dict[str, str], tuple[str, ...]]:
    """Return the contract, the versions that it was made with, and the names of its files, after checking each of them.

    Raises:
        RunDamaged: a file is missing, was altered or cut short; names the first.
        RunInvalid: it was made by a newer version.
    """
    head = folder / HEAD
    try:
        plain = json.loads(head.read_text("utf-8"))
        is_whole = isinstance(plain, dict) and plain.get(SEAL) == _seal(plain)
    except (OSError, ValueError) as error:
        raise RunDamaged(f"{head} cannot be read ({error}): {CURE}") from None
    if isinstance(plain, dict) and isinstance(plain.get("format"), int) and plain["format"] > FORMAT:
        raise RunInvalid(
            f"{folder} was made by trainwell {plain.get('versions', {}).get('trainwell')} in a format that this one,"
            f" {_own_version()}, does not know: upgrade trainwell"
        )
    if not is_whole:
        raise RunDamaged(f"{head} was altered after it was written: {CURE}")
    try:
        contract, made_with = Contract.model_validate(plain["contract"]), dict(plain["versions"])
        sums = {str(name): str(wanted) for name, wanted in plain["sha256"].items()}
    except (ValidationError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise RunDamaged(f"{head} is not what this version writes ({error}): {CURE}") from None
    for name, wanted in sums.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise RunDamaged(f"{head} names the file {name}, which is not in its own folder: {CURE}")
        _check_file(folder / name, wanted)
    _check_code(contract, sums, folder)
    return contract, made_with, tuple(sums)


def _check_code(contract: Contract, sums: Mapping[str, str], folder: Path) -> None:
    """Refuse to run any file but those in the classifier's own folder of code, each with its SHA-256."""
    for name, digest in contract.files.items():
        if not digest or "/" in name or sums.get(f"{CODE}/{name}") != digest:
            raise RunDamaged(
                f"{folder / HEAD} names the file {name} of the user's own, and no such file with its SHA-256 is in"
                f" {folder / CODE}: no other file is run: {CURE}"
            )
    file, colon, _ = contract.model.name.rpartition(":")
    if colon and file not in contract.files:
        raise RunDamaged(f"{folder / HEAD} names a network in {file}, which is not among its files: {CURE}")


def _check_file(path: Path, wanted: str) -> None:
    try:
        found = sha256(path)
    except FileNotFoundError:
        raise RunDamaged(f"{path} is missing: {CURE}") from None
    except OSError as error:
        raise RunDamaged(f"{path} cannot be read ({error.strerror}): {CURE}") from None
    if found != wanted:
        raise RunDamaged(
            f"{path} was altered or cut short after it was written: its SHA-256 begins with {found[:12]}, and"
            f" {HEAD} says {wanted[:12]}: {CURE}"
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file.

    Raises:
        RunDamaged: it is no such file.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunDamaged(f"{path} cannot be read ({error}): {CURE}") from None


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return every weight and buffer by name, also those that a state dict leaves out; tied ones once."""
    return {name: tensor.data for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def answering_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return those of `named_tensors` that evaluation reads; a module names others by its `training_only`."""
    unread = tuple(
        f"{place}.{beginning}" if place else beginning
        for place, module in model.named_modules()
        for beginning in getattr(module, "training_only", ())
    )
    return {name: tensor for name, tensor in named_tensors(model).items() if not (unread and name.startswith(unread))}


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it.

    >>> below({"model/fc.weight": torch.zeros(1), "other": torch.zeros(1)}, "model/")
    {'fc.weight': tensor([0.])}
    """
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
