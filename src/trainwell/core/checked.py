"""The ranges on a signature, held on a direct call too: a member used alone refuses what the shelf would refuse."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from trainwell.core.catalog import Card, Option

Builder = TypeVar("Builder", bound=Callable[..., Any])


def checked(builder: Builder) -> Builder:
    """Return a function or class whose keyword-only options are parsed by their annotations at each call.

    Raises at the call:
        OptionInvalid: an option is outside its declared type or range.

    >>> from trainwell.core.units import Rate
    >>> @checked
    ... def halve(value: float, *, lr: Rate = 0.5) -> float:
    ...     '''Halve.'''
    ...     return lr * value
    >>> halve(3, lr=-1)
    Traceback (most recent call last):
        ...
    trainwell.errors.OptionInvalid: halve:lr must be a number > 0, got -1
    """
    name = builder.__name__
    target = cast(Any, builder).__init__ if inspect.isclass(builder) else builder

    @functools.wraps(target)
    def call(*args: Any, **options: Any) -> Any:
        known = options_of(builder)
        parsed = {key: known[key].parse(value, owner=name) if key in known else value for key, value in options.items()}
        return target(*args, **parsed)

    if not inspect.isclass(builder):
        return cast(Builder, call)
    cast(Any, builder).__init__ = call
    return builder


@functools.cache
def options_of(builder: Callable[..., Any]) -> Mapping[str, Option]:
    """Return the keyword-only options of a function or class by name, with their ranges.

    >>> from trainwell.core.units import Rate
    >>> def member(*, lr: Rate = 0.1) -> None: ...
    >>> options_of(member)["lr"].allowed
    'a number > 0'
    """
    return Card(builder.__name__, builder, "").options
