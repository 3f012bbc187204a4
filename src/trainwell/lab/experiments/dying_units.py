"""Can a ReLU that a too large rate has silenced ever come back, and can units that start alike ever differ?

A ReLU whose sum is negative for every training sample passes no gradient: its weights and bias never move again.
Leaky ReLU passes a share of it. Units that start with equal weights in and out get equal gradients for ever.

Source: Maas, Hannun, Ng 2013, "Rectifier nonlinearities improve neural network acoustic models", section 2;
Rumelhart, Hinton, Williams 1986, on breaking the symmetry.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.chance import Chance, derive
from trainwell.core.shelves import experiments
from trainwell.lab.data import digits
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.pictures.style import CLASSES, figure

HIDDEN, BATCH = 32, 64
TOO_LARGE, GOOD = 5.0, 0.1
BURST = 400  # steps at the too large rate, at most: it ends when every unit is silent
STEPS = {True: 1500, False: 4000}  # quick and full, at the good rate
EVERY = 50
CHANCE_LEVEL = 0.15  # of ten classes, of which the most frequent makes 10.4 %
LEARNED = 0.8
RECOVERED = 0.5  # five times chance, and rising still: a share of the gradient takes its time

AFTER: dict[str, dict[str, Any]] = {
    "ReLU, good rate": {"slope": 0.0, "burst": False},
    "ReLU after too large a rate": {"slope": 0.0, "burst": True},
    "leaky ReLU 0.01 from the same weights": {"slope": 0.01, "burst": True},
    "leaky ReLU 0.1 from the same weights": {"slope": 0.1, "burst": True},
}
ALIKE: dict[str, dict[str, Any]] = {
    "all weights 0": {"start": 0.0},
    "all weights 0.1": {"start": 0.1},
    "random weights": {"start": "random"},
}


@experiments.card(source="Maas et al. 2013, section 2; Rumelhart et al. 1986", claims=(11,))
def dying_units() -> Experiment:
    """Too large a rate kills ReLUs for good, leaky ReLU recovers; units that start alike stay alike, bit for bit."""
    return Experiment(
        question="Do silenced ReLUs come back, and do units that start with equal weights ever differ?",
        arms=AFTER | ALIKE,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=2,
        note=(
            f"The 8x8 digits in [0, 1], one hidden layer of {HIDDEN}, plain gradient descent on batches of {BATCH}. A "
            f"rate of {TOO_LARGE:g} drives a ReLU network until every hidden unit is silent on all training samples "
            f"(at most {BURST} steps); ReLU and leaky ReLU then go on from these same weights at {GOOD:g}. With one "
            "hidden layer death is exact: the inputs never move. In deeper layers a silent unit can wake when the "
            "layers below it move. Equal starts are compared bit for bit after training."
        ),
    )


def build(hidden: int, slope: float, start: float | str, seed: int) -> nn.Sequential:
    """Return 64 -> hidden -> 10 with He weights and zero biases, or with all weights equal to `start`."""
    network = nn.Sequential(nn.Linear(64, hidden), nn.LeakyReLU(slope), nn.Linear(hidden, 10))
    generator = torch.Generator().manual_seed(derive(seed, "initialization"))
    for layer in (network[0], network[2]):
        assert isinstance(layer, nn.Linear)
        nn.init.zeros_(layer.bias)
        if isinstance(start, str):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        else:
            nn.init.constant_(layer.weight, start)
    return network


def step(network: nn.Module, inputs: Tensor, labels: Tensor, rate: float) -> None:
    """Take one step of plain gradient descent on the mean cross-entropy, in place."""
    network.zero_grad()
    functional.cross_entropy(network(inputs), labels).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.grad is not None
            parameter.sub_(rate * parameter.grad)


def silent(network: nn.Sequential, inputs: Tensor) -> Tensor:
    """Return (hidden,) bool: which units have no positive sum on any sample."""
    with torch.no_grad():
        is_silent: Tensor = (network[0](inputs) <= 0).all(dim=0)
    return is_silent


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train on from silenced units, or from equal ones."""
    data = digits()
    inputs, labels = data.train.flatten(1).float() / 255, data.train_labels
    batches = _Batches(len(inputs), seed)
    if "start" in settings:
        return _alike(settings["start"], inputs, labels, batches)
    network = build(HIDDEN, 0.0, "random", seed)
    if settings["burst"]:
        silence(network, inputs, labels, batches)
    hidden, activation = network[0], network[1]
    assert isinstance(hidden, nn.Linear)
    assert isinstance(activation, nn.LeakyReLU)
    activation.negative_slope = settings["slope"]
    before, weights = silent(network, inputs), hidden.weight.detach().clone()
    accuracies = [accuracy(network, inputs, labels)]
    for number in range(1, STEPS[is_quick] + 1):
        index = batches.next()
        step(network, inputs[index], labels[index], GOOD)
        if number % EVERY == 0:
            accuracies.append(accuracy(network, inputs, labels))
    moved = (hidden.weight.detach() - weights).abs().amax(dim=1)[before]
    return {
        "silent before": float(before.float().mean()),
        "silent after": float(silent(network, inputs).float().mean()),
        "silent that woke": float((before & ~silent(network, inputs)).sum()),
        "silent that moved": float((moved > 0).sum()),
        "accuracy": accuracies[-1],
        "accuracies": accuracies,
    }


def silence(network: nn.Sequential, inputs: Tensor, labels: Tensor, batches: "_Batches") -> None:
    """Train at the too large rate until every hidden unit is silent."""
    for _ in range(BURST):
        if bool(silent(network, inputs).all()):
            return
        index = batches.next()
        step(network, inputs[index], labels[index], TOO_LARGE)


def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose largest score is their class's."""
    with torch.no_grad():
        return float((network(inputs).argmax(dim=1) == labels).float().mean())


def _alike(start: float | str, inputs: Tensor, labels: Tensor, batches: "_Batches") -> Values:
    network = build(HIDDEN, 0.0, start, batches.seed)
    for _ in range(500):
        index = batches.next()
        step(network, inputs[index], labels[index], GOOD)
    into, out = network[0], network[2]
    assert isinstance(into, nn.Linear)
    assert isinstance(out, nn.Linear)
    units = torch.cat([into.weight, into.bias.unsqueeze(1), out.weight.T], dim=1).detach()
    return {
        "different units": float(len(units.unique(dim=0))),
        "largest weight": float(units.abs().max()),
        "accuracy": accuracy(network, inputs, labels),
    }


class _Batches:
    """Batches of samples drawn with replacement, a function of the seed."""

    def __init__(self, count: int, seed: int) -> None:
        self.seed = seed
        self._count = count
        self._generator = Chance(seed, "batches").generator()

    def next(self) -> Tensor:
        """Return (BATCH,) positions."""
        return torch.from_numpy(self._generator.integers(0, self._count, BATCH))


def judge(table: Table) -> list[Check]:
    """Hold the dead to stay dead, the leaky to recover, and equal units to stay equal."""
    good, dead = list(AFTER)[:2]
    stay = int(table.numbers(dead, "silent that moved").sum() + table.numbers(dead, "silent that woke").sum())
    killed, spared = table.numbers(dead, "silent before"), table.numbers(good, "silent after")
    checks = [
        Check(
            f"ReLU, rate {TOO_LARGE:g}: units silenced",
            "most",
            f"{killed.mean():.0%} ({killed.min():.0%} to {killed.max():.0%} over {len(killed)} seeds); "
            f"{spared.mean():.0%} at the good rate",
            "more than half in each seed, and less than a quarter at the good rate",
            bool(killed.min() > 0.5 and spared.max() < 0.25),
        ),
        Check("silenced ReLUs that ever moved or woke", "0", f"{stay}", "exactly", stay == 0),
    ]
    checks += [_reaches(table, arm) for arm in AFTER]
    for arm in ALIKE:
        units, wanted = table.numbers(arm, "different units"), HIDDEN if arm == "random weights" else 1
        claim = f"{arm}: different hidden units of {HIDDEN} after training"
        most = f"{units.max():g}, largest weight {table.numbers(arm, 'largest weight').max():.3g}"
        checks.append(Check(claim, f"{wanted}", most, "exactly, bit for bit", bool((units == wanted).all())))
    return checks


def _reaches(table: Table, arm: str) -> Check:
    values = table.numbers(arm, "accuracy")
    shown = f"accuracy {values.mean():.1%} ({values.min():.1%} to {values.max():.1%})"
    if AFTER[arm]["slope"] > 0:
        return Check(f"{arm}: recovers", "recovers", shown, f"mean >= {RECOVERED:.0%}", values.mean() >= RECOVERED)
    if AFTER[arm]["burst"]:
        return Check(f"{arm}: for good", "chance", shown, f"each <= {CHANCE_LEVEL:.0%}", values.max() <= CHANCE_LEVEL)
    return Check(f"{arm}: learns", "learns", shown, f"each >= {LEARNED:.0%}", values.min() >= LEARNED)


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the training accuracy after the burst."""
    shown = figure("step after the burst", "Accuracy on the training samples, mean over seeds", height=340)
    for place, arm in enumerate(AFTER):
        curve = table.numbers(arm, "accuracies").mean(axis=0)
        x = [EVERY * number for number in range(len(curve))]
        line = {"color": CLASSES[place]}
        shown.add_scatter(x=x, y=curve.round(4).tolist(), mode="lines", name=arm, line=line)
    shown.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return [shown]
