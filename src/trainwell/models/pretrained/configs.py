"""What lies beside weights on the hub, `config.json` and `preprocessor_config.json`, in our words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainwell.core.choice import Choice
from trainwell.errors import ModelInvalid
from trainwell.models.pretrained.table import ENTRIES, fixed


@dataclass(frozen=True)
class Facts:
    """What is known of weights beside the weights themselves.

    Attributes:
        model: the network of our shelf.
        input_shape: (C, H, W).
        preprocessing: that they were trained with.
        classes: names of the scores.
        architecture: what others call the network.
    """

    model: Choice | None = None
    input_shape: tuple[int, int, int] | None = None
    preprocessing: Choice | None = None
    classes: tuple[str, ...] = ()
    architecture: str = ""

    def with_model(self, model: Choice | None) -> "Facts":
        """Return the same with a network."""
        return replace(self, model=model)


def facts_of(folder: Path) -> Facts:
    """Return what a folder says of its weights, in timm's words or those of transformers; nothing where it is silent.

    Raises:
        ModelInvalid: `config.json` is no JSON object.
    """
    config = _json(folder / "config.json")
    images = _json(folder / "preprocessor_config.json")
    inner = config.get("pretrained_cfg")
    given = {**config, **inner} if isinstance(inner, dict) else config  # older ones have no inner part
    architecture = str(config.get("architecture") or "")
    mean = _numbers(given.get("mean", images.get("image_mean")))
    std = _numbers(given.get("std", images.get("image_std")))
    size = _numbers(given.get("input_size"))
    return Facts(
        # Networks with published weights are called alike on both sides, and are the same networks.
        model=Choice(name=architecture) if architecture in ENTRIES and not config.get("model_args") else None,
        input_shape=(size[0], size[1], size[2]) if len(size) == 3 else None,
        preprocessing=fixed(mean, std) if mean and len(mean) == len(std) and min(std) > 0 else None,
        classes=_classes(config, given),
        architecture=architecture,
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelInvalid(f"{path} cannot be read ({error}): copy it again, or take it away") from None
    if not isinstance(found, dict):
        raise ModelInvalid(f"{path} must hold a JSON object, got {type(found).__name__}: copy it again")
    return found


def _numbers(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list) or not all(isinstance(one, int | float) for one in value):
        return ()
    return tuple(value)


def _classes(config: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the scores, if there is one for each."""
    names = next((given[key] for key in ("label_names", "labels") if isinstance(given.get(key), list)), None)
    by_number = config.get("id2label")
    if names is None and isinstance(by_number, dict) and all(str(key).isdigit() for key in by_number):
        names = [by_number[key] for key in sorted(by_number, key=int)]
    count = config.get("num_classes", given.get("num_classes", len(names or ())))
    return tuple(map(str, names)) if names and len(names) == count else ()
