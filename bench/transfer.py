"""What a solved head on frozen features costs and gives beside fine-tuning everything, both by `trainwell fit --from`.

    python bench/transfer.py --cases photos,cifar,mnist

Three sets of at most 5,000 images: 700 photographs and 1,000 MNIST images from the published CIFAR ResNet-20, and
5,000 CIFAR images of five classes from a ResNet-20 that `trainwell fit` has trained on the other five, at 16x16. Each
run is a process of its own on one thread; seconds count from its start to the page, and inside it without the start of
Python and the page. Accuracies are those on test, the same images for both ways of a seed; how far they lie apart
stands on these images one by one where there is a single seed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from defaults import average, unpacked
from harness import DATA, Figure, figure, machine, not_run, parser, ratio, write_result
from safetensors.numpy import load_file

PUBLISHED = DATA / "resnet20-12fca82f.th"
SOURCE_CLASSES = ("airplane", "bird", "deer", "frog", "ship")
PRETRAIN = "--model resnet20 --image-size 16 --minutes 2"  # at 32x32 it would see each image but once
WAYS = ("features", "full")
MOST_TIME, MOST_LOSS = 0.1, 0.5  # times the seconds of full; points of accuracy
TARGET = f"features in <= {MOST_TIME:g}x the seconds of full, at most {MOST_LOSS:g} point less accurate"


@dataclass(frozen=True)
class Case:
    """A set and where its network comes from.

    Attributes:
        make: (folder to write into, images a class) -> what `fit` is given.
        each: images a class to train and validate on.
        is_published: whether the source is the published ResNet-20; else one trained on the other CIFAR classes.
        seeds: at most.
    """

    make: Callable[[Path, int], Path]
    each: int
    is_published: bool
    seeds: int


def photos(place: Path, each: int) -> Path:
    """Return all photographs; a fifth of them are test, drawn by the seed."""
    return unpacked("photos")


def mnist(place: Path, each: int) -> Path:
    """Return a folder of links to MNIST images: some of each class to train on, and 200 of each to test with."""
    return linked(unpacked("mnist"), place, tuple("0123456789"), {"train": each, "test": 200})


def cifar(place: Path, each: int) -> Path:
    """Return a folder of links to CIFAR images of the classes that the source has not seen."""
    whole = unpacked("cifar10")
    names = sorted({path.name for path in (whole / "train").iterdir()} - set(SOURCE_CLASSES))
    return linked(whole, place, tuple(names), {"train": each, "test": each})


CASES = {
    "photos": Case(photos, 0, True, 3),
    "mnist": Case(mnist, 100, True, 3),
    "cifar": Case(cifar, 1_000, False, 1),
}


def linked(whole: Path, place: Path, classes: tuple[str, ...], counts: dict[str, int]) -> Path:
    """Return a folder of links to some images of each class of train and test, evenly over their names."""
    for split, count in counts.items():
        for name in classes:
            files = sorted((whole / split / name).iterdir())
            chosen = files[:: max(1, len(files) // count)][:count]
            (place / split / name).mkdir(parents=True)
            for file in chosen:
                os.symlink(file.resolve(), place / split / name / file.name)
    return place


def fit(source: Path, out: Path, *words: str) -> dict[str, Any]:
    """Run the command line in a fresh process on one thread; seconds count from its start to its end."""
    line = [sys.executable, "-m", "trainwell", "fit", str(source), *words, "--set", "machine.threads=1", "--json"]
    start = time.perf_counter()
    done = subprocess.run([*line, "--out", str(out)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(line)} failed:\n{done.stdout}\n{done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    ends = [json.loads(text) for text in (out / "timing.jsonl").read_text("utf-8").splitlines()]
    found = {
        "test": said["test_accuracy"],
        "interval": said["metrics"]["accuracy"],
        "epochs": said["epochs"],
        "seconds": seconds,
        "inside": [line["seconds"] for line in ends if "finished" in line][-1],
    }
    print(" ".join(words), found, flush=True)
    return found


def right(run: Path) -> np.ndarray:
    """Return which test samples a run gets right."""
    held = load_file(run / "predictions.safetensors")
    return held["test/probabilities"].argmax(axis=1) == held["test/targets"]


def apart(gains: list[np.ndarray]) -> Figure:
    """Return the points by which features are ahead of full: over the seeds, or over the samples of a single one."""
    if len(gains) > 1:
        found = average([float(each.mean()) for each in gains])
        return Figure(found.median, found.low, found.high, "points (mean, t interval over seeds)")
    middle, error = float(gains[0].mean()), float(gains[0].std(ddof=1)) / len(gains[0]) ** 0.5
    ends = (100 * (middle + side * 1.96 * error) for side in (0, -1, 1))
    return Figure(*ends, "points (normal interval over test samples)")


def pretrain(folder: Path, words: tuple[str, ...]) -> tuple[Path, dict[str, Any]]:
    """Train a network on the other half of the CIFAR classes by the command line."""
    half = linked(unpacked("cifar10"), folder / "half", SOURCE_CLASSES, {"train": 5_000, "test": 1_000})
    return folder / "source", fit(half, folder / "source", *words)


def measure(name: str, case: Case, asked: Any, folder: Path) -> None:
    """Measure a case: both ways in turn with each seed."""
    facts, extra = machine(), {"words of full": asked.full, "words of the source": asked.pretrain}
    source: Path = PUBLISHED
    if not case.is_published:
        source, extra["source"] = pretrain(folder, tuple(asked.pretrain.split()))
    data = case.make(folder / "data", asked.each or case.each)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    gains = []
    for seed in range(min(case.seeds, asked.seeds)):
        for way in WAYS if seed % 2 == 0 else reversed(WAYS):
            words = ["--from", str(source), "--transfer", way, "--seed", str(seed)]
            words += asked.full.split() if way == "full" else []
            runs[way].append({"seed": seed, **fit(data, folder / f"{way}-{seed}", *words)})
        both = [right(folder / f"{way}-{seed}").astype(float) for way in WAYS]
        gains.append(both[0] - both[1])
    figures: dict[str, Figure] = {}
    for way, found in runs.items():
        figures[f"{way}, seconds of the process"] = figure([run["seconds"] for run in found], "s")
        figures[f"{way}, seconds inside"] = figure([run["inside"] for run in found], "s")
        figures[f"{way}, test accuracy"] = accuracy(found)
    times = {part: ratio(*([run[part] for run in runs[way]] for way in WAYS)) for part in ("seconds", "inside")}
    figures |= {"features/full, process": times["seconds"], "features/full, inside": times["inside"]}
    figures["features ahead of full"] = apart(gains)
    lost = -100 * mean(float(gain.mean()) for gain in gains)
    is_reached = times["seconds"].median <= MOST_TIME and lost <= MOST_LOSS
    more = {"runs": runs, **extra}
    write_result(
        f"transfer-{name}", figures=figures, n=len(gains), target=TARGET, reached=is_reached, facts=facts, more=more
    )


def accuracy(runs: list[dict[str, Any]]) -> Figure:
    """Return the accuracy over seeds with its interval, or that of a single run with its own."""
    if len(runs) > 1:
        return average([run["test"] for run in runs])
    ends = (100 * runs[0]["interval"][key] for key in ("value", "low", "high"))
    return Figure(*ends, "% (interval of one run)")


def main() -> None:
    """Measure the cases asked for, one result each."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--cases", default=",".join(CASES))
    arguments.add_argument("--seeds", type=int, default=3, help="at most; the CIFAR case has one")
    arguments.add_argument("--each", type=int, default=None, help="images a class, where a set is drawn")
    arguments.add_argument("--full", default="", help="further words for full, such as '--epochs 10'")
    arguments.add_argument("--pretrain", default=PRETRAIN, help="words for the source of the CIFAR case")
    arguments.add_argument("--keep", type=Path, default=None, help="a new folder in which the runs shall stay")
    asked = arguments.parse_args()
    if not PUBLISHED.exists():
        not_run(f"{PUBLISHED} is not there: set TRAINWELL_DATA")
    for name in asked.cases.split(","):
        with tempfile.TemporaryDirectory() as folder:
            measure(name, CASES[name], asked, asked.keep / name if asked.keep else Path(folder))


if __name__ == "__main__":
    main()
