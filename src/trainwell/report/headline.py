"""The top of the page: how good the network is, how sure that is, and, where the run has no end, what to do."""

import shlex
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainwell.core.stats import share
from trainwell.metrics import measure_numbers
from trainwell.metrics.labels import THRESHOLD
from trainwell.metrics.words import any_number
from trainwell.report.evidence import Answers, Evidence
from trainwell.report.numbers import brief, counted, duration, percent, span

NAMED = 5  # samples
STATUS = {
    "finished": "finished",
    "running": "still running",
    "stopped": "stopped",
    "non-finite": "failed: NaN or Inf",
    "died": "died",
}


@dataclass(frozen=True)
class Headline:
    """What stands at the top.

    Attributes:
        title: source and network.
        status, status_words: one of `STATUS`.
        number: the accuracy or the share of exact matches in percent, or R²; empty where nothing was measured yet.
        claim: the sentence that the number is part of.
        doubt: how sure it is.
        facts: (name, value, remark) of the run.
        notices: paragraphs that must be read first: what is missing or damaged, and the cure.
    """

    title: str
    status: str
    status_words: str
    number: str
    claim: str
    doubt: str
    facts: tuple[tuple[str, str, str], ...]
    notices: tuple[str, ...]


def headline(evidence: Evidence) -> Headline:
    """Return the top of the page."""
    number, claim, doubt = _claim(evidence)
    return Headline(
        title=title_of(evidence),
        status=evidence.status,
        status_words=STATUS[evidence.status],
        number=number,
        claim=claim,
        doubt=doubt,
        facts=tuple(_facts(evidence)),
        notices=(*_state_of_things(evidence), *evidence.troubles),
    )


def title_of(evidence: Evidence) -> str:
    """Return what was trained on what."""
    data = evidence.recipe.get("data", {})
    source = data.get("location") or brief(data.get("source", "")).partition(":")[0]
    model = brief(evidence.recipe.get("model", "")).partition(": ")[0]
    name = str(source).rstrip("/").rpartition("/")[2]
    return " on ".join(filter(None, (model if model != "auto" else "", name))) or evidence.path.name


def reported(evidence: Evidence) -> Answers | None:
    """Return the answers that the page judges by: to test, or to val where there is no test split."""
    return evidence.answers.get("test") or evidence.answers.get("val")


def noun_of(evidence: Evidence) -> str:
    """Return what one sample is called."""
    return "image" if evidence.data.get("kind") == "images" else "sample"


def _claim(evidence: Evidence) -> tuple[str, str, str]:
    answers = reported(evidence)
    if answers is None:
        return _claim_so_far(evidence)
    if evidence.task.name == "numbers":
        return _claim_of_numbers(evidence, answers)
    count, noun = len(answers.targets), noun_of(evidence)
    found = share(int(_is_right(answers).sum()), count)
    kind = "never trained or chosen on" if answers.split == "test" else "not trained on"
    if evidence.task.name == "labels":
        claim = f"of {counted(count, f'{answers.split} {noun}')}, {kind}, have every label right"
        doubt = f"On more {noun}s of this kind it is probably {span(found)} (95 % interval). {_val_words(answers)}"
        return percent(found.value), claim, doubt.rstrip()
    claim = f"of {counted(count, f'{answers.split} {noun}')}, {kind}, are classified correctly"
    most_common = np.bincount(answers.targets).max() / count
    doubt = (
        f"On more {noun}s of this kind it is probably right on {span(found)} (95 % interval: {count:,} {noun}s can"
        f" say no more). Always answering the most frequent class would be right on {percent(most_common)}."
    )
    if answers.split == "val":
        doubt += f" {_val_words(answers)}"
    return percent(found.value), claim, doubt


def _val_words(answers: Answers) -> str:
    if answers.split != "val":
        return ""
    return "There is no test split: val also chose the weights, so this is a little too good."


def _is_right(answers: Answers) -> NDArray[np.bool_]:
    """Return (N,) whether the class, or every label, is right."""
    if answers.targets.ndim == 2:
        right: NDArray[np.bool_] = ((answers.values >= THRESHOLD) == (answers.targets == 1)).all(axis=1)
        return right
    return np.asarray(answers.values.argmax(axis=1) == answers.targets)


def _claim_of_numbers(evidence: Evidence, answers: Answers) -> tuple[str, str, str]:
    metrics = measure_numbers(answers.values, answers.targets, [""] * answers.values.shape[1])
    where = f"{counted(len(answers.targets), f'{answers.split} {noun_of(evidence)}')}"
    kind = "never trained or chosen on" if answers.split == "test" else "not trained on"
    if not metrics.r2.is_defined:
        return "", f"R² is undefined on {where}: their numbers are all alike.", ""
    what = evidence.classes[0] if len(evidence.classes) == 1 else f"{len(evidence.classes)} numbers"
    claim = f"is R², the explained share of the variance of {what}, on {where}, {kind}"
    doubt = f"On others of this kind it is probably {metrics.r2.low:.3f} to {metrics.r2.high:.3f} (95 % interval)."
    if len(metrics.per_number) == 1:
        one = metrics.per_number[0]
        doubt += f" It is off by {any_number(one.rmse.value)} (RMSE), and"
        doubt += f" always saying the mean by {any_number(one.deviation)}."
    return f"{metrics.r2.value:.3f}", claim, f"{doubt} {_val_words(answers)}".rstrip()


def _claim_so_far(evidence: Evidence) -> tuple[str, str, str]:
    score = evidence.task.score
    series = evidence.readings.get(f"val/{score.key}", {}).get("")
    if series is None or not len(series):
        return "", f"No {score.title} was measured yet.", ""
    if score.key != "accuracy":
        value = percent(float(series.values[-1])) if score.is_share else f"{series.values[-1]:.3f}"
        return value, f"is the {score.title} on val after epoch {len(series)}", "This is no final number."
    count, accuracy = int(evidence.data.get("samples", {}).get("val", 0)), float(series.values[-1])
    many = f"{count:,} val {noun_of(evidence)}s" if count else f"the val {noun_of(evidence)}s"
    doubt = f"95 % interval {span(share(round(accuracy * count), count))}. " if count else ""
    claim = f"of {many} were classified correctly after epoch {len(series)}"
    why = "the final answers are missing" if evidence.status == "finished" else "the run has not reached its end"
    return percent(accuracy), claim, f"{doubt}This is no final number: {why}."


def _facts(evidence: Evidence) -> list[tuple[str, str, str]]:
    answers, facts = reported(evidence), []
    if answers is not None:
        facts += _facts_of(evidence, answers)
    samples = evidence.data.get("samples", {})
    if samples:
        trained = counted(int(samples.get("train", 0)), noun_of(evidence))
        plural = "classes" if evidence.task.name == "classes" else ""
        facts.append(("trained on", trained, counted(len(evidence.classes), evidence.task.output, plural)))
    transfer = evidence.recipe.get("transfer", {})
    if transfer.get("source"):
        facts.append(("began from", str(transfer["source"]).rstrip("/").rpartition("/")[2], str(transfer["method"])))
    if evidence.epoch_ends:
        epochs = counted(len(evidence.epoch_ends), "epoch")
        facts.append(("length", epochs, counted(evidence.last_step, "step")))
    if evidence.seconds is not None:
        remark = "with loading and evaluation" if evidence.status == "finished" else "of training"
        facts.append(("time", duration(evidence.seconds), remark))
    return facts


def _facts_of(evidence: Evidence, answers: Answers) -> list[tuple[str, str, str]]:
    """Return what is to be said of the answers beside the number itself."""
    val = evidence.answers.get("val") if answers.split == "test" else None
    if evidence.task.name == "numbers":
        found = None if val is None else measure_numbers(val.values, val.targets, [""] * val.values.shape[1]).r2
        if val is None or found is None or not found.is_defined:
            return []
        return [("val R²", f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f} of {len(val.targets):,}")]
    wrong = int((~_is_right(answers)).sum())
    facts = [("mistakes", f"{wrong:,}", f"of {len(answers.targets):,} in {answers.split}")]
    if val is not None:
        shares = share(int(_is_right(val).sum()), len(val.targets))
        name = f"val {evidence.task.score.title}"
        facts.append((name, percent(shares.value), f"{span(shares)} of {len(val.targets):,}"))
    return facts


def _state_of_things(evidence: Evidence) -> list[str]:
    """Say what a run that has no end, or whose end was cut off, lacks, and how to go on."""
    run = shlex.quote(str(evidence.path))
    if evidence.status == "finished":
        gone = (
            "This run reached its end, but its answers to val and test are not there any more: they were deleted, or"
            f" the process was killed while it made them anew. Make them again with: trainwell resume {run}"
        )
        return [] if evidence.has_predictions else [gone]
    done = f"{counted(len(evidence.epoch_ends), 'epoch')} and {counted(max(evidence.last_step, 0), 'step')}"
    if evidence.last_step < 0:
        done = "not a single step"
    go_on = f"Go on with: trainwell resume {run}"
    words = {
        "running": f"This run is still going on; it has done {done}. Write the page again with: trainwell report {run}",
        "stopped": f"This run was stopped by a person after {done}; everything is stored. {go_on}",
        "non-finite": f"NaN or Inf appeared after {done}; the last finite weights are stored. {_first_nan(evidence)}",
        "died": f"This run ended without saying why, after {done}: the process was killed, or the machine went"
        f" down. {go_on}",
    }
    notices = [words[evidence.status]]
    if not evidence.answers:
        notices.append(
            "Missing, because they are made at the end of a run: accuracy on test, the confusion of classes,"
            " calibration, and pictures of mistakes. What was measured until then is below."
        )
        if evidence.has_classifier:
            notices.append("Its classifier may be the one of an earlier end, before it went on.")
    elif evidence.answered_at is not None and evidence.answered_at >= evidence.last_step:
        notices.append(
            "Accuracy, confusion and mistakes below are those of its last step: all was stored, and only the end was"
            " not noted down any more."
        )
    else:
        notices.append(
            "Accuracy, confusion and mistakes below, and the classifier, are from an earlier end of this run, before it"
            " went on."
        )
    return notices


def _first_nan(evidence: Evidence) -> str:
    """Say what the guard found, and how to go on."""
    event = next((event for event in reversed(evidence.events) if event.kind == "non-finite"), None)
    if event is None:
        return ""
    found, run = event.values, shlex.quote(str(evidence.path))
    if found.get("split"):
        some = ", ".join(map(str, found.get("samples", [])[:NAMED]))
        return (
            f"All weights are finite, but scores of {counted(int(found['count']), found['split'] + ' sample')} are not:"
            f" {some}. Look at these samples, or lower the rate: trainwell set {run} lr=…, then trainwell resume {run}"
        )
    layer = f" in layer {found['layer']}" if found.get("layer") else ""
    where = f"First at step {found.get('step', event.step)}" + (f", in {found['op']}{layer}" if found.get("op") else "")
    cause = f". Cause: {found['cause']}" if found.get("cause") else ""
    return f"{where}{cause}. Go on with: trainwell set {run} lr=…, then trainwell resume {run}"
