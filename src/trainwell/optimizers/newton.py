"""Newton's method for small problems: each step solves for the lowest point of the quadratic that fits the loss here.

Source: Nocedal & Wright 2006, "Numerical optimization", chapter 3; Dauphin et al. 2014, arXiv:1406.2572 (absolute
eigenvalues at saddles).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, Rate
from trainwell.errors import OptionInvalid
from trainwell.optimizers.parameters import Parameters
from trainwell.optimizers.second_order import Closure, Question, SecondOrder, refuse_nonfinite

MOST_PARAMETERS = 10_000  # a Hessian of 400 MB in float32, and a minute to factor


@optimizers.card(
    "newton",
    source="Nocedal & Wright 2006, Numerical optimization, chapter 3; Dauphin et al. 2014, arXiv:1406.2572",
    needs_closure=True,
    schedule="constant",
    batch=1024,
    steps=24,
)
@checked
class Newton(SecondOrder):
    """Newton's method with the whole Hessian, for small problems: a quadratic is solved in one step.

        solve (B + damping I) p = -g        B: the Hessian H, or |H|, with the absolute values of its eigenvalues
        theta += lr * p

    With `signed` curvature it is the textbook's step, to where the gradient of the quadratic is zero: near a saddle
    that is the saddle, and near a maximum the maximum. With `absolute` curvature, p goes downhill everywhere and leaves
    saddles along the directions that bend downwards (saddle-free Newton, with all eigenvalues rather than a few). There
    is no line search: far from a minimum, raise damping, or lower lr.

    Use: `step(closure)` with closure() -> (loss, outputs), or the loss alone, with graph and no backward called.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns; of one type and device, and
            10,000 numbers at most.
        lr: share of the step that is taken; 1 is the method.
        damping: added to each eigenvalue; where the Hessian is singular it must be above 0. Networks, which are nearly
            flat in many directions, explode with much less than the default; a quadratic is solved in one step with 0.
        weight_decay: strength of an L2 penalty, (weight_decay / 2) |theta|^2, in gradient and Hessian.
        curvature: `absolute` or `signed`.

    Raises:
        OptionInvalid: too many parameters; at a step, the closure is missing, or the equations have no one solution.
        NonFinite: at a step, a gradient or the Hessian holds NaN or Inf; no weight was changed.

    Cures ill-conditioned small problems. Costs P backward passes for P numbers, P^2 memory, and P^3 time.

    >>> weight = torch.tensor([5.0, -3.0], requires_grad=True)
    >>> _ = Newton([weight], damping=0).step(lambda: (weight * torch.tensor([1.0, 10.0])).square().sum()); weight
    tensor([0., 0.], requires_grad=True)
    """

    def __init__(
        self,
        params: Parameters,
        *,
        lr: Rate = 1.0,
        damping: Amount = 0.1,
        weight_decay: Amount = 0.0,
        curvature: Literal["absolute", "signed"] = "absolute",
    ) -> None:
        super().__init__(params, {"lr": lr, "damping": damping, "weight_decay": weight_decay, "curvature": curvature})

    def check(self, tensors: Sequence[Tensor]) -> None:
        """Refuse what no system holds, and more numbers than a Hessian is kept of."""
        super().check(tensors)
        count = sum(tensor.numel() for tensor in tensors)
        if count > MOST_PARAMETERS:
            raise OptionInvalid(
                f"newton keeps the Hessian of all parameters, at most {MOST_PARAMETERS:,}, got {count:,}: they would"
                f" take {count**2 * 4 / 2**30:,.1f} GiB; take hessian_free, which multiplies by a curvature matrix"
                " without keeping it, or an optimizer of first order"
            )

    def step(self, closure: Closure | None = None) -> Any:
        """Do one step and return the loss before it, without weight decay.

        Args:
            closure: () -> (loss, outputs), or the loss alone, with graph; it calls no backward.
        """
        question = Question(closure, "newton", self.param_groups[0]["params"][0].device)
        loss = question.loss()
        system = self.in_system()
        if not system:
            return loss.detach()
        parameters = [parameter for _, parameter in system]
        found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        there = [place for place, part in enumerate(found) if part is not None]
        system, parameters = [system[place] for place in there], [parameters[place] for place in there]
        parts = [part for part in found if part is not None]
        if not parts:
            return loss.detach()
        refuse_nonfinite(system, [part.detach() for part in parts], "newton")
        hessian, gradient = _hessian(parts, parameters), _flat(parts).detach()
        decays, dampings = (
            _flat([torch.full_like(p, float(group[name])) for group, p in system])
            for name in ("weight_decay", "damping")
        )
        weights = _flat([parameter.detach() for parameter in parameters])
        hessian.diagonal().add_(decays)
        moved = self._solve(hessian, dampings, gradient + decays * weights)
        with torch.no_grad():
            for (group, parameter), part in zip(system, _split(moved, parameters), strict=True):
                parameter.add_(part, alpha=float(group["lr"]))
        return loss.detach()

    def _solve(self, hessian: Tensor, dampings: Tensor, gradient: Tensor) -> Tensor:
        """Return p; waits for the device."""
        if not bool(torch.isfinite(hessian).all()):
            refuse_nonfinite([({"params": [hessian], "param_names": ["the Hessian"]}, hessian)], [hessian], "newton")
        kinds = {group["curvature"] for group in self.param_groups}
        if len(kinds) > 1:
            raise OptionInvalid("newton:curvature must be the same in all groups: one system is solved for all of them")
        if kinds == {"absolute"}:
            try:
                values, vectors = torch.linalg.eigh(hessian)
            except RuntimeError as error:  # torch's LinAlgError
                raise OptionInvalid(
                    "newton: the eigenvalues of the Hessian cannot be computed here, since its numbers are too far"
                    " apart: the steps were too long before; raise damping, or lower lr"
                ) from error
            hessian = (vectors * values.abs()) @ vectors.mT
        hessian.diagonal().add_(dampings)
        moved: Tensor
        moved, failed = torch.linalg.solve_ex(hessian, -gradient)
        if int(failed) or not bool(torch.isfinite(moved).all()):
            raise OptionInvalid(
                f"newton:damping is {float(dampings.min()):g}, and the Hessian is singular here: directions in which"
                " the loss is flat have no lowest point; set damping above 0, usually 1e-6 to 1e-1"
            )
        return moved


def _hessian(gradients: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Return the Hessian (P, P), row by row; rows of what the loss depends on linearly are zero."""
    rows = []
    flat = _flat(gradients)
    for entry in flat.unbind():
        if not flat.requires_grad:
            rows.append(torch.zeros_like(flat))
            continue
        parts = torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            _flat([torch.zeros_like(p) if part is None else part for part, p in zip(parts, parameters, strict=True)])
        )
    found = torch.stack(rows).detach()
    return (found + found.mT) / 2


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def _split(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]
