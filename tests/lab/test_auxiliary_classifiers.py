"""Gradients of the whole loss, auxiliary ones included, against sums of their parts; the judgement of known tables."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.auxiliary_classifiers import (
    ARMS,
    HE,
    KINDS,
    PARTS,
    SKIPS,
    SMALL,
    STARTS,
    WITH,
    WITHOUT,
    build,
    figures,
    gradients,
    judge,
    norm_of,
)


def images() -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, 8, 8, generator=drawn), torch.tensor([0, 3, 5, 9])


def test_the_gradient_at_the_stem_is_that_of_all_three_losses() -> None:
    network, (inputs, labels) = build(KINDS[WITH], "", 0), images()
    network.aux1.dropout.p = network.aux2.dropout.p = 0.0  # type: ignore[union-attr, assignment]
    found = gradients(network, inputs, labels)
    scores = network.train()(inputs)
    total = sum(0.3 * cross_entropy(others, labels) for _, others in network.auxiliary_scores)
    total = total + cross_entropy(scores, labels)
    (weight, bias) = torch.autograd.grad(total, list(network.conv1.parameters()))
    assert found[0] == pytest.approx(float((weight.square().sum() + bias.square().sum()).sqrt()), rel=1e-4)
    assert len(found) == len(PARTS) == 12


def test_networks_differ_in_one_thing_only() -> None:
    """The same weights, but for the auxiliary classifiers' own and what is drawn behind them, which is nothing."""
    without, skips = build(KINDS[WITHOUT], STARTS[HE], 3), build(KINDS[SKIPS], STARTS[HE], 3)
    assert all(torch.equal(one, other) for one, other in zip(without.parameters(), skips.parameters(), strict=True))
    assert not any("aux" in name for name, _ in without.named_parameters())
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in build(KINDS[WITH], STARTS[SMALL], 3).modules())
    small = build(KINDS[WITHOUT], STARTS[SMALL], 3)
    assert float(small.get_submodule("inception5a.branch2.1.conv").weight.detach().std()) == pytest.approx(
        0.01, rel=0.05
    )


def test_very_short_gradients_are_not_taken_for_zero() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[3e-30, 4e-30]])
    assert norm_of(layer) == pytest.approx(5e-30, rel=1e-5)


def table(with_them: float, skips: float) -> Table:
    lengths = {WITHOUT: 1e-3, WITH: with_them, SKIPS: skips}
    return Table(
        {
            arm: [{"gradient": [length] * len(PARTS), "gradient on the way": length, "loss": [2.3, 2.2]}] * 2
            for arm in ARMS
            for length in [lengths[arm.partition(", ")[0]]]
        }
    )


def test_longer_and_shorter_gradients_are_judged_as_they_are() -> None:
    assert [check.holds for check in judge(table(1e-2, 1e-1))] == [True] * 10
    assert [check.holds for check in judge(table(1e-4, 1e-1))] == [False, True, False, True, True] * 2
    assert [check.holds for check in judge(table(1e-2, 1e-4))] == [True, False, True, False, False] * 2
    assert len(figures(table(1e-2, 1e-1))) == 2
