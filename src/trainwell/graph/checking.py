"""Is the gradient of a whole network right? Each parameter against central differences in float64.

>>> import torch
>>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
>>> found = check_gradients(net, torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1]), torch.nn.CrossEntropyLoss())
>>> found.grade
'right'
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from trainwell.core.chance import Chance
from trainwell.errors import ModelInvalid, OptionInvalid, did_you_mean
from trainwell.graph.conventions import CONVENTIONS, Convention, Grade, Name
from trainwell.graph.intact import left_intact
from trainwell.graph.kinks import KinkSides
from trainwell.graph.numerical import STEP, DoubleNetwork, as_double, central_differences, one_number

Criterion = Callable[[Tensor, Tensor], Tensor]
_WORST_FIRST: tuple[Grade, ...] = ("wrong", "doubtful", "plausible", "not examined", "right")
_ROUNDINGS = 50  # of float64 that a loss may be off by, in units of its last place; 5 to 20 are seen in small nets
_MEANINGS: dict[Grade, str] = {
    "right": "every gradient that was examined is right",
    "plausible": "{} has a small error, yet too large for a smooth function unless it bends sharply: try another h",
    "doubtful": "{} has an error larger than rounding or a bend explains: look at its backward pass",
    "wrong": "the gradient of {} is wrong: look at its backward pass",
    "not examined": "every entry of {} that was tried crosses a kink: try a smaller h, or other inputs",
}


@dataclass(frozen=True)
class ParameterCheck:
    """How one parameter's gradient compares.

    Attributes:
        name: of the parameter.
        shape: its shape.
        checked: how many of its entries were moved.
        kinks: at how many of these a kink lies between x - h and x + h; they are left out of the error.
        error: the largest of the others, by the convention; 0 where no difference is above rounding.
        entry: where that is.
        analytic, numerical: the two gradients there.
        error_at_kinks: the largest error among entries that cross a kink; 0 where none does.
        grade: what the error means.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    kinks: int
    error: float
    entry: tuple[int, ...]
    analytic: float
    numerical: float
    error_at_kinks: float
    grade: Grade


@dataclass(frozen=True)
class GradientCheck:
    """How a network's gradients compare, parameter by parameter.

    Attributes:
        parameters: one each, in the network's order.
        skipped: names of parameters that do not require a gradient.
        convention: how the error is measured.
        h: how far to each side.
        noise: differences up to this are the rounding of the loss, and count as none.
        loss: its value in float64.
        mode: which mode the network ran in.
    """

    parameters: tuple[ParameterCheck, ...]
    skipped: tuple[str, ...]
    convention: Name
    h: float
    noise: float
    loss: float
    mode: str

    @property
    def grade(self) -> Grade:
        """The worst grade of all parameters."""
        return min((one.grade for one in self.parameters), key=_WORST_FIRST.index)

    @property
    def is_right(self) -> bool:
        """Whether nothing speaks against any parameter, and each was examined."""
        return self.grade in ("right", "plausible")

    @property
    def worst(self) -> ParameterCheck:
        """The parameter with the worst grade, and among these the largest error."""
        return min(self.parameters, key=lambda one: (_WORST_FIRST.index(one.grade), -one.error))

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as plain data for JSON."""
        rows = [{**vars(one), "error": None if one.error != one.error else one.error} for one in self.parameters]
        return {**vars(self), "parameters": rows, "grade": self.grade}

    def __str__(self) -> str:
        """Return a table and the verdict in words."""
        return "\n".join([*_table(self.parameters), "", *self._verdict()])

    def _verdict(self) -> Iterator[str]:
        worst = self.worst
        names = [one.name for one in self.parameters if one.grade == worst.grade]
        named = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        yield f"{worst.grade}: {_MEANINGS[worst.grade].format(named)}"
        yield (
            f"error: {CONVENTIONS[self.convention].formula}, the largest of the entries, 0/0 = 0; h = {self.h:g} in"
            f" float64, {self.mode} mode, dropout masks and running statistics frozen; differences up to"
            f" {self.noise:.1g} are rounding of the loss {self.loss:.4g} and count as none"
        )
        kinks = sum(one.kinks for one in self.parameters)
        if kinks:
            checked = sum(one.checked for one in self.parameters)
            at_kinks = max(one.error_at_kinks for one in self.parameters)
            yield (
                f"kinks: {kinks:,} of {checked:,} entries cross one between x - h and x + h; they are left out, with"
                f" errors up to {at_kinks:.1e}, which prove nothing"
            )
        if self.skipped:
            yield f"not examined: {', '.join(self.skipped)}, which require no gradient"


def check_gradients(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    criterion: Criterion,
    *,
    h: float = STEP,
    convention: Name = "max",
    entries: int | None = None,
    mode: Literal["eval", "train"] = "eval",
) -> GradientCheck:
    """Compare the gradient of every parameter with central differences, entry by entry.

    Two forward passes an entry. Everything runs in float64 on copies; the network is left exactly as it was.

    Args:
        model: any network.
        inputs: a batch; a few samples are enough, and fewer samples cross fewer kinks.
        targets: for the criterion.
        criterion: (outputs, targets) -> a loss; a loss for each sample is averaged.
        h: how far to each side.
        convention: how the error is measured: max (cs231n), sum, norm, allclose (torch), caffe.
        entries: how many of each parameter, drawn at random but always the same; else all.
        mode: eval, where dropout is off and batch norm uses its running statistics; train, where dropout keeps one
            mask throughout and batch norm uses the batch.

    Raises:
        ModelInvalid: the loss does not depend on any parameter, is not finite, or is not the same each time.
        OptionInvalid: an option is out of its range.
    """
    measure = _convention(convention)
    _check_options(h, entries, mode)
    if any(nn.parameter.is_lazy(one) for one in (*model.parameters(), *model.buffers())):
        raise ModelInvalid("the network has lazy layers whose shapes are not known yet: call it on a batch once, first")
    with left_intact(model), torch.enable_grad():
        model.train(mode == "train")
        double = DoubleNetwork(model)
        tensors = as_double(inputs.detach()), as_double(targets.detach())

        def loss() -> Tensor:
            return criterion(double(tensors[0]), tensors[1]).mean()

        wanted = {name: tensor for name, tensor in double.parameters.items() if tensor.requires_grad}
        with _in_words("the forward pass fails", "pass inputs and targets that the network and the criterion take"):
            height = _steady(loss)
        with _in_words("the backward pass fails", "look at the backward of your own autograd functions"):
            gradients = _analytic(loss, wanted)
        size = max(abs(height), *(float(one.abs().max()) for one in gradients.values() if one.numel()))
        noise = _ROUNDINGS * float(np.finfo(np.float64).eps) * size / h
        checks = []
        for name, tensor in wanted.items():
            chosen = _entries(name, tensor.numel(), entries)
            slopes, is_kink = _numerical(loss, tensor.detach(), chosen, h)
            picked = gradients[name].reshape(-1)[torch.tensor(chosen, dtype=torch.int64)].cpu()
            checks.append(_compare(name, tensor, chosen, (picked, slopes, is_kink), measure, noise))
    skipped = tuple(name for name, parameter in model.named_parameters() if name not in wanted)
    return GradientCheck(tuple(checks), skipped, convention, h, noise, height, mode)


@contextlib.contextmanager
def _in_words(what: str, cure: str) -> Iterator[None]:
    """Raise what the network itself raises as a fault of it, with its own words."""
    try:
        yield
    except (ModelInvalid, OptionInvalid):
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        words = " ".join(str(error).split())
        raise ModelInvalid(f"{what} with {type(error).__name__}: {words}; {cure}") from error


def _check_options(h: float, entries: object, mode: str) -> None:
    if not 0 < h < math.inf:
        raise OptionInvalid(f"h must be a positive number, got {h}: 1e-5 is usual in float64")
    if entries is not None and (not isinstance(entries, int) or entries < 1):
        raise OptionInvalid(
            f"entries must be at least 1 of each parameter, a whole number, got {entries!r}; leave it out to check all"
        )
    if mode not in ("eval", "train"):
        raise OptionInvalid(f"mode must be one of 'eval', 'train', got {mode!r}{did_you_mean(mode, ('eval', 'train'))}")


def _convention(name: str) -> Convention:
    if name not in CONVENTIONS:
        raise OptionInvalid(f"no convention is called {name!r}{did_you_mean(name, CONVENTIONS)}")
    return CONVENTIONS[name]


def _steady(loss: Callable[[], Tensor]) -> float:
    """Return the value of the loss, if it is the same twice."""
    first, second = (one_number(loss(), "the loss") for _ in range(2))
    if not np.isfinite(first):
        raise ModelInvalid(f"the loss is {first}, so there is no gradient to check: use other inputs or weights")
    if first != second:
        raise ModelInvalid(
            f"the network answers differently each time (losses {first!r} and {second!r}) although torch's random"
            " state is the same: turn off what else is random in it"
        )
    return first


def _analytic(loss: Callable[[], Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    height = loss()
    if not wanted or not height.requires_grad:
        raise ModelInvalid("the loss depends on no parameter that requires a gradient: nothing can be checked")
    found = torch.autograd.grad(height, list(wanted.values()), allow_unused=True)
    pairs = zip(wanted.items(), found, strict=True)
    return {name: torch.zeros_like(tensor) if one is None else one.detach() for (name, tensor), one in pairs}


def _entries(name: str, count: int, wanted: int | None) -> list[int]:
    if wanted is None or wanted >= count:
        return list(range(count))
    drawn = Chance(0, "gradient check").generator(name).choice(count, size=wanted, replace=False)
    return sorted(drawn.tolist())


def _numerical(loss: Callable[[], Tensor], tensor: Tensor, entries: list[int], h: float) -> tuple[Tensor, Tensor]:
    """Return the slopes at some entries, and whether a kink lies between the two points of each."""
    seen: list[KinkSides] = []

    def evaluate() -> float:
        with KinkSides() as sides:
            height = one_number(loss(), "the loss")
        seen.append(sides)
        return height

    slopes, is_kink = [], []
    for slope, _, _ in central_differences(evaluate, tensor, entries, h):
        slopes.append(slope)
        is_kink.append(seen[0].crossings(seen[1]) > 0)
        seen.clear()
    return torch.tensor(slopes, dtype=torch.float64), torch.tensor(is_kink, dtype=torch.bool)


def _compare(
    name: str,
    tensor: Tensor,
    entries: list[int],
    found: tuple[Tensor, Tensor, Tensor],
    measure: Convention,
    noise: float,
) -> ParameterCheck:
    analytic, numerical, is_kink = found
    difference = (analytic - numerical).abs()
    difference = torch.where(difference <= noise, 0.0, difference)
    errors = torch.zeros_like(difference)
    for part in (is_kink, ~is_kink):  # apart, since the norms of one convention are over all entries
        errors[part] = measure.error(difference[part], analytic[part], numerical[part])
    smooth = torch.where(is_kink, -1.0, errors)
    worst = int(smooth.argmax()) if len(entries) else 0
    is_examined = bool((~is_kink).any())
    return ParameterCheck(
        name=name,
        shape=tuple(tensor.shape),
        checked=len(entries),
        kinks=int(is_kink.sum()),
        error=float(smooth[worst]) if is_examined else float("nan"),
        entry=tuple(int(place) for place in np.unravel_index(entries[worst], tuple(tensor.shape))) if entries else (),
        analytic=float(analytic[worst]) if entries else 0.0,
        numerical=float(numerical[worst]) if entries else 0.0,
        error_at_kinks=float(errors[is_kink].max()) if bool(is_kink.any()) else 0.0,
        grade=measure.grade(float(smooth[worst])) if is_examined else "not examined",
    )


def _table(checks: tuple[ParameterCheck, ...]) -> Iterator[str]:
    head = ("parameter", "shape", "checked", "kinks", "worst error", "at", "analytic", "numerical", "")
    rows = [head] + [
        (
            one.name,
            "x".join(map(str, one.shape)) or "1",
            f"{one.checked:,}",
            f"{one.kinks:,}",
            f"{one.error:.1e}" if one.error else "rounding",  # nan where every entry crosses a kink
            ",".join(map(str, one.entry)),
            f"{one.analytic:.4g}",
            f"{one.numerical:.4g}",
            one.grade,
        )
        for one in checks
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ["<" if place in (0, len(head) - 1) else ">" for place in range(len(head))]
    shape = "  ".join(f"{{:{side}{width}}}" for side, width in zip(aligned, widths, strict=True))
    yield from (shape.format(*row).rstrip() for row in rows)
