"""From a choice of network to the module itself, its weights a function of the seed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trainwell.core.chance import derive
from trainwell.core.choice import Choice
from trainwell.core.own_code import build_own
from trainwell.core.shelves import models
from trainwell.errors import ModelInvalid, TrainwellError


def model_facts(input_shape: Sequence[int], num_classes: int) -> dict[str, Any]:
    """Return what a network's builder may ask for by name.

    >>> model_facts((3, 8, 8), 10)["in_features"], "in_channels" in model_facts((2,), 3)
    (192, False)
    """
    facts: dict[str, Any] = {
        "input_shape": tuple(input_shape),
        "in_features": math.prod(input_shape),
        "num_classes": num_classes,
    }
    return facts | ({"in_channels": input_shape[0]} if len(input_shape) == 3 else {})


def build_network(
    choice: Choice,
    input_shape: Sequence[int],
    num_classes: int,
    *,
    seed: int,
    files: Mapping[str, str],
    given: nn.Module | None = None,
    front: nn.Module | None = None,
) -> nn.Module:
    """Return a network with fresh weights that are a function of the seed.

    Args:
        choice: a member of the shelf, `FILE.py:NAME`, or `given`.
        input_shape: (C, H, W) or (D,) of one sample.
        num_classes: K.
        seed: of the run.
        files: the user's own files with their SHA-256.
        given: the network that was handed over in Python, where the choice is `given`.
        front: a layer of the preprocessing that stands in front of the network.

    Raises:
        ModelInvalid: the network does not fit the data, its builder fails, or none was given.
    """
    model = _bare(choice, input_shape, num_classes, seed=seed, files=files, given=given)
    return model if front is None else nn.Sequential(front, model)


def _bare(
    choice: Choice,
    input_shape: Sequence[int],
    num_classes: int,
    *,
    seed: int,
    files: Mapping[str, str],
    given: nn.Module | None,
) -> nn.Module:
    if choice.name == "given":
        if given is None:
            raise ModelInvalid("this run trains a network that was handed over in Python: pass the same one as model=")
        return _trainable(given, "the network")
    facts = model_facts(input_shape, num_classes)
    missing = [] if choice.is_own else [name for name in models[choice.name].needs if name not in facts]
    if missing:
        raise ModelInvalid(
            f"{choice.name} needs {', '.join(missing)}: it works on images (C, H, W), and these data are features of"
            f" shape {tuple(input_shape)}: choose another --model"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "initialization"))
        try:
            if choice.is_own:
                model = build_own(choice.name, choice.options, facts, files)
            else:
                model = models.build(choice.name, choice.options, **facts)
        except TrainwellError:
            raise
        except (Exception, SystemExit) as error:
            raise ModelInvalid(f"{choice} cannot be built: {type(error).__name__}: {error}") from error
    return _trainable(model, str(choice))


def _trainable(model: object, name: str) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ModelInvalid(f"{name} must build a torch.nn.Module, got {type(model).__name__}")
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in model.parameters()):
        raise ModelInvalid(f"{name} has lazy layers, whose shapes are not known yet: run it once on a sample first")
    broken = [name for name, parameter in model.named_parameters() if not bool(torch.isfinite(parameter).all())]
    if broken:
        raise ModelInvalid(
            f"{name} starts with NaN or Inf in its weights {', '.join(broken[:5])}: initialize them anew"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelInvalid(f"{name} has no weights that can be trained: every parameter is frozen, or there is none")
    return model
