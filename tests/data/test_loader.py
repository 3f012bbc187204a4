"""The loader: every sample once an epoch, the same batches from any step on, nothing mixed up."""

import pytest
import torch
from torch.utils.data import Dataset

from trainwell.core.batch import Batch
from trainwell.core.shelves import augmentations, preprocessings
from trainwell.data import loader as loading
from trainwell.data.loader import Loader
from trainwell.data.pipeline import Pipeline
from trainwell.data.store import Store
from trainwell.data.stream import StreamStore
from trainwell.errors import OptionInvalid, ShapeError

PARTS = ("inputs", "targets", "index")


def features(count: int = 23) -> Store:
    return Store.of_features(torch.arange(count * 4.0).view(count, 4), torch.arange(count))


def images(count: int = 23, channels: int = 3) -> Store:
    values = torch.arange(count * 6 * 5 * channels, dtype=torch.int64).remainder(251).to(torch.uint8)
    return Store.of_images(values.view(count, 6, 5, channels), torch.arange(count))


class Noise(Dataset):
    """A data set that draws anew each time."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.full((4,), float(row)) + torch.rand(4) / 2, row


def stream() -> StreamStore:
    return StreamStore(Noise(), torch.arange(23), torch.arange(23), seed=0)


def same(left: list[Batch], right: list[Batch]) -> bool:
    parts = [(getattr(a, name), getattr(b, name)) for a, b in zip(left, right, strict=True) for name in PARTS]
    return all(torch.equal(a, b) for a, b in parts)


@pytest.fixture(params=["whole epoch", "gathered"])
def _either_way(request, monkeypatch):
    monkeypatch.setattr(loading, "WHOLE_EPOCH_BYTES", 2**20 if request.param == "whole epoch" else 0)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("make", [features, images])
def test_an_epoch_gives_every_sample_once_with_its_own_target(make):
    store = make()
    batches = list(Loader(store, batch_size=5, seed=0, shuffle=True).epoch(0))
    index = torch.cat([batch.index for batch in batches])
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert index.sort().values.tolist() == list(range(23))
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), store.inputs[index])
    assert torch.equal(torch.cat([batch.targets for batch in batches]), store.targets[index])


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("make", [features, images, stream])
def test_starting_at_any_step_gives_the_rest_of_the_undisturbed_epoch(make):
    loader = Loader(make(), batch_size=5, seed=7, shuffle=True)
    whole = list(loader.epoch(3))
    for start in range(loader.steps_per_epoch + 1):
        assert same(list(Loader(make(), batch_size=5, seed=7, shuffle=True).epoch(3, start)), whole[start:])


def test_the_order_changes_with_epoch_and_seed_and_not_with_the_batch_size():
    def order(seed: int, epoch: int, size: int) -> list[int]:
        loader = Loader(features(), batch_size=size, seed=seed, shuffle=True)
        return torch.cat([batch.index for batch in loader.epoch(epoch)]).tolist()

    assert order(0, 0, 5) == order(0, 0, 8)
    assert order(0, 0, 5) != order(0, 1, 5)
    assert order(0, 0, 5) != order(1, 0, 5)


@pytest.mark.parametrize("make", [features, images, stream])
def test_evaluation_keeps_the_order_of_the_store(make):
    batches = list(Loader(make(), batch_size=10, seed=0, shuffle=False).epoch(0))
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(23))
    assert torch.cat([batch.targets for batch in batches]).tolist() == list(range(23))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("make", [features, images, stream])
def test_drop_last_leaves_the_smaller_batch_out(make, shuffle):
    loader = Loader(make(), batch_size=5, seed=0, shuffle=shuffle, drop_last=True)
    assert loader.steps_per_epoch == 4
    assert [len(batch) for batch in loader.epoch(0)] == [5, 5, 5, 5]


@pytest.mark.parametrize("make", [features, images, stream])
def test_weights_stay_with_their_samples(make):
    loader = Loader(make(), batch_size=5, seed=0, shuffle=True, sample_weight=torch.arange(23) * 2.0)
    for batch in loader.epoch(0, start=1):
        assert batch.weight is not None
        assert batch.weight.tolist() == [2.0 * row for row in batch.index.tolist()]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_images_come_in_channels_last_memory(channels, shuffle):
    batch = next(Loader(images(channels=channels), batch_size=5, seed=0, shuffle=shuffle).epoch(0))
    assert batch.inputs.shape == (5, channels, 6, 5)
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_keeps_its_values_while_later_ones_are_made():
    loader = Loader(images(), batch_size=5, seed=0, shuffle=True)
    ops = [augmentations.build("horizontal_flip"), augmentations.build("shift", {"pixels": 2})]
    made = preprocessings.build("standardize")
    made.fit(images().inputs)
    pipeline = Pipeline(ops, made, seed=0, input_shape=(3, 6, 5), samples=23)
    held = [(batch, batch.inputs.clone()) for batch in (pipeline(raw, 0) for raw in loader.epoch(0))]
    assert all(torch.equal(batch.inputs, copy) for batch, copy in held)


def test_the_pipeline_gives_a_sample_the_same_input_whatever_the_batch_size():
    made = preprocessings.build("standardize")
    made.fit(images().inputs)

    def inputs(size: int, samples: int | None) -> torch.Tensor:
        ops = [augmentations.build("horizontal_flip"), augmentations.build("affine")]
        pipeline = Pipeline(ops, made, seed=0, input_shape=(3, 6, 5), samples=samples)
        batches = [pipeline(batch, 2) for batch in Loader(images(), batch_size=size, seed=0, shuffle=True).epoch(2)]
        return torch.cat([batch.inputs for batch in batches])

    assert torch.equal(inputs(5, None), inputs(23, None))
    assert torch.equal(inputs(5, 23), inputs(7, None))


def test_flips_of_features_are_refused_when_the_pipeline_is_built():
    with pytest.raises(OptionInvalid, match="needs images"):
        Pipeline([augmentations.build("horizontal_flip")], preprocessings.build("none"), seed=0, input_shape=(4,))


def test_wrong_sizes_are_refused_in_words():
    with pytest.raises(OptionInvalid, match="batch_size must be at least 1, got 0"):
        Loader(features(), batch_size=0, seed=0, shuffle=True)
    with pytest.raises(OptionInvalid, match="drop_last with batch_size = 24 leaves no batch of 23 samples"):
        Loader(features(), batch_size=24, seed=0, shuffle=True, drop_last=True)
    with pytest.raises(ShapeError, match=r"sample_weight must be \(N,\) = \(23,\), got \(5,\)"):
        Loader(features(), batch_size=5, seed=0, shuffle=True, sample_weight=torch.ones(5))
