"""Metrics as people read them: a table for the terminal and one for a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from trainwell.core.stats import Interval

if TYPE_CHECKING:
    from trainwell.metrics.summary import ClassMetrics, Metrics

MOST_CLASSES = 20
_WIDEST_NAME = 24
_HEAD = ("samples", "precision", "recall", "F1", "ROC-AUC")


def percent(interval: Interval) -> str:
    """Say a share in percent with its interval.

    >>> percent(Interval(0.9916, 0.9756, 0.9971))
    '99.2 % (97.6 to 99.7)'
    """
    if not interval.is_defined:
        return "undefined"
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def plain_number(interval: Interval) -> str:
    """Say a number with its interval.

    >>> plain_number(Interval(0.0312, 0.0101, 0.0502))
    '0.031 (0.010 to 0.050)'
    """
    if not interval.is_defined:
        return "undefined"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def any_number(value: float) -> str:
    """Say a number of any size to four digits, without an exponent where a person would not write one.

    >>> any_number(10999.6), any_number(0.01234567), any_number(1.5e-7), any_number(2.3e9)
    ('11,000', '0.01235', '1.5e-07', '2.3e+09')
    """
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e8 else f"{value:.4g}"


def totals(metrics: Metrics) -> list[tuple[str, str]]:
    """Return the name and the words of each number of a whole split, the most asked for first."""
    chance = 100 * metrics.calibration.error_by_chance
    return [
        ("accuracy", percent(metrics.accuracy)),
        ("balanced accuracy", percent(metrics.balanced_accuracy)),
        ("macro F1", percent(metrics.macro_f1)),
        *((f"top-{k} accuracy", percent(interval)) for k, interval in metrics.top_k.items()),
        ("log loss", f"{plain_number(metrics.log_loss)} nats"),
        ("calibration error", f"{percent(metrics.calibration_error)}, {chance:.1f} % by chance alone"),
        ("ROC-AUC", plain_number(metrics.roc_auc)),
    ]


def class_rows(metrics: Metrics) -> tuple[list[tuple[str, ...]], str]:
    """Return a row of words for each class, and what to say of those left out.

    Up to 20 classes stand in their own order; of more, the 20 with the lowest F1 stand, lowest first.
    """
    kept = list(metrics.per_class)
    if len(kept) > MOST_CLASSES:
        defined = [one for one in kept if one.f1.is_defined]
        kept = sorted(defined, key=lambda one: one.f1.value)[:MOST_CLASSES]
    left_out = len(metrics.per_class) - len(kept)
    note = f"the {len(kept)} classes with the lowest F1; {left_out:,} more are not shown" if left_out else ""
    return [_class_row(one) for one in kept], note


def _class_row(one: ClassMetrics) -> tuple[str, ...]:
    shares = [f"{100 * value.value:.1f} %" if value.is_defined else "-" for value in (one.precision, one.recall)]
    area = f"{one.roc_auc.value:.3f}" if one.roc_auc.is_defined else "-"
    return (_short(one.name), f"{one.support:,}", *shares, percent(one.f1) if one.f1.is_defined else "-", area)


def _short(name: str) -> str:
    """Return a class's name on one line, cut where it is long."""
    line = "".join(letter if letter.isprintable() else "?" for letter in name)
    return line if len(line) <= _WIDEST_NAME else line[: _WIDEST_NAME - 1] + "…"


def as_text(metrics: Metrics) -> str:
    """Return all numbers as lines of at most 100 columns."""
    noun = "sample" if metrics.count == 1 else "samples"
    lines = [f"on {metrics.count:,} {noun} of {len(metrics.classes):,} classes, with 95 % intervals"]
    lines += [f"{name:<18} {words}" for name, words in totals(metrics)]
    lines += [f"note: {note}" for note in metrics.notes]
    rows, note = class_rows(metrics)
    table = [("class", *_HEAD), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines.append("")
    for name, *numbers in table:
        cells = [word.rjust(width) for word, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    return "\n".join([*lines, note] if note else lines)


def as_html(metrics: Metrics) -> str:
    """Return all numbers as two HTML tables, every name escaped."""
    rows, note = class_rows(metrics)
    total_rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th><td style="text-align:left">{words}</td></tr>'
        for name, words in totals(metrics)
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("class", *_HEAD))
    body = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
        + "".join(f'<td style="text-align:right">{words}</td>' for words in numbers)
        + "</tr>"
        for name, *numbers in rows
    )
    notes = "".join(f"<p>{escape(words)}</p>" for words in (*metrics.notes, note) if words)
    return (
        f"<table><caption>{metrics.count:,} samples, with 95 % intervals</caption><tbody>{total_rows}</tbody></table>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"
    )
