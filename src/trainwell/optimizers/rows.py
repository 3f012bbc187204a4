"""Many tensors as one vector: the state of all parameters that move, end to end in rows of one buffer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from operator import is_, itemgetter
from typing import Any, TypeAlias

import torch
from torch import Tensor

from trainwell.errors import OptionInvalid
from trainwell.optimizers.fused import FUSED_DEVICES

States: TypeAlias = Mapping[Tensor, dict[str, Any]]
DTYPES = (torch.float32, torch.float64)
LARGE = 1 << 14  # elements; a smaller tensor is sooner copied to its neighbours than measured alone


class Rows:
    """State of all parameters in rows of one buffer, with a view for each parameter in its own memory order.

    `state[parameter][name]` is the view. Whoever puts other tensors there, as a checkpoint does, is noticed by
    `is_current`; new rows then begin with a copy of them.

    Args:
        groups: parameters that move, by group.
        state: the optimizer's; values are taken over, then replaced by views. It need not hold any.
        kept: names of the rows, each with what it begins with: zeros like a parameter, or its own values.

    Attributes:
        late: places of the parameters that had no state; for the owner to empty once they have some.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[Tensor]],
        state: dict[Tensor, dict[str, Any]],
        kept: Mapping[str, Callable[[Tensor], Tensor]],
    ) -> None:
        self.parameters = [parameter for group in groups for parameter in group]
        sizes = [parameter.numel() for parameter in self.parameters]
        first = self.parameters[0]
        buffer = torch.zeros(len(kept), sum(sizes), dtype=first.dtype, device=first.device)
        self.rows = dict(zip(kept, buffer, strict=True))
        self.views = {name: _like(row.split(sizes), self.parameters) for name, row in self.rows.items()}
        self.weights = [_flat(parameter.detach()) for parameter in self.parameters]
        self.flat_views = {name: list(map(_flat, views)) for name, views in self.views.items()}
        ends = list(accumulate(len(group) for group in groups))
        self.parts = [slice(end - len(group), end) for end, group in zip(ends, groups, strict=True)]
        self._small = [place for place, size in enumerate(sizes) if size < LARGE]
        self._large = [place for place, size in enumerate(sizes) if size >= LARGE]
        small = [sizes[place] for place in self._small]
        self._scratch = buffer.new_empty(sum(small))
        self._scratch_views = [
            _flat(view) for view in _like(self._scratch.split(small), [self.parameters[at] for at in self._small])
        ]
        self._turned = [place for place, p in enumerate(self.parameters) if not p.is_contiguous()]
        self._strides = list(map(Tensor.stride, self.parameters))
        self._addresses = list(map(Tensor.data_ptr, self.parameters))
        self.late = [place for place, parameter in enumerate(self.parameters) if not state.get(parameter)]
        self._entries = [self._take_over(place, state, kept) for place in range(len(self.parameters))]

    def _take_over(
        self, place: int, state: dict[Tensor, dict[str, Any]], kept: Mapping[str, Callable[[Tensor], Tensor]]
    ) -> dict[str, Any]:
        parameter = self.parameters[place]
        before = state.get(parameter, {})
        entry = {name: self.views[name][place] for name in kept}
        for name, view in entry.items():
            view.copy_(before[name] if name in before else kept[name](parameter))
        state[parameter] = entry
        return entry

    def is_current(self, parameters: Sequence[Tensor], state: States) -> bool:
        """Whether these parameters move, still lie where they lay, and have the views for their state."""
        if len(parameters) != len(self.parameters) or not all(map(is_, parameters, self.parameters)):
            return False
        if not all(map(is_, map(state.get, parameters), self._entries)):
            return False
        return list(map(Tensor.data_ptr, parameters)) == self._addresses and all(
            all(map(is_, map(itemgetter(name), self._entries), views)) for name, views in self.views.items()
        )

    def square(self, gradients: list[Tensor]) -> float:
        """Return the squared norm of all gradients, aligned ones; waits for the device once."""
        vectors = [gradients[place].view(-1) for place in self._large]
        if self._small:  # the kernel refuses empty lists
            self._scratch.zero_()
            decay_and_add(self._scratch_views, [gradients[place] for place in self._small], keep=1.0)
            vectors.insert(0, self._scratch)
        parts = [torch.dot(vector, vector) for vector in vectors]
        values: list[float] = [part.item() for part in parts] if self._scratch.is_cpu else torch.stack(parts).tolist()
        return sum(values)

    def aligned(self, gradients: list[Tensor]) -> list[Tensor]:
        """Return gradients in the memory order of `weights`, as kernels need them that walk both in step."""
        if not self._turned and all(map(Tensor.is_contiguous, gradients)):
            return gradients
        aligned = [
            gradient if gradient.stride() == stride else torch.empty_like(parameter).copy_(gradient)
            for gradient, stride, parameter in zip(gradients, self._strides, self.parameters, strict=True)
        ]
        for place in self._turned:
            aligned[place] = _flat(aligned[place])
        return aligned


def decay_and_add(tensors: list[Tensor], others: list[Tensor], *, keep: float, factor: float = 1.0) -> None:
    """Do x = keep * x + factor * y for each x of a list and y of another, in place.

    As a step of gradient descent with weight decay: x + factor (y + (keep - 1) / factor x). Its kernel is the one of
    torch that walks lists on the CPU at no cost per tensor.
    """
    torch._fused_sgd_(
        tensors,
        others,
        [],
        weight_decay=(keep - 1) / factor,
        momentum=0.0,
        lr=-factor,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def _like(pieces: Iterable[Tensor], parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return each piece of a vector in the shape and memory order of a parameter."""
    return [piece.as_strided(p.shape, p.stride()) for piece, p in zip(pieces, parameters, strict=True)]


def _flat(tensor: Tensor) -> Tensor:
    """Return a tensor as it is, or, where its order in memory is another than that of its indices, as its memory."""
    return tensor if tensor.is_contiguous() else tensor.as_strided((tensor.numel(),), (1,))


def check_rows(owner: str, parameters: Iterable[Tensor]) -> None:
    """Refuse parameters that cannot lie in one row.

    Raises:
        OptionInvalid: they are of several types or devices, of low precision, or have gaps in memory.

    >>> check_rows("yellowfin", [torch.zeros(2), torch.zeros(2, dtype=torch.float64)])
    Traceback (most recent call last):
        ...
    trainwell.errors.OptionInvalid: yellowfin:params must be of one type, got torch.float32 and torch.float64: ...
    """
    parameters = list(parameters)
    dtypes = sorted({str(parameter.dtype) for parameter in parameters})
    devices = sorted({str(parameter.device) for parameter in parameters})
    allowed = [str(dtype) for dtype in DTYPES]
    if len(dtypes) > 1:
        fault = (
            f"must be of one type, got {' and '.join(dtypes)}: all gradients are measured as one vector; use .float()"
        )
    elif dtypes and dtypes[0] not in allowed:
        fault = (
            f"must be {' or '.join(allowed)}, got {dtypes[0]}, too coarse for averages over a thousand steps: keep"
            " weights in float32 and compute in lower precision under autocast"
        )
    elif len(devices) > 1:
        fault = f"must be on one device, got {' and '.join(devices)}: all gradients are measured as one vector"
    elif devices and devices[0].partition(":")[0] not in FUSED_DEVICES:
        fault = f"must be on one of {', '.join(sorted(FUSED_DEVICES))}, got {devices[0]}: move the network first"
    elif any(torch.empty_like(parameter).stride() != parameter.stride() for parameter in parameters):
        fault = "has a tensor with gaps in memory: make it contiguous"
    else:
        return
    raise OptionInvalid(f"{owner}:params {fault}")
