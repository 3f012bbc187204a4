"""Small sets, frozen parts and the judgement of the curves; the quick form needs no data from outside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainwell.lab.data import digits
from trainwell.lab.experiment import Check, Table
from trainwell.lab.experiments import transfer_curves
from trainwell.lab.experiments.transfer_curves import ARMS, FEATURES, FULL, OWN_DIGITS, QUICK, SCRATCH, judge, measure
from trainwell.lab.transferring import (
    Form,
    Pictures,
    Scale,
    as_they_are,
    fresh,
    in_colour,
    pretrained,
    train,
    with_fresh_head,
)

PICTURES = Pictures("digits", (2, 7, 9), as_they_are)
TINY = Form(PICTURES, depth=8, width=4, each=10, steps=3, rate=0.1)


def test_a_small_set_is_part_of_a_larger_one_of_its_seed_and_another_of_another() -> None:
    small, labels, tests, test_labels = PICTURES.draw(4, seed=1)
    large, more, same, _ = PICTURES.draw(20, seed=1)
    assert (len(small), len(large)) == (12, 60)
    assert torch.equal(torch.bincount(labels), torch.tensor([4, 4, 4]))
    for label in range(3):
        assert torch.equal(small[labels == label], large[more == label][:4])
    assert not torch.equal(small, PICTURES.draw(4, seed=2)[0])
    assert torch.equal(tests, same)
    images = digits()
    expected = sum(int((images.test_labels == digit).sum()) for digit in PICTURES.classes)
    assert len(tests) == len(test_labels) == expected


def test_labels_count_the_classes_that_are_told_apart() -> None:
    images, labels, _, _ = PICTURES.all_of()
    held = digits()
    for place, digit in enumerate(PICTURES.classes):
        assert torch.equal(images[labels == place], held.train[held.train_labels == digit])


def test_all_pictures_come_in_one_size_and_three_channels() -> None:
    mnist = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    mnist[0, 0, 0, 0] = 200  # at the corner, a margin of 2 from that of the larger image
    seen = in_colour(mnist)
    assert seen.shape == (1, 3, 16, 16)
    assert seen.sum() == pytest.approx(3 * 200 / 4)
    assert seen[0, 0, 1, 1] == 50
    cifar = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(in_colour(cifar), nn.functional.avg_pool2d(cifar.float(), 2))
    assert torch.equal(in_colour(torch.full((1, 1, 8, 8), 9, dtype=torch.uint8)), torch.full((1, 3, 16, 16), 9.0))


def test_what_is_frozen_stays_and_the_source_too() -> None:
    source = pretrained(TINY, seed=3)
    before = {name: tensor.clone() for name, tensor in source.network.state_dict().items()}
    network = with_fresh_head(source, 3, seed=3)
    samples = source.scale.samples(*PICTURES.draw(10, seed=3))
    train(network, samples, steps=3, rate=0.1, seed=3, method="last:1")
    changed = {
        name.partition(".")[0] for name, tensor in network.state_dict().items() if not tensor.equal(before[name])
    }
    assert changed == {"layer3", "fc"}
    assert all(tensor.equal(before[name]) for name, tensor in source.network.state_dict().items())
    assert not network._forward_pre_hooks


def test_the_rate_by_depth_slows_early_blocks() -> None:
    """The first step of plain descent moves a weight in proportion to its rate."""
    moves = []
    for factor in (1.0, 0.5):
        network = fresh(TINY, 3, 1, seed=0)
        before = [parameter.detach().clone() for parameter in network.parameters()]
        samples = Scale(100.0, 80.0).samples(*PICTURES.draw(10, seed=0))
        train(network, samples, steps=1, rate=1e-3, seed=0, per_depth=factor)
        moves.append([(after - old).norm().item() for after, old in zip(network.parameters(), before, strict=True)])
    assert moves[1][-1] == pytest.approx(moves[0][-1], rel=1e-3)
    assert moves[1][0] == pytest.approx(0.5**4 * moves[0][0], rel=1e-2)  # stem, three stages of one unit, head


def table(**accuracies: Sequence[float]) -> Table:
    """Three seeds of the digits at 10, 50 and 100 images, about these accuracies."""
    names = {"scratch": SCRATCH, "features": FEATURES, "full": FULL}
    rows: dict[str, Any] = {arm: [{OWN_DIGITS: [0.5, 0.5, 0.5]}] * 3 for arm in ARMS}
    for name, values in accuracies.items():
        rows[names[name]] = [{OWN_DIGITS: (np.array(values) + 0.001 * seed).tolist()} for seed in range(3)]
    return Table(rows)


def test_curves_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_curves, "LEAST_FOR_FULL", 100)

    def holds(**accuracies: Sequence[float]) -> list[bool]:
        checks: Sequence[Check] = judge(table(**accuracies))
        return [check.holds for check in checks]

    features, full = (0.8, 0.85, 0.86), (0.7, 0.84, 0.92)
    assert holds(scratch=(0.5, 0.7, 0.9), features=features, full=full) == [True] * 5
    assert holds(scratch=(0.9, 0.7, 0.9), features=features, full=full) == [False, True, False, True, True]
    assert holds(scratch=(0.5, 0.7, 0.9), features=features, full=(0.9, 0.84, 0.92))[3:] == [False, True]
    assert holds(scratch=(0.5, 0.7, 0.9), features=features, full=(0.7, 0.84, 0.8))[3:] == [True, False]


def test_the_quick_form_runs_without_data_from_outside() -> None:
    found = measure(ARMS[FULL], 0, is_quick=True)
    (name,) = QUICK
    assert len(found[name]) == len(QUICK[name].counts)
    assert all(0.2 < value <= 1 for value in found[name])
    assert found == measure(ARMS[FULL], 0, is_quick=True)
