"""How `trainwell show schedule NAME` draws a rate before any training, in the terminal and as a page."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwell.core.catalog import Card

EPOCHS, STEPS_PER_EPOCH = 30, 20  # a run to look at: long enough for restarts, with the steps of a small set
COLUMNS, ROWS = 72, 9
EIGHTHS = " ▁▂▃▄▅▆▇█"
MOST_VALUES = 2_000  # in JSON and on a page


@dataclass(frozen=True)
class Drawn:
    """The multipliers of a run, step by step.

    Attributes:
        choice: the schedule with its options, as one writes it.
        values: one multiplier a step.
        notes: what must be known about the drawing.
    """

    choice: str
    epochs: int
    steps_per_epoch: int
    values: Sequence[float]
    notes: Sequence[str]

    def to_plain(self) -> dict[str, Any]:
        """Return plain data; of a long run some of the steps, evenly spread."""
        every = -(-len(self.values) // MOST_VALUES)
        return {
            "choice": self.choice,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "steps": list(range(0, len(self.values), every)),
            "multipliers": list(self.values[::every]),
            "notes": list(self.notes),
        }


def drawn(card: Card, options: Mapping[str, Any], choice: str, *, epochs: int, steps_per_epoch: int) -> Drawn:
    """Return the multipliers of a schedule; one that follows the losses follows imagined ones.

    Raises:
        OptionInvalid: the schedule has no such option, or it does not fit the run.
    """
    from trainwell.schedules import Driven

    total = epochs * steps_per_epoch
    multiplier: Callable[[int], float] = card.build(options, total_steps=total, steps_per_epoch=steps_per_epoch)
    if not isinstance(multiplier, Driven):
        return Drawn(choice, epochs, steps_per_epoch, [multiplier(step) for step in range(total)], ())
    values: list[float] = []
    notes = ["it follows the losses: here an imagined loss that falls in the first third and then stays as it is"]
    for epoch, loss in enumerate(imagined(epochs), 1):
        values += [multiplier(step) for step in range(len(values), epoch * steps_per_epoch)]
        change = multiplier.observe(epoch * steps_per_epoch, train_loss=loss, val_loss=loss)
        if change is not None:
            notes.append(f"after epoch {epoch}: {change.before:.4g} -> {change.after:.4g}: {change.reason}")
    return Drawn(choice, epochs, steps_per_epoch, values, notes)


def imagined(epochs: int) -> list[float]:
    """Return a loss for each epoch that falls by 5 % in each of the first third, and then stays as it is.

    >>> [round(loss, 3) for loss in imagined(6)]
    [0.95, 0.902, 0.902, 0.902, 0.902, 0.902]
    """
    return [0.95 ** min(epoch, max(epochs // 3, 1)) for epoch in range(1, epochs + 1)]


def in_letters(values: Sequence[float], epochs: int) -> list[str]:
    """Draw a multiplier over the epochs as lines of text: each column as high as the highest of its steps.

    >>> print(*in_letters([0.5] * 36 + [1.0] * 36, 2)[::4], sep="\\n")
       1 │                                    ████████████████████████████████████
         │▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄████████████████████████████████████
       0 │████████████████████████████████████████████████████████████████████████
    """
    count = min(COLUMNS, len(values))
    top = max(*values, 1e-12) if len(values) > 1 else values[0]
    edges = [round(column * len(values) / count) for column in range(count + 1)]
    highest = [max(values[start:end]) for start, end in itertools.pairwise(edges)]
    levels = [max(round(value / top * ROWS * 8), 1 if value > 0 else 0) for value in highest]
    lines = []
    for row in reversed(range(ROWS)):
        name = f"{top:.3g}" if row == ROWS - 1 else ""
        cells = "".join(EIGHTHS[min(max(level - 8 * row, 0), 8)] for level in levels)
        lines.append(f"{name:>8} │{cells}".rstrip() if row else f"{0:>8} │{cells}")
    ends = f"0{'epochs':^{max(count - 1 - len(str(epochs)), 8)}}{epochs}"
    return [*lines, f"{'':>8} └{'─' * count}", f"{'':>10}{ends}"]


def write_page(shown: Drawn, path: Path) -> None:
    """Write the curve as a page that needs no network.

    Raises:
        OptionInvalid: the file cannot be written.
    """
    from trainwell.cli.words import write_figure
    from trainwell.pictures.rates import rate_curve

    plain = shown.to_plain()
    steps_per_epoch = shown.steps_per_epoch
    write_figure(rate_curve(plain["steps"], plain["multipliers"], shown.choice, steps_per_epoch=steps_per_epoch), path)
