"""Published sizes of a family as members of their own: the family's builder with some options fixed.

A preset declares `preset_of`, the family, and `fixed`, the options that make it one of it; everything else may be asked
for as of the family. A family declares `small`, the options of a form that trains in a moment, and `least_side`, the
pixels a side that leave that form more than one at its end, where these are more than a few.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Any

from torch import nn

from trainwell.core.shelves import models


def preset(
    family: Callable[..., nn.Module], name: str, summary: str, *, source: str, fixed: dict[str, Any], **traits: Any
) -> Callable[..., nn.Module]:
    """Put one size of a family on the shelf, and return its builder.

    Args:
        family: a builder of the shelf.
        name: of the preset.
        summary: one sentence.
        source: where this size was published.
        fixed: options of the family that are settled; None leaves an option out that means nothing here.
        traits: of its card.
    """
    settled = {option: value for option, value in fixed.items() if value is not None}

    def build(*facts: Any, **options: Any) -> nn.Module:
        for option in fixed.keys() & options.keys():
            raise TypeError(f"{name}() got an unexpected keyword argument {option!r}")
        return family(*facts, **settled, **options)

    signature = inspect.signature(family)
    kept = [parameter for parameter in signature.parameters.values() if parameter.name not in fixed]
    hints = typing.get_type_hints(family, include_extras=True)
    build.__annotations__ = {key: hint for key, hint in hints.items() if key not in fixed}
    build.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    build.__name__ = build.__qualname__ = name
    build.__module__ = family.__module__
    build.__doc__ = summary
    return models.card(source=source, preset_of=family.__name__, fixed=settled, **traits)(build)
