"""Batch and Splits: samples stay together with their targets, index and weight."""

import dataclasses

import pytest
import torch

from trainwell.core.batch import Batch, Splits


def batch(count: int = 10, weighted: bool = True) -> Batch:
    index = torch.arange(count)
    return Batch(index[:, None] * 2.0, index % 3, index + 100, index * 0.5 if weighted else None)


@pytest.mark.parametrize("count", [1, 2, 7, 10])
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 50])
def test_the_pieces_of_a_split_are_the_batch_in_order(count: int, parts: int) -> None:
    whole = batch(count)
    pieces = list(whole.split(parts))
    assert len(pieces) <= parts
    assert all(len(piece) > 0 for piece in pieces)
    for name in ("inputs", "targets", "index", "weight"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), getattr(whole, name))


@pytest.mark.parametrize("count", [2, 3, 7, 10, 33])
@pytest.mark.parametrize("parts", [1, 2, 4, 5, 50])
def test_no_piece_is_a_single_sample_and_sizes_differ_by_one_at_most(count: int, parts: int) -> None:
    sizes = [len(piece) for piece in batch(count).split(parts)]
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1


def test_a_piece_is_a_view_and_copies_nothing() -> None:
    whole = batch()
    assert next(whole.split(2)).inputs.data_ptr() == whole.inputs.data_ptr()


def test_a_batch_without_weights_stays_without() -> None:
    whole = batch(weighted=False)
    assert [piece.weight for piece in whole.split(2)] == [None, None]
    assert whole.to(torch.device("cpu")).weight is None


def test_moving_a_batch_moves_every_part() -> None:
    moved = batch().to(torch.device("meta"))
    assert {getattr(moved, field.name).device.type for field in dataclasses.fields(moved)} == {"meta"}


def test_other_inputs_leave_the_rest_alone() -> None:
    whole = batch()
    other = whole.with_inputs(torch.zeros(10, 5))
    assert other.inputs.shape == (10, 5)
    assert (other.targets, other.index, other.weight) == (whole.targets, whole.index, whole.weight)


def test_a_batch_cannot_be_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch().inputs = torch.zeros(1)  # type: ignore[misc]


def test_splits_go_in_the_order_train_val_test_and_leave_out_what_is_not_there() -> None:
    assert list(Splits("a", "b", "c").items()) == [("train", "a"), ("val", "b"), ("test", "c")]
    assert list(Splits("a", None, None).items()) == [("train", "a")]


def test_an_empty_part_is_a_part() -> None:
    assert list(Splits((), (), None).items()) == [("train", ()), ("val", ())]
