"""Every optimizer of the shelf on the digits: test accuracy at its best rate of a small grid, and seconds.

    python bench/optimizers_digits.py [--epochs 10] [--seeds 3] [--only sgd,adam]

Each trains what `trainwell fit digits` trains, for a few epochs with one thread and, so that there are some hundred
steps, in batches of 32; only optimizer and rate differ, and schedule and batch where an optimizer asks for its own.
The grid goes by half decades around the default rate, and is short for those of second order. The rate is chosen on
the validation split with the first seed; the other seeds train at that rate alone, and the test split is read at that
rate alone. With --only nothing is stored.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from harness import Figure, machine, write_result

import trainwell as tw
from trainwell.core.catalog import Card
from trainwell.core.shelves import optimizers
from trainwell.errors import TrainwellError
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

BATCH = 32
FACTORS = (0.1, 0.32, 1.0, 3.2, 10.0)
FEW = (0.32, 1.0)  # for an optimizer whose steps cost so much and whose rate is a share of a step of its own length
REFERENCE, JUDGED, POINTS = "sgd", ("hessian_free", "yellowfin"), 0.01
TARGET = (
    f"{' and '.join(JUDGED)} within {POINTS * 100:g} point of {REFERENCE}, each at its best rate (means over seeds)"
)


@dataclass(frozen=True)
class Row:
    """One optimizer at its best rate; without one, `fault` says why."""

    name: str
    lr: float | None
    schedule: str
    val: dict[str, float | None]
    accuracies: tuple[float, ...]
    seconds: tuple[float, ...]
    fault: str

    @property
    def plain(self) -> dict[str, Any]:
        """The row for the stored table."""
        return {
            "optimizer": self.name,
            "lr": self.lr,
            "schedule": self.schedule,
            "val_accuracy_by_lr": self.val,
            "test_accuracies": self.accuracies,
            "seconds": self.seconds,
            "fault": self.fault,
        }


def train(card: Card, lr: float, seed: int, epochs: int) -> Run:
    """Train once and return the run, whose folder is gone."""
    own = {} if "batch" in card.traits else {"batch.size": BATCH}
    with tempfile.TemporaryDirectory() as folder:
        return tw.fit(
            "digits",
            out=f"{folder}/run",
            reporter=Silence(),
            optimizer=f"{card.name}:lr={lr!r}",
            epochs=epochs,
            seed=seed,
            set={"machine.threads": 1, "probes": [], **own},
        )


def measure(card: Card, seeds: int, epochs: int) -> Row:
    """Choose the rate of one optimizer, and train all seeds at it."""
    val: dict[str, float | None] = {}
    tried: list[tuple[float, float, float, Run]] = []
    fault = ""
    for factor in FEW if "cost" in card.traits else FACTORS:
        lr = float(f"{card.options['lr'].default * factor:.3g}")
        try:
            run = train(card, lr, 0, epochs)
        except TrainwellError as error:  # a rate that explodes, or an optimizer that is not for such nets
            val[f"{lr:g}"], fault = None, str(error)
            continue
        assert run.val is not None
        val[f"{lr:g}"] = run.val.score
        tried.append((run.val.score, -run.val.loss, lr, run))
    if not tried:
        return Row(card.name, None, "", val, (), (), fault)
    *_, lr, first = max(tried, key=lambda one: one[:2])
    runs = [first, *(train(card, lr, seed, epochs) for seed in range(1, seeds))]
    accuracies = tuple(float(run.test_accuracy or 0.0) for run in runs)
    seconds = tuple(round(run.seconds, 2) for run in runs)
    return Row(card.name, lr, str(first.recipe.schedule), val, accuracies, seconds, "")


def within(rows: dict[str, Row]) -> bool:
    """Whether the judged ones come close enough to the reference."""
    if not all(name in rows and rows[name].accuracies for name in (REFERENCE, *JUDGED)):
        return False
    best = statistics.mean(rows[REFERENCE].accuracies)
    return all(statistics.mean(rows[name].accuracies) >= best - POINTS for name in JUDGED)


def main() -> None:
    """Train all, print the table and store it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names, separated by commas")
    given = parser.parse_args()
    names = set(filter(None, given.only.split(",")))
    facts, begin = machine(), time.perf_counter()
    rows: dict[str, Row] = {}
    figures: dict[str, Figure] = {}
    for card in optimizers:
        if names and card.name not in names:
            continue
        row = rows[card.name] = measure(card, given.seeds, given.epochs)
        if not row.accuracies:
            print(f"{row.name:18} not run: {row.fault}", flush=True)
            continue
        for what, values, unit in (("test accuracy", row.accuracies, "share"), ("training", row.seconds, "s")):
            spread = f"{unit}; middle, least and most of {len(values)} seeds"
            figures[f"{row.name}: {what}"] = Figure(statistics.median(values), min(values), max(values), spread)
        mean, seconds = statistics.mean(row.accuracies), statistics.median(row.seconds)
        print(f"{row.name:18} lr {row.lr:<8g} {mean:.4f} {seconds:6.1f} s  val by lr {row.val}", flush=True)
    print(f"whole: {time.perf_counter() - begin:.0f} s")
    if not names:
        more = {"epochs": given.epochs, "table": [row.plain for row in rows.values()]}
        reached = within(rows)
        write_result(
            "optimizers-digits", figures=figures, n=given.seeds, target=TARGET, reached=reached, facts=facts, more=more
        )


if __name__ == "__main__":
    main()
