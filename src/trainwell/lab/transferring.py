"""A network that has learned on some images goes on to others, of which there are few: pictures, methods, accuracies.

All pictures come in one size and in colour, so that one network sees them all. What is drawn is a function of a seed
and of what it is for; a smaller set of a seed is part of its larger ones.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad

from trainwell.core.chance import Chance
from trainwell.core.rates import RatesSection
from trainwell.core.transfer import TransferSection
from trainwell.lab.data import digits, load
from trainwell.lab.plain_loop import AT_ONCE, Samples, accuracy, descend, seeded
from trainwell.models.codes import codes_of
from trainwell.models.head_path import Codes, solve_head
from trainwell.models.pretrained import head_of
from trainwell.models.resnet import cifar_resnet
from trainwell.optimizers.depth import rate_factors
from trainwell.train.freezing import Freezing

BATCH, MOMENTUM, DECAY = 64, 0.9, 5e-4
RISE = 0.2  # share of the steps in which the rate grows from zero, before it falls to zero again


@dataclass(frozen=True)
class Pictures:
    """A data set, some of whose classes are looked at.

    Attributes:
        name: `digits`, `mnist` or `cifar10`.
        classes: those that are told apart, in order.
        shape: turns uint8 images (N, C, H, W) into the floats that a network sees, before they are scaled.
        tests: held-out images at most.
    """

    name: str
    classes: tuple[int, ...]
    shape: Callable[[Tensor], Tensor]
    tests: int = 5_000

    def all_of(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return uint8 images and labels 0, 1, ... to train on, and the same to test with."""
        images = digits() if self.name == "digits" else load(self.name)
        here, labels = _of_classes(images.train_labels, self.classes)
        there, test_labels = _of_classes(images.test_labels, self.classes)
        there, test_labels = there[: self.tests], test_labels[: self.tests]
        return images.train[here], labels, images.test[there], test_labels

    def draw(self, each: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return floats and labels of so many images a class, and all those to test with."""
        images, labels, tests, test_labels = self.all_of()
        order = Chance(seed, f"few {self.name}").permutation(0, len(labels))
        rows = torch.cat([order[labels[order] == label][:each] for label in range(len(self.classes))])
        return self.shape(images[rows]), labels[rows], self.shape(tests), test_labels


def _of_classes(labels: Tensor, classes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the rows of some classes, and their labels by place in `classes`."""
    places = torch.full((int(labels.max()) + 1,), -1)
    places[list(classes)] = torch.arange(len(classes))
    rows = (places[labels] >= 0).nonzero().flatten()
    return rows, places[labels[rows]]


def as_they_are(images: Tensor) -> Tensor:
    """Return floats."""
    return images.float()


def in_colour(images: Tensor) -> Tensor:
    """Return images of 32x32 or less, grey or in colour, as (N, 3, 16, 16): brought to 32x32, then means of 2x2 pixels.

    >>> in_colour(torch.ones(1, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([1, 3, 16, 16])
    """
    floats, side = images.float(), images.shape[-1]
    if side < 16:  # digits of 8x8 have no pixels to lose
        floats = interpolate(floats, size=(32, 32), mode="bilinear", align_corners=False)
    else:
        floats = pad(floats, ((32 - side) // 2,) * 4)
    return avg_pool2d(floats, 2).expand(-1, 3, -1, -1).contiguous()


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of all pixels of some images, by which a network's inputs are scaled."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, images: Tensor) -> "Scale":
        """Return that of images."""
        return cls(float(images.mean()), float(images.std(correction=0)))

    def samples(self, images: Tensor, labels: Tensor, tests: Tensor, test_labels: Tensor) -> Samples:
        """Return scaled images."""
        scaled = ((each - self.mean) / self.deviation for each in (images, tests))
        return Samples(next(scaled), labels, next(scaled), test_labels)


@dataclass(frozen=True)
class Trained:
    """A network that has learned, how its inputs are scaled, and what it gets right of its own classes."""

    network: nn.Module
    scale: Scale
    accuracy: float


@dataclass(frozen=True)
class Form:
    """The network, and how long it learns where it begins: all that a source is made of, but for its seed."""

    pictures: Pictures
    depth: int
    width: int
    each: int
    steps: int
    rate: float


@cache
def pretrained(form: Form, seed: int) -> Trained:
    """Return a network trained on many images; a later call in this process gives the same one: copy it."""
    images, labels, tests, test_labels = form.pictures.draw(form.each, seed)
    scale = Scale.of(images)
    samples = scale.samples(images, labels, tests, test_labels)
    network = fresh(form, len(form.pictures.classes), samples.inputs.shape[1], seed)
    train(network, samples, steps=form.steps, rate=form.rate, seed=seed)
    return Trained(network, scale, accuracy(network, samples.held_out, samples.held_out_labels))


def fresh(form: Form, classes: int, channels: int, seed: int) -> nn.Module:
    """Return a network that has learned nothing."""
    with seeded(seed, "weights"):
        return cifar_resnet(channels, classes, depth=form.depth, width=form.width)


def with_fresh_head(source: Trained, classes: int, seed: int) -> nn.Module:
    """Return a copy of a network with a head for other classes."""
    network = deepcopy(source.network)
    name, head = head_of(network)
    assert isinstance(head, nn.Linear), "the networks here end in a dense layer"
    with seeded(seed, "head"):
        network.register_module(name, nn.Linear(head.in_features, classes))
    return network


def train(
    network: nn.Module,
    samples: Samples,
    *,
    steps: int,
    rate: float,
    seed: int,
    per_depth: float = 1.0,
    method: str = "full",
) -> None:
    """Train a network in place: momentum and weight decay, a rate that rises, then falls.

    Args:
        network, samples: what learns, and from what.
        steps: of batches of 64, or of all samples where there are fewer.
        rate: the highest, for batches of 64; it shrinks with the batch.
        seed: of the order of the samples.
        per_depth: factor of the rate from each block to the one before it.
        method: which parts learn, as `--transfer` takes it.
    """
    frozen = Freezing(network, TransferSection(source="lab", method=method), total_steps=steps)
    quiet = network.register_forward_pre_hook(lambda module, inputs: frozen.quiet())  # after each network.train()
    size = min(BATCH, len(samples.labels))
    factors = rate_factors(network, RatesSection(per_depth=per_depth))
    learning = [(factors.get(name, 1.0), each) for name, each in network.named_parameters() if each.requires_grad]
    groups = [{"params": [each], "lr": 0.0, "factor": factor} for factor, each in learning]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, weight_decay=DECAY)
    descent = descend(network, samples, optimizer, batch_size=size, seed=seed)
    for step in range(steps):
        share = min((step + 1) / (RISE * steps), (steps - step) / ((1 - RISE) * steps), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * size / BATCH * share * group["factor"]
        next(descent)
    quiet.remove()


def solved_accuracy(network: nn.Module, samples: Samples) -> float:
    """Return the accuracy of a linear head on the features of a network; cross-validation chooses its penalty.

    Args:
        network: whose features are taken, in evaluation mode.
        samples: to solve for the head on, and to test it with.
    """
    network.eval()
    codes, tests = (
        torch.cat([codes_of(network, some)[0] for some in inputs.split(AT_ONCE)]) for inputs in _both(samples)
    )
    outputs, criterion = int(samples.labels.max()) + 1, nn.CrossEntropyLoss(reduction="none")
    solved = solve_head(Codes(codes, samples.labels), None, criterion, outputs, seed=0)
    assert solved is not None, "nobody asks to stop"
    return float((solved.chosen.scores(tests).argmax(1) == samples.held_out_labels).double().mean())


def _both(samples: Samples) -> tuple[Tensor, Tensor]:
    return samples.inputs, samples.held_out
