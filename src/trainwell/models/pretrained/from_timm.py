"""Weights that timm publishes, through timm itself."""

import hashlib
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

from trainwell.core.choice import Choice
from trainwell.errors import ModelInvalid
from trainwell.models.pretrained.table import fixed
from trainwell.models.pretrained.weights import Pretrained
from trainwell.models.timm import create, library


def from_timm(name: str) -> Pretrained:
    """Return the weights of a network of timm, with the size and the preprocessing that timm states for them.

    Args:
        name: as timm calls it, `resnet50` or `resnet50.a1_in1k`.

    Raises:
        ModelInvalid: timm is not installed, has no weights under this name, or cannot get them.
        NameUnknown: timm has no such network.
    """
    network = create(library(), name, pretrained=True)
    stated = dict(getattr(network, "pretrained_cfg", None) or {})
    tensors = {key: value.detach().clone() for key, value in network.state_dict().items()}
    if not tensors:
        raise ModelInvalid(f"timm:{name} has no weights at all")
    size, mean, std = (tuple(stated.get(key) or ()) for key in ("input_size", "mean", "std"))
    return Pretrained(
        name=f"timm:{name}",
        location=str(stated.get("hf_hub_id") or stated.get("url") or "timm"),
        sha256=_digest(tensors),
        tensors=tensors,
        model=Choice(name="timm", options={"architecture": name}),
        input_shape=(size[0], size[1], size[2]) if len(size) == 3 else None,
        preprocessing=fixed(mean, std) if mean and len(mean) == len(std) else None,
        classes=tuple(stated.get("label_names") or ()),
    )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the safetensors file that these tensors would make: timm does not say which it read."""
    return hashlib.sha256(save({key: value.contiguous() for key, value in tensors.items()})).hexdigest()
