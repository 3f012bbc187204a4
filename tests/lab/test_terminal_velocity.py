"""Claim 12: velocities under a constant gradient against the recurrence, and judgement of others."""

import pytest

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.terminal_velocity import ARMS, PHYSICAL, judge, measure, velocities


@pytest.mark.parametrize("name", ["momentum 0", "momentum 0.9"])
def test_velocities_are_those_of_the_recurrence(name: str) -> None:
    speed, wanted = 0.0, []
    for _ in range(500):
        speed = PHYSICAL[name] * speed + 1
        wanted.append(speed)
    found = measure(ARMS[name], 0, True)
    assert list(found["velocity"]) == pytest.approx(wanted, rel=1e-9)  # type: ignore[arg-type]
    assert velocities(PHYSICAL[name]) == pytest.approx(wanted, rel=1e-12)
    assert found["sideways"] == 0


def test_one_that_is_slower_is_judged_so() -> None:
    exact = {name: 1 / (1 - PHYSICAL[name]) if name in PHYSICAL else 1.0 for name in ARMS}
    exact["Nesterov, momentum 0.9"] = 10.0
    cells: dict[str, list[Values]] = {
        name: [{"terminal": speed, "velocity": velocities(PHYSICAL.get(name, 0.0)).tolist()}]
        for name, speed in exact.items()
    }
    assert all(check.holds for check in judge(Table(cells)))
    cells["momentum 0.99"] = [{**cells["momentum 0.99"][0], "terminal": 99.9}]
    failing = [check.claim for check in judge(Table(cells)) if not check.holds]
    assert failing == ["momentum 0.99: terminal velocity"]
