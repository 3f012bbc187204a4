"""Which activations keep their own mean and variance through many layers, and which one learns best without a norm?

SELU with weights of variance 1 / fan_in has a fixed point at mean 0 and variance 1: what a layer makes of second moment
q is known in closed form. A bipolar unit pulls the mean to 0 by turning every second channel over.

Source: Klambauer et al. 2017, arXiv:1706.02515, theorems 1 to 3; Eidnes & Nøkland 2017, arXiv:1709.04054; Qiu, Xu & Cai
2017, arXiv:1706.08098.
"""

import math
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import nn

from trainwell.core.shelves import activations, experiments
from trainwell.core.stats import student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown
from trainwell.lab.plain_loop import Samples, accuracy, descend, few_digits, seeded
from trainwell.layers import gain_of, make_activation, widening
from trainwell.pictures.style import CLASSES, NEUTRAL, figure

LAYERS, UNITS, BATCH = 100, 512, 64
KICKED_AT = 50
DOMAIN_MEAN, DOMAIN_VARIANCE = 0.1, (0.8, 1.5)  # of theorem 1: what is inside is mapped to inside
WIDTH, HIDDEN, TRAIN_BATCH = 64, 3, 64
RATES = (0.1, 0.3, 1.0)
STEPS = {True: 100, False: 400}  # quick and full
DEEP, DEEP_RATES = 20, (0.01, 0.03, 0.1)
DEEP_STEPS = {True: 80, False: 300}
REPEATS, NUMBERS = 10, (256, 512)  # of timing an activation alone
HIGHEST = math.log(10)  # the loss of knowing nothing, also of a run that diverged

PAIRS = {"relu": "bipolar_relu", "leaky_relu": "bipolar_leaky_relu", "elu": "bipolar_elu"}
DEEP_PAIRS = {name: PAIRS[name] for name in ("relu", "elu")}
STARTS: dict[str, dict[str, Any]] = {
    "selu": {"activation": "selu"},
    "selu from mean 1, variance 3": {"activation": "selu", "mean": 1.0, "variance": 3.0},
    "selu from variance 0.1": {"activation": "selu", "variance": 0.1},
    f"selu disturbed after layer {KICKED_AT}": {"activation": "selu", "kicked_at": KICKED_AT},
    "selu, gain 3/4": {"activation": "selu", "gain": 0.75},
}
DISTURBED = tuple(STARTS)[1:4]
PLAIN: dict[str, dict[str, Any]] = {name: {"activation": name} for pair in PAIRS.items() for name in pair}
SIGNALS = {name: {"kind": "signal", **settings} for name, settings in (STARTS | PLAIN).items()}
SHIFTED = {f"numbers of mean 1, {name}": {"kind": "shift", "activation": name} for name in PAIRS.values()}
KEPT = {"bipolar_relu": 0.5, "bipolar_leaky_relu": 0.505}  # (f(x) - f(-x)) / 2 = (1 + slope) x / 2


@experiments.card(
    source="Klambauer et al. 2017; Eidnes & Nøkland 2017; Qiu et al. 2017",
    claims=(30,),
    fails=(
        "digits: flexible_relu against relu, error",
        "20 layers: bipolar_relu against relu, mean loss",
        "20 layers: bipolar_elu against elu, mean loss",
    ),
)
def self_normalizing() -> Experiment:
    """SELU keeps mean 0 and variance 1 for 100 layers, bipolar units the mean alone; all activations on one task."""
    shelf = {f"digits, {card.name}": {"kind": "digits", "activation": card.name} for card in activations}
    deep = {
        f"{DEEP} layers, {name}": {"kind": "deep", "activation": name} for pair in DEEP_PAIRS.items() for name in pair
    }
    return Experiment(
        question="Which activations normalize themselves, and what does it help in training?",
        arms=SIGNALS | SHIFTED | shelf | deep,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=2,
        note=(
            f"Signals: {BATCH} samples of {UNITS} unit Gaussians through {LAYERS} random layers, weights N(0, gain² / "
            "fan_in) of each activation's own gain (1 for SELU, which is LeCun's); mean and variance are over samples "
            f"and units. The disturbance after layer {KICKED_AT} multiplies by √3 and adds 1. Table: {HIDDEN} hidden "
            f"layers of {WIDTH} on 1,000 digits, no norm, {STEPS[False]} steps of plain gradient descent on batches of "
            f"{TRAIN_BATCH} ({STEPS[True]} in the quick form) at the best of the rates {RATES} by training loss. Deep: "
            f"{DEEP} hidden layers, {DEEP_STEPS[False]} steps, rates {DEEP_RATES}. Seconds are those of the processor "
            "and differ from run to run and from machine to machine; all else is the same again. The published "
            "results on bipolar and flexible units are of large convolutional and recurrent networks."
        ),
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Send a signal through random layers, or train a network."""
    if settings["kind"] == "signal":
        return signal(settings, seed)
    name = settings["activation"]
    if settings["kind"] == "shift":
        return {"share of the mean": share_of_mean(name, seed)}
    if settings["kind"] == "digits":
        found = best_rate(name, HIDDEN, RATES, steps=STEPS[is_quick], seed=seed)
        return {**found, "nanoseconds a number": nanoseconds(name)}
    return best_rate(name, DEEP, DEEP_RATES, steps=DEEP_STEPS[is_quick], seed=seed)


def signal(settings: Mapping[str, Any], seed: int) -> Values:
    """Return mean and variance of the activations of each layer, over samples and units."""
    generator = torch.Generator().manual_seed(seed)
    name = settings["activation"]
    activate, gain = make_activation(name, UNITS), settings.get("gain", gain_of(name))
    inputs = torch.randn(BATCH, UNITS, generator=generator) * math.sqrt(settings.get("variance", 1.0))
    inputs += settings.get("mean", 0.0)
    means, variances = list[float](), list[float]()
    with torch.no_grad():
        for layer in range(1, LAYERS + 1):
            weights = torch.randn(UNITS, UNITS, generator=generator) * (gain / math.sqrt(UNITS))
            inputs = activate(inputs @ weights)
            if layer == settings.get("kicked_at"):
                inputs = 1 + math.sqrt(3) * inputs
            means.append(float(inputs.double().mean()))
            variances.append(float(inputs.double().var(correction=0)))
    return {"mean": means, "variance": variances}


def share_of_mean(name: str, seed: int) -> float:
    """Return the mean that comes out, by the one that goes in, of the same N(1, 1) numbers in two channels."""
    generator = torch.Generator().manual_seed(seed)
    numbers = 1 + torch.randn(10_000, 1, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        outputs = make_activation(name, 2).double()(numbers.expand(-1, 2))
    return float(outputs.mean() / numbers.mean())


def nanoseconds(name: str) -> float:
    """Return the processor's time for one number of an activation alone, forward and backward: the least of some."""
    samples, channels = NUMBERS
    activate, best = make_activation(name, channels), math.inf
    inputs = torch.randn(samples, channels * widening(name), requires_grad=True)
    for _ in range(REPEATS):
        begun = time.process_time()
        activate(inputs).sum().backward()
        best = min(best, time.process_time() - begun)
    return best / (samples * channels) * 1e9


def selu_moments(square: float) -> tuple[float, float]:
    """Return E selu(x) and E selu(x)² of x ~ N(0, square), in closed form."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    root = math.sqrt(square)
    once, twice = math.exp(square / 2) * _below(-root), math.exp(2 * square) * _below(-2 * root)
    mean = scale * (root / math.sqrt(2 * math.pi) + alpha * (once - 0.5))
    return mean, scale**2 * (square / 2 + alpha**2 * (twice - 2 * once + 0.5))


def _below(z: float) -> float:
    """Return the share of a unit Gaussian below z."""
    return math.erfc(-z / math.sqrt(2)) / 2


def expected(settings: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Return mean and variance of each SELU layer as the closed form has them, for infinitely many units."""
    square = settings.get("mean", 0.0) ** 2 + settings.get("variance", 1.0)
    means, variances = list[float](), list[float]()
    for layer in range(1, LAYERS + 1):
        mean, second = selu_moments(square * settings.get("gain", 1.0) ** 2)
        variance = second - mean**2
        if layer == settings.get("kicked_at"):
            mean, variance = 1 + math.sqrt(3) * mean, 3 * variance
        means.append(mean)
        variances.append(variance)
        square = mean**2 + variance
    return means, variances


def build(name: str, layers: int) -> nn.Sequential:
    """Return a dense network without norm for digits, its weights by the gain of its activation."""
    gain, inputs, fan_in = 1.0, 64, 64
    parts: list[nn.Module] = [nn.Flatten()]
    for outputs in (*[WIDTH * widening(name)] * layers, 10):
        layer = nn.Linear(inputs, outputs)
        nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in))
        nn.init.zeros_(layer.bias)
        parts += [layer, make_activation(name, WIDTH)]
        gain, inputs, fan_in = gain_of(name), WIDTH, WIDTH
    return nn.Sequential(*parts[:-1])


def best_rate(name: str, layers: int, rates: Sequence[float], *, steps: int, seed: int) -> Values:
    """Train at each rate, and return what came of the one with the lowest mean training loss over all steps."""
    samples = few_digits(seed)
    runs = [train(name, layers, samples, rate=rate, steps=steps, seed=seed) for rate in rates]
    return min(runs, key=lambda run: run["mean loss"])


def train(name: str, layers: int, samples: Samples, *, rate: float, steps: int, seed: int) -> dict[str, Any]:
    """Take steps of plain gradient descent; the losses of a run that diverges are those of knowing nothing."""
    with seeded(seed, "initialization"):
        network = build(name, layers)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    losses, begun = list[float](), time.process_time()
    for loss in islice(descend(network, samples, optimizer, batch_size=TRAIN_BATCH, seed=seed), steps):
        if not math.isfinite(loss):
            losses = []
            break
        losses.append(loss)
    seconds = time.process_time() - begun
    curve = np.array(losses or [HIGHEST] * steps).reshape(10, -1).mean(axis=1)
    levels = _levels(network)
    return {
        "mean loss": float(curve.mean()),
        "loss": curve.tolist(),
        "error": 1 - accuracy(network, samples.held_out, samples.held_out_labels),
        "rate": rate,
        "seconds": seconds,
        **({"learned level": float(np.mean(levels))} if levels else {}),
    }


def _levels(network: nn.Sequential) -> list[float]:
    """Return the mean of what each activation has learned to add, as flexible ReLUs do."""
    parts = [part for part in network if not isinstance(part, nn.Linear)]
    return [float(value.detach().mean()) for part in parts for name, value in part.named_parameters() if name == "bias"]


def judge(table: Table) -> list[Check]:
    """Hold signals to their closed forms, and the learned networks to what was published of larger ones."""
    return [
        *_selu_stays(table),
        *(check for arm in DISTURBED for check in _comes_back(table, arm)),
        _other_gain(table),
        *(_centred(table, *pair) for pair in PAIRS.items()),
        *(_keeps_share(table, arm) for arm in SHIFTED),
        _lower(table, "digits", "flexible_relu", "relu", "error", "lower error"),
        _levels_fall(table),
        *(_lower(table, f"{DEEP} layers", new, old, "mean loss", "learns faster") for old, new in DEEP_PAIRS.items()),
    ]


def _selu_stays(table: Table) -> list[Check]:
    means, variances = table.numbers("selu", "mean"), table.numbers("selu", "variance")
    low, high = DOMAIN_VARIANCE
    inside = bool(abs(means).max() <= DOMAIN_MEAN and variances.min() >= low and variances.max() <= high)
    ends = f"mean {means.min():.3f} to {means.max():.3f}, variance {variances.min():.3f} to {variances.max():.3f}"
    printed = f"mean within {DOMAIN_MEAN:g}, variance {low:g} to {high:g}"
    checks = [Check(f"selu: {LAYERS} layers stay in the domain of theorem 1", printed, ends, "every seed", inside)]
    for name, numbers, target, near in (("mean", means, 0.0, 0.02), ("variance", variances, 1.0, 0.03)):
        late = student_interval(numbers[:, -10:].mean(axis=1))
        claim = f"selu: {name} of the last ten of {LAYERS} layers"
        checks.append(Check(claim, f"{target:g}", str(late), f"within {near:g}", abs(late.value - target) <= near))
    return checks


def _comes_back(table: Table, arm: str) -> list[Check]:
    _, closed = expected(SIGNALS[arm])
    means, variances = (table.numbers(arm, name).mean(axis=0) for name in ("mean", "variance"))
    mean, variance = float(means[-10:].mean()), float(variances[-10:].mean())
    apart = float(abs(variances / closed - 1).max())
    after = SIGNALS[arm].get("kicked_at", 0)
    return [
        Check(
            f"{arm}: comes back",
            "mean 0, variance 1",
            f"mean {mean:.4f}, variance {variance:.4f} in the last ten layers",
            "within 0.02 and 0.03",
            abs(mean) <= 0.02 and abs(variance - 1) <= 0.03,
        ),
        Check(
            f"{arm}: the way back is that of the closed form",
            f"within 10 % of 1 after {layers_back(closed, after)} layers",
            f"after {layers_back(variances, after)} layers, at most {apart:.1%} from the closed form on the way",
            "each layer's variance within 10 % of the closed form",
            apart <= 0.1,
        ),
    ]


def layers_back(variances: Sequence[float], after: int) -> int:
    """Return after how many layers behind `after` the variance is within 10 % of 1, and stays there."""
    away = [layer for layer, variance in enumerate(variances, start=1) if abs(variance - 1) > 0.1]
    return max(away, default=after) + 1 - after


def _other_gain(table: Table) -> Check:
    arm = "selu, gain 3/4"
    closed, found = expected(SIGNALS[arm])[1][-1], table.numbers(arm, "variance")[:, -1]
    claim = f"{arm}, as torch's table has it: the variance is lost by layer {LAYERS}"
    ends = f"{shown(float(found.min()))} to {shown(float(found.max()))}, n = {len(found)}"
    return Check(claim, f"{closed:.2g} in the closed form", ends, "below 0.1 in each seed", bool(found.max() < 0.1))


def of_root_mean_square(table: Table, arm: str) -> np.ndarray:
    """Return the mean activation of each layer by its root mean square: (seeds, layers)."""
    means = table.numbers(arm, "mean")
    ratio: np.ndarray = means / np.sqrt(means**2 + table.numbers(arm, "variance"))
    return ratio


def _centred(table: Table, old: str, new: str) -> Check:
    one, other = (student_interval(of_root_mean_square(table, arm).mean(axis=1)) for arm in (new, old))
    holds = abs(one.value) <= 0.02 and other.value >= 5 * abs(one.value)
    claim = f"{new}: mean activation of {LAYERS} layers, by the root mean square"
    return Check(claim, "0", f"{one}; {old} {other}", "within 0.02, and a fifth of the other's at most", holds)


def _keeps_share(table: Table, arm: str) -> Check:
    found, closed = table.numbers(arm, "share of the mean"), KEPT.get(SHIFTED[arm]["activation"])
    if closed is None:
        holds, printed, tolerance = bool(found.min() > 0 and found.max() < 1), "nearer to 0", "between 0 and 1"
    else:
        holds, printed, tolerance = bool(abs(found / closed - 1).max() <= 1e-12), f"{closed:g}", "1e-12"
    return Check(f"{arm}: share of the mean that is left", printed, f"{found.mean():.12g}", tolerance, holds)


def _lower(table: Table, where: str, new: str, old: str, measure: str, printed: str) -> Check:
    one, other = (table.numbers(f"{where}, {name}", measure) for name in (new, old))
    apart = student_interval(one - other)
    measured = f"{measure} {one.mean():.4f} against {other.mean():.4f}, difference {apart}"
    tolerance = "the 95 % interval of the paired differences lies below 0"
    return Check(f"{where}: {new} against {old}, {measure}", printed, measured, tolerance, apart.high < 0)


def _levels_fall(table: Table) -> Check:
    levels = student_interval(table.numbers("digits, flexible_relu", "learned level"))
    claim = "digits: the learned level of flexible_relu, which begins at 0"
    return Check(claim, "below 0", str(levels), "the mean over the seeds below 0", levels.value < 0)


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw variances and means by layer, the table of activations, and the losses of the deep networks."""
    return [_variances(table), _means(table), _shelf(table), _deep(table)]


def _titled(drawn: go.Figure, title: str, caption: str) -> go.Figure:
    return drawn.update_layout(meta={"title": title, "caption": caption})


def _variances(table: Table) -> go.Figure:
    drawn = figure("Layer", "Variance of the activations", height=380)
    layers = list(range(1, LAYERS + 1))
    for arm, color in zip(STARTS, CLASSES, strict=False):
        mean = table.numbers(arm, "variance").mean(axis=0)
        drawn.add_scatter(x=layers, y=mean, name=arm, mode="lines", line={"color": color, "width": 2})
        closed = {"color": NEUTRAL, "width": 1, "dash": "dot"}
        drawn.add_scatter(x=layers, y=expected(SIGNALS[arm])[1], mode="lines", line=closed, showlegend=False)
    drawn.update_yaxes(type="log", tickvals=[0.1, 0.2, 0.5, 1, 2, 3])
    return _titled(drawn, "SELU goes back to variance 1", "Lines: mean over the seeds. Dotted: the closed form.")


def _means(table: Table) -> go.Figure:
    drawn = figure("Layer", "Mean activation by its root mean square", height=380)
    for number, pair in enumerate(PAIRS.items()):
        for arm, dash in zip(pair, ("solid", "dot"), strict=True):
            line = {"color": CLASSES[number], "width": 2, "dash": dash}
            y = of_root_mean_square(table, arm).mean(axis=0)
            drawn.add_scatter(x=list(range(1, LAYERS + 1)), y=y, name=arm, mode="lines", line=line)
    return _titled(drawn, "Bipolar units have mean 0", "Mean over the seeds; dotted: the bipolar form of each.")


def _shelf(table: Table) -> go.Figure:
    arms = [arm for arm in table.arms if arm.startswith("digits, ")]
    arms.sort(key=lambda arm: -table.mean(arm, "error").value)
    errors = [table.mean(arm, "error").value for arm in arms]
    words = [
        f"{error:.1%}, {table.mean(arm, 'seconds').value:.2f} s, "
        f"{table.numbers(arm, 'nanoseconds a number').min():.1f} ns a number, rate {table.mean(arm, 'rate').value:.2g}"
        for arm, error in zip(arms, errors, strict=True)
    ]
    drawn = figure("Error on held-out digits, mean over the seeds", "", height=90 + 26 * len(arms))
    names = [arm.removeprefix("digits, ") for arm in arms]
    style = {"marker": {"color": CLASSES[0]}, "textposition": "outside", "cliponaxis": False, "showlegend": False}
    drawn.add_bar(x=errors, y=names, text=words, orientation="h", **style)
    drawn.update_xaxes(tickformat=".0%", range=[0, 2.2 * max(errors)])
    caption = (
        "Error; seconds of the processor for all steps; of the activation alone, forward and backward; the best rate, "
        "mean over the seeds."
    )
    return _titled(drawn, "Activation, error, seconds", caption)


def _deep(table: Table) -> go.Figure:
    drawn = figure("Tenth of the steps", "Training loss, mean over the seeds", height=360)
    for number, pair in enumerate(DEEP_PAIRS.items()):
        for name, dash in zip(pair, ("solid", "dot"), strict=True):
            line = {"color": CLASSES[number], "width": 2, "dash": dash}
            y = table.numbers(f"{DEEP} layers, {name}", "loss").mean(axis=0)
            drawn.add_scatter(x=list(range(1, 11)), y=y, name=name, mode="lines", line=line)
    caption = "Each at its best rate; dotted: the bipolar form of each."
    return _titled(drawn, f"{DEEP} hidden layers without a norm", caption)
