"""Rates that follow the losses: against torch's ReduceLROnPlateau, Keras' callback written out, and cases by hand."""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from trainwell.regularization import EarlyStopping
from trainwell.schedules import Driven, bold_driver, plateau, warm_up


def losses(seed: int, count: int = 120) -> list[float]:
    """A loss that falls, stalls and wanders."""
    generator = np.random.default_rng(seed)
    fall = np.exp(-np.arange(count) / generator.uniform(5, 40))
    return (0.2 + fall + 0.02 * generator.standard_normal(count)).tolist()


def levels(rate: Driven, values: Iterable[float]) -> list[float]:
    """The multiplier behind each epoch of 10 steps."""
    found = []
    for epoch, value in enumerate(values, 1):
        rate.observe(10 * epoch, train_loss=value)
        found.append(rate(10 * epoch))
    return found


def torchs(values: Sequence[float], **options: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, eps=0, **options)  # type: ignore[arg-type]
    found = []
    for value in values:
        optimizer.step()
        scheduler.step(value)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def keras(values: Sequence[float], *, factor: float, patience: int, cooldown: int) -> list[float]:
    """tf.keras.callbacks.ReduceLROnPlateau.on_epoch_end, mode min, with min_delta 0."""
    best, wait, resting, lr, found = math.inf, 0, 0, 1.0, []
    for value in values:
        if resting > 0:
            resting, wait = resting - 1, 0
        if value < best:
            best, wait = value, 0
        elif not resting > 0:
            wait += 1
            if wait >= patience:
                lr, resting, wait = lr * factor, cooldown, 0
        found.append(lr)
    return found


OPTIONS = [(3, 0.1, 0), (1, 0.5, 0), (2, 0.5, 3), (5, 0.3, 1)]


@pytest.mark.parametrize(("patience", "factor", "cooldown"), OPTIONS)
@pytest.mark.parametrize("seed", range(5))
def test_plateau_is_torchs_with_one_less_patience(patience: int, factor: float, cooldown: int, seed: int) -> None:
    values = losses(seed)
    values[17] = math.nan
    ours = levels(plateau(1200, 10, patience=patience, factor=factor, cooldown=cooldown), values)
    known = torchs(values, patience=patience - 1, factor=factor, cooldown=cooldown, threshold=1e-4)
    assert ours == pytest.approx(known)
    assert ours[-1] < 1


@pytest.mark.parametrize(("patience", "factor"), [(3, 0.1), (1, 0.5), (4, 0.7)])
@pytest.mark.parametrize("seed", range(3))
def test_without_cooldown_plateau_counts_as_keras_and_early_stopping_do(
    patience: int, factor: float, seed: int
) -> None:
    values = losses(seed)
    ours = levels(plateau(1200, 10, patience=patience, factor=factor, threshold=0), values)
    assert ours == pytest.approx(keras(values, factor=factor, patience=patience, cooldown=0))
    watch = EarlyStopping(patience=patience)
    first = next(epoch for epoch, value in enumerate(values) if watch.update(value) is False and watch.is_exhausted)
    assert next(epoch for epoch, level in enumerate(ours) if level < 1) == first


def test_with_the_same_patience_torch_acts_one_epoch_later() -> None:
    values = [1.0, *[1.1] * 9]
    ours, known = levels(plateau(100, 10, patience=3), values), torchs(values, patience=3)
    assert ours.index(0.1) == 3
    assert known.index(0.1) == 4


def test_plateau_only_lowers_and_not_below_its_lowest() -> None:
    found = levels(plateau(1000, 10, patience=1, factor=0.5, lowest=0.2), [1.0] * 20)
    assert found[:5] == [1.0, 0.5, 0.25, 0.2, 0.2]
    assert min(found) == 0.2
    down = levels(plateau(1000, 10, patience=2), losses(3))
    assert all(after <= before for before, after in itertools.pairwise(down))


def test_it_watches_val_where_there_is_one_and_says_which() -> None:
    rate, blind, other = plateau(100, 10, patience=1), plateau(100, 10, patience=1), bold_driver(100, 10)
    for epoch in (1, 2):
        change = rate.observe(10 * epoch, train_loss=1.0 / epoch, val_loss=1.0)
        without = blind.observe(10 * epoch, train_loss=1.0)
        trained = other.observe(10 * epoch, train_loss=1.0 * epoch, val_loss=1.0 / epoch)
    assert change is not None
    assert change.reason == "val/loss was not 0.01 % below 1 for an epoch"
    assert without is not None
    assert without.reason.startswith("train/loss was not")
    assert trained is not None
    assert trained.reason == "train/loss rose by 1e+02 %, from 1 to 2"


CASES = {
    "slow and steady": ([1.0, 0.97, 0.94, 0.91], 1.05, "falls slowly and steadily, by 3 % an epoch over 3 epochs"),
    "fast": ([1.0, 0.8, 0.6, 0.4], 1.0, ""),
    "one rise": ([1.0, 0.97, 1.02], 0.5, "rose by 5 %, from 0.97 to 1.02"),
    "up and down": ([1.0, 0.9, 0.91, 0.985], 0.5, "rose by 7.5 %, from 0.91 to 0.985"),
    "fluctuates": ([1.0, 1.015, 0.99, 1.005], 0.5, "goes up and down by 1.8 % an epoch over 3 epochs and gets nowhere"),
    "stalls": ([1.0, 0.9998, 0.9997, 0.9996], 0.5, "stalls: it fell by 0.04 % over 3 epochs"),
    "creeps up": ([1.0, 1.005, 1.01, 1.015], 0.5, "stalls: it fell by 0 % over 3 epochs"),
    "falls, but not in each": ([1.0, 0.95, 0.951, 0.9], 1.0, ""),
    "NaN": ([1.0, math.nan], 0.5, "is nan"),
    "too short to judge": ([1.0, 0.97, 0.94], 1.0, ""),
}


@pytest.mark.parametrize("name", CASES)
def test_the_bold_driver_does_what_it_says(name: str) -> None:
    values, level, words = CASES[name]
    rate = bold_driver(1000, 10)
    changes = [rate.observe(10 * epoch, train_loss=value) for epoch, value in enumerate(values, 1)]
    assert rate(999) == level
    assert all(change is None for change in changes[:-1])
    assert (changes[-1].reason if changes[-1] else "") == (f"train/loss {words}" if words else "")


def test_the_bold_driver_stays_between_its_bounds() -> None:
    steady = [0.99**epoch for epoch in range(200)]
    assert max(levels(bold_driver(9999, 10, highest=2.0), steady)) == 2.0
    assert min(levels(bold_driver(9999, 10, lowest=0.1), [1.0] * 200)) == 0.1


def descend(lr: float, count: int = 300) -> float:
    """Gradient descent on a bowl whose curvatures are 1 and 20, an epoch a step, driven or not; its last loss."""
    rate, x, curvature = bold_driver(count, 1, slow=0.9), np.array([1.0, 1.0]), np.array([1.0, 20.0])
    for step in range(count):
        x = x - lr * rate(step) * curvature * x
        rate.observe(step + 1, train_loss=float(0.5 * curvature @ x**2))
    return float(0.5 * curvature @ x**2)


def test_the_bold_driver_cures_a_rate_that_is_too_low_or_too_high_on_a_bowl() -> None:
    """The largest stable rate is 2 / 20; a hundredth of it is too low, twice it explodes by itself."""
    slow = 0.5 * (1 - 0.001) ** 600  # what the flat direction keeps at the rate of 0.001
    assert descend(0.001) < 0.02 * slow
    assert descend(0.2) < 1e-3


def test_a_warm_up_in_front_of_a_driven_rate_keeps_it_driven() -> None:
    rate = warm_up(100, 10, then="plateau:patience=1", warmup=2, form="constant")
    assert isinstance(rate, Driven)
    assert [rate(step) for step in (0, 19, 20)] == [0.1, 0.1, 1.0]
    assert [rate.observe(10 * epoch, train_loss=1.0) is not None for epoch in (1, 2, 3, 4)] == [
        False,
        False,
        False,  # the first epoch behind the warm-up is the first to be judged
        True,
    ]
    again = warm_up(100, 10, then="plateau:patience=1", warmup=2, form="constant")
    assert isinstance(again, Driven)
    again.load_state_dict(rate.state_dict())
    assert again(50) == rate(50) == pytest.approx(0.1)


def test_losses_of_the_warm_up_do_not_count() -> None:
    rate = plateau(100, 10, patience=1, warmup=1)
    assert rate.observe(10, train_loss=9.0, val_loss=0.1) is None  # as low as never again, and not remembered
    assert rate.observe(20, train_loss=9.0, val_loss=0.5) is None
    assert rate.observe(30, train_loss=9.0, val_loss=0.5) is not None


def test_alone_it_drives_torchs_lambda_lr_in_a_plain_loop() -> None:
    weight = torch.tensor([4.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.05)  # on x^2 / 2 * 2 it goes up and down and explodes
    rate = bold_driver(40, 1)
    scheduler = lr_scheduler.LambdaLR(optimizer, rate)
    for step in range(40):
        loss = weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.observe(step + 1, train_loss=loss.item())
        scheduler.step()
    assert rate(40) < 1
    assert weight.square().item() < 1e-4
