"""One pass of a batch through a network whose layers are set on the way, and everything else as it was afterwards."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.errors import DataInvalid, ModelInvalid, OptionInvalid, UserError
from trainwell.initialization.sites import LAZY, Site

LEAST_SAMPLES = 2
STILL = 64.0  # times the rounding of a value: spread of outputs below it comes from rounding alone

Act = Callable[[Site, tuple[Any, ...], Tensor], Tensor | None]
Prepare = Callable[[Site, tuple[Any, ...]], None]


def own_generator(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator given, or one that torch's own seeds, so that nothing else moves what is drawn.

    Raises:
        OptionInvalid: something else was given.
    """
    if generator is None:
        return torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    if not isinstance(generator, torch.Generator):
        raise OptionInvalid(f"generator must be a torch.Generator or None, got {type(generator).__name__}")
    return generator


def require_batch(batch: Tensor | None, *, choice: str) -> Tensor:
    """Return the batch, which a member that measures activations cannot do without.

    Raises:
        OptionInvalid: there is none.
    """
    if batch is None:
        raise OptionInvalid(f"{choice} measures activations: pass batch=, some inputs of the network (N, ...)")
    return batch


def check_batch(model: nn.Module, batch: object) -> Tensor:
    """Return a batch on the device and in the precision of a network's weights.

    Raises:
        DataInvalid: no tensor, fewer than two samples, or NaN or Inf in it.
        ModelInvalid: the network has lazy layers.
    """
    if not isinstance(batch, Tensor):
        raise DataInvalid(
            "batch must be the inputs of the network as one tensor (N, ...), got"
            f" {type(batch).__name__}: of what a loader gives, pass the inputs alone"
        )
    if batch.dim() < 1 or len(batch) < LEAST_SAMPLES:
        raise DataInvalid(
            f"batch must hold at least {LEAST_SAMPLES} samples, got shape {tuple(batch.shape)}: the spread of"
            " activations is taken over samples, so pass some dozens"
        )
    lazy = [name for name, parameter in model.named_parameters() if nn.parameter.is_lazy(parameter)]
    if lazy:
        raise ModelInvalid(f"{lazy[0]} is {LAZY}")
    weight = next(parameter for parameter in model.parameters())
    if not batch.is_floating_point():
        return batch.to(weight.device)
    bad = int(batch.numel() - batch.isfinite().sum())
    if bad:
        raise DataInvalid(
            f"batch holds NaN or Inf in {bad:,} of its {batch.numel():,} values: nothing can be measured on it; clean"
            " the data first"
        )
    return batch.to(weight.device, weight.dtype if weight.is_floating_point() else None)


@contextmanager
def undisturbed(model: nn.Module, sites: Sequence[Site]) -> Iterator[None]:
    """Evaluate a network in a block: no dropout, batch norm by its running statistics, no gradients kept.

    Afterwards each module is in its own mode, buffers and torch's random state are as before; where the block fails,
    the weights and biases of the sites are too.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    kept = [(held, held.clone()) for site in sites for held in _held(site)]
    devices = sorted({parameter.device.index or 0 for parameter in model.parameters() if parameter.is_cuda})
    is_fast = torch.backends.mha.get_fastpath_enabled()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            model.eval()
            torch.backends.mha.set_fastpath_enabled(False)  # it would pass by the layers within attention
            yield
    except BaseException:
        for held, value in kept:
            held.copy_(value)
        raise
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
        for module, is_training in modes:
            module.training = is_training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _held(site: Site) -> list[Tensor]:
    return [site.weight.detach(), *([] if site.bias is None else [site.bias.detach()])]


class Visits:
    """Which layers a pass reached: how often each, and in which order.

    `act` is called with the outputs of each site at its first visit, and may give others in their place; `prepare` with
    the inputs, before it answers.
    """

    def __init__(self, sites: Sequence[Site], *, act: Act, prepare: Prepare | None = None) -> None:
        self.sites, self.act, self.prepare = sites, act, prepare
        self.counts = {site.name: 0 for site in sites}
        self.order: list[Site] = []

    def run(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Send a batch through the network and return what it answers.

        Raises:
            ModelInvalid: the network cannot take the batch, or answers with something else than a tensor.
        """
        with ExitStack() as hooks:
            for site in self.sites:
                if self.prepare is not None:
                    handle = site.module.register_forward_pre_hook(self._before(site))
                    hooks.callback(handle.remove)
                handle = site.module.register_forward_hook(self._after(site), prepend=True)
                hooks.callback(handle.remove)
            return answer(model, batch)

    def _before(self, site: Site) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not self.counts[site.name] and self.prepare is not None:
                self.prepare(site, inputs)

        return look

    def _after(self, site: Site) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def look(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            self.counts[site.name] += 1
            if self.counts[site.name] > 1:
                return None
            self.order.append(site)
            return self.act(site, inputs, output)

        return look

    def remark(self, site: Site) -> str:
        """Say what is out of the ordinary about the visits of a site, or nothing."""
        count = self.counts[site.name]
        return f"; used {count} times, and this holds for the first" if count > 1 else ""


def answer(model: nn.Module, batch: Tensor) -> Tensor:
    """Return what a network answers to a batch.

    Raises:
        ModelInvalid: it cannot take the batch, or answers with something else than a tensor.
    """
    try:
        output = model(batch)
    except UserError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ModelInvalid(
            f"{type(model).__name__} cannot take the batch of shape {tuple(batch.shape)}: {error}: pass inputs as in"
            " training"
        ) from error
    if not isinstance(output, Tensor):
        raise ModelInvalid(f"the network must answer with one tensor, got {type(output).__name__}")
    return output


def check_outputs(site: Site, output: object) -> Tensor:
    """Return the outputs of a layer, where they are finite.

    Raises:
        ModelInvalid: NaN or Inf among them, though the batch has none.
    """
    if not isinstance(output, Tensor):
        raise ModelInvalid(f"{site.name} must answer with one tensor, got {type(output).__name__}")
    if not bool(output.sum().isfinite()) and not bool(output.isfinite().all()):
        raise ModelInvalid(
            f"{site.name or 'the network'} answers with NaN or Inf, though the batch is finite: look for a division,"
            " root or logarithm before it, or inputs too large for the precision"
        )
    return output


def channel_dims(site: Site, output: Tensor) -> list[int]:
    """Return the dimensions of a layer's outputs over which one channel extends."""
    channel = output.dim() - 1 - site.spatial
    return [dim for dim in range(output.dim()) if dim != channel]


def is_still(variance: Tensor, mean: Tensor) -> Tensor:
    """Whether values do not vary but for rounding, elementwise."""
    floor = (STILL * torch.finfo(variance.dtype).eps) ** 2
    return variance <= floor * (mean.square() + variance)
