"""What a run folder holds, read once: each part or, where it is missing, nothing, and words for what is wrong."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from trainwell.core.record import Measure, Reading, read_lines, read_measures, read_readings
from trainwell.core.task import TASKS, Task
from trainwell.errors import RunDamaged
from trainwell.metrics.checking import checked, checked_labels
from trainwell.metrics.numbers import checked_numbers
from trainwell.pictures.series import Series, history
from trainwell.train.events import Event, read_events
from trainwell.train.folder import RunFolder

Array = NDArray[Any]
Part = TypeVar("Part")

ENDINGS = {"stopped": "stopped", "non-finite": "non-finite"}


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run answered to one split, and the samples' names.

    Attributes:
        values: probabilities (N, K) of classes or labels, or numbers (N, M).
        targets: (N,) class ids, (N, K) labels, or (N, M) numbers.
    """

    split: str
    values: Array
    targets: Array
    names: tuple[str, ...]

    @property
    def probabilities(self) -> Array:
        """The values, where they are probabilities."""
        return self.values


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything a page is made of.

    Attributes:
        path: the run folder.
        status: `finished`, `running`, `stopped` (by a person), `non-finite` (NaN or Inf) or `died`.
        data, machine, recipe: the plain data of these files; empty where they are missing.
        recipe_text: the recipe as it stands in its file.
        readings: measured numbers by name and place.
        measures: what each name means.
        last_step: of the readings.
        events, timing: in order.
        samples: tensors of `samples.safetensors`, `sheet_names` the names of its sheet.
        codes: features (N, D) of its sheet by the stage of the weights; empty without transfer.
        answers: by split.
        shown: pictures (h, w, C) by their position in val.
        answered_at: steps done when these answers were given; None where nobody knows.
        has_predictions: whether there is a file of answers, be it an empty one for want of held-out samples.
        looks: how often the run has reached an end, where val and test were evaluated.
        temperature: that the scores behind the probabilities were divided by; 1 where they are as they came.
        has_classifier: whether there is one to predict with.
        troubles: what could not be read, in words.
    """

    path: Path
    status: str
    data: Mapping[str, Any]
    machine: Mapping[str, Any]
    recipe: Mapping[str, Any]
    recipe_text: str
    readings: Mapping[str, Mapping[str, Series]]
    measures: Mapping[str, Measure]
    last_step: int
    events: tuple[Event, ...]
    timing: tuple[Mapping[str, Any], ...]
    samples: Mapping[str, Array]
    sheet_names: tuple[str, ...]
    answers: Mapping[str, Answers]
    shown: Mapping[int, Array]
    answered_at: int | None
    has_predictions: bool
    looks: int
    temperature: float
    has_classifier: bool
    troubles: tuple[str, ...] = field(default=())
    codes: Mapping[str, Array] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the numbers or the labels, in the order of the scores."""
        return tuple(self.data.get("classes", ()))

    @property
    def task(self) -> Task:
        """What the network answers."""
        return TASKS.get(self.data.get("task", "classes"), TASKS["classes"])

    @property
    def epoch_ends(self) -> tuple[int, ...]:
        """Steps done at the end of each epoch."""
        series = self.readings.get("epoch/loss", {}).get("")
        return () if series is None else tuple(series.steps.tolist())

    @property
    def steps_per_epoch(self) -> float | None:
        """Steps of the first epoch; None before its end."""
        return float(self.epoch_ends[0]) if self.epoch_ends and self.epoch_ends[0] else None

    @property
    def seconds(self) -> float | None:
        """What training took, with loading and evaluation where the run finished; None where nobody knows."""
        finished = [float(line["seconds"]) for line in self.timing if "finished" in line]
        epochs = [float(line["seconds"]) for line in self.timing if "epoch" in line]
        return max([*finished[-1:], *epochs[-1:]], default=None)


def gather(folder: RunFolder) -> Evidence:
    """Read a run folder; what is damaged is named in `troubles`, and the rest is read all the same."""
    troubles: list[str] = []

    no_events: tuple[Event, ...] = ()
    no_lines: tuple[Mapping[str, Any], ...] = ()
    no_tensors: tuple[dict[str, Array], dict[str, str]] = ({}, {})
    no_names: tuple[str, ...] = ()
    nothing: dict[str, Any] = {}

    def attempt(read: Callable[[], Part], otherwise: Part) -> Part:
        """Return what can be read, or note why not."""
        try:
            return read()
        except FileNotFoundError:
            return otherwise
        except RunDamaged as error:
            troubles.append(str(error))
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, SafetensorError) as error:
            troubles.append(f"a file of the run cannot be read: {' '.join(str(error).split())}")
        return otherwise

    readings: list[Reading] = attempt(lambda: read_readings(folder.record), [])
    events = attempt(lambda: tuple(read_events(folder.events)), no_events)
    timing = attempt(lambda: tuple(read_lines(folder.timing)), no_lines)
    samples, about_samples = attempt(lambda: read_tensors(folder.samples), no_tensors)
    predictions, about_predictions = attempt(lambda: read_tensors(folder.predictions), no_tensors)
    codes, _ = attempt(lambda: read_tensors(folder.neighbours), no_tensors)
    last_step = max((reading.step for reading in readings), default=-1)
    recipe_text = attempt(lambda: folder.recipe.read_text("utf-8"), "")
    return Evidence(
        path=folder.path,
        status=status_of(folder.is_running, last_step, timing, events),
        data=attempt(lambda: read_json(folder.data), nothing),
        machine=attempt(lambda: read_json(folder.machine), nothing),
        recipe=attempt(lambda: dict(yaml.safe_load(recipe_text) or {}), nothing),
        recipe_text=recipe_text,
        readings=history(readings),
        measures=attempt(lambda: read_measures(folder.record), {}),
        last_step=last_step,
        events=events,
        timing=timing,
        samples=samples,
        sheet_names=attempt(lambda: tuple(json.loads(about_samples.get("names", "[]"))), no_names),
        answers=attempt(lambda: answers_of(predictions, about_predictions), {}),
        shown=shown_of(predictions),
        answered_at=attempt(lambda: int(about_predictions["step"]) if "step" in about_predictions else None, None),
        has_predictions=folder.predictions.exists(),
        looks=sum("finished" in line for line in timing),
        temperature=attempt(lambda: float(about_predictions.get("temperature", 1.0)), 1.0),
        has_classifier=(folder.classifier / "classifier.json").is_file(),
        troubles=tuple(troubles),
        codes=codes,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file.

    Raises:
        ValueError: it is not one; the message names the file.
    """
    try:
        plain = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(plain, dict):
        raise ValueError(f"{path} must hold a mapping, got {type(plain).__name__}")
    return plain


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        ValueError: it is damaged; the message names the file.
    """
    if not path.exists():
        return {}, {}
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def answers_of(tensors: Mapping[str, Array], about: Mapping[str, str]) -> dict[str, Answers]:
    """Return the answers by split; names that are missing become positions.

    Raises:
        ShapeError, DataInvalid: they are no probabilities and no numbers.
    """
    found = {}
    for split in ("val", "test"):
        kind = next((kind for kind in ("probabilities", "numbers") if f"{split}/{kind}" in tensors), None)
        if kind is None or not len(tensors[f"{split}/{kind}"]):
            continue
        values, targets = tensors[f"{split}/{kind}"], tensors[f"{split}/targets"]
        if kind == "numbers":
            values, targets = checked_numbers(values, targets, [""] * values.shape[-1])
        elif targets.ndim == 2:
            values, targets = checked_labels(values, targets, values.shape[-1])
        else:
            values, targets = checked(values, targets)
        names = json.loads(about.get(f"{split}_names", "[]")) or [f"sample {n}" for n in range(len(targets))]
        found[split] = Answers(split, values, targets, tuple(names))
    return found


def shown_of(tensors: Mapping[str, Array]) -> dict[int, Array]:
    """Return the stored val pictures by position."""
    if "val/shown_images" not in tensors:
        return {}
    return dict(zip(tensors["val/shown_index"].tolist(), tensors["val/shown_images"], strict=True))


def status_of(
    is_running: bool, last_step: int, timing: tuple[Mapping[str, Any], ...], events: tuple[Event, ...]
) -> str:
    """Return the state of a run from what it wrote last."""
    if is_running:
        return "running"
    finished = max((int(line["finished"]) for line in timing if "finished" in line), default=-1)
    if finished >= max(last_step, 0):
        return "finished"
    last = next((event for event in reversed(events) if event.kind in ENDINGS), None)
    if last is not None and last.step >= last_step:
        return ENDINGS[last.kind]
    return "died"
