"""What every schedule on the shelf must do, whatever its name."""

import json
import math

import pytest

from trainwell.core.catalog import Card
from trainwell.core.shelves import schedules
from trainwell.errors import OptionInvalid
from trainwell.schedules import Driven

LENGTHS = ((1, 1), (2, 1), (3, 5), (10, 3), (101, 10), (1000, 7))
CARDS = list(schedules)
# A member that begins below lr and rises at its own pace says so on its card, and takes no warm-up.
RISING = [card for card in CARDS if card.traits.get("rises")]
WARMABLE = [card for card in CARDS if card not in RISING]
DRIVEN = [card for card in CARDS if card.traits.get("driven")]

every = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
rising = pytest.mark.parametrize("card", RISING, ids=lambda card: card.name)
warmable = pytest.mark.parametrize("card", WARMABLE, ids=lambda card: card.name)
driven = pytest.mark.parametrize("card", DRIVEN, ids=lambda card: card.name)


@every
@pytest.mark.parametrize(("total", "epoch"), LENGTHS)
def test_every_multiplier_is_finite_and_from_0_to_1_also_beyond_the_end(card: Card, total: int, epoch: int) -> None:
    multiplier = card.build({}, total_steps=total, steps_per_epoch=epoch)
    values = [multiplier(step) for step in range(2 * total + 3)]
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in values)


@warmable
@pytest.mark.parametrize(("total", "epoch"), LENGTHS)
def test_no_step_of_the_run_is_wasted_and_one_has_the_full_rate(card: Card, total: int, epoch: int) -> None:
    multiplier = card.build({}, total_steps=total, steps_per_epoch=epoch)
    values = [multiplier(step) for step in range(total)]
    assert min(values) > 0
    assert max(values) == pytest.approx(1.0)


@rising
def test_one_that_rises_begins_low_reaches_the_full_rate_and_takes_no_warm_up(card: Card) -> None:
    multiplier = card.build({}, total_steps=1000, steps_per_epoch=7)
    values = [multiplier(step) for step in range(1000)]
    assert 0 < values[0] == min(values) < 1
    assert max(values) == pytest.approx(1.0)
    assert "warmup" not in card.options


@every
def test_it_is_pure_asked_in_any_order_it_answers_the_same(card: Card) -> None:
    options = {"warmup": 1.5} if card in WARMABLE else {}
    first, second = (card.build(options, total_steps=50, steps_per_epoch=5) for _ in range(2))
    forwards = [first(step) for step in range(60)]
    backwards = [second(step) for step in reversed(range(60))][::-1]
    assert forwards == backwards == [first(step) for step in range(60)]


@every
def test_it_changes_nothing_after_the_last_step(card: Card) -> None:
    multiplier = card.build({}, total_steps=50, steps_per_epoch=5)
    assert len({multiplier(step) for step in (50, 51, 1000)}) == 1


@warmable
@pytest.mark.parametrize("warmup", [1, 2.4, 3])
def test_warm_up_rises_from_small_to_1_and_ends_in_its_last_step(card: Card, warmup: float) -> None:
    multiplier = card.build({"warmup": warmup}, total_steps=100, steps_per_epoch=10)
    count = round(warmup * 10)
    values = [multiplier(step) for step in range(count)]
    assert values == sorted(set(values))  # strictly rising
    assert 0 < values[0] <= 1 / 10
    assert values[-1] == pytest.approx(1.0)
    assert multiplier(count) <= values[-1]


@warmable
def test_no_warm_up_starts_at_the_full_rate(card: Card) -> None:
    assert card.build({"warmup": 0}, total_steps=100, steps_per_epoch=10)(0) == 1.0


@warmable
def test_a_warm_up_as_long_as_the_run_is_refused(card: Card) -> None:
    with pytest.raises(OptionInvalid, match=rf"{card.name}:warmup of 5 epochs is 50 steps, and the whole run has 50"):
        card.build({"warmup": 5}, total_steps=50, steps_per_epoch=10)


@warmable
def test_a_negative_warm_up_is_refused_with_the_words(card: Card) -> None:
    with pytest.raises(OptionInvalid, match=rf"{card.name}:warmup must be a number >= 0.*, got -1"):
        card.build({"warmup": -1}, total_steps=100, steps_per_epoch=10)


@every
@pytest.mark.parametrize("facts", [(0, 1), (1, 0)])
def test_a_run_without_steps_is_refused(card: Card, facts: tuple[int, int]) -> None:
    with pytest.raises(OptionInvalid, match=r"must be a whole number >= 1, got 0"):
        card.builder(*facts)


@every
def test_declared_ranges_hold_on_a_direct_call_too(card: Card) -> None:
    for option in card.options.values():
        with pytest.raises(OptionInvalid, match=rf"{card.name}:{option.name}"):
            card.builder(100, 10, **{option.name: float("nan")})


@every
def test_its_card_says_what_it_is_and_where_it_comes_from(card: Card) -> None:
    assert card.summary.endswith(".")
    assert card.source
    assert card.needs == ("total_steps", "steps_per_epoch")


@every
def test_it_is_driven_if_its_card_says_so_and_only_then(card: Card) -> None:
    assert isinstance(card.build({}, total_steps=50, steps_per_epoch=5), Driven) == (card in DRIVEN)


LOSSES = [2.0, 1.5, 1.45, 1.42, 1.4, 1.6, 1.3, 1.6, 1.3, 1.5, float("nan"), *[1.3] * 30]


@driven
@pytest.mark.parametrize("at", [0, 1, 4, 9, 11, 25])
def test_a_driven_one_goes_on_from_its_stored_state_as_if_never_stopped(card: Card, at: int) -> None:
    whole, cut = (card.build({}, total_steps=500, steps_per_epoch=5) for _ in range(2))
    changes = []
    for epoch, loss in enumerate(LOSSES, 1):
        ours, theirs = (rate.observe(5 * epoch, train_loss=loss, val_loss=loss) for rate in (whole, cut))
        assert ours == theirs
        changes += [ours] if ours is not None else []
        if epoch == at:
            stored = json.loads(json.dumps(cut.state_dict()))
            cut = card.build({}, total_steps=500, steps_per_epoch=5)
            cut.load_state_dict(stored)
        assert whole(5 * epoch) == cut(5 * epoch) > 0
    assert changes
    assert all(change.before != change.after and "/loss " in change.reason for change in changes)


@driven
def test_a_driven_ones_state_is_a_copy_that_later_losses_do_not_move(card: Card) -> None:
    rate = card.build({}, total_steps=500, steps_per_epoch=5)
    rate.observe(5, train_loss=2.0)
    kept = rate.state_dict()
    before = json.dumps(kept)
    for epoch, loss in enumerate(LOSSES, 2):
        rate.observe(5 * epoch, train_loss=loss)
    assert json.dumps(kept) == before


@driven
def test_losses_during_its_warm_up_do_not_count(card: Card) -> None:
    rate = card.build({"warmup": 20}, total_steps=500, steps_per_epoch=5)
    assert [rate.observe(5 * epoch, train_loss=1.0 + epoch) for epoch in range(1, 20)] == [None] * 19
    assert rate(99) == rate(100) == 1.0
