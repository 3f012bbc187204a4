"""From what a weights file holds to tensors under torchvision's names: wrappers off, other people's names changed.

Only differences that are known are bridged; a network that is another one stays another one.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from trainwell.errors import ModelInvalid

# Under which names training programs store a network's weights beside everything else, the usual first.
INSIDE = (
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
    "module",
    "weights",
    "params",
    "state_dict_ema",
    "model_ema",
    "ema",
)
# What parallel training, compiling, averaging and Lightning put in front of every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
OF_CLASSIFIER = "model/"  # in the files of our own classifiers, beside the statistics of the preprocessing
COUNTER = "num_batches_tracked"  # of a batch norm; older files have none, and no answer depends on it
OF_AVERAGES = "n_averaged"  # what torch's AveragedModel keeps beside the weights

_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
_TIMM_VGG = {"pre_logits.fc1.": "classifier.0.", "pre_logits.fc2.": "classifier.3.", "head.fc.": "classifier.6."}


def is_counter(name: str) -> bool:
    """Whether a tensor only counts batches.

    >>> is_counter("bn1.num_batches_tracked"), is_counter("bn1.running_mean")
    (True, False)
    """
    return name.rpartition(".")[2] == COUNTER


def unwrapped(stored: object, where: str) -> dict[str, Tensor]:
    """Return the tensors of what a file holds, whatever is around them.

    Args:
        stored: a state dict, or a dict with one somewhere inside.
        where: the file, for errors.

    Raises:
        ModelInvalid: there are no tensors by name, or something among them is none.

    >>> import torch
    >>> list(unwrapped({"epoch": 3, "state_dict": {"module.fc.weight": torch.zeros(2, 2)}}, "x.pth"))
    ['fc.weight']
    """
    found = stored
    for _ in range(4):
        inner = _inside(found)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping):
        raise ModelInvalid(
            f"{where} holds {_a(found)}, no weights by name: save the network's state_dict() alone, as"
            " torch.save(net.state_dict(), PATH) or as safetensors"
        )
    named = {str(name): value for name, value in found.items() if name != OF_AVERAGES}
    odd = [f"{name} ({type(value).__name__})" for name, value in named.items() if not isinstance(value, Tensor)]
    if odd or not named:
        what = f"things that are no tensors: {', '.join(odd[:3])}" if odd else "no tensors at all"
        raise ModelInvalid(f"{where} holds {what}: save the network's state_dict() alone")
    return _without_prefixes({name: value.detach() for name, value in named.items()})


def _inside(found: object) -> Mapping[str, object] | None:
    if not isinstance(found, Mapping):
        return None
    return next((found[key] for key in INSIDE if isinstance(found.get(key), Mapping) and found[key]), None)


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith(OF_CLASSIFIER) for name in tensors):
        tensors = {name.removeprefix(OF_CLASSIFIER): x for name, x in tensors.items() if name.startswith(OF_CLASSIFIER)}
    for _ in range(len(PREFIXES)):
        shared = next((one for one in PREFIXES if all(name.startswith(one) for name in tensors)), None)
        if shared is None:
            break
        tensors = {name.removeprefix(shared): value for name, value in tensors.items()}
    return tensors


def _a(found: object) -> str:
    kind = type(found).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under torchvision's names, where they have other ones that are known.

    Known are DenseNets from before 2018 (`norm.1.` for `norm1.`), residual nets for CIFAR whose head is `linear` and
    whose projections are `shortcut`, and timm's VGG, whose dense layers are convolutions.

    >>> import torch
    >>> list(renamed({"layer1.0.conv1.weight": torch.zeros(1), "linear.bias": torch.zeros(1)}))
    ['layer1.0.conv1.weight', 'fc.bias']
    """
    named = dict(tensors)
    for change in _changes(named):
        named = dict(change(name, value) for name, value in named.items())
    return named


Change = Callable[[str, Tensor], tuple[str, Tensor]]


def _changes(named: Mapping[str, Tensor]) -> list[Change]:
    changes: list[Change] = []
    if any(_OLD_DENSENET.match(name) for name in named):
        changes.append(lambda name, value: (_OLD_DENSENET.sub(r"\1\2", name), value))
    if "layer1.0.conv1.weight" in named and not any(name.startswith("fc.") for name in named):
        changes.append(lambda name, value: (re.sub(r"^linear\.", "fc.", name), value))
    if "layer1.0.conv1.weight" in named and not any(".downsample." in name for name in named):
        changes.append(lambda name, value: (name.replace(".shortcut.", ".downsample."), value))
    if "pre_logits.fc1.weight" in named and "features.0.weight" in named:
        changes.append(_from_timm_vgg)
    return changes


def _from_timm_vgg(name: str, value: Tensor) -> tuple[str, Tensor]:
    old = next((old for old in _TIMM_VGG if name.startswith(old)), None)
    if old is None:
        return name, value
    return name.replace(old, _TIMM_VGG[old]), value.flatten(1) if value.dim() == 4 else value
