"""A Dataset that streams gives the same items whatever the workers, and says where it failed."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from trainwell.data.stream import StreamStore
from trainwell.errors import DataInvalid


class Noisy(Dataset[Any]):
    """Items that draw from all three generators."""

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if row == 13:
            raise OSError("the disk is gone")
        return torch.tensor([row, random.random(), np.random.rand(), torch.rand(()).item()]), row % 3


def stream(workers: int = 0, seed: int = 0, rows: range = range(12)) -> StreamStore:
    index = torch.tensor(rows)
    return StreamStore(Noisy(), index % 3, index, seed, workers)


ORDER = [torch.tensor([3, 0, 7]), torch.tensor([1, 2]), torch.tensor([11, 4, 5, 6])]


def inputs(store: StreamStore, order: list[torch.Tensor], epoch: int = 0) -> torch.Tensor:
    return torch.cat([batch.inputs for batch in store.batches(order, epoch)])


def test_items_depend_on_seed_epoch_and_row_alone() -> None:
    first = inputs(stream(), ORDER)
    one_by_one = inputs(stream(), list(torch.cat(ORDER).split(1)))
    assert torch.equal(first, one_by_one)
    assert torch.equal(first, inputs(stream(), ORDER))
    assert (first[:, 1:] != inputs(stream(), ORDER, epoch=1)[:, 1:]).all()
    assert (first[:, 1:] != inputs(stream(seed=1), ORDER)[:, 1:]).all()
    assert len(first[:, 1:].unique()) == 27


@pytest.mark.slow
def test_items_do_not_depend_on_the_number_of_workers() -> None:
    assert torch.equal(inputs(stream(), ORDER), inputs(stream(workers=2), ORDER))


def test_going_on_in_the_middle_gives_the_rest() -> None:
    assert torch.equal(inputs(stream(), ORDER)[3:], inputs(stream(), ORDER[1:]))


def test_batches_carry_positions_in_the_split_and_targets_of_the_items() -> None:
    store = stream(rows=range(14, 26))
    batch = next(store.batches(ORDER, 0))
    assert batch.index.tolist() == [3, 0, 7]
    assert batch.inputs[:, 0].tolist() == [17, 14, 21]
    assert batch.targets.tolist() == [2, 2, 0]
    assert len(store) == 12
    assert torch.equal(store.gather(torch.tensor([3, 0, 7])).inputs, batch.inputs)


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def test_global_generators_are_left_as_they_were() -> None:
    seed_all(1)
    want = random.random(), np.random.rand(), torch.rand(())
    seed_all(1)
    list(stream().batches(ORDER, 0))
    assert (random.random(), np.random.rand(), torch.rand(())) == want


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_dataset_that_raises_in_the_middle_is_named_with_row_and_words(workers: int) -> None:
    store = stream(workers, rows=range(10, 16))
    batches = store.batches([torch.tensor([0, 1]), torch.tensor([2, 3])], 4)
    assert next(batches).inputs[:, 0].tolist() == [10, 11]
    with pytest.raises(
        DataInvalid, match=r"^the dataset raised OSError at index 13 in epoch 4: the disk is gone; dataset\[13\]"
    ):
        next(batches)


def test_inputs_of_different_shapes_are_said() -> None:
    class Ragged(Dataset[Any]):
        def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
            return torch.zeros(3, 4 + row), 0

    store = StreamStore(Ragged(), torch.zeros(2, dtype=torch.int64), torch.arange(2), 0)
    with pytest.raises(DataInvalid, match=r"different shapes: \(3, 4\) at index 0, \(3, 5\) at index 1"):
        list(store.batches([torch.tensor([0, 1])], 0))
