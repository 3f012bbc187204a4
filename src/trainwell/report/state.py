"""Where a run stands, for a terminal: its curves in brief and a table of its layers, while it goes on or afterwards."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainwell.errors import RunInvalid
from trainwell.pictures.series import History, Series
from trainwell.report.evidence import Evidence, gather
from trainwell.report.headline import STATUS, title_of
from trainwell.report.layers import MEASURED, layers_of, not_examined
from trainwell.report.numbers import counted
from trainwell.train.folder import RunFolder

WIDTH = 100  # columns of a usual terminal
BARS = "▁▂▃▄▅▆▇█"
COURSE = 40  # bars of a curve
COLUMNS = {
    "mean": "activation/mean",
    "std": "activation/std",
    "dead": "activation/dead",
    "saturated": "activation/saturated",
    "gradient": "gradient/norm",
    "step": "update/ratio",
}
SHARES = ("dead", "saturated")
EXPLAINED = (
    "mean, std: of what the layer hands on · dead: units that answer to all samples alike · saturated:",
    "values at a flat end · gradient: its norm · step: of one step over the weights, 1e-3 is usual",
)


@dataclass(frozen=True)
class Curve:
    """One measure of the whole network: its course in bars, its first value and its last."""

    name: str
    course: str
    first: float
    last: float


@dataclass(frozen=True)
class Layer:
    """What was read off one layer at the last look; None where it was not examined."""

    layer: str
    mean: float | None
    std: float | None
    dead: float | None
    saturated: float | None
    gradient: float | None
    step: float | None


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        run: its folder.
        title: what is trained on what.
        status: `running`, `finished`, `stopped`, `non-finite` or `died`.
        step: the last one that was measured.
        epoch, epochs: passes over the data that are done, and that shall be done; None where nobody knows.
        looked_at: the step of the last look at the layers; None before the first.
        remarks: what was not examined, and files that could not be read.
    """

    run: str
    title: str
    status: str
    step: int
    epoch: int
    epochs: int | None
    curves: tuple[Curve, ...]
    looked_at: int | None
    layers: tuple[Layer, ...]
    remarks: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    def lines(self, *, most: int | None = None) -> Iterator[str]:
        """Yield it as lines of at most 100 columns; with `most`, of as many lines, by leaving layers out."""
        of = f" of {self.epochs}" if self.epochs is not None else ""
        yield _cut(f"{self.title}: {STATUS[self.status]}, {self.epoch}{of} epochs done, at step {self.step:,}", WIDTH)
        yield ""
        for curve in self.curves:
            yield f"{_cut(curve.name, 22):<22}  {curve.course:<{COURSE}}  {curve.first:>9.4g} to {curve.last:<.4g}"
        if self.layers:
            yield ""
            yield from self._table(most and max(1, most - len(self.curves) - len(self.remarks) - 10))
            yield ""
            yield from EXPLAINED
        for remark in self.remarks:
            yield _cut(remark, WIDTH)

    def _table(self, most: int | None) -> Iterator[str]:
        names = [_cut(layer.layer, 34) for layer in self.layers]
        width = max(len("layer"), *map(len, names))
        yield f"the layers at step {self.looked_at:,}, in the order in which they act"
        yield f"{'layer':<{width}}" + "".join(f"{column:>10}" for column in COLUMNS)
        shown = _picked(len(names), most)
        for number, name in enumerate(names):
            if number in shown:
                cells = (_cell(column, getattr(self.layers[number], column)) for column in COLUMNS)
                yield f"{name:<{width}}" + "".join(f"{cell:>10}" for cell in cells)
        if len(shown) < len(names):
            yield f"{counted(len(names) - len(shown), 'layer')} more between them"


def read_state(run: Path) -> RunState:
    """Return where a run stands, whatever state it is in; a line that is being written is left out.

    Raises:
        RunInvalid: there is no run at this path, or nothing was measured yet.
    """
    folder = RunFolder.open(run)
    evidence = gather(folder)
    if evidence.last_step < 0:
        begun = "its data are being prepared: look again in a moment, or wait with --watch"
        dead = f"it ended before its first step: go on with `trainwell resume {run}`"
        trouble = "; ".join(evidence.troubles)
        raise RunInvalid(f"{run} has no record yet: {trouble or (begun if folder.is_running else dead)}")
    rows = tuple(_layer(name, evidence.readings) for name in layers_of(evidence.readings))
    looks = [evidence.readings[name] for name in COLUMNS.values() if name in evidence.readings]
    steps = [int(series.steps[-1]) for places in looks for where, series in places.items() if where and len(series)]
    epochs = evidence.recipe.get("length", {}).get("epochs")
    return RunState(
        run=str(run),
        title=title_of(evidence),
        status=evidence.status,
        step=evidence.last_step,
        epoch=len(evidence.epoch_ends),
        epochs=epochs if isinstance(epochs, int) else None,
        curves=tuple(_curves(evidence)),
        looked_at=max(steps, default=None),
        layers=rows,
        remarks=(*not_examined(evidence), *evidence.troubles),
    )


def follow(run: Path, *, seconds: float = 1.0) -> Iterator[RunState]:
    """Yield where a run stands whenever something new was measured, until nobody works on it any more.

    Args:
        run: the run folder; of a run that does not go on, its last state is all there is.
        seconds: between two looks at the folder.

    Raises:
        RunInvalid: there is no run at this path, or it ended before anything was measured.
    """
    folder, seen = RunFolder.open(run), (-1, -1)
    while True:
        is_running = folder.is_running
        about = folder.record.stat() if folder.record.exists() else None
        mark = (about.st_size, about.st_mtime_ns) if about is not None else (0, 0)
        if mark != seen or not is_running:
            seen = mark
            try:
                yield read_state(run)
            except RunInvalid:  # nothing was measured yet
                if not is_running:
                    raise
        if not is_running:
            return
        time.sleep(seconds)


def _curves(evidence: Evidence) -> Iterator[Curve]:
    for name, places in evidence.readings.items():
        series = places.get("")
        if series is not None and len(series) and not name.startswith(("final/", *MEASURED)):
            values = series.values
            yield Curve(name, course(values.tolist()), float(values[0]), float(values[-1]))


def course(values: Sequence[float], width: int = COURSE) -> str:
    """Draw finite values as bars, each the mean of a stretch, from the lowest to the highest.

    >>> course([0.0, 1.0, 2.0, 7.0]), course([3.0, 3.0]), course([0.0] * 50 + [1.0] * 50, width=4)
    ('▁▂▃█', '▁▁', '▁▁██')
    """
    parts = [float(np.mean(part)) for part in np.array_split(np.array(values), min(width, len(values)))]
    low, high = min(parts), max(parts)
    steps = [round((len(BARS) - 1) * (part - low) / (high - low)) if high > low else 0 for part in parts]
    return "".join(BARS[step] for step in steps)


def _layer(name: str, readings: History) -> Layer:
    def last(measure: str) -> float | None:
        series: Series | None = readings.get(measure, {}).get(name)
        return float(series.values[-1]) if series is not None and len(series) else None

    return Layer(name, **{column: last(measure) for column, measure in COLUMNS.items()})


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    if column in SHARES:
        return f"{100 * value:.1f} %"
    if column == "step":
        return f"{value:.1e}"
    return f"{value:.3g}" if value == 0 or 1e-3 <= math.fabs(value) < 1e5 else f"{value:.1e}"


def _picked(count: int, most: int | None) -> set[int]:
    """Return which of so many rows are shown: all, or of too many some from the first to the last."""
    if most is None or count <= most:
        return set(range(count))
    return set(np.linspace(0, count - 1, most).round().astype(int).tolist())


def _cut(text: str, longest: int) -> str:
    """Cut the middle out of a long text.

    >>> _cut("layer3.17.conv2", 9)
    'laye…onv2'
    """
    if len(text) <= longest:
        return text
    tail = (longest - 1) // 2
    return f"{text[: longest - 1 - tail]}…{text[-tail:]}"
