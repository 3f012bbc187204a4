"""Copy trained weights into a network, tensor by tensor, and say which came over; all of it or nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainwell.errors import ModelInvalid
from trainwell.models.pretrained.head import AUXILIARY, head_of
from trainwell.models.pretrained.names import is_counter
from trainwell.models.pretrained.recognizing import recognize

NAMED = 3  # tensors that an error or a summary names


@dataclass(frozen=True)
class Loaded:
    """Which tensors of a network came from elsewhere.

    Attributes:
        loaded: were copied.
        missing: are the network's own still, because the source has none: counters of batches.
        unexpected: the source's, for which the network has no place: auxiliary heads, or what it says it leaves out.
        fresh: of the head, and of auxiliary heads, which stay as they were.
        summary: all this in a sentence.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    fresh: tuple[str, ...]
    summary: str


def load_into(
    network: nn.Module, tensors: Mapping[str, Tensor], *, head: Literal["keep", "fresh"], name: str
) -> Loaded:
    """Copy tensors into the parameters and buffers of a network that have their names, in place.

    Values take the network's precision and device, and nothing else about it changes; where anything is refused,
    nothing at all. A network may stand behind a layer of the preprocessing, or in a wrapper: names are compared from
    where they agree. It may say by an attribute `leaves_out`, a tuple of beginnings of names, what of the source it has
    no use for.

    Args:
        network: of the same architecture.
        tensors: by name, as `Pretrained.tensors`.
        head: fresh, where the scores mean something else here: the head stays as it is, whatever its shape, and so do
            classifiers in the middle of the network (`aux1`, `aux2`); or keep, to take them over.
        name: of the source, for what is said.

    Raises:
        ModelInvalid: a shape differs, a tensor is missing, or one is left over.

    >>> from trainwell.models.resnet import cifar_resnet
    >>> source, network = cifar_resnet(3, 10, depth=8), cifar_resnet(3, 5, depth=8)
    >>> print(load_into(network, source.state_dict(), head="fresh", name="a net of mine").summary)
    42 of 44 tensors loaded from a net of mine; the head fc is new: 10 -> 5 outputs
    """
    own, stored, beginning = _aligned(network, tensors)
    head_name = _head_name(network, is_needed=head == "fresh").removeprefix(beginning)
    plan = _Plan(own, stored, head_name, is_fresh=head == "fresh", leaves_out=_leaves_out(network))
    faults = plan.faults(name)
    if faults:
        raise ModelInvalid("; ".join(faults) + "; nothing was loaded")
    with torch.no_grad():
        for key in plan.loaded:
            own[key].copy_(stored[key])
    return Loaded(
        loaded=tuple(beginning + key for key in plan.loaded),
        missing=tuple(beginning + key for key in plan.missing),
        unexpected=tuple(plan.unexpected),
        fresh=tuple(beginning + key for key in plan.fresh),
        summary=plan.summary(name),
    )


def _head_name(network: nn.Module, *, is_needed: bool) -> str:
    try:
        return head_of(network)[0]
    except ModelInvalid:  # a norm alone, for instance
        if is_needed:
            raise
        return ""


def _leaves_out(network: nn.Module) -> tuple[str, ...]:
    said = [getattr(part, "leaves_out", ()) for part in (network, *network.children())]
    return tuple(one for names in said if isinstance(names, tuple) for one in names)


def _aligned(network: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """Return the network's tensors and the stored ones by common names, and what stands before the network's."""
    own = {key: value for key, value in network.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    beginnings = ["", *(f"{name}." for name, _ in network.named_children())]
    best = max(beginnings, key=lambda one: sum(one + key in own for key in tensors))
    is_behind = isinstance(network, nn.Sequential) and len(network) == 2 and best == "1."
    outside = [] if is_behind else [key for key in own if not key.startswith(best)]
    if outside:  # a wrapper with weights of its own is no wrapper
        best = ""
    return {key.removeprefix(best): value for key, value in own.items() if key.startswith(best)}, dict(tensors), best


class _Plan:
    """Which tensors are copied, which stay, and what speaks against it."""

    def __init__(
        self,
        own: Mapping[str, Tensor],
        stored: Mapping[str, Tensor],
        head: str,
        *,
        is_fresh: bool,
        leaves_out: tuple[str, ...],
    ) -> None:
        self.own, self.stored, self.head, self.is_fresh = own, stored, head, is_fresh
        heads = (f"{head}.", *AUXILIARY)
        self.fresh = [key for key in own if key.startswith(heads) and (is_fresh or _is_auxiliary(key, stored))]
        wanted = [key for key in own if key not in set(self.fresh)]
        shared = [key for key in wanted if key in stored]
        self.misfits = [key for key in shared if not _agree(own[key], stored[key]) and not is_counter(key)]
        self.loaded = [key for key in shared if _agree(own[key], stored[key])]
        self.missing = [key for key in wanted if key not in stored and is_counter(key)]
        self.absent = [key for key in wanted if key not in stored and not is_counter(key)]
        over = [key for key in stored if key not in own and not (is_fresh and key.startswith(f"{head}."))]
        self.unexpected = [key for key in over if key.startswith((*AUXILIARY, *leaves_out)) or is_counter(key)]
        self.surplus = [key for key in over if key not in set(self.unexpected)]

    def faults(self, name: str) -> list[str]:
        """Say what cannot be loaded, the cause first."""
        first = next((key for key, value in self.own.items() if value.dim() == 4), None)
        if first in self.misfits and self.own[first].shape[2:] == self.stored[first].shape[2:]:
            channels = self.stored[first].shape[1], self.own[first].shape[1]
            if channels[0] != channels[1]:
                colours = ": read the images as RGB, --set data.color=rgb" if channels[0] == 3 else ""
                return [
                    f"the first convolution {first.rpartition('.')[0]} reads {channels[0]} channels in {name} and"
                    f" {channels[1]} here{colours}"
                ]
        if not self.misfits and not self.absent and not self.surplus:
            return []
        if all(key.startswith((f"{self.head}.", *AUXILIARY)) for key in (*self.misfits, *self.absent, *self.surplus)):
            return [self._misfit_of_head(name)]
        return [*self._differences(name), self._likely_cause(name)]

    def _misfit_of_head(self, name: str) -> str:
        theirs, ours = self._classes()
        if not theirs:
            return f"{name} has no head {self.head}: let it begin anew, head='fresh'"
        if theirs == ours:
            return f"the head {self.head} is built otherwise in {name}: build it alike, or take head='fresh'"
        return (
            f"the head {self.head} gives {theirs} scores in {name} and {ours} here: let it begin anew, head='fresh', or"
            f" ask for a network of {theirs} classes"
        )

    def _differences(self, name: str) -> list[str]:
        said = []
        if self.absent:
            count = f"{len(self.absent)} of the network's {len(self.own)} tensors"
            said.append(f"{count} are not in {name}: {_few(self.absent)}")
        if self.surplus:
            count = f"{len(self.surplus)} of the {len(self.stored)} tensors of {name}"
            said.append(f"the network has no place for {count}: {_few(self.surplus)}")
        if self.misfits:
            pairs = [(key, self.stored[key], self.own[key]) for key in self.misfits]
            forms = [f"{key} ({_form(there, here)} there, {_form(here, there)} here)" for key, there, here in pairs]
            said.append(f"{_counted(len(forms))} another form: {_few(forms)}")
        return said

    def _likely_cause(self, name: str) -> str:
        fitting = recognize(self.stored)
        if fitting is not None:
            return f"{name} is of another architecture: its tensors are those of {fitting}, so take that as the model"
        return (
            f"{name} is of another architecture, depth or width: take the network that it was made with (its head is"
            f" taken to be {self.head}; a network says otherwise by an attribute `head`)"
        )

    def summary(self, name: str) -> str:
        """Say in a sentence what was loaded, what is new and what is not used."""
        said = f"{len(self.loaded)} of {len(self.own)} tensors loaded from {name}"
        if self.is_fresh:
            theirs, ours = self._classes()
            change = f"{theirs} -> {ours} outputs" if theirs else f"{ours} outputs"
            said += f"; the head {self.head} is new: {change}"
        beside = sorted({key.partition(".")[0] for key in self.fresh if key.startswith(AUXILIARY)})
        if beside:
            said += f"; new too: {', '.join(beside)}"
        if self.missing:
            said += f"; {len(self.missing)} counts of batches are not in the file and stay as they are"
        unused = sorted({key.partition(".")[0] for key in self.unexpected if not is_counter(key)})
        if unused:
            said += f"; not used: {', '.join(unused)}"
        return said

    def _classes(self) -> tuple[int, int]:
        """Return how many scores the head gives, there and here; 0 where it cannot be seen."""
        return _scores(self.stored, self.head), _scores(self.own, self.head)


def _scores(tensors: Mapping[str, Tensor], head: str) -> int:
    matrices = [value for key, value in tensors.items() if key.startswith(f"{head}.") and value.dim() >= 2]
    return matrices[-1].shape[0] if matrices else 0


def _is_auxiliary(key: str, stored: Iterable[str]) -> bool:
    """Whether a tensor is of an auxiliary head that the source does not have, such as a network stripped of them."""
    return key.startswith(AUXILIARY) and not any(other.startswith(key.partition(".")[0] + ".") for other in stored)


def _agree(own: Tensor, stored: Tensor) -> bool:
    return own.shape == stored.shape and own.is_floating_point() == stored.is_floating_point()


def _few(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _counted(count: int) -> str:
    return "1 tensor has" if count == 1 else f"{count} tensors have"


def _form(tensor: Tensor, other: Tensor) -> str:
    """Say the shape of a tensor, or its numbers where the shapes agree."""
    return str(tensor.dtype).removeprefix("torch.") if tensor.shape == other.shape else _shape(tensor)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
