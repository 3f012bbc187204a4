"""The judgement of runs that explode, or do not."""

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.exploding_cost import GONE, GOOD, TOO_HIGH, judge


def run(costs: list[float], accuracies: list[float]) -> Values:
    finite = costs.index(GONE) if GONE in costs else len(costs)
    return {"cost": costs, "accuracy": accuracies, "finite looks": float(finite), "looks": float(len(costs))}


def holds(exploding: Values, good: Values) -> list[bool]:
    return [check.holds for check in judge(Table({TOO_HIGH: [exploding] * 2, GOOD: [good] * 2}))]


PRINTED = run([2.19, 2.18, 1.94, 1.83, GONE, GONE], [0.308, 0.308, 0.308, 0.308, 0.128, 0.128])
FALLING = run([2.1, 1.9, 1.8, 1.7, 1.6, 1.5], [0.2, 0.3, 0.35, 0.4, 0.42, 0.45])


def test_what_the_course_printed_holds() -> None:
    assert holds(PRINTED, FALLING) == [True] * 4


def test_a_run_that_never_explodes_or_at_once_is_judged_so() -> None:
    assert holds(FALLING, FALLING) == [True, False, False, False]
    at_once = run([GONE] * 6, [0.1] * 6)
    assert holds(at_once, FALLING) == [False, True, False, True]
    assert holds(PRINTED, PRINTED) == [True, True, True, False]
    kept = run([2.19, 2.18, 1.94, 1.83, GONE, GONE], [0.308, 0.308, 0.308, 0.308, 0.3, 0.3])
    assert holds(kept, FALLING) == [True, True, False, True]
