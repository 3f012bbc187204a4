"""What ten layers give at the start against a pass by hand, and the judgement of races that are known."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.data_dependent_start import (
    ARMS,
    DEEP_LSUV,
    DEEP_WITHIN,
    GAUSSIAN,
    HE,
    LOOKS,
    LSUV,
    SHARE,
    START,
    WITHIN,
    judge,
    measure,
    outputs_of,
)


def test_outputs_are_those_of_each_layer_before_its_activation() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).double()
    inputs = torch.randn(4, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second = outputs_of(network, inputs)
    weight, bias = (parameter.detach() for parameter in network[0].parameters())
    by_hand = torch.stack(
        [
            (inputs[:, :, y : y + 2, x : x + 2].unsqueeze(1) * weight).sum(dim=(2, 3, 4)) + bias
            for y in range(2)
            for x in range(2)
        ],
        dim=2,
    ).reshape(4, 2, 2, 2)
    torch.testing.assert_close(first, by_hand)
    torch.testing.assert_close(second, network[3](torch.relu(by_hand).flatten(1)).detach())


def test_both_starts_leave_ten_layers_as_they_promise() -> None:
    lsuv, within = (measure(ARMS[arm], 0, True) for arm in (DEEP_LSUV, DEEP_WITHIN))
    assert len(np.atleast_1d(lsuv["variance"])) == 10
    assert np.abs(np.array(lsuv["variance"]) - 1).max() < 0.1
    assert np.max(within["worst mean of a channel"]) < 1e-10
    assert np.max(within["worst variance of a channel"]) < 1e-10


@pytest.mark.parametrize(("start", "share"), [(HE, 1.0), (GAUSSIAN, SHARE)])
def test_random_weights_have_the_deviation_that_is_said(start: str, share: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(200, 400))
    START[start](network, torch.zeros(2, 200))
    assert network[0].weight.std().item() == pytest.approx(share * (2 / 200) ** 0.5, rel=0.02)  # 80,000 draws: 8 sigma
    assert not network[0].bias.any()


def test_a_race_that_is_not_won_or_not_caught_up_is_judged_so() -> None:
    def curve(early: float, late: float) -> list[Values]:
        accuracies = [early] * (LOOKS // 2) + [late] * (LOOKS // 2)
        return [{"accuracy": accuracies, "loss": [1 - accuracy for accuracy in accuracies]}] * 3

    def holds(lsuv: Sequence[Values], within: Sequence[Values]) -> list[bool]:
        deep = {"variance": [1.05] * 10, "worst mean of a channel": [0.0], "worst variance of a channel": [0.1]}
        random, start = curve(0.2, 0.4), [deep] * 3
        arms = {GAUSSIAN: random, HE: random, LSUV: lsuv, WITHIN: within, DEEP_LSUV: start, DEEP_WITHIN: start}
        return [check.holds for check in judge(Table(arms))]

    assert holds(curve(0.3, 0.405), curve(0.1, 0.3)) == [True, True, False, True, True, True, False, True, True]
    assert holds(curve(0.3, 0.43), curve(0.3, 0.47))[3:] == [True, False, True, True, False, False]
