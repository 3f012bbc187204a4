"""What does it cost gradient descent when inputs lie far from the origin, have unequal scales, or are correlated?

A line, or a plane, is fitted by least squares. Its loss is a bowl whose shape the inputs alone decide:

    L(w) = 1/(2N) sum_n (w . x_n - y_n)^2      H = 1/N sum_n x_n x_n^T

so that the error e = w - w* becomes (I - lr H) e in a step: along an axis of H with curvature l it is multiplied by
1 - lr l. The largest stable rate is 2 / l_max; the best one is 2 / (l_max + l_min), which multiplies the error along
the steepest and the flattest axis by -+(k - 1)/(k + 1), k = l_max / l_min.

Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", sections 4.3 and 5.1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from trainwell.core.chance import Chance
from trainwell.core.shelves import experiments, preprocessings
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.pictures.style import CLASSES, SYMBOLS, figure

Floats = NDArray[np.float64]

SAMPLES = 1000
FAR, LARGE, CORRELATION = 5.0, 10.0, 0.9
REDUCTION = 1e-3  # the error has to shrink to this share of what it was
BISECTIONS = 14  # to 1/8000 of the rate
STEPS_TO_TELL, STRIDE, FAR_AWAY = 2000, 100, 1e3  # a rate 0.1 % too large multiplies the error by e^4 in so many steps
RATE_TOLERANCE = 2e-3
ROUND = 1.4  # a draw of 1,000 points has a variance within 0.2 of 1 and a correlation below 0.14: (1 + r)/(1 - r)
PATH = 60  # steps of the curves that are drawn

ARMS: dict[str, dict[str, Any]] = {
    "line, points near the origin": {"features": 1},
    "line, points far away": {"features": 1, "shift": FAR},
    "line, far away, centred": {"features": 1, "shift": FAR, "preprocessing": "channel_mean"},
    "plane, equal scales": {"features": 2},
    "plane, scales 1 and 10": {"features": 2, "second": LARGE},
    "plane, scales 1 and 10, standardized": {"features": 2, "second": LARGE, "preprocessing": "standardize"},
    "plane, correlated": {"features": 2, "correlation": CORRELATION},
    "plane, correlated, whitened": {"features": 2, "correlation": CORRELATION, "preprocessing": "pca_whiten:epsilon=0"},
}
CURES = (
    ("line, points far away", "line, far away, centred"),
    ("plane, scales 1 and 10", "plane, scales 1 and 10, standardized"),
    ("plane, correlated", "plane, correlated, whitened"),
)


@experiments.card(source='LeCun et al. 1998, "Efficient BackProp", section 5.1', claims=(28,))
def scaling_of_inputs() -> Experiment:
    """Far, unequal or correlated inputs make a long narrow bowl; centring, scaling and whitening make it round."""
    return Experiment(
        question="How many more steps does it cost when inputs lie far from the origin or have unequal scales?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=20,
        quick_seeds=3,
        note=(
            f"{SAMPLES} points with features of deviation 1, {FAR:g} away where they are far, the second feature "
            f"{LARGE:g} times as large where scales are unequal, correlation {CORRELATION:g} where there is one. The "
            "line has an intercept; the plane goes through the origin. The rate is the best one for each bowl, so "
            f"these are the fewest steps that plain gradient descent takes at one rate, to {REDUCTION:g} of the error."
        ),
    )


def draw_inputs(settings: Mapping[str, Any], seed: int) -> Floats:
    """Return the inputs (N, D) of an arm as the model sees them: after its preprocessing, an intercept's 1 behind."""
    features = settings["features"]
    generator = Chance(seed, "scaling").generator(features)
    points = generator.standard_normal((SAMPLES, features))
    if "correlation" in settings:
        r = settings["correlation"]
        points[:, 1] = r * points[:, 0] + math.sqrt(1 - r**2) * points[:, 1]
    points[:, -1] *= settings.get("second", 1.0)
    points += settings.get("shift", 0.0)
    if "preprocessing" in settings:
        name, _, option = settings["preprocessing"].partition(":epsilon=")
        steps = preprocessings.build(name, {"epsilon": float(option)} if option else {})
        inputs = torch.from_numpy(points).float()
        steps.fit(inputs)
        points = steps.apply(inputs, dtype=torch.float64).numpy()
    return np.hstack([points, np.ones((SAMPLES, 1))]) if features == 1 else points


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Compare what the curvatures predict with what gradient descent does.

    The targets come from known weights without noise, so the error is known; descent starts 1 away along every axis
    of the bowl.
    """
    inputs = draw_inputs(settings, seed)
    curvatures, axes = np.linalg.eigh(inputs.T @ inputs / len(inputs))
    least, most = float(curvatures[0]), float(curvatures[-1])
    true = np.array([2.0, -1.0])
    start = true + axes.sum(axis=1)
    targets = inputs @ true
    best = 2 / (most + least)
    path = descend(inputs, targets, start, best, steps=_enough(most / least))
    distances = np.linalg.norm(path - true, axis=1)
    reached = np.flatnonzero(distances <= REDUCTION * distances[0])
    return {
        "condition number": most / least,
        "2 / largest curvature": 2 / most,
        "largest stable rate": largest_stable_rate(inputs, targets, start, true),
        "predicted steps": float(predicted_steps(most / least)),
        "steps": float(reached[0]) if len(reached) else math.inf,
        "distance": (distances[: PATH + 1] / distances[0]).tolist(),
    }


def _enough(condition: float) -> int:
    return max(PATH, 2 * predicted_steps(condition) + 2)


def predicted_steps(condition: float) -> int:
    """Return how many steps at the best rate shrink the error to REDUCTION.

        ((k - 1) / (k + 1))^t <= REDUCTION

    >>> predicted_steps(3.0)
    10
    """
    ratio = (condition - 1) / (condition + 1)
    if ratio <= REDUCTION:
        return 1
    return math.ceil(math.log(REDUCTION) / math.log(ratio) - 1e-9)


def descend(inputs: Floats, targets: Floats, start: Floats, rate: float, *, steps: int) -> Floats:
    """Return the weights (steps + 1, D) on the path of gradient descent on the mean of half the squared errors."""
    path = np.empty((steps + 1, len(start)))
    path[0] = start
    for step in range(steps):
        path[step + 1] = path[step] - rate * (inputs.T @ (inputs @ path[step] - targets) / len(inputs))
    return path


def largest_stable_rate(inputs: Floats, targets: Floats, start: Floats, true: Floats) -> float:
    """Return by bisection the largest rate at which gradient descent does not run away."""
    low, high = 0.0, 4.0 / float(np.square(inputs).sum(axis=1).mean())  # 4 / trace is at least 2 / l_max for two axes
    begun = float(np.linalg.norm(start - true))
    for _ in range(BISECTIONS):
        rate = (low + high) / 2
        weight = start
        for _ in range(STEPS_TO_TELL // STRIDE):  # in strides, so that one that runs away never overflows
            weight = descend(inputs, targets, weight, rate, steps=STRIDE)[-1]
            distance = float(np.linalg.norm(weight - true))
            if distance > FAR_AWAY * begun:
                break
        low, high = (low, rate) if distance > begun else (rate, high)
    return (low + high) / 2


def judge(table: Table) -> list[Check]:
    """Compare predicted and measured rates and steps, and each cure with what it cures."""
    checks = []
    for arm in table.arms:
        predicted, found = table.numbers(arm, "2 / largest curvature"), table.numbers(arm, "largest stable rate")
        error = float(np.abs(found / predicted - 1).max())
        checks.append(
            Check(
                f"{arm}: largest stable rate",
                f"2/l_max = {predicted.mean():.4g}",
                f"{found.mean():.4g}; at most {error:.1e} off in {len(found)} draws",
                f"within {RATE_TOLERANCE:.1%} in each draw",
                error <= RATE_TOLERANCE,
            )
        )
        wanted, took = table.numbers(arm, "predicted steps"), table.numbers(arm, "steps")
        checks.append(
            Check(
                f"{arm}: steps at the best rate, to {REDUCTION:g} of the error",
                f"ln({REDUCTION:g}) / ln((k-1)/(k+1)) = {wanted.mean():.0f}",
                f"{took.mean():.0f} at condition number {table.numbers(arm, 'condition number').mean():.4g}",
                "within 1 step in each draw",
                bool(np.abs(took - wanted).max() <= 1),
            )
        )
    return checks + [_cure(table, sick, cured) for sick, cured in CURES]


def _cure(table: Table, sick: str, cured: str) -> Check:
    before, after = table.numbers(sick, "condition number"), table.numbers(cured, "condition number")
    saved = table.numbers(sick, "steps") / table.numbers(cured, "steps")
    return Check(
        f"{cured}: a round bowl",
        "condition number 1",
        f"{after.max():.6f} at most, instead of {before.mean():.4g}; {saved.mean():.0f} times fewer steps",
        f"at most {ROUND:g}",
        bool(after.max() <= ROUND),
    )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw how the error shrinks at the best rate, and the bowls' condition numbers beside the steps."""
    shown = figure("step", "Distance from the solution, as a share of that at the start", height=380)
    for place, arm in enumerate(table.arms):
        shares = table.numbers(arm, "distance")[0]
        dash = "dot" if "preprocessing" in ARMS[arm] else "solid"
        line = {"color": CLASSES[place % len(CLASSES)], "dash": dash}
        shown.add_scatter(y=np.maximum(shares, 1e-12).tolist(), mode="lines", name=arm, line=line)
    shown.update_yaxes(type="log", range=[-6, 0.1], exponentformat="power")
    return [shown, _steps(table)]


def _steps(table: Table) -> go.Figure:
    shown = figure("condition number", f"Steps to {REDUCTION:g} of the error", height=340)
    conditions = np.geomspace(1.001, 1e4, 60)
    shown.add_scatter(
        x=conditions.tolist(),
        y=[math.log(REDUCTION) / math.log((k - 1) / (k + 1)) for k in conditions.tolist()],
        mode="lines",
        name="predicted",
        line={"color": CLASSES[6]},
    )
    for place, arm in enumerate(table.arms):
        shown.add_scatter(
            x=[float(table.numbers(arm, "condition number").mean())],
            y=[float(table.numbers(arm, "steps").mean())],
            mode="markers",
            name=arm,
            marker={"color": CLASSES[place % len(CLASSES)], "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 10},
        )
    shown.update_xaxes(type="log")
    shown.update_yaxes(type="log")
    return shown
