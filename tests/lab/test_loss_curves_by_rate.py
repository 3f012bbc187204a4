"""The judgement of curves that are known."""

import math

import numpy as np

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.loss_curves_by_rate import ARMS, GONE, LOOKS, figures, judge

ENDS = {"1e-06": 2.302, "1e-05": 2.25, "0.0001": 1.9, "0.001": 1.4, "0.002": 1.6}


def curve(arm: str, ends: dict[str, float], early: float) -> Values:
    explodes = arm not in ends
    start = math.log(10)
    costs = np.full(LOOKS, GONE) if explodes else np.linspace(start, ends[arm], LOOKS)
    if not explodes:
        costs[: LOOKS // 10] = early - 0.1 * (arm == "0.002") - (start - ends[arm]) * 1e-3
        costs[-LOOKS // 10 :] = ends[arm]
    return {
        "step": list(range(LOOKS)),
        "cost": costs.tolist(),
        "first cost": start,
        "finite steps": 3.0 if explodes else 1000.0,
        "share of finite steps": 0.003 if explodes else 1.0,
        "accuracy": 0.1,
    }


def holds(ends: dict[str, float]) -> list[bool]:
    return [check.holds for check in judge(Table({arm: [curve(arm, ends, 2.2)] * 2 for arm in ARMS}))]


def test_curves_are_judged_by_their_ends() -> None:
    assert holds(ENDS) == [True] * 6
    assert holds({**ENDS, "1e-06": 2.27}) == [False, True, True, True, True, True]
    assert holds({**ENDS, "1e-05": 1.8}) == [True, True, False, True, True, True]
    assert holds({**ENDS, "0.002": 1.3}) == [True, True, True, False, False, True]
    assert holds({**ENDS, "0.01": 1.9}) == [True, True, True, True, True, False]


def test_every_rate_is_drawn() -> None:
    (shape,) = figures(Table({arm: [curve(arm, ENDS, 2.2)] for arm in ARMS}))
    assert [trace.name for trace in shape.data if trace.name] == list(ARMS)
