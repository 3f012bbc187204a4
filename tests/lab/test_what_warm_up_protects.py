"""What is frozen stays, and the judgement of accuracies and similarities that are known."""

import torch
from torch import nn

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.what_warm_up_protects import (
    ARMS,
    AT_ONCE,
    HEAD,
    QUICK_STEPS,
    SHARE,
    TRUNK,
    WARMED,
    _train,
    build,
    judge,
)
from trainwell.lab.plain_loop import few_digits


def test_a_frozen_part_stays_bit_for_bit_and_moves_when_it_is_let_go() -> None:
    samples, warm = few_digits(0, count=250), round(SHARE * QUICK_STEPS)
    for arm, kind in ((HEAD, nn.Linear), (TRUNK, (nn.Conv2d, nn.BatchNorm2d))):
        torch.manual_seed(0)
        network = build()
        held = [p for layer in network if isinstance(layer, kind) for p in layer.parameters()]
        moving = [p for p in network.parameters() if all(p is not one for one in held)]
        before = {id(parameter): parameter.detach().clone() for parameter in network.parameters()}
        losses = _train(network, samples, ARMS[arm], 0, QUICK_STEPS)
        for _ in range(warm):
            next(losses)
        assert all(torch.equal(parameter, before[id(parameter)]) for parameter in held)
        assert not any(torch.equal(parameter, before[id(parameter)]) for parameter in moving)
        next(losses)
        assert not any(torch.equal(parameter, before[id(parameter)]) for parameter in held)


def test_what_is_protected_is_judged() -> None:
    def run(accuracy: float, similarity: list[float]) -> Values:
        return {"accuracy": accuracy, "CCA": similarity, "CKA": similarity}

    low, high = [0.5] * 7, [0.5] * 4 + [0.7] * 3

    def holds(warm: float, head: float, trunk: float, after: list[float]) -> list[bool]:
        found = {AT_ONCE: run(0.9, low), WARMED: run(warm, after), HEAD: run(head, low), TRUNK: run(trunk, low)}
        return [check.holds for check in judge(Table({arm: [row] * 3 for arm, row in found.items()}))]

    assert holds(0.95, 0.945, 0.93, high) == [True] * 5
    assert holds(0.9, 0.88, 0.93, low) == [False] * 5
