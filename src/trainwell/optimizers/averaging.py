"""An average of the weights over the steps, which is usually better than the weights of any one step.

`EMA` forgets what is long ago; `SWA` weighs all that it is given alike.

Source: Polyak & Juditsky 1992; Izmailov et al. 2018, "Averaging weights leads to wider optima and better
generalization", arXiv:1803.05407.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainwell.errors import OptionInvalid, RunDamaged

UPDATES = "updates"
WEIGHTS = "model."  # in front of each of the network's own names, so that none can collide with ours


class EMA:
    """Exponential moving average of a network's weights, kept in a copy that is ready to evaluate.

        average += (1 - d_t) * (weights - average),     d_t = min(decay, (1 + t) / (10 + t))

    t counts updates from 0. The ramp of d_t keeps a short run from remembering its random start; the
    horizon of the full average is 1 / (1 - decay) updates.

    Parameters and floating-point buffers (the running statistics of batch norm) are averaged alike,
    so that statistics and weights belong together; integer buffers (step counters) keep the value
    that they had at the start, since no forward pass in evaluation reads them. An average is float32 at least.

    Attributes:
        model: the averaged network, in evaluation mode, without gradients. Not moved when the
            original moves: make the EMA after the network is on its device.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> ema = EMA(net, decay=0.9)
    >>> before = net.weight.item()
    >>> with torch.no_grad(): _ = net.weight.add_(1.0)
    >>> ema.update()
    >>> round(ema.model.weight.item() - before, 4)   # the first update keeps 1/10 of the start
    0.9
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise OptionInvalid(f"EMA:decay must be a number >= 0 and < 1, got {decay!r}: usual are 0.99 to 0.9999")
        self.decay = decay
        self.updates = 0
        self.model = _copied(model)
        self._parameters = list(model.parameters())
        self._averages = [average.data for average in self.model.parameters()]
        self._owners: list[tuple[nn.Module, str]] = []  # a buffer is looked up anew: modules replace theirs
        for ours, theirs in zip(self.model.modules(), model.modules(), strict=True):
            for name, buffer in ours.named_buffers(recurse=False):
                if buffer.is_floating_point():
                    self._averages.append(buffer)
                    self._owners.append((theirs, name))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network's present weights; call once after each optimizer step.

        One fused-list operation, no synchronization with the device.
        """
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current: list[Tensor] = [*self._parameters, *(getattr(owner, name) for owner, name in self._owners)]
        if any(now.dtype != average.dtype for now, average in zip(current, self._averages, strict=True)):
            current = [now.to(average.dtype) for now, average in zip(current, self._averages, strict=True)]
        torch._foreach_lerp_(self._averages, current, 1.0 - decay)  # pyright: ignore[reportPrivateImportUsage]
        self.updates += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all tensors of the averaged network by name, and the count of updates."""
        return _stored(self.model, self.updates)

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` returned, by copying into the averaged network.

        Raises:
            RunDamaged: a tensor is missing, unknown or of another shape; the average is untouched.
        """
        self.updates = _put_back(self.model, tensors)


class SWA:
    """Stochastic weight averaging: the mean of a network's weights at the times of `update`, all weighed alike.

        average += (weights - average) / (n + 1)            n updates before this one

    Called at the ends of the last epochs, while the rate is constant or cyclic, it lies in the middle of what
    training wanders through. The running statistics of batch norms belong to no average of weights: `update` copies
    the network's, and `recompute_batch_norm` has to measure them anew before the average is used. Other buffers are
    copied too. An average is float32 at least.

    Attributes:
        model: the averaged network, in evaluation mode, without gradients; before the first update a copy of the
            network as it was given. Not moved when the original moves.
        updates: how many weights are in the average.

    Costs one copy of the weights, and a forward pass over the training data where there are batch norms.

    Source: Izmailov et al. 2018, arXiv:1803.05407, algorithm 1.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> swa = SWA(net)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(net.weight, value); swa.update()
    >>> swa.model.weight.item()
    3.0
    """

    def __init__(self, model: nn.Module) -> None:
        self.updates = 0
        self.model = _copied(model)
        self._source = model
        self._parameters = list(model.parameters())
        self._averages = [average.data for average in self.model.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's present weights into the average."""
        pairs = zip(self._parameters, self._averages, strict=True)
        current: list[Tensor] = [now.to(average.dtype) for now, average in pairs]
        torch._foreach_lerp_(self._averages, current, 1 / (self.updates + 1))  # pyright: ignore[reportPrivateImportUsage]
        for ours, theirs in zip(self.model.modules(), self._source.modules(), strict=True):
            for name, buffer in ours.named_buffers(recurse=False):
                buffer.copy_(getattr(theirs, name))
        self.updates += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all tensors of the averaged network by name, and the count of updates."""
        return _stored(self.model, self.updates)

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` returned, by copying into the averaged network.

        Raises:
            RunDamaged: a tensor is missing, unknown or of another shape; the average is untouched.
        """
        self.updates = _put_back(self.model, tensors)


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy for evaluation, in which floating-point tensors are float32 at least."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    for tensor in [*copied.parameters(), *copied.buffers()]:
        if tensor.is_floating_point() and torch.finfo(tensor.dtype).bits < 32:
            tensor.data = tensor.data.float()
    return copied


def _stored(model: nn.Module, updates: int) -> dict[str, Tensor]:
    tensors = {WEIGHTS + name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return {UPDATES: torch.tensor(updates, dtype=torch.int64), **tensors}


def _put_back(model: nn.Module, tensors: Mapping[str, Tensor]) -> int:
    """Copy what `_stored` returned into a model, and return the count of updates."""
    own = {WEIGHTS + name: tensor for name, tensor in model.state_dict().items()}
    faults = sorted(own.keys() ^ (tensors.keys() - {UPDATES}))
    faults += [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if faults or UPDATES not in tensors:
        names = ", ".join(faults) or UPDATES
        raise RunDamaged(f"the stored average does not belong to this network: check {names}")
    for name, tensor in own.items():
        tensor.data.copy_(tensors[name])
    return int(tensors[UPDATES])
