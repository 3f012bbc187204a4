"""The single samples that a person should look at: worst mistakes, closest calls, likely wrong labels."""

from dataclasses import dataclass

import numpy as np

from trainwell.metrics import least_certain, likely_label_errors, most_wrong
from trainwell.report.embed import data_uri
from trainwell.report.evidence import Answers, Evidence
from trainwell.report.headline import noun_of
from trainwell.report.numbers import percent

SHOWN = 12
BARS = 2


@dataclass(frozen=True)
class Bar:
    """How probable one class is: in words and in percent; whether it is the label, and whether a wrong answer."""

    name: str
    words: str
    width: float
    is_label: bool
    is_wrong: bool


@dataclass(frozen=True)
class Case:
    """One sample: its name, its picture (empty where none is stored), the most probable classes and its label."""

    name: str
    picture: str
    bars: tuple[Bar, ...]
    alt: str


@dataclass(frozen=True)
class Gallery:
    """Cases of one kind, with a title, how to read them, and words for when there are none."""

    key: str
    title: str
    caption: str
    cases: tuple[Case, ...]
    empty: str


def galleries(evidence: Evidence) -> tuple[Gallery, ...]:
    """Return the galleries of val, the split that may be studied; none without one, or where answers are no class."""
    answers = evidence.answers.get("val")
    if answers is None or evidence.task.name != "classes" or len(evidence.classes) != answers.probabilities.shape[1]:
        return ()
    probabilities, targets, noun = answers.probabilities, answers.targets, noun_of(evidence)
    wrong = int((probabilities.argmax(axis=1) != targets).sum())

    def cases(positions: np.ndarray) -> tuple[Case, ...]:
        there = [place for place in positions.tolist() if not evidence.shown or place in evidence.shown]
        return tuple(_case(evidence, answers, place) for place in there[:SHOWN])

    most = len(evidence.shown) or SHOWN
    return (
        Gallery(
            "most-wrong",
            "Most wrong",
            f"{wrong:,} of {len(targets):,} val {noun}s {'is' if wrong == 1 else 'are'} answered wrongly; the least"
            " probable label stands first" + (f", and the first {SHOWN} are shown." if wrong > SHOWN else "."),
            cases(most_wrong(probabilities, targets, most)),
            f"None of the {len(targets):,} val {noun}s is answered wrongly.",
        ),
        Gallery(
            "least-certain",
            "Least certain",
            f"The val {noun}s on which the two most probable classes lie closest together, whether right or wrong.",
            cases(least_certain(probabilities, most)),
            "",
        ),
        Gallery(
            "label-errors",
            "Possibly wrong labels",
            "The network doubts the label and believes in another class more than it usually does. Look before you"
            " change a label: it may be the network that errs.",
            cases(likely_label_errors(probabilities, targets, most)),
            f"No label among the val {noun}s looks wrong.",
        ),
    )


def _case(evidence: Evidence, answers: Answers, place: int) -> Case:
    row, label, classes = answers.probabilities[place], int(answers.targets[place]), evidence.classes
    top = np.argsort(-row, kind="stable")[:BARS].tolist()
    named = top if label in top else [*top, label]
    bars = tuple(
        Bar(
            name=classes[number],
            words=percent(float(row[number]), 0) if row[number] >= 0.005 else "<\u00a01\u00a0%",
            width=round(100 * float(row[number]), 1),
            is_label=number == label,
            is_wrong=number == top[0] != label,
        )
        for number in named
    )
    name = answers.names[place] if place < len(answers.names) else f"sample {place}"
    picture = data_uri(evidence.shown[place]) if place in evidence.shown else ""
    alt = f"{name}: label {classes[label]}, answer {classes[top[0]]} at {percent(float(row[top[0]]), 0)}"
    return Case(name, picture, bars, alt)
