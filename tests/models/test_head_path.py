"""A head on codes: whose codes, which folds, which strength, and where the path ends."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainwell.errors import ModelInvalid
from trainwell.models.codes import codes_of, factor_behind, linear_head
from trainwell.models.head_path import LEAST_TO_CHOOSE_BY, PATIENCE, Codes, _folds, solve_head
from trainwell.models.linear_path import STRENGTHS, linear_path
from trainwell.models.resnet import cifar_resnet


def losses_of(scores: Tensor, targets: Tensor) -> Tensor:
    """Losses (N,)."""
    return cross_entropy(scores, targets, reduction="none")


def drawn(count: int, seed: int = 0, classes: int = 3) -> Codes:
    """Codes of classes that overlap."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    codes = torch.randn(count, 20, generator=generator) + nn.functional.one_hot(labels, 20)
    return Codes(codes, labels)


def test_each_fold_leaves_out_its_own_part_of_each_class() -> None:
    labels = torch.tensor([0, 1, 2] * 10)
    left_out = []
    for out, rest in _folds(labels, seed=4):
        assert sorted([*out.tolist(), *rest.tolist()]) == list(range(30))
        assert torch.equal(torch.bincount(labels[out]), torch.tensor([2, 2, 2]))
        left_out += out.tolist()
    assert sorted(left_out) == list(range(30))


def test_a_large_val_split_chooses() -> None:
    train, val = drawn(60), drawn(LEAST_TO_CHOOSE_BY, seed=1)
    solved = solve_head(train, val, losses_of, 3, seed=0)
    assert solved is not None
    assert solved.by_val
    paths = list(linear_path(train.codes, train.targets, losses_of, 3))
    expected = [float(losses_of(point.scores(val.codes), val.targets).mean()) for point in paths]
    assert solved.losses == pytest.approx(expected[: len(solved.losses)], abs=1e-6)
    assert solved.chosen.strength == STRENGTHS[expected.index(min(expected))]


def test_else_cross_validation_chooses() -> None:
    train = drawn(60)
    solved = solve_head(train, drawn(LEAST_TO_CHOOSE_BY - 1, seed=1), losses_of, 3, seed=0)
    assert solved is not None
    assert not solved.by_val
    sums = torch.zeros(len(STRENGTHS))
    for out, rest in _folds(train.targets, seed=0):
        for place, point in enumerate(linear_path(train.codes[rest], train.targets[rest], losses_of, 3)):
            sums[place] += float(losses_of(point.scores(train.codes[out]), train.targets[out]).sum())
    expected = (sums / 60).tolist()
    assert solved.losses == pytest.approx(expected[: len(solved.losses)], abs=1e-4)
    assert solved.place == expected.index(min(expected))


def test_the_path_ends_when_the_choice_has_got_worse_for_a_while() -> None:
    solved = solve_head(drawn(30), drawn(300, seed=1), losses_of, 3, seed=0)
    assert solved is not None
    assert len(solved.path) == solved.place + PATIENCE + 1 < len(STRENGTHS)


def test_it_stops_when_somebody_asks() -> None:
    asked: list[int] = []

    def is_stopped() -> bool:
        asked.append(1)
        return len(asked) > 2

    assert solve_head(drawn(30), None, losses_of, 3, seed=0, is_stopped=is_stopped) is None
    assert len(asked) == 3


def test_codes_are_what_the_head_is_given() -> None:
    network, inputs = cifar_resnet(3, 10, depth=8).eval(), torch.randn(5, 3, 16, 16)
    codes, scores = codes_of(network, inputs)
    with torch.no_grad():
        assert torch.allclose(network.fc(codes), scores)
    assert factor_behind(network, codes, scores) == 1


@pytest.mark.parametrize("factor", [0.125, 3.0])
def test_a_constant_behind_the_head_is_found(factor: float) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3, bias=False)

        def forward(self, inputs: Tensor) -> Tensor:
            return factor * self.head(inputs)

    network = Scaled()
    assert factor_behind(network, *codes_of(network, torch.randn(9, 4))) == pytest.approx(factor)


def test_more_behind_the_head_is_refused() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    with pytest.raises(ModelInvalid, match="does more to its scores"):
        factor_behind(network, *codes_of(network, 5 * torch.randn(9, 4)))


def test_a_head_that_is_called_twice_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.head(inputs))

    with pytest.raises(ModelInvalid, match="called 2 times"):
        codes_of(Twice(), torch.randn(3, 4))


def test_a_convolution_of_patches_is_no_linear_head() -> None:
    with pytest.raises(ModelInvalid, match="Conv2d"):
        linear_head(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten()))
