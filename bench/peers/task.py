"""What every peer is given for its accuracy: the same pixels and split, a clock that is running, one line to answer.

A peer reads the file that `export.py` wrote, trains until its time is up, and is then evaluated once on test.
The time runs from the start of its process: imports, reading, and finding out how many epochs fit are inside it,
the evaluation is not.
"""

import json
import math
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import nets
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

USED = 0.97  # share of the time left that epochs are planned for
FITTED_ON = 5000  # training images
SMOOTHING = 0.1
WEIGHT_DECAY = 5e-4


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 in channels-last memory and labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Split":
        """Return the first samples."""
        return Split(self.images[:count], self.labels[:count])


class Task:
    """One data set, one network, so many minutes.

    Attributes:
        train, val, test: the splits; `classes`: K; `shape`: (C, H, W).
        net: name of the network; `seed`: of all randomness.
        batch: samples in a step; `lr`: largest rate of SGD, for 128 in a step 0.2, else with the root of the batch.
        mean, std: (1, C, 1, 1) of the training pixels, in [0, 255].
    """

    def __init__(self, options: Namespace) -> None:
        self._options = options
        self.net, self.seed = options.net, options.seed
        with np.load(options.data) as held:
            splits = {name: _split(held[f"{name}_images"], held[f"{name}_labels"]) for name in ("train", "val", "test")}
            self.classes = len(held["classes"])
        self.train, self.val, self.test = splits["train"], splits["val"], splits["test"]
        if options.limit:
            self.train, self.val = self.train.first(options.limit), self.val.first(options.limit)
        self.shape = tuple(self.train.images.shape[1:])
        self.batch = options.batch or (128 if len(self.train) >= 4096 else 32)
        self.lr = options.lr or 0.2 * math.sqrt(self.batch / 128)
        few = self.train.images[:FITTED_ON].float()
        self.mean, self.std = few.mean((0, 2, 3)).view(1, -1, 1, 1), few.std((0, 2, 3)).view(1, -1, 1, 1)
        self.steps_per_epoch = math.ceil(len(self.train) / self.batch)
        torch.manual_seed(options.seed)

    def network(self) -> nn.Module:
        """Return the network with fresh weights, channels-last; a first layer that is fitted is fitted on train."""
        net = nets.build(self.net, self.shape, self.classes)
        start_on = getattr(net, "start_on", None)
        if start_on is not None:
            start_on(self.normalized(self.train.images[:FITTED_ON]))
        return net.to(memory_format=torch.channels_last)

    def left(self) -> float:
        """Return the seconds that are left."""
        return self._options.started + 60 * self._options.minutes - time.time()

    def epochs(self, rehearse: Callable[[int], Any], *, validates: bool = False) -> float:
        """Return how many epochs fit into the time that is left, after timing a few steps.

        Args:
            rehearse: trains a throwaway network for so many steps.
            validates: whether each epoch also goes over the val split, at a third of a training step's cost.
        """
        if self._options.epochs:
            return float(self._options.epochs)
        few = max(2, min(self.steps_per_epoch, max(8, self.steps_per_epoch // 20)))
        seconds = {}
        for steps in (2, few // 2, few):  # the first ones also pay for start-up
            begun = time.perf_counter()
            rehearse(steps)
            seconds[steps] = time.perf_counter() - begun
        longer = max(seconds[few] - seconds[few // 2], 0.25 * seconds[few])  # without the start of each network
        epoch = longer / (few - few // 2) * self.steps_per_epoch
        if validates:
            epoch *= 1 + len(self.val) / len(self.train) / 3
        return USED * self.left() / epoch

    def whole_epochs(self, rehearse: Callable[[int], Any], *, validates: bool = False) -> int:
        """Return how many whole epochs fit, at least one."""
        return max(1, int(self.epochs(rehearse, validates=validates)))

    def few(self, steps: int) -> Split:
        """Return the samples of so many steps."""
        return self.train.first(steps * self.batch)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of shuffled batches, gathered whole."""
        rows = self.train.images.permute(0, 2, 3, 1)  # rows of memory, in the order that they lie in
        for take in torch.randperm(len(self.train)).split(self.batch):
            yield rows.index_select(0, take).permute(0, 3, 1, 2), self.train.labels.index_select(0, take)

    def normalized(self, images: Tensor) -> Tensor:
        """Return float images with mean 0 and deviation 1 in each channel."""
        floats = (images.float() - self.mean) / self.std
        return floats.contiguous(memory_format=torch.channels_last)

    def augmented(self, images: Tensor) -> Tensor:
        """Return the images of a batch flipped or not, moved by up to an eighth of their side, and normalized."""
        count, _, height, width = images.shape
        most = max(1, width // 8)
        rows = functional.pad(images, (most,) * 4).permute(0, 2, 3, 1)  # (N, H + 2m, W + 2m, C)
        y = torch.randint(0, 2 * most + 1, (count, 1)) + torch.arange(height)
        x = torch.randint(0, 2 * most + 1, (count, 1)) + torch.arange(width)
        x = torch.where(torch.rand(count, 1) < 0.5, x.flip(1), x)
        cut = rows[torch.arange(count).view(-1, 1, 1), y.unsqueeze(2), x.unsqueeze(1)]  # (N, H, W, C)
        return self.normalized(cut.permute(0, 3, 1, 2))

    def is_bfloat16_faster(self) -> bool:
        """Race a few training steps in bfloat16 against float32."""
        seconds = {}
        images, labels = self.few(1).images, self.few(1).labels
        for dtype in (torch.float32, torch.bfloat16):
            net = self.network()
            for turn in range(4):
                begun = time.perf_counter()
                with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
                    loss = functional.cross_entropy(net(self.normalized(images)), labels)
                loss.backward()
                if turn:
                    seconds[dtype] = min(seconds.get(dtype, math.inf), time.perf_counter() - begun)
        return seconds[torch.bfloat16] < seconds[torch.float32]

    @torch.no_grad()
    def correct(self, scores: Callable[[Tensor], Tensor]) -> int:
        """Return how many test images are classified right by scores of normalized images."""
        parts = zip(self.test.images.split(500), self.test.labels.split(500), strict=True)
        return sum(int((scores(self.normalized(images)).argmax(1) == labels).sum()) for images, labels in parts)

    def answer(self, net: nn.Module | None, correct: Callable[[], int], **more: Any) -> None:
        """Say how good it is, once, in one line; the clock stands still while it is evaluated."""
        seconds = 60 * self._options.minutes - self.left()
        if net is not None:
            net.eval()
            more["parameters"] = sum(parameter.numel() for parameter in net.parameters())
        facts = {"seconds": round(seconds, 2), "correct": correct(), "count": len(self.test), **more}
        facts |= {"train": len(self.train), "batch": self.batch, "net": self.net}
        print(json.dumps(facts), flush=True)


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of packages."""
    return {name: metadata.version(name) for name in packages}
