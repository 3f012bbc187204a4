"""What is a network worth to other images than it has learned from, and how many must there be to do without it?

A small residual net learns five classes of CIFAR-10. It then goes on to the other five, to MNIST, and to the digits of
scikit-learn, of which it is shown few images a class: a linear head is solved for on its features, or its last unit is
trained, or all of it. A net of the same form begins anew beside it.

Source: Donahue et al. 2014, arXiv:1310.1531 (frozen features); Yosinski et al. 2014, arXiv:1411.1792 (halves of the
classes, and what fine-tuning adds); Howard & Ruder 2018, arXiv:1801.06146, section 3.2 (rates by depth).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.core.shelves import experiments
from trainwell.core.stats import Interval, student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy
from trainwell.lab.transferring import (
    Form,
    Pictures,
    Scale,
    as_they_are,
    fresh,
    in_colour,
    pretrained,
    solved_accuracy,
    train,
    with_fresh_head,
)
from trainwell.pictures.style import CLASSES, SYMBOLS, figure, translucent
from trainwell.recipes.transferring import DEPTH_FACTOR, LEAST_FOR_FULL, TUNING_LR

SCRATCH_LR = 0.1
STEPS, QUICK_STEPS = {10: 100, 50: 200, 100: 300, 500: 500}, 60  # by images a class
SCRATCH, FEATURES, LAST, FULL = "from scratch", "features, solved head", "last unit trained", "everything trained"
FEW, EVEN = 50, 0.01  # images a class that are few; of accuracy, that is no difference

BEATS = "{}: {} images a class, what auto takes beats training from scratch"
SHRINKS = "{}: the advantage over training from scratch shrinks with more images"
SOLVED = "{}: frozen features are as good as training everything where auto takes them"
TUNED = "{}: training everything is as good as frozen features where auto takes it"

ARMS: Mapping[str, Mapping[str, Any]] = {
    SCRATCH: {"method": ""},
    FEATURES: {"method": "features"},
    LAST: {"method": "last:1"},
    FULL: {"method": "full"},
}


@dataclass(frozen=True)
class Task:
    """What a network goes on to, and from where: few images a class of `pictures`, in several counts."""

    pictures: Pictures
    source: Form
    counts: tuple[int, ...]


CIFAR = Form(Pictures("cifar10", (0, 2, 4, 6, 8), in_colour), depth=8, width=16, each=5_000, steps=2_500, rate=0.1)
DIGITS = Form(Pictures("digits", tuple(range(5)), as_they_are), depth=8, width=8, each=100, steps=150, rate=0.1)
OWN_DIGITS = "digits 5 to 9, from 0 to 4"
TASKS = {
    "the other CIFAR classes": Task(Pictures("cifar10", (1, 3, 5, 7, 9), in_colour), CIFAR, (10, 50, 100, 500)),
    "MNIST": Task(Pictures("mnist", tuple(range(10)), in_colour, tests=2_000), CIFAR, (10, 50, 100, 500)),
    "digits": Task(Pictures("digits", tuple(range(10)), in_colour), CIFAR, (10, 50, 100)),
    OWN_DIGITS: Task(Pictures("digits", tuple(range(5, 10)), as_they_are), DIGITS, (10, 50, 100)),
}
QUICK = {OWN_DIGITS: Task(TASKS[OWN_DIGITS].pictures, DIGITS, (10, 50))}


@experiments.card(
    source="Donahue et al. 2014, arXiv:1310.1531; Yosinski et al. 2014, arXiv:1411.1792",
    claims=(23,),
    # Digits are learned from few images: other digits are worth nothing at 10 of each, CIFAR nothing from 50 on.
    fails=(
        BEATS.format("digits", 50),
        BEATS.format(OWN_DIGITS, 10),
        SHRINKS.format(OWN_DIGITS),
    ),
)
def transfer_curves() -> Experiment:
    """A transferred network beats one from scratch on few images; with more of them the advantage shrinks."""
    steps = ", ".join(f"{count:,} with {each}" for each, count in STEPS.items())
    return Experiment(
        question="What is a network worth to other images, and how many must there be to do without it?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=3,
        quick_seeds=2,
        needs=("cifar10", "mnist"),
        note=f"Reduced: a ResNet-{CIFAR.depth} of {CIFAR.width} to {4 * CIFAR.width} channels, images of 16x16 (means"
        " of 2x2 pixels; MNIST with a margin of 2, digits enlarged first, both in three equal channels). The source"
        f" learns airplane, bird, deer, frog and ship, {CIFAR.each:,} images each, in {CIFAR.steps:,} steps of 64; the"
        " other five classes are automobile, cat, dog, horse and truck. The small sets are drawn anew by each seed,"
        " and each seed has a source of its own. Nothing is augmented. A head is solved for with a penalty chosen by"
        f" five-fold cross-validation; training takes {steps} images a class, in batches of 64 at most, the rate"
        f" rising, then falling to zero: {SCRATCH_LR:g} from scratch, {TUNING_LR:g} else, with a factor of"
        f" {DEPTH_FACTOR:g} from each block to the one before it where everything learns, as `trainwell fit --from`"
        " takes it. Inputs are scaled as the source's were. Digits 5 to 9 come as they are, 8x8, from a ResNet-8 of 8"
        " to 32 channels that has learned digits 0 to 4; the quick form has only these.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return the test accuracy of a method by images a class, for each task."""
    found: dict[str, float | list[float]] = {}
    for name, task in (QUICK if is_quick else TASKS).items():
        if settings["method"]:
            found[f"{name}: accuracy of the source"] = pretrained(task.source, seed).accuracy
        steps = [QUICK_STEPS if is_quick else STEPS[each] for each in task.counts]
        found[name] = [
            _accuracy(task, settings["method"], each, count, seed)
            for each, count in zip(task.counts, steps, strict=True)
        ]
    return found


def _accuracy(task: Task, method: str, each: int, steps: int, seed: int) -> float:
    """Return the test accuracy of one method on one small set."""
    images, labels, tests, test_labels = task.pictures.draw(each, seed)
    classes = len(task.pictures.classes)
    if not method:
        samples = Scale.of(images).samples(images, labels, tests, test_labels)
        network = fresh(task.source, classes, images.shape[1], seed)
        train(network, samples, steps=steps, rate=SCRATCH_LR, seed=seed)
        return _right(network, samples)
    source = pretrained(task.source, seed)
    samples = source.scale.samples(images, labels, tests, test_labels)
    if method == "features":
        return solved_accuracy(source.network, samples)
    network, per_depth = with_fresh_head(source, classes, seed), DEPTH_FACTOR if method == "full" else 1.0
    train(network, samples, steps=steps, rate=TUNING_LR, seed=seed, per_depth=per_depth, method=method)
    return _right(network, samples)


def _right(network: Any, samples: Samples) -> float:
    return accuracy(network, samples.held_out, samples.held_out_labels)


def judge(table: Table) -> Sequence[Check]:
    """Compare the methods on each task, seed by seed."""
    return [check for name in _tasks(table) for check in (*_against_scratch(table, name), *_crossing(table, name))]


def _tasks(table: Table) -> list[str]:
    return [name for name in TASKS if name in table.measures(SCRATCH)]


def _counts(table: Table, name: str) -> tuple[int, ...]:
    """Return the images a class of a task, as many as were measured."""
    return TASKS[name].counts[: table.numbers(SCRATCH, name).shape[1]]


def chosen(table: Table, name: str) -> NDArray[np.float64]:
    """Return the accuracies of the method that `--transfer auto` takes at each count, (seeds, counts)."""
    features, full = table.numbers(FEATURES, name), table.numbers(FULL, name)
    return np.where(np.array(_counts(table, name)) >= LEAST_FOR_FULL, full, features)


def _against_scratch(table: Table, name: str) -> Iterator[Check]:
    counts = _counts(table, name)
    ahead = chosen(table, name) - table.numbers(SCRATCH, name)
    for place, each in enumerate(counts):
        if each <= FEW:
            yield Check(
                BEATS.format(name, each),
                "beats it on little data",
                f"{_points(student_interval(ahead[:, place]))}; {_means(table, name, place)}",
                "above 0 on average",
                bool(ahead[:, place].mean() > 0),
            )
    least, most = ahead[:, 0], ahead[:, -1]
    yield Check(
        SHRINKS.format(name),
        "shrinks",
        f"{100 * least.mean():.1f} points with {counts[0]}, {100 * most.mean():.1f} with {counts[-1]}; the difference"
        f" is {_points(student_interval(least - most))}",
        "larger with the fewest than with the most, on average",
        bool((least - most).mean() > 0),
    )


def _crossing(table: Table, name: str) -> Iterator[Check]:
    counts, ahead = np.array(_counts(table, name)), table.numbers(FULL, name) - table.numbers(FEATURES, name)
    words = ", ".join(f"{_points(student_interval(ahead[:, place]))} with {each}" for place, each in enumerate(counts))
    is_full = counts >= LEAST_FOR_FULL
    for claim, mine, sign, side in ((SOLVED, ~is_full, -1, "fewer than"), (TUNED, is_full, 1, "at least")):
        if mine.any():
            yield Check(
                claim.format(name),
                "fine-tuning overtakes features as images become more",
                f"training everything is ahead by {words}",
                f"with {side} {LEAST_FOR_FULL} images a class at most {100 * EVEN:g} point behind, on average",
                bool((sign * ahead[:, mine].mean(axis=0) >= -EVEN).all()),
            )


def _means(table: Table, name: str, place: int) -> str:
    means = (f"{100 * table.numbers(arm, name)[:, place].mean():.1f} % {arm}" for arm in ARMS)
    return ", ".join(means)


def _points(found: Interval) -> str:
    if not np.isfinite(found.low):
        return f"{100 * found.value:+.1f} points"
    return f"{100 * found.value:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw accuracy over images a class, a figure for each task."""
    return [_curves(table, name) for name in _tasks(table)]


def _curves(table: Table, name: str) -> go.Figure:
    counts = _counts(table, name)
    drawn = figure("images a class", "Test accuracy", height=360)
    for arm, color, symbol in zip(ARMS, CLASSES, SYMBOLS, strict=False):
        found = table.numbers(arm, name)
        line, marker = {"color": color, "width": 2}, {"color": color, "symbol": symbol, "size": 8}
        drawn.add_scatter(x=counts, y=found.mean(axis=0), name=arm, mode="lines+markers", line=line, marker=marker)
        faint = {"color": translucent(color, 0.4), "symbol": symbol, "size": 6}
        for row in found:
            drawn.add_scatter(x=counts, y=row, mode="markers", marker=faint, showlegend=False, hoverinfo="skip")
    drawn.update_xaxes(type="log", tickvals=counts, ticktext=[str(each) for each in counts])
    drawn.update_yaxes(tickformat=".0%")
    caption = "Lines: means over the seeds; faint marks: each seed, with a source and a small set of its own."
    return drawn.update_layout(meta={"title": f"Transfer to {name}", "caption": caption})
