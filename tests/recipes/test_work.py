"""The work that a run may take: multiply-adds counted by hand, and minutes by a clock that is stopped."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from trainwell.core.choice import Choice
from trainwell.core.recipe import Recipe, training_seconds
from trainwell.data.prepare import Prepared
from trainwell.recipes import work
from trainwell.recipes.work import Work

Prepare = Callable[..., Prepared]
Images = Callable[..., tuple[np.ndarray, np.ndarray]]
MLP = Choice(name="mlp", options={"hidden": [10]})
BATCH = 64


def recipe(**values: object) -> Recipe:
    return Recipe().with_values({"machine.device": "cpu", "batch.size": BATCH, **values})


@pytest.fixture
def data(prepared: Prepare, images: Images) -> Prepared:
    """28 train samples of 12x12 grey pixels in 2 classes."""
    return prepared(images(40, 12, 12, 1))


def test_a_dense_network_is_counted_as_by_hand(data: Prepared) -> None:
    one = (144 * 10 + 10 * 2) * 3 * len(data.stores.train)  # forward, and twice that backward
    assert Work(data, recipe(), lambda: 0.0).epochs(MLP) == pytest.approx(work.MEANT["cpu"].multiply_adds / one)


def test_a_convolution_is_counted_as_by_hand(prepared: Prepare, images: Images) -> None:
    """Of the whitened network on 8x8 pixels: patches, one block at 7x7 and 3x3, one dense layer."""
    data = prepared(images(40, 8, 8, 3))
    whiten, first, second, head = 49 * 24 * 12, 49 * 9 * 24 * 4, 9 * 9 * 4 * 4, 4 * 2
    one = (whiten + first + second + head) * 3 * len(data.stores.train)
    choice = Choice(name="whitened", options={"width": 4})
    assert Work(data, recipe(), lambda: 0.0).epochs(choice) == pytest.approx(work.MEANT["cpu"].multiply_adds / one)


def test_without_minutes_no_clock_is_asked(data: Prepared) -> None:
    def never() -> float:
        raise AssertionError("the rule must not depend on time")

    assert Work(data, recipe(), never).epochs(MLP) > 0


def test_the_time_left_is_filled_at_the_rate_of_the_machine(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million multiply-adds a second, 2 minutes of which 30 seconds are gone."""
    monkeypatch.setattr(Work, "_work_a_second", lambda self, model: 1e6)
    found = Work(data, recipe(**{"length.minutes": 2.0}), lambda: 30.0).epochs(MLP)
    one = (144 * 10 + 10 * 2) * 3 * len(data.stores.train)
    assert found == pytest.approx(training_seconds(2.0, 30.0) * 1e6 / one)


def test_time_that_is_over_holds_what_training_always_has(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of a minute, at a million multiply-adds a second."""
    monkeypatch.setattr(Work, "_work_a_second", lambda self, model: 1e6)
    one = (144 * 10 + 10 * 2) * 3 * len(data.stores.train)
    found = Work(data, recipe(**{"length.minutes": 1.0}), lambda: 61.0).epochs(MLP)
    assert found == pytest.approx(12 * 1e6 / one)


def test_the_machine_is_timed_once(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 3.0, 3.0, 4.0, 4.0, 6.0])  # steps of 3, 1 and 2 seconds: the quickest counts
    monkeypatch.setattr("trainwell.recipes.work.time.perf_counter", lambda: next(ticks))
    asked = Work(data, recipe(**{"length.minutes": 1.0}), lambda: 0.0)
    one = (144 * 10 + 10 * 2) * 3
    rate = one * BATCH / 1.0
    epochs = training_seconds(1.0, 0.0) * rate / (one * len(data.stores.train))
    assert asked.epochs(MLP) == pytest.approx(epochs)
    assert asked.epochs(MLP) == pytest.approx(epochs), "no tick is left"


def test_the_work_is_said(data: Prepared) -> None:
    assert Work(data, recipe(), lambda: 0.0).words == "16 trillion multiply-adds"
    assert Work(data, recipe(**{"machine.device": "cuda:0"}), lambda: 0.0).words == "1,000 trillion multiply-adds"
    assert Work(data, recipe(**{"length.minutes": 2.5}), lambda: 0.0).words == "2.5 minutes"


def test_a_gpu_is_given_more_work_than_two_cores(data: Prepared) -> None:
    """Not the same two minutes of two cores on any device."""
    cpu, cuda = (
        Work(data, recipe(**{"machine.device": device}), lambda: 0.0).epochs(MLP) for device in ("cpu", "cuda")
    )
    assert cuda / cpu == pytest.approx(1e15 / 1.6e13)


@pytest.mark.parametrize(("side", "batch"), [(12, BATCH), (224, 5), (600, 2)])
def test_large_images_do_not_fill_the_memory_when_the_machine_is_timed(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch, side: int, batch: int
) -> None:
    seen: list[int] = []

    class Look(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(len(inputs))
            scores: torch.Tensor = self.head(inputs.mean((1, 2, 3)).unsqueeze(1))
            return scores

    monkeypatch.setattr(Work, "_network", lambda self, choice: Look())
    Work(prepared(images(10, side, side, 1), image_size="keep"), recipe(**{"length.minutes": 1.0}), lambda: 0.0).epochs(
        MLP
    )
    assert seen == [batch] * work.TIMED_STEPS
