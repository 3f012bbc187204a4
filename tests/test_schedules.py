"""Schedules: against torch's schedulers at every step, and exact at every boundary."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler

from trainwell.core.shelves import schedules
from trainwell.errors import OptionInvalid
from trainwell.schedules import constant, cosine, one_cycle, steps

TOTAL, EPOCH = 60, 6


def theirs(make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], count: int = TOTAL) -> list[float]:
    """The rate that torch's scheduler sets for each step of a run with lr 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = make(optimizer), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls a deprecated form of its own
        for _ in range(count):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


def ours(multiplier: Callable[[int], float], count: int = TOTAL) -> list[float]:
    return [multiplier(step) for step in range(count)]


def test_warm_up_is_torchs_linear_lr_from_one_over_w() -> None:
    known = theirs(lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=1 / 9, total_iters=8))
    assert ours(constant(TOTAL, EPOCH, warmup=1.5)) == pytest.approx(known)


def test_the_first_step_moves_by_lr_over_w_and_step_w_minus_1_by_lr() -> None:
    for build in (constant, steps, cosine):
        multiplier = build(TOTAL, EPOCH, warmup=2)
        assert [multiplier(0), multiplier(5), multiplier(11), multiplier(12)] == pytest.approx([1 / 12, 0.5, 1, 1])


def test_cosine_is_torchs_annealing() -> None:
    known = theirs(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, TOTAL, eta_min=0.1))
    assert ours(cosine(TOTAL, EPOCH, final=0.1)) == pytest.approx(known)


def test_cosine_after_warm_up_is_torchs_two_schedulers_in_sequence() -> None:
    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / 12, total_iters=11)
        fall = lr_scheduler.CosineAnnealingLR(optimizer, TOTAL - 12)
        return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[12])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours(cosine(TOTAL, EPOCH, warmup=2)) == pytest.approx(theirs(make))


def test_cosine_is_halfway_at_half_time_and_final_after_the_end() -> None:
    multiplier = cosine(100, 10, final=0.2, warmup=2)
    assert [multiplier(step) for step in (20, 60, 100, 1000)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert multiplier(99) > 0.2


def test_steps_are_torchs_multi_step() -> None:
    known = theirs(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [30, 45], gamma=0.1))
    assert ours(steps(TOTAL, EPOCH)) == pytest.approx(known)


def test_milestones_count_from_the_start_of_the_run_and_are_rounded_to_the_nearest_step() -> None:
    multiplier = steps(100, 10, milestones=(0.29, 0.58), gamma=0.5, warmup=1)  # 0.29 * 100 is 28.999999999999996
    assert [multiplier(step) for step in (28, 29, 57, 58)] == [1.0, 0.5, 0.5, 0.25]


def test_one_cycle_is_torchs() -> None:
    for rise, options in ((18, {}), (12, {"warmup": 2.0, "div_factor": 10.0, "final_div_factor": 100.0})):
        known = theirs(
            lambda optimizer, rise=rise, options=options: lr_scheduler.OneCycleLR(
                optimizer,
                1.0,
                total_steps=TOTAL,
                pct_start=rise / TOTAL,
                cycle_momentum=False,
                div_factor=options.get("div_factor", 25.0),
                final_div_factor=options.get("final_div_factor", 1e4),
            ),
            TOTAL - 1,
        )
        assert ours(one_cycle(TOTAL, EPOCH, **options), TOTAL - 1) == pytest.approx(known)


def test_one_cycle_begins_peaks_and_ends_where_it_says() -> None:
    multiplier = one_cycle(100, 10, warmup=3, div_factor=20, final_div_factor=50)
    assert [multiplier(step) for step in (0, 29, 99, 500)] == pytest.approx([1 / 20, 1.0, 1 / 1000, 1 / 1000])
    assert max(range(100), key=multiplier) == 29


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle", "steps"])
def test_warm_up_as_long_as_the_run_is_refused_with_the_numbers(name: str) -> None:
    words = rf"{name}:warmup of 5 epochs is 50 steps, and the whole run has 50: warm up for less"
    with pytest.raises(OptionInvalid, match=words):
        schedules.build(name, {"warmup": 5}, total_steps=50, steps_per_epoch=10)


def test_milestones_out_of_order_are_refused() -> None:
    with pytest.raises(OptionInvalid, match=r"steps:milestones must grow, .* got \[0.75, 0.5\]: write them in order"):
        steps(10, 2, milestones=(0.75, 0.5))


def test_milestones_outside_the_run_are_refused() -> None:
    with pytest.raises(OptionInvalid, match=r"steps:milestones must be a list of numbers > 0 and < 1, got \[1.5\]"):
        schedules.build("steps", {"milestones": [1.5]}, total_steps=10, steps_per_epoch=2)
