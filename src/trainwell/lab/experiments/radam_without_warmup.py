"""Adam needs a warm-up where the variance of its rate hurts: how large is that variance, and does RAdam do without?

The adaptive rate of a gradient N(0, 1) is simulated and held against the paper's formulas, with rho the number of
gradients that the mean square is worth:

    psi_t = sqrt((1 - b^t) / ((1 - b) sum_i b^(t-i) g_i^2))
    Var psi = rho / (rho - 2) - rho 2^(2 rho - 5) / pi B(rho/2 - 1/2, rho/2 - 1/2)^2     of a mean of rho squares
            ~ rho / (2 (rho - 2) (rho - 4))                                             to first order

Then a transformer with the norm behind each sum, which Adam is known to need a warm-up for, is trained at several rates
by Adam, by Adam with warm-up and by RAdam.

Source: Liu et al. 2019, arXiv:1908.03265, sections 3 and 4; Xiong et al. 2020, arXiv:2002.04745 (norms).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import accuracy, descend, few_digits, seeded
from trainwell.optimizers.radam import RAdam, rectification, sample_length
from trainwell.pictures.style import CLASSES, NEUTRAL, SYMBOLS, figure

BETA1, BETA2 = 0.9, 0.999
DRAWS, QUICK_DRAWS = 100_000, 20_000
LOOKS, QUICK_LOOKS = (10, 20, 50, 100, 200, 500, 1000, 2000), (10, 20, 50, 100, 200, 500)
NEAR, FIRST_ORDER, LARGE = 0.15, 0.2, 50  # relative; the second from this many gradients on
LEVEL, FALLS = 2.0, 20.0  # factors over the looks: what "level" and "falls" mean
BLOCKS, WIDTH, HEADS, BATCH = 4, 32, 2, 50
RATES, QUICK_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (1e-2, 3e-2)
STEPS, QUICK_STEPS, WARM = 300, 150, 0.25
WORKS, CLOSE = 0.8, 0.03  # accuracies: what "works" means, and "as good"
VARIANCE, PLAIN, WARMED, RECTIFIED = "variance", "Adam", "Adam, warm-up", "RAdam"

ARMS: Mapping[str, Mapping[str, Any]] = {
    VARIANCE: {"part": "variance"},
    PLAIN: {"optimizer": "adam", "warm": 0.0},
    WARMED: {"optimizer": "adam", "warm": WARM},
    RECTIFIED: {"optimizer": "radam", "warm": 0.0},
}


NEEDS = "with warm-up Adam works at rates at which it fails without"


@experiments.card(
    source="Liu et al. 2019, arXiv:1908.03265, sections 3 and 4",
    claims=(25,),
    fails=(NEEDS,),  # in the full form: not in each of its five seeds
)
def radam_without_warmup() -> Experiment:
    """The rate of Adam varies most at first, RAdam's does not, and it trains without warm-up where Adam fails."""
    return Experiment(
        question="How much does the adaptive rate vary at first, and does RAdam need no warm-up where Adam does?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=1,
        note=f"beta2 = {BETA2:g}. The variance is over {DRAWS:,} simulated parameters ({QUICK_DRAWS:,} in the quick"
        " form); a running mean weighs its squares unevenly, which the formulas ignore: at worst, around t = 1,500,"
        f" that makes 12 %. The network: {BLOCKS} blocks of attention and two dense layers of width {WIDTH}, the norm"
        f" behind each sum, on 1,000 digits whose rows are the tokens; batches of {BATCH}, {STEPS} steps at rates"
        f" {RATES[0]:g} to {RATES[-1]:g} ({QUICK_STEPS} at {QUICK_RATES[0]:g} and {QUICK_RATES[1]:g} in the quick"
        f" form), which fall to 0 along a line. The warm-up rises over the first {WARM:.0%} of the steps. A rate"
        f" works if it gets {WORKS:.0%} of 437 held-out digits right. RAdam's factor is below 1 throughout so short a"
        " run, so it is at its best at larger rates than Adam.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the variance of the rate over the steps, or the accuracy over the rates."""
    if "part" in settings:
        return _simulated(seed, *((QUICK_DRAWS, QUICK_LOOKS) if is_quick else (DRAWS, LOOKS)))
    steps, rates = (QUICK_STEPS, QUICK_RATES) if is_quick else (STEPS, RATES)
    found = [_accuracy_at(rate, settings, seed, steps) for rate in rates]
    return {"rate": list(rates), "accuracy": found}


def _simulated(seed: int, draws: int, looks: Sequence[int]) -> Values:
    """Simulate the running mean of squared gradients N(0, 1), and return the variance of the rate at some steps."""
    square, found = torch.zeros(draws), []
    with seeded(seed, "gradients"):
        for step in range(1, looks[-1] + 1):
            square.mul_(BETA2).add_(torch.randn(draws).square_(), alpha=1 - BETA2)
            if step in looks:
                rate = ((1 - BETA2**step) / square.double()).sqrt()
                found.append(float(rate.var()))
    lengths = [sample_length(step, BETA2) for step in looks]
    return {
        "step": [float(step) for step in looks],
        "variance": found,
        "closed form": [closed_form(length) for length in lengths],
        "first order": [first_order(length) for length in lengths],
        "rectified": [rectification(length, BETA2) ** 2 * one for length, one in zip(lengths, found, strict=True)],
    }


def closed_form(length: float) -> float:
    """Return Var psi where the mean square is a plain mean of `length` squares of N(0, 1), for more than 2.

    >>> round(closed_form(5.0), 5)
    0.25196
    """
    beta = 2 * math.lgamma(length / 2 - 0.5) - math.lgamma(length - 1)
    logarithm = math.log(length) + (2 * length - 5) * math.log(2) - math.log(math.pi) + 2 * beta
    return length / (length - 2) - math.exp(logarithm)


def first_order(length: float) -> float:
    """Return the paper's first-order approximation of the same, on which r_t stands, for more than 4.

    >>> round(first_order(5.0), 5)
    0.83333
    """
    return length / (2 * (length - 2) * (length - 4))


class Block(nn.Module):
    """Attention, then two dense layers, each added to what came in and normalized behind the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.dense = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, T, D) tokens of (N, T, D) tokens."""
        parts = self.attention(tokens).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # -> (3, N, heads, T, d)
        found = scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)  # (N, heads, T, d) -> (N, T, D)
        tokens = self.first(tokens + self.out(found))
        return self.second(tokens + self.dense(tokens))  # type: ignore[no-any-return]


class RowsTransformer(nn.Module):
    """A transformer whose tokens are the eight rows of a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.place = nn.Linear(8, WIDTH), nn.Parameter(0.1 * torch.randn(8, WIDTH))
        self.body, self.fc = nn.Sequential(*(Block() for _ in range(BLOCKS))), nn.Linear(WIDTH, 10)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 10) scores of images (N, 1, 8, 8)."""
        scores: Tensor = self.fc(self.body(self.embedding(images.squeeze(1)) + self.place).mean(dim=1))
        return scores


def _accuracy_at(rate: float, settings: Mapping[str, Any], seed: int, steps: int) -> float:
    """Train at one rate and return the accuracy on what was held out."""
    samples = few_digits(seed)
    with seeded(seed, "weights"):
        network = RowsTransformer()
    optimizer: torch.optim.Optimizer = (
        RAdam(network.parameters(), lr=rate, beta1=BETA1, beta2=BETA2)
        if settings["optimizer"] == "radam"
        else torch.optim.Adam(network.parameters(), lr=rate, betas=(BETA1, BETA2))
    )
    share = share_of_rate(steps, round(settings["warm"] * steps))
    optimizer.param_groups[0]["lr"] = rate * share(0)
    for step, loss in zip(
        range(1, steps), descend(network, samples, optimizer, batch_size=BATCH, seed=seed), strict=False
    ):
        if not math.isfinite(loss):
            break
        optimizer.param_groups[0]["lr"] = rate * share(step)
    return accuracy(network, samples.held_out, samples.held_out_labels)


def share_of_rate(steps: int, warm: int) -> Callable[[int], float]:
    """Return step -> share of the rate: up along a line over the first `warm` steps, times a line down to 0.

    >>> [round(share_of_rate(4, 2)(step), 3) for step in range(4)]
    [0.5, 0.75, 0.5, 0.25]
    """
    return lambda step: (min(1.0, (step + 1) / warm) if warm else 1.0) * (1 - step / steps)


def judge(table: Table) -> Sequence[Check]:
    """Hold the simulation against the formulas, and compare the rates at which each optimizer works."""
    return [*_variance(table), *_training(table)]


def _variance(table: Table) -> Iterator[Check]:
    steps = table.numbers(VARIANCE, "step")[0]
    found = table.numbers(VARIANCE, "variance").mean(axis=0)
    exact, rough = (table.numbers(VARIANCE, name)[0] for name in ("closed form", "first order"))
    for name, formula, near, where in (
        ("the closed form", exact, NEAR, steps >= steps[0]),
        ("the first-order formula", rough, FIRST_ORDER, steps >= LARGE),
    ):
        off = np.abs(found / formula - 1)
        yield Check(
            f"the variance of the simulated rate is that of {name}",
            f"from {formula[where][0]:.3g} at step {steps[where][0]:.0f} to {formula[-1]:.3g} at step {steps[-1]:.0f}",
            f"from {found[where][0]:.3g} to {found[-1]:.3g}; at most {off[where].max():.1%} off; {off[0]:.0%} at step"
            f" {steps[0]:.0f}",
            f"{near:.0%} at each look from step {steps[where][0]:.0f} on",
            bool((off[where] <= near).all()),
        )
    level = table.numbers(VARIANCE, "rectified").mean(axis=0)
    yield Check(
        "the variance falls as the run goes on, and that of the rectified rate is level",
        "falls; constant",
        f"falls by a factor of {found[0] / found[-1]:.0f}; rectified it stays within {level.max() / level.min():.2f}",
        f"by at least {FALLS:g}; within {LEVEL:g}",
        bool(found[0] / found[-1] >= FALLS and level.max() / level.min() <= LEVEL),
    )


def _largest(table: Table, arm: str) -> np.ndarray:
    """Return the largest rate that works for each seed, 0 where none does."""
    works = table.numbers(arm, "accuracy") >= WORKS
    largest: np.ndarray = np.where(works, table.numbers(arm, "rate"), 0.0).max(axis=1)
    return largest


def _training(table: Table) -> Iterator[Check]:
    largest = {arm: _largest(table, arm) for arm in (PLAIN, WARMED, RECTIFIED)}
    shown = {arm: ", ".join(f"{rate:g}" for rate in rates) for arm, rates in largest.items()}
    yield Check(
        NEEDS,
        "Adam needs warm-up",
        f"largest rate that works {shown[WARMED]} with, {shown[PLAIN]} without",
        "larger in each seed",
        bool((largest[WARMED] > largest[PLAIN]).all()),
    )
    yield Check(
        "RAdam without warm-up works at the rates at which Adam needs it",
        "RAdam needs none",
        f"largest rate that works {shown[RECTIFIED]}",
        "at least as large as that of Adam with warm-up in each seed",
        bool((largest[RECTIFIED] >= largest[WARMED]).all()),
    )
    best = {arm: table.numbers(arm, "accuracy").max(axis=1) for arm in (PLAIN, WARMED, RECTIFIED)}
    behind = student_interval(best[WARMED] - best[RECTIFIED])
    yield Check(
        "at its best rate RAdam is as good as Adam with warm-up at its own",
        "as good",
        f"{best[RECTIFIED].mean():.1%} and {best[WARMED].mean():.1%}, {behind} apart; Adam without warm-up"
        f" {best[PLAIN].mean():.1%}",
        f"at most {100 * CLOSE:g} points behind on average",
        behind.value <= CLOSE,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the variance over the steps and the accuracy over the rates."""
    steps = table.numbers(VARIANCE, "step")[0]
    variance = figure("step", "Variance of the adaptive rate", height=360)
    for place, (name, dash) in enumerate(
        (("variance", None), ("closed form", "dash"), ("first order", "dot"), ("rectified", None))
    ):
        marker = {"color": CLASSES[place], "symbol": SYMBOLS[place]}
        mode = "lines" if dash else "lines+markers"
        label = {"variance": "simulated", "rectified": "simulated, times r²"}.get(name, name)
        line = {"color": CLASSES[place], "dash": dash or "solid"}
        curve = table.numbers(VARIANCE, name).mean(axis=0)
        variance.add_scatter(x=steps, y=curve, name=label, mode=mode, marker=marker, line=line)
    variance.update_xaxes(type="log", tickvals=steps)
    variance.update_yaxes(type="log", dtick=1, exponentformat="power")
    variance.update_layout(meta={"title": "Variance of the adaptive rate", "caption": "Mean over the seeds."})
    rates = figure("learning rate", "Accuracy on digits that were held out", height=360)
    for place, arm in enumerate((PLAIN, WARMED, RECTIFIED)):
        dots: dict[str, Any] = {"marker": {"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 8}, "name": arm}
        for number, row in enumerate(table.numbers(arm, "accuracy")):
            dots |= {"legendgroup": arm, "showlegend": number == 0}
            rates.add_scatter(x=table.numbers(arm, "rate")[0], y=row, mode="lines+markers", **dots)
    rates.add_hline(y=WORKS, line={"dash": "dot", "width": 1, "color": NEUTRAL})
    rates.update_xaxes(type="log", tickvals=list(RATES))
    rates.update_yaxes(range=[0, 1.02], tickformat=".0%")
    rates.update_layout(meta={"title": "Accuracy by the rate", "caption": "A line a seed. Dotted: works."})
    return [variance, rates]
