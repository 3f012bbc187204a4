"""Write a classifier into a folder, whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from trainwell.classifier import golden
from trainwell.classifier.contract import Contract
from trainwell.classifier.layout import CODE, FORMAT, GOLDEN, HEAD, IMAGES, WEIGHTS, answering_tensors, sealed, versions
from trainwell.classifier.modules import on_cpu
from trainwell.core.files import save_tensors, sync
from trainwell.core.own_code import sha256
from trainwell.data.preprocessing.fitting import Preprocessing
from trainwell.errors import RunInvalid


def save(
    folder: Path, *, model: nn.Module, preprocessing: Preprocessing, contract: Contract, code: Path | None = None
) -> Path:
    """Write the classifier of a trained network; one that is there already is replaced in one move.

    Args:
        folder: where it goes, `RUN/classifier`.
        model: the whole trained network, with the layer of the preprocessing in front of it where there is one;
            its mode and its device stay as they are.
        preprocessing: fitted.
        contract: what it is.
        code: folder of the run that holds copies of the user's own files; it need not exist where there are none.

    Returns:
        The folder.

    Raises:
        RunInvalid: the disk is full or may not be written; a classifier that was there stays as it was.
    """
    aside, gone = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        portable = _take_code(contract, code, aside)
        _write_tensors(aside, model, preprocessing)
        _write_golden(aside, portable, preprocessing, model)
        _write_head(aside, portable)
        for path in (*aside.rglob("*"), aside):
            sync(path)
        if folder.exists():
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(folder, gone)
        os.replace(aside, folder)
        sync(folder.parent)
        shutil.rmtree(gone, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise RunInvalid(
            f"the classifier {folder} cannot be written: {reason}: free some space or choose another disk, then"
            f" `trainwell resume {folder.parent}` writes it"
        ) from None
    return folder


def _take_code(contract: Contract, code: Path | None, aside: Path) -> Contract:
    """Copy the user's own files, and return the contract with their names there in place of paths of this machine."""
    copies: dict[str, str] = {}
    if contract.files:
        (aside / CODE).mkdir()
    for path, wanted in contract.files.items():
        kept = next((copy for copy in sorted(code.glob("*.py")) if sha256(copy) == wanted), None) if code else None
        if kept is None:
            raise RunInvalid(f"the copy of {path} in {code} is missing or was altered: restore it, then resume the run")
        shutil.copyfile(kept, aside / CODE / kept.name)
        copies[path] = kept.name
    model = contract.model
    file, _, attribute = model.name.rpartition(":")
    if file in copies:
        model = model.model_copy(update={"name": f"{copies[file]}:{attribute}"})
    files = {copies[path]: digest for path, digest in contract.files.items()}
    return contract.model_copy(update={"model": model, "files": files})


def _write_tensors(aside: Path, model: nn.Module, preprocessing: Preprocessing) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in answering_tensors(model).items()}
    tensors |= {f"preprocessing/{name}": tensor for name, tensor in preprocessing.state().items()}
    save_tensors(aside / WEIGHTS, _portable(tensors))


def _write_golden(aside: Path, contract: Contract, preprocessing: Preprocessing, model: nn.Module) -> None:
    (aside / IMAGES).mkdir()
    if contract.form is not None and contract.takes_files:
        images = golden.draw_images(contract.form)
        for name, data in images.items():
            (aside / IMAGES / name).write_bytes(data)
        steps = golden.decoded(images, contract.form)
    else:
        steps = {"samples": golden.draw_samples(contract)}
    with on_cpu(model) as asked:
        steps |= golden.computed(golden.as_samples(steps), preprocessing, asked)
    save_tensors(aside / GOLDEN, _portable(steps))


def _write_head(aside: Path, contract: Contract) -> None:
    sums = {path.relative_to(aside).as_posix(): sha256(path) for path in sorted(aside.rglob("*")) if path.is_file()}
    plain = {
        "format": FORMAT,
        "contract": contract.model_dump(mode="json"),
        "versions": versions(),
        "sha256": sums,
    }
    (aside / HEAD).write_text(sealed(plain), "utf-8")


def _portable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies on the CPU: safetensors stores no strides and no shared memory."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
