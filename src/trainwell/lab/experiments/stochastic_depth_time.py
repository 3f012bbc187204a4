"""What does stochastic depth save, and does the whole network test as well?

In training a residual unit is left out now and then, in evaluation all are there. With chances that fall linearly,

    p_l = 1 - (l / L) (1 - p_L)         p_L = 1/2:  (3 L - 1) / 4 of L units in a step, on average

Source: Huang et al. 2016, "Deep networks with stochastic depth", arXiv:1603.09382, sections 3 and 4, and its authors'
program, github.com/yueatsprograms/Stochastic_Depth.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainwell.core.shelves import experiments
from trainwell.core.stats import Interval, student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import shown, within_errors
from trainwell.lab.one_cycle import Plan, network_of, train_once
from trainwell.lab.plain_loop import Samples, few_images, seeded
from trainwell.layers.stochastic_depth import linear_survival
from trainwell.models.residual import BasicUnit
from trainwell.pictures.style import CLASSES, NEUTRAL, SYMBOLS, figure, translucent

LAST = 0.5  # p_L
DEEP, UNITS = 110, 54  # layers with weights of the network that is counted and timed, and its units
COUNTED_STEPS, QUICK_COUNTED_STEPS, COUNTED_WIDTH = 1_000, 100, 2
LONGEST = 200  # units up to which the formula is checked
ROUNDS, QUICK_ROUNDS, TIMED_SIDE, TIMED_BATCH, QUICK_TIMED_BATCH = 40, 8, 16, 32, 16
DEPTH, POOLED, COUNT, HELD_OUT, EPOCHS = 38, 2, 2_000, 5_000, 30
QUICK_DEPTH, QUICK_POOLED, QUICK_COUNT, QUICK_HELD_OUT, QUICK_EPOCHS = 20, 4, 800, 2_000, 12
PRINTED, LEAST, MOST = 0.25, 0.15, 0.30  # saved of a step's time: 5 points below what their program saves, and above
NOTHING = 0.02  # of it, that counts as none

CONSTANT, BY_BATCH, BY_SAMPLE = "constant depth", "left out by batch", "left out by sample"
FORMS: Mapping[str, Mapping[str, Any]] = {
    CONSTANT: {"survival": 1.0},
    BY_BATCH: {"survival": LAST, "drop": "batch"},
    BY_SAMPLE: {"survival": LAST, "drop": "sample"},
}
TRAINED = (CONSTANT, BY_BATCH)
ARMS: Mapping[str, Mapping[str, Any]] = {
    "units": {"kind": "units"},
    "time": {"kind": "time"},
    **{form: {"kind": "train", "form": form} for form in TRAINED},
}


@experiments.card(source="Huang et al. 2016, arXiv:1603.09382, sections 3 and 4", claims=(22,))
def stochastic_depth_time() -> Experiment:
    """Stochastic depth computes three quarters of the units, saves that share of the time, and tests as well."""
    return Experiment(
        question="What does stochastic depth save, and does the whole network test as well?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=1,
        needs=("cifar10",),
        note=f"Units are counted in a ResNet-{DEEP} as they run, {COUNTED_STEPS:,} steps a seed. Time is that of the"
        f" processor, one thread, for whole steps of a ResNet-{DEEP} on batches of {TIMED_BATCH} images of"
        f" {TIMED_SIDE}x{TIMED_SIDE}: forward, backward, and the update; the forms take turns, {ROUNDS} rounds a seed,"
        f" and each ratio is of one round. Reduced: the error is that of a ResNet-{DEPTH}, not -110, after {EPOCHS}"
        f" epochs, not 500, on {COUNT:,} images of CIFAR-10 averaged to {32 // POOLED}x{32 // POOLED}, not 45,000 of"
        " 32x32, with no augmentation; the rate rises to 0.1 and falls once. The error is counted on"
        f" {HELD_OUT:,} other images; both forms see the same images in the same order. The quick form has a"
        f" ResNet-{QUICK_DEPTH}, {QUICK_COUNT} images of {32 // QUICK_POOLED}x{32 // QUICK_POOLED} and {QUICK_EPOCHS}"
        " epochs.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Count units, time steps, or train a network."""
    if settings["kind"] == "units":
        return count_units(seed, steps=QUICK_COUNTED_STEPS if is_quick else COUNTED_STEPS)
    if settings["kind"] == "time":
        batch, rounds = (QUICK_TIMED_BATCH, QUICK_ROUNDS) if is_quick else (TIMED_BATCH, ROUNDS)
        return time_steps(seed, batch=batch, rounds=rounds)
    count, held_out, pooled = (QUICK_COUNT, QUICK_HELD_OUT, QUICK_POOLED) if is_quick else (COUNT, HELD_OUT, POOLED)
    depth, epochs = (QUICK_DEPTH, QUICK_EPOCHS) if is_quick else (DEPTH, EPOCHS)
    samples = few_images("cifar10", seed, count=count, held_out=held_out, pooled=pooled)
    network = network_of("cifar_resnet", {"depth": depth, **FORMS[settings["form"]]}, samples, seed=seed)
    found = train_once(network, samples, Plan(epochs), seed=seed)
    return {"loss": found.by_epoch(epochs), "error": found.error, "training error": found.training_error}


def random_images(side: int, count: int) -> Samples:
    """Return images that only have the shape of some."""
    inputs, labels = torch.randn(count, 3, side, side), torch.arange(count) % 10
    return Samples(inputs, labels, inputs, labels)


def watched(network: nn.Module) -> Callable[[], NDArray[np.int64]]:
    """Watch which residual units of a network run; each call returns how often each did since the one before."""
    units = [part for part in network.modules() if isinstance(part, BasicUnit)]
    runs = np.zeros(len(units), dtype=np.int64)

    def watch(place: int) -> None:
        def ran(*_: object) -> None:
            runs[place] += 1

        units[place].conv1.register_forward_hook(ran)

    def since() -> NDArray[np.int64]:
        found = runs.copy()
        runs[:] = 0
        return found

    for place in range(len(units)):
        watch(place)
    return since


def count_units(seed: int, *, steps: int) -> Values:
    """Return how many units of a deep network ran in each step, how often each did, and what the formula promises."""
    with seeded(seed, "images"):
        samples = random_images(8, 2)
    options = {"depth": DEEP, "width": COUNTED_WIDTH, **FORMS[BY_BATCH]}
    network = network_of("cifar_resnet", options, samples, seed=seed)
    since, there = watched(network), np.zeros((steps, UNITS))
    with torch.no_grad(), seeded(seed, "units"):
        for step in range(steps):
            network(samples.inputs)
            there[step] = since()
        network.eval()(samples.inputs)
    return {
        "units": there.sum(axis=1).tolist(),
        "share": there.mean(axis=0).tolist(),
        "units in evaluation": float(since().sum()),
        "promised": [sum(linear_survival(units, LAST)) for units in range(1, LONGEST + 1)],
    }


def time_steps(seed: int, *, batch: int, rounds: int) -> Values:
    """Return the seconds of the processor that a training step takes in each form, in turns, and its units."""
    with seeded(seed, "images"):
        samples = random_images(TIMED_SIDE, batch)
    steps = {form: _stepper(form, samples, seed) for form in FORMS}
    seconds, units = ({form: np.zeros(rounds) for form in FORMS} for _ in range(2))
    with seeded(seed, "units"):
        for step, _ in steps.values():
            step()  # the first one makes what the others find
        for number in range(rounds):
            for turn in range(len(steps)):
                form = list(steps)[(number + turn) % len(steps)]
                step, since = steps[form]
                since()
                seconds[form][number] = step()
                units[form][number] = since().sum()
    measured = (("seconds", seconds), ("units", units))
    return {f"{what}, {form}": found[form].tolist() for what, found in measured for form in FORMS}


def _stepper(form: str, samples: Samples, seed: int) -> tuple[Callable[[], float], Callable[[], NDArray[np.int64]]]:
    """Return what takes a training step and says its seconds, and what says which units ran."""
    network = network_of("cifar_resnet", {"depth": DEEP, **FORMS[form]}, samples, seed=seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> float:
        begun = time.process_time()
        optimizer.zero_grad()
        loss: Tensor = cross_entropy(network(samples.inputs), samples.labels)
        loss.backward()
        optimizer.step()
        return time.process_time() - begun

    return step, watched(network)


def judge(table: Table) -> list[Check]:
    """Hold the units to the formula, the time to what was published, and the errors to each other."""
    return [*_units(table), *_time(table), _error(table)]


def _units(table: Table) -> Iterator[Check]:
    promised = table.numbers("units", "promised")[0]
    lengths = np.arange(1, len(promised) + 1)
    off = float(np.abs(promised - (3 * lengths - 1) / 4).max())
    yield Check(
        "the chances of L units add up to (3 L - 1) / 4",
        "40.25 of 54, 149.75 of 200",
        f"{promised[53]:g} and {promised[199]:g}; of 1 to {len(promised)} units at most {off:.1g} off",
        "exact but for rounding",
        off <= 1e-12 * len(promised),
    )
    counts, share = table.numbers("units", "units").ravel(), table.numbers("units", "share").mean(axis=0)
    yield within_errors("units that run in a training step", (3 * UNITS - 1) / 4, counts)
    chances = np.array(linear_survival(UNITS, LAST))
    largest = float((np.abs(share - chances) / np.sqrt(chances * (1 - chances) / len(counts))).max())
    yield Check(
        "each unit runs as often as its own chance says",
        "p_l = 1 - l / 2 L",
        f"{share[0]:.3f} of the first, {share[-1]:.3f} of the last; at most {largest:.1f} standard errors off",
        "4 standard errors of each share",
        largest <= 4,
    )
    everywhere = table.numbers("units", "units in evaluation")
    yield Check(
        "all units run in evaluation",
        str(UNITS),
        " and ".join(sorted({shown(number) for number in everywhere})),
        "exact",
        bool((everywhere == UNITS).all()),
    )


def _time(table: Table) -> Iterator[Check]:
    saved = _saved(table, BY_BATCH)
    yield Check(
        "a unit left out by batch saves its time",
        f"about {PRINTED:.0%}; 60 instead of 75 s an epoch, 20%, in its authors' program",
        f"{_percent(saved)} of a step saved, {_count(table)}",
        f"{LEAST:.0%} to {MOST:.0%}, 5 points around what was printed",
        LEAST <= saved.value <= MOST,
    )
    none = _saved(table, BY_SAMPLE)
    yield Check(
        "a unit left out by sample saves nothing",
        "nothing",
        f"{_percent(none)} of a step saved, {_count(table)}",
        f"less than {NOTHING:.0%}",
        none.value < NOTHING,
    )


def _saved(table: Table, form: str) -> Interval:
    """Return which share of a step's time a form saves, over the rounds of all seeds."""
    ratios = table.numbers("time", f"seconds, {form}") / table.numbers("time", f"seconds, {CONSTANT}")
    return student_interval(1 - ratios.ravel())


def _percent(share: Interval) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def _count(table: Table) -> str:
    return f"n\u00a0=\u00a0{table.numbers('time', f'seconds, {CONSTANT}').size}"


def _error(table: Table) -> Check:
    constant, stochastic = (table.numbers(form, "error") for form in TRAINED)
    learned = " and ".join(f"{table.mean(form, 'training error').value:.1%}" for form in reversed(TRAINED))
    difference = student_interval(100 * (stochastic - constant))
    ends = f" ({difference.low:.1f} to {difference.high:.1f})" if len(constant) > 1 else ""
    return Check(
        "the whole network tests at least as well as one of constant depth",
        "5.23 % instead of 6.41 %",
        f"{stochastic.mean():.1%} instead of {constant.mean():.1%}, {difference.value:+.1f} points{ends};"
        f" {learned} on what they learned from",
        "no higher on average over the seeds",
        bool(difference.value <= 0),
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw how often units run, what steps take, and how the networks learned."""
    return [_share_figure(table), _time_figure(table), _loss_figure(table)]


def _share_figure(table: Table) -> Any:
    drawn = figure("unit, first to last", "Share of the training steps in which a unit runs", height=320)
    place = list(range(1, UNITS + 1))
    line = {"color": NEUTRAL, "width": 1.5, "dash": "dot"}
    drawn.add_scatter(x=place, y=linear_survival(UNITS, LAST), mode="lines", line=line, name="its chance")
    share = table.numbers("units", "share").mean(axis=0)
    drawn.add_scatter(x=place, y=share, mode="markers", marker={"color": CLASSES[0], "size": 6}, name="counted")
    drawn.update_yaxes(range=[0, 1.05], tickformat=".0%")
    caption = f"A ResNet-{DEEP}. Dotted: p = 1 - l / 2 L. Marks: counted as they ran."
    return drawn.update_layout(meta={"title": "Units that run", "caption": caption})


def _time_figure(table: Table) -> Any:
    drawn = figure("residual units that run in the step", "Seconds of the processor for a training step", height=360)
    for number, form in enumerate(FORMS):
        units, seconds = (table.numbers("time", f"{what}, {form}").ravel() for what in ("units", "seconds"))
        marker = {"color": translucent(CLASSES[number], 0.6), "symbol": SYMBOLS[number], "size": 7}
        drawn.add_scatter(x=units, y=seconds, mode="markers", marker=marker, name=form)
    drawn.update_yaxes(rangemode="tozero")
    drawn.update_xaxes(range=[0, UNITS + 3])
    caption = f"A mark a step of a ResNet-{DEEP}, all seeds; the forms took turns."
    return drawn.update_layout(meta={"title": "What a step takes", "caption": caption})


def _loss_figure(table: Table) -> Any:
    drawn = figure("epoch", "Training loss in nats, logarithmic scale", height=340)
    for number, form in enumerate(TRAINED):
        curves = table.numbers(form, "loss")
        epochs = list(range(1, curves.shape[1] + 1))
        for row in curves if len(curves) > 1 else ():
            thin = {"color": translucent(CLASSES[number], 0.35), "width": 1}
            drawn.add_scatter(x=epochs, y=row, mode="lines", line=thin, showlegend=False, hoverinfo="skip")
        name = f"{form}: {table.mean(form, 'error').value:.1%} of other images wrong"
        line = {"color": CLASSES[number], "width": 2}
        drawn.add_scatter(x=epochs, y=curves.mean(axis=0), mode="lines", line=line, name=name)
    ticks = [digit * 10.0**power for power in range(-4, 1) for digit in (1, 2, 5)]
    drawn.update_yaxes(type="log", tickvals=ticks, tickformat=".2~g")
    caption = "Thick: mean over the seeds; thin: each seed. With stochastic depth, of the units that were there."
    return drawn.update_layout(meta={"title": "How both learned", "caption": caption})
