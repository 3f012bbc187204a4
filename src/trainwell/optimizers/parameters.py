"""What an optimizer may be given to work on, and what is refused before the first step, by name."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from trainwell.core.checked import options_of
from trainwell.errors import NonFinite, OptionInvalid

Parameters: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

# Keys that torch's optimizers and schedulers, `parameter_groups` and depth rates write into groups: never a slip.
KEYS = frozenset(
    "params param_names reasons is_exempt places lr_factor initial_lr max_lr min_lr base_momentum max_momentum"
    " momentum dampening nesterov betas alpha lambd t0 rho etas step_sizes eps centered amsgrad lr_decay"
    " initial_accumulator_value momentum_decay decoupled_weight_decay weight_decay maximize foreach fused capturable"
    " differentiable".split()
)


def listed(params: Parameters, builder: Callable[..., Any]) -> list[Any]:
    """Return the parameters of an optimizer as a list of what torch takes, groups with a list in `params` each.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        builder: the optimizer's own function or class, whose options give the ranges of what groups say themselves.

    Raises:
        OptionInvalid: nothing to train, an empty group, a parameter twice, or one that cannot be trained so.

    >>> [part.shape for part in listed(torch.nn.Linear(2, 1).parameters(), torch.optim.SGD)]
    [torch.Size([1, 2]), torch.Size([1])]
    """
    owner = builder.__name__
    if isinstance(params, Tensor):
        raise OptionInvalid(f"{owner}:params must be a list of tensors or groups, got one tensor: write [tensor]")
    parts: list[Any] = [_listed_group(part) if isinstance(part, dict) else part for part in params]
    if not parts:
        raise OptionInvalid(
            f"{owner}:params is empty, so there is nothing to train: pass model.parameters() of a network that has some"
        )
    seen: dict[int, str] = {}
    groups = parts if isinstance(parts[0], dict) else [{"params": parts}]
    for position, group in enumerate(groups):
        check_group(group, position, builder, seen)
    return parts


def _listed_group(group: dict[str, Any]) -> dict[str, Any]:
    tensors = group.get("params", [])
    return {**group, "params": [tensors] if isinstance(tensors, Tensor) else list(tensors)}


def check_group(group: Mapping[str, Any], position: int, builder: Callable[..., Any], seen: dict[int, str]) -> None:
    """Refuse a group that cannot be trained; `seen` maps ids of the parameters so far to their names, and grows.

    Raises:
        OptionInvalid: the group is empty, holds a parameter twice or one of another group, says an option out of
            its range, or has a key that is nearly the name of an option.
    """
    owner, where = builder.__name__, f"group {position}"
    if not group["params"]:
        raise OptionInvalid(f"{owner}:params: {where} has no parameters: leave the group out")
    _refuse_slips(group, where, builder)
    for key, option in options_of(builder).items():
        if key in group:
            option.parse(group[key], owner=f"{owner}, {where}")
    for name, parameter in _named(group, where):
        if not isinstance(parameter, Tensor):
            raise OptionInvalid(f"{owner}:params: {name} must be a tensor, got {type(parameter).__name__}")
        if id(parameter) in seen:
            raise OptionInvalid(
                f"{owner}:params: {name} is {seen[id(parameter)]} again, and would be moved twice a step: name each"
                " parameter once"
            )
        seen[id(parameter)] = name
        _check(parameter, name, owner)


def _refuse_slips(group: Mapping[str, Any], where: str, builder: Callable[..., Any]) -> None:
    """Refuse keys that are nearly the name of an option, which nobody would read; other keys are their owner's."""
    known = options_of(builder)
    for key in group:
        if key in known or key in KEYS or not isinstance(key, str):
            continue
        near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.75)
        if near:
            raise OptionInvalid(
                f"{builder.__name__}:params: {where} says {key!r}, which is no option and would be ignored: did you"
                f" mean {near[0]!r}?"
            )


def later_group(
    group: dict[str, Any], groups: Iterable[Mapping[str, Any]], builder: Callable[..., Any]
) -> dict[str, Any]:
    """Return a group that is to join others, with its parameters in a list; what `listed` refuses is refused.

    Raises:
        OptionInvalid: as of `check_group`, or it is no group.

    >>> held = [{"params": [torch.zeros(1)]}]
    >>> later_group({"params": []}, held, torch.optim.SGD)
    Traceback (most recent call last):
        ...
    trainwell.errors.OptionInvalid: SGD:params: group 1 has no parameters: leave the group out
    """
    if not isinstance(group, dict):
        raise OptionInvalid(
            f'{builder.__name__}:params: a group must be a dict such as {{"params": [...]}}, got {type(group).__name__}'
        )
    groups, group = list(groups), _listed_group(group)
    held = {id(parameter): "a parameter of another group" for other in groups for parameter in other["params"]}
    check_group(group, len(groups), builder, held)
    return group


class Carded(torch.optim.Optimizer):
    """An optimizer of torch's that a card has made, mixed in before torch's class: later groups are held to the card.

    `add_param_group` refuses and translates what the card does for its first groups; copies go on doing so.
    """

    owner = ""
    _builder: Callable[..., Any] | None = None
    _in_words: Callable[[list[Any]], list[Any]] = list

    def hold_to(self, builder: Callable[..., Any], in_words: Callable[[list[Any]], list[Any]] = list) -> None:
        """Hold the groups that are added from now on to a card.

        Args:
            builder: the card's function, whose options give names and ranges.
            in_words: what the card does to the groups that `listed` gave; a function of a module, or a partial of one.
        """
        self.owner, self._builder, self._in_words = builder.__name__, builder, in_words

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's `add_param_group` does; refuses what the card refuses.

        Raises:
            OptionInvalid: as of `later_group`, or of the card's own rules for groups.
        """
        if self._builder is not None:
            (param_group,) = self._in_words([later_group(param_group, self.param_groups, self._builder)])
        super().add_param_group(param_group)

    def __getstate__(self) -> dict[str, Any]:
        kept = {"owner": self.owner, "_builder": self._builder, "_in_words": self._in_words}
        return {**super().__getstate__(), **kept}


def _check(parameter: Tensor, name: str, owner: str) -> None:
    """Refuse a tensor that no optimizer of the shelf can train."""
    if parameter.layout != torch.strided:
        fault = f"is a sparse tensor ({parameter.layout}): store it dense, with to_dense()"
    elif parameter.is_complex():
        fault = f"is complex ({parameter.dtype}): train its real and imaginary parts, torch.view_as_real(parameter)"
    elif not parameter.is_floating_point():
        fault = f"holds {parameter.dtype}, which has no gradient: make it floating point"
    elif not parameter.is_leaf:
        fault = "is the result of an operation, so its gradient is never stored: pass the tensors it was made of"
    elif not torch.ops.aten.is_non_overlapping_and_dense.default(parameter):
        fault = (
            f"has gaps in memory, or entries that share it (shape {tuple(parameter.shape)}, strides"
            f" {parameter.stride()}), so a kernel would move what lies between: make it contiguous, with .clone()"
        )
    else:
        return
    raise OptionInvalid(f"{owner}:params: {name} {fault}")


def refuse_sparse_gradients(owner: str, groups: Iterable[Mapping[str, Any]]) -> None:
    """Refuse gradients such as `nn.Embedding(sparse=True)` makes.

    Raises:
        OptionInvalid: a gradient is sparse; the parameter is named.
    """
    for position, group in enumerate(groups):
        for name, parameter in _named(group, f"group {position}"):
            if parameter.grad is not None:
                refuse_sparse(owner, name, parameter.grad)


def refuse_sparse(owner: str, name: str, gradient: Tensor) -> None:
    """Refuse the gradient of the parameter of that name if it is sparse.

    Raises:
        OptionInvalid: it is.
    """
    if gradient.layout != torch.strided:
        raise OptionInvalid(
            f"{owner}: the gradient of {name} is sparse ({gradient.layout}): make it dense, such as with"
            " nn.Embedding(sparse=False)"
        )


def refuse_moved_parameters(
    owner: str, groups: Iterable[Mapping[str, Any]], state: Mapping[Tensor, Mapping[str, Any]]
) -> None:
    """Refuse to step where a network was cast or moved after its first step, and the state stayed as it was.

    Raises:
        OptionInvalid: the state of a parameter with a gradient is of another type or device; the parameter is named.
    """
    for position, group in enumerate(groups):
        for name, parameter in _named(group, f"group {position}"):
            if parameter.grad is not None:
                refuse_moved(owner, name, parameter, state.get(parameter, {}))


def refuse_moved(owner: str, name: str, parameter: Tensor, state: Mapping[str, Any]) -> None:
    """Refuse a parameter whose state is of another type or on another device.

    Raises:
        OptionInvalid: it is.
    """
    for key, value in state.items():
        if key != "step" and is_elsewhere(value, parameter):
            raise OptionInvalid(
                f"{owner}: {name} is {parameter.dtype} on {parameter.device}, and its state {key} is {value.dtype} on"
                f" {value.device}: make the optimizer after casting or moving the network, or load its state again,"
                " optimizer.load_state_dict(optimizer.state_dict())"
            )


def is_elsewhere(value: Any, parameter: Tensor) -> bool:
    """Whether a value of the state is a parameter's own, and of another type or on another device than it."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return False
    return value.dtype != parameter.dtype or value.device != parameter.device


def refuse_nonfinite_gradients(optimizer: torch.optim.Optimizer) -> RemovableHandle:
    """Make every step of an optimizer look at the gradients first, and refuse NaN and Inf before they reach a weight.

    Waits for the device once a step. `fit` does without: it looks at the losses and turns the run back.

    Returns:
        A handle whose `remove()` ends it.

    Raises at a step:
        NonFinite: a gradient holds NaN or Inf; its parameters are named, nothing has moved.

    >>> weight = torch.ones(1, requires_grad=True); weight.grad = torch.tensor([float("inf")])
    >>> optimizer = torch.optim.SGD([("head.weight", weight)], lr=0.1)
    >>> handle = refuse_nonfinite_gradients(optimizer)
    >>> optimizer.step()
    Traceback (most recent call last):
        ...
    trainwell.errors.NonFinite: the gradient of head.weight holds NaN or Inf: lower the rate, clip, or check the loss
    """
    return optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: check_gradients(optimizer.param_groups))


def check_gradients(groups: Iterable[Mapping[str, Any]]) -> None:
    """Refuse gradients that hold NaN or Inf; waits for the device once.

    Raises:
        NonFinite: with the names of their parameters.
    """
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None and p.grad.numel()]
    if not gradients or bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients, norm_type=float("inf")))):
        return
    names = nonfinite_gradients(groups)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    raise NonFinite(f"the gradient of {shown} holds NaN or Inf: lower the rate, clip, or check the loss")


def nonfinite_gradients(groups: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the parameters whose gradient holds NaN or Inf; waits for the device.

    >>> weight = torch.ones(2, requires_grad=True); weight.grad = torch.tensor([1.0, float("nan")])
    >>> nonfinite_gradients([{"params": [weight], "param_names": ["head.weight"]}])
    ['head.weight']
    """
    return [
        name
        for position, group in enumerate(groups)
        for name, parameter in _named(group, f"group {position}")
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
    ]


def _named(group: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Yield each parameter of a group with the name that it is known by."""
    names = group.get("param_names", [])
    for index, part in enumerate(group["params"]):
        if isinstance(part, tuple):
            yield part
        else:
            yield (names[index] if index < len(names) else f"parameter {index} of {where}"), part
