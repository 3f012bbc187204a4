"""torch's fused kernels without what torch does around them in Python: the lists they take are kept from step to step.

A fused step of torch sorts parameters, gradients and state into lists anew at each call, and adds 1 to
every count of steps on its own. On a net of many small tensors this takes several times as long as the
arithmetic. Here the lists of parameters and state are made once, and counts are one vector. What makes a
list stale is noticed at the next step, which torch then does itself: other groups, parameters, options or
entries of the state, gradients that come, go or lie in another memory order, `data` put in another order
into a parameter of four or more axes.

What cannot be noticed without a look at each tensor in each step, and is not: `data` of a tensor of the
state, put there by hand, such as `state["step"].data = ...`, where the count would stand still (put a new
tensor in its place, or `fill_` it), and `data` in another order put into a parameter of two or three axes
whose gradient, made by hand as well, keeps the old order (autograd's has that of the parameter).

The kernel is called on the same tensors as torch calls it, so every bit is torch's. One flat tensor for
all parameters is not bit-equal: the kernel rounds the last few numbers of a tensor, which fill no vector
register, in another way than the rest. Nor does it make a whole step of training quicker, since its
gradients have to be gathered, or added into it one by one (`bench/optimizers.py` measures both).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

# The registries of hooks that belong to all optimizers, which torch's own step reads too.
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from trainwell.optimizers.fused import lay_out, like
from trainwell.optimizers.parameters import Carded, refuse_moved_parameters, refuse_sparse_gradients

DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})


class Watch:
    """Whether anything that is watched was changed since the lists were made."""

    is_broken = False


def _noted(name: str) -> Any:
    """Return the method of dict of that name, which notes at the watch that it was called."""
    method = getattr(dict, name)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.watch.is_broken = True
        return method(self, *args, **kwargs)

    return call


class Watched(dict[Any, Any]):
    """A dict that notes every change at its watch; copied and stored, it is a plain dict."""

    watch: Watch

    __setitem__ = _noted("__setitem__")
    __delitem__ = _noted("__delitem__")
    __ior__ = _noted("__ior__")
    clear = _noted("clear")
    pop = _noted("pop")
    popitem = _noted("popitem")
    setdefault = _noted("setdefault")
    update = _noted("update")

    @classmethod
    def of(cls, plain: dict[Any, Any], watch: Watch) -> "Watched":
        """Return a watched copy of a dict."""
        watched = cls(plain)
        watched.watch = watch
        return watched

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class WatchedState(Watched):
    """The state of all parameters: an entry that is missing is made, as torch's optimizers expect."""

    def __missing__(self, key: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        self[key] = made
        return made

    def __reduce__(self) -> Any:
        return defaultdict, (dict, dict(self))


@dataclass
class Lists:
    """What the kernel takes for one group, as it was at the last step that torch did.

    Attributes:
        members: the group's own list of parameters, and `then`, what stood in it.
        single: the places in `then` of parameters of one number.
        moving: those that had a gradient; `idle`: those that had none.
        names: of the state that the kernel takes; `state`: for each, one tensor a parameter of `moving`.
        steps: the counts of steps of all of them in one vector, where the optimizer counts.
        strides: of the parameters that are not contiguous, by their place in `moving`.
        images: the contiguous ones of four or more axes, which a change of memory format would turn.
    """

    members: list[Tensor]
    then: list[Tensor]
    single: list[int]
    moving: list[Tensor]
    idle: list[Tensor]
    names: tuple[str, ...]
    state: dict[str, list[Tensor]]
    steps: Tensor | None
    strides: dict[int, tuple[int, ...]]
    images: list[Tensor]

    def has_members(self, group: dict[str, Any]) -> bool:
        """Whether the very same parameters stand in the group as then."""
        if group["params"] is not self.members:
            return False
        try:
            # Lists ask whether items are the same before whether they are equal: quicker than a call for each. Where
            # they are not, a comparison of tensors has no truth value, or is false, but for one number beside another.
            return self.members == self.then and all(self.members[i] is self.then[i] for i in self.single)
        except RuntimeError:
            return False

    def gradients(self, group: dict[str, Any]) -> list[Tensor] | None:
        """Return the gradients of `moving`, or None where the lists do not fit this step."""
        if not self.has_members(group) or not all(map(Tensor.is_contiguous, self.images)):
            return None
        if self.idle and any(parameter.grad is not None for parameter in self.idle):
            return None
        gradients: list[Any] = [parameter.grad for parameter in self.moving]
        try:
            if not self.strides:
                return gradients if all(map(Tensor.is_contiguous, gradients)) else None
            laid_out = list(map(Tensor.is_contiguous, gradients))
            for place, strides in self.strides.items():
                laid_out[place] = gradients[place].stride() == strides == self.moving[place].stride()
        except (TypeError, AttributeError):  # one is None
            return None
        return gradients if all(laid_out) else None


class Direct(torch.optim.Optimizer):
    """The step of an optimizer of torch's whose fused kernel is called on kept lists; mixed in before its class.

    Everything else is the class's own: state, its form in `state_dict`, groups, hooks. A subclass writes
    `names` (of its state, in the kernel's order), `is_plain` and `launch`.
    """

    names: tuple[str, ...] = ()
    owner: str
    counts_steps = False
    state: Any  # torch's defaultdict, or a watched one with the same entries
    _lists: tuple[Lists, ...] = ()
    _watch = Watch()
    _moved: tuple[int, ...] = ()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step; closure, where given, is called first, with gradients enabled, and its result returned.

        Raises:
            OptionInvalid: a gradient is sparse, or a parameter was cast or moved and its state was not.
        """
        if torch.compiler.is_compiling():
            return _apart(self, closure)
        is_announced = (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or torch.autograd.profiler._is_profiler_enabled  # pyright: ignore[reportPrivateImportUsage]
        )
        return _announced(self, closure) if is_announced else _step(self, closure)

    step.hooked = True  # type: ignore[attr-defined]  # hooks are called above: torch shall not wrap it once more

    def state_dict(self) -> dict[str, Any]:
        """Return the state in the form of torch's own optimizer."""
        packed = super().state_dict()
        packed["state"] = {key: dict(state) for key, state in packed["state"].items()}
        return packed

    def is_plain(self, group: dict[str, Any]) -> bool:
        """Whether a group has no option that only torch's own step knows."""
        raise NotImplementedError

    def launch(self, group: dict[str, Any], lists: Lists, gradients: list[Tensor]) -> None:
        """Call the kernel."""
        raise NotImplementedError

    def start(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Return state to begin with where torch's own beginning will not do; usually none."""
        return {}

    def _launch_all(self) -> bool:
        """Do the step on the kept lists, if they all fit; nothing is changed if they do not."""
        groups, kept = self.param_groups, self._lists
        if self._watch.is_broken or len(kept) != len(groups) or not isinstance(self.state, WatchedState):
            return False
        if getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None:
            return False
        ready: list[list[Tensor]] = []
        for group, lists in zip(groups, kept, strict=True):
            gradients = lists.gradients(group) if self.is_plain(group) else None
            if gradients is None or lists.names != self.names_of(group):
                return False
            ready.append(gradients)
        with torch.inference_mode():  # no_grad, without the cost of what autograd would note at each tensor
            for group, lists, gradients in zip(groups, kept, ready, strict=True):
                if not gradients:
                    continue
                try:
                    self.launch(group, lists, gradients)
                except RuntimeError:
                    refuse_moved_parameters(self.owner, groups, self.state)
                    raise
        return True

    def _step_of_torch(self) -> None:
        """Let torch do the step, on gradients and state in their parameters' memory order; then make the lists."""
        refuse_sparse_gradients(self.owner, self.param_groups)
        refuse_moved_parameters(self.owner, self.param_groups, self.state)
        moving = [
            (group, parameter)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        for group, parameter in moving:
            if parameter.grad.stride() != parameter.stride():
                parameter.grad = like(parameter, parameter.grad)
            state = self.state.get(parameter) or self.start(group, parameter)
            if state:
                lay_out(parameter, state)
                self.state[parameter] = state
        _own_step(type(self))(self)
        moved = tuple(id(parameter) for _, parameter in moving)
        self._lists = ()
        if moved == self._moved:  # parameters that come and go would have the lists made in vain
            self._keep()
        self._moved = moved

    def _keep(self) -> None:
        watch = Watch()
        state = WatchedState.of(self.state, watch)
        lists = []
        for group in self.param_groups:
            members = group["params"]
            moving = [parameter for parameter in members if parameter.grad is not None]
            dtypes = {parameter.dtype for parameter in moving}
            if len(dtypes) > 1 or not dtypes <= DTYPES or not self.is_plain(group):
                return
            own = [Watched.of(state[parameter], watch) for parameter in moving if parameter in state]
            names = self.names_of(group)
            if names and (len(own) < len(moving) or any(not entry.keys() >= set(names) for entry in own)):
                return
            steps = None
            if self.counts_steps and moving:
                steps = torch.stack([entry["step"] for entry in own])
                for place, entry in enumerate(own):
                    entry["step"] = steps[place]
            state.update(zip(moving, own, strict=True) if names else ())
            lists.append(
                Lists(
                    members=members,
                    then=list(members),
                    single=[i for i, parameter in enumerate(members) if parameter.numel() == 1],
                    moving=moving,
                    idle=[parameter for parameter in members if parameter.grad is None],
                    names=names,
                    state={name: [entry[name] for entry in own] for name in names},
                    steps=steps,
                    strides={i: p.stride() for i, p in enumerate(moving) if not p.is_contiguous()},
                    images=[parameter for parameter in moving if parameter.ndim >= 4 and parameter.is_contiguous()],
                )
            )
        watch.is_broken = False
        self.state, self._watch, self._lists = state, watch, tuple(lists)

    def names_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the state that the kernel takes for a group."""
        return self.names


def _own_step(kind: type[torch.optim.Optimizer]) -> Callable[..., Any]:
    """Return the step of torch's class below a `Direct`, without the calls of hooks that torch may have put around."""
    below: Any = kind.__mro__[kind.__mro__.index(Direct) + 1]
    step = below.step
    return step.__wrapped__ if getattr(step, "hooked", False) else step  # type: ignore[no-any-return]


def _step(self: Direct, closure: Callable[[], Any] | None = None) -> Any:
    result = None
    if closure is not None:
        with torch.enable_grad():
            result = closure()
    if not self._launch_all():
        with torch.no_grad():
            self._step_of_torch()
    return result


_announced = torch.optim.Optimizer.profile_hook_step(_step)
_apart = _disable_dynamo(_announced)  # a compiled step of training breaks its graph here


class DirectSGD(Carded, Direct, torch.optim.SGD):
    """torch's SGD, fused, on kept lists. Every velocity begins at zero, so that a gradient may appear at any step."""

    owner = "sgd"
    names = ("momentum_buffer",)

    def names_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the velocity, where there is momentum."""
        return self.names if group["momentum"] != 0 else ()

    def start(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Return a velocity of zero: v = momentum * 0 + g is torch's own first step."""
        if group["momentum"] == 0:
            return {}
        return {"momentum_buffer": torch.zeros_like(parameter, requires_grad=False)}

    def is_plain(self, group: dict[str, Any]) -> bool:
        """Whether the rate is a number, and the velocities are those that the lists hold."""
        return type(group["lr"]) in (float, int) and bool(group["fused"]) and not group["differentiable"]

    def launch(self, group: dict[str, Any], lists: Lists, gradients: list[Tensor]) -> None:
        """Call the kernel."""
        momentum = group["momentum"]
        torch._fused_sgd_(  # pyright: ignore[reportPrivateImportUsage]
            lists.moving,
            gradients,
            lists.state["momentum_buffer"] if momentum != 0 else [],
            weight_decay=group["weight_decay"],
            momentum=momentum,
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            is_first_step=False,
        )


class DirectAdamW(Carded, Direct, torch.optim.AdamW):
    """torch's AdamW, fused, on kept lists."""

    owner = "adamw"
    names = ("exp_avg", "exp_avg_sq", "step")
    counts_steps = True

    def is_plain(self, group: dict[str, Any]) -> bool:
        """Whether the rate is a number, and nothing is asked for that the lists do not hold."""
        return (
            type(group["lr"]) in (float, int)
            and bool(group["fused"])
            and not (group["amsgrad"] or group["capturable"] or group["differentiable"])
        )

    def launch(self, group: dict[str, Any], lists: Lists, gradients: list[Tensor]) -> None:
        """Count the step, and call the kernel."""
        assert lists.steps is not None
        lists.steps.add_(1)
        beta1, beta2 = group["betas"]
        try:
            torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
                lists.moving,
                gradients,
                lists.state["exp_avg"],
                lists.state["exp_avg_sq"],
                [],
                lists.state["step"],
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=group["maximize"],
            )
        except RuntimeError:
            lists.steps.sub_(1)
            raise
