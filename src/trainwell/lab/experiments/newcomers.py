"""What should everyone see once: the first loss, an overfitted batch, the worth of data, an honest scale?

Source: Karpathy 2019, "A recipe for training neural networks" (first loss, one batch); Kaufman, Rosset, Perlich 2011,
"Leakage in data mining: formulation, detection, and avoidance" (statistics of the validation samples).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.chance import Chance, derive
from trainwell.core.shelves import experiments, preprocessings
from trainwell.lab.data import digits
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.pictures.style import CLASSES, figure

HIDDEN, BATCH, RATE = 64, 50, 0.2
HEADS = {"zero head": 0.0, "head of 0.01": 0.01}
CLASS_COUNTS = (2, 10, 1000)
SMALL_HEAD_NEAR = 0.01  # a head of 0.01 adds half the variance of its scores: 0.01^2 x about 64 / 2
ONE_BATCH, ONE_BATCH_STEPS, OVERFITTED = 32, 1500, 0.01
STEPS = 560  # 20 epochs of 1,400 samples, or 280 of 100
SIZES = (100, 400, 1400)
TRAIN_PART = 1000  # of 1,437; the others validate
OUTLIER = 200.0  # times the largest grey level, in one broken validation image
BRIGHTER = 0.5  # of the full range: validation images of another camera

FIRST: dict[str, dict[str, Any]] = {
    f"first loss, {classes} classes, {head}": {"truth": "first loss", "classes": classes, "head": deviation}
    for head, deviation in HEADS.items()
    for classes in CLASS_COUNTS
}
ONE: dict[str, dict[str, Any]] = {
    "one batch, its own labels": {"truth": "one batch", "shuffled": False},
    "one batch, shuffled labels": {"truth": "one batch", "shuffled": True},
}
DATA: dict[str, dict[str, Any]] = {f"{size} samples, {STEPS} steps": {"truth": "data", "size": size} for size in SIZES}
SCALE: dict[str, dict[str, Any]] = {
    "outlier in val, scale of train": {"truth": "outlier", "fit": "train"},
    "outlier in val, scale of train and val": {"truth": "outlier", "fit": "both"},
    "brighter val, scale of train": {"truth": "brighter", "fit": "train"},
    "brighter val, each split its own scale": {"truth": "brighter", "fit": "each"},
}


@experiments.card(source="Karpathy 2019; Kaufman et al. 2011", claims=(27,))
def newcomers() -> Experiment:
    """The first loss is ln K, one batch can be overfitted, data beats epochs, val statistics are never fitted."""
    return Experiment(
        question="Which truths about training can be replayed in a minute?",
        arms=FIRST | ONE | DATA | SCALE,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=10,
        quick_seeds=3,
        note=(
            f"The 8x8 digits, one hidden layer of {HIDDEN} with He weights, plain gradient descent on batches of "
            f"{BATCH}. More data and more epochs take the same {STEPS} steps. The outlier is one validation image of "
            f"{OUTLIER:g} times the full range: a scale that saw it squeezes all other images, so the network "
            "was changed by samples it must not know. Brighter validation images are what a deployed network meets "
            "from another camera: their own statistics hide the loss, and a single image has none."
        ),
    )


def build(classes: int, head: float, seed: int) -> nn.Sequential:
    """Return 64 -> hidden -> classes with He weights, and a head N(0, head^2)."""
    generator = torch.Generator().manual_seed(derive(seed, "initialization"))
    hidden, last = nn.Linear(64, HIDDEN), nn.Linear(HIDDEN, classes)
    nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu", generator=generator)
    nn.init.normal_(last.weight, 0.0, head, generator=generator)
    nn.init.zeros_(hidden.bias)
    nn.init.zeros_(last.bias)
    return nn.Sequential(hidden, nn.ReLU(), last)


def train(network: nn.Module, inputs: Tensor, labels: Tensor, *, steps: int, seed: int) -> None:
    """Take steps of plain gradient descent, in place, epoch after epoch in a shuffled order."""
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    per_epoch = max(1, len(inputs) // BATCH)
    for number in range(steps):
        if number % per_epoch == 0:
            order = Chance(seed, "shuffle").permutation(number // per_epoch, len(inputs))
        index = order[BATCH * (number % per_epoch) :][:BATCH]
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs[index]), labels[index]).backward()
        optimizer.step()


def loss_and_accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy."""
    with torch.no_grad():
        scores = network(inputs)
    hits = (scores.argmax(dim=1) == labels).float().mean()
    return float(functional.cross_entropy(scores, labels)), float(hits)


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Replay one truth."""
    replay = {"first loss": _first_loss, "one batch": _one_batch, "data": _more_data}
    return replay.get(settings["truth"], _scale)(settings, seed)


def _shuffled_digits(seed: int) -> tuple[Tensor, Tensor]:
    found = digits()
    order = Chance(seed, "draw").permutation(0, len(found.train))
    return found.train[order].float() / 255, found.train_labels[order]


def _first_loss(settings: Mapping[str, Any], seed: int) -> Values:
    inputs = _shuffled_digits(seed)[0].flatten(1)
    drawn = Chance(seed, "labels").generator().integers(0, settings["classes"], len(inputs))
    network = build(settings["classes"], settings["head"], seed)
    return {"loss": loss_and_accuracy(network, inputs, torch.from_numpy(drawn))[0]}


def _one_batch(settings: Mapping[str, Any], seed: int) -> Values:
    inputs, labels = (part[:ONE_BATCH] for part in _shuffled_digits(seed))
    if settings["shuffled"]:
        labels = labels[Chance(seed, "labels").permutation(0, ONE_BATCH)]
    network = build(10, 0.0, seed)
    train(network, inputs.flatten(1), labels, steps=ONE_BATCH_STEPS, seed=seed)
    loss, accuracy = loss_and_accuracy(network, inputs.flatten(1), labels)
    return {"loss": loss, "accuracy": accuracy}


def _more_data(settings: Mapping[str, Any], seed: int) -> Values:
    inputs, labels = _shuffled_digits(seed)
    inputs, size, found = inputs.flatten(1), settings["size"], digits()
    network = build(10, 0.0, seed)
    train(network, inputs[:size], labels[:size], steps=STEPS, seed=seed)
    return {
        "train accuracy": loss_and_accuracy(network, inputs[:size], labels[:size])[1],
        "test accuracy": loss_and_accuracy(network, found.test.flatten(1).float() / 255, found.test_labels)[1],
        "epochs": STEPS * BATCH / size,
    }


def _scale(settings: Mapping[str, Any], seed: int) -> Values:
    inputs, labels = _shuffled_digits(seed)
    known, val = inputs[:TRAIN_PART], inputs[TRAIN_PART:].clone()
    if settings["truth"] == "outlier":
        val[0] *= OUTLIER
        scaling = "minmax"
    else:
        val += BRIGHTER
        scaling = "standardize"
    fitted_on = torch.cat([known, val]) if settings["fit"] == "both" else known
    ready = _fitted(scaling, fitted_on)
    ready_val = _fitted(scaling, val) if settings["fit"] == "each" else ready
    network = build(10, 0.0, seed)
    train(network, ready.apply(known).flatten(1), labels[:TRAIN_PART], steps=STEPS, seed=seed)
    reported = loss_and_accuracy(network, ready_val.apply(val).flatten(1), labels[TRAIN_PART:])[1]
    deployed = loss_and_accuracy(network, ready.apply(val).flatten(1), labels[TRAIN_PART:])[1]
    return {"reported accuracy": reported, "deployed accuracy": deployed}


def _fitted(name: str, inputs: Tensor) -> Any:
    steps = preprocessings.build(name)
    steps.fit(inputs)
    return steps


def judge(table: Table) -> list[Check]:
    """Hold each truth to what it says."""
    checks = [_is_ln_k(table, arm) for arm in FIRST]
    for arm in ONE:
        losses, hits = table.numbers(arm, "loss"), table.numbers(arm, "accuracy")
        shown = f"loss {losses.max():.4f} at most, accuracy {hits.min():.0%} at least, in {len(losses)} seeds"
        holds = bool(losses.max() <= OVERFITTED and hits.min() == 1)
        tolerance = f"loss at most {OVERFITTED:g} and every sample right"
        checks.append(
            Check(f"{arm}: {ONE_BATCH} samples, {ONE_BATCH_STEPS} steps", "overfitted", shown, tolerance, holds)
        )
    return [*checks, *_data_beats_epochs(table), _outlier(table), _brighter(table)]


def _is_ln_k(table: Table, arm: str) -> Check:
    wanted, found = math.log(FIRST[arm]["classes"]), table.numbers(arm, "loss")
    error = float(abs(found / wanted - 1).max())
    near = SMALL_HEAD_NEAR if FIRST[arm]["head"] else 1e-6
    shown = f"{found.mean():.4f}, at most {error:.1e} of it off in {len(found)} seeds"
    return Check(arm, f"ln K = {wanted:.4f}", shown, f"within {near:g} of it", error <= near)


def _data_beats_epochs(table: Table) -> list[Check]:
    checks = []
    arms = list(DATA)
    for less, more in itertools.pairwise(arms):
        gains = table.numbers(more, "test accuracy") - table.numbers(less, "test accuracy")
        epochs = [table.numbers(arm, "epochs").mean() for arm in (less, more)]
        checks.append(
            Check(
                f"{DATA[more]['size']} samples, {epochs[1]:.0f} epochs, against {DATA[less]['size']}, {epochs[0]:.0f}",
                "more data is better",
                f"{100 * gains.mean():+.1f} points of test accuracy, {100 * gains.min():+.1f} at least",
                "better in each seed",
                bool(gains.min() > 0),
            )
        )
    return checks


def _outlier(table: Table) -> Check:
    honest, leaked = (table.numbers(arm, "deployed accuracy") for arm in list(SCALE)[:2])
    return Check(
        "one outlier in val changes what is trained, when the scale is fitted on it",
        "the scale is fitted on train only",
        f"accuracy {honest.mean():.1%} with the scale of train, {leaked.mean():.1%} with that of train and val",
        "at least 10 points apart in each seed",
        bool((honest - leaked).min() >= 0.1),
    )


def _brighter(table: Table) -> Check:
    own = list(SCALE)[3]
    reported, deployed = table.numbers(own, "reported accuracy"), table.numbers(own, "deployed accuracy")
    return Check(
        "val scaled by its own statistics reports what deployment does not reach",
        "the frozen scale of train is applied to val",
        f"reported {reported.mean():.1%}, deployed {deployed.mean():.1%}",
        "too high in each seed, by 10 points or more on average",
        bool((reported - deployed).min() > 0 and (reported - deployed).mean() >= 0.1),
    )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the accuracies by the number of samples, and by what the scale was fitted on."""
    shown = figure(f"training samples, {STEPS} steps each", "Accuracy, mean over seeds", height=320)
    for name, color in (("train accuracy", CLASSES[0]), ("test accuracy", CLASSES[2])):
        means = [table.mean(arm, name).value for arm in DATA]
        shown.add_scatter(x=SIZES, y=means, mode="lines+markers", name=name, line={"color": color})
    shown.update_xaxes(type="log", tickvals=SIZES)
    shown.update_yaxes(tickformat=".0%")
    scales = figure("", "Validation accuracy, mean over seeds", height=360)
    for place, name in enumerate(("reported accuracy", "deployed accuracy")):
        means = [table.mean(arm, name).value for arm in SCALE]
        scales.add_bar(x=list(SCALE), y=means, name=name, marker={"color": CLASSES[place]})
    scales.update_yaxes(range=[0, 1], tickformat=".0%")
    return [shown, scales]
