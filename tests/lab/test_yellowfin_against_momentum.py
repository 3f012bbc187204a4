"""The judgement of YellowFin beside a grid of rates that is known."""

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.yellowfin_against_momentum import ARMS, TUNED, best_rate, judge


def run(accuracy: float, steps: float, reached: float = 1.0) -> Values:
    return {"accuracy": accuracy, "steps": steps, "reached": reached, "last rate": 0.1, "last momentum": 0.5}


def table(tuned: Values) -> Table:
    grid = {arm: run(0.5 + 0.05 * place, 900 - 100 * place) for place, arm in enumerate(ARMS) if arm != TUNED}
    return Table({arm: [row] * 2 for arm, row in {**grid, TUNED: tuned}.items()})


def test_the_best_rate_is_that_of_the_highest_accuracy() -> None:
    assert best_rate(table(run(0.9, 200))) == "momentum, 0.3"


def test_close_and_soon_are_judged() -> None:
    def holds(tuned: Values) -> list[bool]:
        return [check.holds for check in judge(table(tuned))]

    assert holds(run(0.845, 390)) == [True, True, True]
    assert holds(run(0.83, 410)) == [False, True, False]
    assert holds(run(0.6, 390, reached=0.0)) == [False, False, False]
