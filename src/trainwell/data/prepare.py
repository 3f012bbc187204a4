"""From a source to stores that batches are gathered from: read, look, split, decode, and say what was decided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainwell.core.batch import SPLIT_NAMES, Splits
from trainwell.core.machine import AutoChoice
from trainwell.core.shelves import sources
from trainwell.core.task import TASKS, Task, TaskWish
from trainwell.data.automatic import choose_budget
from trainwell.data.badfiles import files_invalid
from trainwell.data.decode import BadFile
from trainwell.data.given import given as read_given
from trainwell.data.held import Held, Wish, hold_arrays, hold_files, hold_stream
from trainwell.data.samples import Kind, Samples, Scale, first_rows, shown_path
from trainwell.data.splits import Assignment, assign
from trainwell.data.store import Room, Store
from trainwell.data.stream import StreamStore
from trainwell.data.summary import summarize
from trainwell.data.targets import Scaling
from trainwell.errors import DataInvalid

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DataSpec:
    """Where the samples come from and how each becomes a tensor: the data section of a recipe as plain data.

    Attributes:
        source: name on the shelf of sources.
        options: its options.
        location: the path it reads; "" where it needs none.
        task: what is to be answered; "auto" decides by what the targets hold.
        image_size: side of the square that images are brought to; "keep" for images of one size as they are;
            "auto" or None to decide.
        resize: how images are brought to that side; see `ImageForm`.
        color: "grey", "rgb", or "auto" for grey where all images are.
        val_fraction: share of each class that validates, where the user's data have no val split.
        test_fraction: share of each class that tests, where the user's data have no splits.
        skip_bad: whether files that cannot be decoded are left out instead of being an error.
        memory_gib: memory that the samples may take before they go to a file; "auto" or None for half of what is free.
    """

    source: str = "digits"
    options: Mapping[str, Any] = field(default_factory=dict)
    location: str = ""
    task: TaskWish = "auto"
    image_size: int | Literal["auto", "keep"] | None = None
    resize: Literal["crop", "pad", "stretch"] = "crop"
    color: Literal["auto", "grey", "rgb"] = "auto"
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    skip_bad: bool = False
    memory_gib: float | Literal["auto"] | None = None


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready to be trained on.

    Attributes:
        stores: the samples of each split; in the order of their content hashes, so that neither file names nor
            their order matter to a run.
        rows: for each split, (n,) positions of its samples in what the source found.
        digests: SHA-256 of the content of each of these samples, in hex.
        files: the image files that the source found, or None where samples are rows of arrays or of a Dataset.
        root: the folder that file names are shown relative to.
        task: what is to be answered.
        classes: class names, of which a label is a position; or the names of the numbers, or of the labels.
        labels: the right answers for all samples that the source found, in the form of `Samples.labels`.
        scaling: of numbers, fitted on train: the stores hold them standardized.
        columns: names of the features, where they are known.
        kind: "images" or "features".
        input_shape: (C, H, W) or (D,).
        scale: how image arrays were brought to 0 to 255; None for files, features, and floats kept as they are.
        choices: what was decided for the user, each with its reason.
        notes: what was found, left out or problematic, in words for the user.
        summary: plain data for data.json.
    """

    stores: Splits[Store | StreamStore]
    rows: Splits[np.ndarray]
    digests: Sequence[str]
    files: tuple[Path, ...] | None
    root: Path | None
    task: Task
    classes: tuple[str, ...]
    labels: np.ndarray
    scaling: Scaling | None
    columns: tuple[str, ...]
    kind: Kind
    input_shape: tuple[int, ...]
    scale: Scale | None
    choices: tuple[AutoChoice, ...]
    notes: tuple[str, ...]
    summary: dict[str, Any]

    def targets(self, split: str) -> np.ndarray:
        """Return the right answers for the samples of a split, numbers as the user gave them."""
        answers: np.ndarray = self.labels[getattr(self.rows, split)]
        return answers

    def name(self, split: str, index: int) -> str:
        """Return what a person calls the sample at a position of a split's store."""
        row = int(getattr(self.rows, split)[index])
        return f"row {row}" if self.files is None else shown_path(self.files[row], self.root)


def prepare(
    spec: DataSpec,
    *,
    seed: int,
    threads: int,
    given: Any = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Read, split and decode a data set; the result is a function of its content, `spec` and `seed`.

    Args:
        spec: where the samples come from and what each becomes.
        seed: of the split.
        threads: files read and decoded at a time; the bits do not depend on it.
        given: the data as Python objects, in place of `spec.source`; see `data.given`.
        cache: folder for packs of images that do not fit into the memory budget; made when it is needed.
        progress: called as `progress(done, total)` while files are decoded.

    Raises:
        DataInvalid: the source is missing or empty, its samples cannot be split, or do not fit.
        FilesInvalid: image files cannot be used, all of them at once in `files`, and `skip_bad` is not set.
        OptionInvalid: an option of the source is unknown or out of range.
    """
    _refuse_fractions(spec)
    budget, budget_choice = choose_budget(spec.memory_gib)
    samples = find(spec, given, budget=budget)
    held = _hold(samples, spec, seed=seed, threads=threads)
    found = assign(
        held.samples, held.digests, seed=seed, val_fraction=spec.val_fraction, test_fraction=spec.test_fraction
    )
    asked = {str(split): _order(held, found, split) for split in SPLIT_NAMES if (found.splits == split).any()}
    room, place = _room(held, asked, budget, cache)
    scaling = Scaling.of(held.samples.labels[asked["train"]], samples.classes) if samples.task == "numbers" else None
    stores, rows, late = _fill(_with_targets(held, scaling), asked, room, progress)
    bad = [*held.bad, *late]
    _refuse_bad(samples, bad, late, spec)
    _refuse_unlearnable(held.samples, rows, late)
    decided = (*held.choices, budget_choice, *_chosen_task(samples, spec))
    choices = tuple(choice for choice in decided if choice.reason != "asked for")
    summary = summarize(held, found, rows, bad=bad, choices=choices)
    summary |= _origin(spec, is_given=given is not None) | {"seed": seed, "storage": place}
    return Prepared(
        stores=Splits(stores["train"], stores.get("val"), stores.get("test")),
        rows=Splits(rows["train"], rows.get("val"), rows.get("test")),
        digests=held.digests,
        files=held.samples.files,
        root=held.samples.root,
        task=TASKS[samples.task],
        classes=held.samples.classes,
        labels=held.samples.labels,
        scaling=scaling,
        columns=samples.columns,
        kind=held.samples.kind,
        input_shape=held.input_shape,
        scale=held.samples.scale,
        choices=choices,
        notes=(*held.samples.notes, *_of_task(samples, rows["train"]), *_skipped(bad), *found.problems),
        summary=summary,
    )


def _chosen_task(samples: Samples, spec: DataSpec) -> tuple[AutoChoice, ...]:
    reason = samples.reason or f"the source has {samples.task}"
    return (AutoChoice("data.task", samples.task, reason),) if spec.task == "auto" else ()


def _of_task(samples: Samples, train: np.ndarray) -> tuple[str, ...]:
    """Say what is unlike classes, and must be known."""
    if samples.task == "classes":
        return ()
    what = "(numbers, standardized for training)" if samples.task == "numbers" else "(labels, any number true at once)"
    why = f", because {samples.reason}" if samples.reason else ""
    notes = [
        f"the task is {samples.task}: {first_rows(samples.classes)} {what}{why}; splits are drawn by content alone, not"
        " stratified"
    ]
    shares = samples.labels[train].mean(0)
    same = [name for name, share in zip(samples.classes, shares, strict=True) if share in (0, 1)]
    if same and samples.task == "labels":
        notes.append(f"{first_rows(same)} is true of all training samples or of none, and cannot be learned")
    return tuple(notes)


def _with_targets(held: Held, scaling: Scaling | None) -> Held:
    """Return samples whose labels are what a network learns: class ids, or float32 numbers or labels."""
    samples = held.samples
    if samples.task == "classes":
        return held
    labels = samples.labels.astype(np.float32) if scaling is None else scaling.standardized(samples.labels)
    changed: Held = replace(held, samples=replace(samples, labels=labels))  # type: ignore[type-var]
    return changed


def _refuse_fractions(spec: DataSpec) -> None:
    if spec.val_fraction + spec.test_fraction >= 1:
        raise DataInvalid(
            f"val_fraction={spec.val_fraction} and test_fraction={spec.test_fraction} leave nothing to train on: "
            "their sum must be below 1"
        )


def _skipped(bad: Sequence[BadFile]) -> tuple[str, ...]:
    return (f"{len(bad)} bad files were left out: {first_rows(bad)}",) if bad else ()


def find(spec: DataSpec, given: Any, *, budget: int) -> Samples:
    """Return the labelled samples of a source, before anything is decoded.

    Args:
        spec: where they come from.
        given: the samples as Python objects, in place of the source.
        budget: bytes that samples of a Dataset may take in memory.

    Raises:
        DataInvalid: the source is missing or empty.
    """
    if given is not None:
        return _of_wish(read_given(given, budget=budget, task=spec.task), spec.task, "the data")
    card = sources[spec.source]
    if "location" in card.needs:
        if not spec.location:
            raise DataInvalid(
                f"the source {spec.source} reads {card.traits.get('takes', 'a place')}: give its path as location"
            )
        if not Path(spec.location).exists():
            raise DataInvalid(
                f"{spec.location} does not exist: give the path of {card.traits.get('takes', 'the data')}"
            )
    options = dict(spec.options)
    if spec.task != "auto" and "task" in card.options and options.setdefault("task", spec.task) == "auto":
        options["task"] = spec.task
    found: Samples = card.build(options, location=spec.location)
    return _of_wish(found, spec.task, f"the source {spec.source}")


def _of_wish(samples: Samples, task: TaskWish, what: str) -> Samples:
    if task not in ("auto", samples.task):
        raise DataInvalid(
            f"{what} holds {samples.task}, and task={task} was asked for: leave the task out, or give targets that are"
            f" {task}"
        )
    return samples


def _hold(samples: Samples, spec: DataSpec, *, seed: int, threads: int) -> Held:
    wish = Wish(spec.image_size, spec.resize, spec.color)
    if samples.files is not None:
        return hold_files(samples, wish, threads=threads, skip_bad=spec.skip_bad)
    if samples.arrays is not None:
        return hold_arrays(samples, wish, threads=threads)
    return hold_stream(samples, wish, seed=seed)


def _order(held: Held, found: Assignment, split: str) -> np.ndarray:
    """Return the rows of a split by content hash, so that names and their order do not matter."""
    rows = np.flatnonzero(found.splits == split).tolist()
    labels = held.samples.labels.reshape(len(held.samples), -1).tolist()
    rows.sort(key=lambda row: (held.digests[row], labels[row], row))
    return np.array(rows, dtype=np.int64)


def _room(held: Held, rows: Mapping[str, np.ndarray], budget: int, cache: Path | None) -> tuple[Room, str]:
    """Return where decoded files may lie, and say it; what is in memory already, or streams, stays as it is."""
    if held.samples.dataset is not None:
        return Room(), "streamed from the dataset"
    size = sum(len(mine) for mine in rows.values()) * int(np.prod(held.input_shape))
    if held.samples.files is None or size <= budget:
        return Room(), "memory"
    need = f"{size / 2**30:.2f} GiB for {sum(map(len, rows.values()))} images of {held.input_shape}"
    if cache is None:
        raise DataInvalid(
            f"the decoded images need {need}, over the memory budget of {budget / 2**30:.2f} GiB, and there is no "
            "cache folder "
            "for a pack on disk: name one, choose a smaller image_size, or raise memory_gib"
        )
    return Room(0, cache), f"packs on disk: {need} is over the memory budget of {budget / 2**30:.2f} GiB"


def _fill(
    held: Held, rows: Mapping[str, np.ndarray], room: Room, progress: Progress | None
) -> tuple[dict[str, Any], dict[str, np.ndarray], list[BadFile]]:
    """Make the store of each split; return them, the rows that they hold, and all files that could not be decoded."""
    stores: dict[str, Any] = {}
    kept: dict[str, np.ndarray] = {}
    bad: list[BadFile] = []
    done, total = 0, sum(len(mine) for mine in rows.values())
    for split, mine in rows.items():
        report = None if progress is None else _shifted(progress, done, total)
        stores[split], faults = held.store(mine, room, report)
        names = {fault.path for fault in faults}
        files = held.samples.files
        kept[split] = (
            mine
            if files is None
            else np.array([row for row in mine.tolist() if files[row] not in names], dtype=np.int64)
        )
        bad += faults
        done += len(mine)
    return stores, kept, bad


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def _refuse_bad(samples: Samples, bad: Sequence[BadFile], late: Sequence[BadFile], spec: DataSpec) -> None:
    if late and not spec.skip_bad:
        raise files_invalid(bad, len(samples), samples.root)


def _refuse_unlearnable(samples: Samples, rows: Mapping[str, np.ndarray], late: Sequence[BadFile]) -> None:
    if samples.task == "labels":
        _refuse_constant(samples, rows["train"])
    if samples.task != "classes":
        return
    present = set(samples.labels[rows["train"]].tolist())
    missing = [name for label, name in enumerate(samples.classes) if label not in present]
    if missing:
        raise DataInvalid(
            f"without {len(late)} bad files there are no training samples of {', '.join(missing)}: repair "
            f"{'; '.join(shown_path(fault.path, samples.root) for fault in late[:20])}, or remove these classes"
        )


def _refuse_constant(samples: Samples, train: np.ndarray) -> None:
    shares = samples.labels[train].mean(0)
    if ((shares == 0) | (shares == 1)).all():
        raise DataInvalid(
            f"the labels {first_rows(samples.classes)} are each true of all {len(train)} training samples or of none,"
            " so there is nothing to learn: check the columns"
        )


def _origin(spec: DataSpec, *, is_given: bool) -> dict[str, Any]:
    if is_given:
        return {"source": "given", "location": "", "options": {}}
    return {"source": spec.source, "location": spec.location, "options": dict(spec.options)}
