"""Shuffled batches straight from the store, startable at any step of any epoch.

An epoch's order is one permutation, a function of (seed, epoch). Where a split is small, its samples are
put in that order once an epoch and each batch is a slice of them; otherwise each batch is gathered.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, repeat
from typing import Protocol

import torch
from torch import Tensor

from trainwell.core.batch import Batch
from trainwell.core.chance import Chance
from trainwell.data.stream import StreamStore
from trainwell.errors import OptionInvalid, ShapeError

# Inputs up to this size are put in order once an epoch: a batch then costs 2 us less than a gather. At 16 MiB both
# cost the same, and far beyond it fresh memory makes the ordered copy several times slower (64 to 3072 values each).
WHOLE_EPOCH_BYTES = 4 * 2**20
# Inputs up to this size are held on the accelerator, so that no batch travels.
RESIDENT_BYTES = 2 * 2**30


class Stored(Protocol):
    """What the loader needs of a split whose samples lie ready."""

    @property
    def inputs(self) -> Tensor:
        """(N, ...) samples."""
        ...

    @property
    def targets(self) -> Tensor:
        """(N,) class ids."""
        ...


class Loader:
    """Batches of one split: `Loader(store, batch_size=128, seed=0, shuffle=True).epoch(3, start=10)`.

    Args:
        store: samples with `inputs` (N, ...) and `targets` (N,), or a stream.
        batch_size: samples in a batch; the last one of an epoch is smaller where they do not divide.
        seed: of the run; the order of an epoch depends on nothing but seed and epoch.
        shuffle: a new order each epoch; without it the order of the store, for evaluation.
        device: where batches go.
        drop_last: leave a smaller last batch out.
        sample_weight: (N,) share of each sample in the loss, carried into `Batch.weight`.

    Raises:
        OptionInvalid: batch_size is below 1, or drop_last leaves nothing.
        ShapeError: sample_weight is not (N,).
    """

    def __init__(
        self,
        store: Stored | StreamStore,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        device: torch.device | None = None,
        drop_last: bool = False,
        sample_weight: Tensor | None = None,
    ) -> None:
        count = store.targets.shape[0]
        if batch_size < 1:
            raise OptionInvalid(f"batch_size must be at least 1, got {batch_size}")
        if sample_weight is not None and sample_weight.shape != (count,):
            raise ShapeError(
                f"sample_weight must be (N,) = ({count},), got {tuple(sample_weight.shape)}: give one number a sample"
            )
        if drop_last and batch_size > count:
            raise OptionInvalid(
                f"drop_last with batch_size = {batch_size} leaves no batch of {count} samples: "
                "lower batch_size or keep the last"
            )
        self._store = store
        self.count = count
        self._shuffle = shuffle
        self._order = Chance(seed, "shuffle")
        self.device = device or torch.device("cpu")
        self._used = count - count % batch_size if drop_last else count
        self._sizes = _batch_sizes(self._used, batch_size, is_training=shuffle)
        self._weight = None if sample_weight is None else sample_weight.to(torch.float32)
        self._home = torch.device("cpu") if isinstance(store, StreamStore) else self.device
        if not isinstance(store, StreamStore):
            self._rows, self._shape = _flat_rows(store.inputs)
            if self._rows.nbytes <= RESIDENT_BYTES:
                self._rows = self._rows.to(self.device)
        self.steps_per_epoch = len(self._sizes)

    @property
    def targets(self) -> Tensor:
        """Of all samples, in the order of the store."""
        return self._store.targets

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from step `start` on, the same ones as after the steps before it.

        A batch's inputs may be a view of the store (without shuffling) or of the ordered epoch: read them,
        never write to them.
        """
        order = self._order.permutation(epoch, self.count)[: self._used] if self._shuffle else None
        index = self._in_order(torch.arange(self.count), order)
        weight = repeat(None) if self._weight is None else islice(self._in_order(self._weight, order), start, None)
        if isinstance(self._store, StreamStore):
            return self._streamed(index[start:], weight, epoch)
        target = self._in_order(self._store.targets, order)
        batches = map(Batch, self._inputs(order, start), target[start:], index[start:], weight)
        return batches if self.device.type == "cpu" else (batch.to(self.device) for batch in batches)

    def _streamed(self, index: Sequence[Tensor], weight: Iterable[Tensor | None], epoch: int) -> Iterator[Batch]:
        assert isinstance(self._store, StreamStore)
        for batch, share in zip(self._store.batches(index, epoch), weight, strict=False):
            yield replace(batch, weight=share).to(self.device)

    def _in_order(self, values: Tensor, order: Tensor | None) -> tuple[Tensor, ...]:
        """Put one value a sample into the epoch's order and cut it into batches."""
        ordered = values[: self._used] if order is None else values.index_select(0, order)
        return torch.split(ordered.to(self._home), self._sizes)

    def _inputs(self, order: Tensor | None, start: int) -> Iterator[Tensor]:
        """The inputs of each batch from step `start` on."""
        rows, shape = self._rows, self._shape
        if order is None:
            pieces = iter(torch.split(rows[: self._used], self._sizes)[start:])
        elif rows.nbytes > WHOLE_EPOCH_BYTES:
            pieces = map(rows.index_select, repeat(0), torch.split(order.to(rows.device), self._sizes)[start:])
        else:
            # The whole order even for a late start: a slice then has the same alignment, and gives the same bits.
            pieces = iter(torch.split(rows.index_select(0, order.to(rows.device)), self._sizes)[start:])
        return pieces if len(shape) == 1 else (_shaped(piece, shape) for piece in pieces)


def _batch_sizes(count: int, size: int, *, is_training: bool) -> list[int]:
    """Cut count samples into batches; in training a lone last sample joins the batch before it.

    Batch norm has no statistics of one sample, so a step on it would fail.

    >>> _batch_sizes(9, 4, is_training=True), _batch_sizes(9, 4, is_training=False)
    ([4, 5], [4, 4, 1])
    """
    sizes = [size] * (count // size) + ([count % size] if count % size else [])
    if is_training and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [size + 1]
    return sizes


def _flat_rows(inputs: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Return (N, D) rows as they lie in memory and the shape of one in memory order: gathering those is 10x faster."""
    lying = inputs.permute(0, 2, 3, 1) if inputs.dim() == 4 else inputs
    return lying.reshape(lying.shape[0], -1), tuple(lying.shape[1:])


def _shaped(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo `_flat_rows` for some rows: images are (N, C, H, W) in channels-last memory."""
    return rows.view(-1, *shape).permute(0, 3, 1, 2) if len(shape) == 3 else rows.view(-1, *shape)
