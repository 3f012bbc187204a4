"""What a step costs: the same network, batches, optimizer and loss in a peer's loop and in a raw one.

Batches are gathered whole from memory by a DataLoader, in every loop alike, so that what is compared is the
loop and not its input. The data set itself notes when each batch is asked for: a step's time is that between
two batches in the middle of a call, without what a call costs once.
"""

import sys
import time
from collections.abc import Callable

import nets
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SGD = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
THREADS = {"mlp": 1, "resnet20": 2}  # what trainwell chooses for them on two cores; every loop gets the same
BATCH = {"mlp": 64, "resnet20": 128}
SKIPPED = 2  # the first steps of a call, which also pay for its start

Train = Callable[[DataLoader], object]


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """Random batches of data in memory; it remembers when each was asked for."""

    def __init__(self, inputs: Tensor, targets: Tensor, batch: int) -> None:
        self._inputs, self._targets, self._batch = inputs, targets, batch
        self._order: list[Tensor] = []
        self._asked: list[float] = []

    def shuffle(self, count: int) -> None:
        """Draw so many batches."""
        self._order, self._asked = [], []
        while len(self._order) < count:
            whole = len(self._targets) // self._batch * self._batch
            self._order += torch.randperm(len(self._targets))[:whole].split(self._batch)
        self._order = self._order[:count]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        self._asked.append(time.perf_counter())
        take = self._order[step]
        if self._inputs.ndim == 4:  # rows of memory, in the order that they lie in
            return self._inputs.index_select(0, take).permute(0, 3, 1, 2), self._targets.index_select(0, take)
        return self._inputs.index_select(0, take), self._targets.index_select(0, take)

    def seconds(self) -> float:
        """Return how long a step took in the last call."""
        asked = self._asked[-len(self._order) :]  # a loop may look at a batch before it begins
        return (asked[-1] - asked[SKIPPED]) / (len(asked) - 1 - SKIPPED)


def samples(net: str) -> tuple[Tensor, Tensor]:
    """Return random inputs, images as (N, H, W, C), and labels of ten classes."""
    generator = torch.Generator().manual_seed(0)
    shape = (60_000, 64) if net == "mlp" else (4096, 32, 32, 3)
    return torch.randn(*shape, generator=generator), torch.randint(0, 10, shape[:1], generator=generator)


def network(net: str) -> nn.Module:
    """Return the network that is timed."""
    if net == "mlp":
        return nets.tiny_mlp()
    return nets.build(net, (3, 32, 32), 10).to(memory_format=torch.channels_last)


def optimizer_of(net: nn.Module) -> torch.optim.SGD:
    """Return the optimizer that is handed to every loop that takes one of torch's."""
    return torch.optim.SGD(net.parameters(), fused=True, **SGD)


def raw(net: nn.Module) -> Train:
    """Return a loop without anything around it."""
    optimizer, criterion = optimizer_of(net), nn.CrossEntropyLoss()

    def train(loader: DataLoader) -> None:
        net.train()
        for inputs, targets in loader:
            loss = criterion(net(inputs), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return train


def serve(name: str, way: Callable[[nn.Module], Train]) -> None:
    """Say ready, then answer each number of steps on standard input with the seconds that one took."""
    torch.set_num_threads(THREADS[name])
    batches = Batches(*samples(name), BATCH[name])
    train = way(network(name))
    answer("ready")
    for line in sys.stdin:
        batches.shuffle(int(line))
        train(DataLoader(batches, batch_size=None))
        answer(str(batches.seconds()))


def answer(text: str) -> None:
    """Print a line that is recognized among what a library prints."""
    print(f"answer {text}", flush=True)
