"""A shelf of named things: each member is a Card, found by scanning a folder at the first look-up.

A decorator puts a builder on its shelf; the builder's signature says everything else. Arguments in
front of the `*` are facts that the caller of the shelf supplies by name (`in_channels`, `params`,
`total_steps`); keyword-only arguments are the user's options, with unit, range and default.
"""

import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from trainwell.core.units import Member, Unit
from trainwell.errors import NameUnknown, OptionInvalid, UserError, did_you_mean

PLUGINS = "trainwell.plugins"
BOUNDS = (Gt, Ge, Lt, Le)

Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """One keyword-only argument of a builder: its type with range and unit, and its default."""

    name: str
    annotation: Any
    default: Any

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.annotation, config=ConfigDict(allow_inf_nan=False))

    @property
    def is_required(self) -> bool:
        """Whether the builder gives no default."""
        return self.default is inspect.Parameter.empty

    @property
    def unit(self) -> str:
        """The unit in words, or the empty string."""
        return next((m.text for m in self._metadata if isinstance(m, Unit)), "")

    @property
    def allowed(self) -> str:
        """The allowed values in words: `'a number, > 0'`.

        >>> from trainwell.core.units import Rate
        >>> Option("lr", Rate, 0.1).allowed
        'a number > 0'
        """
        return _type_words(self.annotation)

    @property
    def _metadata(self) -> tuple[Any, ...]:
        annotation = self.annotation
        for part in get_args(annotation):
            if get_origin(part) is Annotated:  # Optional[Annotated[...]]: the range of the part that is not None
                annotation = part
        return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()

    def parse(self, value: Any, *, owner: str) -> Any:
        """Return value in the declared type, or raise.

        Raises:
            OptionInvalid: value is outside the declared type or range.
        """
        fault = f"{owner}:{self.name} must be {self.allowed}, got {value!r}"
        if isinstance(value, bool) and not _takes_bool(self.annotation):  # pydantic would read true as 1
            raise OptionInvalid(fault)
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            inner = error.errors()[0].get("ctx", {}).get("error")
            if isinstance(inner, UserError):  # the value names a member of another shelf, which says what is wrong
                raise OptionInvalid(f"{owner}:{self.name}: {inner}") from None
            raise OptionInvalid(fault) from None


@dataclass(frozen=True)
class Card:
    """A named thing on a shelf with its builder, summary, source and options.

    `needs` are the facts in front of the builder's `*`; `traits` are what a member declares about
    itself for the machinery (never asked for by member name).
    """

    name: str
    builder: Callable[..., Any]
    summary: str
    source: str = ""
    traits: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        target = self.builder.__init__ if inspect.isclass(self.builder) else self.builder
        parameters = list(inspect.signature(target).parameters.values())
        return parameters[1:] if inspect.isclass(self.builder) else parameters

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Names of the facts that the builder takes in front of its options."""
        return tuple(p.name for p in self._parameters if p.kind is p.POSITIONAL_OR_KEYWORD)

    @cached_property
    def options(self) -> dict[str, Option]:
        """The user's options by name, in the order of the signature."""
        target = self.builder.__init__ if inspect.isclass(self.builder) else self.builder
        hints = typing.get_type_hints(target, include_extras=True)
        keyword_only = [p for p in self._parameters if p.kind is p.KEYWORD_ONLY]
        return {p.name: Option(p.name, hints.get(p.name, Any), p.default) for p in keyword_only}

    def parse_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options in their declared types, defaults filled in.

        Raises:
            OptionInvalid: all unknown, missing and out-of-range options, in one message.
        """
        faults: list[str] = []
        values: dict[str, Any] = {}
        given = self._in_todays_words(given)
        for name in (name for name in given if name not in self.options):
            faults.append(f"{self.name} has no option {name!r}{did_you_mean(name, self.options)}")
        for name, option in self.options.items():
            if name not in given and option.is_required:
                faults.append(f"{self.name} needs {name} ({option.allowed}): write {self.name}:{name}=...")
                continue
            if name not in given:
                values[name] = option.default
                continue
            try:
                values[name] = option.parse(given[name], owner=self.name)
            except OptionInvalid as fault:
                faults.append(str(fault))
        if faults:
            raise OptionInvalid("; ".join(faults))
        return values

    def _in_todays_words(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return options with those that a stored run gives by a name of former times under their own."""
        options: dict[str, Any] = {}
        for name, value in given.items():
            former = self.traits.get("former_options", {}).get(name, ())
            options |= next((today for old, today in former if old == value), {name: value})
        return options

    def build(self, options: Mapping[str, Any], **facts: Any) -> Any:
        """Call the builder with the facts it needs and the options.

        Raises:
            OptionInvalid: an option is unknown, missing or out of range.
        """
        values = self.parse_options(options)
        return self.builder(**{name: facts[name] for name in self.needs if name in facts}, **values)


class Catalog:
    """A shelf: `Catalog("optimizer", "trainwell.optimizers")` finds its members in that package.

    Nothing is imported until the first look-up; then every module below the package is, and every
    `trainwell.plugins` entry point is loaded, so that the decorators in them can put cards here.
    """

    def __init__(self, kind: str, package: str, *, member: str) -> None:
        self.kind = kind
        self.package = package
        self.member = member
        self._cards: dict[str, Card] = {}
        self._is_scanned = False
        self._lock = threading.RLock()

    def card(self, name: str | None = None, *, source: str = "", **traits: Any) -> Callable[[Builder], Builder]:
        """Return a decorator that puts a builder on this shelf under its own name, or the one given.

        The summary is the first line of the builder's docstring. A name that is taken is our fault
        or a plugin's, never silently replaced.
        """

        def put(builder: Builder) -> Builder:
            card_name = name or builder.__name__
            if card_name in self._cards:
                raise NameUnknown(f"two members of shelf {self.kind} want the name {card_name!r}: rename one of them")
            summary = (inspect.getdoc(builder) or "").partition("\n")[0]
            self._cards[card_name] = Card(card_name, builder, summary, source, traits)
            return builder

        return put

    @property
    def registered(self) -> int:
        """How many members have registered themselves so far; looks for none."""
        return len(self._cards)

    def __iter__(self) -> Iterator[Card]:
        self._scan()
        return iter(sorted(self._cards.values(), key=lambda card: card.name))

    def __contains__(self, name: str) -> bool:
        self._scan()
        return name in self._cards

    def __getitem__(self, name: str) -> Card:
        self._scan()
        if name not in self._cards:
            raise NameUnknown(f"no {self.kind} is called {name!r}{did_you_mean(name, self._cards)}")
        return self._cards[name]

    def build(self, name: str, options: Mapping[str, Any] | None = None, **facts: Any) -> Any:
        """Build a member by name; see `Card.build`."""
        return self[name].build(options or {}, **facts)

    def _scan(self) -> None:
        with self._lock:  # a second thread waits until the shelf is full
            if self._is_scanned:
                return
            self._is_scanned = True  # before the imports: a member's module may look at its own shelf
            try:
                self._import_members()
            except BaseException:  # the next look-up tries again, and never sees half a shelf
                self._is_scanned = False
                self._cards = {name: c for name, c in self._cards.items() if c.builder.__module__ in sys.modules}
                raise

    def _import_members(self) -> None:
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(getattr(package, "__path__", []), self.package + "."):
            importlib.import_module(module.name)
        for entry in importlib.metadata.entry_points(group=PLUGINS):
            entry.load()


def _type_words(annotation: Any) -> str:
    """Say a type and its range in a user's words.

    >>> _type_words(int), _type_words(float | None), _type_words(typing.Literal["a", "b"])
    ('a whole number', 'a number or none', "one of 'a', 'b'")
    >>> _type_words(Annotated[float, Gt(0)] | None), _type_words(tuple[Annotated[int, Ge(1)], ...])
    ('a number > 0 or none', 'a list of whole numbers >= 1')
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        shelf = next((metadata.shelf for metadata in parts if isinstance(metadata, Member)), None)
        if shelf is not None:
            return f"of the {shelf} shelf, NAME:key=value"
        bounds = " and ".join(_bound_words(metadata) for metadata in parts[1:] if isinstance(metadata, BOUNDS))
        return f"{_type_words(parts[0])} {bounds}".rstrip()
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(value) for value in parts)
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}
    words[Any] = "anything"
    if annotation in words:
        return words[annotation]
    if origin in (tuple, list):
        one = _type_words(parts[0]).removeprefix("a ")
        return "a list of " + (one.replace("number", "numbers", 1) if "number" in one else f"{one}s")
    return " or ".join(_type_words(part) for part in parts) or str(annotation)


def _bound_words(bound: Any) -> str:
    if isinstance(bound, Gt | Ge):
        return f"> {bound.gt}" if isinstance(bound, Gt) else f">= {bound.ge}"
    return f"< {bound.lt}" if isinstance(bound, Lt) else f"<= {bound.le}"


def _takes_bool(annotation: Any) -> bool:
    """Whether true and false are values of a type, rather than numbers in disguise."""
    if annotation in (bool, Any, object):
        return True
    if get_origin(annotation) is typing.Literal:
        return any(isinstance(value, bool) for value in get_args(annotation))
    return any(_takes_bool(part) for part in get_args(annotation) if isinstance(part, type) or get_origin(part))
