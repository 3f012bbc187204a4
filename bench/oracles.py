"""Do our optimizers and schedules walk the paths of optax and Keras? Float64, 200 steps, four problems each.

Runs in an environment of its own (bench/requirements-oracles.txt, with trainwell itself installed or on the path):

    KERAS_BACKEND=torch python bench/oracles.py
"""

import os
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import jax
import keras
import numpy as np
import optax
import torch
from harness import Figure, machine, write_result
from numpy.typing import NDArray
from torch.nn import functional

from trainwell.core.choice import Choice
from trainwell.core.shelves import optimizers, schedules

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")

STEPS = 200
TOLERANCE = 1e-9  # of the largest coordinate on the path
Point = NDArray[np.float64]
Slope = Callable[[Point], Point]
Path = NDArray[np.float64]


def problems() -> Iterator[tuple[str, Point, Slope]]:
    """Yield (name, start (D,), gradient) of four problems."""
    chance = np.random.default_rng(0)
    curvature, lowest = np.array([0.05, 5.0]), np.array([1.0, -2.0])
    yield "bowl", np.zeros(2), lambda x: curvature * (x - lowest)
    inputs, labels = torch.from_numpy(chance.normal(size=(60, 4))), torch.arange(60) % 3

    def valley(x: torch.Tensor) -> torch.Tensor:
        return ((1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2) / 20

    def regression(x: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(inputs @ x.reshape(4, 3), labels)

    def two_layers(x: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy((inputs @ x[:20].reshape(4, 5)).tanh() @ x[20:].reshape(5, 3), labels)

    yield "valley", np.array([-1.0, 1.0]), slope_of(valley)
    yield "regression", np.zeros(12), slope_of(regression)
    yield "two layers", chance.normal(size=35), slope_of(two_layers)


def slope_of(function: Callable[[torch.Tensor], torch.Tensor]) -> Slope:
    """Return the gradient of a function of a tensor as one of arrays."""

    def slope(x: Point) -> Point:
        point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(function(point), point)
        return gradient.numpy()

    return slope


def ours(choice: str, start: Point, slope: Slope) -> Path:
    """Return the path (T, D) of a member of our shelf."""
    parsed = Choice.parse(choice)
    shape = (5, 7) if parsed.name == "muon" else start.shape
    weight = torch.tensor(start.reshape(shape), dtype=torch.float64, requires_grad=True)
    optimizer = optimizers.build(parsed.name, parsed.options, params=[weight])
    path = []
    for _ in range(STEPS):
        weight.grad = torch.from_numpy(slope(weight.detach().numpy().reshape(-1)).reshape(shape).copy())
        optimizer.step()
        path.append(weight.detach().numpy().reshape(-1).copy())
    return np.array(path)


def of_optax(transformation: Any, start: Point, slope: Slope) -> Path:
    """Return the path (T, D) of an optax optimizer."""
    point: Any = jax.numpy.asarray(start)
    state, path = transformation.init(point), []

    @jax.jit
    def step(gradient: Any, state: Any, point: Any) -> Any:
        updates, state = transformation.update(gradient, state, point)
        return optax.apply_updates(point, updates), state

    for _ in range(STEPS):
        point, state = step(jax.numpy.asarray(slope(np.array(point))), state, point)
        path.append(np.asarray(point))
    return np.array(path)


def of_keras(optimizer: Any, start: Point, slope: Slope) -> Path:
    """Return the path (T, D) of a Keras optimizer."""
    weight = keras.Variable(start, dtype="float64")
    path = []
    for _ in range(STEPS):
        here = weight.value.detach().numpy().copy()
        optimizer.apply([torch.from_numpy(slope(here).copy())], [weight])
        path.append(weight.value.detach().numpy().copy())
    return np.array(path)


def pairs() -> Iterator[tuple[str, str, Callable[[Point, Slope], Path]]]:
    """Yield (our choice, whose, their path)."""

    def jaxes(choice: str, words: str, make: Callable[[], Any]) -> tuple[str, str, Callable[[Point, Slope], Path]]:
        return choice, f"optax.{words}", lambda start, slope: of_optax(make(), start, slope)

    def kerases(choice: str, words: str, make: Callable[[], Any]) -> tuple[str, str, Callable[[Point, Slope], Path]]:
        return choice, f"keras {words}", lambda start, slope: of_keras(make(), start, slope)

    sgd = "sgd:lr=0.02,weight_decay=0.0"
    yield jaxes("gradient_descent:lr=0.02,weight_decay=0.0", "sgd", lambda: optax.sgd(0.02))
    yield jaxes(f"{sgd},nesterov=false", "sgd(momentum)", lambda: optax.sgd(0.02, 0.9))
    yield jaxes(f"{sgd},nesterov=true", "sgd(nesterov)", lambda: optax.sgd(0.02, 0.9, nesterov=True))
    yield kerases(
        "momentum:lr=0.02,momentum=0.9,weight_decay=0.0", "SGD(momentum)", lambda: keras.optimizers.SGD(0.02, 0.9)
    )
    yield kerases(
        "nesterov:lr=0.02,momentum=0.9,weight_decay=0.0",
        "SGD(nesterov)",
        lambda: keras.optimizers.SGD(0.02, 0.9, nesterov=True),
    )
    yield jaxes(
        "momentum_average:lr=0.1,weight_decay=0.0",
        "ema(debias)",
        lambda: optax.chain(optax.ema(0.9, debias=True), optax.scale(-0.1)),
    )
    yield jaxes(
        "adagrad:lr=0.1,eps=1e-30,weight_decay=0.0",
        "adagrad",
        lambda: optax.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-60),
    )
    yield jaxes(
        "rmsprop:lr=0.01,beta=0.9,eps=0.1,eps_inside=false,weight_decay=0.0", "rmsprop(eps outside)",
        lambda: optax.rmsprop(0.01, 0.9, eps=0.1, eps_in_sqrt=False),
    )  # fmt: skip
    yield jaxes(
        "rmsprop:lr=0.01,beta=0.9,eps=1e-3,eps_inside=true,weight_decay=0.0", "rmsprop(eps inside)",
        lambda: optax.rmsprop(0.01, 0.9, eps=1e-3, eps_in_sqrt=True),
    )  # fmt: skip
    yield kerases(
        "rmsprop:lr=0.01,beta=0.9,eps=1e-3,eps_inside=true,weight_decay=0.0", "RMSprop",
        lambda: keras.optimizers.RMSprop(0.01, rho=0.9, epsilon=1e-3),
    )  # fmt: skip
    yield jaxes("adam:lr=0.05,eps=1e-3,weight_decay=0.0", "adam", lambda: optax.adam(0.05, eps=1e-3))
    yield kerases("adam:lr=0.05,eps=1e-30,weight_decay=0.0", "Adam", lambda: keras.optimizers.Adam(0.05, epsilon=1e-30))
    yield jaxes("adamw:lr=0.05,weight_decay=0.1", "adamw", lambda: optax.adamw(0.05, weight_decay=0.1))
    yield jaxes("gradient_sign:lr=0.01", "sign_sgd", lambda: optax.sign_sgd(0.01))
    # optax.rprop 0.2.8 hands out the moves of the step before, so its path is another one.
    yield jaxes(
        "radam:lr=0.02,eps=1e-30,weight_decay=0.0",
        "radam(threshold=4)",
        lambda: optax.radam(0.02, eps=1e-30, threshold=4.0),
    )
    yield jaxes(
        "radam:lr=0.02,eps=1e-30,threshold=5.0,weight_decay=0.0",
        "radam(threshold=5)",
        lambda: optax.radam(0.02, eps=1e-30),
    )


def rates() -> Iterator[tuple[str, str, Callable[[int], Any]]]:
    """Yield (our schedule, whose, their multiplier of a step) for runs of 200 steps, 10 an epoch."""
    decay = keras.optimizers.schedules
    fall = decay.CosineDecay(1.0, STEPS)
    yield "cosine", "keras CosineDecay", lambda step: fall(step)
    yield "cosine:final=0.1", "optax.cosine_decay", optax.cosine_decay_schedule(1.0, STEPS, alpha=0.1)
    yield "exponential:gamma=0.3", "optax.exponential_decay", optax.exponential_decay(1.0, 10, float(np.exp(-0.3)))
    yield "step_decay:every=3,factor=0.5", "optax(staircase)", optax.exponential_decay(1.0, 30, 0.5, staircase=True)
    over = decay.InverseTimeDecay(1.0, decay_steps=10, decay_rate=0.5)
    yield "inverse_time:k=0.5", "keras InverseTimeDecay", lambda step: over(step)
    cycles = [{"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": 20 * 2**i} for i in range(4)]
    yield "warm_restarts:first=2,growth=2", "optax.sgdr", optax.sgdr_schedule([{**c, "end_value": 0.0} for c in cycles])
    again = decay.CosineDecayRestarts(1.0, first_decay_steps=20, t_mul=2.0, m_mul=1.0)
    yield "warm_restarts:first=2,growth=2", "keras CosineDecayRestarts", lambda step: again(step)


def main() -> None:
    """Compare every pair on every problem, and store the largest distances."""
    facts = machine()
    found: dict[str, list[float]] = {}
    for choice, theirs, walk in pairs():
        row = []
        for _, start, slope in problems():
            one, other = ours(choice, start, slope), walk(start, slope)
            row.append(float(np.abs(one - other).max() / max(1.0, np.abs(other).max())))
        found[f"{choice} beside {theirs}"] = row
        print(f"{max(row):8.1e}  {choice}  {theirs}", flush=True)
    for choice, theirs, multiplier in rates():
        parsed = Choice.parse(choice)
        mine = schedules.build(parsed.name, parsed.options, total_steps=STEPS, steps_per_epoch=10)
        distance = max(abs(mine(step) - float(multiplier(step))) for step in range(STEPS))
        found[f"{choice} beside {theirs}"] = [distance]
        print(f"{distance:8.1e}  {choice}  {theirs}", flush=True)
    figures = {
        name: Figure(float(np.median(row)), min(row), max(row), "largest distance, median, least and most of problems")
        for name, row in found.items()
    }
    write_result(
        "oracles",
        figures=figures,
        n=len(found),
        target=f"every path within {TOLERANCE:g} of the other, relative to its largest coordinate",
        reached=all(max(row) <= TOLERANCE for row in found.values()),
        facts=facts,
        more={"others": {name: metadata.version(name) for name in ("optax", "jax", "keras")}},
    )


if __name__ == "__main__":
    main()
