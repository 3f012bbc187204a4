"""What every schedule on the shelf must do, whatever its name."""

import math

import pytest

from trainwell.core.catalog import Card
from trainwell.core.shelves import schedules
from trainwell.errors import OptionInvalid

pytestmark = pytest.mark.parametrize("card", list(schedules), ids=lambda card: card.name)

LENGTHS = ((1, 1), (2, 1), (3, 5), (10, 3), (101, 10), (1000, 7))


@pytest.mark.parametrize(("total", "epoch"), LENGTHS)
def test_every_multiplier_is_finite_and_from_0_to_1_also_beyond_the_end(card: Card, total: int, epoch: int) -> None:
    multiplier = card.build({}, total_steps=total, steps_per_epoch=epoch)
    values = [multiplier(step) for step in range(2 * total + 3)]
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in values)


@pytest.mark.parametrize(("total", "epoch"), LENGTHS)
def test_no_step_of_the_run_is_wasted_and_one_has_the_full_rate(card: Card, total: int, epoch: int) -> None:
    multiplier = card.build({}, total_steps=total, steps_per_epoch=epoch)
    values = [multiplier(step) for step in range(total)]
    assert min(values) > 0
    assert max(values) == pytest.approx(1.0)


def test_it_is_pure_asked_in_any_order_it_answers_the_same(card: Card) -> None:
    first, second = (card.build({"warmup": 1.5}, total_steps=50, steps_per_epoch=5) for _ in range(2))
    forwards = [first(step) for step in range(60)]
    backwards = [second(step) for step in reversed(range(60))][::-1]
    assert forwards == backwards == [first(step) for step in range(60)]


def test_it_changes_nothing_after_the_last_step(card: Card) -> None:
    multiplier = card.build({}, total_steps=50, steps_per_epoch=5)
    assert len({multiplier(step) for step in (50, 51, 1000)}) == 1


@pytest.mark.parametrize("warmup", [1, 2.4, 3])
def test_warm_up_rises_from_small_to_1_and_ends_in_its_last_step(card: Card, warmup: float) -> None:
    multiplier = card.build({"warmup": warmup}, total_steps=100, steps_per_epoch=10)
    count = round(warmup * 10)
    values = [multiplier(step) for step in range(count)]
    assert values == sorted(set(values))  # strictly rising
    assert 0 < values[0] <= 1 / 10
    assert values[-1] == pytest.approx(1.0)
    assert multiplier(count) <= values[-1]


def test_no_warm_up_starts_at_the_full_rate(card: Card) -> None:
    assert card.build({"warmup": 0}, total_steps=100, steps_per_epoch=10)(0) == 1.0


def test_a_negative_warm_up_is_refused_with_the_words(card: Card) -> None:
    with pytest.raises(OptionInvalid, match=rf"{card.name}:warmup must be a number >= 0.*, got -1"):
        card.build({"warmup": -1}, total_steps=100, steps_per_epoch=10)


def test_its_card_says_what_it_is_and_where_it_comes_from(card: Card) -> None:
    assert card.summary.endswith(".")
    assert card.source
    assert card.needs == ("total_steps", "steps_per_epoch")
