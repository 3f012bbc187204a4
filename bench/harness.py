"""Measure two ways side by side and keep the result: interleaved pairs, an interval, machine facts, one JSON file.

Both ways run in turn, so that whatever else the machine does falls on both. A claim is the ratio of the
medians with its bootstrap interval; the parts are kept too.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("TRAINWELL_DATA", Path(__file__).parents[1] / "../shared/data"))
PACKAGES = ("torch", "numpy", "pillow", "simplejpeg")


@dataclass(frozen=True)
class Figure:
    """One measured quantity: its median with the ends of a 95 % interval, unless `unit` says otherwise."""

    median: float
    low: float
    high: float
    unit: str


def interleave(ways: dict[str, Callable[[], float]], pairs: int) -> dict[str, list[float]]:
    """Call each way `pairs` times in turn, the order reversed every other time; return what each gave."""
    values: dict[str, list[float]] = {name: [] for name in ways}
    for pair in range(pairs):
        for name in list(ways) if pair % 2 == 0 else reversed(list(ways)):
            values[name].append(ways[name]())
        shown = ", ".join(f"{name} {given[-1]:.4g}" for name, given in values.items())
        print(f"pair {pair + 1}/{pairs}: {shown}", flush=True)
    return values


def figure(values: Sequence[float], unit: str) -> Figure:
    """Return the median of values with its bootstrap interval."""
    low, high = _interval([statistics.median(picked) for picked in _resamples(values)])
    return Figure(statistics.median(values), low, high, unit)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Return the ratio of the medians of interleaved pairs; the bootstrap draws whole pairs."""
    pairs = list(zip(ours, theirs, strict=True))
    ratios = [
        statistics.median(a for a, _ in picked) / statistics.median(b for _, b in picked)
        for picked in _resamples(pairs)
    ]
    low, high = _interval(ratios)
    return Figure(statistics.median(ours) / statistics.median(theirs), low, high, "times")


def _resamples(values: Sequence[Any], count: int = 10_000) -> list[list[Any]]:
    chance = random.Random(0)
    return [chance.choices(values, k=len(values)) for _ in range(count)]


def _interval(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered))]


def machine() -> dict[str, Any]:
    """Return what was measured on, and what else it was doing."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that speed depends on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def write_result(
    name: str,
    *,
    figures: dict[str, Figure],
    n: int,
    target: str,
    reached: bool,
    facts: dict[str, Any],
    more: dict[str, Any] | None = None,
) -> Path:
    """Print a result and write it to `bench/results/<name>-<date>.json`.

    Args:
        name: of the benchmark.
        figures: what was measured.
        n: interleaved pairs.
        target: what was promised, in words.
        reached: whether it was kept.
        facts: `machine()` as it was before the first measurement.
        more: anything else a reader needs, such as a peer's versions.
    """
    now = datetime.now(UTC)
    result = {
        "name": name,
        "machine": facts,
        "versions": versions(),
        "date": now.isoformat(timespec="seconds"),
        "n": n,
        "figures": {key: asdict(value) for key, value in figures.items()},
        "target": target,
        "reached": reached,
        **(more or {}),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{now:%Y-%m-%d}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=2) + "\n")
    part.replace(path)
    for key, value in figures.items():
        print(f"{key}: {value.median:.4g} {value.unit} ({value.low:.4g} to {value.high:.4g})")
    print(f"target: {target}: {'reached' if reached else 'NOT reached'}\nwritten: {path}")
    return path


def parser(text: str) -> argparse.ArgumentParser:
    """Return an argument parser with what every benchmark takes."""
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--pairs", type=int, default=9, help="interleaved pairs")
    return made


def not_run(reason: str) -> None:
    """Say that a benchmark cannot run here, and leave."""
    print(f"not run: {reason}")
    sys.exit(0)
