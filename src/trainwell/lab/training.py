"""Training runs for experiments: the real product with every choice of the machine fixed, each run done once.

A run is what `trainwell fit` does, without its page: the recipe is resolved, trained, evaluated, and its record is
kept in the lab's cache under the recipe, the data and the code. Two equal calls give the same bits; the second is read.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainwell.core.choice import Choice
from trainwell.core.recipe import Recipe
from trainwell.core.record import read_readings
from trainwell.data.samples import infer_source
from trainwell.errors import NonFinite, OptionInvalid, did_you_mean
from trainwell.lab import data
from trainwell.lab.cache import cache_folder, code_identity, digest, read_entry, write_entry
from trainwell.recipes.auto import auto
from trainwell.train.execute import execute
from trainwell.train.folder import RunFolder
from trainwell.train.reporter import Silence
from trainwell.train.run import Given, Run

FIXED: Mapping[str, Any] = {
    "machine.device": "cpu",
    "machine.threads": 1,
    "machine.precision": "float32",
    "machine.memory_format": "contiguous",
    "machine.checkpoint_seconds": 1e6,
    "probes": [],
}


@dataclass(frozen=True)
class Training:
    """A finished run as plain numbers; what was not measured is NaN.

    Attributes:
        recipe: resolved, as plain data.
        recipe_id: what equal resolved recipes share.
        membership: SHA-256 of which samples its splits hold.
        val_accuracy, test_accuracy, val_loss, test_loss: of the weights that the run reports.
        steps: optimizer steps that were done, or the one at which it diverged.
        seconds: of the run, when it was trained.
        diverged: why it stopped early, in words, where NaN or Inf appeared; empty for a run that reached its end.
        curves: name, or name@where, -> (steps, values), everything in its record.
    """

    recipe: Mapping[str, Any]
    recipe_id: str
    membership: str
    val_accuracy: float
    test_accuracy: float
    val_loss: float
    test_loss: float
    steps: int
    seconds: float
    diverged: str
    curves: Mapping[str, tuple[list[int], list[float]]]

    def curve(self, name: str, where: str = "") -> NDArray[np.float64]:
        """Return what was measured under a name, in order: `train/loss` (T,), `epoch/train_accuracy`, `val/accuracy`.

        Of a run that diverged, up to its last finite state that was stored, which may be none.

        Raises:
            OptionInvalid: nothing of this name was measured.
        """
        return np.array(self._series(name, where)[1], dtype=np.float64)

    def steps_of(self, name: str, where: str = "") -> NDArray[np.int64]:
        """Return the steps at which it was measured."""
        return np.array(self._series(name, where)[0], dtype=np.int64)

    def _series(self, name: str, where: str) -> tuple[list[int], list[float]]:
        key = f"{name}@{where}" if where else name
        if key not in self.curves and self.diverged:
            return [], []
        if key not in self.curves:
            raise OptionInvalid(f"the run measured no {key!r}{did_you_mean(key, self.curves)}")
        return self.curves[key]


def train(source: str | Mapping[str, Any], *, seed: int, **words: Any) -> Training:
    """Train a run as `trainwell fit` would, or read the one that was trained before.

    Args:
        source: what `fit` takes as a text (`"digits"`, `"points:kind=moons"`) but no path, or `mnist` or `cifar10`; or
            the samples: `{"train": (x, y), "test": (x, y)}`.
        seed: of all randomness.
        **words: fields of the recipe by name: `model="mlp:hidden=[100]"`, `optimizer`, `initialization`, `epochs`,
            `batch_size`, `clip_norm`, `probes=["gradient_norm"]`; or by path, `**{"optimizer.lr": 0.1}`.
            One thread and float32 on the CPU without probes, unless said.

    Raises:
        UserError: something given cannot be used.
    """
    given, values = _source(source)
    recipe = Recipe().with_values({**FIXED, **values, **{_path(word): value for word, value in words.items()}})
    recipe = recipe.with_values({"seed": seed}).validate_shelves()
    key = {"recipe": recipe.to_plain(), "data": _content(given), "code": code_identity()}
    path = cache_folder() / "runs" / f"{digest(key)[:32]}.json"
    try:
        stored = read_entry(path, key)
    except ValueError:  # half of one, or another's: it is trained again
        stored = None
    if stored is None:
        stored = asdict(_train(recipe, given))
        write_entry(path, key, stored)
    return Training(**{**stored, "curves": {name: tuple(series) for name, series in stored["curves"].items()}})


def _train(recipe: Recipe, given: object) -> Training:
    begun = time.perf_counter()
    with _process_as_before(), _folder() as folder:
        folder.write_text(folder.recipe, recipe.to_yaml())
        run, error = None, None
        try:
            run = execute(folder, recipe, Given(given), decide=auto, reporter=Silence())
        except NonFinite as trouble:
            error = trouble
        return _read(folder, run, error, time.perf_counter() - begun)


@contextmanager
def _process_as_before() -> Iterator[None]:
    """Give back the threads and the random state that a run changes."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _folder() -> Iterator[RunFolder]:
    """Lend a run folder below the cache; what is kept of a run is its numbers."""
    place = cache_folder() / "runs"
    place.mkdir(parents=True, exist_ok=True)
    path = Path(mkdtemp(prefix=".running-", dir=place))
    try:
        yield RunFolder.create(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _read(folder: RunFolder, run: Run | None, error: NonFinite | None, seconds: float) -> Training:
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for reading in read_readings(folder.record):
        name = f"{reading.name}@{reading.where}" if reading.where else reading.name
        steps, values = curves.setdefault(name, ([], []))
        steps.append(reading.step)
        values.append(reading.value)
    recipe = Recipe.from_file(folder.recipe)
    numbers = {
        f"{split}_{what}": curves.get(f"final/{split}/{what}", ([], [math.nan]))[1][-1]
        for split in ("val", "test")
        for what in ("accuracy", "loss")
    }
    return Training(
        recipe=recipe.to_plain(),
        recipe_id=recipe.id,
        membership=json.loads(folder.data.read_text("utf-8"))["membership"],
        steps=max((steps[-1] for steps, _ in curves.values()), default=0) if error is None else _step_of(error),
        seconds=round(run.seconds if run is not None else seconds, 3),
        diverged="" if error is None else str(error).partition(". The weights")[0],
        curves=curves,
        **numbers,
    )


def _step_of(error: NonFinite) -> int:
    step = error.report.get("step", 0)
    return step if isinstance(step, int) else 0


def _source(source: str | Mapping[str, Any]) -> tuple[object, dict[str, Any]]:
    """Return samples that are handed over (or None) and the recipe values that name the source."""
    if isinstance(source, str) and source in data.CHANNELS:
        found = data.load(source)
        source = {"train": (found.train, found.train_labels), "test": (found.test, found.test_labels)}
    if not isinstance(source, str):
        return source, {"data.source": "given"}
    inferred = infer_source(source)
    if inferred.location:
        raise OptionInvalid(
            f"an experiment cannot know what changes in {inferred.location}: name a built-in source, mnist or cifar10,"
            ' or hand over the samples, {"train": (x, y), "test": (x, y)}'
        )
    return None, {"data.source": {"name": inferred.name, **Choice.parse(source).options}}


def _content(given: Any) -> str:
    """Return a SHA-256 of samples that were handed over; empty where the recipe names them."""
    if given is None:
        return ""
    content = hashlib.sha256()
    for split, part in sorted(given.items()) if isinstance(given, Mapping) else [("", given)]:
        for values in part:
            array = np.ascontiguousarray(values)
            content.update(f"{split} {array.shape} {array.dtype}".encode() + array.tobytes())
    return content.hexdigest()


def _path(word: str) -> str:
    """Return the path of a field of the recipe by its name, with its section's where that is needed.

    >>> _path("epochs"), _path("batch_size"), _path("model"), _path("optimizer.lr")
    ('length.epochs', 'batch.size', 'model', 'optimizer.lr')
    """
    plain = Recipe().to_plain()
    sections = {name: part for name, part in plain.items() if isinstance(part, dict) and "name" not in part}
    paths = {f"{section}_{field}": f"{section}.{field}" for section, part in sections.items() for field in part}
    for section, part in sections.items():
        paths |= {field: f"{section}.{field}" for field in part if field not in plain}
    known = paths | {name: name for name in plain}
    if "." in word:
        return word
    if word not in known:
        raise OptionInvalid(f"a recipe has no field {word!r}{did_you_mean(word, known)}")
    return known[word]
