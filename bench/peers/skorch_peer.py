"""The peer skorch: a NeuralNetClassifier around the network, without a validation split of its own, and silent.

Its normal use knows no lower precision: float32.
"""

import torch
from entry import run
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from steps import SGD, Train
from task import SMOOTHING, WEIGHT_DECAY, Task, versions
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate


def steps(net: nn.Module) -> Train:
    """Return skorch's loop around a network."""
    classifier = NeuralNetClassifier(
        net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__fused=True,
        **{name if name == "lr" else f"optimizer__{name}": value for name, value in SGD.items()},
        iterator_train__batch_size=None,
        train_split=None,
        max_epochs=1,
        verbose=0,
    ).initialize()
    return lambda loader: classifier.partial_fit(loader.dataset, y=None)


def classifier_of(task: Task, steps: int, epochs: int) -> NeuralNetClassifier:
    """Return the recipe of the tuned script in skorch's places for it."""

    def augmented(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = default_collate(samples)
        return task.augmented(images), labels

    rate = LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR,
        max_lr=task.lr,
        total_steps=steps,
        pct_start=0.2,
        cycle_momentum=False,
        step_every="batch",
    )
    return NeuralNetClassifier(
        task.network(),
        criterion=nn.CrossEntropyLoss,
        criterion__label_smoothing=SMOOTHING,
        optimizer=torch.optim.SGD,
        lr=task.lr,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=WEIGHT_DECAY,
        optimizer__fused=True,
        batch_size=task.batch,
        iterator_train=DataLoader,
        iterator_train__shuffle=True,
        iterator_train__collate_fn=augmented,
        callbacks=[("rate", rate)],
        train_split=None,
        max_epochs=epochs,
        verbose=0,
    )


def accuracy(task: Task) -> None:
    """Train until the time is up, then answer."""

    def rehearse(steps: int) -> None:
        few = task.few(steps)
        classifier_of(task, steps + 1, 1).fit(few.images, few.labels)

    epochs = task.whole_epochs(rehearse)
    classifier = classifier_of(task, epochs * task.steps_per_epoch + 1, epochs)
    classifier.fit(task.train.images, task.train.labels)
    net = classifier.module_
    facts = {"epochs": epochs, "precision": "float32"}
    task.answer(net, lambda: task.correct(net), **facts, versions=versions("skorch", "torch", "numpy"))


if __name__ == "__main__":
    run(steps, accuracy)
