"""One measurement of an experiment, an arm with a seed: read from the cache, or measured now and stored.

Whatever was measured before it in the process leaves no trace in it: random states, threads and number type are set
anew for each, so its numbers are a function of experiment, arm and seed.
"""

import inspect
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainwell.core.own_code import settle_files, sha256
from trainwell.core.shelves import experiments
from trainwell.errors import RunInvalid
from trainwell.lab import data
from trainwell.lab.cache import cache_folder, code_identity, digest, read_entry, write_entry
from trainwell.lab.experiment import Experiment, Values


@dataclass(frozen=True)
class Pair:
    """An arm of an experiment with a seed: all that a worker is told.

    >>> print(Pair("ten_layers", "tanh", 3))
    ten_layers, arm tanh, seed 3
    """

    experiment: str
    arm: str
    seed: int
    is_quick: bool = False

    def __str__(self) -> str:
        return f"{self.experiment}, arm {self.arm}, seed {self.seed}"


@dataclass(frozen=True)
class Measured:
    """What came of a pair.

    Attributes:
        values: name -> number or curve; empty where it failed.
        seconds: that measuring took, when it was measured.
        is_cached: whether it was read.
        fault: why it failed, in words; empty where it did not.
        remarks: what a person should hear.
    """

    values: Values = field(default_factory=dict)
    seconds: float = 0.0
    is_cached: bool = False
    fault: str = ""
    remarks: tuple[str, ...] = ()


@cache
def experiment_of(name: str) -> Experiment:
    """Return an experiment of the shelf.

    Raises:
        NameUnknown: there is none of that name.
    """
    built = experiments.build(name)
    assert isinstance(built, Experiment), f"{name} builds an Experiment"
    return built


def load_files(files: Sequence[str]) -> None:
    """Import the user's own files, whose experiments then stand on the shelf.

    Raises:
        ModelInvalid: a file is missing, cannot be imported, or puts nothing on any shelf.
    """
    place = cache_folder() / "code"
    place.mkdir(parents=True, exist_ok=True)
    settle_files(dict.fromkeys(files, ""), place)


def start_worker(files: Sequence[str]) -> None:
    """Make a new process ready: one thread, the user's own files, and an end without words when it is told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    load_files(files)


def read(pair: Pair) -> Measured | None:
    """Return what was measured before, or None; a damaged entry is none, and that is said in `remarks` of no values."""
    path, key = _place(pair)
    try:
        content = read_entry(path, key)
    except ValueError as damage:
        return Measured(remarks=(f"the stored numbers of {pair} are measured again: {path} {damage}",))
    return None if content is None else Measured(content["values"], content["seconds"], is_cached=True)


def measure(pair: Pair) -> Measured:
    """Measure a pair now and store what comes of it; a failure is returned in words, never raised."""
    begun = time.perf_counter()
    try:
        experiment = experiment_of(pair.experiment)
        with _same_process(pair.seed):
            values = as_plain(experiment.measure(experiment.arms[pair.arm], pair.seed, pair.is_quick))
    except Exception as error:  # one pair must not take the others with it
        return Measured(fault=f"{pair}: {type(error).__name__}: {error}", seconds=time.perf_counter() - begun)
    seconds = round(time.perf_counter() - begun, 3)
    path, key = _place(pair)
    try:
        write_entry(path, key, {"values": values, "seconds": seconds})
    except RunInvalid as error:  # it was measured, if only for now
        return Measured(values, seconds, remarks=(str(error),))
    return Measured(values, seconds)


def as_plain(values: Values) -> dict[str, float | list[float]]:
    """Return numbers and curves as plain floats, whatever arrays or tensors they came in.

    Raises:
        TypeError: something is neither a number nor a curve (T,).

    >>> as_plain({"deviation": np.float32(0.5), "curve": torch.ones(2)})
    {'deviation': 0.5, 'curve': [1.0, 1.0]}
    """
    if not isinstance(values, Mapping) or not values:
        raise TypeError(f"measure must return a mapping of names to numbers or curves, got {values!r:.80}")
    plain: dict[str, float | list[float]] = {}
    for name, value in values.items():
        array = np.asarray(value, dtype=np.float64)
        if array.ndim > 1:
            raise TypeError(f"measure must return numbers or curves (T,), got {name} of shape {array.shape}")
        plain[str(name)] = array.tolist()
    return plain


@contextmanager
def _same_process(seed: int) -> Iterator[None]:
    """Lend a process that looks the same to every pair, and give back what it looked like."""
    threads, number_type = torch.get_num_threads(), torch.get_default_dtype()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.set_num_threads(1)
            torch.set_default_dtype(torch.float32)
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(number_type)
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def _place(pair: Pair) -> tuple[Path, dict[str, Any]]:
    """Return the file of a pair in the cache and the key of what belongs there."""
    experiment = experiment_of(pair.experiment)
    key = {
        "experiment": pair.experiment,
        "arm": pair.arm,
        "settings": experiment.arms[pair.arm],
        "seed": pair.seed,
        "is_quick": pair.is_quick,
        "source": _source(pair.experiment),
        "code": code_identity(),
        "data": {name: data.fingerprint(name) for name in experiment.needs},
    }
    return cache_folder() / "pairs" / pair.experiment / f"{digest(key)[:32]}.json", key


@cache
def _source(name: str) -> list[str]:
    """Return the SHA-256 of the files that hold an experiment and its measure."""
    builder, measured = experiments[name].builder, experiment_of(name).measure
    files = {inspect.getsourcefile(inspect.unwrap(function)) for function in (builder, measured)}
    return sorted(sha256(Path(file)) for file in files if file is not None)
