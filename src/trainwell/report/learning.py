"""How the network learned: its curves, and everything else that was measured on the way."""

from dataclasses import dataclass

import plotly.graph_objects as go

from trainwell.core.record import Measure
from trainwell.core.task import Score
from trainwell.pictures.curves import accuracy_curves, is_log, loss_curves, score_curves
from trainwell.pictures.measures import MOST_PLACES, measure_over_steps
from trainwell.pictures.series import Series, window_of
from trainwell.pictures.strengths import strength_curves
from trainwell.report.embed import Chart, chart
from trainwell.report.evidence import Evidence
from trainwell.report.headline import noun_of
from trainwell.report.layers import MEASURED
from trainwell.report.numbers import counted, percent

LOSSES = ("train/loss", "epoch/loss", "val/loss")
PATH = ("path/strength", "path/train_loss", "path/choice_loss")
TITLES = {"lr": "Learning rate", "gradient/norm": "Size of the gradients"}
MOST_CHARTS = 24
MOST_COUNTED = 10  # epochs that are counted one by one below a chart


@dataclass(frozen=True)
class Learning:
    """The two main charts, a small one for every other measure, and what people did meanwhile."""

    lead: str
    main: tuple[Chart, ...]
    others: tuple[Chart, ...]
    left_out: str


def learning(evidence: Evidence) -> Learning | None:
    """Return how the network learned; None where nothing was recorded."""
    key = evidence.task.score.key
    of_score = (f"epoch/train_{key}", f"val/{key}")
    if PATH[0] in evidence.readings:
        return _along_the_path(evidence)
    drawn = (*LOSSES, *of_score)
    names = [name for name in evidence.readings if name not in drawn and not name.startswith(("final/", *MEASURED))]
    names.sort(key=lambda name: (not name.startswith("penalty/"), name != "lr"))
    if not names and not any(name in evidence.readings for name in drawn):
        return None
    main = []
    if "train/loss" in evidence.readings or "epoch/loss" in evidence.readings:
        main.append(_loss(evidence))
    if any(name in evidence.readings for name in of_score):
        main.append(_accuracy(evidence) if key == "accuracy" else _score(evidence, evidence.task.score))
    others = [_other(evidence, name, number) for number, name in enumerate(names[:MOST_CHARTS])]
    more = len(names) - len(others)
    return Learning(
        lead=_lead(evidence),
        main=tuple(main),
        others=tuple(others),
        left_out=f"{counted(more, 'measure')} more stand in record.jsonl." if more > 0 else "",
    )


def _along_the_path(evidence: Evidence) -> Learning | None:
    """Return how a head was solved for, where nothing was trained step by step."""
    series = [_whole(evidence, name) for name in PATH]
    if any(one is None for one in series):
        return None
    strengths, train, choice = (one.values.tolist() for one in series if one is not None)
    chosen = min(range(len(choice)), key=choice.__getitem__)
    by = "val" if "val samples" in evidence.measures[PATH[2]].definition else "left-out parts of train"
    unit = evidence.measures[PATH[1]].unit
    main = chart(
        "path",
        "The head, solved for",
        strength_curves(strengths, train, choice, chosen=chosen, by=by, unit=unit),
        caption="Lower is better. To the left the head may follow its samples freely, to the right it must stay simple;"
        f" the strength with the least loss on {by} was taken.",
        alt=f"Loss along the path of penalties: least at {strengths[chosen]:.2g}, {choice[chosen]:.3g} {unit}.",
    )
    lead = (
        f"Nothing was trained step by step: every {noun_of(evidence)} went through the frozen network once, and the"
        " head was solved for on what came out, at each strength of the penalty on its weights."
    )
    return Learning(lead=lead, main=(main,), others=(), left_out="")


def _whole(evidence: Evidence, name: str) -> Series | None:
    series = evidence.readings.get(name, {}).get("")
    return series if series is not None and len(series) else None


def _left_out(count: int) -> str:
    """Say that some values were not finite, if there were any."""
    verb = "value that was not finite is" if count == 1 else "values that were not finite are"
    return f" {count:,} {verb} left out." if count else ""


def _aligned(figure: go.Figure, evidence: Evidence) -> go.Figure:
    """Let a chart reach over the whole run, so that charts can be compared from left to right."""
    last = max(evidence.last_step, 1) / (evidence.steps_per_epoch or 1)
    if evidence.steps_per_epoch is not None and last <= MOST_COUNTED:
        figure.update_xaxes(dtick=1)
    return figure.update_xaxes(range=[-0.02 * last, 1.03 * last])


def _lead(evidence: Evidence) -> str:
    smoothing = evidence.recipe.get("loss")
    soft = isinstance(smoothing, dict) and smoothing.get("smoothing")
    words = "Train is counted while the weights move, val after each epoch with the weights at rest"
    words += ", so val may lie above train" if evidence.recipe.get("augmentation") else ""
    if soft:
        words += f". With label smoothing {soft:g} the loss cannot reach 0"
    return words + "."


def _loss(evidence: Evidence) -> Chart:
    step, val = _whole(evidence, "train/loss"), _whole(evidence, "val/loss")
    caption = "Lower is better. Val rising while train still falls is overfitting."
    if step is not None:
        caption += f" Faint: every step; strong: the mean of {counted(window_of(step), 'neighbouring step')}."
        caption += _left_out(step.left_out)
    if is_log(evidence.readings):
        caption += " On this scale equal distances are equal ratios."
    unit = next((evidence.measures[name].unit for name in LOSSES if name in evidence.measures), "nats")
    facts = [f"train from {step.values[0]:.3g} to {step.values[-1]:.3g}"] if step is not None else []
    facts += [f"val from {val.values[0]:.3g} to {val.values[-1]:.3g}"] if val is not None else []
    return chart(
        "loss",
        "Loss",
        _aligned(loss_curves(evidence.readings, steps_per_epoch=evidence.steps_per_epoch, unit=unit), evidence),
        caption=caption,
        alt=f"Loss over the run: {', '.join(facts) or 'no values'}.",
    )


def _accuracy(evidence: Evidence) -> Chart:
    facts = []
    for name, split in (("epoch/train_accuracy", "train"), ("val/accuracy", "val")):
        series = _whole(evidence, name)
        if series is not None:
            facts.append(f"{split} from {percent(series.values[0])} to {percent(series.values[-1])}")
    has_val = _whole(evidence, "val/accuracy") is not None
    gap = "A wide gap with train above val is overfitting." if has_val else "There is no val split to compare with."
    return chart(
        "accuracy",
        "Accuracy",
        _aligned(accuracy_curves(evidence.readings, steps_per_epoch=evidence.steps_per_epoch), evidence),
        caption=f"Share answered correctly, higher is better. {gap}",
        alt=f"Accuracy over the run: {', '.join(facts) or 'no values'}.",
    )


def _score(evidence: Evidence, score: Score) -> Chart:
    facts = []
    for name, split in ((f"epoch/train_{score.key}", "train"), (f"val/{score.key}", "val")):
        series = _whole(evidence, name)
        if series is not None:
            facts.append(f"{split} from {series.values[0]:.3g} to {series.values[-1]:.3g}")
    words = score.words.format(of="the samples")
    return chart(
        "score",
        score.title[:1].upper() + score.title[1:],
        _aligned(
            score_curves(evidence.readings, score.key, score.title, steps_per_epoch=evidence.steps_per_epoch), evidence
        ),
        caption=f"{words[:1].upper()}{words[1:]}; higher is better, 1 is perfect.",
        alt=f"{score.title} over the run: {', '.join(facts) or 'no values'}.",
    )


def _other(evidence: Evidence, name: str, number: int) -> Chart:
    places = evidence.readings[name]
    places = {"": places[""]} if "" in places else places  # those of the layers stand in a section of their own
    measure = evidence.measures.get(name) or Measure(name, "", "no definition was recorded")
    caption = measure.definition[:1].upper() + measure.definition[1:] + "."
    if len(places) > MOST_PLACES:
        caption += f" {MOST_PLACES} of {len(places):,} places are drawn, those that moved most."
    bad = sum(series.left_out for series in places.values())
    caption += _left_out(bad)
    values = [value for series in places.values() for value in series.values.tolist()]
    facts = f"from {min(values):.3g} to {max(values):.3g}" if values else "no finite values"
    return chart(
        f"measure-{number}",
        TITLES.get(name, name.replace("penalty/", "Penalty ")),
        _aligned(measure_over_steps(measure, places, steps_per_epoch=evidence.steps_per_epoch), evidence),
        caption=caption,
        alt=f"{name} over the run, {facts}.",
    )
