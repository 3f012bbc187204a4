"""Read trained weights from a file or folder: safetensors, torch's own files, and folders as they lie on the hub.

Nothing is unpickled but tensors and plain containers (torch's `weights_only`); still, a safetensors file is the only
one that cannot hold a program, so prefer it from people whom you do not know.
"""

import hashlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trainwell.errors import ModelInvalid
from trainwell.models.pretrained.configs import Facts, facts_of
from trainwell.models.pretrained.names import renamed, unwrapped
from trainwell.models.pretrained.recognizing import recognize
from trainwell.models.pretrained.table import entry_of
from trainwell.models.pretrained.weights import Pretrained

IN_FOLDER = ("model.safetensors", "pytorch_model.bin")  # as they are called on the hub
OURS = ("classifier/weights.safetensors", "weights.safetensors")  # in a run, and in the folder of a classifier
CURE = "save the network's state_dict() alone, as torch.save(net.state_dict(), PATH) or as safetensors"
AGAIN = "copy or download it again"


def from_file(path: str | Path) -> Pretrained:
    """Return the weights of a file or folder, with all that is known of them.

    What kind of file it is shows in its first bytes, not in its name. Wrappers around the weights are stripped, and
    names that are known to mean the same as torchvision's are changed to those. The network, its input shape and its
    preprocessing are known where the file is one of the published ones (by its SHA-256) or a `config.json` of timm lies
    beside it; without either the network alone may be known by its tensors.

    Args:
        path: a `.safetensors`, `.pth`, `.pt`, `.th` or `.bin` file, or a folder with `model.safetensors` or
            `pytorch_model.bin`.

    Raises:
        ModelInvalid: there is no such file, or it does not hold finite dense tensors by name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "mine.pt"
    ...     torch.save({"epoch": 3, "state_dict": {"module.fc.weight": torch.ones(2, 4)}}, path)
    ...     found = from_file(path)
    >>> found.name, list(found.tensors)
    ('mine', ['fc.weight'])
    """
    path = Path(path).expanduser()
    digest, tensors = read_tensors(_file_of(path))
    name = path.resolve().name if path.is_dir() else path.stem
    facts = _facts(digest, tensors, path)
    return Pretrained(
        name=name,
        location=str(path),
        sha256=digest,
        tensors=tensors,
        model=facts.model,
        input_shape=facts.input_shape,
        preprocessing=facts.preprocessing,
        classes=facts.classes,
    )


def read_tensors(file: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the SHA-256 of a weights file and its tensors, without wrappers and by torchvision's names.

    Raises:
        ModelInvalid: it cannot be read, or does not hold finite dense tensors by name.
    """
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        stored = _read(file)
    except OSError as error:
        raise ModelInvalid(f"{file} cannot be read: {error.strerror or error}") from None
    tensors = renamed(unwrapped(stored, str(file)))
    _check(tensors, file)
    return digest, tensors


def _facts(digest: str, tensors: Mapping[str, Tensor], path: Path) -> Facts:
    entry = entry_of(digest)
    if entry is not None:
        return Facts(entry.model, entry.input_shape, entry.preprocessing, entry.classes)
    facts = facts_of(path) if path.is_dir() else Facts()
    return facts if facts.architecture else facts.with_model(recognize(tensors))


def _file_of(path: Path) -> Path:
    try:
        if path.is_file():
            return path
        if not path.is_dir():
            raise ModelInvalid(f"{path} does not exist: give the path of a weights file, or of a folder with one")
        for name in (*IN_FOLDER, *OURS):
            if (path / name).is_file():
                return path / name
        lying = sorted(child.name for child in path.iterdir())
    except OSError as error:
        raise ModelInvalid(f"{path} cannot be read: {error.strerror}") from None
    if any(name.endswith(".index.json") for name in lying):
        raise ModelInvalid(
            f"{path} holds its weights in several files: join them into one {IN_FOLDER[0]}, or give a smaller network"
        )
    there = f"it holds {', '.join(lying[:5])}{', …' if len(lying) > 5 else ''}" if lying else "it is empty"
    raise ModelInvalid(
        f"{path} is a folder without {' or '.join(IN_FOLDER)} ({there}): give the path of the weights file itself"
    )


def _read(file: Path) -> object:
    with file.open("rb") as stream:
        head = stream.read(512)
    start = head.lstrip()[:64].lower()
    if head.startswith(b"\x93NUMPY") or (head.startswith(b"PK") and b".npy" in head[:64]):
        raise ModelInvalid(f"{file} holds arrays of NumPy, not weights by a network's names: {CURE}")
    if not head.strip(b"\0 \r\n\t"):
        raise ModelInvalid(f"{file} is empty: {AGAIN}")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelInvalid(
            f"{file} is a web page, not weights, such as a server sends in place of a file: download the file itself"
            " (on GitHub and the hub its address has /raw/ or /resolve/ in it)"
        )
    if start.startswith(b"version https://git-lfs"):
        raise ModelInvalid(f"{file} is a pointer of Git LFS, not the weights: get them with `git lfs pull`")
    if head.startswith(b"PK") or head[:1] == b"\x80":
        return _read_torch(file)
    if head[8:9] == b"{":
        return _read_safetensors(file)
    raise ModelInvalid(f"{file} is neither a safetensors file nor one of torch.save: {CURE}")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ModelInvalid(f"{file} is cut short or damaged ({error}): {AGAIN}") from None


def _read_torch(file: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats, which still can be read
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises whatever its unpickler meets
        raise ModelInvalid(_refused(file, str(error))) from None


def _refused(file: Path, fault: str) -> str:
    """Say why torch did not read a file."""
    objects = re.search(r"GLOBAL ([\w.]+)", fault)
    if objects:
        return (
            f"{file} holds more than tensors, an object of {objects[1]}, and reading that would run code from the file:"
            f" where it was made, {CURE}"
        )
    if "TorchScript" in fault:
        return f"{file} is a TorchScript program, not weights: where it was made, {CURE}"
    first = fault.strip().partition("\n")[0].partition(". ")[0]
    return f"{file} is cut short or damaged ({first}): {AGAIN}"


def _check(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Refuse tensors that cannot be copied into a network, and those that would spoil it."""
    packed = [name for name, value in tensors.items() if value.is_quantized or value.layout is not torch.strided]
    if packed:
        raise ModelInvalid(
            f"{file} holds quantized or sparse tensors ({', '.join(packed[:3])}): save the network before it was"
            " quantized, or with .to_dense() tensors"
        )
    spread = [name for name, value in tensors.items() if value.untyped_storage().nbytes() < value.nbytes]
    if spread:
        raise ModelInvalid(
            f"{file} holds tensors that repeat few numbers as if they were many ({', '.join(spread[:3])}): save them"
            " with .contiguous()"
        )
    negative = [name for name, value in tensors.items() if name.endswith("running_var") and bool((value < 0).any())]
    if negative:
        raise ModelInvalid(
            f"{file} holds variances below zero ({', '.join(negative[:3])}): it is damaged; take another file"
        )
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not bool(_is_finite(value))]
    if broken:
        raise ModelInvalid(
            f"{file} holds NaN or Inf in {len(broken)} of {len(tensors)} tensors, first {', '.join(broken[:3])}: its"
            " training had diverged; take an earlier file"
        )


def _is_finite(value: Tensor) -> Tensor:
    if not value.numel():
        return torch.tensor(True)
    able = value.float() if value.element_size() == 1 else value  # torch orders no numbers of 8 bits
    return torch.stack(able.aminmax()).isfinite().all()  # NaN and Inf survive both, without a mask as large
