"""The printed graph: what is measured against torch's autograd, what is judged against numbers that are off."""

import pytest
import torch

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.chain_rule import ARMS, ELEMENTARY, NEURON, POINT, SUM, WHOLE, judge, measure


@pytest.mark.parametrize("arm", [ELEMENTARY, WHOLE])
def test_the_neuron_has_the_gradients_of_torch(arm: str) -> None:
    leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in NEURON.items()}
    w1, w2, b, x1, x2 = (leaves[name] for name in ("w1", "w2", "b", "x1", "x2"))
    output = torch.sigmoid(w1 * x1 + w2 * x2 + b)
    output.backward()
    values = measure(ARMS[arm], 0, True)
    assert values["f"] == pytest.approx(output.item(), rel=1e-15)
    for name, leaf in leaves.items():
        assert values[f"gradient of {name}"] == pytest.approx(leaf.grad.item(), rel=1e-14)


def test_a_nudge_is_the_function_at_the_nudged_point() -> None:
    values = measure(ARMS[SUM], 0, True)
    for name in POINT:
        moved = {**POINT, name: POINT[name] + 1}
        assert values[f"{name} + 1, true"] == (moved["x"] + moved["y"]) * moved["z"]


def test_a_number_that_is_off_is_judged_so() -> None:
    cells = {arm: [dict(measure(settings, 0, True))] for arm, settings in ARMS.items()}
    assert all(check.holds for check in judge(Table(cells)))
    cells[SUM][0]["gradient of z"] = 3 + 1e-15
    cells[WHOLE][0]["gradient of w1"] = -0.2051
    wrong = [check.claim for check in judge(Table(cells)) if not check.holds]
    assert len(wrong) == 3  # z, w1, and that both neurons agree
