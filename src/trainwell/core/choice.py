"""A member of a shelf and its options as plain data, written `NAME:key=value,key=value`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from trainwell.errors import OptionInvalid

# A member that stands for another library's members takes the name of one without its key: `timm:resnet18`.
NAMES_FIRST = {"timm": "architecture"}


class Choice(BaseModel):
    """A member of a shelf and its options, written `NAME:key=value,key=value`.

    >>> Choice.parse("sgd:lr=0.1,nesterov=false")
    Choice(name='sgd', options={'lr': 0.1, 'nesterov': False})
    >>> print(Choice.parse("sgd:lr=0.1"))
    sgd:lr=0.1
    >>> Choice.parse("timm:resnet18,dropout=0.1") == Choice.parse("timm:architecture=resnet18,dropout=0.1")
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = {}

    @classmethod
    def parse(cls, text: str) -> "Choice":
        """Read `NAME:key=value,…`, or `FILE.py:NAME:key=value,…`; values are read as YAML.

        Raises:
            OptionInvalid: an option is not of the form key=value.
        """
        file, own, rest = text.partition(".py:")
        name, _, rest = rest.partition(":") if own else text.partition(":")
        name = f"{file}.py:{name}" if own else name
        options: dict[str, Any] = {}
        for place, part in enumerate(_split_options(rest)):
            if place == 0 and name in NAMES_FIRST and "=" not in part:
                part = f"{NAMES_FIRST[name]}={part}"
            key, equals, value = part.partition("=")
            if not equals or not key.strip():
                raise OptionInvalid(f"{text!r}: an option is written key=value, got {part!r}")
            if key.strip() in options:
                raise OptionInvalid(f"{text!r}: {key.strip()} is given twice")
            options[key.strip()] = read_value(value)
        return cls(name=name.strip(), options=options)

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        if isinstance(value, str):
            parsed = cls.parse(value)
            return {"name": parsed.name, "options": parsed.options}
        if isinstance(value, Mapping) and "name" in value and "options" not in value:
            return {"name": value["name"], "options": {k: v for k, v in value.items() if k != "name"}}
        return value

    @model_serializer
    def _to_plain(self) -> Any:
        return {"name": self.name, **self.options} if self.options else self.name

    @property
    def is_own(self) -> bool:
        """Whether this is the user's own: an object handed over (`given`), or a name in a file of theirs."""
        return self.name == "given" or ".py:" in self.name

    def __str__(self) -> str:
        options = ",".join(f"{key}={_write_value(value)}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name

    def __hash__(self) -> int:
        return hash(str(self))


def read_value(text: str) -> Any:
    """Read one option value as YAML, with `1e-3` a number too.

    >>> read_value("1e-3"), read_value("[1, 2]"), read_value("true"), read_value("cat")
    (0.001, [1, 2], True, 'cat')
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _write_value(value: Any) -> str:
    """Write a value so that `parse` reads it back; a text with commas, such as a choice inside this one, in quotes."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number or (isinstance(value, str) and "," not in value) else json.dumps(value)


OPENING = ("=", "[", "{", ",", " ")  # in front of a quote that opens a text; elsewhere it is an apostrophe


def _split_options(text: str) -> Iterator[str]:
    """Split at commas outside brackets and quotes: `a=1,b=[1,2],c="3,4"` has three parts."""
    depth, start, quote = 0, 0, ""
    for position, letter in enumerate(text):
        if letter == quote or (not quote and letter in "\"'" and text[position - 1 : position] in OPENING):
            quote = "" if quote else letter
        elif not quote:
            depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0 and not quote:
            yield text[start:position]
            start = position + 1
    if text[start:].strip():
        yield text[start:]
