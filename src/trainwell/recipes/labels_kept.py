"""Which changes of an image keep its label? Asked of the data by quick, small networks before a run.

A mirror image is a possible member of its class exactly where the class looks the same in a mirror. So networks are
asked to tell mirrored images from original ones, *knowing the class*: where they cannot on images that they never saw,
the mirror keeps labels; where they can, mirrored images are not what the class looks like (a 3 is no mirrored 3). A
wrong mirror costs much and a missing one little, so it must be shown that they cannot: a few images show nothing.

Small moves are different: a network can tell them by their blurred edges, and labels almost always outlast them. They
are refused only where a network that learned the classes goes astray on them.

Source: the test is a classifier two-sample test, Lopez-Paz & Oquab 2017, arXiv:1610.06545, given the class.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.chance import Chance, derive
from trainwell.core.stats import Interval
from trainwell.data.augmentation.geometry import Geometric
from trainwell.data.augmentation.warp import Warp
from trainwell.data.prepare import Prepared
from trainwell.data.preprocessing.fitting import Samples
from trainwell.models.convnet import ConvNet

MOST_ASKED = 4_000  # images; all of them give answers, whose share is then known to 1.5 points
SIDE = 16  # pixels; larger images are averaged down to it: which way they face still shows, and asking takes seconds
GATHERED = 64  # full-size images in memory at a time
WIDTH = 12  # channels of the first stage of the networks: enough for the outlines of a class, a few ms a step
# A network sees each of 2,000 images about 4 times. With this rate it then knows 91 % of MNIST (43 % with a quarter of
# it, too little to judge by) and tells 95 % of digits from their mirror images (90 %).
STEPS, BATCH, LR = 120, 64, 0.2
# Share told apart that must be excluded before a mirror is used. 490 photographs of cats and dogs and 3,000 images of
# CIFAR-10 are told apart in 49 to 51 % of cases, 60 to 1,258 digits in 73 to 95 %: this lies between.
TOLD_APART = 0.6
# Of the accuracy above chance that a network that never saw a change may lose by it. It is no measure of the harm:
# digits lose 24 of 98 points by moves of up to a tenth and yet gain by training with them (99.1 % with smaller moves,
# 99.4 to 99.6 % with these, 8 seeds). It refuses changes after which little is left to know a class by.
MOST_LOST = 0.4


@dataclass(frozen=True)
class Answer:
    """Whether a change keeps labels, and the measurement in words."""

    is_kept: bool
    words: str


@dataclass(frozen=True)
class Sample:
    """Images to ask: (N, C, H, W) float32 of at most `SIDE` pixels a side, with their labels (N,)."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, store: Samples, positions: Tensor) -> "Sample":
        """Take samples of a split, a few at a time, so that never many of full size are in memory."""
        batches = (store.gather(part) for part in positions.split(GATHERED))
        parts = [(_small(batch.inputs), batch.targets) for batch in batches]
        return cls(torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts]))

    def __len__(self) -> int:
        return len(self.labels)


class LabelProbe:
    """Asks the data which changes keep labels: `LabelProbe(prepared, seed=0).mirror(flip)`.

    The images of the train split are dealt into two halves; what is learned from either is asked of the other, so every
    image gives an answer of a network that never saw it.

    Args:
        prepared: images, two or more in the train split, which alone is looked at.
        seed: of the run; the answers are a function of data and seed, whatever the number of cores.
    """

    def __init__(self, prepared: Prepared, *, seed: int) -> None:
        train = prepared.stores.train
        assert prepared.kind == "images"
        assert len(train) > 1
        self.seed = seed
        self.num_classes = len(prepared.classes)
        chosen = Chance(seed, "label probe").permutation(0, len(train))[:MOST_ASKED]
        with _one_thread():
            first, second = (Sample.of(train, half) for half in chosen.tensor_split(2))
            self.folds = ((first, second), (second, first))
            pixels = torch.cat([first.images, second.images])
            self._centre, self._spread = pixels.mean(), pixels.std().clamp_min(1e-6)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the images as they are asked about, in pixels."""
        height, width = self.folds[0][0].images.shape[2:]
        return height, width

    @property
    def count(self) -> int:
        """How many images give an answer."""
        return sum(len(asked) for _, asked in self.folds)

    def mirror(self, flip: Geometric) -> Answer:
        """Say whether mirrored images look like original ones of the same class, which must be shown.

        Args:
            flip: mirrors every image (probability 1).
        """
        with self._drawing("mirror"):
            told = torch.cat([self._told_apart(flip, learned, asked) for learned, asked in self.folds])
        share = _interval(told, least=0.0)
        is_kept = share.high < TOLD_APART
        words = f"a quick network tells mirrored images apart in {100 * share.value:.0f} % of cases, class known"
        if not is_kept and share.value < TOLD_APART:
            words += f", and {_images(self.count)} cannot rule out {100 * TOLD_APART:.0f} %"
        return Answer(is_kept, words)

    def _told_apart(self, flip: Geometric, learned: Sample, asked: Sample) -> Tensor:
        """Return (N,) of each asked image the share of itself and its mirror image that is recognized: 0, 1/2 or 1."""
        network = self._network(2 * self.num_classes)

        def pairs(sample: Sample, index: Tensor) -> tuple[Tensor, Tensor]:
            """Scores (2 M, 2) of images and of their mirror images, and which of them are mirrored."""
            images, labels = sample.images[index], sample.labels[index]
            both = torch.cat([images, self._changed(flip, images)])
            scores = _of_class(network(self._ready(both)), torch.cat([labels, labels]))
            return scores, torch.arange(2).repeat_interleave(len(index))

        self._learn(network, learned, lambda index: functional.cross_entropy(*pairs(learned, index)))
        told = []
        network.eval()
        with torch.no_grad():
            for index in torch.arange(len(asked)).split(256):
                scores, is_mirrored = pairs(asked, index)
                told.append((scores.argmax(1) == is_mirrored).view(2, -1).float().mean(0))
        return torch.cat(told)

    def outlasts(self, change: Geometric) -> Answer:
        """Say whether a network that learned the classes from unchanged images still knows changed ones.

        Args:
            change: of images of `sides` pixels.
        """
        with self._drawing("classes"):
            hits = [self._hits(change, learned, asked) for learned, asked in self.folds]
        plain, changed = torch.cat(hits, dim=1)
        known, left = float(plain.mean()), float(changed.mean())
        most = MOST_LOST * max(known - self._chance_level, 0.0)
        surely_lost = _interval(plain - changed, least=-1.0).low
        is_kept = surely_lost <= most
        doubt = ""
        if is_kept and round(100 * left) < round(100 * (known - most)):
            doubt = f", which {_images(self.count)} cannot prove"
        words = f"a network that never saw such changes {'still knows' if is_kept else 'knows only'} {100 * left:.0f} %"
        words += f" ({100 * known:.0f} % unchanged, refused below {100 * (known - most):.0f} %{doubt})"
        return Answer(is_kept, words)

    def _hits(self, change: Geometric, learned: Sample, asked: Sample) -> Tensor:
        """Return (2, N): 1 for each asked image that a classifier knows and 0 for the others, unchanged and changed."""
        network = self._network(self.num_classes)

        def loss(index: Tensor) -> Tensor:
            return functional.cross_entropy(network(self._ready(learned.images[index])), learned.labels[index])

        self._learn(network, learned, loss)
        network.eval()
        with torch.no_grad():
            both = asked.images, self._changed(change, asked.images)
            scores = (torch.cat([network(self._ready(part)) for part in images.split(256)]) for images in both)
            return torch.stack([(of_each.argmax(1) == asked.labels).float() for of_each in scores])

    @property
    def _chance_level(self) -> float:
        """Accuracy of always naming the most frequent class."""
        labels = torch.cat([asked.labels for _, asked in self.folds])
        return float(torch.bincount(labels, minlength=self.num_classes).max() / len(labels))

    def _changed(self, op: Geometric, images: Tensor) -> Tensor:
        return Warp([op], seed=self.seed)(images, torch.arange(len(images)), 0)

    def _ready(self, images: Tensor) -> Tensor:
        return (images - self._centre) / self._spread

    def _network(self, outputs: int) -> nn.Module:
        channels = self.folds[0][0].images.shape[1]
        return ConvNet((channels, *self.sides), outputs, width=WIDTH, depth=2)

    def _learn(self, network: nn.Module, learned: Sample, loss: Callable[[Tensor], Tensor]) -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4)
        draws = Chance(self.seed, "label probe batches")
        each = max(1, len(learned) // BATCH)
        network.train()
        for step in range(STEPS):
            if step % each == 0:
                order = draws.permutation(step // each, len(learned))
            for group in optimizer.param_groups:
                group["lr"] = LR * math.sin(math.pi * (step + 1) / (STEPS + 1))
            index = order[step % each * BATCH : (step % each + 1) * BATCH]
            optimizer.zero_grad()
            loss(index).backward()
            optimizer.step()

    @contextmanager
    def _drawing(self, purpose: str) -> Iterator[None]:
        """Make initial weights a function of the seed and all arithmetic one of the data; leave torch as it was."""
        with _one_thread(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self.seed, "label probe", purpose))
            yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one core: the work is too small to share, and the answers must not depend on the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _interval(values: Tensor, *, least: float) -> Interval:
    """Return the mean of (N,) values from `least` to 1 with the ends of its 95 % interval.

    For the ends two values of 1 and two of `least` are added, so that a few that happen to agree prove nothing.

    Source: Agresti & Coull 1998, "Approximate is better than exact for interval estimation of binomial proportions".
    """
    more = torch.cat([values, torch.tensor([1.0, 1.0, least, least])]).double()
    error = float(more.std(correction=0)) / math.sqrt(len(more))
    middle = float(more.mean())
    return Interval(float(values.mean()), middle - 1.96 * error, middle + 1.96 * error)


def _small(raw: Tensor) -> Tensor:
    """Return images as float32 of at most `SIDE` pixels a side."""
    images = raw.float()
    height, width = images.shape[2:]
    if max(height, width) <= SIDE:
        return images
    ratio = SIDE / max(height, width)
    size = max(4, round(height * ratio)), max(4, round(width * ratio))
    return functional.interpolate(images, size=size, mode="area")


def _of_class(outputs: Tensor, labels: Tensor) -> Tensor:
    """Take the two scores that belong to the label of each sample: (N, 2 K) -> (N, 2)."""
    return outputs.view(len(outputs), -1, 2)[torch.arange(len(outputs)), labels]


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
