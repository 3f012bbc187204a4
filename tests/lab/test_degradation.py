"""The judgement of errors by depth that are known, and the pictures."""

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.degradation import ARMS, DEPTHS, figures, judge

PLAIN = {8: 0.2, 20: 0.3, 32: 0.5}
RESIDUAL = {8: 0.18, 20: 0.15, 32: 0.12}


def table(plain: dict[int, float], residual: dict[int, float]) -> Table:
    errors = {"plain": plain, "residual": residual}
    return Table(
        {
            arm: [
                {
                    "training error": errors[its["kind"]][its["depth"]] + 0.001 * seed,
                    "held-out error": error,
                    "loss": [],
                }
                for seed in range(3)
                for error in [0.3 + errors[its["kind"]][its["depth"]]]
            ]
            for arm, its in ARMS.items()
        }
    )


def failing(plain: dict[int, float], residual: dict[int, float]) -> list[str]:
    return [check.claim for check in judge(table(plain, residual)) if not check.holds]


def test_degradation_and_its_cure_are_judged_as_they_are() -> None:
    assert failing(PLAIN, RESIDUAL) == []
    assert len(failing({**PLAIN, 20: 0.19}, RESIDUAL)) == 2, "one deeper net that is better"
    assert len(failing(PLAIN, {**RESIDUAL, 32: 0.2})) == 2, "residual nets that lose a little do not gain"
    assert len(failing(PLAIN, {**RESIDUAL, 32: 0.4})) == 3, "and that lose much degrade as well"
    assert len(failing({8: 0.2, 20: 0.14, 32: 0.11}, RESIDUAL)) == 4


def test_every_arm_is_drawn() -> None:
    by_depth, on_the_way = figures(table(PLAIN, RESIDUAL))
    assert len([trace for trace in by_depth.data if trace.showlegend]) == 2
    assert len(on_the_way.data) == len(ARMS) == 2 * len(DEPTHS)
