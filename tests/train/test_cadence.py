"""When the probes look, and that they stay within their share of a run's time."""

import math

import pytest

from trainwell.train.cadence import MOST_BETWEEN, Work, choose_interval, cost_of_look, count_looks, is_looked_at


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 8, 9, 100, 129, 1000])
@pytest.mark.parametrize("every", [1, 2, 3, 6, 7, 8, 64, 128, 1000])
def test_looks_are_counted_as_they_are_taken(steps: int, every: int) -> None:
    assert count_looks(steps, every) == sum(is_looked_at(step, every) for step in range(steps))


@pytest.mark.parametrize("cost", [0.05, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("budget", [0.03, 0.01, 0.2])
@pytest.mark.parametrize("steps", [1, 20, 300, 1_000, 20_000, 1_000_000])
def test_all_looks_of_a_run_stay_within_the_budget(cost: float, budget: float, steps: int) -> None:
    """The early ones count too; where they alone are too many, no other is taken."""
    every = choose_interval(cost, steps=steps, budget=budget).value
    assert isinstance(every, int)
    assert every >= 1
    first = count_looks(steps, steps)
    if cost * first <= budget * steps:
        assert cost * count_looks(steps, every) <= budget * steps * 1.001 + cost
    else:
        assert count_looks(steps, every) == first


def test_a_short_run_of_a_large_network_is_looked_at_evenly() -> None:
    every = choose_interval(0.05, steps=300, budget=0.03).value
    assert 300 / every >= 20


def test_a_long_run_is_looked_at_as_often_as_losses_are_drained() -> None:
    assert choose_interval(0.05, steps=1_000_000, budget=0.03).value == MOST_BETWEEN


def test_without_a_budget_or_without_probes_there_is_an_interval_too() -> None:
    assert choose_interval(1.0, steps=50, budget=0.0).value == 50
    assert choose_interval(0.0, steps=50, budget=0.03).reason == "there is nothing to look at"
    assert cost_of_look([], Work(1e6, 3, 1_000, 1, "cpu")) == 0


def test_fixed_work_counts_for_more_in_a_small_network() -> None:
    traits = [{"cost": 0.2, "layer_seconds": 3e-4}, {"cost": 0.1}]
    small, large = (cost_of_look(traits, Work(madds, 20, 300_000, 2, "cpu")) for madds in (1e5, 1e11))
    assert small > 2
    assert math.isclose(large, 0.3, rel_tol=0.05)
    assert cost_of_look(traits, Work(1e9, 20, 300_000, 2, "cuda")) > cost_of_look(
        traits, Work(1e9, 20, 300_000, 2, "cpu")
    )


def test_passes_over_the_weights_count_where_these_are_many_and_samples_few() -> None:
    traits = [{"cost": 0.0, "weight_passes": 8}]
    many, few = (cost_of_look(traits, Work(weights * 1e1, 3, weights, 2, "cpu")) for weights in (10**8, 10**3))
    assert few < 0.01 < 0.5 < many < 1


def test_a_probe_that_tells_no_cost_is_taken_to_cost_a_step() -> None:
    assert cost_of_look([{}], Work(1e6, 3, 1_000, 1, "cpu")) == 1.0
