"""The work that a run may take: multiply-adds counted by hand, and minutes by a clock that is stopped."""

from collections.abc import Callable

import numpy as np
import pytest

from trainwell.core.choice import Choice
from trainwell.core.recipe import Recipe
from trainwell.data.prepare import Prepared
from trainwell.recipes import work
from trainwell.recipes.work import Work

Prepare = Callable[..., Prepared]
Images = Callable[..., tuple[np.ndarray, np.ndarray]]
MLP = Choice(name="mlp", options={"hidden": [10]})


def recipe(**values: object) -> Recipe:
    return Recipe().with_values({"machine.device": "cpu", **values})


@pytest.fixture
def data(prepared: Prepare, images: Images) -> Prepared:
    """28 train samples of 12x12 grey pixels in 2 classes."""
    return prepared(images(40, 12, 12, 1))


def test_a_dense_network_is_counted_as_by_hand(data: Prepared) -> None:
    one = (144 * 10 + 10 * 2) * 3 * len(data.stores.train)  # forward, and twice that backward
    assert Work(data, recipe(), lambda: 0.0).epochs(MLP) == pytest.approx(work.DEFAULT_WORK / one)


def test_a_convolution_is_counted_as_by_hand(prepared: Prepare, images: Images) -> None:
    """Of the whitened network on 8x8 pixels: patches, one block at 7x7 and 3x3, one dense layer."""
    data = prepared(images(40, 8, 8, 3))
    whiten, first, second, head = 49 * 24 * 12, 49 * 9 * 24 * 4, 9 * 9 * 4 * 4, 4 * 2
    one = (whiten + first + second + head) * 3 * len(data.stores.train)
    choice = Choice(name="whitened", options={"width": 4})
    assert Work(data, recipe(), lambda: 0.0).epochs(choice) == pytest.approx(work.DEFAULT_WORK / one)


def test_without_minutes_no_clock_is_asked(data: Prepared) -> None:
    def never() -> float:
        raise AssertionError("the rule must not depend on time")

    assert Work(data, recipe(), never).epochs(MLP) > 0


def test_the_time_left_is_filled_at_the_rate_of_the_machine(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million multiply-adds a second, 2 minutes of which 30 seconds are gone."""
    monkeypatch.setattr(Work, "_work_a_second", lambda self, model: 1e6)
    found = Work(data, recipe(**{"length.minutes": 2.0}), lambda: 30.0).epochs(MLP)
    one = (144 * 10 + 10 * 2) * 3 * len(data.stores.train)
    assert found == pytest.approx((120 * work.USED_MINUTES - 30) * 1e6 / one)


def test_time_that_is_over_holds_no_epoch(data: Prepared) -> None:
    assert Work(data, recipe(**{"length.minutes": 1.0}), lambda: 61.0).epochs(MLP) == 0


def test_the_machine_is_timed_once(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 3.0, 3.0, 4.0, 4.0, 6.0])  # steps of 3, 1 and 2 seconds: the quickest counts
    monkeypatch.setattr("trainwell.recipes.work.time.perf_counter", lambda: next(ticks))
    asked = Work(data, recipe(**{"length.minutes": 1.0}), lambda: 0.0)
    one = (144 * 10 + 10 * 2) * 3
    rate = one * work.TIMED_BATCH / 1.0
    epochs = 60 * work.USED_MINUTES * rate / (one * len(data.stores.train))
    assert asked.epochs(MLP) == pytest.approx(epochs)
    assert asked.epochs(MLP) == pytest.approx(epochs), "no tick is left"


def test_the_work_is_said(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "DEFAULT_WORK", 1.6e13)
    assert Work(data, recipe(), lambda: 0.0).words == "16 trillion multiply-adds"
    assert Work(data, recipe(**{"length.minutes": 2.5}), lambda: 0.0).words == "2.5 minutes"
