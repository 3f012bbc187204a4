"""What does a moving average make of a few gradients, before and after the correction of its start?

Source: Kingma and Ba 2014, "Adam: a method for stochastic optimization", arXiv:1412.6980, section 3.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch

from trainwell.core.shelves import experiments, optimizers
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import half_digit, shown
from trainwell.pictures.style import CLASSES, figure

GRADIENTS = (100.0, 100.0, 1.0, 100.0, 1000.0)
BETA, BETAS = 0.9, (0.5, 0.9, 0.99, 0.999)
PLAIN, CORRECTED = "average", "corrected average"
PRINTED = {
    PLAIN: ("10", "19", "17.2", "25.48", "122.932"),
    CORRECTED: ("100", "100", "63.469", "74.091", "300.193"),
}
ROUNDING = 1e-9
ARMS: dict[str, dict[str, Any]] = {
    **{name: {"beta": BETA, "correct_bias": name == CORRECTED, "gradients": GRADIENTS} for name in PRINTED},
    **{f"one gradient, β = {beta:g}": {"beta": beta, "correct_bias": False} for beta in BETAS},
}


@experiments.card(source="Kingma & Ba 2014, arXiv:1412.6980, section 3", claims=(13,))
def moving_averages() -> Experiment:
    """A moving average from 0 is too small at first; it looks back over about 1 / (1 - β) gradients."""
    return Experiment(
        question="What does a moving average make of a few gradients, and how far does it look back?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=1,
        note=(
            "The averages are read from the moves of the shelf's optimizers, in float64: the corrected one is the step "
            "of the averaging form at rate 1, the other the velocity of momentum at rate 1 - β. For the horizon "
            "one gradient of 1 is followed by zeros: the moves are the weights that the average gives it as it grows "
            "old. All weights older than the horizon 1 / (1 - β) sum to β to that power, which tends "
            "to 1/e, and the mean age is β / (1 - β)."
        ),
    )


def averages(beta: float, gradients: Sequence[float], *, correct_bias: bool) -> list[float]:
    """Return the moving average after each gradient, as an optimizer moves by it.

    The averaging form corrects its start, and at rate 1 moves by the average; momentum does not, and at rate 1 - beta
    its velocity is the average.
    """
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    if correct_bias:
        optimizer = optimizers.build("momentum_average", {"lr": 1.0, "beta": beta}, params=[weight])
    else:
        optimizer = optimizers.build("momentum", {"lr": 1 - beta, "momentum": beta}, params=[weight])
    found = []
    for gradient in gradients:
        before = weight.item()
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        found.append(before - weight.item())
    return found


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the averages of the printed gradients; or of the weights their sum, what is old, and the mean age."""
    beta, correct = settings["beta"], settings["correct_bias"]
    if "gradients" in settings:
        return {"averages": averages(beta, settings["gradients"], correct_bias=correct)}
    horizon = round(1 / (1 - beta))
    weights = averages(beta, [1.0] + [0.0] * (20 * horizon), correct_bias=False)
    total = sum(weights)
    return {
        "sum of weights": total,
        "older than the horizon": sum(weights[horizon:]) / total,
        "mean age": sum(age * weight for age, weight in enumerate(weights)) / total,
    }


def judge(table: Table) -> list[Check]:
    """Hold the averages to the printed numbers, and the horizon to 1 / (1 - β)."""
    checks = []
    for arm, printed in PRINTED.items():
        found = table.numbers(arm, "averages")[0]
        for number, (text, value) in enumerate(zip(printed, found, strict=True), start=1):
            allowed = ROUNDING if arm == PLAIN or number < 3 else half_digit(text)
            tolerance = "exact, rounding 1e-9" if allowed == ROUNDING else "half the last printed digit"
            claim = f"{arm} after gradient {number}, {GRADIENTS[number - 1]:g}"
            checks.append(Check(claim, text, f"{value:.7g}", tolerance, abs(value - float(text)) <= allowed))
    for beta in BETAS:
        checks.append(_horizon(table, beta))
    return checks


def _horizon(table: Table, beta: float) -> Check:
    arm = f"one gradient, β = {beta:g}"
    older, age = (float(table.numbers(arm, name)[0]) for name in ("older than the horizon", "mean age"))
    horizon = 1 / (1 - beta)
    wanted = beta**horizon
    return Check(
        f"β = {beta:g}: horizon",
        f"1 / (1 - β) = {horizon:g}",
        f"{100 * older:.2f} % of the weight is older (1/e = {100 / math.e:.2f} %), mean age {shown(age)}",
        "β to the power of it, and β / (1 - β), to 1e-6",
        abs(older - wanted) <= 1e-6 and abs(age - beta * horizon) <= 1e-6 * horizon,
    )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the gradients with both averages."""
    drawn = figure("gradient", "Moving average, β = 0.9, logarithmic scale", height=320)
    x = list(range(1, len(GRADIENTS) + 1))
    marker = {"color": CLASSES[6], "size": 9}
    drawn.add_scatter(x=x, y=list(GRADIENTS), mode="markers", name="gradients", marker=marker)
    for number, arm in enumerate(PRINTED):
        y = table.numbers(arm, "averages")[0].round(6).tolist()
        drawn.add_scatter(x=x, y=y, mode="lines+markers", name=arm, line={"color": CLASSES[number], "width": 2})
    drawn.update_xaxes(dtick=1)
    return [drawn.update_yaxes(type="log")]
