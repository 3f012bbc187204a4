"""A warm-up of any form in front of any other schedule."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le

from trainwell.core.checked import checked
from trainwell.core.choice import Choice
from trainwell.core.members import Schedule
from trainwell.core.shelves import schedules
from trainwell.core.units import EpochShare, Unit
from trainwell.errors import OptionInvalid
from trainwell.schedules.driven import Change, Driven
from trainwell.schedules.warming import Multiplier, warmup_steps

USUAL_SHARE = 0.05  # of the run: 5 of 90 epochs in Goyal et al.
CONSTANT_START = 0.1  # He et al. 2016 began at 0.01 instead of 0.1

Start = Annotated[float, Gt(0), Le(1), Unit("share of lr")]


class Behind:
    """A driven schedule whose steps begin behind a warm-up."""

    def __init__(self, driven: Driven, rise: int, warming: Multiplier) -> None:
        self.driven, self.rise, self.warming = driven, rise, warming

    def __call__(self, step: int) -> float:
        """Return the multiplier of a step, by what is known so far."""
        return self.warming(step) if step < self.rise else self.driven(step - self.rise)

    def observe(self, step: int, *, train_loss: float, val_loss: float | None = None) -> Change | None:
        """Take the losses of an epoch that ended when `step` steps were done; those of the warm-up do not count."""
        if step <= self.rise:  # the whole epoch was warm-up
            return None
        return self.driven.observe(step - self.rise, train_loss=train_loss, val_loss=val_loss)

    def state_dict(self) -> dict[str, Any]:
        """Return what has been learned so far."""
        return self.driven.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.driven.load_state_dict(state)


@schedules.card(source="Goyal et al. 2017, arXiv:1706.02677, section 2.2")
@checked
def warm_up(
    total_steps: int,
    steps_per_epoch: int,
    *,
    then: Schedule = "constant",
    warmup: EpochShare | None = None,
    form: Literal["gradual", "constant"] = "gradual",
    start: Start | None = None,
) -> Multiplier | Driven:
    """Any other schedule, behind a warm-up that begins at a rate of your choice: gradual, or constant and a jump.

        gradual: step s < W is multiplied by start + (1 - start) * s / (W - 1)      constant: by start

    The other schedule sees a run of T - W steps that begins behind the warm-up, so shares of the run are shares of
    that rest. Gradual without `start` is what the option `warmup` of the other schedules does.

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        then: what follows, such as warm_restarts or "steps:gamma=0.2"; without a warm-up of its own.
        warmup: epochs, fractions allowed, W in steps; none makes it a twentieth of the run.
        form: gradual rises in a straight line to lr; constant stays low, and jumps to lr.
        start: share of lr in the first step, such as 0.125 for 8 workers; none is 1 / W, or 0.1 where it is constant.

    Raises:
        OptionInvalid: the run is too short, or what follows rises or warms up by itself.

    Gentle with first weights and with statistics that are still wrong, Adam's and batch norm's. He et al. 2016 took
    the constant form for a net of 110 layers; the jump makes the error spike, which the gradual form avoids.

    >>> [warm_up(12, 2, then="step_decay:every=2", warmup=2, form="constant")(step) for step in (0, 3, 4, 7, 8)]
    [0.1, 0.1, 1.0, 1.0, 0.5]
    >>> [warm_up(12, 2, warmup=2.5, start=0.5)(step) for step in range(6)]
    [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]
    """
    if warmup is None:
        rise = round(USUAL_SHARE * total_steps)
    else:
        rise = warmup_steps("warm_up", total_steps, steps_per_epoch, warmup)
    choice = Choice.parse(then)
    card = schedules[choice.name]
    if card.traits.get("rises") or choice.options.get("warmup") or choice.name == "warm_up":
        raise OptionInvalid(
            f"warm_up:then={then} rises or warms up by itself, and one rise is enough: name it without warm_up"
        )
    own = {"warmup": 0.0} if "warmup" in card.options else {}
    after = card.build({**own, **choice.options}, total_steps=total_steps - rise, steps_per_epoch=steps_per_epoch)

    def warming(step: int) -> float:
        if form == "constant":
            return CONSTANT_START if start is None else start
        return (step + 1) / rise if start is None else start + (1.0 - start) * (step / max(rise - 1, 1))

    if isinstance(after, Driven):
        return Behind(after, rise, warming)
    return lambda step: warming(step) if step < rise else after(step - rise)
