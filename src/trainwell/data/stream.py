"""A user's own torch Dataset that cannot be stored, because it is random or too large: its batches are made anew.

Each item is asked for under random generators (torch, NumPy, Python) seeded from (seed, epoch, row), so that
it is the same whatever the batch size, the number of workers, and where an interrupted run goes on.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainwell.core.batch import Batch
from trainwell.core.chance import derive
from trainwell.errors import DataInvalid


@dataclass(frozen=True)
class StreamStore:
    """N samples of a Dataset that streams; what `Store` is for samples that lie ready.

    The Dataset must draw from torch's, NumPy's or Python's global generators, and must not remember what it
    was asked before: an own generator, a cache that depends on the order, or a clock in it cannot be seen from
    here, and then neither a rerun nor a resumed run is exact. Workers are processes: a worker's changes to the
    Dataset are lost at the end of the epoch.

    Attributes:
        dataset: map-style, gives (input, class id); inputs are tensors or arrays of one shape.
        targets: (N,) int64 class ids, or (N, M) float32 numbers or labels.
        rows: (N,) int64 row of each sample in the dataset.
        seed: of the run.
        workers: processes that fetch; 0 fetches in this one.
    """

    dataset: Dataset[Any]
    targets: Tensor
    rows: Tensor
    seed: int
    workers: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, index: Tensor, epoch: int = 0) -> Batch:
        """Return the samples at `index` as they are in one epoch, fetched in this process.

        Raises:
            DataInvalid: the Dataset raises, or gives inputs of different shapes.
        """
        items = _Seeded(self.dataset, self.seed, epoch)
        return self._batch(index, _collate(items.__getitems__(self.rows[index].tolist())))

    def batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        """Yield one batch for each (n,) int64 index tensor of `order`, in that order.

        Going on in the middle of an epoch is giving the rest of its order.

        Raises:
            DataInvalid: the Dataset raises, or gives inputs of different shapes; names the row.
        """
        loader = DataLoader(
            _Seeded(self.dataset, self.seed, epoch),
            batch_sampler=[self.rows[index].tolist() for index in order],
            num_workers=self.workers,
            collate_fn=_collate,
            generator=torch.Generator().manual_seed(0),  # else it draws a base seed from the global generator
        )
        for index, fetched in zip(order, loader, strict=True):
            yield self._batch(index, fetched)

    def _batch(self, index: Tensor, fetched: "tuple[Tensor, Tensor] | _Failure") -> Batch:
        if isinstance(fetched, _Failure):
            raise DataInvalid(fetched.words)
        inputs, targets = fetched
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self.targets.ndim == 2:  # numbers or labels; class ids come with the items
            targets = self.targets[index]
        return Batch(inputs, targets, index)


@dataclass(frozen=True)
class _Failure:
    """Why a batch could not be made; an answer, because an exception loses its words on its way out of a worker."""

    words: str


class _Seeded(Dataset[Any]):
    """Asks a Dataset for each item under generators seeded for that item."""

    def __init__(self, dataset: Dataset[Any], seed: int, epoch: int) -> None:
        self._dataset = dataset
        self._seed = seed
        self._epoch = epoch

    def __getitems__(self, rows: Sequence[int]) -> "list[tuple[Tensor, int]] | _Failure":
        items = []
        with _generators_restored():
            for row in rows:
                _seed_all(derive(self._seed, "stream", self._epoch, row))
                try:
                    x, y = self._dataset[row]
                    items.append((torch.as_tensor(x), int(y)))
                except DataInvalid as fault:
                    return _Failure(str(fault))
                except Exception as error:  # a user's own code may raise anything; the row and its words are what helps
                    return _Failure(
                        f"the dataset raised {type(error).__name__} at index {row} in epoch {self._epoch}: {error}; "
                        f"dataset[{row}] must give (input, class id)"
                    )
                shape = items[0][0].shape
                if items[-1][0].shape != shape:
                    return _Failure(
                        f"the dataset gives inputs of different shapes: {tuple(shape)} at index {rows[0]}, "
                        f"{tuple(items[-1][0].shape)} at index {row}; bring them to one shape in the dataset"
                    )
        return items


def _collate(items: "list[tuple[Tensor, int]] | _Failure") -> "tuple[Tensor, Tensor] | _Failure":
    if isinstance(items, _Failure):
        return items
    return torch.stack([x for x, _ in items]), torch.tensor([y for _, y in items], dtype=torch.int64)


def _seed_all(key: int) -> None:
    random.seed(key)
    np.random.seed(key % 2**32)
    torch.default_generator.manual_seed(key)


@contextmanager
def _generators_restored() -> Iterator[None]:
    """Leave the global generators as they were found, for whoever else draws from them."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
