"""Rates that fall: against torch's schedulers, Keras' and optax' written out, and exact at every boundary."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch.optim import lr_scheduler

from trainwell.errors import OptionInvalid
from trainwell.schedules import (
    constant,
    cosine,
    epoch_decay,
    exponential,
    inverse_time,
    polynomial,
    step_decay,
    steps,
    warm_up,
)

TOTAL, EPOCH = 60, 6
Make = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def theirs(make: Make, count: int) -> list[float]:
    """The rate that torch's scheduler sets before each of its steps, with lr 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(multiplier: Callable[[int], float], count: int = TOTAL, every: int = 1) -> list[float]:
    return [multiplier(step) for step in range(0, count, every)]


def test_epoch_decay_is_torchs_exponential_lr_stepped_once_an_epoch() -> None:
    known = theirs(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9), 10)
    assert ours(epoch_decay(TOTAL, EPOCH, factor=0.9), every=EPOCH) == pytest.approx(known)
    assert ours(epoch_decay(TOTAL, EPOCH, factor=0.9)) == pytest.approx([rate for rate in known for _ in range(EPOCH)])


def test_smooth_epoch_decay_is_torchs_stepped_at_every_step_and_keras_exponential_decay() -> None:
    known = theirs(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9 ** (1 / EPOCH)), TOTAL)
    keras = [0.9 ** (step / EPOCH) for step in range(TOTAL)]  # decay_rate ^ (step / decay_steps)
    assert ours(epoch_decay(TOTAL, EPOCH, factor=0.9, form="smooth")) == pytest.approx(known)
    assert ours(epoch_decay(TOTAL, EPOCH, factor=0.9, form="smooth")) == pytest.approx(keras, rel=1e-15)


def test_exponential_is_e_to_the_minus_gamma_epochs_and_smooth_epoch_decay() -> None:
    multiplier = exponential(TOTAL, EPOCH, gamma=0.3)
    assert [multiplier(step) for step in (0, 3, 6, 15)] == pytest.approx(
        [1, *(math.exp(-x) for x in (0.15, 0.3, 0.75))]
    )
    other = epoch_decay(TOTAL, EPOCH, factor=math.exp(-0.3), form="smooth")
    assert ours(multiplier) == pytest.approx(ours(other))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_step_decay_is_torchs_step_lr(every: int) -> None:
    known = theirs(lambda optimizer: lr_scheduler.StepLR(optimizer, every * EPOCH, gamma=0.5), TOTAL)
    assert ours(step_decay(TOTAL, EPOCH, every=every)) == known


@pytest.mark.parametrize("every", ["0.1", "0.7", "1.5", "2.3", "0.05"])
@pytest.mark.parametrize("epoch", [1, 7, 10, 30])
def test_a_drop_after_parts_of_an_epoch_falls_on_the_nearest_step(every: str, epoch: int) -> None:
    """Counted with exact fractions, one drop after another."""
    total, period = 20 * epoch, Fraction(every) * epoch
    drops = [math.floor(n * period + Fraction(1, 2)) for n in range(1, int(total / period) + 2)]
    multiplier = step_decay(total, epoch, every=float(every), factor=0.9)
    known = [0.9 ** sum(drop <= step for drop in drops) for step in range(total)]
    assert ours(multiplier, total) == known


def test_inverse_time_is_keras_and_optax_form() -> None:
    multiplier = inverse_time(TOTAL, EPOCH, k=0.5)
    assert ours(multiplier) == pytest.approx([1 / (1 + 0.5 * step / EPOCH) for step in range(TOTAL)], rel=1e-15)
    assert multiplier(2 * EPOCH) == 0.5


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_polynomial_is_torchs(power: float) -> None:
    known = theirs(lambda optimizer: lr_scheduler.PolynomialLR(optimizer, TOTAL, power=power), TOTAL)
    assert ours(polynomial(TOTAL, EPOCH, power=power)) == pytest.approx(known)


def test_a_line_to_a_final_share_is_torchs_linear_lr() -> None:
    known = theirs(lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=TOTAL), TOTAL)
    multiplier = polynomial(TOTAL, EPOCH, final=0.2)
    assert ours(multiplier) == pytest.approx(known)
    assert multiplier(TOTAL) == multiplier(1000) == pytest.approx(0.2)


def test_epochs_count_from_the_end_of_warm_up() -> None:
    build: Callable[..., Callable[[int], float]]
    for build in (exponential, epoch_decay, step_decay, inverse_time):
        plain, late = build(TOTAL - 9, EPOCH), build(TOTAL, EPOCH, warmup=1.5)
        assert ours(late)[:9] == pytest.approx([(step + 1) / 9 for step in range(9)])
        assert ours(late)[9:] == ours(plain, TOTAL - 9)


def test_after_the_end_the_rate_of_the_last_step_stays() -> None:
    multiplier = epoch_decay(12, 6, factor=0.5)  # the third epoch would begin at step 12
    assert [multiplier(step) for step in (11, 12, 500)] == [0.5] * 3


def test_a_gradual_warm_up_without_a_start_is_the_option_of_the_others() -> None:
    for then, build in (("constant", constant), ("cosine", cosine), ("epoch_decay", epoch_decay)):
        assert ours(warm_up(TOTAL, EPOCH, then=then, warmup=1.5)) == ours(build(TOTAL, EPOCH, warmup=1.5))


def test_a_gradual_warm_up_from_one_eighth_is_that_of_eight_workers() -> None:
    """Goyal et al. 2017, section 2.2: from lr/k in equal steps to lr."""
    multiplier = warm_up(TOTAL, EPOCH, warmup=5, start=1 / 8)
    known = torch.linspace(1 / 8, 1, 30, dtype=torch.float64).tolist()
    assert ours(multiplier, 30) == pytest.approx(known, rel=1e-14)
    assert [multiplier(0), multiplier(29), multiplier(30)] == [1 / 8, 1.0, 1.0]


def test_a_constant_warm_up_jumps_in_step_w() -> None:
    known = theirs(lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=0.2, total_iters=12), TOTAL)
    assert ours(warm_up(TOTAL, EPOCH, warmup=2, form="constant", start=0.2)) == pytest.approx(known)


def test_what_follows_a_warm_up_sees_a_run_that_begins_behind_it() -> None:
    multiplier = warm_up(TOTAL, EPOCH, then="steps:milestones=[0.5]", warmup=2, form="constant")
    assert ours(multiplier) == [0.1] * 12 + ours(steps(TOTAL - 12, EPOCH, milestones=(0.5,)), TOTAL - 12)
    assert warm_up(TOTAL, EPOCH, then="one_cycle", warmup=2)(12) == 1.0  # its own rise is taken off


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("cosine:warmup=2", "warm_up:then=cosine:warmup=2 rises or warms up by itself, and one rise is enough"),
        ("cyclical", "rises or warms up by itself"),
        ("warm_up:then=cosine", "rises or warms up by itself"),
        ("cosin", "no schedule is called 'cosin': did you mean 'cosine'?"),
        ("cosine:final=2", "cosine:final must be a number >= 0 and <= 1, got 2"),
    ],
)
def test_what_cannot_follow_a_warm_up_is_refused(then: str, words: str) -> None:
    with pytest.raises(OptionInvalid) as caught:
        warm_up(TOTAL, EPOCH, then=then, warmup=2)
    assert words in str(caught.value)
