"""What a step eats: a Batch of samples, and the three Splits of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples that stand or fall together.

    Attributes:
        inputs: uint8 images (N, C, H, W), or float32 images or features (N, ...); after
            preprocessing float32 or the run's lower precision.
        targets: (N,) int64 class ids, or (N, K) soft labels that sum to 1; (N, M) float32 standardized numbers;
            (N, K) float32 labels, each 0 or 1.
        index: (N,) int64 position of each sample in its split; the key of all sample draws.
        weight: (N,) float32 share of each sample in the loss, or None where all count alike.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; the copy does not wait for the device."""
        return Batch(
            self.inputs.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.index.to(device, non_blocking=True),
            None if self.weight is None else self.weight.to(device, non_blocking=True),
        )

    def with_inputs(self, inputs: Tensor) -> "Batch":
        """Return the same samples with other inputs."""
        return replace(self, inputs=inputs)

    def split(self, parts: int) -> Iterator["Batch"]:
        """Yield the batch in `parts` pieces, in order, whose sizes differ by one sample at most.

        No piece has one sample only, since batch norm has no statistics of one: there are fewer pieces then.

        >>> batch = Batch(torch.zeros(5, 2), torch.zeros(5), torch.arange(5))
        >>> [len(piece) for piece in batch.split(2)], [len(piece) for piece in batch.split(4)]
        ([3, 2], [3, 2])
        """
        parts = max(1, min(parts, len(self) // 2))
        size, longer = divmod(len(self), parts)
        start = 0
        for part in range(parts):
            piece = slice(start, start + size + (part < longer))
            start = piece.stop
            weight = None if self.weight is None else self.weight[piece]
            yield Batch(self.inputs[piece], self.targets[piece], self.index[piece], weight)


@dataclass(frozen=True)
class Splits(Generic[Part]):
    """Three parts of one data set; `test` is touched once, in the final report.

    `val` and `test` are None where the data have none.

    >>> list(Splits(1, None, 3).items())
    [('train', 1), ('test', 3)]
    """

    train: Part
    val: Part | None
    test: Part | None

    def items(self) -> Iterator[tuple[SplitName, Part]]:
        """Yield (name, part) for the parts that exist, in the order train, val, test."""
        for name in SPLIT_NAMES:
            part = getattr(self, name)
            if part is not None:
                yield name, part
