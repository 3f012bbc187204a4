"""How good the suggestion of the range test is: trained with it, beside the best of a grid of rates.

Each case is a set, a network and an optimizer, trained with the schedule that `auto` takes for as long as a quick first
run. For every seed the range test runs once, and the network is trained from the same first weights with the suggested
rate and with each rate of a grid of half decades; the score is the accuracy on val, a half of the data or two fifths,
averaged over the seeds. A case is reached where the suggestion is at most one percent of accuracy below the best of the
grid, whose winner has luck on its side. A test that gives no answer has not reached it. The constants of the rule were
set on the cases named as tuned, the others took no part in it. One process, one thread.

    python bench/lr_find.py --cases digits/mlp/sgd,mnist/mlp/adamw
"""

import os
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from harness import DATA, Figure, machine, parser, write_result
from PIL import Image
from sklearn.datasets import load_breast_cancer

import trainwell as tw
from trainwell.core.batch import Splits
from trainwell.core.record import Record
from trainwell.recipes.auto import auto
from trainwell.train.build import build, fit_preprocessing
from trainwell.train.events import Events
from trainwell.train.execute import ready
from trainwell.train.folder import RunFolder
from trainwell.train.loop import Loop
from trainwell.train.progress import Progress
from trainwell.train.range_found import judge
from trainwell.train.range_test import sweeps
from trainwell.train.reporter import Silence
from trainwell.train.run import Given
from trainwell.train.snapshot import Alarm

CACHE = Path(os.environ.get("TRAINWELL_BENCH", Path.home() / ".cache" / "trainwell-bench"))
IMAGES = Path(os.environ.get("TRAINWELL_IMAGES", DATA))  # folders mnist and cifar10, each with train/CLASS/
GRIDS = {"sgd": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0), "adamw": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)}
WITHIN, SHARE = 0.01, 0.9


@dataclass(frozen=True)
class Case:
    """A set, a network and how long it is trained.

    Attributes:
        source: as `fit` takes it; `images`: a set of images and how many of each class, where it is one.
        model, optimizer: as one writes them; `grid`: of rates.
        is_tuned: whether the rule was tuned on it.
    """

    source: str
    model: str
    optimizer: str
    epochs: int
    batch: int
    is_tuned: bool
    val: float = 0.5


TABLE, MNIST, CIFAR = "tumours.npz", "mnist-14.npz", "cifar-16.npz"
SETS = {  # name: source, network, epochs, batch, share of val, optimizers, whether tuned
    "digits/mlp": ("digits", "mlp:hidden=[64]", 10, 32, 0.5, ("sgd", "adamw"), True),
    "digits/convnet": ("digits", "convnet:width=8", 6, 32, 0.5, ("sgd", "adamw"), True),
    "digits/logistic": ("digits", "logistic", 10, 32, 0.5, ("sgd", "adamw"), True),
    "spirals/mlp": ("points:kind=spirals,samples=3000", "mlp:hidden=[32,32]", 15, 64, 0.5, ("sgd", "adamw"), True),
    "moons/tanh": (
        "points:kind=moons,samples=2000,noise=0.2",
        "mlp:hidden=[16],activation=tanh",
        *(10, 32, 0.5, ("sgd", "adamw"), True),
    ),
    "table/mlp": (TABLE, "mlp:hidden=[32]", 15, 16, 0.5, ("sgd", "adamw"), True),
    "table/logistic": (TABLE, "logistic", 15, 16, 0.5, ("sgd", "adamw"), True),
    "cifar/logistic": (CIFAR, "logistic", 6, 64, 0.4, ("sgd", "adamw"), True),
    "mnist/mlp": (MNIST, "mlp:hidden=[64]", 8, 32, 0.5, ("sgd", "adamw"), False),
    "mnist/logistic": (MNIST, "logistic", 8, 32, 0.5, ("sgd", "adamw"), False),
    "mnist/convnet": (MNIST, "convnet:width=8", 3, 32, 0.5, ("sgd", "adamw"), False),
    "digits/resnet": ("digits", "cifar_resnet:depth=8", 3, 32, 0.5, ("sgd", "adamw"), True),
    "cifar/convnet": (CIFAR, "convnet:width=8", 6, 64, 0.4, ("sgd", "adamw"), True),
    "cifar/mlp": (CIFAR, "mlp:hidden=[64]", 6, 64, 0.4, ("sgd", "adamw"), False),
    "digits/deep": ("digits", "mlp:hidden=[32,32,32,32,32]", 10, 32, 0.5, ("sgd", "adamw"), True),
    "circles/gelu": (
        "points:kind=circles,samples=2000",
        "mlp:hidden=[24],activation=gelu",
        *(10, 32, 0.5, ("sgd", "adamw"), False),
    ),
    "ring/mlp": ("points:kind=ring,samples=2000", "mlp:hidden=[24,24]", 10, 32, 0.5, ("sgd", "adamw"), False),
    "xor/mlp": ("points:kind=xor,samples=2000", "mlp:hidden=[8]", 10, 32, 0.5, ("sgd", "adamw"), False),
}
OPTIMIZERS = {"sgd": "sgd:momentum=0.9,weight_decay=0.0005", "adamw": "adamw"}
CASES = {
    f"{name}/{optimizer}": Case(source, model, optimizer, epochs, batch, is_tuned, val)
    for name, (source, model, epochs, batch, val, optimizers, is_tuned) in SETS.items()
    for optimizer in optimizers
}


def place_of(source: str) -> str:
    """Return what `fit` takes for a source, made once where it is a file of the cache."""
    if not source.endswith(".npz"):
        return source
    path = CACHE / source
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        if source == TABLE:
            x, y = load_breast_cancer(return_X_y=True)
            np.savez(path, x=x.astype(np.float32), y=y)
        else:
            folder, mode, side, each = ("mnist", "L", 14, 200) if source == MNIST else ("cifar10", "RGB", 16, 300)
            save_small(IMAGES / folder / "train", path, mode=mode, side=side, each=each)
    return str(path)


def save_small(folder: Path, path: Path, *, mode: str, side: int, each: int) -> None:
    """Save the first images of each class of a folder, made smaller."""
    images, labels = [], []
    for label, name in enumerate(sorted(entry.name for entry in folder.iterdir() if entry.is_dir())):
        for file in sorted((folder / name).iterdir())[:each]:
            images.append(np.asarray(Image.open(file).convert(mode).resize((side, side), Image.Resampling.BOX)))
            labels.append(label)
    np.savez(path, x=np.stack(images), y=np.array(labels))


def recipe_of(case: Case, seed: int) -> tw.Recipe:
    """Return the recipe of a case, as `fit` would make it of the same words."""
    place = place_of(case.source)
    is_file = place.endswith(".npz")
    source = {"data.source": "arrays" if is_file else place, "data.location": place if is_file else ""}
    values = {
        "model": case.model,
        "optimizer": OPTIMIZERS[case.optimizer],
        "length.epochs": case.epochs,
        "batch.size": case.batch,
        "augmentation": [],
        "probes": [],
        "seed": seed,
        "data.val_fraction": case.val,
        "data.test_fraction": 0.0,
        "machine.threads": 1,
        "machine.precision": "float32",
    }
    return tw.Recipe().with_values({**source, **values})


def measure(case: Case, seed: int) -> dict[str, Any]:
    """Return the suggestion, and the accuracy on val with it and with each rate of the grid."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as files:
        folder = RunFolder.create(Path(place) / "run")
        job, prepared = ready(
            folder,
            recipe_of(case, seed),
            Given(),
            decide=auto,
            reporter=Silence(),
            begun=time.perf_counter(),
            is_stopped=lambda: False,
            files=files,
        )
        fitted = fit_preprocessing(job.recipe, prepared)

        def accuracy(lr: float) -> float:
            fresh = build(job.recipe.with_values({"optimizer.lr": lr}), prepared, fitted)
            val, fresh.loaders = fresh.loaders.val, Splits(fresh.loaders.train, None, None)
            assert val is not None
            with tempfile.TemporaryDirectory() as aside:
                own = RunFolder.create(Path(aside) / "run")
                with closing(Record(own.record)) as record, closing(Events(own)) as events:
                    loop = Loop(fresh, Progress(fresh.epochs, 1), record=record, events=events, reporter=Silence())
                    try:
                        loop.run()
                    except Alarm:
                        return 0.0
                    return loop.evaluate(val).score

        start = time.process_time()
        names = {"optimizer": case.optimizer, "schedule": str(job.recipe.schedule)}
        found = judge(sweeps(job, folder), total_steps=job.total_steps, **names)
        seconds = time.process_time() - start
        start = time.process_time()
        suggested = None if found.suggestion is None else accuracy(found.suggestion)
        return {
            "suggestion": found.suggestion,
            "good": found.good,
            "reason": found.reason,
            "accuracy": suggested,
            "test_seconds": round(seconds, 2),
            "run_seconds": round(time.process_time() - start, 2),
            "grid": {str(lr): accuracy(lr) for lr in GRIDS[case.optimizer]},
        }


def judged(case: Case, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the gap between the best of the grid and the suggestion, means over seeds."""
    grid = {rate: mean(one["grid"][rate] for one in found) for rate in found[0]["grid"]}
    best = max(grid, key=grid.__getitem__)
    scores = [one["accuracy"] for one in found]
    score = None if None in scores else mean(scores)
    gap = None if score is None else grid[best] - score
    return {
        "is_tuned": case.is_tuned,
        "best_rate": float(best),
        "best": grid[best],
        "suggested": score,
        "gap": gap,
        "is_reached": gap is not None and gap <= WITHIN,
        "good_rates_of_the_grid": [float(rate) for rate in grid if grid[rate] >= grid[best] - WITHIN],
        "seeds": found,
    }


def main() -> None:
    """Measure the cases asked for and write one result."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--cases", default=",".join(CASES))
    arguments.add_argument("--seeds", type=int, default=4)
    asked = arguments.parse_args()
    facts, begun, cpu = machine(), time.perf_counter(), time.process_time()
    rows: dict[str, dict[str, Any]] = {}
    for name in asked.cases.split(","):
        case = CASES[name]
        rows[name] = judged(case, [measure(case, seed) for seed in range(asked.seeds)])
        row = rows[name]
        rates = [one["suggestion"] for one in row["seeds"]]
        gap = "no answer" if row["gap"] is None else f"{100 * row['gap']:+.2f} % below the best"
        print(f"{name}: suggested {rates}, {gap} ({row['best_rate']:g}: {100 * row['best']:.2f} %)", flush=True)
    shares = {
        "all cases": list(rows.values()),
        "cases that the rule was not tuned on": [row for row in rows.values() if not row["is_tuned"]],
    }
    figures = {}
    for name, chosen in shares.items():
        reached = sum(row["is_reached"] for row in chosen)
        share = 100 * reached / len(chosen) if chosen else 0.0
        figures[f"reached, {name}"] = Figure(share, share, share, f"% ({reached} of {len(chosen)}, no interval)")
    every = [one for row in rows.values() for one in row["seeds"] if one["run_seconds"]]
    cost = sorted(one["test_seconds"] / one["run_seconds"] for one in every)
    middle, low, high = cost[len(cost) // 2], cost[0], cost[-1]
    figures["range test over one run"] = Figure(middle, low, high, "times (median, least and most)")
    write_result(
        "lr-find",
        figures=figures,
        n=asked.seeds,
        target=f"within {100 * WITHIN:g} % of the best of a grid in {100 * SHARE:g} % of cases",
        reached=figures["reached, all cases"].median >= 100 * SHARE,
        facts=facts,
        more={
            "seconds": round(time.perf_counter() - begun, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "grids": GRIDS,
            "cases": rows,
        },
    )


if __name__ == "__main__":
    main()
