"""How good a classifier gets in equal time: trainwell first, then every peer on the very pixels that it trained on."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from environments import interpreter
from export import export
from harness import DATA

from trainwell.core.recipe import Recipe

HERE = Path(__file__).parent
SOURCES = Path(__file__).parents[2] / "src"
LEAST_SECONDS = 900  # that a peer may take before it is given up, beside three times its budget
SAME_NET = ("plain", "lightning", "skorch")  # they train trainwell's network

Outcome = dict[str, Any]


def folder_of(name: str, cache: Path) -> Path:
    """Return a data folder: below $TRAINWELL_DATA, or unpacked from the archive that lies there."""
    if (DATA / name).is_dir():
        return DATA / name
    if not (cache / name / "done").exists():
        with tarfile.open(DATA / f"{name}.tar.xz") as archive:
            archive.extractall(cache / name, filter="data")
        (cache / name / "done").touch()
    return cache / name / name


def play(part: str, source: str, minutes: float, peer: str, work: Path, *, seed: int, options: Namespace) -> Outcome:
    """Train one peer on a source for so many minutes; return what it gave, or why it gave nothing.

    Args:
        part: names the folder in `work` that holds trainwell's runs and the data that were made from them.
        source: a data folder's name.
        minutes: from the start of its process.
        peer: who; those that are not trainwell get the data of its last run with this seed.
        work: where it lies.
        seed: of split, weights and order.
        options: `lr` and `limit` of the command line.
    """
    run, data = work / part / f"run-{seed}", work / part / f"data-{seed}.npz"
    if peer == "trainwell":
        folder = folder_of(source, work)
        outcome = guarded(lambda: of_trainwell(folder, run, minutes, seed))
        if "not_run" not in outcome:
            data.with_suffix(".txt").write_text(export(run, data))
    elif not data.exists():
        outcome = {"not_run": "trainwell has not run, from whose data the peers' are made"}
    else:
        net = f"trainwell:{Recipe.from_file(run / 'recipe.yaml').model}"
        words = ["--minutes", str(minutes), "--seed", str(seed), *asked(peer, net, options)]
        outcome = guarded(lambda: of_peer(peer, data, minutes, words))
    held = data.with_suffix(".txt").read_text() if data.exists() else ""
    outcome |= {"minutes": minutes, "data": held, "load": round(os.getloadavg()[0], 2)}
    print(part, peer, json.dumps(outcome), flush=True)
    return outcome


def guarded(work: Any) -> Outcome:
    """Return what work gives, or why it gave nothing."""
    try:
        given: Outcome = work()
    except (subprocess.SubprocessError, RuntimeError) as error:
        return {"not_run": str(error)[-2000:]}
    return given


def of_trainwell(folder: Path, run: Path, minutes: float, seed: int, *, more: Sequence[str] = ()) -> Outcome:
    """Run `trainwell fit FOLDER --minutes M` with `more` words, everything else automatic."""
    shutil.rmtree(run, ignore_errors=True)
    words = ["-m", "trainwell", "fit", str(folder), "--minutes", str(minutes), "--seed", str(seed), *more]
    said, seconds = finished([sys.executable, *words, "--json", "--out", str(run)], minutes)
    recipe = Recipe.from_file(run / "recipe.yaml")
    count = sum(json.loads((run / "data.json").read_text())["counts"]["test"].values())
    return {
        "seconds": round(seconds, 2),
        "correct": round(said["test_accuracy"] * count),
        "count": count,
        "epochs": said["epochs"],
        "precision": recipe.machine.precision,
        "net": str(recipe.model),
        "batch": recipe.batch.size,
    }


def asked(peer: str, net: str, options: Namespace) -> list[str]:
    """Return what a peer's script is asked for beside its data and time."""
    words = ["--net", net] if peer in SAME_NET else []
    if options.lr and peer in SAME_NET:
        words += ["--lr", str(options.lr)]
    return words + (["--limit", str(options.limit)] if options.limit else [])


def of_peer(peer: str, data: Path, minutes: float, words: list[str]) -> Outcome:
    """Run a peer's script in its environment."""
    command = [str(interpreter(peer)), str(HERE / f"{peer}_peer.py"), "accuracy", "--data", str(data), *words]
    said, _ = finished([*command, "--started", str(time.time())], minutes)
    return said


def finished(command: list[str], minutes: float) -> tuple[Outcome, float]:
    """Run a command and return the JSON object on its last line, and the seconds it took.

    Raises:
        RuntimeError: it failed; with the end of what it said.
        TimeoutExpired: it took far longer than its budget.
    """
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    begun = time.perf_counter()
    limit = LEAST_SECONDS + 180 * minutes
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=limit)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {(done.stderr or done.stdout)[-1500:]}")
    said: Outcome = json.loads(done.stdout.strip().splitlines()[-1])
    return said, seconds
