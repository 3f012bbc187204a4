"""What the automatic recipe is worth: beside one fixed default, on data sets of many kinds.

Each run is a process of its own with one thread; the two ways run side by side, a core each. The fixed default is
what a library could ship for everything: the small ConvNet (an MLP for features), AdamW at 0.001 with a one-cycle
schedule, batches of 128, 30 epochs, no augmentation. `--work` is how many multiply-adds the automatic recipe may take.
No clock decides anything, so a busy machine changes no accuracy.

    python bench/defaults.py --seeds 5 --sets digits,photos
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from harness import DATA, Figure, machine, parser, write_result
from scipy.stats import t as student
from sklearn.datasets import load_breast_cancer

CACHE = Path(os.environ.get("TRAINWELL_BENCH", Path.home() / ".cache" / "trainwell-bench"))
SETS = "digits,cifar-50,cifar-500,cifar-unbalanced,photos,points,table,mnist,cifar"
FIXED = {"optimizer": "adamw", "schedule": "one_cycle", "loss": "cross_entropy", "batch_size": 128, "epochs": 30}
LARGE, WAYS = ("mnist", "cifar"), ("auto", "fixed")
NETS = {"points": "mlp", "table": "mlp"}  # of the fixed default; the others are images
CHILD = """
import json, sys
import trainwell as tw
from trainwell.recipes import work
from trainwell.train.reporter import Silence
source, place, words, most = json.loads(sys.argv[1])
work.MEANT["cpu"] = work.Meant(most, "the bench")
run = tw.fit(source, out=place, reporter=Silence(), **words)
found = run.metrics
print(json.dumps({
    "accuracy": run.test_accuracy, "balanced": found.balanced_accuracy.value, "loss": found.log_loss.value,
    "seconds": run.seconds, "model": str(run.recipe.model), "epochs": run.epochs,
    "augmentation": [str(one) for one in run.recipe.augmentation],
}))
"""


def folder_arrays(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a folder of images of one size, a sub-folder a class."""
    from PIL import Image

    files = sorted(root.glob("*/*"))
    names = sorted({file.parent.name for file in files})
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    return images, np.array([names.index(file.parent.name) for file in files])


def unpacked(name: str) -> Path:
    """Return the folder of a data set, unpacked into the cache once."""
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "xJf", DATA / f"{name}.tar.xz", "-C", CACHE], check=True)
    return folder


def arrays_of(name: str) -> Path:
    """Return an .npz of a folder with train and test, written once."""
    path = CACHE / f"{name}.npz"
    if not path.exists():
        parts = {}
        for split in ("train", "test"):
            parts[f"x_{split}"], parts[f"y_{split}"] = folder_arrays(unpacked(name) / split)
        np.savez(path, **parts)
    return path


def subset(name: str, counts: Callable[[int], int]) -> Path:
    """Return an .npz of CIFAR with so many training images of each class, and its whole test split."""
    path = CACHE / f"{name}.npz"
    if not path.exists():
        whole = np.load(arrays_of("cifar10"))
        chance = np.random.default_rng(0)
        labels = whole["y_train"]
        rows = np.concatenate(
            [chance.permutation(np.flatnonzero(labels == label))[: counts(label)] for label in range(10)]
        )
        np.savez(
            path, x_train=whole["x_train"][rows], y_train=labels[rows], x_test=whole["x_test"], y_test=whole["y_test"]
        )
    return path


def sources() -> dict[str, Callable[[], str]]:
    """Return what `fit` is given for each set."""
    return {
        "digits": lambda: "digits",
        "mnist": lambda: str(arrays_of("mnist")),
        "cifar": lambda: str(arrays_of("cifar10")),
        "cifar-50": lambda: str(subset("cifar-50", lambda label: 50)),
        "cifar-500": lambda: str(subset("cifar-500", lambda label: 500)),
        # From 1,000 of the first class down to 50 of the last, each a constant factor rarer than the one before.
        "cifar-unbalanced": lambda: str(subset("cifar-unbalanced", lambda label: round(1000 * 20 ** (-label / 9)))),
        "photos": lambda: str(unpacked("photos")),
        "points": lambda: "points:kind=spirals",
        "table": lambda: str(table()),
    }


def table() -> Path:
    """Return the table of 569 tumours with 30 float features that scikit-learn carries."""
    path = CACHE / "tumours.npz"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        x, y = load_breast_cancer(return_X_y=True)
        np.savez(path, x=x.astype(np.float32), y=y)
    return path


def run(name: str, way: str, seed: int, work: float) -> dict[str, Any]:
    """Train in a process of its own and return accuracies on the test split, and seconds."""
    words: dict[str, Any] = {"seed": seed}
    if way == "fixed":
        words |= {**FIXED, "model": NETS.get(name, "convnet:width=16"), "set": {"augmentation": []}}
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-c", CHILD, json.dumps([sources()[name](), f"{folder}/run", words, work])]
        one_core = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(line, capture_output=True, text=True, check=True, env=one_core)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(name, way, seed, found, flush=True)
    return found


def average(values: list[float]) -> Figure:
    """Return the mean in percent with its 95 % interval by Student's t."""
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Figure(100 * mean(values), 100 * (mean(values) - half), 100 * (mean(values) + half), "% (mean, t interval)")


def kept(journal: Path, work: float) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the runs of this amount of work that an interrupted measurement has made already."""
    lines = journal.read_text("utf-8").splitlines() if journal.exists() else []
    found = [json.loads(line) for line in lines]
    return {(one["set"], one["way"], one["seed"]): one for one in found if one.get("work") == work}


def main() -> None:
    """Measure every set asked for, and write one result and one table."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--large-seeds", type=int, default=1, help="of MNIST and the whole of CIFAR")
    arguments.add_argument("--jobs", type=int, default=2, help="runs side by side")
    arguments.add_argument("--sets", default=SETS)
    arguments.add_argument("--work", type=float, default=1.6e13, help="multiply-adds of one automatic run")
    asked = arguments.parse_args()
    facts = machine()
    journal = CACHE / "defaults.jsonl"
    CACHE.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    done = kept(journal, asked.work)
    for seed in range(asked.seeds):
        for name in asked.sets.split(","):
            if seed >= (asked.large_seeds if name in LARGE else asked.seeds):
                continue
            ways = [way for way in WAYS if (name, way, seed) not in done]
            with ThreadPoolExecutor(asked.jobs) as pool:
                found = list(pool.map(partial(run, name, seed=seed, work=asked.work), ways))
            done |= {(name, way, seed): one for way, one in zip(ways, found, strict=True)}
            with open(journal, "a", encoding="utf-8") as file:
                for way, one in zip(ways, found, strict=True):
                    file.write(json.dumps({"set": name, "way": way, "seed": seed, "work": asked.work, **one}) + "\n")
            for way in WAYS:
                rows.setdefault(name, {way: [] for way in WAYS})[way].append(done[name, way, seed])
    figures, lines, wins = {}, [], 0
    for name, ways in rows.items():
        by_way = {way: [one["accuracy"] for one in found] for way, found in ways.items()}
        gain = average([ours - theirs for ours, theirs in zip(by_way["auto"], by_way["fixed"], strict=True)])
        for way, values in by_way.items():
            figures[f"{name}, {way}"] = average(values)
        balanced = {way: average([one["balanced"] for one in found]) for way, found in ways.items()}
        figures |= {f"{name}, {way}, balanced accuracy": value for way, value in balanced.items()}
        figures[f"{name}, gain"] = gain
        wins += not gain.high < 0  # one seed has no interval, and shows nothing
        cells = [figures[f"{name}, {way}"] for way in ("auto", "fixed")] + [gain]
        said = " | ".join(f"{cell.median:.2f} ({cell.low:.2f} to {cell.high:.2f})" for cell in cells)
        lines.append(f"| {name} | {said} |")
    print("| set | auto, % | fixed default, % | gain, points |\n|---|---|---|---|")
    print("\n".join(lines))
    write_result(
        "defaults",
        figures=figures,
        n=asked.seeds,
        target="auto is nowhere significantly worse than one fixed default",
        reached=wins == len(rows),
        facts=facts,
        more={"work": asked.work, "fixed": FIXED, "runs": rows},
    )


if __name__ == "__main__":
    main()
