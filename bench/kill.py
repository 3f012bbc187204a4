"""Kill a run without warning at many moments, resume it, and compare every bit with a run that was left alone.

python bench/kill.py [--kills 20]
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from harness import Figure, machine, parser, write_result
from PIL import Image
from sklearn.datasets import load_digits

from trainwell.core.recipe import Recipe
from trainwell.data.prepare import DataSpec, prepare
from trainwell.train.checkpoint import load_newest

SETTINGS = (
    "--model convnet:width=8 --epochs 5 --seed 3 --batch-size 32 --image-size 32 --augment shift:pixels=2"
    " --set machine.checkpoint_seconds=0 --set regularization.ema_decay=0.99 --set regularization.patience=4"
).split()
TARGET = "after a SIGKILL at any moment and a resume: weights, record.jsonl and metrics bit-identical, every time"


def make_folder(folder: Path) -> None:
    """Write digits as a folder of PNG files."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        enlarged = Image.fromarray((image * 15.9375).round().astype(np.uint8)).resize(
            (96, 96), Image.Resampling.BICUBIC
        )
        enlarged.save(place / f"{number}.png")


def trainwell(*words: str) -> subprocess.Popen[bytes]:
    """Start the command line in a process of its own."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-m", "trainwell", *words], **quiet)  # type: ignore[call-overload]


def moment(run: Path) -> str:
    """Say what a killed run was doing."""
    if not (run / "recipe.yaml").exists():
        return "before the run folder"
    if not (run / "data.json").exists():
        return "while decoding"
    if not (run / "machine.json").exists():
        return "while resolving"
    if any((run / "checkpoints").glob(".*.new")):
        return "in a checkpoint"
    return "in an epoch or validation" if (run / "record.jsonl").exists() else "while building"


def same(one: Path, other: Path) -> bool:
    """Whether two runs hold the same bits."""
    ours, theirs = load_newest(one / "checkpoints"), load_newest(other / "checkpoints")
    if ours is None or theirs is None or ours.tensors.keys() != theirs.tensors.keys():
        return False
    is_equal = all(torch.equal(tensor, theirs.tensors[name]) for name, tensor in ours.tensors.items())
    return is_equal and (one / "record.jsonl").read_bytes() == (other / "record.jsonl").read_bytes()


def stores_are_equal(folder: Path) -> bool:
    """Whether the decoded samples are the same whatever the number of threads."""
    spec = DataSpec(source="folder", location=str(folder), image_size=32)
    first, *rest = (prepare(spec, seed=3, threads=threads).stores for threads in (1, 2, 5))
    return all(
        torch.equal(getattr(first, split).inputs, getattr(other, split).inputs)
        for other in rest
        for split in ("train", "val", "test")
    )


def main() -> None:
    """Kill, resume, compare, write."""
    options = parser(__doc__ or "")
    options.add_argument("--kills", type=int, default=20)
    kills = options.parse_args().kills
    facts, chance = machine(), random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_folder(place / "digits")
        fit = ("fit", str(place / "digits"), *SETTINGS, "--out")
        begun = time.monotonic()
        assert trainwell(*fit, str(place / "whole")).wait() == 0, "the undisturbed run failed"
        seconds = time.monotonic() - begun
        print(f"undisturbed: {seconds:.1f} s, recipe {Recipe.from_file(place / 'whole/recipe.yaml').id}", flush=True)
        hits, equal = Counter[str](), 0
        for number in range(kills):
            run = place / f"killed-{number}"
            child = trainwell(*fit, str(run))
            while not (run / "recipe.yaml").exists() and child.poll() is None:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, seconds * 0.6))
            os.kill(child.pid, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL, "the run had ended before it was killed"
            what = moment(run)
            hits[what] += 1
            assert trainwell("resume", str(run)).wait() == 0, f"{run} could not be resumed"
            is_same = same(place / "whole", run)
            equal += is_same
            print(f"kill {number + 1}/{kills} {what}: {'same bits' if is_same else 'DIFFERENT'}", flush=True)
        plain = place / "unprobed"
        assert trainwell(*fit, str(plain), "--set", "probes=[]").wait() == 0
        ours, theirs = load_newest(place / "whole/checkpoints"), load_newest(plain / "checkpoints")
        assert ours is not None
        assert theirs is not None
        unprobed = all(torch.equal(tensor, theirs.tensors[name]) for name, tensor in ours.tensors.items())
        threads = stores_are_equal(place / "digits")
    figures = {
        "resumed with the same bits": Figure(equal, equal, equal, f"of {kills} kills"),
        "same weights without probes": Figure(unprobed, unprobed, unprobed, "1 is yes"),
        "same samples with 1, 2 and 5 decode threads": Figure(threads, threads, threads, "1 is yes"),
    }
    reached = equal == kills and unprobed and threads
    write_result(
        "kill", figures=figures, n=kills, target=TARGET, reached=reached, facts=facts, more={"moments": dict(hits)}
    )


if __name__ == "__main__":
    main()
