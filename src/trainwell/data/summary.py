"""What a run writes down about its data: counts, content hashes, splits, and every problem that was found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainwell.core.machine import AutoChoice
from trainwell.data.decode import DECODER, BadFile
from trainwell.data.digests import fingerprint
from trainwell.data.held import Held
from trainwell.data.samples import Samples, shown_path
from trainwell.data.splits import Assignment


def summarize(
    held: Held,
    assignment: Assignment,
    rows: Mapping[str, np.ndarray],
    *,
    bad: Sequence[BadFile],
    choices: Sequence[AutoChoice],
) -> dict[str, Any]:
    """Return the plain data of `data.json`.

    `fingerprint` names the labelled content of the whole data set, `fingerprints` that of each split, and `membership`
    which content stands in which split; none of them depends on file names or their order.
    """
    samples, form = held.samples, held.form
    labelled = [f"{digest} {samples.answer(row)}" for row, digest in enumerate(held.digests)]
    members = {split: [labelled[row] for row in mine.tolist()] for split, mine in rows.items()}
    return {
        "kind": samples.kind,
        "task": samples.task,
        "classes": list(samples.classes),
        "input_shape": list(held.input_shape),
        "columns": list(samples.columns),
        "samples": {split: len(mine) for split, mine in rows.items()},
        "counts": {} if samples.task == "numbers" else {split: _counts(samples, mine) for split, mine in rows.items()},
        "numbers": _spread(samples) if samples.task == "numbers" else [],
        "fingerprint": fingerprint(text for texts in members.values() for text in texts),
        "fingerprints": {split: fingerprint(texts) for split, texts in members.items()},
        "membership": fingerprint(f"{split} {text}" for split, texts in members.items() for text in texts),
        "form": None
        if form is None
        else {"height": form.height, "width": form.width, "channels": form.channels, "resize": form.policy},
        "decoder": dict(DECODER) if samples.files is not None else None,
        "choices": [{"field": choice.field, "value": choice.value, "reason": choice.reason} for choice in choices],
        "notes": list(samples.notes),
        "problems": list(assignment.problems),
        "bad_files": [{"file": shown_path(fault.path, samples.root), "reason": fault.reason} for fault in bad],
        "left_out": [
            {"sample": samples.name(row), "same_as": samples.name(twin), "split": str(assignment.splits[twin])}
            for row, twin in assignment.left_out
        ],
        "duplicates": [[samples.name(row) for row in group] for group in assignment.duplicates],
        "conflicts": [
            [{"sample": samples.name(row), "class": samples.answer(row)} for row in group]
            for group in assignment.conflicts
        ],
    }


def _counts(samples: Samples, rows: np.ndarray) -> dict[str, int]:
    """Return how many samples are of each class, or have each label."""
    mine = samples.labels[rows]
    counts = np.bincount(mine, minlength=len(samples.classes)) if samples.task == "classes" else mine.sum(0)
    return {name: int(count) for name, count in zip(samples.classes, counts, strict=True)}


def _spread(samples: Samples) -> list[dict[str, Any]]:
    """Return the range and the middle of each number over all samples."""
    columns = zip(samples.classes, samples.labels.T, strict=True)
    return [
        {"name": name, "low": float(values.min()), "median": float(np.median(values)), "high": float(values.max())}
        for name, values in columns
    ]
