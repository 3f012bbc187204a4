"""Few small images and a plain training loop, for experiments that train many little networks in seconds.

Everything drawn here is a function of a seed and of what it is for: two arms of one seed see the same samples in the
same order. Images are taken from the training split of a data set alone, also those that are held out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from trainwell.core.chance import Chance, derive
from trainwell.lab.data import digits, load

AT_ONCE = 1_000  # samples in one forward pass of an evaluation


@dataclass(frozen=True)
class Samples:
    """Images to train on and others to look at, both scaled by mean and deviation of those to train on.

    Attributes:
        inputs: (N, C, H, W) float32 of mean 0 and deviation 1 over all pixels.
        labels: (N,) int64.
        held_out: (M, C, H, W), never trained on.
        held_out_labels: (M,).
    """

    inputs: Tensor
    labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor

    @property
    def features(self) -> int:
        """How many numbers an image has."""
        return self.inputs[0].numel()


def few_digits(seed: int, *, count: int = 1_000, held_out: int = 437) -> Samples:
    """Return 8x8 digits, a split of the 1,437 that are there to train, drawn by the seed."""
    images = digits()
    return _samples(images.train.float(), images.train_labels, seed, count, held_out)


def few_images(name: str, seed: int, *, count: int, held_out: int, pooled: int = 2) -> Samples:
    """Return images of `mnist` or `cifar10` at a lower resolution, drawn by the seed from those there are to train.

    Args:
        name: of the data set.
        seed: of the draw.
        count: how many to train on.
        held_out: how many to look at.
        pooled: side of the squares of pixels that are averaged to one.

    Raises:
        DataInvalid: it is not in $TRAINWELL_DATA.
    """
    images = load(name)
    chosen = Chance(seed, "few").permutation(0, len(images.train))[: count + held_out]
    return _samples(
        avg_pool2d(images.train[chosen].float(), pooled), images.train_labels[chosen], seed, count, held_out
    )


def _samples(images: Tensor, labels: Tensor, seed: int, count: int, held_out: int) -> Samples:
    order = Chance(seed, "split").permutation(0, len(images))
    here, there = order[:count], order[count : count + held_out]
    mean, deviation = images[here].mean(), images[here].std(correction=0)
    scaled = (images - mean) / deviation
    return Samples(scaled[here], labels[here], scaled[there], labels[there])


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Make torch's draws inside a function of what they are for, and give back its state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(*parts))
        yield


def batches(samples: Samples, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield mini-batches (inputs, labels) of one size without end: each epoch in a new order, a short rest left out."""
    epoch = 0
    while True:
        order = Chance(seed, "batches").permutation(epoch, len(samples.labels))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield samples.inputs[chosen], samples.labels[chosen]
        epoch += 1


def descend(
    network: nn.Module, samples: Samples, optimizer: torch.optim.Optimizer, *, batch_size: int, seed: int
) -> Iterator[float]:
    """Train on cross-entropy without end, and yield the loss of each step as it was before the step.

    Nothing is done about a loss that is NaN or infinite: whoever asks for the next step has seen it.
    """
    with seeded(seed, "steps"):
        state = torch.get_rng_state()
    for inputs, labels in batches(samples, batch_size, seed):
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            network.train()
            optimizer.zero_grad()
            loss = cross_entropy(network(inputs), labels)
            loss.backward()
            optimizer.step()
            state = torch.get_rng_state()
        yield loss.item()


def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of samples that a network gets right in evaluation mode; its mode is given back."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        right = sum(
            int((network(some).argmax(dim=1) == theirs).sum())
            for some, theirs in zip(inputs.split(AT_ONCE), labels.split(AT_ONCE), strict=True)
        )
    network.train(was_training)
    return right / len(labels)
