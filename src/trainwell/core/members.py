"""Options of one shelf's members that name a member of another: `mlp:activation=maxout:pieces=2`."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator

from trainwell.core.catalog import Catalog
from trainwell.core.choice import Choice
from trainwell.core.shelves import activations, norms, schedules
from trainwell.core.units import Member


def _named_on(shelf: Catalog) -> Callable[[Any], str]:
    """Return the check that a value names a member of a shelf with options that it has; it gives `NAME:key=value`."""

    def check(value: Any) -> str:
        choice = Choice.model_validate(value)
        shelf[choice.name].parse_options(choice.options)
        return str(choice)

    return check


Activation = Annotated[str, BeforeValidator(_named_on(activations)), Member("activation")]
Norm = Annotated[str, BeforeValidator(_named_on(norms)), Member("norm")]
Schedule = Annotated[str, BeforeValidator(_named_on(schedules)), Member("schedule")]
