"""The peer fastai: a Learner, with its progress bar off.

Its accuracy is that of its own defaults: `xresnet18` (or `SimpleCNN`) from scratch, `aug_transforms`, Adam,
`fit_one_cycle` at the default rate, batches of 64, a validation after each epoch. Batches are made from
tensors in memory and changed whole, which is faster than its per-file pipeline.
"""

import torch

# fastai imports torchvision, whose build from PyPI belongs to another torch: its compiled part is not loaded, and
# these two names must exist. Nothing here calls them.
LIBRARY = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from functools import partial  # noqa: E402

from entry import run  # noqa: E402
from fastai.callback import progress, schedule  # noqa: E402, F401 - they add no_bar and fit_one_cycle to a Learner
from fastai.data.core import DataLoaders, TfmdDL  # noqa: E402
from fastai.layers import SimpleCNN  # noqa: E402
from fastai.learner import Learner  # noqa: E402
from fastai.losses import CrossEntropyLossFlat  # noqa: E402
from fastai.optimizer import OptimWrapper  # noqa: E402
from fastai.torch_core import TensorCategory, TensorImage  # noqa: E402
from fastai.vision.augment import aug_transforms  # noqa: E402
from fastai.vision.data import IntToFloatTensor, Normalize  # noqa: E402
from fastai.vision.models.xresnet import xresnet18  # noqa: E402
from steps import SGD, Train  # noqa: E402
from task import Split, Task, versions  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

BATCH = 64  # its default
NETS = ("xresnet18", "simple_cnn")


def steps(net: nn.Module) -> Train:
    """Return fastai's loop around a network; its validation, which it insists on, is one sample after the steps."""
    optimizer = partial(OptimWrapper, opt=partial(torch.optim.SGD, fused=True, **SGD))

    def train(loader: DataLoader) -> None:
        few = [part[:1] for part in loader.dataset[0]]
        learner.dls = DataLoaders(loader, DataLoader(TensorDataset(*few)), device="cpu")
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, lr=SGD["lr"])

    empty = DataLoader(TensorDataset(torch.zeros(1)))
    learner = Learner(DataLoaders(empty, empty), net, CrossEntropyLossFlat(), opt_func=optimizer)
    return train


class Images:
    """A split as fastai's typed tensors, one sample at a time."""

    def __init__(self, split: Split) -> None:
        self._images, self._labels = split.images.contiguous(), split.labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[TensorImage, TensorCategory]:
        return TensorImage(self._images[index]), TensorCategory(self._labels[index])


def learner_of(task: Task, train: Split) -> Learner:
    """Return fastai's defaults for images."""
    mean, std = (part.flatten() / 255 for part in (task.mean, task.std))
    both = [IntToFloatTensor(), Normalize.from_stats(mean, std, cuda=False)]
    loaders = DataLoaders(
        TfmdDL(Images(train), bs=task.batch, shuffle=True, after_batch=[*both, *aug_transforms()], num_workers=0),
        TfmdDL(Images(task.val), bs=2 * task.batch, after_batch=both, num_workers=0),
        device="cpu",
    )
    channels = task.shape[0]
    if task.net == "simple_cnn":
        net = nn.Sequential(SimpleCNN([channels, 32, 64, 128, 256]), nn.Linear(256, task.classes))
    else:
        net = xresnet18(n_out=task.classes, c_in=channels)
    return Learner(loaders, net, CrossEntropyLossFlat())


def accuracy(task: Task) -> None:
    """Train until the time is up, then answer."""

    def fit(epochs: int, train: Split) -> nn.Module:
        learner = learner_of(task, train)
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(epochs)
        return learner.model

    epochs = task.whole_epochs(lambda steps: fit(1, task.few(steps)), validates=True)
    net = fit(epochs, task.train)

    def scores(images: Tensor) -> Tensor:
        return net(images.contiguous())

    facts = {"epochs": epochs, "precision": "float32"}
    task.answer(net, lambda: task.correct(scores), **facts, versions=versions("fastai", "torch", "torchvision"))


if __name__ == "__main__":
    run(steps, accuracy, nets=NETS, batch=BATCH)
