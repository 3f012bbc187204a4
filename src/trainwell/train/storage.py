"""What a checkpoint holds of a run under way, and how it is put back, bit for bit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainwell.errors import RunDamaged, RunInvalid
from trainwell.train.build import Job, build_schedule
from trainwell.train.checkpoint import Checkpoint
from trainwell.train.hooks import stateful
from trainwell.train.loop import Loop
from trainwell.train.progress import Progress
from trainwell.train.snapshot import named_tensors


def collect(loop: Loop) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all tensors by name and all plain state that the rest of the run depends on."""
    job = loop.job
    tensors: dict[str, Tensor] = {f"model/{name}": tensor for name, tensor in named_tensors(job.model).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in loop.best.items()}
    plain: dict[str, dict[str, Any]] = {}
    for position, parameter in enumerate(_parameters(job)):
        for key, value in job.optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{position}/{key}"] = value
            else:
                plain.setdefault(str(position), {})[key] = value
    for position, hook in enumerate(stateful(job.hooks)):
        tensors |= {f"hook/{position}/{name}": tensor for name, tensor in hook.state().items()}
    groups = [{k: v for k, v in group.items() if k != "params"} for group in job.optimizer.param_groups]
    state = {
        "progress": loop.progress.to_plain(),
        "optimizer": plain,
        "groups": groups,
        "total_steps": job.total_steps,
        "record_length": loop.record.length,
        "recipe": job.recipe.id,
        "hooks": [type(hook).__name__ for hook in stateful(job.hooks)],
    }
    return tensors, state


def progress_of(checkpoint: Checkpoint) -> Progress:
    """Return the counters that a checkpoint holds."""
    return Progress(**checkpoint.state["progress"])


@torch.no_grad()
def put_into(job: Job, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Make a freshly built job what it was at a checkpoint, and return the best weights so far.

    Values are copied into the job's own tensors, which keeps device and memory order.

    Raises:
        RunDamaged: the checkpoint does not fit the job's network.
        RunInvalid: the recipe or the hooks are not those that the run was begun with.
    """
    tensors = checkpoint.tensors
    if checkpoint.state["recipe"] != job.recipe.id:
        raise RunInvalid(
            "recipe.yaml was changed after the run began, and a run goes on with the recipe that it began with: restore"
            " it; change a rate with `trainwell set`, the length with `trainwell resume --epochs`, and anything else in"
            " a new run with `trainwell fit --recipe`"
        )
    hooks = [type(hook).__name__ for hook in stateful(job.hooks)]
    if checkpoint.state["hooks"] != hooks:
        raise RunInvalid(
            f"the run was begun with the stateful hooks {', '.join(checkpoint.state['hooks']) or 'none'}, and now has"
            f" {', '.join(hooks) or 'none'}: pass the same ones as hooks="
        )
    own = named_tensors(job.model)
    stored = _below(tensors, "model/")
    if own.keys() != stored.keys() or any(own[name].shape != stored[name].shape for name in own):
        raise RunDamaged(
            f"{checkpoint.path} holds another network than the recipe builds: pass the network that the run was"
            " started with"
        )
    for name, tensor in own.items():
        tensor.copy_(stored[name])
    for position, parameter in enumerate(_parameters(job)):
        state: dict[str, Any] = dict(checkpoint.state["optimizer"].get(str(position), {}))
        for key, value in _below(tensors, f"optimizer/{position}/").items():
            state[key] = _like(parameter, value)
        if state:
            job.optimizer.state[parameter] = state
    for group, saved in zip(job.optimizer.param_groups, checkpoint.state["groups"], strict=True):
        group.update({key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()})
    for position, hook in enumerate(stateful(job.hooks)):
        hook.load_state(_below(tensors, f"hook/{position}/"))
    job.total_steps = checkpoint.state["total_steps"]
    job.schedule = build_schedule(job.recipe, job.total_steps, job.steps_per_epoch)
    return {name: tensor.to(job.device) for name, tensor in _below(tensors, "best/").items()}


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Give optimizer state the parameter's device and memory order: fused kernels walk both in step."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _parameters(job: Job) -> list[Tensor]:
    return [parameter for group in job.optimizer.param_groups for parameter in group["params"]]
