"""How good the answers are: totals, each class, confusion, calibration, and what a threshold gains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainwell.core.stats import Interval
from trainwell.metrics import ClassMetrics, Coverage, Metrics, coverage, measure
from trainwell.pictures.answering import answering
from trainwell.pictures.confusion import MOST_CLASSES, confusion_matrix, frequent_mistakes
from trainwell.pictures.reliability import reliability
from trainwell.report.embed import Chart, chart
from trainwell.report.evidence import Answers, Evidence
from trainwell.report.headline import noun_of, reported
from trainwell.report.numbers import counted, percent, span

SORTED_FROM = 20  # classes; of more, the worst stand first
NEARLY_ALL_RIGHT = 0.995  # what the sentence about the threshold looks for
_IN_SAMPLE = (
    " Confidences were fitted on these very samples, for want of a test split, so the calibration error and the log"
    " loss are a little too good."
)
FEW_SAMPLES = 30  # fewer, in a bin or above a threshold, say little


@dataclass(frozen=True)
class ClassRow:
    """A class in the table: shares in words, and where its F1 and its interval lie, in percent of the strip."""

    name: str
    support: str
    precision: str
    recall: str
    f1: str
    f1_span: str
    roc_auc: str
    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Quality:
    """How good the answers are.

    Attributes:
        lead: on which samples, and what the intervals are.
        totals: (name, value, interval, what it is).
        rows: the classes or labels, which `noun` calls them; `order` says how they are sorted. Empty for numbers.
        charts: of classes confusion, calibration, threshold.
        mistakes: the most frequent ones, in words.
    """

    lead: str
    totals: tuple[tuple[str, str, str, str], ...]
    rows: tuple[ClassRow, ...]
    order: str
    strip_from: float
    charts: tuple[Chart, ...]
    mistakes: tuple[str, ...]
    notes: tuple[str, ...]
    noun: str = "class"


def quality(evidence: Evidence) -> Quality | None:
    """Return how good the answers are, of which each is one class; None where there are none."""
    answers = reported(evidence)
    if answers is None or len(evidence.classes) != answers.probabilities.shape[1]:
        return None
    metrics = measure(answers.probabilities, answers.targets, evidence.classes)
    choosing = evidence.answers.get("val") or answers
    noun = noun_of(evidence)
    is_sorted = len(metrics.per_class) > SORTED_FROM
    begin = strip_from(metrics.per_class)
    return Quality(
        lead=lead_of(evidence, answers, metrics.count),
        totals=tuple(_totals(metrics)),
        rows=tuple(class_rows(metrics.per_class, begin, is_sorted=is_sorted)),
        order="The classes with the lowest F1 stand first." if is_sorted else "",
        strip_from=begin,
        charts=(
            _confusion(metrics, answers),
            _reliability(metrics, answers, temperature=evidence.temperature),
            _threshold(choosing, noun),
        ),
        mistakes=tuple(_mistakes(metrics)),
        notes=metrics.notes,
    )


def lead_of(evidence: Evidence, answers: Answers, count: int) -> str:
    """Say on which samples something was measured, and what the intervals are."""
    return (
        f"Measured on {counted(count, f'{answers.split} {noun_of(evidence)}')}"
        + (f", {_looks(evidence.looks)}. " if answers.split == "test" else ". ")
        + "Every interval is a 95 % interval: it says how far the number would move with other samples."
        + (_IN_SAMPLE if answers.split == "val" and evidence.temperature != 1 else "")
    )


def _looks(count: int) -> str:
    if count <= 1:
        return "which were looked at once, for this page"
    return f"which were looked at {count} times, each time that this run reached an end"


def _totals(metrics: Metrics) -> list[tuple[str, str, str, str]]:
    shares = [
        ("Accuracy", metrics.accuracy, "share of samples answered correctly"),
        ("Balanced accuracy", metrics.balanced_accuracy, "mean over classes of the share found: each counts alike"),
        ("Macro F1", metrics.macro_f1, "mean over classes of F1, which weighs finding against false alarms"),
        *(
            (f"Top-{k} accuracy", interval, f"the right class is among the {k} most probable")
            for k, interval in metrics.top_k.items()
        ),
    ]  # fmt: skip
    chance = percent(metrics.calibration.error_by_chance)
    gap = f"mean gap between confidence and accuracy; {chance} would be chance alone"
    rows = [(name, _percent(interval), _span(interval), words) for name, interval, words in shares]
    rows.append(("Calibration error", _percent(metrics.calibration_error), _span(metrics.calibration_error), gap))
    numbers = [
        ("ROC-AUC", metrics.roc_auc, "how often a sample of a class scores above one that is not; 0.5 is guessing"),
        ("Log loss", metrics.log_loss, "nats; mean surprise at the right class, 0 is best"),
    ]
    rows += [(name, _number(interval), _number_span(interval), words) for name, interval, words in numbers]
    return rows


def _percent(interval: Interval) -> str:
    return percent(interval.value) if interval.is_defined else "undefined"


def _span(interval: Interval) -> str:
    return span(interval) if interval.is_defined else ""


def _number(interval: Interval) -> str:
    return f"{interval.value:.3f}" if interval.is_defined else "undefined"


def _number_span(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}" if interval.is_defined else ""


def strip_from(rows: Sequence[ClassMetrics]) -> float:
    """Return where the strips of the table begin, in percent: a round number below every interval."""
    lows = [one.f1.low for one in rows if one.f1.is_defined]
    return float(np.floor(10 * min(lows, default=0.0)) * 10)


def class_rows(rows: Sequence[ClassMetrics], begin: float, *, is_sorted: bool) -> list[ClassRow]:
    """Return the rows of the table, the lowest F1 first where they are sorted; strips begin at so many percent."""
    ordered = list(rows)
    if is_sorted:
        ordered.sort(key=lambda one: one.f1.value if one.f1.is_defined else np.inf)

    def place(share: float) -> float:
        """Return where on its strip a share lies, in percent."""
        return round(100 * (100 * share - begin) / (100 - begin), 2) if share == share else 0.0

    return [
        ClassRow(
            name=one.name,
            support=f"{one.support:,}",
            precision=_percent(one.precision),
            recall=_percent(one.recall),
            f1=_percent(one.f1),
            f1_span=_span(one.f1),
            roc_auc=_number(one.roc_auc),
            low=place(one.f1.low),
            value=place(one.f1.value),
            high=place(one.f1.high),
        )
        for one in ordered
    ]


def _confusion(metrics: Metrics, answers: Answers) -> Chart:
    wrong = metrics.count - int(np.trace(metrics.confusion))
    size = len(metrics.classes)
    which = (
        ""
        if size <= MOST_CLASSES
        else f" Of {size:,} classes, the {MOST_CLASSES} with the most frequent mistakes are drawn."
    )
    return chart(
        "confusion",
        "What is taken for what",
        confusion_matrix(metrics.confusion, metrics.classes),
        caption="Read along a row: of the samples of that class, how many got which answer. Grey is right, purple is a"
        f" mistake, and stronger means a larger share of the row.{which}",
        alt=f"Confusion matrix of {size} classes on {answers.split}: {metrics.count - wrong} right, {wrong} wrong."
        f" {' '.join(_mistakes(metrics))}",
    )  # fmt: skip


def _mistakes(metrics: Metrics) -> list[str]:
    """Say the most frequent mistakes."""
    classes, support = metrics.classes, metrics.confusion.sum(axis=1)
    return [
        f"{classes[given]} answered as {classes[answer]}: {count:,} of {support[given]:,}"
        for given, answer, count in frequent_mistakes(metrics.confusion)
    ]


def _reliability(metrics: Metrics, answers: Answers, *, temperature: float) -> Chart:
    bins = metrics.calibration
    mean = float(np.nansum(bins.confidence * bins.count) / bins.count.sum())
    accuracy = metrics.accuracy.value
    if abs(mean - accuracy) < 0.005:
        verdict = f"On average it claims {percent(mean)} and is right on {percent(accuracy)}"
    else:
        trend = "too modest" if mean < accuracy else "too sure"
        verdict = f"On average it is {trend}: it claims {percent(mean)} and is right on {percent(accuracy)}"
    scaled = "sharpened" if temperature < 1 else "softened"
    fitted = (
        f" Confidences are {scaled} by a temperature of {temperature:.2f}, fitted on val." if temperature != 1 else ""
    )
    sparse = int(((bins.count > 0) & (bins.count < FEW_SAMPLES)).sum())
    caution = f" {counted(sparse, 'point')} of few samples say little." if sparse else ""
    return chart(
        "calibration",
        "Is it right as often as it says?",
        reliability(bins, split=answers.split),
        caption=f"On the dotted line confidence is honest; above it the network is too modest, below it too sure."
        f" {verdict}.{fitted}{caution}",
        alt=f"Reliability diagram on {answers.split}. {verdict}.",
    )


def _threshold(answers: Answers, noun: str) -> Chart:
    found = coverage(answers.probabilities, answers.targets)
    words = threshold_words(found, count=len(answers.targets))
    return chart(
        "threshold",
        "What “don't know” gains",
        answering(found, count=len(answers.targets), split=answers.split),
        caption=f"Answer only above a confidence: moving right, fewer {noun}s get an answer and more of the answers"
        f" are right, within the band (95 % interval). {words} Drawn on {answers.split}, the split to choose it on.",
        alt=f"Share answered and share right over the threshold. {words}",
    )


def threshold_words(found: Coverage, *, count: int) -> str:
    """Say what a threshold buys: the lowest one at which nearly all answers are right, if enough answers are left.

    >>> found = Coverage(np.array([0.0, 0.9]), np.array([1.0, 0.5]), np.array([0.9, 1.0]))
    >>> threshold_words(found, count=100).replace(chr(160), " ")
    'At a threshold of 90 %, 50.0 % are answered and 100 % of the answers are right.'
    >>> threshold_words(found, count=10).replace(chr(160), " ")
    'No threshold makes 99.5 % of at least 30 answers right.'
    """
    if found.accuracy[0] >= NEARLY_ALL_RIGHT:
        return "Without a threshold nearly all answers are right already."
    good = np.flatnonzero((found.accuracy >= NEARLY_ALL_RIGHT) & (found.answered * count >= FEW_SAMPLES))
    if not len(good):
        return f"No threshold makes {percent(NEARLY_ALL_RIGHT)} of at least {FEW_SAMPLES} answers right."
    best = int(good[0])
    return (
        f"At a threshold of {percent(float(found.threshold[best]), 0)}, {percent(float(found.answered[best]))} are"
        f" answered and {percent(float(found.accuracy[best]))} of the answers are right."
    )
