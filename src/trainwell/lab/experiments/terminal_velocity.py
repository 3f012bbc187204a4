"""How fast does momentum become under a constant gradient?

Source: Goodfellow, Bengio, Courville 2016, Deep learning, section 8.3.2.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.landscapes.paths import path
from trainwell.pictures.style import CLASSES, figure

RATE, GRADIENT, STEPS = 0.01, 3.0, 3_000
SHOWN = 500  # steps whose velocities are kept
EXACT = 1e-9
MEMORIES = (0.0, 0.5, 0.9, 0.99)
PHYSICAL = {f"momentum {memory:g}": memory for memory in MEMORIES}
AVERAGE = "(1 - β) form, β = 0.9, corrected"
NESTEROV = "Nesterov, momentum 0.9"
ARMS: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": f"momentum:momentum={memory:g}"} for name, memory in PHYSICAL.items()},
    AVERAGE: {"optimizer": "momentum_average:beta=0.9"},
    NESTEROV: {"optimizer": "nesterov:momentum=0.9"},
}


@experiments.card(source="Goodfellow, Bengio, Courville 2016, Deep learning, section 8.3.2", claims=(12,))
def terminal_velocity() -> Experiment:
    """Momentum m becomes 1 / (1 - m) times as fast as gradient descent under a constant gradient."""
    return Experiment(
        question="How fast does momentum become where the gradient stays the same?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=1,
        note=(
            f"A slope without end of gradient g = {GRADIENT:g}, rate {RATE:g}, in float64; velocities are measured "
            "from positions and divided by -lr g, so gradient descent has 1. Momentum is v = m v - lr g; the (1 - "
            "β) form is v = β v - (1 - β) lr g, divided by 1 - β^t. Nothing is random. The last velocity is that "
            f"of step {STEPS:,}, where 0.99 has forgotten its start to 1e-13."
        ),
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return velocities as multiples of the step of gradient descent."""
    choice = f"{settings['optimizer']},lr={RATE}"
    walked = path(f"slope:gradient={GRADIENT}", choice, steps=STEPS)
    multiples = walked.velocities[:, 0] / (-RATE * GRADIENT)
    return {"velocity": multiples[:SHOWN], "terminal": multiples[-1], "sideways": np.abs(walked.positions[:, 1]).max()}


def judge(table: Table) -> list[Check]:
    """Hold last velocities, and all on the way to them, to their closed forms."""
    checks = []
    for name, memory in PHYSICAL.items():
        found = float(table.numbers(name, "terminal")[0])
        checks.append(_exact(f"{name}: terminal velocity", f"{1 / (1 - memory):g} · -lr g", found, 1 / (1 - memory)))
    worst = max(
        float(np.abs(table.numbers(name, "velocity")[0] - velocities(memory)).max())
        for name, memory in PHYSICAL.items()
    )
    words = f"at most {worst:.1g} off in steps 1 to {SHOWN}"
    checks.append(Check("the way there", "(1 - m^t) / (1 - m) · -lr g", words, f"{EXACT:g}", worst <= EXACT))
    for name, wanted in ((AVERAGE, 1.0), (NESTEROV, 10.0)):
        found = float(table.numbers(name, "terminal")[0])
        checks.append(_exact(f"{name}: terminal velocity", f"{wanted:g} · -lr g", found, wanted))
    return checks


def velocities(memory: float) -> Any:
    """Return the velocity of momentum after 1, 2, ... steps as a multiple of gradient descent's: a geometric sum.

    >>> velocities(0.5)[:3].tolist()
    [1.0, 1.5, 1.75]
    """
    return (1 - memory ** np.arange(1.0, SHOWN + 1)) / (1 - memory)


def _exact(claim: str, printed: str, found: float, wanted: float) -> Check:
    return Check(claim, printed, f"{found:.10g} · -lr g", f"{EXACT:g} of it", abs(found - wanted) <= EXACT * wanted)


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the velocities over the steps."""
    drawn = figure("step", "Velocity in steps of gradient descent, logarithmic scale", height=360)
    for number, name in enumerate(ARMS):
        line = {"color": CLASSES[number], "width": 2, "dash": "solid" if name in PHYSICAL else "dot"}
        speed = table.numbers(name, "velocity")[0]
        drawn.add_scatter(x=list(range(1, SHOWN + 1)), y=speed.round(5).tolist(), name=name, mode="lines", line=line)
    drawn.update_xaxes(type="log").update_yaxes(type="log")
    return [drawn.update_layout(margin_t=98)]
