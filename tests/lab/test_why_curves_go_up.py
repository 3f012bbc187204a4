"""The three questions on networks whose answer is known, and the judgement of their answers."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.why_curves_go_up import (
    ARMS,
    FAULT,
    HEALTHY,
    LOSS,
    NOISE,
    RATE,
    WRONG,
    Backwards,
    gradient_error,
    judge,
    measure,
    reason,
    without_its_minus,
)
from trainwell.lab.plain_loop import Samples


def few() -> Samples:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (40,), generator=generator)
    return Samples(inputs, labels, inputs, labels)


def test_a_right_gradient_is_right_and_a_wrong_one_is_not() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)]
    right, wrong = nn.Sequential(*layers).double(), nn.Sequential(*layers, Backwards()).double()
    before = [parameter.clone() for parameter in right.parameters()]
    assert gradient_error(right, few(), cross_entropy, 0) < 1e-5
    assert gradient_error(right, few(), without_its_minus, 0) < 1e-5
    assert gradient_error(wrong, few(), cross_entropy, 0) == pytest.approx(2, abs=1e-4)
    for now, then in zip(right.parameters(), before, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=1e-12)


def test_the_first_question_that_is_answered_with_no_gives_the_reason() -> None:
    assert reason(2 * WRONG, -1.0, -1.0) == FAULT
    assert reason(0.0, 0.0, -1.0) == LOSS
    assert reason(0.0, 1.0, 0.0) == RATE
    assert reason(0.0, 1.0, 1.0) == NOISE


def test_a_fault_has_the_curve_of_a_wrong_loss_and_another_reason() -> None:
    fault, loss = (measure(ARMS[arm], 0, True) for arm in (FAULT, LOSS))
    assert fault["curve"] == loss["curve"]
    assert np.max(fault["gradient error"]) > WRONG > np.max(loss["gradient error"])


def test_a_reason_that_is_not_found_is_judged_so() -> None:
    up, down, saw = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [3.0, 3.5, 2.0, 2.5, 1.0]

    def run(curve: list[float], error: float, slowly: float, fell: float) -> Values:
        answers = {"gradient error": error, "cost fell slowly": slowly, "cost fell": fell}
        return {"curve": curve, "noise": [1.0, 0.5], **answers}

    cells = {
        HEALTHY: run(down, 0.0, 1.0, 1.0),
        RATE: run(up, 0.0, 1.0, -1.0),
        FAULT: run(up, 1.0, -1.0, -1.0),
        LOSS: run(up, 0.0, -1.0, -1.0),
        NOISE: run(saw, 0.0, 1.0, 1.0),
    }

    def holds(**changes: Values) -> list[bool]:
        return [check.holds for check in judge(Table({arm: [changes.get(arm, row)] * 2 for arm, row in cells.items()}))]

    assert holds() == [True] * 12
    healthy_that_rises = holds(**{HEALTHY: run(saw, 0.0, 1.0, 1.0)})
    assert healthy_that_rises[:2] == [False, False]
    assert holds(**{RATE: run(up, 0.0, 1.0, 1.0)})[2:4] == [True, False]
    assert holds(**{NOISE: run(down, 0.0, 1.0, 1.0)})[8] is False
