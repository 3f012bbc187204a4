"""Every network of timm, with the extra `timm`: `timm:resnet18`.

The library is imported where a network is asked for, and never before.
"""

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

from torch import nn

from trainwell.core.shelves import models
from trainwell.core.units import ProperFraction
from trainwell.errors import ModelInvalid, NameUnknown

INSTALL = 'pip install "trainwell[timm]"'
NEAREST = 5


def library() -> Any:
    """Return timm.

    Raises:
        ModelInvalid: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise ModelInvalid(f"networks of timm need timm, and {error.name} is not installed: {INSTALL}") from None
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision that was built for another torch
        first = str(error).partition("\n")[0]
        raise ModelInvalid(
            f"timm is installed and cannot be imported ({type(error).__name__}: {first}): install the torchvision that"
            " belongs to this torch"
        ) from None


def create(timm: Any, name: str, **options: Any) -> nn.Module:
    """Return a network of timm.

    Args:
        timm: the library.
        name: of the network, with or without the tag of its weights.
        options: of timm's own `create_model`.

    Raises:
        NameUnknown: timm has no such network; names the nearest.
        ModelInvalid: it cannot be built so, or its weights cannot be had.
    """
    if not name.startswith("hf-hub:") and not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=NEAREST, cutoff=0.5)
        nearest = f": the nearest are {', '.join(near)}" if near else ""
        raise NameUnknown(f"timm has no network {name!r}{nearest}; timm.list_models() names all of them")
    try:
        network = timm.create_model(name, **options)
    except Exception as error:  # of timm, of the hub, of the network's own builder
        first = str(error).strip().partition("\n")[0]
        told = ", ".join(f"{key}={value}" for key, value in options.items())
        raise ModelInvalid(f"timm cannot build {name} with {told} ({type(error).__name__}: {first})") from error
    if not isinstance(network, nn.Module):
        raise ModelInvalid(f"timm must build a torch.nn.Module of {name}, got {type(network).__name__}")
    return network


@models.card("timm", source="Wightman 2019, https://github.com/huggingface/pytorch-image-models", foreign="timm")
def timm_network(
    in_channels: int,
    num_classes: int,
    input_shape: Sequence[int],
    *,
    architecture: str,
    dropout: ProperFraction = 0.0,
    stochastic_depth: ProperFraction = 0.0,
) -> nn.Module:
    """Any network of timm, by its name there; needs the extra `timm`.

    It is timm's module itself, with timm's first weights and names; a source `timm:NAME` brings published ones.
    One that takes images of a single size is built for the size of these.

    Args:
        in_channels: C.
        num_classes: K.
        input_shape: (C, H, W).
        architecture: what timm calls it; `timm:resnet18` is short for `timm:architecture=resnet18`.
        dropout: share of the features in front of the head that is zeroed in training.
        stochastic_depth: how often the last residual branch is left out in training, where the network has some.

    Cures: a network that this shelf does not have. Costs: probes and pictures know its layers and not its stages.
    """
    timm = library()
    options: dict[str, Any] = {"pretrained": False, "in_chans": in_channels, "num_classes": num_classes}
    options |= {"drop_rate": dropout} if dropout else {}
    options |= {"drop_path_rate": stochastic_depth} if stochastic_depth else {}
    stated: Any = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    side = tuple(input_shape[1:])
    if getattr(stated, "fixed_input_size", False) and tuple(stated.input_size[1:]) != side:
        options["img_size"] = side
    return create(timm, architecture, **options)
