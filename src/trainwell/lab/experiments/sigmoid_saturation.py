"""What does it cost that a sigmoid saturates, and that all it gives to the next layer is positive?

If all inputs of a unit are positive, the gradients of its weights are delta x_i: all of one sign, that of delta. A
path towards weights of mixed signs must zig-zag.

Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", sections 4.3 and 4.4; cs231n, "Neural networks, part 1".
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from trainwell.core.chance import Chance
from trainwell.core.shelves import experiments
from trainwell.graph.expression import expression_graph
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown
from trainwell.pictures.style import CLASSES, TRAIN, figure

PLACES = (0.0, 2.0, 5.0, 10.0)
VANISHED = 1e-4  # of a gradient that is 1/4 at best
INPUTS, SAMPLES = 10, 4096
BATCHES = (1, 4, 16, 64)
SATURATION = "sigmoid at 0, 2, 5, 10"
SIGNS: dict[str, dict[str, Any]] = {
    "positive inputs": {"what": "signs", "centred": False},
    "centred inputs": {"what": "signs", "centred": True},
}
PATH_STEPS, PATH_RATE, TARGET = 400, 0.5, (1.0, -1.0)
MIXED = 0.01  # 2 of 1,024 sign patterns are of one sign; of 4,096 samples four standard errors are 0.003 more


@experiments.card(source="LeCun et al. 1998, sections 4.3 and 4.4; cs231n", claims=(10,))
def sigmoid_saturation() -> Experiment:
    """Sigmoids pass no gradient far out; positive inputs give gradients of one sign and a path that zig-zags."""
    return Experiment(
        question="What does it cost that sigmoids saturate and that what they give is all positive?",
        arms={SATURATION: {"what": "saturation"}} | SIGNS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=3,
        note=(
            f"Signs and paths: one sigmoid unit with {INPUTS} inputs, uniform in [0, 1] or centred, and labels of a "
            "unit whose weights have mixed signs. The path is that of two weights from 0 by single samples and by "
            "batches: its length over the distance it covers. Inputs in [0, 1] stand for what a sigmoid layer gives."
        ),
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Take the sigmoid's gradient at some places, or the signs and the path of a unit that learns."""
    if settings["what"] == "saturation":
        return {f"gradient at {x:g}": expression_graph("sigmoid(x)", x=x).gradients["x"] for x in PLACES}
    return _signs(settings["centred"], seed)


def _signs(is_centred: bool, seed: int) -> Values:
    generator = Chance(seed, "inputs").generator()
    inputs = torch.from_numpy(generator.uniform(0, 1, (SAMPLES, INPUTS))) - (0.5 if is_centred else 0.0)
    truth = torch.from_numpy(generator.choice([-1.0, 1.0], INPUTS) * generator.uniform(1, 2, INPUTS))
    sums = inputs @ truth
    labels = (sums > sums.median()).double()
    weights = torch.from_numpy(0.1 * generator.standard_normal(INPUTS))
    gradients = per_sample_gradients(weights, inputs, labels)
    found: dict[str, float | Sequence[float]] = {
        f"of one sign, batch {size}": float(one_sign(gradients.unflatten(0, (-1, size)).mean(dim=1)))
        for size in BATCHES
    }
    walked = {size: path(is_centred, size, seed) for size in BATCHES}
    found |= {f"path, batch {size}": detour(walk) for size, walk in walked.items()}
    found |= {"steps of one sign": float(one_sign(walked[1].diff(dim=0)))}
    return {**found, "first weight": walked[1][:, 0].tolist(), "second weight": walked[1][:, 1].tolist()}


def per_sample_gradients(weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return (N, D) gradients of each sample's cross-entropy of a sigmoid unit: (p - y) x."""
    return (torch.sigmoid(inputs @ weights) - labels).unsqueeze(1) * inputs


def one_sign(vectors: Tensor) -> Tensor:
    """Return the share of rows whose entries are all positive or all negative."""
    return ((vectors > 0).all(dim=1) | (vectors < 0).all(dim=1)).double().mean()


def path(is_centred: bool, batch: int, seed: int) -> Tensor:
    """Return (T + 1, 2) weights of a unit of two inputs that learns from 0 what w = (4, -4) says."""
    generator = Chance(seed, "path").generator()
    weights, walked = torch.zeros(2, dtype=torch.float64), [torch.zeros(2, dtype=torch.float64)]
    target = 4 * torch.tensor(TARGET, dtype=torch.float64)
    for _ in range(PATH_STEPS):
        raw = torch.from_numpy(generator.uniform(0, 1, (batch, 2)))
        labels = torch.sigmoid((raw - 0.5) @ target)  # soft, so that the unit has an optimum and noise dies away
        inputs = raw - 0.5 if is_centred else raw
        weights = weights - PATH_RATE * per_sample_gradients(weights, inputs, labels).mean(dim=0)
        walked.append(weights)
    return torch.stack(walked)


def detour(walk: Tensor) -> float:
    """Return the length of a path over the distance between its ends."""
    return float(walk.diff(dim=0).norm(dim=1).sum() / (walk[-1] - walk[0]).norm())


def judge(table: Table) -> list[Check]:
    """Hold gradients, signs and paths to what follows from the formulas."""
    middle, far = (float(table.numbers(SATURATION, f"gradient at {x:g}")[0]) for x in (PLACES[0], PLACES[-1]))
    return [
        Check("gradient of the sigmoid at 0", "0.25", shown(middle), "exact", middle == 0.25),
        Check("at 10 it vanishes", "near 0", shown(far), f"at most {VANISHED:g}", far <= VANISHED),
        *_judge_signs(table),
        *_judge_paths(table),
    ]


def _judge_signs(table: Table) -> list[Check]:
    alone, mixed = (table.numbers(arm, "of one sign, batch 1") for arm in SIGNS)
    claim, words = "positive inputs: a sample's weight gradients have one sign", f"share {shown(alone.min())}"
    always = Check(claim, "always", words, "exact", bool((alone == 1).all()))
    claim, words = "centred inputs: they have not", f"share {shown(mixed.max())}"
    rare = Check(claim, f"share {2.0 ** (1 - INPUTS):.2g}", words, f"at most {MIXED:g}", bool((mixed <= MIXED).all()))
    shares = [float(table.numbers(next(iter(SIGNS)), f"of one sign, batch {size}").mean()) for size in BATCHES]
    falls = all(later < earlier for earlier, later in pairwise(shares))
    words = ", ".join(f"{shown(share)} of {size}" for share, size in zip(shares, BATCHES, strict=True))
    weaker = Check("a mini-batch weakens it: share of batches of one sign", "falls", words, "each lower", falls)
    return [always, rare, weaker]


def _judge_paths(table: Table) -> list[Check]:
    positive, centred = SIGNS
    same, mixed = (table.numbers(arm, "steps of one sign") for arm in SIGNS)
    claim, words = "positive inputs: every step moves both weights up or both down", f"share {shown(same.min())}"
    checks = [Check(claim, "always", words, "exact", bool((same == 1).all()))]
    claim, words = "centred inputs: a step may move one up and one down", f"share of the others {shown(mixed.mean())}"
    checks.append(Check(claim, "below 1", words, "below 0.9 in every seed", bool((mixed < 0.9).all())))
    zigzag = table.numbers(positive, "path, batch 1")
    for claim, arm, size in (
        ("centring shortens the path: its length over its distance", centred, 1),
        ("so do batches of 64", positive, BATCHES[-1]),
    ):
        other = table.numbers(arm, f"path, batch {size}")
        words = f"{shown(other.mean())} against {shown(zigzag.mean())}"
        checks.append(Check(claim, "shorter", words, "in every seed", bool((other < zigzag).all())))
    return checks


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the sigmoid with its gradient, and the two paths."""
    x = torch.linspace(-10, 10, 201)
    y = torch.sigmoid(x)
    curve = figure("x", "Sigmoid and its gradient", height=280)
    for name, values, color in (("sigmoid", y, TRAIN), ("gradient", y * (1 - y), CLASSES[1])):
        curve.add_scatter(x=x.tolist(), y=values.tolist(), mode="lines", name=name, line={"color": color})
    walks = figure("first weight", "Second weight", height=380)
    for number, arm in enumerate(SIGNS):
        first, second = (table.numbers(arm, f"{which} weight")[0].round(4).tolist() for which in ("first", "second"))
        line = {"color": CLASSES[number], "width": 1.2}
        walks.add_scatter(x=first, y=second, mode="lines", name=arm, line=line)
    caption = "From (0, 0) towards (4, -4) by single samples; positive inputs move both weights up, or both down."
    walks.update_layout(meta={"title": "Zig-zag", "caption": caption})
    return [curve, walks]
