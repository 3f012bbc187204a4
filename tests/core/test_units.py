"""Units: each carries its range and says what one of it is."""

from typing import Any, get_args, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt

from trainwell.core import units
from trainwell.core.catalog import Option
from trainwell.core.units import Unit
from trainwell.errors import OptionInvalid

ALL = {name: value for name, value in vars(units).items() if getattr(value, "__metadata__", None)}


@pytest.mark.parametrize("name", ALL)
def test_each_has_a_number_type_a_range_and_one_unit(name: str) -> None:
    number, *metadata = get_args(ALL[name])
    assert number in (int, float)
    assert sum(isinstance(part, Unit) for part in metadata) == 1
    assert any(isinstance(part, Gt | Ge | Lt | Le) for part in metadata)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("Rate", [1e-9, 10], [0, -1]),
        ("Fraction", [0, 1], [-0.01, 1.01]),
        ("ProperFraction", [0, 0.999], [1, -0.1]),
        ("Amount", [0, 5], [-1e-9]),
        ("Positive", [1e-12], [0]),
        ("Count", [1], [0]),
        ("Steps", [0], [-1, 0.5]),
        ("Epochs", [1], [0]),
        ("EpochShare", [0, 0.5], [-0.5]),
        ("Minutes", [0.1], [0]),
        ("Pixels", [0], [-1]),
        ("Side", [1, 4096], [0, 4097]),
        ("Degrees", [0, 180], [181, -1]),
        ("Seed", [0, 2**63 - 1], [-1, 2**63]),
    ],
)
def test_the_ends_of_each_range(name: str, inside: list[float], outside: list[float]) -> None:
    option = Option("x", ALL[name], None)
    assert [option.parse(value, owner="it") for value in inside] == inside
    for value in outside:
        with pytest.raises(OptionInvalid, match="it:x must be "):
            option.parse(value, owner="it")


def test_every_unit_is_tested_above() -> None:
    marks: Any = test_the_ends_of_each_range.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(ALL)


def test_a_range_written_on_a_signature_is_found_there() -> None:
    def build(*, lr: units.Rate = 0.1) -> None: ...

    assert get_type_hints(build, include_extras=True)["lr"] is units.Rate
