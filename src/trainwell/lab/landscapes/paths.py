"""The path of an optimizer on a landscape, by the exact gradient or by noisy mini-batches, as plain data."""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwell.core.chance import Chance
from trainwell.core.choice import Choice
from trainwell.core.shelves import optimizers
from trainwell.errors import OptionInvalid
from trainwell.lab.landscapes.landscape import Landscape, Point, landscape

Floats = NDArray[np.floating[Any]]
DIGITS = 8  # significant, of a number in JSON


@dataclass(frozen=True, eq=False)
class Path:
    """Where an optimizer went.

    Attributes:
        landscape, optimizer: as choices, with every option that was said or set.
        positions: (T + 1, 2), the start first.
        losses: (T + 1,) exact heights there, whatever the optimizer was told.
        gradients: (T, 2) the gradient that the optimizer was given at each step.
        velocities: (T, 2) how far each step moved.
        sub_steps: steps an iteration.
        batch: samples a mini-batch; None where the gradient is exact.
        ended: why there are fewer steps than were asked for, in words; empty where there are all of them.
    """

    landscape: str
    optimizer: str
    positions: Floats
    losses: Floats
    gradients: Floats
    velocities: Floats
    sub_steps: int
    batch: int | None
    ended: str = ""

    @property
    def iterations(self) -> Floats:
        """The positions (I + 1, 2) after each iteration, the start first."""
        return self.positions[:: self.sub_steps]

    @property
    def speeds(self) -> Floats:
        """The length (T,) of each step."""
        return cast(Floats, np.hypot(*self.velocities.T))

    def to_plain(self) -> dict[str, Any]:
        """Return everything as plain data that strict JSON can hold."""
        curves = ("positions", "losses", "gradients", "velocities")
        return {
            "landscape": self.landscape,
            "optimizer": self.optimizer,
            "steps": len(self.velocities),
            "sub_steps": self.sub_steps,
            "batch": self.batch,
            "ended": self.ended,
            **{name: _brief(getattr(self, name)) for name in curves},
        }

    def to_json(self) -> str:
        """Return the same as one line of JSON."""
        return json.dumps(self.to_plain(), allow_nan=False)


def path(
    where: Landscape | str,
    optimizer: str | Choice,
    *,
    steps: int = 10,
    sub_steps: int = 1,
    batch: int | None = None,
    noise: float | None = None,
    start: Point | None = None,
    seed: int = 0,
) -> Path:
    """Let an optimizer of the shelf walk on a landscape.

    The point is one row, (1, 2), in float64, so that optimizers of matrices can move it too. An optimizer that is not
    told otherwise gets the landscape's rate and no weight decay, see `on_landscape`.

    Args:
        where: a landscape, or its name.
        optimizer: a choice of the shelf: `"momentum:lr=0.14"`.
        steps: iterations.
        sub_steps: steps an iteration.
        batch: the gradient of each step is that of a mini-batch of so many samples; None for the exact one.
        noise: deviation of one sample's gradient in either coordinate, instead of the landscape's own.
        start: instead of the landscape's own.
        seed: of the noise, which is a function of it and the number of the step.

    Returns:
        The path, cut before the first step that leaves the finite numbers.

    Raises:
        NameUnknown: there is no such landscape or optimizer.
        OptionInvalid: steps, sub_steps or batch below 1, noise below 0 or without a batch or where the landscape has
            real samples, a start that is not two finite numbers, a bad option.

    >>> path("slope", "sgd:lr=0.5,momentum=0,nesterov=false", steps=2).positions.tolist()
    [[0.0, 0.0], [-0.5, 0.0], [-1.0, 0.0]]
    """
    ground = landscape(where) if isinstance(where, str) else where
    check(ground, steps=steps, sub_steps=sub_steps, batch=batch, noise=noise, start=start)
    ground = ground if noise is None else replace(ground, deviation=noise)
    chosen = on_landscape(optimizer, ground, is_noisy=batch is not None)
    point = torch.tensor([ground.start if start is None else start], dtype=torch.float64)
    point.requires_grad_()
    walker = optimizers.build(chosen.name, chosen.options, params=[point])
    needs_closure = bool(optimizers[chosen.name].traits.get("needs_closure"))
    trace = _Trace(ground, point)
    chance = Chance(seed, "landscape")
    for number in range(steps * sub_steps):
        here = ground if batch is None else ground.minibatch(batch, chance.generator(number))
        gradient = here.gradient(point.detach())
        if bool(torch.isfinite(gradient).all()):
            _step(walker, here, point, gradient, needs_closure=needs_closure)
        if not trace.add(gradient):
            break
    return trace.path(f"of {steps * sub_steps} steps", optimizer=str(chosen), sub_steps=sub_steps, batch=batch)


class _Trace:
    """Where a point was, step by step, until it leaves the finite numbers."""

    def __init__(self, ground: Landscape, point: Tensor) -> None:
        self.ground, self.point = ground, point
        self.positions, self.losses = [_plain(point)], [ground.value(point.detach()).item()]
        self.gradients: list[Floats] = []
        self.fault = ""

    def add(self, gradient: Tensor) -> bool:
        """Note the step that was taken along a gradient; whether it led to numbers."""
        last = self.positions[-1]
        after, loss, given = _plain(self.point), self.ground.value(self.point.detach()).item(), _plain(gradient)
        if not np.isfinite(given).all():
            self.fault = f"the gradient at ({last[0]:.3g}, {last[1]:.3g}) is not finite"
        elif not (math.isfinite(loss) and np.isfinite(after).all()):
            self.fault = f"the step from ({last[0]:.3g}, {last[1]:.3g}) leads out of all numbers"
        else:
            self.positions.append(after)
            self.losses.append(loss)
            self.gradients.append(given)
        return not self.fault

    def path(self, count: str, *, optimizer: str, sub_steps: int, batch: int | None) -> Path:
        """Return the path, with words for why it is short where it is."""
        places, done = np.array(self.positions), len(self.gradients)
        cut = f"cut after {done} {count}: {self.fault}, so the rate is too large here"
        return Path(
            landscape=self.ground.name,
            optimizer=optimizer,
            positions=places,
            losses=np.array(self.losses),
            gradients=np.array(self.gradients).reshape(-1, 2),
            velocities=np.diff(places, axis=0),
            sub_steps=sub_steps,
            batch=batch,
            ended=cut if self.fault else "",
        )


def on_landscape(optimizer: str | Choice, ground: Landscape, *, is_noisy: bool = False) -> Choice:
    """Return the choice of an optimizer with the landscape's rate and no weight decay, where it says neither.

    The defaults of both are made for networks. The rate is the landscape's `stride` where the first step is as long on
    a steeper slope, and its `lr` elsewhere; half of it where gradients are noisy. An optimizer that sizes its
    steps by itself, and whose lr is a share of them, takes them whole.

    Raises:
        NameUnknown: there is no such optimizer.
        OptionInvalid: an option is unknown, or out of its range.

    >>> print(on_landscape("sgd:momentum=0.5", landscape("beale")))
    sgd:momentum=0.5,lr=0.01,weight_decay=0.0
    """
    chosen = Choice.parse(optimizer) if isinstance(optimizer, str) else optimizer
    card = optimizers[chosen.name]
    options = card.parse_options(chosen.options)
    added: dict[str, Any] = {}
    is_share = "lr" in options and card.options["lr"].default == 1.0  # of a step that the optimizer sizes by itself
    if "lr" in options and "lr" not in chosen.options and not is_share:
        added["lr"] = (ground.stride if ignores_scale(chosen) else ground.lr) * (0.5 if is_noisy else 1.0)
    if options.get("weight_decay") and "weight_decay" not in chosen.options:
        added["weight_decay"] = 0.0
    return Choice(name=chosen.name, options={**chosen.options, **added})


@functools.cache
def ignores_scale(optimizer: Choice) -> bool:
    """Whether the first step of an optimizer is as long where the gradient is a hundred times larger.

    >>> ignores_scale(Choice.parse("sgd")), ignores_scale(Choice.parse("adamw"))
    (False, True)
    """
    lengths = []
    for size in (1.0, 100.0):
        point = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        point.grad = torch.tensor([[size, 0.0]], dtype=torch.float64)
        optimizers.build(optimizer.name, optimizer.options, params=[point]).step()
        lengths.append(float(point.detach().norm()))
    return lengths[0] > 0 and math.isclose(*lengths, rel_tol=0.01)


def _step(
    walker: torch.optim.Optimizer, here: Landscape, point: Tensor, gradient: Tensor, *, needs_closure: bool
) -> None:
    """Take one step; an optimizer that measures curvature gets the loss with its graph, and the point as the output."""
    if not needs_closure:
        point.grad = gradient.clone()
        walker.step()
        return

    def closure() -> tuple[Tensor, Tensor]:
        outputs = point * 1.0  # a node of its own: the loss is a function of the outputs, and they of the parameters
        return here.value(outputs).sum(), outputs

    cast(Callable[[Any], Any], walker.step)(closure)


def check(
    ground: Landscape,
    *,
    steps: int,
    sub_steps: int = 1,
    batch: int | None = None,
    noise: float | None = None,
    start: Point | None = None,
) -> None:
    """Refuse what no optimizer can walk by, see `path`.

    Raises:
        OptionInvalid: an argument is outside its range, or does not go with the others.
    """
    for name, count in {"steps": steps, "sub_steps": sub_steps, "batch": 1 if batch is None else batch}.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise OptionInvalid(f"{name} must be a whole number >= 1, got {count!r}")
    if start is not None and not (_are_numbers(start) and len(start) == 2):
        raise OptionInvalid(f"start must be two finite numbers, got {start!r}")
    if noise is None:
        return
    if not _are_numbers([noise]) or noise < 0:
        raise OptionInvalid(f"noise must be a number >= 0, got {noise!r}")
    if batch is None:
        raise OptionInvalid("noise is that of mini-batches, and the gradient is exact: say how many samples, batch 10")
    if ground.draw is not None:
        raise OptionInvalid(f"noise: {ground.name} is a mean of samples, whose own noise it has: leave it out")


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values
    )


def _plain(point: Tensor) -> Floats:
    return cast(Floats, point.detach().flatten().numpy().copy())


def _brief(values: Floats) -> Any:
    """Return numbers in few digits, for a page that stays small."""
    if values.ndim > 1:
        return [_brief(row) for row in values]
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
