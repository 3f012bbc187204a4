"""How good predicted numbers are: totals, predicted against right, and how far they are off."""

import numpy as np

from trainwell.core.stats import Interval
from trainwell.metrics import NumberMetric, measure_numbers
from trainwell.metrics.words import any_number
from trainwell.pictures.errors import MOST_DRAWN, predicted_against_true, residual_histogram
from trainwell.report.embed import Chart, chart
from trainwell.report.evidence import Answers, Evidence
from trainwell.report.headline import noun_of, reported
from trainwell.report.quality import Quality, lead_of

MOST_CHARTED = 4  # numbers that are drawn; all of them stand in the table


def quality_of_numbers(evidence: Evidence) -> Quality | None:
    """Return how good the numbers are; None where there are none."""
    answers = reported(evidence)
    if answers is None or len(evidence.classes) != answers.values.shape[1]:
        return None
    metrics = measure_numbers(answers.values, answers.targets, evidence.classes)
    ordered = sorted(range(len(metrics.names)), key=lambda m: _rank(metrics.per_number[m]))
    charts = [each for m in ordered[:MOST_CHARTED] for each in _charts(answers, m, metrics.names[m], noun_of(evidence))]
    totals = [row for one in metrics.per_number for row in _rows(one, is_alone=len(metrics.names) == 1)]
    if len(metrics.names) > 1:
        totals.insert(0, ("R²", _say(metrics.r2), _ends(metrics.r2), "mean over the numbers; 1 is perfect"))
    left_out = len(metrics.names) - MOST_CHARTED
    notes = (f"the {MOST_CHARTED} worst explained numbers are drawn, {left_out} more are not",) if left_out > 0 else ()
    return Quality(
        lead=lead_of(evidence, answers, metrics.count),
        totals=tuple(totals),
        rows=(),
        order="",
        strip_from=0.0,
        charts=tuple(charts),
        mistakes=(),
        notes=(*metrics.notes, *notes),
    )


def _rank(one: NumberMetric) -> float:
    return one.r2.value if one.r2.is_defined else np.inf


def _rows(one: NumberMetric, *, is_alone: bool) -> list[tuple[str, str, str, str]]:
    of = "" if is_alone else f" of {one.name}"
    always = f"always saying the mean, {any_number(one.mean)}, would be off by {any_number(one.deviation)}"
    return [
        (
            f"R²{of}",
            _say(one.r2),
            _ends(one.r2),
            "share of the variance that is explained; 0 is always saying the mean",
        ),
        (f"RMSE{of}", _say(one.rmse), _ends(one.rmse), f"root of the mean squared error; {always}"),
        (f"MAE{of}", _say(one.mae), _ends(one.mae), "mean absolute error: how far off on average"),
    ]


def _say(interval: Interval) -> str:
    return any_number(interval.value) if interval.is_defined else "undefined"


def _ends(interval: Interval) -> str:
    return f"{any_number(interval.low)} to {any_number(interval.high)}" if interval.is_defined else ""


def _charts(answers: Answers, m: int, name: str, noun: str) -> tuple[Chart, Chart]:
    predicted, truth = answers.values[:, m].astype(np.float64), answers.targets[:, m].astype(np.float64)
    residuals = predicted - truth
    some = f"{MOST_DRAWN:,} of " if len(truth) > MOST_DRAWN else ""
    bias, spread = float(residuals.mean()), float(residuals.std())
    low, high = np.quantile(residuals, [0.05, 0.95])
    return (
        chart(
            f"predicted-{m}",
            f"{name}: predicted against right",
            predicted_against_true(predicted, truth, name, split=answers.split),
            caption=f"Each mark is one of {some}{len(truth):,} {answers.split} {noun}s; on the dotted line it is"
            " predicted exactly. A cloud that lies flatter than the line pulls everything towards the mean.",
            alt=f"Predicted against right {name} on {answers.split}: from {truth.min():.4g} to {truth.max():.4g}.",
        ),
        chart(
            f"residuals-{m}",
            f"{name}: how far off",
            residual_histogram(residuals, name, split=answers.split),
            caption=f"Predicted minus right: {any_number(bias)} on average, and between {any_number(low)} and"
            f" {any_number(high)} for nine in ten {noun}s.",
            alt=f"Histogram of residuals of {name}: mean {bias:.3g}, deviation {spread:.3g}.",
        ),
    )
