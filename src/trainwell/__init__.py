"""Train vision networks well, and see why when they do not.

The public surface: `fit`, `resume`, `change`, `load`, `lr_find`, `evaluate`, `write_report`, `Recipe`; the shelves are
usable alone, imported from the file that defines a member (`from trainwell.optimizers.sgd import sgd`). Names are
imported when they are first used, so `import trainwell` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwell.classifier import load
    from trainwell.core.choice import Choice
    from trainwell.core.recipe import Recipe
    from trainwell.surface import change, evaluate, fit, lr_find, resume, write_report
    from trainwell.train.run import Run

_HOMES = {
    "Choice": "trainwell.core.choice",
    "Recipe": "trainwell.core.recipe",
    "Run": "trainwell.train.run",
    "change": "trainwell.surface",
    "evaluate": "trainwell.surface",
    "fit": "trainwell.surface",
    "load": "trainwell.classifier",
    "lr_find": "trainwell.surface",
    "resume": "trainwell.surface",
    "write_report": "trainwell.surface",
}

__all__ = ["Choice", "Recipe", "Run", "change", "evaluate", "fit", "load", "lr_find", "resume", "write_report"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'trainwell' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
