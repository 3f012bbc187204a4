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
from trainwell.optimizers.averaging import EMA
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


def standard_hooks(recipe: Recipe, model: nn.Module) -> list[object]:
    """Return the hooks that a recipe asks for, in the order in which they act."""
    hooks: list[object] = []
    if recipe.regularization.clip_norm is not None:
        hooks.append(ClipGradients(recipe.regularization.clip_norm))
    if recipe.regularization.ema_decay is not None:
        hooks.append(AverageWeights(model, recipe.regularization.ema_decay))
    return hooks


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
