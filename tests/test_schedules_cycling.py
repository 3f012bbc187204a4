"""Rates that rise again: against torch's schedulers, the papers' equations, printed sequences, exact restarts."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch.optim import lr_scheduler

from trainwell.errors import OptionInvalid
from trainwell.schedules import cyclical, snapshot_cycles, warm_restarts

Make = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def theirs(make: Make, count: int, lr: float = 1.0) -> list[float]:
    """The rate that torch's scheduler sets before each of its steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = make(optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_the_printed_sequence_of_warm_restarts() -> None:
    printed = [1, 0.5, 1, 0.853553, 0.5, 0.146447, 1, 0.96194, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.03806, 1]
    multiplier = warm_restarts(30, 1, first=2, growth=2)
    assert [multiplier(step) for step in range(15)] == pytest.approx(printed, abs=5e-7)


def test_the_papers_restarts_are_at_epochs_10_30_70_150() -> None:
    multiplier = warm_restarts(200 * 390, 390, first=10, growth=2)
    for epoch in (0, 10, 30, 70, 150):
        assert multiplier(390 * epoch) == 1.0
        assert epoch == 0 or multiplier(390 * epoch - 1) < 1e-6
    restarts = [step for step in range(1, 200 * 390) if multiplier(step) > multiplier(step - 1)]
    assert restarts == [390 * epoch for epoch in (10, 30, 70, 150)]


@pytest.mark.parametrize("growth", [1, 2, 3, 10])
@pytest.mark.parametrize("first", [1, 2, 7])
def test_warm_restarts_are_torchs_stepped_without_an_argument(first: int, growth: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first, T_mult=growth, eta_min=0.1)

    multiplier = warm_restarts(250, 1, first=first, growth=growth, final=0.1)
    assert [multiplier(step) for step in range(250)] == pytest.approx(theirs(make, 250))


@pytest.mark.parametrize(("growth", "cycle"), [(3, n) for n in range(10)] + [(10, n) for n in range(7)])
@pytest.mark.parametrize("epoch", [1, 7])
def test_every_restart_is_due_where_a_logarithm_misses_it(growth: int, cycle: int, epoch: int) -> None:
    """int(log(x, growth)) is wrong by one for growth 3 at cycle 5 and growth 10 at cycles 3 and 6."""
    start = (growth**cycle - 1) // (growth - 1)  # epochs, of cycles 1, growth, growth^2, ... long
    multiplier = warm_restarts((start + growth**cycle) * epoch + 1, epoch, first=1, growth=growth)
    assert multiplier(start * epoch) == 1.0
    before = multiplier(start * epoch - 1) if start else 0.0
    length = growth ** (cycle - 1) * epoch if cycle else 1
    assert before == pytest.approx((1 + math.cos(math.pi * (length - 1) / length)) / 2 if start else 0.0, abs=1e-15)


@pytest.mark.parametrize("first", ["0.1", "0.3", "0.7", "1.5", "2.35"])
@pytest.mark.parametrize("growth", ["1", "1.5", "2", "3"])
def test_cycles_of_parts_of_epochs_are_equation_5_in_exact_fractions(first: str, growth: str) -> None:
    epoch, total = 10, 400
    multiplier = warm_restarts(total, epoch, first=float(first), growth=float(growth))
    since, length = Fraction(0), Fraction(first) * epoch
    for step in range(total):
        while since >= length:
            since, length = since - length, length * Fraction(growth)
        assert multiplier(step) == pytest.approx((1 + math.cos(math.pi * float(since / length))) / 2, abs=1e-9)
        since += 1


def test_a_cycle_shorter_than_a_step_is_refused() -> None:
    with pytest.raises(
        OptionInvalid, match=r"warm_restarts:first of 0.05 epochs is 0.5 steps: a cycle must last a step"
    ):
        warm_restarts(100, 10, first=0.05)


def test_a_restart_that_is_due_behind_the_last_step_does_not_come() -> None:
    multiplier = warm_restarts(6, 2, first=1, growth=2)  # the next one would begin in step 6
    assert multiplier(6) == multiplier(100) == multiplier(5) < 0.2


@pytest.mark.parametrize(("total", "cycles"), [(30, 3), (31, 3), (100, 6), (7, 7), (5, 9)])
def test_snapshot_cycles_are_equation_2(total: int, cycles: int) -> None:
    length = math.ceil(total / cycles)
    known = [0.5 * (math.cos(math.pi * ((t - 1) % length) / length) + 1) for t in range(1, total + 1)]
    multiplier = snapshot_cycles(total, 4, cycles=cycles)
    assert [multiplier(step) for step in range(total)] == pytest.approx(known, abs=1e-15)


def test_equal_snapshot_cycles_are_warm_restarts_without_growth() -> None:
    snapshots, restarts = snapshot_cycles(300, 10, cycles=6), warm_restarts(300, 10, first=5, growth=1)
    assert [snapshots(step) for step in range(300)] == pytest.approx([restarts(step) for step in range(300)], abs=1e-12)


@pytest.mark.parametrize(
    ("mode", "gamma"), [("triangular", None), ("triangular2", None), ("exp_range", 0.99), ("exp_range", None)]
)
@pytest.mark.parametrize("half", [1, 3])
def test_cyclical_is_torchs_cyclic_lr(mode: str, gamma: float | None, half: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        more = {"gamma": gamma or 0.99994} if mode == "exp_range" else {}
        return lr_scheduler.CyclicLR(
            optimizer, base_lr=0.2, max_lr=1.0, step_size_up=half * 5, mode=mode, cycle_momentum=False, **more
        )  # fmt: skip

    multiplier = cyclical(200, 5, mode=mode, half_cycle=half, lowest=0.2, gamma=gamma)  # type: ignore[arg-type]
    assert [multiplier(step) for step in range(200)] == pytest.approx(theirs(make, 200))


def test_triangles_turn_exactly_at_half_cycles() -> None:
    multiplier = cyclical(1000, 7, half_cycle=1.5, lowest=0.25)  # 10.5 steps up, 10.5 down
    assert [multiplier(step) for step in (0, 21, 42, 210)] == [0.25] * 4
    assert multiplier(10) == multiplier(11) == pytest.approx(0.25 + 0.75 * 10 / 10.5)
    halved = cyclical(1000, 7, mode="triangular2", half_cycle=1, lowest=0.5)
    assert [halved(7 + 14 * cycle) for cycle in range(3)] == [1.0, 0.75, 0.625]


def test_gamma_beside_a_mode_without_one_is_refused() -> None:
    with pytest.raises(OptionInvalid, match=r"cyclical:gamma is for mode=exp_range, and mode is triangular: leave one"):
        cyclical(100, 10, gamma=0.9)
