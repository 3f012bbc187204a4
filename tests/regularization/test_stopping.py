"""Early stopping: when it stops, what is better, and that its state goes through JSON."""

import json
import math

import pytest

from trainwell.errors import OptionInvalid
from trainwell.regularization import EarlyStopping


def epochs_until_stopped(watch: EarlyStopping, values: list[float]) -> int:
    for epoch, value in enumerate(values, 1):
        watch.update(value)
        if watch.is_exhausted:
            return epoch
    return 0


@pytest.mark.parametrize(("patience", "stops_after"), [(1, 3), (2, 4), (3, 7), (4, 8)])
def test_it_stops_after_that_many_epochs_in_a_row_without_improvement(patience: int, stops_after: int) -> None:
    losses = [1.0, 0.8, 0.9, 0.8, 0.7, 0.7, 0.8, 0.9] if patience < 3 else [1.0, 0.8, 0.9, 0.7, 0.7, 0.8, 0.9, 0.9]
    assert epochs_until_stopped(EarlyStopping(patience=patience), losses) == stops_after


def test_an_improvement_must_beat_the_best_by_more_than_min_delta() -> None:
    watch = EarlyStopping(patience=9, min_delta=0.25)
    assert [watch.update(value) for value in (1.0, 0.75, 0.5, 0.25, 0.2)] == [True, False, True, False, True]


def test_for_an_accuracy_larger_is_better() -> None:
    watch = EarlyStopping(patience=2, mode="max")
    assert [watch.update(value) for value in (0.5, 0.6, 0.6, 0.7)] == [True, True, False, True]
    assert watch.best == 0.7


def test_nan_is_never_the_best_also_not_at_first() -> None:
    watch = EarlyStopping(patience=2)
    assert [watch.update(value) for value in (math.nan, 5.0, math.nan, 6.0)] == [False, True, False, False]
    assert watch.is_exhausted


def test_its_state_goes_through_json_and_goes_on_alike() -> None:
    values = [1.0, 0.9, 0.95, 0.97, 0.85, 0.9, 0.91, 0.92]
    for cut in range(len(values)):
        first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
        for value in values[:cut]:
            first.update(value)
        second.load_state(json.loads(json.dumps(first.state())))
        for value in values[cut:]:
            assert first.update(value) == second.update(value)
            assert first.is_exhausted == second.is_exhausted


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(OptionInvalid, match="patience must be a whole number >= 1, got 0: leave it out to never stop"):
        EarlyStopping(patience=0)
    with pytest.raises(OptionInvalid, match=r"min_delta must be a number >= 0, got -0\.1"):
        EarlyStopping(patience=1, min_delta=-0.1)
    with pytest.raises(OptionInvalid, match="mode must be one of 'min', 'max', got 'least'"):
        EarlyStopping(patience=1, mode="least")  # type: ignore[arg-type]
