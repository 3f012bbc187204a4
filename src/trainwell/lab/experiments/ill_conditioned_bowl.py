"""Gradient descent, momentum, RMSprop and Adam on a bowl that is seventy times steeper across than along.

Source: Goodfellow, Bengio, Courville 2016, Deep learning, sections 8.3 and 8.5.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from trainwell.core.chance import Chance
from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown
from trainwell.lab.landscapes.landscape import Floats, landscape
from trainwell.lab.landscapes.paths import Path, path
from trainwell.pictures.landscape import losses, walks
from trainwell.pictures.style import CLASSES, figure

BOWL, TERMS = "ill_conditioned_bowl", "ten_terms"
RATE, NOISY_RATE, SUB_STEPS, SAMPLES = 0.14, 0.07, 10, 10
SIZES, DRAWS = (1, 2, 5, 10, 20, 50, 100), 2_000
TIMES = 2.0  # what is called more is twice as much, what is called less half as much
WITHIN = 0.03  # of the power -1/2: 400 draws of two coordinates know each deviation to 3 %, and the power to 0.01
FORMS = {
    "gradient descent": ("gradient_descent:lr={}", 1.0, 10, 16),
    "momentum": ("momentum:momentum=0.9,lr={}", 1.0, 10, 16),
    "momentum, (1 - β) form": ("momentum:momentum=0.9,lr={}", 0.1, 10, 16),
    "momentum, (1 - β) form, corrected": ("momentum_average:beta=0.9,lr={}", 1.0, 10, 16),
    "RMSprop": ("rmsprop:beta=0.9,eps=1e-8,lr={}", 1.0, 16, 16),
    "Adam": ("adam:beta1=0.9,beta2=0.999,eps=1e-8,lr={}", 1.0, 21, 21),
}  # name -> choice, share of the rate, iterations with exact gradients, iterations with noisy ones
DESCENT, MOMENTUM, AVERAGE, CORRECTED, RMSPROP, ADAM = FORMS
NOISE = "noise of mini-batches"


def _arms() -> dict[str, dict[str, Any]]:
    arms: dict[str, dict[str, Any]] = {}
    for name, (optimizer, share, steps, _) in FORMS.items():
        arms[f"{name}, batch"] = {"optimizer": optimizer.format(f"{share * RATE:g}"), "steps": steps}
    for name, (optimizer, share, _, steps) in FORMS.items():
        noisy = {"steps": steps, "sub_steps": SUB_STEPS, "batch": SAMPLES}
        arms[f"{name}, stochastic"] = {"optimizer": optimizer.format(f"{share * NOISY_RATE:g}"), **noisy}
    return {**arms, NOISE: {}}


ARMS = _arms()


@experiments.card(source="Goodfellow, Bengio, Courville 2016, Deep learning, sections 8.3 and 8.5", claims=(12,))
def ill_conditioned_bowl() -> Experiment:
    """Gradient descent oscillates, momentum damps and accelerates, RMSprop equalizes, Adam combines."""
    return Experiment(
        question="What do momentum, RMSprop and Adam change about gradient descent in an ill-conditioned bowl?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=20,
        quick_seeds=5,
        note=(
            f"Rates {RATE} with the exact gradient, {NOISY_RATE} with {SUB_STEPS} noisy sub-steps an iteration. "
            "The printed settings name no bowl: here curvatures 0.2 and 14, so that 0.14 lies just below 2 / 14, "
            "the largest stable rate; start (-2.5, 1). A sample's gradient has normal noise of deviation 1, and "
            f"{SAMPLES} samples are a mini-batch. To oscillate is to change sides of the valley in a step; the "
            "zig-zag is the sum of all moves across it; the way is what was gained along it; a path is as rough "
            "as its velocity changes from step to step, by its mean length. Of the forms of momentum, v = 0.9 v - "
            "lr g does what was printed: v = 0.9 v - (1 - 0.9) lr g is the same at a tenth of the rate and falls "
            "behind gradient descent, and with bias correction it damps more but hardly accelerates. Damped is "
            "the zig-zag against that of gradient descent: the swing itself shrinks by √0.9 a step, whatever the "
            "rate. Therefore momentum's noisy path, which was expected to be twice as smooth as gradient "
            "descent's, as Adam's is against RMSprop's, is not."
        ),
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return how a path goes; or how far the mean gradient of a mini-batch is off, by its size."""
    if not settings:
        return {"deviation": gradient_deviations(seed, DRAWS // 5 if is_quick else DRAWS)}
    return measured(path(BOWL, **settings, seed=seed))


def measured(walked: Path) -> dict[str, Any]:
    """Return crossings, zig-zag and way, the shape of the first step, roughness, and the losses of the iterations."""
    across, along = walked.positions[:, 1], walked.positions[:, 0]
    moves = walked.velocities
    return {
        "crossings": float((across[1:] * across[:-1] < 0).sum()),
        "zig-zag": float(np.abs(moves[:, 1]).sum()),
        "way": float(1 - abs(along[-1]) / abs(along[0])),
        "first step, across over along": float(abs(moves[0, 1] / moves[0, 0])),
        "first step": float(walked.speeds[0]),
        "roughness": roughness(moves),
        "loss": walked.losses[:: walked.sub_steps],
    }


def roughness(moves: Floats) -> float:
    """Return the mean length of a change of velocity over the mean length of a velocity.

    A straight path at one speed has 0, one that jumps to and fro has 2, and independent draws about 1.4.

    >>> roughness(np.array([[1.0, 0.0], [1.0, 0.0]])), roughness(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    (0.0, 2.0)
    """
    changes = np.hypot(*np.diff(moves, axis=0).T)
    return float(changes.mean() / np.hypot(*moves.T).mean())


def gradient_deviations(seed: int, draws: int) -> list[float]:
    """Return, for each size, how far mini-batch gradients of the ten terms are from the exact one: root mean square."""
    ground = landscape(TERMS)
    start = torch.tensor(ground.start, dtype=torch.float64)
    exact, deviations = ground.gradient(start), []
    for size in SIZES:
        generator = Chance(seed, "gradient noise").generator(size)
        squares = [
            float((ground.minibatch(size, generator).gradient(start) - exact).square().mean()) for _ in range(draws)
        ]
        deviations.append(float(np.sqrt(np.mean(squares))))
    return deviations


def judge(table: Table) -> list[Check]:
    """Hold each word of the claim to a measured quantity."""
    return [*_batch(table), *_first_steps(table), *_stochastic(table), _noise(table)]


def _batch(table: Table) -> Iterator[Check]:
    steps = FORMS[DESCENT][2]
    crossed = _one(table, f"{DESCENT}, batch", "crossings")
    yield Check(
        f"{DESCENT}, batch: changes sides of the valley",
        "oscillates",
        f"in {crossed:g} of {steps} steps",
        "in all but one step at least",
        crossed >= steps - 1,
    )
    swings = {name: _one(table, f"{name}, batch", "crossings") for name in (DESCENT, MOMENTUM)}
    zigzag = {name: _one(table, f"{name}, batch", "zig-zag") for name in (DESCENT, MOMENTUM)}
    yield Check(
        f"{MOMENTUM}, batch: crossings and zig-zag against {DESCENT}",
        "damps",
        f"{swings[MOMENTUM]:g} crossings against {swings[DESCENT]:g}, zig-zag {shown(zigzag[MOMENTUM])} against "
        f"{shown(zigzag[DESCENT])}",
        "fewer, and shorter",
        swings[MOMENTUM] < swings[DESCENT] and zigzag[MOMENTUM] < zigzag[DESCENT],
    )
    way = {name: _one(table, f"{name}, batch", "way") for name in (DESCENT, MOMENTUM, AVERAGE)}
    yield Check(
        f"{MOMENTUM}, batch: way along the valley in {steps} iterations against {DESCENT}",
        "accelerates",
        f"{100 * way[MOMENTUM]:.0f} % against {100 * way[DESCENT]:.0f} %",
        f"{TIMES:g} times as far",
        way[MOMENTUM] >= TIMES * way[DESCENT],
    )
    shorter = _one(table, f"{MOMENTUM}, batch", "first step") / _one(table, f"{AVERAGE}, batch", "first step")
    yield Check(
        f"{AVERAGE}: first step, and way against {DESCENT}",
        "steps (1 - β) times as far",
        f"{shorter:.4f} times shorter than {MOMENTUM}'s; way {100 * way[AVERAGE]:.0f} % against "
        f"{100 * way[DESCENT]:.0f} %",
        "10 to 1e-9, and behind",
        abs(shorter - 10) <= 1e-9 and way[AVERAGE] < way[DESCENT],
    )


def _first_steps(table: Table) -> Iterator[Check]:
    ratio = {name: _one(table, f"{name}, batch", "first step, across over along") for name in FORMS}
    yield Check(
        f"{RMSPROP}, batch: first step across over along, where the gradients are as 28 to 1",
        "equalizes",
        f"{ratio[RMSPROP]:.6f}; {DESCENT}: {ratio[DESCENT]:.2f}",
        "1 to 1e-6",
        abs(ratio[RMSPROP] - 1) <= 1e-6 and abs(ratio[DESCENT] - 28) <= 1e-6,
    )
    rough = {name: float(table.numbers(f"{name}, stochastic", "roughness").mean()) for name in (RMSPROP, ADAM)}
    yield Check(
        f"{ADAM}: first step equal on both axes as {RMSPROP}'s, and smooth where that is rough",
        "combines",
        f"first step {ratio[ADAM]:.6f}; roughness {shown(rough[ADAM])} against {shown(rough[RMSPROP])}",
        f"1 to 1e-6, and {TIMES:g} times smoother",
        abs(ratio[ADAM] - 1) <= 1e-6 and rough[RMSPROP] >= TIMES * rough[ADAM],
    )


def _stochastic(table: Table) -> Iterator[Check]:
    rough, even = (table.numbers(f"{name}, stochastic", "roughness") for name in (RMSPROP, ADAM))
    yield Check(
        f"{RMSPROP}, stochastic: roughness against {ADAM}",
        "follows noise",
        f"{shown(rough.mean())} against {shown(even.mean())}, n = {len(rough)}",
        f"{TIMES:g} times as rough in every seed",
        bool((rough >= TIMES * even).all()),
    )


def _noise(table: Table) -> Check:
    deviations = table.numbers(NOISE, "deviation")
    powers = np.array([np.polyfit(np.log(SIZES), np.log(row), 1)[0] for row in deviations])
    return Check(
        f"gradient noise of m of ten terms, m = {SIZES[0]} to {SIZES[-1]}",
        "as 1/√m",
        f"as m to the power {powers.mean():.3f}, {powers.min():.3f} to {powers.max():.3f} over {len(powers)} seeds",
        f"each within {WITHIN:g} of -0.5",
        bool(np.abs(powers + 0.5).max() <= WITHIN),
    )


def _one(table: Table, arm: str, name: str) -> float:
    """Return a number of a path that no seed changes."""
    return float(table.numbers(arm, name)[0])


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the paths beside their losses, and the noise of mini-batches."""
    ground = landscape(BOWL)
    drawn = []
    for kind, words in (("batch", "the exact gradient"), ("stochastic", f"{SUB_STEPS} noisy sub-steps an iteration")):
        some = {name: path(ground, **ARMS[f"{name}, {kind}"]) for name in FORMS}
        on_ground = {"title": f"Paths by {words}", "caption": "A dot is an iteration, the ring the start."}
        over_time = {"title": f"Loss by {words}", "caption": "Each optimizer for as many iterations as were printed."}
        drawn += [walks(ground, some).update_layout(meta=on_ground), losses(ground, some).update_layout(meta=over_time)]
    return [*drawn, _deviations(table)]


def _deviations(table: Table) -> go.Figure:
    drawn = figure("terms m of a mini-batch", "Deviation of its gradient, logarithmic scale", height=320)
    found = table.numbers(NOISE, "deviation").mean(axis=0)
    line = (found[0] / np.sqrt(SIZES)).tolist()
    drawn.add_scatter(x=SIZES, y=line, mode="lines", name="1/√m", line={"color": CLASSES[6], "dash": "dot"})
    drawn.add_scatter(x=SIZES, y=found.tolist(), mode="markers", name="measured", marker={"color": CLASSES[0]})
    drawn.update_xaxes(type="log", tickvals=SIZES)
    return drawn.update_yaxes(type="log", tickvals=[0.2, 0.5, 1, 2, 5, 10])
