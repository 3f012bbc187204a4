"""Why does the length of a weight-normalized vector never shrink under gradient descent?

    w = g v / ||v||,   grad_v . v = 0,   so ||v - lr grad_v||^2 = ||v||^2 + lr^2 ||grad_v||^2

Source: Salimans and Kingma 2016, "Weight normalization", arXiv:1602.07868, section 2.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.nn import functional

from trainwell.core.chance import Chance, derive
from trainwell.core.shelves import experiments
from trainwell.lab.data import digits
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.pictures.style import CLASSES, figure

HIDDEN, BATCH = 30, 50
STEPS = {True: 200, False: 2000}  # quick and full
EVERY = 10
VECTORS = (0, 3)  # places of v among the parameters
SILENT = 1e-250  # a gradient below this is none, and has no direction
EXACT = 1e-12  # relative: a few roundings of float64
PLAIN = {"lr 0.1": 0.1, "lr 1": 1.0, "lr 10": 10.0}
DECAYED = "lr 1 with weight decay 0.01"


@experiments.card(source="Salimans and Kingma 2016, arXiv:1602.07868, section 2", claims=(31,))
def weight_norm_growth() -> Experiment:
    """The gradient of v is orthogonal to v, so plain gradient descent only makes v longer."""
    return Experiment(
        question="Is the gradient of a weight-normalized vector orthogonal to it, so that its length only grows?",
        arms={name: {"rate": rate, "decay": 0.0} for name, rate in PLAIN.items()}
        | {DECAYED: {"rate": 1.0, "decay": 0.01}},
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=2,
        note=(
            f"A network 64-{HIDDEN}-10 with ReLU on the digits, both layers weight-normalized for each unit, float64, "
            f"plain gradient descent on batches of {BATCH}. Every unit at every step is examined. Weight decay of v "
            "breaks the law: there the length can shrink."
        ),
    )


def normalized(v: Tensor, g: Tensor) -> Tensor:
    """Return w = g v / ||v|| of each unit: v (units, inputs), g (units,)."""
    w: Tensor = g.unsqueeze(1) * v / v.norm(dim=1, keepdim=True)
    return w


def scores(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return (N, 10) scores of the network with parameters v, g, b of both layers."""
    v1, g1, b1, v2, g2, b2 = parameters
    hidden = functional.relu(functional.linear(inputs, normalized(v1, g1), b1))
    return functional.linear(hidden, normalized(v2, g2), b2)


def start(seed: int) -> list[Tensor]:
    """Return fresh parameters in float64 that require gradients: v Gaussian, g 1, b 0."""
    generator = torch.Generator().manual_seed(derive(seed, "initialization"))
    parameters: list[Tensor] = []
    for before, after in ((64, HIDDEN), (HIDDEN, 10)):
        v = torch.randn(after, before, generator=generator, dtype=torch.float64) / before**0.5
        parameters += [v, torch.ones(after, dtype=torch.float64), torch.zeros(after, dtype=torch.float64)]
    return [parameter.requires_grad_() for parameter in parameters]


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train, and hold the law against every unit at every step."""
    data, parameters, rate = digits(), start(seed), settings["rate"]
    inputs, labels = data.train.flatten(1).double() / 255, data.train_labels
    generator = Chance(seed, "batches").generator()
    angle = law = 0.0
    shortest, lengths = float("inf"), []
    for step in range(STEPS[is_quick]):
        index = torch.from_numpy(generator.integers(0, len(inputs), BATCH))
        loss = functional.cross_entropy(scores(parameters, inputs[index]), labels[index])
        gradients = torch.autograd.grad(loss, parameters)
        before = [parameter.detach().clone() for parameter in parameters]
        if step % EVERY == 0:
            lengths.append(float(before[0].norm(dim=1).mean()))
        with torch.no_grad():
            for place, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                decay = settings["decay"] if place in VECTORS else 0.0
                parameter.sub_(rate * (gradient + decay * parameter))
            for place in VECTORS:
                found = held(before[place], parameters[place], gradients[place], rate)
                angle, law, shortest = max(angle, found[0]), max(law, found[1]), min(shortest, found[2])
    with torch.no_grad():
        right = (scores(parameters, inputs).argmax(dim=1) == labels).double().mean()
    return {
        "largest grad_v . v, relative": angle,
        "largest deviation from the law": law,
        "smallest growth in a step": shortest,
        "growth": lengths[-1] / lengths[0],
        "training accuracy": float(right),
        "lengths": lengths,
    }


def held(before: Tensor, after: Tensor, gradient: Tensor, rate: float) -> tuple[float, float, float]:
    """Return the largest |cosine| of gradient and v, the largest deviation from the law, the smallest growth.

    Args:
        before, after: (units, inputs) v on both sides of a step.
        gradient: (units, inputs) at `before`.
        rate: of the step.
    """
    old, new, sizes = before.norm(dim=1), after.norm(dim=1), gradient.norm(dim=1)
    largest = gradient.abs().amax(dim=1, keepdim=True)
    shapes = torch.where(largest > SILENT, gradient / largest, 0.0)  # squares of the rest would underflow
    cosines = (before * shapes).sum(dim=1).abs() / (old * shapes.norm(dim=1).clamp(min=1))
    squares = old.square() + rate**2 * sizes.square()
    off = (new.square() - squares).abs() / squares
    return float(cosines.max()), float(off.max()), float((new / old - 1).min())


def judge(table: Table) -> list[Check]:
    """Hold the law to rounding, and the lengths to growing."""
    checks = []
    for arm in PLAIN:
        angle = float(table.numbers(arm, "largest grad_v . v, relative").max())
        law = float(table.numbers(arm, "largest deviation from the law").max())
        least = float(table.numbers(arm, "smallest growth in a step").min())
        limit = f"{EXACT:g}, relative"
        checks += [
            Check(f"{arm}: ∇v·v / ‖∇v‖‖v‖", "0", f"at most {angle:.1e}", limit, angle <= EXACT),
            Check(f"{arm}: ‖v'‖² = ‖v‖² + ε²‖∇v‖²", "equal", f"at most {law:.1e} apart", limit, law <= EXACT),
            Check(f"{arm}: ‖v‖ never shrinks", "growth ≥ 0", f"at least {least:.1e} a step", limit, least >= -EXACT),
        ]
    shrinking = float(table.numbers(DECAYED, "smallest growth in a step").max())
    claim, found = "with weight decay of v the law is broken", f"{shrinking:.1e} a step at some unit"
    return [*checks, Check(claim, "‖v‖ can shrink", found, "below 0", shrinking < 0)]


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw how the mean length of the first layer's vectors grows."""
    drawn = figure("step", "Mean length of v, first layer, from its start", height=320)
    for number, arm in enumerate(table.arms):
        curve = table.numbers(arm, "lengths")[0]
        steps = [EVERY * place for place in range(len(curve))]
        drawn.add_scatter(
            x=steps, y=(curve / curve[0]).round(5).tolist(), mode="lines", name=arm, line={"color": CLASSES[number]}
        )
    drawn.update_yaxes(type="log")
    return [drawn]
