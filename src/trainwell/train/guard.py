"""What to do when NaN or Inf appears: roll back, replay the same steps exactly, and say where and why.

The replay watches every operation in program order, so it names the first one whose result is not
finite, the layer it belongs to, and the samples it met. Then it tries the usual cures, each from the
same state on the same samples, and reports which of them keeps the steps finite.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainwell.train.build import Job
from trainwell.train.loop import Loop

CURED_STEPS = 8  # how far beyond the trouble a cure must hold
RATE_CURES = (0.1, 0.01, 1e-3, 1e-6, 1e-12, 0.0)
UNREPEATABLE = (
    "unknown: the same steps stayed finite in the replay, so it does not follow from weights and samples (a kernel that"
    " is not deterministic, a hook with a memory of its own, or the hardware)"
)
UNWRITTEN = ("empty", "new_empty")  # their results hold whatever the memory held before


class FirstNonFinite(TorchDispatchMode):
    """Remembers the first operation that gives a non-finite result, and the layer that it ran in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[str] = []
        self.phase = "forward pass"
        self.found: dict[str, str] | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation, then look at what it returned or changed in place."""
        result = func(*args, **(kwargs or {}))
        if self.found is None and not func.__name__.startswith(UNWRITTEN):
            changed = args[:1] if func.__name__.partition(".")[0].endswith("_") else ()
            if any(_is_bad(tensor) for tensor in _tensors((result, changed))):
                layer = self.layers[-1] if self.layers else ""
                self.found = {"op": str(func.__name__), "layer": layer, "phase": self.phase}
        return result


def explain(loop: Loop, alarm_step: int) -> dict[str, Any]:
    """Replay the steps before an alarm and return where it began and which cure removes it.

    Returns:
        Plain data: `step`, `op`, `layer`, `phase`, `samples` (names, where it befell some and not
        all), `cause` in words. The loop stands at its last good state afterwards.
    """
    report: dict[str, Any] = {"step": alarm_step, "op": "", "layer": "", "phase": "", "samples": []}
    found = _replay(loop, alarm_step, watched=True)
    report |= found or {}
    report["cause"] = _cause(loop, int(report["step"]) + CURED_STEPS, report) if found else UNREPEATABLE
    loop.go_back()
    return report


def message(report: Mapping[str, Any], resume: str) -> str:
    """Say a report in one paragraph.

    Args:
        report: what `explain` returned.
        resume: the run's path, as the user would write it.
    """
    where = f" in layer {report['layer']}" if report["layer"] else ""
    op = f": first in {report['op']}{where}, in the {report['phase']}" if report["op"] else ""
    samples = report["samples"]
    named = f", at train samples {', '.join(map(str, samples[:8]))}" if samples else ""
    return (
        f"NaN or Inf appeared at step {report['step']}{op}{named}. Cause: {report['cause']}. The weights were rolled"
        f" back to the last finite state and stored there; go on with `trainwell set {resume} lr=...` and"
        f" `trainwell resume {resume}`, or start anew"
    )


def _replay(
    loop: Loop, until: int, *, watched: bool = False, lr_scale: float = 1.0, precision: str | None = None
) -> dict[str, Any] | None:
    """Run the steps from the last good state once more; return the first trouble, or None."""
    loop.go_back()
    loop.apply_events()  # what was done to the run before this step belongs to it
    job, done = loop.job, loop.progress
    original = job.recipe
    if precision is not None:
        machine = original.machine.model_copy(update={"precision": precision})
        job.recipe = original.model_copy(update={"machine": machine})
    try:
        while done.step <= until and not loop.is_finished:
            for batch in job.loaders.train.epoch(done.epoch, done.step - done.begun):
                mode = FirstNonFinite()
                if done.step in loop.events.steps:
                    loop.apply_events()
                with _named(job, mode) if watched else nullcontext(), mode if watched else nullcontext():
                    loop.advance(batch, lr_scale=lr_scale)
                trouble = _trouble(loop, mode)
                if trouble is not None:
                    return trouble
                done.step += 1
                if done.step > until or done.step >= job.total_steps:
                    return None
            done.end_epoch()
            loop.apply_events()
        return None
    finally:
        job.recipe = original


def _trouble(loop: Loop, mode: FirstNonFinite) -> dict[str, Any] | None:
    """Say what is not finite after one step, or None."""
    state = loop.state
    assert state.batch is not None
    losses = torch.cat(state.losses)
    bad_inputs = ~torch.isfinite(state.batch.inputs.flatten(1)).all(1)
    bad = bad_inputs | ~torch.isfinite(losses)
    if not bad.any() and loop.is_finite():
        return None
    found = mode.found or {}
    positions = state.batch.index[bad].tolist() if bad.sum() < len(bad) else []
    samples = [loop.job.name_of(position) for position in positions]
    return {"step": state.step, "samples": samples, "has_bad_inputs": bool(bad_inputs.any()), **found}


def _cause(loop: Loop, until: int, report: Mapping[str, Any]) -> str:
    """Try the usual cures from the same state on the same samples, and say which one stays finite until then."""
    if report.get("has_bad_inputs"):
        return "the inputs themselves are not finite after preprocessing: look at these samples"
    if loop.job.recipe.machine.precision != "float32" and _replay(loop, until, precision="float32") is None:
        return "the lower precision overflows: the same steps stay finite in float32 (--set machine.precision=float32)"
    for scale in RATE_CURES:
        if _replay(loop, until, lr_scale=scale) is None:
            first = loop.job.optimizer.param_groups[0]
            base = float(first["initial_lr"] / first.get("lr_factor", 1.0))
            cure = f"with lr={base * scale:.1e} instead of {base:.1e}" if scale else "without any update at all"
            return f"the learning rate is too high: {cure} the same steps stay finite"
    return (
        "not the learning rate and not the precision, since the same steps fail at any rate: look at this operation"
        " (a logarithm or a root of 0, a division by 0) and at these samples"
    )


@contextmanager
def _named(job: Job, mode: FirstNonFinite) -> Iterator[None]:
    """Keep `mode.layers` and `mode.phase` at what is running."""

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: mode.layers.append(name)

    def leave(*_: object) -> None:
        mode.layers.pop()

    def end_forward(*_: object) -> None:
        mode.phase = "loss or the backward pass"

    def begin_update(*_: object) -> None:
        """Name the layer nearest to the loss whose gradient broke; the optimizer comes next."""
        if mode.found is not None and mode.phase != "optimizer step" and not mode.found["layer"]:
            named = [(n, p.grad) for n, p in job.model.named_parameters() if p.grad is not None]
            broken = [name for name, gradient in named if not torch.isfinite(gradient).all()]
            mode.found["layer"] = broken[-1].rpartition(".")[0] if broken else ""
        mode.phase = "optimizer step"

    handles: list[Any] = [job.model.register_forward_hook(end_forward)]
    handles.append(job.optimizer.register_step_pre_hook(begin_update))
    for name, module in job.model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)


def _is_bad(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0 and not bool(torch.isfinite(tensor).all())
