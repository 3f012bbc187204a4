"""What a run says in words when it begins and when it has ended: a few lines that a person can act on."""

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from trainwell.core.choice import Choice
from trainwell.core.recipe import Recipe, decided
from trainwell.core.shelves import SHELVES
from trainwell.core.stats import Interval
from trainwell.core.task import TASKS
from trainwell.core.transfer import METHODS
from trainwell.data.samples import first_rows
from trainwell.metrics import LabelMetrics, Metrics, NumberMetrics
from trainwell.metrics.numbers import rounded
from trainwell.metrics.words import any_number, percent
from trainwell.train.evaluate import Evaluation
from trainwell.train.folder import RunFolder
from trainwell.train.reporter import StartReport
from trainwell.train.run import Run

MARGIN = 10  # characters; the word at the beginning of a line stands in them
WEAKEST = 3  # classes that are named at the end
LONGEST = 160  # characters of an opening line: two lines of a usual terminal
SHORTEST = 20  # characters; what is left of a reason below that says nothing
UNBALANCED = 3.0  # the most frequent class over the rarest, from which it is said


def opening(report: StartReport) -> Iterator[str]:
    """Say what was found and decided, a short line for each part of the run; full reasons are in `machine.json`."""
    recipe, reasons = report.recipe, {choice.field: choice.reason for choice in report.choices}
    length = f"{_counted(int(recipe.length.epochs), 'epoch')} = {_counted(report.steps, 'step')}"
    optimizer, schedule = decided(recipe.optimizer), decided(recipe.schedule)
    rate = f" lr {optimizer.options['lr']:g}" if "lr" in optimizer.options else ""
    training = f"{optimizer.name}{rate}, {schedule.name}, batches of {recipe.batch.size}, {length}"
    machine = recipe.machine
    where = f"{machine.device}, {machine.precision}, {_counted(decided(machine.threads), 'thread')}"
    yield _opened("data", describe_data(report.data))
    weights = f"{report.weights:,} weights"
    if report.frozen:
        weights = f"{report.weights + report.frozen:,} weights, {report.weights:,} of them learn at the start"
    yield _opened("network", f"{brief(decided(recipe.model), 'model')}, {weights}", reasons.get("model"))
    if recipe.transfer.is_on:
        yield _opened("transfer", _transfer(recipe), reasons.get("transfer.method"))
    if not recipe.transfer.is_solved:
        yield _opened("augment", _augmentations(recipe), reasons.get("augmentation"))
        yield _opened("training", training, reasons.get("length.epochs"))
    yield _opened("machine", where, reasons.get("machine.precision"))
    yield _line("reasons", f"{_reasons(len(report.choices))} {report.path / 'machine.json'}")


def _transfer(recipe: Recipe) -> str:
    asked = recipe.transfer
    if asked.last:
        return f"{asked.method}: {METHODS['last:K'].replace('K', str(asked.last))}"
    return f"{asked.method}: {METHODS[asked.method]}"


def _reasons(count: int) -> str:
    if count == 0:
        return "nothing was left open: every choice is yours; versions are in"
    return f"for all {count} automatic choices:" if count > 1 else "for the automatic choice:"


def describe_data(data: Mapping[str, Any]) -> str:
    """Say what the samples are, how many, and how they are split.

    >>> describe_data({"kind": "features", "input_shape": [2], "classes": ["a", "b"], "samples": {"train": 9, "val": 1},
    ...     "counts": {"train": {"a": 4, "b": 5}, "val": {"a": 1, "b": 0}}})
    '10 samples of 2 features in 2 classes: 9 train, 1 val'
    """
    shape, samples = data["input_shape"], data["samples"]
    total = sum(samples.values())
    if data["kind"] == "images":
        channels, height, width = shape
        colour = {1: "grey ", 3: "colour "}.get(channels, f"{channels}-channel ")
        what = f"{total:,} {colour}images of {width}x{height}"
    else:
        what = f"{total:,} samples of {_counted(shape[0], 'feature')}"
    splits = ", ".join(f"{count:,} {name}" for name, count in samples.items())
    names, task = data["classes"], data.get("task", "classes")
    if task == "classes":
        return f"{what} in {len(names)} classes{_balance(data['counts'])}: {splits}"
    return f"{what} with {_counted(len(names), TASKS[task].output)} to be answered ({first_rows(names)}): {splits}"


def _balance(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Say which classes are rare, where they are."""
    by_class: dict[str, int] = {}
    for split in counts.values():
        for name, count in split.items():
            by_class[name] = by_class.get(name, 0) + count
    rare, most = min(by_class, key=by_class.__getitem__), max(by_class, key=by_class.__getitem__)
    if by_class[most] < UNBALANCED * max(by_class[rare], 1):
        return ""
    return f" ({by_class[most]:,} of {most}, only {by_class[rare]:,} of {rare})"


def _augmentations(recipe: Recipe) -> str:
    names = ", ".join(brief(choice, "augmentation") for choice in decided(recipe.augmentation))
    return names or "none: every epoch sees the samples as they are"


def brief(choice: Choice, kind: str) -> str:
    """Write a member with the options that are not its defaults.

    >>> brief(Choice(name="mlp", options={"hidden": [16], "dropout": 0.0}), "model")
    'mlp:hidden=[16]'
    """
    if choice.is_own or choice.name not in SHELVES[kind]:
        return str(choice)
    known = SHELVES[kind][choice.name].options
    told = {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in choice.options.items()
        if known[name].is_required or value != _plain(known[name].default)
    }
    return str(Choice(name=choice.name, options=told))


def _plain(value: object) -> object:
    """Return a default as a recipe holds it."""
    return list(value) if isinstance(value, tuple) else value


def closing(run: Run) -> Iterator[str]:
    """Say how good the classifier is, how sure that is, how long it took, where the page is, and what to do next."""
    metrics, measured = run.metrics, "val" if run.test is None else "test"
    for split, found in (("test", run.test), ("val", run.val)):
        if found is not None:
            unseen = "never trained or chosen on" if split == "test" else "not trained on"
            where = f"{_counted(found.count, 'sample')} {unseen}"
            where += f", looked at {run.looks} times" if split == "test" and run.looks > 1 else ""
            yield _line(split, f"{_score(run, found, is_measured=split == measured)}, {where}")
    if run.test is None and run.val is None:
        yield _line("test", "nothing was held out, so nobody knows how good it is: bring a val or a test split")
    if isinstance(metrics, Metrics):
        yield from _weakest(metrics)
    elif isinstance(metrics, NumberMetrics):
        yield from _errors(metrics)
    elif isinstance(metrics, LabelMetrics):
        yield _line("labels", f"micro F1 {percent(metrics.micro_f1)}, {percent(metrics.hamming_loss)} of all wrong")
    path = shlex.quote(str(run.path))
    yield _line("took", f"{_seconds(run.seconds)} {_what_took(run)}")
    page = RunFolder(run.path).report
    yield _line("report", str(page) if page.exists() else f"none yet: trainwell report {path} writes it")
    asked = "FILES…" if run.takes_files else "TABLE.csv" if run.takes_tables else ""
    predict = f"trainwell predict {path} {asked}    " if asked else ""
    yield _line("next", f"{predict}trainwell evaluate {path} SOURCE")


def _score(run: Run, found: Evaluation, *, is_measured: bool) -> str:
    """Say the score of the task on a split; `is_measured` is whether the metrics of the run are of this split."""
    if run.task == "classes":
        return f"{100 * found.accuracy:.2f} % right ({_between(found.interval)})"
    if run.task == "labels":
        return f"{100 * found.score:.2f} % with every label right ({_between(found.interval)})"
    sure = ""
    if is_measured and isinstance(run.metrics, NumberMetrics) and run.metrics.r2.is_defined:
        sure = f"95 % interval {run.metrics.r2.low:.4f} to {run.metrics.r2.high:.4f}; "
    if math.isnan(found.score):
        return "R² undefined, because all targets here are alike"
    return f"R² {found.score:.4f} ({sure}1 is perfect, 0 is always saying the mean)"


def _errors(metrics: NumberMetrics) -> Iterator[str]:
    """Say how far numbers are off, the worst explained first."""
    ordered = sorted(metrics.per_number, key=lambda one: one.r2.value if one.r2.is_defined else 1.0)
    for one in ordered[:WEAKEST]:
        words = (
            f"{one.name} is off by {rounded(one.rmse)} (RMSE, 95 % interval), by {any_number(one.mae.value)} on average"
        )
        yield _line("error", f"{words}; always saying the mean is off by {any_number(one.deviation)}")


def _what_took(run: Run) -> str:
    here = run.epochs - run.epochs_before
    if run.recipe.transfer.is_solved:
        return "with one look at every sample" if not run.epochs_before else "without looking at the samples again"
    if not run.epochs_before:
        return f"for {_counted(run.epochs, 'epoch')}"
    if not here:
        return f"without training: {_all(run.epochs)} done before"
    return f"for the last {here} of {_counted(run.epochs, 'epoch')}"


def _all(epochs: int) -> str:
    return "the epoch was" if epochs == 1 else f"all {epochs:,} epochs were"


def _weakest(metrics: Metrics) -> Iterator[str]:
    """Name the classes that are missed most."""
    missed = [each for each in metrics.per_class if each.support and each.recall.value < 1]
    missed.sort(key=lambda each: each.recall.value)
    if missed and len(metrics.classes) > 1:
        words = ", ".join(f"{each.name} {100 * each.recall.value:.0f} % of {each.support}" for each in missed[:WEAKEST])
        yield _line("weakest", f"found least often: {words}")


def _between(interval: Interval) -> str:
    return f"95 % interval {100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def _seconds(seconds: float) -> str:
    """Say a duration.

    >>> _seconds(12.34), _seconds(200), _seconds(7_325)
    ('12.3 s', '3 min 20 s', '2 h 2 min')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _counted(count: int, noun: str) -> str:
    """Say so many of something.

    >>> _counted(1, "epoch"), _counted(2_000, "epoch")
    ('1 epoch', '2,000 epochs')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _line(word: str, text: str) -> str:
    return f"{word:<{MARGIN}}{text}"


def _opened(word: str, text: str, reason: str | None = None) -> str:
    """Return a line that is not much longer than `LONGEST`, whatever there is to say."""
    brief_text = shortened(text, LONGEST - MARGIN)
    text = text if brief_text == "…" else brief_text  # a single long word, such as a path, is no use in parts
    room = LONGEST - MARGIN - len(text) - len(" ()")
    if reason and (len(reason) <= room or room >= SHORTEST):
        text += f" ({shortened(reason, room)})"
    return _line(word, text)


def shortened(text: str, room: int) -> str:
    """Return a text, or as much of its beginning as there is room for: whole clauses, else whole words.

    A bracket that would stay open is left out.

    >>> shortened("grey images; the widest", 30), shortened("grey images; the widest", 20)
    ('grey images; the widest', 'grey images; …')
    >>> shortened("mirrored in 56 % of cases (50 % is guessing)", 40), shortened("incomprehensible", 10)
    ('mirrored in 56 % of cases …', '…')
    """
    if len(text) <= room:
        return text
    for border in ("; ", " "):
        end = text.rfind(border, 0, room)
        while end > 0:
            kept = text[: end + 1].rstrip()
            if kept.count("(") == kept.count(")") and len(kept) + len(" …") <= room:
                return f"{kept} …"
            end = text.rfind(border, 0, end)
    return "…"
