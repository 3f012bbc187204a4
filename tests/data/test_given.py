"""Python objects as data: arrays, tensors, Datasets that answer alike, at random, or with an error in the middle."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from trainwell.data.given import given
from trainwell.data.prepare import DataSpec, Prepared, prepare
from trainwell.data.samples import Scale
from trainwell.data.store import Store
from trainwell.data.stream import StreamStore
from trainwell.errors import DataInvalid

PLENTY = 2**30
X = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
Y = np.arange(40) % 2


def ready(data: Any, **fields: Any) -> Prepared:
    return prepare(DataSpec(**fields), given=data, seed=0, threads=1)


class Items(Dataset[Any]):
    """A user's Dataset: `make(row)` gives the item."""

    def __init__(self, make: Any, count: int = 40) -> None:
        self._make = make
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> Any:
        return self._make(row)


def random_item(row: int) -> tuple[torch.Tensor, int]:
    return torch.from_numpy(X[row]).permute(2, 0, 1) / 255 * torch.rand(()), int(Y[row])


def inputs(prepared: Prepared) -> torch.Tensor:
    assert isinstance(prepared.stores.train, Store)
    return prepared.stores.train.inputs


def test_pairs_of_arrays_and_tensors_are_the_same() -> None:
    one = ready((X, Y))
    for other in ((torch.from_numpy(X), torch.from_numpy(Y)), [X.tolist(), Y.tolist()], {"x": X, "y": Y}):
        assert torch.equal(inputs(one), inputs(ready(other)))
        assert one.summary["membership"] == ready(other).summary["membership"]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "TEST")])
def test_a_dict_of_splits_is_respected(names: tuple[str, str, str]) -> None:
    parts = dict(zip(names, [(X[:20], Y[:20]), (X[20:30], Y[20:30]), (X[30:], Y[30:])], strict=True))
    prepared = ready(parts)
    assert prepared.summary["samples"] == {"train": 20, "val": 10, "test": 10}
    assert prepared.summary["source"] == "given"


def test_a_tensor_dataset_is_read_as_its_tensors() -> None:
    assert (
        ready(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))).summary["membership"]
        == ready((X, Y)).summary["membership"]
    )


def test_a_dataset_that_answers_alike_is_stored_and_that_is_said() -> None:
    for make in (
        lambda row: (Image.fromarray(X[row]), int(Y[row])),
        lambda row: (torch.from_numpy(X[row]).permute(2, 0, 1) / 255, torch.tensor(Y[row])),
        lambda row: (X[row], Y[row]),
    ):
        prepared = ready(Items(make))
        assert prepared.summary["membership"] == ready((X, Y)).summary["membership"]
        assert any(
            "answers the same when asked twice on 16 items: its 40 items were read once and stored" in n
            for n in prepared.notes
        )


def test_a_random_dataset_streams_and_that_is_said() -> None:
    prepared = ready(Items(random_item))
    store = prepared.stores.train
    assert isinstance(store, StreamStore)
    assert prepared.input_shape == (3, 6, 6)
    assert any("answers differently when asked twice, so it streams" in note for note in prepared.notes)
    batch = store.gather(torch.arange(len(store)))
    assert torch.equal(batch.targets, store.targets)
    assert batch.inputs.dtype == torch.float32
    assert 1 < batch.inputs.max() <= 255
    assert {int(prepared.rows.train[i]) for i in range(len(store))} == set(store.rows.tolist())


def test_a_dataset_over_the_memory_budget_streams_split_by_content() -> None:
    prepared = ready(Items(lambda row: (X[row // 2], int(Y[row // 2]))), memory_gib=1e-6)
    assert isinstance(prepared.stores.train, StreamStore)
    assert any("over the memory budget of 0.00 GiB, so it streams" in note for note in prepared.notes)
    assert not {row // 2 for row in prepared.rows.train.tolist()} & {
        row // 2 for row in (prepared.rows.test if prepared.rows.test is not None else [])
    }
    batch = prepared.stores.train.gather(torch.tensor([0]))
    row = int(prepared.rows.train[0])
    assert np.array_equal(batch.inputs[0].permute(1, 2, 0).numpy(), X[row // 2])


def test_datasets_as_splits_stream_together_if_one_does() -> None:
    parts = {
        "train": Items(random_item),
        "val": Items(lambda row: (torch.from_numpy(X[row]).permute(2, 0, 1) / 255, int(Y[row])), 10),
    }
    prepared = ready(parts)
    assert prepared.summary["samples"] == {"train": 40, "val": 10}
    assert isinstance(prepared.stores.val, StreamStore)
    first = prepared.stores.val.gather(torch.tensor([0]))
    row = int(prepared.rows.val[0]) - 40 if prepared.rows.val is not None else 0
    np.testing.assert_allclose(first.inputs[0].permute(1, 2, 0).numpy(), X[row], atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "factor", "scale"),
    [
        (torch.uint8, 1, Scale(1, is_float=False)),
        (torch.uint16, 257, Scale(1 / 257, is_float=False)),
        (torch.float32, 1 / 255, Scale(255, is_float=True)),
        (torch.float32, 1, Scale(1, is_float=True)),
    ],
)
def test_streamed_images_reach_the_scale_that_stored_ones_reach(
    dtype: torch.dtype, factor: float, scale: Scale
) -> None:
    def make(row: int) -> Any:
        noise = torch.randint(0, 2, (6, 6, 3)) if row == 0 else torch.zeros(6, 6, 3)
        return (((torch.from_numpy(X[row]) // 2 + noise) * factor).to(dtype), int(Y[row]))

    prepared = ready(Items(make))
    assert prepared.scale == scale
    assert isinstance(prepared.stores.train, StreamStore)
    batch = prepared.stores.train.gather(torch.arange(8)).inputs
    want = np.stack([X[row] // 2 for row in prepared.rows.train[:8]])
    np.testing.assert_allclose(batch.permute(0, 2, 3, 1).numpy(), want, atol=1.01)


def test_streamed_parts_on_different_scales_are_refused() -> None:
    parts = {
        "train": Items(random_item),
        "val": Items(lambda row: (torch.from_numpy(X[row]).permute(2, 0, 1).float() * 0.999, int(Y[row])), 10),
    }
    words = r"on different scales: train holds floats from 0 to 1; val holds floats from 0 to 255; bring all of them"
    with pytest.raises(DataInvalid, match=words):
        ready(parts)


def test_names_as_labels_are_classes_also_when_streaming() -> None:
    prepared = ready(Items(lambda row: (random_item(row)[0], "ab"[int(Y[row])])))
    assert prepared.classes == ("a", "b")
    assert set(prepared.stores.train.gather(torch.arange(8)).targets.tolist()) <= {0, 1}


def raising(row: int) -> Any:
    if row == 21:
        raise OSError("disk fell over")
    return X[row], int(Y[row])


class Endless(IterableDataset[Any]):
    """Items without an index."""

    def __iter__(self) -> Any:
        return iter([])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Items(raising), "the dataset raised OSError at index 21: disk fell over"),
        (
            Items(lambda row: (X[row][: 6 - row // 39], 0)),
            "index 0 is (6, 6, 3) uint8, index 39 is (5, 6, 3) uint8; bring them to one shape",
        ),
        (
            Items(lambda row: X[row]),
            "must give (input, label) for each index, got a ndarray of shape (6, 6, 3) at index 0",
        ),
        (Items(lambda row: (X[row], [1, 2])), "must give one class id or name a sample, got a list of 2 at index 0"),
        (Items(lambda row: ("cat.png", 0)), "must give inputs that are images or features, got a str at index 0"),
        (Items(lambda row: (X[row], 0), 0), "the dataset is empty: it has length 0"),
        (Endless(), "the data is an IterableDataset, which has no length and no index"),
        (
            DataLoader(TensorDataset(torch.zeros(2, 2), torch.zeros(2))),
            "is a DataLoader: give its dataset (loader.dataset)",
        ),
        ("photos", "the data are a str, which cannot be read: give (x, y)"),
        ((X, Y, Y), "the data are a tuple of 3, which cannot be read"),
        ({"train": (X, Y), "test": X}, "the test part of the dict is a ndarray"),
        ({"val": (X, Y), "test": (X, Y)}, "holds the splits val, test but no train"),
        ({"train": (X, Y), "valid": (X, Y), "val": (X, Y)}, "must hold inputs and labels; it holds train, valid, val"),
        ((X, Y[:-1]), "x holds 40 samples and y holds 39 labels"),
        (([[1, 2], [3]], [0, 1]), "x is an array of Python objects, usually because its rows differ in shape"),
    ],
)
def test_what_is_wrong_is_said(data: Any, words: str) -> None:
    with pytest.raises(DataInvalid, match=re.escape(words)):
        given(data, budget=PLENTY)


def test_a_streaming_dataset_cannot_be_resized_here() -> None:
    with pytest.raises(DataInvalid, match="the dataset streams, so its images come as it makes them: image_size=32"):
        ready(Items(random_item), image_size=32)


def test_a_dataset_that_raises_only_later_names_its_index() -> None:
    calls = {"count": 0}

    def make(row: int) -> Any:
        calls["count"] += 1
        if calls["count"] > 100 and row == 7:
            raise ValueError("gone")
        return random_item(row)

    prepared = ready(Items(make))
    split, place = next((name, rows.tolist().index(7)) for name, rows in prepared.rows.items() if 7 in rows)
    calls["count"] = 1000
    with pytest.raises(DataInvalid, match="raised ValueError at index 7: gone"):
        getattr(prepared.stores, split).gather(torch.tensor([place]))
