"""Which changes of an image keep its label? Asked of the data by quick, small networks before a run.

A mirror image is a possible member of its class exactly where the class looks the same in a mirror. So a network is
asked to tell mirrored images from original ones, *knowing the class*: where it cannot on images that it never saw, the
mirror keeps labels; where it can, mirrored images are not what the class looks like (a 3 is no mirrored 3).

Small turns, moves and scales are different: a network can tell them by their blurred edges, and labels almost always
outlast them. They are refused only where a network that learned the classes goes astray on them.

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
from trainwell.data.augmentation.geometry import Geometric
from trainwell.data.augmentation.warp import Warp
from trainwell.data.prepare import Prepared
from trainwell.models.convnet import ConvNet

MOST_TRAIN, MOST_HELD = 3_000, 1_500  # images; enough to see 55 % from 50 %
SIDE = 16  # pixels; larger images are averaged down to it
WIDTH = 12  # channels of the first stage of the networks
STEPS, BATCH, LR = 120, 64, 0.05
TOLD_APART = 0.6  # share of held-out images told from their mirror images from which a mirror shows
MOST_LOST = 0.4  # of the accuracy above chance that may be lost to a small turn, move or scale


@dataclass(frozen=True)
class Answer:
    """Whether a change keeps labels, and the measurement in words."""

    is_kept: bool
    words: str


@dataclass(frozen=True)
class Sample:
    """Images to ask: (N, C, H, W), as the store holds them, with their labels (N,)."""

    raw: Tensor
    labels: Tensor

    @classmethod
    def of(cls, store: object, positions: Tensor) -> "Sample":
        """Take the samples of a store at some positions."""
        batch = store.gather(positions)  # type: ignore[attr-defined]
        return cls(batch.inputs, batch.targets)


class LabelProbe:
    """Asks the data which changes keep labels: `LabelProbe(prepared, seed=0).mirror(flip)`.

    Args:
        prepared: images; the networks learn from its train split and are asked about its val split, or about a
            quarter of train, one image at least, where there is none.
        seed: of the run; the answers are a function of data and seed.
    """

    def __init__(self, prepared: Prepared, *, seed: int) -> None:
        assert prepared.kind == "images"
        self.seed = seed
        self.num_classes = len(prepared.classes)
        train, val = prepared.stores.train, prepared.stores.val
        order = Chance(seed, "label probe").permutation(0, len(train))
        apart = max(1, len(train) // 4)
        held = order[:apart] if val is None else torch.arange(len(val))
        rest = order if val is not None else order[apart:]
        self.train = Sample.of(train, rest[:MOST_TRAIN])
        self.held = Sample.of(train if val is None else val, held[:MOST_HELD])
        pixels = _small(self.train.raw)
        self._centre, self._spread = pixels.mean(), pixels.std().clamp_min(1e-6)

    def mirror(self, flip: Geometric) -> Answer:
        """Say whether mirrored images look like original ones of the same class.

        Args:
            flip: mirrors every image (probability 1).
        """
        classes = self.num_classes

        def pairs(sample: Sample, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            raw, labels = sample.raw[index], sample.labels[index]
            both = torch.cat([raw, self._changed(flip, raw)])
            return both, torch.cat([labels, labels]), torch.arange(2).repeat_interleave(len(raw))

        with self._drawing("mirror"):
            network = self._network(2 * classes)

            def loss(index: Tensor) -> Tensor:
                images, labels, is_mirrored = pairs(self.train, index)
                return functional.cross_entropy(_of_class(network(self._ready(images)), labels), is_mirrored)

            self._learn(network, loss)
            images, labels, is_mirrored = pairs(self.held, torch.arange(len(self.held.labels)))
            told = _of_class(self._answers(network, images), labels).argmax(1) == is_mirrored
        pairs_told = told.view(2, -1).float().mean(0)  # an image and its mirror image are one sample
        share, surely = _surely(pairs_told, least=0.0)
        words = f"knowing the class, a quick network tells mirrored images from original ones in {100 * share:.0f} % of cases"
        is_kept = surely < TOLD_APART
        return Answer(is_kept, f"{words} (50 % is guessing){self._doubt(is_kept and share >= TOLD_APART)}")

    def outlasts(self, change: Geometric) -> Answer:
        """Say whether a network that learned the classes from unchanged images still knows changed ones."""
        plain, changed = self._hits(self.held.raw), self._hits(self._changed(change, self.held.raw))
        known, left = float(plain.mean()), float(changed.mean())
        _, surely = _surely(plain - changed, least=-1.0)
        words = f"a quick network knows {100 * known:.0f} % of unchanged held-out images and {100 * left:.0f} % of changed ones"
        most = MOST_LOST * max(known - self._chance_level, 0.0)
        return Answer(surely <= most, words + self._doubt(surely <= most < known - left))

    def _doubt(self, is_there: bool) -> str:
        """Say why a change is kept that the numbers alone speak against."""
        count = len(self.held.labels)
        return f", which {count} image{'' if count == 1 else 's'} cannot prove" if is_there else ""

    @property
    def _chance_level(self) -> float:
        """Accuracy of always naming the most frequent class."""
        return float(torch.bincount(self.held.labels, minlength=self.num_classes).max() / len(self.held.labels))

    def _hits(self, raw: Tensor) -> Tensor:
        """Return 1 for each held-out image that the classifier knows, and 0 for the others."""
        if not hasattr(self, "_classifier"):
            with self._drawing("classes"):
                network = self._classifier = self._network(self.num_classes)
                raw_train, labels = self.train.raw, self.train.labels
                self._learn(network, lambda i: functional.cross_entropy(network(self._ready(raw_train[i])), labels[i]))
        return (self._answers(self._classifier, raw).argmax(1) == self.held.labels).float()

    def _changed(self, op: Geometric, raw: Tensor) -> Tensor:
        return Warp([op], seed=self.seed)(raw, torch.arange(len(raw)), 0)

    def _ready(self, raw: Tensor) -> Tensor:
        return (_small(raw) - self._centre) / self._spread

    def _network(self, outputs: int) -> nn.Module:
        channels, height, width = _small(self.train.raw[:1]).shape[1:]
        return ConvNet((channels, height, width), outputs, width=WIDTH, depth=2)

    def _learn(self, network: nn.Module, loss: Callable[[Tensor], Tensor]) -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4)
        draws = Chance(self.seed, "label probe batches")
        count = len(self.train.labels)
        each = max(1, count // BATCH)
        network.train()
        for step in range(STEPS):
            if step % each == 0:
                order = draws.permutation(step // each, count)
            for group in optimizer.param_groups:
                group["lr"] = LR * math.sin(math.pi * (step + 1) / (STEPS + 1))
            index = order[step % each * BATCH : (step % each + 1) * BATCH]
            optimizer.zero_grad()
            loss(index).backward()
            optimizer.step()

    @torch.no_grad()
    def _answers(self, network: nn.Module, raw: Tensor) -> Tensor:
        network.eval()
        return torch.cat([network(self._ready(part)) for part in raw.split(256)])

    @contextmanager
    def _drawing(self, purpose: str) -> Iterator[None]:
        """Make initial weights a function of the seed, and leave torch as it was."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the work is too small to share, and the answer must not depend on the cores
        try:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(derive(self.seed, "label probe", purpose))
                yield
        finally:
            torch.set_num_threads(threads)


def _surely(values: Tensor, *, least: float) -> tuple[float, float]:
    """Return the mean of (N,) values from `least` to 1 and the lower end of its 95 % interval.

    For the interval two values of 1 and two of `least` are added, so that a few that happen to agree prove nothing.

    Source: Agresti & Coull 1998, "Approximate is better than exact for interval estimation of binomial proportions".
    """
    more = torch.cat([values, torch.tensor([1.0, 1.0, least, least])])
    error = float(more.std(correction=0)) / math.sqrt(len(more))
    return float(values.mean()), float(more.mean()) - 1.96 * error


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
