"""What a network does on one batch, operation by operation, with the module that ran it and what it read and wrote."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainwell.models.anatomy.counting import POOLING, SOFTMAX, SPATIAL_MEANS, cost_of, plain_name, units_of
from trainwell.models.anatomy.fields import Reach, of_input
from trainwell.models.anatomy.rules import follow
from trainwell.models.anatomy.shortcuts import shape_of_result

Origin = Literal["input", "weights", "other"]
FLOAT32 = 4  # bytes
# Also in place, where no entry changes.
MOVING = {"transpose", "squeeze", "unsqueeze", "t", "set", "resize", "as_strided"}
# What takes only shape and type from a tensor.
FACTORIES = ("new_", "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like")
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Seen:
    """What is known of a tensor: the step that made it (-1: it was there), and what it depends on."""

    step: int
    origin: Origin
    weights: frozenset[str] = NOTHING
    reach: Reach = field(default=Reach(()), repr=False)


@dataclass
class Step:
    """One operation.

    Attributes:
        name: plain: `convolution`.
        call: place of the call of a module that ran it.
        sources: steps that it read and that depend on the input; -1 is the input itself.
        origin: whether its value depends on the input, only on weights, or on neither.
        weights: parameters that it read, themselves or in what was computed from them.
        shape: of what it gave.
        multiply_adds: on the batch; None where they are not known.
        is_product: whether it is a convolution or a matrix product.
        is_view: whether it only gave another view.
        kind: `pool` and `softmax` are told apart for the counts that they cost something in.
        inputs: elements that it read of what depends on the input, the first tensor's.
        outputs: elements that it gave.
        folded: (weights, units) of its parameters, where it is a product with some.
        stride: the largest step of its windows or of its slice.
        read, written: storages; `written` with the bytes of each at float32.
    """

    name: str
    call: int
    sources: tuple[int, ...]
    origin: Origin
    weights: frozenset[str]
    shape: tuple[int, ...]
    multiply_adds: int | None
    is_product: bool
    is_view: bool
    kind: Literal["", "pool", "softmax"]
    inputs: int
    outputs: int
    folded: tuple[int, int] | None
    stride: int
    read: frozenset[int]
    written: dict[int, int]


@dataclass
class Call:
    """One call of a module: its path, what it gave, and whether other modules ran inside it."""

    path: str
    module: nn.Module
    parent: int
    first: int
    has_children: bool = False
    shape: tuple[int, ...] = ()
    reach: Reach | None = None


class Watch(TorchDispatchMode):
    """While it is on, notes every operation; it holds on to all tensors, so that none is mistaken for another."""

    def __init__(self, network: nn.Module, inputs: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self.calls: list[Call] = []
        self.reaches: list[Reach] = []  # of what each step gave
        self.in_channels = inputs[0].shape[1] if inputs[0].ndim > 1 else 1
        self.kept: dict[int, int] = {}  # storage -> bytes that autograd keeps of it
        self.trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        self.sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
        self._running: list[int] = []
        self._seen: dict[int, Seen] = {}
        self._alive: list[Tensor] = []
        self._changed: dict[int, Seen] = {}  # storage -> the last step that wrote over it
        self._fixed: set[int] = set()  # storages of weights and buffers
        for name, parameter in network.named_parameters():
            self._know(parameter, Seen(-1, "weights", frozenset([name])))
            self._fixed.add(_storage(parameter))
        for buffer in network.buffers():
            self._know(buffer, Seen(-1, "weights"))
            self._fixed.add(_storage(buffer))
        for one in inputs:
            self._know(one, Seen(-1, "input", reach=of_input(one.shape)))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that torch need not load its compiler, which takes seconds, only to keep it away from here."""
        return False

    @contextmanager
    def on(self, network: nn.Module) -> Iterator[None]:
        """Watch in the block: which module runs, what it does, and what autograd keeps for the way back."""

        def enter(path: str) -> Callable[..., None]:
            return lambda module, args: self._enter(path, module)

        handles: list[Any] = []
        try:
            if isinstance(network, torch.jit.ScriptModule):  # takes no hooks: its operations stand for themselves
                self._running = [0]
                self.calls = [Call("", network, -1, 0, has_children=True)]
            for path, module in network.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue
                handles.append(module.register_forward_pre_hook(enter(path)))
                handles.append(module.register_forward_hook(self._leave))
            with saved_tensors_hooks(self._keep, _never), torch.enable_grad(), self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def seen(self, tensor: Tensor) -> Seen:
        """Return what is known of a tensor."""
        own = self._seen.get(id(tensor), Seen(-1, "other"))
        changed = self._changed.get(_storage(tensor))
        if changed is None or changed.step <= own.step:
            return own
        if own.origin == "input":
            return Seen(changed.step, "input", own.weights | changed.weights, own.reach)
        lost = Reach(((),) * tensor.ndim, lost=self.steps[changed.step].name)  # where it was written is not known
        return Seen(changed.step, changed.origin, own.weights | changed.weights, lost)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and note it."""
        named = dict(kwargs or {})
        result = shape_of_result(func, args, named)
        result = func(*args, **named) if result is None else result
        if _tensors(result):
            self._note(func, args, named, _tensors((args, named)), result)
        return result

    def _note(self, func: Any, args: tuple[Any, ...], named: dict[str, Any], read: list[Tensor], result: Any) -> None:
        given = _tensors(result)
        known = [(self.seen(one), one) for one in read]
        name, cost = plain_name(func), cost_of(func, args, named, result)
        is_new = name.startswith(FACTORIES)
        inputs = [(seen, one) for seen, one in known if seen.origin == "input" and not is_new]
        weights = NOTHING.union(*(seen.weights for seen, _ in known if seen.origin != "input"))
        only_weights = bool(known) and not is_new and all(seen.origin == "weights" for seen, _ in known)
        origin: Origin = "input" if inputs else "weights" if only_weights else "other"
        reach = Reach(())
        if inputs:
            reach = follow(func, args, named, [(seen.reach, one) for seen, one in inputs], given)
        before = {_storage(one) for one in read}
        values = given[:1] if "batch_norm" in name else given  # its statistics are the batch's, not a sample's
        written = {_storage(one): _bytes(one) for one in values if _storage(one) not in before}
        kind = self._kind(name, inputs, reach)
        place = len(self.steps)
        self.steps.append(
            Step(
                name=name,
                call=self._running[-1] if self._running else 0,
                sources=tuple(dict.fromkeys(seen.step for seen, _ in inputs)),
                origin=origin,
                weights=weights,
                shape=tuple(given[0].shape),
                multiply_adds=cost.multiply_adds,
                is_product=cost.is_product,
                is_view=not written and (name in MOVING or not func._schema.is_mutable),
                kind=kind,
                inputs=inputs[0][1].numel() if inputs else 0,
                outputs=given[0].numel(),
                folded=_folded(name, known, given[0]) if cost.is_product and weights else None,
                stride=_stride(func, args),
                read=frozenset(before - self._fixed),
                written=written,
            )
        )
        self.reaches.append(reach)
        shapes = {tuple(given[0].shape): reach}
        for one in given:
            there = shapes.get(tuple(one.shape))
            if there is None:  # of several results of one operation, each split has its own size
                there = follow(func, args, named, [(seen.reach, t) for seen, t in inputs], [one]) if inputs else reach
            seen = Seen(place, origin, NOTHING if inputs else weights, there)
            self._know(one, seen)
            if _storage(one) in before and not func.is_view and _storage(one) not in self._fixed:
                self._changed[_storage(one)] = seen

    def _kind(self, name: str, inputs: list[tuple[Seen, Tensor]], reach: Reach) -> Literal["", "pool", "softmax"]:
        """Tell pooling over places and softmax apart: a mean over channels is no pooling."""
        if name in SOFTMAX:
            return "softmax"
        if inputs and (name.startswith(POOLING) or name in SPATIAL_MEANS):
            before, after = inputs[0][0].reach.field(), reach.field()
            units = [sum(span.count for dim in each.dims for span in dim) for each in (inputs[0][0].reach, reach)]
            if before != after or units[0] != units[1]:
                return "pool"
        return ""

    def _know(self, tensor: Tensor, seen: Seen) -> None:
        self._seen[id(tensor)] = seen
        self._alive.append(tensor)

    def _enter(self, path: str, module: nn.Module) -> None:
        parent = self._running[-1] if self._running else -1
        if parent >= 0 and ".parametrizations." in f".{path}.":  # weights that are computed belong to their layer
            self._running.append(parent)
            return
        if parent >= 0:
            self.calls[parent].has_children = True
        self._running.append(len(self.calls))
        self.calls.append(Call(path, module, parent, len(self.steps)))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self.calls[self._running.pop()]
        first = next((one for one in tree_leaves(output) if isinstance(one, Tensor)), None)
        if first is not None and call.module is module:
            call.shape, call.reach = tuple(first.shape), self.seen(first).reach

    def _keep(self, tensor: Tensor) -> None:
        storage = _storage(tensor)
        if storage not in self._fixed:
            self._alive.append(tensor)
            self.kept[storage] = max(self.kept.get(storage, 0), _bytes(tensor))


def _tensors(values: Any) -> list[Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, Tensor)]


def _never(packed: None) -> Tensor:
    raise AssertionError("nothing goes back through this pass")


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of what a tensor's storage holds, floats as float32."""
    elements = tensor.untyped_storage().nbytes() // tensor.itemsize
    return elements * (FLOAT32 if tensor.is_floating_point() else tensor.itemsize)


def _folded(name: str, known: list[tuple[Seen, Tensor]], output: Tensor) -> tuple[int, int] | None:
    """Return (weights, units) of the parameters that a product multiplies with."""
    factors = [(seen, one) for seen, one in known if seen.origin == "weights" and one.ndim > 1]
    if not factors:
        return None
    weight = max((one for _, one in factors), key=Tensor.numel)
    return weight.numel(), units_of(name, weight, output)


def _stride(func: Any, args: tuple[Any, ...]) -> int:
    """Return the largest stride of a convolution or step of a slice; 1 for everything else."""
    names = [argument.name for argument in func._schema.arguments]
    value = next((args[names.index(word)] for word in ("stride", "step") if word in names[: len(args)]), 1)
    numbers = value if isinstance(value, (list, tuple)) else [value]
    return max((number for number in numbers if isinstance(number, int)), default=1)
