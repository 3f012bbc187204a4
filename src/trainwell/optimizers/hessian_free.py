"""Hessian-free optimization: each step minimizes a quadratic model of the loss by conjugate gradients.

Source: Martens 2010, "Deep learning via Hessian-free optimization"; Martens & Sutskever 2012, "Training deep and
recurrent networks with Hessian-free optimization".
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, Count, Fraction, Positive, Rate
from trainwell.errors import OptionInvalid
from trainwell.optimizers.conjugate_gradient import Solution, conjugate_gradient
from trainwell.optimizers.gauss_newton import GaussNewton
from trainwell.optimizers.parameters import Parameters
from trainwell.optimizers.second_order import Closure, Question, SecondOrder, refuse_nonfinite, trial

RAISE_BELOW, LOWER_ABOVE, CHANGE = 0.25, 0.75, 1.5
LEAST_DAMPING, MOST_DAMPING = 1e-12, 1e12
PRECONDITIONER_POWER = 0.75
SUFFICIENT, SHRINK, LEAST_STEP = 1e-2, 0.8, 1e-2


@dataclass(frozen=True)
class Account:
    """What a step did.

    Attributes:
        iterations: of conjugate gradients; `products`: of the Gauss-Newton matrix with a vector.
        evaluations: forward passes, the one with the graph included.
        ratio: by how much the loss fell, over what the model promised; NaN where it promised nothing.
        step: factor of the line search, 0 where no step made the loss smaller.
        kept: the iteration whose iterate was taken; `reason`: why conjugate gradients ended.
        loss: before the step.
    """

    iterations: int
    products: int
    evaluations: int
    ratio: float
    step: float
    kept: int
    reason: str
    loss: float


@optimizers.card(
    "hessian_free",
    source="Martens 2010; Martens & Sutskever 2012",
    needs_closure=True,
    schedule="constant",
    batch=1024,
    steps=36,
    cost=50,
)
@checked
class HessianFree(SecondOrder):
    """Minimizes a quadratic model of the loss in each step, by products with the Gauss-Newton matrix alone.

        solve (G + damping I) p = -g by conjugate gradients, from warm_start times the last solution
        f is the loss with penalties and weight decay, g its gradient, G its Gauss-Newton matrix on the same batch
        preconditioner (g^2 + damping)^0.75
        rho = (f(theta + p) - f(theta)) / (g p + p (G + damping I) p / 2)
        damping *= 3/2 where rho < 1/4, 2/3 where rho > 3/4
        back through the kept iterates while f falls; then step *= 0.8 until f <= f(theta) + 0.01 step min(g p, 0)
        theta += lr * step * p

    Where no step above 0.01 helps, the weights stay, damping grows and the next solution begins at 0. Where the model
    promises nothing, as it may from a warm start, damping grows too.

    Where others differ: rho is taken at the last iterate, before going back, with the damping in the model, as in the
    formula; some take the iterate gone back to. The preconditioner has the squared gradient of the batch where the
    paper has the sum of the squared gradients of its samples, which one backward pass does not give. The same batch
    serves gradient and products. The mean over a batch, not the sum, sets the scale of damping.

    Use: `step(closure)` with closure() -> (loss, outputs), both with graph, no backward called. Random draws are the
    same in all evaluations of a step. Batch norms in training mode depend on the batch in each of them, and each moves
    the running statistics: keep their buffers from one evaluation (as `fit` does), or train in evaluation mode. An
    option of a group acts on its parameters: damping, weight decay, lr; lr = 0 leaves them out of the system.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns; of one type and device.
        lr: share of the step found that is taken; 1 is the method, and no schedule is needed.
        damping: where damping starts; it then adapts, and stands in the groups.
        weight_decay: strength of an L2 penalty, (weight_decay / 2) |theta|^2, inside f, g and G.
        warm_start: factor on the last solution where conjugate gradients begin; 0 begins at 0.
        most_iterations: of conjugate gradients in a step.
        tolerance: they stop where an iteration lowers the model by less than this share.

    Attributes:
        account: what the last step did, or None.

    Raises:
        OptionInvalid: at a step, the closure is missing or returns no outputs, or the loss is not convex in them.
        NonFinite: at a step, a gradient holds NaN or Inf; parameters are named, and no weight was changed.

    Cures ill-conditioned problems (deep autoencoders, recurrent nets) without a rate to tune. Costs up to two gradients
    and 1.1 products an iteration, each about 1.5 gradients, and wants batches of many hundreds of samples, because it
    solves for its batch; six copies of the weights.

    >>> weight = torch.tensor([5.0, -3.0], requires_grad=True)
    >>> def closure():
    ...     outputs = weight * torch.tensor([1.0, 10.0])
    ...     return outputs.square().sum() / 2, outputs
    >>> _ = HessianFree([weight], damping=1e-6).step(closure); weight.detach().abs().max() < 1e-4
    tensor(True)
    """

    def __init__(
        self,
        params: Parameters,
        *,
        lr: Rate = 1.0,
        damping: Positive = 0.1,
        weight_decay: Amount = 0.0,
        warm_start: Fraction = 0.95,
        most_iterations: Count = 30,
        tolerance: Positive = 5e-4,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "damping": damping,
                "weight_decay": weight_decay,
                "warm_start": warm_start,
                "most_iterations": most_iterations,
                "tolerance": tolerance,
            },
        )
        self.account: Account | None = None

    def step(self, closure: Closure | None = None) -> Any:
        """Do one step and return the loss before it, with penalties and without weight decay.

        Args:
            closure: () -> (loss, outputs), both with graph; it calls no backward.
        """
        system = self.in_system()
        question = Question(closure, "hessian_free", self.param_groups[0]["params"][0].device)
        loss, outputs = question.graph()
        system, gradients = _gradients(system, loss) if system else ([], [])
        if not system:
            return loss.detach()
        refuse_nonfinite(system, gradients, "hessian_free")
        parameters = [parameter for _, parameter in system]
        decays = [float(group["weight_decay"]) for group, _ in system]
        shifts = [decay + float(group["damping"]) for decay, (group, _) in zip(decays, system, strict=True)]
        operator = GaussNewton(parameters, loss, outputs, damping=_along(parameters, shifts))
        weights = operator.flatten(parameters)
        pull = _along(parameters, decays)
        gradient = operator.flatten(gradients).add_(pull * weights)
        del outputs

        def objective() -> float:
            flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
            return question.value() + 0.5 * float((pull * flat) @ flat)

        before = float(loss.detach()) + 0.5 * float((pull * weights) @ weights)
        solution = self._solve(operator, gradient, system)
        rates = [float(group["lr"]) for group, _ in system]
        slope = [float(gradient @ x) for _, x, _ in solution.iterates]
        ratio, step, kept = _advance(objective, before, solution, slope, [*zip(parameters, rates, strict=True)])
        self._adapt(ratio)
        for (_, parameter), part in zip(system, operator.split(solution.x), strict=True):
            self.state[parameter]["direction"] = part.clone() if step else torch.zeros_like(part)
        self.account = Account(
            iterations=solution.iterations,
            products=operator.products,
            evaluations=question.asked,
            ratio=ratio,
            step=step,
            kept=kept,
            reason=solution.reason,
            loss=float(loss.detach()),
        )
        return loss.detach()

    def _solve(
        self, operator: GaussNewton, gradient: Tensor, system: Sequence[tuple[dict[str, Any], Tensor]]
    ) -> Solution:
        last = [self.state.get(parameter, {}).get("direction") for _, parameter in system]
        factors = [float(group["warm_start"]) for group, _ in system]
        start = None
        if any(part is not None and factor for part, factor in zip(last, factors, strict=True)):
            start = operator.flatten(
                [None if part is None else factor * part for part, factor in zip(last, factors, strict=True)]
            )
        dampings = _along([parameter for _, parameter in system], [float(group["damping"]) for group, _ in system])
        return conjugate_gradient(
            operator,
            -gradient,
            start=start,
            preconditioner=(gradient.square() + dampings).pow_(PRECONDITIONER_POWER),
            most=int(self._common("most_iterations")),
            tolerance=float(self._common("tolerance")),
        )

    def _common(self, name: str) -> Any:
        values = {group[name] for group in self.param_groups}
        if len(values) > 1:
            raise OptionInvalid(
                f"hessian_free:{name} must be the same in all groups, since one system of equations is solved for all"
                f" of them, got {', '.join(map(str, sorted(values)))}"
            )
        return values.pop()

    def _adapt(self, ratio: float) -> None:
        factor = 1.0
        if not ratio >= RAISE_BELOW:  # also where it is NaN
            factor = CHANGE
        elif ratio > LOWER_ABOVE:
            factor = 1 / CHANGE
        for group in self.param_groups:
            group["damping"] = min(max(float(group["damping"]) * factor, LEAST_DAMPING), MOST_DAMPING)


def _gradients(
    system: list[tuple[dict[str, Any], Tensor]], loss: Tensor
) -> tuple[list[tuple[dict[str, Any], Tensor]], list[Tensor]]:
    """Return the part of the system that the loss depends on, and its gradients."""
    found = torch.autograd.grad(loss, [parameter for _, parameter in system], retain_graph=True, allow_unused=True)
    there = [(pair, gradient) for pair, gradient in zip(system, found, strict=True) if gradient is not None]
    return [pair for pair, _ in there], [gradient.detach() for _, gradient in there]


def _along(parameters: Sequence[Tensor], values: Sequence[float]) -> Tensor:
    """Return a number for each parameter as a vector (P,)."""
    kind = parameters[0]
    spread = torch.tensor(values, dtype=kind.dtype, device=kind.device)
    return spread.repeat_interleave(torch.tensor([parameter.numel() for parameter in parameters], device=kind.device))


def _advance(
    objective: Callable[[], float],
    before: float,
    solution: Solution,
    slopes: Sequence[float],
    moved: Sequence[tuple[Tensor, float]],
) -> tuple[float, float, int]:
    """Go back through the iterates and search along the one that is kept, and move there.

    Args:
        objective: f at the present weights; `before`: what it was.
        slopes: of f along each of the solution's iterates.
        moved: the parameters, each with its rate.

    Returns:
        Ratio of reduction at the last iterate, factor of the step, and the iteration that was kept.
    """
    parameters, rates = [parameter for parameter, _ in moved], [rate for _, rate in moved]
    candidates = list(zip(solution.iterates, slopes, strict=True))
    ((kept, x, promised), slope) = candidates.pop()
    with trial(parameters) as move:
        move(_split(x, parameters), 1.0)
        reached = objective()
        ratio = (reached - before) / promised if promised < 0 else math.nan
        for (iteration, earlier, _), its_slope in reversed(candidates):
            move(_split(earlier, parameters), 1.0)
            value = objective()
            if math.isfinite(reached) and not value < reached:
                break
            kept, x, slope, reached = iteration, earlier, its_slope, value
        parts, step = _split(x, parameters), 1.0
        while not reached <= before + SUFFICIENT * step * min(slope, 0.0):  # after a warm start g p may be above 0
            step *= SHRINK
            if slope >= 0 or step < LEAST_STEP:
                step = 0.0
                break
            move(parts, step)
            reached = objective()
        move([rate * part for rate, part in zip(rates, parts, strict=True)], step)
    return ratio, step, kept


def _split(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]
