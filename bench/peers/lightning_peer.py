"""The peer Lightning: a LightningModule and a Trainer, with progress bar, logger and checkpoints off."""

import logging
import warnings

import lightning
import torch
from entry import run
from steps import Train, optimizer_of
from task import SMOOTHING, WEIGHT_DECAY, Task, versions
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Plain(lightning.LightningModule):
    """A network, cross-entropy, and an optimizer that lives from call to call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._optimizer = optimizer_of(net)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        inputs, targets = batch
        return functional.cross_entropy(self.net(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer


class Tuned(lightning.LightningModule):
    """The recipe of the tuned script in Lightning's places for it."""

    def __init__(self, task: Task, steps: int) -> None:
        super().__init__()
        self.net, self._task, self._steps = task.network(), task, steps

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self.net(images), labels, label_smoothing=SMOOTHING)
        self.log("train_loss", loss)
        return loss

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], loader: int) -> tuple[Tensor, Tensor]:
        return self._task.augmented(batch[0]), batch[1]

    def configure_optimizers(self) -> dict[str, object]:
        lr = self._task.lr
        options = {"momentum": 0.9, "nesterov": True, "weight_decay": WEIGHT_DECAY, "fused": True}
        optimizer = torch.optim.SGD(self.net.parameters(), lr=lr, **options)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, lr, total_steps=self._steps, pct_start=0.2, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def steps(net: nn.Module) -> Train:
    """Return Lightning's loop around a network."""
    module = Plain(net)
    return lambda loader: lightning.Trainer(max_epochs=1, **QUIET).fit(module, loader)


def accuracy(task: Task) -> None:
    """Train until the time is up, then answer."""
    precision = "bf16-mixed" if task.is_bfloat16_faster() else "32-true"

    def fit(steps: int) -> nn.Module:
        data = TensorDataset(task.train.images, task.train.labels)
        module = Tuned(task, steps)
        trainer = lightning.Trainer(max_steps=steps, max_epochs=-1, precision=precision, **QUIET)
        trainer.fit(module, DataLoader(data, task.batch, shuffle=True))
        return module.net

    done = max(1, int(task.epochs(fit) * task.steps_per_epoch))
    net = fit(done)
    facts = {"epochs": round(done / task.steps_per_epoch, 2), "precision": precision}
    task.answer(net, lambda: task.correct(net), **facts, versions=versions("lightning", "torch", "numpy"))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    run(steps, accuracy)
