"""A shelf finds its members, reads their options off the signature, and says what is wrong with a choice."""

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from trainwell.core.catalog import Card, Catalog, Option
from trainwell.core.shelves import SHELVES
from trainwell.core.units import Count, Fraction, Rate
from trainwell.errors import NameUnknown, OptionInvalid


def shelf() -> Catalog:
    """A shelf of two members whose package holds no module."""
    things = Catalog("thing", "trainwell.core", member="anything")

    @things.card(source="Euclid", colour="red")
    def line(width: int, height: int = 1, *, lr: Rate = 0.1, kind: Literal["a", "b"] = "a") -> tuple[Any, ...]:
        """A line.

        More about it.
        """
        return width, height, lr, kind

    @things.card("dot")
    class Dot:
        """A dot."""

        def __init__(self, size: int, *, sizes: tuple[Count, ...] = (1,), exact: bool = False, name: str) -> None:
            self.values = (size, sizes, exact, name)

    return things


def test_a_card_knows_its_facts_options_summary_source_and_traits() -> None:
    card = shelf()["line"]
    assert (card.name, card.summary, card.source, dict(card.traits)) == ("line", "A line.", "Euclid", {"colour": "red"})
    assert card.needs == ("width", "height")
    assert list(card.options) == ["lr", "kind"]
    assert card.options["lr"].unit == "per step"


def test_a_class_is_a_member_like_a_function_under_the_name_it_is_given() -> None:
    card = shelf()["dot"]
    assert (card.needs, list(card.options)) == (("size",), ["sizes", "exact", "name"])
    assert card.options["name"].is_required
    dot = card.build({"name": "x", "sizes": [2, 3]}, size=5)
    assert dot.values == (5, (2, 3), False, "x")


def test_building_passes_the_facts_that_are_asked_for_and_leaves_the_rest() -> None:
    assert shelf().build("line", {"lr": "0.5"}, width=3, colour="green") == (3, 1, 0.5, "a")


def test_members_are_listed_by_name_and_found_by_name() -> None:
    assert [card.name for card in shelf()] == ["dot", "line"]
    assert "dot" in shelf()
    assert "blot" not in shelf()


def test_an_unknown_member_is_answered_with_the_nearest() -> None:
    with pytest.raises(NameUnknown, match=r"no thing is called 'lime': did you mean 'line'\?"):
        shelf()["lime"]
    with pytest.raises(NameUnknown, match="no thing is called 'zebra': there are dot, line"):
        shelf().build("zebra")


def test_a_name_that_is_taken_is_never_replaced() -> None:
    things = shelf()
    with pytest.raises(NameUnknown, match="two members of shelf thing want the name 'line': rename one of them"):
        things.card("line")(lambda: None)


def test_all_faults_of_a_choice_are_said_at_once_in_the_order_given() -> None:
    with pytest.raises(OptionInvalid) as caught:
        shelf()["dot"].parse_options({"seizes": 1, "colour": 2, "sizes": [0], "exact": "perhaps"})
    assert str(caught.value) == (
        "dot has no option 'seizes': did you mean 'sizes'?; "
        "dot has no option 'colour': there are exact, name, sizes; "
        "dot:sizes must be a list of whole numbers >= 1, got [0]; "
        "dot:exact must be true or false, got 'perhaps'; "
        "dot needs name (a text): write dot:name=..."
    )


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "a whole number"),
        (Rate, "a number > 0"),
        (Fraction, "a number >= 0 and <= 1"),
        (Annotated[int, Gt(1), Lt(5)], "a whole number > 1 and < 5"),
        (Rate | None, "a number > 0 or none"),
        (Annotated[int, Ge(1), Le(2)] | Literal["auto"], "a whole number >= 1 and <= 2 or one of 'auto'"),
        (tuple[Fraction, ...], "a list of numbers >= 0 and <= 1"),
        (tuple[str, ...], "a list of texts"),
        (bool, "true or false"),
        (Any, "anything"),
    ],
)
def test_what_is_allowed_is_said_in_words(annotation: Any, words: str) -> None:
    assert Option("x", annotation, None).allowed == words


@pytest.mark.parametrize(
    ("annotation", "value", "parsed"),
    [(Rate, "1e-3", 1e-3), (Rate, 2, 2.0), (Count, 3.0, 3), (bool, "false", False), (tuple[Count, ...], [1], (1,))],
)
def test_text_from_the_command_line_becomes_the_declared_type(annotation: Any, value: Any, parsed: Any) -> None:
    result = Option("x", annotation, None).parse(value, owner="it")
    assert result == parsed
    assert type(result) is type(parsed)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Rate, 0), (Rate, "nan"), (Rate, float("inf")), (Rate, True), (Count, 2.5), (Count, False), (Count, None),
        (Rate | None, True), (bool, 7), (Literal["a"], "b"), (str, 3),
    ],
)  # fmt: skip
def test_a_value_outside_type_or_range_is_refused_and_never_bent(annotation: Any, value: Any) -> None:
    option = Option("x", annotation, None)
    with pytest.raises(OptionInvalid) as caught:
        option.parse(value, owner="it")
    assert str(caught.value) == f"it:x must be {option.allowed}, got {value!r}"


def test_nothing_is_imported_before_the_first_look_up_and_then_everything(tmp_path: Path, monkeypatch: Any) -> None:
    package = tmp_path / "shelf_found"
    (package / "deeper").mkdir(parents=True)
    head = "from test_catalog_shelf import things\n"
    (tmp_path / "test_catalog_shelf.py").write_text(
        "from trainwell.core.catalog import Catalog\nthings = Catalog('thing', 'shelf_found', member='x')\n"
    )
    (package / "__init__.py").write_text("")
    (package / "deeper" / "__init__.py").write_text("")
    (package / "one.py").write_text(head + "@things.card()\ndef one():\n    '''One.'''\n")
    (package / "deeper" / "two.py").write_text(head + "@things.card()\ndef two():\n    '''Two.'''\n")
    monkeypatch.syspath_prepend(tmp_path)
    things = importlib.import_module("test_catalog_shelf").things
    assert "shelf_found" not in sys.modules
    assert [card.name for card in things] == ["one", "two"]


def test_a_member_that_fails_to_import_fails_every_look_up_until_it_is_mended(tmp_path: Path, monkeypatch: Any) -> None:
    package = tmp_path / "shelf_broken"
    package.mkdir()
    (tmp_path / "test_catalog_broken.py").write_text(
        "from trainwell.core.catalog import Catalog\nthings = Catalog('thing', 'shelf_broken', member='x')\n"
    )
    (package / "__init__.py").write_text("")
    member = "from test_catalog_broken import things\n@things.card()\ndef good():\n    '''Good.'''\n"
    (package / "bad.py").write_text(member + "raise ImportError('not installed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    things = importlib.import_module("test_catalog_broken").things
    for _ in range(2):
        with pytest.raises(ImportError, match="not installed"):
            list(things)
    (package / "bad.py").write_text(member)
    importlib.invalidate_caches()
    assert [card.name for card in things] == ["good"]


@pytest.mark.parametrize("kind", SHELVES)
def test_every_member_of_every_shelf_has_a_summary_and_valid_defaults(kind: str) -> None:
    for card in SHELVES[kind]:
        assert isinstance(card, Card)
        assert card.summary.endswith((".", "?")), f"{kind} {card.name}: the first docstring line is the summary"
        for option in card.options.values():
            assert option.is_required or option.parse(option.default, owner=card.name) == option.default
