"""Runs a network once on shapes alone, and puts together what every layer costs."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from trainwell.errors import ModelInvalid, OptionInvalid, ShapeError, UserError, did_you_mean
from trainwell.graph.intact import left_intact
from trainwell.models.anatomy.counting import CONVENTIONS
from trainwell.models.anatomy.layer import Anatomy, Layer
from trainwell.models.anatomy.paths import PathLengths, residual_units
from trainwell.models.anatomy.rows import Rows
from trainwell.models.anatomy.stages import with_stages
from trainwell.models.anatomy.stand_in import StandIn, of_numbers, of_shapes, refusal
from trainwell.models.anatomy.steps import Step, Watch

SAMPLES = 2


def anatomy(
    module: nn.Module,
    input_shape: Sequence[int] | Tensor,
    *,
    count: str = "macs",
    title: str = "",
) -> Anatomy:
    """Return what each layer of any network costs, keeps and sees, before any training; the network is not touched.

    It runs once in evaluation mode, as a copy without numbers on torch's meta device, so that only shapes are computed;
    a network that refuses this runs as a real copy on zeros, and a note says so. Every operation is seen, whether a
    module made it or a line of `forward`; one whose cost is not known is named and not taken for nothing.

    Operations count `macs`: multiply-adds of convolutions and matrix products. `folded`: every convolution has a bias
    and its batch norm is folded in; one operation for each weight and bias at each place, each input element of a
    pooling, each class of the softmax (the loss's, where the network has none), and each channel and place of a skip
    that is subsampled. `keras`: parameters with the running statistics of norms; operations as `macs`.

    What is kept for the way back is what torch's autograd says it keeps; of dropout, as in training, a byte an entry.

    Args:
        module: any network; of its parameters, frozen ones keep nothing for the way back.
        input_shape: of one sample, (C, H, W) or (D,); or a batch itself, where zeros will not do, such as token ids.
        count: the convention.
        title: what the network is called; else its class.

    Raises:
        ModelInvalid: the network cannot take these inputs.
        ShapeError: input_shape is no shape.
        OptionInvalid: there is no such convention.
    """
    if count not in CONVENTIONS:
        raise OptionInvalid(f"no count is called {count!r}{did_you_mean(count, CONVENTIONS)}")
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
        raise ModelInvalid("the network has lazy layers, whose shapes are not known yet: run it once on a sample first")
    given = input_shape if isinstance(input_shape, Tensor) else _shape(input_shape)
    watch, inputs, outputs, note = _watched(module, given)
    rows = Rows(watch, len(inputs), count)
    recurrent = (nn.RNNBase, nn.RNNCellBase)
    gates = {place for place, call in enumerate(watch.calls) if isinstance(call.module, recurrent)}
    units = residual_units(watch.steps, inside=gates)
    layers = with_stages(rows.layers(units, outputs))
    return _together(title or type(module).__name__, inputs, watch, rows, layers, units=len(units), note=note)


def _together(
    title: str, inputs: Tensor, watch: Watch, rows: Rows, layers: Sequence[Layer], *, units: int, note: str
) -> Anatomy:
    """Add up the layers."""
    unused = rows.unused()
    rest, samples = sum(size for _, size in unused), len(inputs)
    names = {name for name, _ in unused}
    trained = sum(size for name, size in unused if any(f"{one}.".startswith(f"{name}.") for one in watch.trained))
    own = watch.kept.get(inputs.untyped_storage()._cdata, 0) // samples
    return Anatomy(
        title=title,
        input_shape=tuple(inputs.shape[1:]),
        count=rows.count,
        layers=tuple(layers),
        parameters=sum(layer.parameters for layer in layers) + (rest if rows.count != "folded" else 0),
        trainable=sum(layer.trainable for layer in layers) + (trained if rows.count != "folded" else 0),
        operations=sum(layer.operations for layer in layers),
        memory=sum(layer.memory for layer in layers),
        kept=sum(layer.kept for layer in layers) + own,
        peak=round(_peak(watch.steps, inputs) / samples),
        paths=PathLengths(units) if units else None,
        unused=unused if names else (),
        not_counted=tuple((layer.name, name) for layer in layers for name in layer.not_counted),
        lost=rows.lost(),
        notes=(note,) if note else (),
    )


def _shape(given: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(given)
    if not shape or not all(isinstance(size, int) and size >= 1 for size in shape):
        raise ShapeError(f"input_shape is the shape of one sample, such as (3, 224, 224) or (64,), got {given!r}")
    return shape


def _watched(module: nn.Module, given: tuple[int, ...] | Tensor) -> tuple[Watch, Tensor, list[Tensor], str]:
    """Run the network on shapes; where it refuses, on zeros."""
    try:
        stand_in = of_shapes(module)
        return _run(stand_in, given)
    except UserError:
        raise
    except Exception as error:  # whatever a user's own parts raise: values that decide, tensors that are no buffers
        why = refusal(error)
    with of_numbers(module, why) as stand_in:
        try:
            return _run(stand_in, given)
        except UserError:
            raise
        except Exception as error:
            shape = given if isinstance(given, tuple) else tuple(given.shape[1:])
            raise ModelInvalid(
                f"the network cannot take inputs of shape {shape}: {type(error).__name__}: {error}: check --input and"
                " its first layers"
            ) from error


def _run(stand_in: StandIn, given: tuple[int, ...] | Tensor) -> tuple[Watch, Tensor, list[Tensor], str]:
    network = stand_in.network
    dtype = next((one.dtype for one in network.parameters() if one.is_floating_point()), torch.float32)
    if isinstance(given, Tensor):
        inputs = given.detach().to(stand_in.device, copy=True)
    else:
        inputs = torch.zeros((SAMPLES, *given), dtype=dtype, device=stand_in.device)
    with left_intact(network), _without_shortcuts():
        network.eval()
        watch = Watch(network, [inputs])
        with watch.on(network):
            output = network(inputs)
    outputs = [one for one in tree_leaves(output) if isinstance(one, Tensor)]
    return watch, inputs, outputs, stand_in.note


@contextlib.contextmanager
def _without_shortcuts() -> Iterator[None]:
    """Let attention run step by step, as in training, and compiled parts as they are written."""
    mha: Any = torch.backends.mha
    was = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    is_compiling = "torch._dynamo" in sys.modules  # else nothing is compiled, and loading the compiler takes seconds
    try:
        with torch.compiler.set_stance("force_eager") if is_compiling else contextlib.nullcontext():
            yield
    finally:
        mha.set_fastpath_enabled(was)


def _peak(steps: Sequence[Step], inputs: Tensor) -> int:
    """Return the least bytes that are there at once: each value from its step to the last that reads it."""
    first = inputs.untyped_storage()._cdata
    born, dies, sizes = {first: 0}, {first: 0}, {first: inputs.numel() * 4}
    for place, step in enumerate(steps):
        if step.origin == "weights":
            continue
        for storage, size in step.written.items():
            born[storage], dies[storage], sizes[storage] = place, place, size
        for storage in step.read:
            if storage in dies:
                dies[storage] = place
    changes = [0] * (len(steps) + 2)
    for storage, size in sizes.items():
        changes[born[storage]] += size
        changes[dies[storage] + 1] -= size
    most = here = 0
    for change in changes:
        here += change
        most = max(most, here)
    return most
