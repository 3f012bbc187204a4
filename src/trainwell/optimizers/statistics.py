"""The running statistics of batch norms, measured anew over a whole set of inputs.

Batch norm evaluates with statistics that followed the weights while they were trained. Weights that were never
trained themselves, such as an average, have none: they are measured by one more pass.

Source: Izmailov et al. 2018, arXiv:1803.05407, section 3.2.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.errors import OptionInvalid
from trainwell.optimizers.groups import BATCH_NORMS


@dataclass
class _Moments:
    """Count, mean (C,) and sum of squared deviations (C,) of everything that came to a norm, in float64."""

    count: int = 0
    mean: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def take(self, inputs: Tensor) -> None:
        """Pool with the moments of one batch (Chan, Golub & LeVeque 1979)."""
        rows = inputs.detach().double().movedim(1, -1).flatten(0, -2)  # (N, C, ...) -> (M, C)
        count = self.count + len(rows)
        mean = rows.mean(0)
        apart = mean - self.mean
        self.squares = self.squares + (rows - mean).square().sum(0) + apart**2 * (self.count * len(rows) / count)
        self.mean = self.mean + apart * (len(rows) / count)
        self.count = count


@torch.no_grad()
def recompute_batch_norm(model: nn.Module, batches: Iterable[Tensor], *, names: Collection[str] | None = None) -> None:
    """Set the running mean and variance of a network's batch norms to those of all that these inputs bring to them.

    Every sample counts alike, whatever batch it is in. While measuring, each norm normalizes by the statistics of its
    batch, as in training; all other modules are in evaluation mode. Mode and counts of batches stay as they were.

    Args:
        model: changed in place; without batch norms that keep statistics nothing is computed.
        batches: inputs (N, ...) of the network, N at least 2, usually the training split.
        names: of the norms that are meant; None means all.

    Raises:
        OptionInvalid: there are no batches.

    >>> net = nn.BatchNorm1d(1)
    >>> recompute_batch_norm(net, [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0], [5.0]])])
    >>> net.running_mean, net.running_var
    (tensor([3.]), tensor([2.5000]))
    """
    chosen = {
        module: _Moments()
        for name, module in model.named_modules()
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None and (names is None or name in names)
    }
    if not chosen:
        return
    modes = [(module, module.training) for module in model.modules()]
    kept = {module: (module.momentum, module.num_batches_tracked) for module in chosen}
    handles = [module.register_forward_pre_hook(_taking(moments)) for module, moments in chosen.items()]
    try:
        model.eval()
        for module in chosen:
            module.train()
            module.momentum, module.num_batches_tracked = 0.0, None  # its own running statistics stand still
        for inputs in batches:
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
        for part, mode in modes:
            part.training = mode
        for module, (momentum, counted) in kept.items():
            module.momentum, module.num_batches_tracked = momentum, counted
    for module, moments in chosen.items():
        if moments.count < 2:
            raise OptionInvalid("recompute_batch_norm: a batch norm met fewer than 2 values: pass batches of inputs")
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.copy_(torch.as_tensor(moments.mean))
        module.running_var.copy_(torch.as_tensor(moments.squares) / (moments.count - 1))


def _taking(moments: _Moments) -> Any:
    def take(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        moments.take(inputs[0])

    return take
