"""From operations to layers: what each one is called, costs and keeps, by the convention of a count."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from trainwell.models.anatomy.fields import Reach
from trainwell.models.anatomy.layer import Layer
from trainwell.models.anatomy.paths import Unit
from trainwell.models.anatomy.steps import FLOAT32, Call, Step, Watch

SKIPS_BY_PLACE = ("convolution", "slice")  # operations of a skip that take every second pixel


@dataclass
class _Group:
    """The steps of one layer: a call of a module without others inside, or one step of a larger module."""

    place: tuple[int, int]
    name: str
    kind: str
    call: Call | None = None
    steps: list[int] = field(default_factory=list)


class Rows:
    """The layers of a network that was watched."""

    def __init__(self, watch: Watch, samples: int, count: str) -> None:
        self.watch, self.samples, self.count = watch, samples, count
        self._owned: set[str] = set()
        self._statistics: set[int] = set()
        self._folded: set[frozenset[str]] = set()
        self._names: dict[int, str] = {}
        for call in watch.calls[:1]:
            self._names = {id(parameter): name for name, parameter in call.module.named_parameters()}
        self._lost: list[tuple[str, str]] = []

    def layers(self, units: Sequence[Unit], outputs: Sequence[Tensor]) -> list[Layer]:
        """Return the layers in the order in which they ran."""
        extra = self._subsampling(units) if self.count == "folded" else {}
        layers = [self._layer(group, extra) for group in self._groups()]
        if self.count == "folded" and self._needs_softmax(outputs):
            classes, field = outputs[0].shape[1], layers[-1].field
            layers.append(Layer("softmax", "of the loss", "", "", (classes,), 0, 0, classes, 0, 0, 0, field))
        return layers

    def unused(self) -> tuple[tuple[str, int], ...]:
        """Return the parts that did not run with their parameters, the largest part that stands for itself."""
        ran = {call.path for call in self.watch.calls}
        sizes: dict[str, int] = {}
        for name, size in self.watch.sizes.items():
            if name not in self._owned:
                parts = name.split(".")
                paths = (".".join(parts[:count]) for count in range(1, len(parts)))
                part = next((path for path in paths if not any(f"{one}.".startswith(f"{path}.") for one in ran)), name)
                sizes[part] = sizes.get(part, 0) + size
        return tuple(sizes.items())

    def lost(self) -> tuple[tuple[str, str], ...]:
        """Return (layer, operation) where receptive fields could not be followed any further."""
        return tuple(self._lost)

    def _groups(self) -> list[_Group]:
        """Return the layers' steps, in order; names that come again have a number behind them."""
        calls, groups = self.watch.calls, dict[int, _Group]()
        single: list[_Group] = []
        for number, call in enumerate(calls):
            if not call.has_children:
                kind = type(call.module).__name__.removeprefix("Parametrized")
                groups[number] = _Group((call.first, 0), call.path or kind, kind, call)
        for place, step in enumerate(self.watch.steps):
            if step.call in groups:
                groups[step.call].steps.append(place)
            elif step.origin == "input" and not step.is_view:
                name = step.name.strip("_")
                path = calls[step.call].path if calls else ""
                single.append(_Group((place, 1), ".".join(filter(None, (path, name))), name, steps=[place]))
        ordered = sorted([*filter(_says_something, groups.values()), *single], key=lambda group: group.place)
        counts: dict[str, int] = {}
        for group in ordered:
            counts[group.name] = counts.get(group.name, 0) + 1
            group.name += f"#{counts[group.name]}" if counts[group.name] > 1 else ""
        return ordered

    def _layer(self, group: _Group, extra: dict[int, int]) -> Layer:
        steps = [self.watch.steps[place] for place in group.steps]
        working = [step for step in steps if step.origin != "weights"]
        shape, reach = self._given(group)
        parameters, trainable = self._parameters(group, steps)
        operations = sum(self._cost(step) for step in working) + sum(extra.get(place, 0) for place in group.steps)
        volume = _entries(shape) // self.samples
        memory = sum(size for step in working for size in step.written.values()) // self.samples
        kept = sum(self._kept(step) for step in working) // self.samples
        if isinstance(group.call and group.call.module, nn.modules.dropout._DropoutNd):
            memory, kept = self._dropped(group.call, volume)
        self._note_lost(group.name, reach)
        return Layer(
            name=group.name,
            kind=group.kind,
            detail=_detail(group.call.module) if group.call else "",
            stage="",
            shape=tuple(shape[1:]),
            parameters=parameters,
            trainable=trainable,
            operations=operations // self.samples,
            volume=volume,
            memory=memory,
            kept=kept,
            field=None if reach is None else reach.field(),
            not_counted=tuple(dict.fromkeys(step.name for step in working if step.multiply_adds is None)),
        )

    def _given(self, group: _Group) -> tuple[tuple[int, ...], Reach | None]:
        """Return shape and reach of what a layer gives."""
        if group.call is not None:
            return group.call.shape, group.call.reach
        return self.watch.steps[group.steps[-1]].shape, self.watch.reaches[group.steps[-1]]

    def _parameters(self, group: _Group, steps: Sequence[Step]) -> tuple[int, int]:
        """Return (all, trained) parameters that no earlier layer used, by the convention."""
        used = {name for step in steps for name in step.weights}
        if group.call is not None:
            used |= {self._names[id(one)] for one in group.call.module.parameters() if id(one) in self._names}
        new, trained = used - self._owned, self.watch.trained
        self._owned |= new
        if self.count == "folded":
            return self._folded_parameters(steps)
        both = (sum(self.watch.sizes[name] for name in new), sum(self.watch.sizes[name] for name in new & trained))
        module: Any = group.call.module if group.call else None
        if self.count == "keras" and module is not None and id(module) not in self._statistics:
            self._statistics.add(id(module))
            running = [getattr(module, name, None) for name in ("running_mean", "running_var")]
            return both[0] + sum(one.numel() for one in running if isinstance(one, Tensor)), both[1]
        return both

    def _folded_parameters(self, steps: Sequence[Step]) -> tuple[int, int]:
        total = trainable = 0
        for step in steps:
            if step.folded is not None and step.weights not in self._folded:
                self._folded.add(step.weights)
                total += sum(step.folded)
                trainable += sum(step.folded) if step.weights & self.watch.trained else 0
        return total, trainable

    def _cost(self, step: Step) -> int:
        """Return the operations of a step on the batch, by the convention."""
        products = step.multiply_adds or 0
        if self.count != "folded":
            return products
        if step.is_product:
            return products + (step.outputs if step.folded else 0)
        return {"pool": step.inputs, "softmax": step.outputs, "": 0}[step.kind]

    def _kept(self, step: Step) -> int:
        return sum(size for storage, size in step.written.items() if storage in self.watch.kept)

    def _dropped(self, call: Call | None, volume: int) -> tuple[int, int]:
        """Return what dropout writes and keeps in training: a mask of a byte an entry, and its result."""
        module: Any = call.module if call else None
        if not module.p:
            return 0, 0
        return volume + (0 if module.inplace else FLOAT32 * volume), volume

    def _subsampling(self, units: Sequence[Unit]) -> dict[int, int]:
        """Return what the folded convention adds for a subsampled skip: its channels at each place that is left."""
        extra = {}
        for unit in units:
            at = next((p for p in unit.skip if self._takes_every_second(self.watch.steps[p])), None)
            if at is not None:
                channels = self.watch.steps[unit.fork].shape[1] if unit.fork >= 0 else self.watch.in_channels
                step = self.watch.steps[at]
                extra[at] = step.outputs // step.shape[1] * channels
        return extra

    def _takes_every_second(self, step: Step) -> bool:
        return step.name in SKIPS_BY_PLACE and step.stride > 1 and len(step.shape) > 2

    def _needs_softmax(self, outputs: Sequence[Tensor]) -> bool:
        """Whether the network gives scores that the loss turns into probabilities."""
        first = outputs[0] if outputs else None
        if first is None or first.ndim != 2 or first.shape[1] < 2:
            return False
        made = self.watch.seen(first)
        return made.origin == "input" and made.step >= 0 and self.watch.steps[made.step].kind != "softmax"

    def _note_lost(self, name: str, reach: Reach | None) -> None:
        if reach is not None and reach.lost and reach.lost not in {operation for _, operation in self._lost}:
            self._lost.append((name, reach.lost))


def _says_something(group: _Group) -> bool:
    """Whether a module's call is a layer: it did something, or holds weights, or would act in training."""
    module = group.call.module if group.call else None
    if isinstance(module, nn.Identity) or group.call is None or not (group.call.shape or group.steps):
        return False
    return bool(group.steps) or any(True for _ in _own(module)) or isinstance(module, nn.modules.dropout._DropoutNd)


def _own(module: nn.Module | None) -> Iterator[nn.Parameter]:
    yield from module.parameters() if module is not None else ()


def _entries(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _detail(module: Any) -> str:
    """Say windows, strides and groups in a few signs: `3x3/2 groups 32`."""
    window, stride = getattr(module, "kernel_size", None), getattr(module, "stride", None)
    if window is None:
        return ""
    axes = module.weight.ndim - 2 if isinstance(getattr(module, "weight", None), Tensor) else 2
    sizes, steps = (_axes(value, axes) for value in (window, stride or 1))
    words = "x".join(map(str, sizes))
    if set(steps) != {1}:
        words += "/" + ("x".join(map(str, steps)) if len(set(steps)) > 1 else str(steps[0]))
    groups = getattr(module, "groups", 1)
    return f"{words} groups {groups}" if groups != 1 else words


def _axes(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value] * count
