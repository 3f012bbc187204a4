"""The small network of the classic course on images as plain vectors, and its cost as that course prints it.

3,072 levels minus the mean image, 50 ReLU units, 10 scores; weights N(0, 1e-4^2), biases 0; plain gradient descent in
batches of 100. The printed cost is minus the logarithm of a probability in double precision: it is infinite once the
probability of a right class is rounded to 0, which is where a score falls about 745 below the largest.

Source: Karpathy, Johnson and Li, CS231n at Stanford, winter 2016, lecture 5, "babysitting the learning process".
"""

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trainwell.core.chance import Chance
from trainwell.lab import data
from trainwell.lab.plain_loop import Samples, seeded

HIDDEN, CLASSES, DEVIATION, BATCH = 50, 10, 1e-4, 100
DECAY = 1e-6  # half of it times the squared weights is added to what is descended: the course's `reg`
VAL = 1_000


def centred_images(seed: int, *, size: int) -> Samples:
    """Return CIFAR-10 as vectors (N, 3072) of levels minus the mean image; `held_out` are 1,000 others.

    Raises:
        DataInvalid: it is not in $TRAINWELL_DATA.
    """
    images = data.cifar10()
    order = Chance(seed, "two layers").permutation(0, len(images.train))[: size + VAL]
    levels, labels = images.train[order].flatten(1).float(), images.train_labels[order]
    levels -= levels[:size].mean(dim=0)
    return Samples(levels[:size], labels[:size], levels[size:], labels[size:])


class TwoLayers:
    """Weights, biases and one step of gradient descent, all in place; new weights for each seed."""

    def __init__(self, features: int, seed: int) -> None:
        with seeded(seed, "two layers"):
            self.weights = [DEVIATION * torch.randn(HIDDEN, features), DEVIATION * torch.randn(CLASSES, HIDDEN)]
        self.biases = [torch.zeros(HIDDEN), torch.zeros(CLASSES)]
        self._slope = torch.empty(HIDDEN, features)

    def scores(self, inputs: Tensor) -> Tensor:
        """Return (N, 10) scores of vectors (N, D)."""
        hidden = torch.addmm(self.biases[0], inputs, self.weights[0].T).relu_()
        return torch.addmm(self.biases[1], hidden, self.weights[1].T)

    def step(self, inputs: Tensor, labels: Tensor, rate: float) -> float:
        """Descend the mean cross-entropy + DECAY/2 times the squared weights; return the printed cost before it."""
        hidden = torch.addmm(self.biases[0], inputs, self.weights[0].T).relu_()
        scores = torch.addmm(self.biases[1], hidden, self.weights[1].T)
        cost = printed_cost(scores, labels)
        delta = (scores.softmax(dim=1) - one_hot(labels, CLASSES)) / len(labels)  # (N, 10) the slope to the scores
        below = (delta @ self.weights[1]).mul_(hidden > 0)  # (N, 50) the slope to what goes into the units
        torch.mm(below.T, inputs, out=self._slope)
        slopes = (self._slope, delta.T @ hidden)
        for weight, slope in zip(self.weights, slopes, strict=True):
            weight.mul_(1 - rate * DECAY).sub_(slope, alpha=rate)
        for bias, above in zip(self.biases, (below, delta), strict=True):
            bias.sub_(above.sum(dim=0), alpha=rate)
        return cost

    def accuracy(self, inputs: Tensor, labels: Tensor) -> float:
        """Return the share of samples that it gets right."""
        return float((self.scores(inputs).argmax(dim=1) == labels).float().mean())


def printed_cost(scores: Tensor, labels: Tensor) -> float:
    """Return the mean of -log p of the right classes, each p first rounded to double precision.

    >>> round(printed_cost(torch.zeros(2, 10), torch.tensor([3, 0])), 4)
    2.3026
    >>> printed_cost(torch.tensor([[0.0, 800.0]]), torch.tensor([0]))
    inf
    """
    return -float(scores.double().softmax(dim=1).gather(1, labels.unsqueeze(1)).log().mean())


def descent(network: TwoLayers, samples: Samples, rate: float, seed: int) -> Iterator[float]:
    """Train without end: each epoch in a new order; yield the printed cost of each step's batch before the step."""
    batch = torch.empty(BATCH, samples.inputs.shape[1])
    for epoch in count():
        order = Chance(seed, "batches").permutation(epoch, len(samples.labels))
        for chosen in order.split(BATCH)[: len(order) // BATCH]:
            torch.index_select(samples.inputs, 0, chosen, out=batch)
            yield network.step(batch, samples.labels[chosen], rate)
