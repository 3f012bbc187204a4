"""Do auxiliary classifiers bring the gradient to the first layers of a deep network without batch norm, or do skips?

GoogLeNet's two auxiliary classifiers stand in its middle, so that their losses reach its stem through fewer layers than
that of its scores. The gradient of the whole loss to the weights of each part is measured at the start and on the way:
without the auxiliary classifiers, with them, and with a skip around each module instead.

Source: Szegedy et al. 2015, "Going deeper with convolutions", arXiv:1409.4842, section 5; the skips are not published.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainwell.core.shelves import experiments
from trainwell.initialization import initialize
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown
from trainwell.lab.plain_loop import batches, few_images, seeded
from trainwell.models.auxiliary import with_auxiliaries
from trainwell.models.googlenet import MODULES, GoogLeNet, googlenet
from trainwell.pictures.style import CLASSES, SYMBOLS, figure

WIDTH, RATE, MOMENTUM, BATCH = 16, 0.01, 0.9, 50
COUNT, HELD_OUT, LOOKED_AT = 2_000, 100, 200  # images whose gradient is measured at the start
STEPS, QUICK_STEPS, BLOCKS = 50, 10, 10
POOLED, QUICK_POOLED = 2, 4
CLIP = 1.0  # of the gradient's length, else some nets without a norm are lost in the first steps
PARTS = ("conv1", "conv2", "conv3", *(f"inception{name}" for name in MODULES))
STEM = 0  # its place among them
WITHOUT, WITH, SKIPS = "without", "with auxiliaries", "with skips"
KINDS: Mapping[str, Mapping[str, Any]] = {
    WITHOUT: {"auxiliary_weight": 0.0},
    WITH: {"auxiliary_weight": 0.3},
    SKIPS: {"auxiliary_weight": 0.0, "skips": True},
}
HE, SMALL = "He's weights", "weights of 0.01"
STARTS = {HE: "", SMALL: "gaussian:std=0.01"}

ARMS: Mapping[str, Mapping[str, Any]] = {
    f"{kind}, {start}": {"options": options, "start": scheme}
    for start, scheme in STARTS.items()
    for kind, options in KINDS.items()
}


@experiments.card(source="Szegedy et al. 2015, arXiv:1409.4842, section 5", claims=(21,))
def auxiliary_classifiers() -> Experiment:
    """Auxiliary classifiers bring gradient to the stem of GoogLeNet without batch norm, skips bring it too."""
    return Experiment(
        question="What brings gradient to the stem of GoogLeNet without batch norm, auxiliary classifiers or skips?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"GoogLeNet as published, 5x5 convolutions included, without norms and dropout, a quarter as wide and with"
        f" a stem that does not subsample; {COUNT:,} images of CIFAR-10 averaged to 16x16 (8x8 in the quick form). The"
        f" gradient at the start is that over {LOOKED_AT} images; on the way the geometric mean over {STEPS}"
        f" ({QUICK_STEPS}) steps in batches of {BATCH}, rate {RATE:g} with momentum {MOMENTUM:g}, gradients longer than"
        f" {CLIP:g} shortened to it after they are measured. Auxiliary losses count 0.3. Two starts: He's weights with"
        " a head of 0.01, as on this shelf, and all weights of deviation 0.01, usual before; the paper names none. The"
        " classifiers' own dropout of 0.7 stays. With He's weights skips make the maps grow from module to module, and"
        " all gradients with them: what is left beside the last module's says more there.",
    )


def build(options: Mapping[str, Any], start: str, seed: int) -> GoogLeNet:
    """Return a network without norms with fresh weights."""
    with seeded(seed, "weights"):
        words: dict[str, Any] = {"width": WIDTH, "stem": "small", "large_kernel": 5, "dropout": 0.0, **options}
        network = googlenet(3, 10, norm="none", **words)
        if start:
            initialize(network, start)
    return network


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the gradients of all parts at the start, and of the stem on the way."""
    pooled, steps = (QUICK_POOLED, QUICK_STEPS) if is_quick else (POOLED, STEPS)
    samples = few_images("cifar10", seed, count=COUNT, held_out=HELD_OUT, pooled=pooled)
    network = build(settings["options"], settings["start"], seed)
    with seeded(seed, "steps"):
        start = gradients(network, samples.inputs[:LOOKED_AT], samples.labels[:LOOKED_AT])
        optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
        losses, stems = [], []
        for _, (inputs, labels) in zip(range(steps), batches(samples, BATCH, seed), strict=False):
            losses.append(float(backward(network, inputs, labels)))
            stems.append(norm_of(network.conv1))
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
    curve = np.array(losses).reshape(BLOCKS, -1).mean(axis=1)
    return {
        "gradient": start,
        "gradient on the way": float(np.exp(np.log(np.maximum(stems, 1e-300)).mean())),
        "loss": curve.tolist(),
    }


def gradients(network: GoogLeNet, inputs: Tensor, labels: Tensor) -> list[float]:
    """Return how long the gradient of the whole loss to the weights of each part is, first to last."""
    backward(network, inputs, labels)
    return [norm_of(network.get_submodule(part)) for part in PARTS]


def backward(network: GoogLeNet, inputs: Tensor, labels: Tensor) -> Tensor:
    """Compute the gradients of the whole loss in training mode; return the loss of the scores alone."""
    network.train()
    network.zero_grad()
    scores = network(inputs)
    with_auxiliaries(cross_entropy, network)(scores, labels).backward()
    return cross_entropy(scores.detach(), labels)


def norm_of(part: nn.Module) -> float:
    """Return how long the gradient to all weights of a part is; in float64, because of the squares of short ones."""
    squares = [p.grad.double().square().sum() for p in part.parameters() if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt())


def judge(table: Table) -> Sequence[Check]:
    """Compare the gradients at the stem."""
    return [check for start in STARTS for check in _stem(table, start)]


def _stem(table: Table, start: str) -> Iterator[Check]:
    at_start = {kind: table.numbers(f"{kind}, {start}", "gradient")[:, STEM] for kind in KINDS}
    on_the_way = {kind: table.numbers(f"{kind}, {start}", "gradient on the way") for kind in KINDS}
    for found, when in ((at_start, "at the start"), (on_the_way, "on the way")):
        for kind in (WITH, SKIPS):
            yield Check(
                f"{start}: {when}, the gradient at the stem is longer {kind}",
                "longer",
                f"{_times(found[kind], found[WITHOUT])} times as long; {shown(found[kind].mean())} against"
                f" {shown(found[WITHOUT].mean())}{_fading(table, start, kind) if found is at_start else ''}",
                "in each seed",
                bool((found[kind] > found[WITHOUT]).all()),
            )
    yield Check(
        f"{start}: skips instead bring at least as much of it as auxiliary classifiers",
        "compared; networks with skips go without auxiliary classifiers",
        f"{_times(at_start[SKIPS], at_start[WITH])} times as long at the start,"
        f" {_times(on_the_way[SKIPS], on_the_way[WITH])} times on the way",
        "at the start, on average of the logarithm",
        bool(np.log(at_start[SKIPS] / at_start[WITH]).mean() >= 0),
    )


def _fading(table: Table, start: str, kind: str) -> str:
    """Say how long the gradient at the stem is beside that of the last module."""
    with_it, without = (table.numbers(f"{one}, {start}", "gradient") for one in (kind, WITHOUT))
    shares = [shown(float((found[:, STEM] / found[:, -1]).mean())) for found in (with_it, without)]
    return f"; beside the last module's {shares[0]} against {shares[1]}"


def _times(longer: NDArray[np.float64], shorter: NDArray[np.float64]) -> str:
    return shown(float(np.exp(np.log(longer / shorter).mean())))


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the gradients by part, and the losses."""
    parts = figure("part, from the stem to the last module", "Gradient to its weights at the start", height=360)
    losses = figure("share of the steps", "Training loss of the scores", height=340)
    for start, dash in zip(STARTS, ("solid", "dot"), strict=True):
        for place, kind in enumerate(KINDS):
            arm = f"{kind}, {start}"
            line = {"color": CLASSES[place], "width": 2, "dash": dash}
            found = np.exp(np.log(np.maximum(table.numbers(arm, "gradient"), 1e-45)).mean(axis=0))
            marker = {"symbol": SYMBOLS[place], "size": 7}
            parts.add_scatter(x=PARTS, y=found, name=arm, mode="lines+markers", line=line, marker=marker)
            curve = table.numbers(arm, "loss").mean(axis=0)
            x = (np.arange(len(curve)) + 0.5) / len(curve)
            losses.add_scatter(x=x, y=curve, name=arm, mode="lines", line=line)
    parts.update_yaxes(type="log", exponentformat="power")
    parts.update_layout(meta={"title": "Gradient by part", "caption": "Geometric means over the seeds."})
    losses.update_layout(meta={"title": "Loss on the way", "caption": "Means over the seeds."})
    return [parts, losses]
