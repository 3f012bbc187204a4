"""The hooks that act on every run that asks for them: gradient clipping and averaged weights.

A hook is any object with methods named after the places in `core.state.HOOK_PLACES`; each is called
with the State, in the order of the list. One that carries state across steps has `state()` and
`load_state(…)` with a flat mapping of names to tensors, so that resume is exact.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from trainwell.core.recipe import Recipe
from trainwell.core.state import HOOK_PLACES, State
from trainwell.errors import OptionInvalid
from trainwell.optimizers.averaging import EMA, SWA
from trainwell.optimizers.statistics import recompute_batch_norm
from trainwell.regularization import clip_gradient_norm


@runtime_checkable
class StatefulHook(Protocol):
    """A hook that carries something from step to step."""

    def state(self) -> Mapping[str, Tensor]:
        """Return what must be stored, by name."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        ...


class ClipGradients:
    """Scales all gradients down so that their global norm is at most `max_norm`."""

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def after_backward(self, state: State) -> None:
        """Clip in place; the norm stays on the device."""
        clip_gradient_norm(state.model.parameters(), self.max_norm)


class AverageEpochs:
    """Keeps the mean of the weights at the ends of the late epochs, which from then on is what gets evaluated.

    Batch norms that trained have their statistics measured anew over the training split, without augmentation, at
    each of these ends.
    """

    def __init__(self, model: nn.Module, first_step: float, inputs: Callable[[], Iterable[Tensor]]) -> None:
        self._average = SWA(model)
        self._source, self._first_step, self._inputs = model, first_step, inputs

    @property
    def model(self) -> nn.Module:
        """The averaged network, in evaluation mode; before the first average the network itself."""
        return self._average.model if self._average.updates else self._source

    def after_epoch(self, state: State) -> None:
        """Take the weights into the average, if it is late enough."""
        if state.step + 1 < self._first_step:
            return
        self._average.update()
        trained = {name for name, module in self._source.named_modules() if module.training}
        with state.autocast():
            recompute_batch_norm(self._average.model, self._inputs(), names=trained)

    def state(self) -> Mapping[str, Tensor]:
        """Return the average, for checkpoints and snapshots."""
        return self._average.state_dict()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the average back."""
        self._average.load_state_dict(tensors)


class AverageWeights:
    """Keeps the exponential moving average of the weights, which is what gets evaluated."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._average = EMA(model, decay=decay)

    @property
    def model(self) -> nn.Module:
        """The averaged network, in evaluation mode."""
        return self._average.model

    def after_step(self, state: State) -> None:
        """Move the average towards the new weights."""
        self._average.update()

    def state(self) -> Mapping[str, Tensor]:
        """Return the average, for checkpoints and snapshots."""
        return self._average.state_dict()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the average back."""
        self._average.load_state_dict(tensors)


def standard_hooks(
    recipe: Recipe, model: nn.Module, *, total_steps: int, inputs: Callable[[], Iterable[Tensor]]
) -> list[object]:
    """Return the hooks that a recipe asks for, in the order in which they act.

    Args:
        recipe: resolved.
        model: the network in training.
        total_steps: of the run as it is planned.
        inputs: gives the inputs of the training split, as they are evaluated, batch by batch.
    """
    hooks: list[object] = []
    asked = recipe.regularization
    if asked.clip_norm is not None:
        hooks.append(ClipGradients(asked.clip_norm))
    if asked.ema_decay is not None:
        hooks.append(AverageWeights(model, asked.ema_decay))
    if asked.swa_start is not None:
        hooks.append(AverageEpochs(model, asked.swa_start * total_steps, inputs))
    return hooks


def reported(hooks: Iterable[object], model: nn.Module) -> nn.Module:
    """Return the network that is evaluated: the averaged one where there is one."""
    averages = (hook.model for hook in hooks if isinstance(hook, (AverageWeights, AverageEpochs)))
    return next(averages, model)


def checked_hooks(hooks: object) -> tuple[object, ...]:
    """Return the user's hooks, each of which acts somewhere.

    Raises:
        OptionInvalid: it is no list, or an object has no method named after a place and would never be called.
    """
    if not isinstance(hooks, (list, tuple)):
        raise OptionInvalid(f"hooks must be a list of objects, got {type(hooks).__name__}: write hooks=[my_hook]")
    for hook in hooks:
        if not any(hasattr(hook, place) for place in HOOK_PLACES):
            raise OptionInvalid(
                f"hooks: {type(hook).__name__} has none of the methods {', '.join(HOOK_PLACES)}, so it would never act"
            )
    return tuple(hooks)


def stateful(hooks: Iterable[object]) -> list[StatefulHook]:
    """Return the hooks that carry something from step to step, in order."""
    return [hook for hook in hooks if isinstance(hook, StatefulHook)]


def by_place(hooks: Sequence[object]) -> dict[str, list[Callable[[State], None]]]:
    """Return the hooks' methods by the place at which they act."""
    return {place: [getattr(hook, place) for hook in hooks if hasattr(hook, place)] for place in HOOK_PLACES}
