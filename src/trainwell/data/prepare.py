"""From a source to stores that batches are gathered from: read, look, split, decode, and say what was decided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainwell.core.batch import SPLIT_NAMES, Splits
from trainwell.core.machine import AutoChoice
from trainwell.core.shelves import sources
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
from trainwell.errors import DataInvalid

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DataSpec:
    """Where the samples come from and how each becomes a tensor: the data section of a recipe as plain data.

    Attributes:
        source: name on the shelf of sources.
        options: its options.
        location: the path it reads; "" where it needs none.
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
        classes: class names; a label is a position in them.
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
    classes: tuple[str, ...]
    kind: Kind
    input_shape: tuple[int, ...]
    scale: Scale | None
    choices: tuple[AutoChoice, ...]
    notes: tuple[str, ...]
    summary: dict[str, Any]

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
    stores, rows, late = _fill(held, asked, room, progress)
    bad = [*held.bad, *late]
    if late and not spec.skip_bad:
        raise files_invalid(bad, len(samples), samples.root)
    _refuse_unlearnable(held.samples, rows, late)
    choices = tuple(choice for choice in (*held.choices, budget_choice) if choice.reason != "asked for")
    summary = summarize(
        held.samples, held.digests, found, rows, input_shape=held.input_shape, form=held.form, bad=bad, choices=choices
    )
    summary |= _origin(spec, is_given=given is not None) | {"seed": seed, "storage": place}
    return Prepared(
        stores=Splits(stores["train"], stores.get("val"), stores.get("test")),
        rows=Splits(rows["train"], rows.get("val"), rows.get("test")),
        digests=held.digests,
        files=held.samples.files,
        root=held.samples.root,
        classes=held.samples.classes,
        kind=held.samples.kind,
        input_shape=held.input_shape,
        scale=held.samples.scale,
        choices=choices,
        notes=(*held.samples.notes, *_skipped(bad), *found.problems),
        summary=summary,
    )


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
        return read_given(given, budget=budget)
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
    found: Samples = card.build(spec.options, location=spec.location)
    return found


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
    rows.sort(key=lambda row: (held.digests[row], held.samples.labels[row], row))
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


def _refuse_unlearnable(samples: Samples, rows: Mapping[str, np.ndarray], late: Sequence[BadFile]) -> None:
    present = set(samples.labels[rows["train"]].tolist())
    missing = [name for label, name in enumerate(samples.classes) if label not in present]
    if missing:
        raise DataInvalid(
            f"without {len(late)} bad files there are no training samples of {', '.join(missing)}: repair "
            f"{'; '.join(shown_path(fault.path, samples.root) for fault in late[:20])}, or remove these classes"
        )


def _origin(spec: DataSpec, *, is_given: bool) -> dict[str, Any]:
    if is_given:
        return {"source": "given", "location": "", "options": {}}
    return {"source": spec.source, "location": spec.location, "options": dict(spec.options)}
