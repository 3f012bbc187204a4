"""YellowFin: momentum that tunes its own rate and momentum.

Source: Zhang & Mitliagkas 2017, "YellowFin and the art of momentum tuning", arXiv:1706.03471.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import torch
from annotated_types import Ge
from torch import Tensor

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, Count, Fraction, ProperFraction, Rate, Steps, Unit
from trainwell.errors import NonFinite, OptionInvalid
from trainwell.optimizers.parameters import Parameters, check_gradients, refuse_sparse_gradients
from trainwell.optimizers.rows import Rows, check_rows, decay_and_add
from trainwell.optimizers.stepwise import Stepwise
from trainwell.optimizers.tuning import Averages, averaged, joined, landscape, single_step

Epsilon = Annotated[float, Ge(1e-12), Unit("")]
SLOW_WINDOWS = 10  # the rate is lowered for so many windows
GUARD = 100.0  # how many times the highest curvature a squared norm may enter the measurements with
FIRST_RATE = 1e-4  # of the closed loop, which moves before it measures
COMMON = ("beta", "window", "smoothing", "adapt_clip", "closed_loop", "staleness", "gain", "eps")
UNMEASURED: dict[str, Any] = {"tuned": (), "averages": (), "squares": ()}


class Tuned(NamedTuple):
    """What the tuner says: the momentum and rate in use, the momentum aimed at, and the rate of the last step."""

    momentum: float = 0.0
    rate: float = FIRST_RATE
    aim: float = 0.0
    last_rate: float = FIRST_RATE


@optimizers.card("yellowfin", source="Zhang & Mitliagkas 2017, arXiv:1706.03471, algorithms 1-5", schedule="cosine")
@checked
class YellowFin(Stepwise):
    """Momentum that tunes its own rate and momentum from the norms of the gradients.

        h_t = |g|^2;  h_max, h_min = EMA of the largest and smallest h of the last window steps
        C = EMA(|g|^2) - |EMA(g)|^2                the variance of the gradient
        D = EMA(EMA(|g|) / EMA(|g|^2))             the distance to the minimum
        mu, alpha = the best single step in a bowl with C, D, h_max and h_min
        x_(t+1) = x_t + mu (x_t - x_(t-1)) - alpha (g + weight_decay x_t)

    All averages are corrected for their start at zero; one mu and alpha are tuned for all parameters together. alpha
    grows to its full size over the first 10 windows. lr is a factor on every move, for schedules and groups.

    Differences: mu multiplies the last move as printed, where the official code hands mu and alpha to torch's SGD,
    whose changes of alpha act on the past too. eps = 1e-6 is added to h, C and D, as there and not in the paper: the
    gradient's scale matters once its norm is below 1e-3. The official code measures from the first step but leaves it
    at its start values; ours moves by what the formulas give, mu = 0 and alpha = 1 / (10 window h). Both use mu and
    alpha as tuned; TensorFlow's smooths them once more. Weight decay is left out of all measurements. A parameter
    that thaws is measured as if its first gradient had always been there: it adds no variance by being late.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: factor on every move; 1 trusts the tuner.
        beta: share of an average that survives a step.
        window: steps whose largest and smallest h count.
        smoothing: `linear` averages them as in algorithm 2, `log` their logarithms, as the appendix does where the
            curvature falls fast, and the official code.
        adapt_clip: hold the gradient's norm at sqrt(h_max), and let none above sqrt(100 h_max) into the measurements.
        closed_loop: measure the momentum that the moves really show, and steer it to mu (algorithm 5).
        staleness: steps between the weights that a gradient was taken at and those it moves; for the closed loop.
        gain: share of the difference that one step of the closed loop corrects.
        eps: keeps quotients finite.
        weight_decay: strength of the L2 penalty.
        maximize: climb instead of descend.

    Raises:
        OptionInvalid: weights of several types or devices or below float32; a group says another value than the
            first of an option that holds for all; a staleness without the closed loop.
        NonFinite: at a step, a gradient holds NaN or Inf; nothing has moved or been measured.

    Costs two copies of the weights, the closed loop four more and one for each step of staleness; waits for the device
    twice a step: to refuse bad gradients before they count, and to tune before it moves. Cures the search for a rate
    and a momentum. Wants more steps than 10 windows have, and gains by a schedule that only lets lr fall.

    >>> weight = torch.ones(1, requires_grad=True)
    >>> optimizer, chance = YellowFin([weight]), torch.Generator().manual_seed(0)
    >>> for _ in range(400):
    ...     weight.grad = weight.detach() + 0.1 * torch.randn(1, generator=chance)
    ...     optimizer.step()
    >>> abs(weight.item()) < 0.5, 0 < optimizer.tuned.momentum < 1
    (True, True)
    """

    _rows: Rows | None = None

    def __init__(
        self,
        params: Parameters,
        *,
        lr: Rate = 1.0,
        beta: ProperFraction = 0.999,
        window: Count = 20,
        smoothing: Literal["linear", "log"] = "linear",
        adapt_clip: bool = False,
        closed_loop: bool = False,
        staleness: Steps = 0,
        gain: Fraction = 0.01,
        eps: Epsilon = 1e-6,
        weight_decay: Amount = 0.0,
        maximize: bool = False,
    ) -> None:
        if staleness and not closed_loop:
            raise OptionInvalid(
                f"yellowfin:staleness={staleness} is heeded by the closed loop alone: set closed_loop=true too"
            )
        own = {"lr": lr, "weight_decay": weight_decay, "maximize": maximize}
        measured = {"beta": beta, "window": window, "smoothing": smoothing, "adapt_clip": adapt_clip, "eps": eps}
        loop = {"closed_loop": closed_loop, "staleness": staleness, "gain": gain}
        super().__init__(params, own | measured | loop | UNMEASURED)

    @property
    def tuned(self) -> Tuned:
        """The momentum and rate as of the last step."""
        return Tuned(*self.param_groups[0]["tuned"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's `add_param_group` does; refuses what the constructor refuses."""
        super().add_param_group(param_group)
        try:
            self._check_last_group()
        except OptionInvalid:
            self.param_groups.pop()
            raise

    def _check_last_group(self) -> None:
        first, last = self.param_groups[0], self.param_groups[-1]
        for name in COMMON:
            if first[name] != last[name]:
                raise OptionInvalid(
                    f"yellowfin:{name} holds for all groups, which are measured as one: it is {first[name]}, and group"
                    f" {len(self.param_groups) - 1} says {last[name]}"
                )
        check_rows("yellowfin", (parameter for group in self.param_groups for parameter in group["params"]))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step; closure, where given, is called first, with gradients enabled, and its result returned.

        Raises:
            NonFinite: a gradient holds NaN or Inf; nothing has moved or been measured.
            OptionInvalid: a gradient is sparse.
        """
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        moving = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        parameters = [parameter for group in moving for parameter in group]
        if not parameters:
            return result
        gradients = [parameter.grad for parameter in parameters]
        if any(gradient.layout != torch.strided for gradient in gradients):
            refuse_sparse_gradients(type(self).__name__, self.param_groups)
        if self._rows is None or not self._rows.is_current(parameters, self.state):
            self._rows = self._laid_out(moving)
        first, rows, old = self.param_groups[0], self._rows, self.tuned
        gradients = rows.aligned(gradients)
        aim, tuned_rate, scale = self._tune(rows, gradients)
        if first["closed_loop"]:
            momentum, rate = self._steered(rows, old), old.rate
        else:
            momentum, rate = aim, tuned_rate
        self._move(rows, gradients, momentum * old.last_rate / (rate * scale), rate * scale, scale)
        first["tuned"] = tuple(Tuned(momentum, tuned_rate, aim, rate * scale))
        return result

    def _laid_out(self, moving: list[list[Tensor]]) -> Rows:
        """Return rows for the parameters that move now, with the state they have."""
        check_rows("yellowfin", (parameter for group in moving for parameter in group))
        first = self.param_groups[0]
        kept: dict[str, Callable[[Tensor], Tensor]] = {"velocity": torch.zeros_like, "sum": torch.zeros_like}
        if first["closed_loop"]:
            kept["push"] = torch.zeros_like
            kept |= {f"past_{back}": Tensor.detach for back in range(first["staleness"] + 3)}
        return Rows(moving, self.state, kept)

    def _tune(self, rows: Rows, gradients: list[Tensor]) -> tuple[float, float, float]:
        """Measure the gradient and return the best momentum and rate, and the factor that clips the gradient."""
        first = self.param_groups[0]
        beta, eps, is_log = first["beta"], first["eps"], first["smoothing"] == "log"
        old, scale = Averages(*first["averages"]), 1.0
        square = rows.square(gradients)
        if not math.isfinite(square):
            self._refuse(rows, gradients[0].dtype)
        if first["adapt_clip"] and old.steps:
            scale = _clipping(square, GUARD * (landscape(old, 0.0, beta=beta, is_log=is_log).highest + eps))
        past = first["squares"]
        if rows.late and old.steps:
            late = scale**2 * self._admitted(rows, gradients, scale * (1 - beta**old.steps) / (1 - beta))
            old = joined(old, late, beta=beta, eps=eps, is_log=is_log)
            past = [before + late for before in past]
        rows.late.clear()
        squares = (*past, scale**2 * square)[-first["window"] :]
        averages = averaged(old, squares, beta=beta, eps=eps, is_log=is_log)
        decay_and_add(rows.flat_views["sum"], gradients, keep=beta, factor=scale)
        mean_square = (1 - beta) ** 2 * torch.dot(rows.rows["sum"], rows.rows["sum"]).item()
        seen = landscape(averages, mean_square, beta=beta, is_log=is_log)
        if first["adapt_clip"]:
            scale *= _clipping(squares[-1], seen.highest + eps)
        first["squares"], first["averages"] = squares, tuple(averages)
        momentum, rate = single_step(seen, eps=eps)
        return momentum, rate * min(1.0, averages.steps / (SLOW_WINDOWS * first["window"])), scale

    def _admitted(self, rows: Rows, gradients: list[Tensor], weight: float) -> float:
        """Start the sums of late parameters at weight times their first gradients, and return its squared norm."""
        firsts = [gradients[place] for place in rows.late]
        sums = [rows.flat_views["sum"][place] for place in rows.late]
        torch._foreach_copy_(sums, firsts)
        torch._foreach_mul_(sums, weight)
        parts = [torch.dot(vector, vector) for vector in (first.view(-1) for first in firsts)]
        return float(torch.stack(parts).sum().item())

    def _refuse(self, rows: Rows, dtype: torch.dtype) -> NoReturn:
        """Raise the error of a gradient whose squared norm is not finite."""
        for place in rows.late:  # not measured, so still late at the next step
            del self.state[rows.parameters[place]]
        self._rows = None
        check_gradients(self.param_groups)
        raise NonFinite(
            f"the squared norm of all gradients overflows {dtype}, and yellowfin measures by it: check lr and loss"
        )

    def _steered(self, rows: Rows, old: Tuned) -> float:
        """Return the momentum to use, led from the one in use towards the aim by what the last moves really showed."""
        staleness = self.param_groups[0]["staleness"]
        path = [rows.rows[f"past_{back}"] for back in range(staleness + 3)]
        for back in range(len(path) - 1, 0, -1):
            path[back].copy_(path[back - 1])
        torch._foreach_copy_(rows.flat_views["past_0"], rows.weights)
        shown = shown_momentum(*path[staleness:], push=rows.rows["push"])
        if math.isnan(shown):
            return old.momentum
        gain: float = self.param_groups[0]["gain"]
        return old.momentum + gain * (old.aim - shown)

    def _move(self, rows: Rows, gradients: list[Tensor], momentum: float, rate: float, scale: float) -> None:
        """Move all weights; the velocity row is the last move over its -rate, so momentum has the ratio of rates."""
        if momentum == 0:
            rows.rows["velocity"].zero_()
        for group, part in zip(self.param_groups, rows.parts, strict=True):
            if part.start == part.stop:
                continue
            decay, step = group["weight_decay"] / scale, group["lr"] * rate
            if group["closed_loop"]:
                push = rows.flat_views["push"][part]
                torch._foreach_copy_(push, rows.weights[part])
                torch._foreach_mul_(push, decay * step)
                torch._foreach_add_(push, gradients[part], alpha=-step if group["maximize"] else step)
            torch._fused_sgd_(
                rows.weights[part],
                gradients[part],
                rows.flat_views["velocity"][part],
                weight_decay=decay,
                momentum=momentum or 1.0,  # the kernel leaves the velocity alone at 0
                lr=step,
                dampening=0.0,
                nesterov=False,
                maximize=group["maximize"],
                is_first_step=False,
            )


def shown_momentum(after: Tensor, at: Tensor, before: Tensor, *, push: Tensor) -> float:
    """Return the momentum that moves show: the middle one over all weights, NaN where nothing moved.

        median of (x_(t+1) - x_t + alpha g(x_t)) / (x_t - x_(t-1))

    Args:
        after: (P,) weights x_(t+1).
        at: (P,) weights x_t, whose gradient moved them on.
        before: (P,) weights x_(t-1).
        push: (P,) what the gradient took off, alpha g(x_t).

    >>> at, push = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25])
    >>> shown_momentum(at + 0.75 * (at - 3) - push, at, torch.tensor([3.0, 3.0]), push=push)
    0.75
    """
    last = at - before
    ratios = (after - at + push) / last
    ratios = ratios[last != 0]
    return float(ratios.median()) if len(ratios) else math.nan


def _clipping(square: float, most: float) -> float:
    """Return the factor that brings a gradient of a squared norm down to the largest one allowed."""
    return math.sqrt(most / square) if square > most else 1.0
