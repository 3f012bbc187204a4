"""The peer `plain`: a tuned PyTorch script, as a good engineer writes it in an afternoon.

SGD with Nesterov momentum, one rise and fall of the rate, weight decay on kernels only, smoothed labels, flips
and shifts of whole batches, channels-last, and bfloat16 where a short race says that it pays.
"""

import math

import torch
from entry import run
from steps import raw
from task import SMOOTHING, WEIGHT_DECAY, Task, versions
from torch import nn

WARM_UP = 0.2  # share of the steps in which the rate rises


def rate(progress: float) -> float:
    """Return the multiplier of the rate: a straight rise, then half a cosine."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def train(task: Task, net: nn.Module, steps: int, *, precision: torch.dtype) -> None:
    """Train for so many steps."""
    kernels = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in net.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": vectors}]
    optimizer = torch.optim.SGD(groups, lr=task.lr, momentum=0.9, nesterov=True, fused=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    net.train()
    step = 0
    while step < steps:
        for images, labels in task.batches():
            for group in optimizer.param_groups:
                group["lr"] = task.lr * rate((step + 1) / (steps + 1))
            with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
                loss = criterion(net(task.augmented(images)), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            if step == steps:
                break


def accuracy(task: Task) -> None:
    """Train until the time is up, then answer."""
    precision = torch.bfloat16 if task.is_bfloat16_faster() else torch.float32
    epochs = task.epochs(lambda steps: train(task, task.network(), steps, precision=precision))
    net = task.network()
    steps = max(1, int(epochs * task.steps_per_epoch))
    train(task, net, steps, precision=precision)
    facts = {"epochs": round(steps / task.steps_per_epoch, 2), "precision": str(precision).removeprefix("torch.")}
    task.answer(net, lambda: task.correct(net), **facts, versions=versions("torch", "numpy"))


if __name__ == "__main__":
    run(raw, accuracy)
