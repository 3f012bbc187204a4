"""How good a classifier is on any labelled source: the same decoding, every metric, and what the source has in common
with the samples that it was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Subset

from trainwell.classifier import AnyPredictions, Classifier, NumberPredictions
from trainwell.classifier.labels import THRESHOLD
from trainwell.core.machine import available_cores
from trainwell.data.digests import hash_files, hash_rows
from trainwell.data.samples import Samples, first_rows
from trainwell.data.stream import StreamStore
from trainwell.errors import DataInvalid, did_you_mean
from trainwell.metrics import AnyMetrics, measure_task

Part = Literal["auto", "all", "train", "val", "test"]
SEEN = {
    "train": "training split of this run: on them it is judged by what it has seen, so the numbers are too good",
    "val": "val split of this run, by which its confidences were set and its weights may have been chosen: on them the"
    " numbers are a little too good",
}
STREAMED_AT_ONCE = 1_024  # samples of a Dataset that streams; more need not fit into memory


@dataclass(frozen=True, repr=False)
class Evaluated:
    """What a classifier made of a labelled source.

    Attributes:
        metrics: every metric with its interval.
        predictions: of every sample, in the order of the source.
        targets: (N,) int64 class ids in the classifier's order of classes; (N, M) numbers, or (N, K) labels.
        notes: what a reader must know: which part was taken, classes without samples, samples seen before;
            what the numbers themselves need is in `metrics.notes`.
    """

    metrics: AnyMetrics
    predictions: AnyPredictions
    targets: np.ndarray
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Evaluated({named_score(self.metrics)}, count={self.metrics.count})"

    def _repr_html_(self) -> str:
        return self.metrics._repr_html_()


def evaluate_samples(
    classifier: Classifier,
    samples: Samples,
    *,
    part: Part = "auto",
    known: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Evaluated:
    """Measure a classifier on labelled samples.

    Args:
        classifier: loaded.
        samples: what a source found.
        part: which of the source's own splits; `auto` takes its test split where it has one, and everything else.
        known: by split (`train`, `val`), sorted first 8 bytes of the content hashes of the samples that it was
            trained and chosen on.

    Raises:
        DataInvalid: the source has classes that the classifier does not know, or no samples in the part asked for.
        FilesInvalid: files that cannot be used, all of them at once.
    """
    samples, notes = _take_part(_with_columns(samples, classifier), part)
    if classifier.task == "classes":
        targets = _targets(samples, classifier.classes)
    else:
        targets, said = _columns(samples, classifier)
        notes += said
    answers, predictions = _predict(classifier, samples)
    notes += [*samples.notes, *_other_scale(classifier, samples), *_seen_before(samples, known)]
    absent = [name for label, name in enumerate(classifier.classes) if not (targets == label).any()]
    if absent and classifier.task == "classes":
        notes.append(f"there are no samples of {first_rows(absent)}")
    metrics = measure_task(classifier.task, answers, targets, classifier.classes)
    return Evaluated(metrics, predictions, targets, tuple(notes))


def _with_columns(samples: Samples, classifier: Classifier) -> Samples:
    """Return samples whose features are the classifier's, in its order, where both have names for them."""
    wanted, found = classifier.contract.columns, samples.columns
    if not wanted or not found or wanted == found:
        return samples
    missing = [column for column in wanted if column not in found]
    if missing:
        raise DataInvalid(
            f"the source has no column {first_rows(map(repr, missing))} among its features"
            f" {first_rows(found, limit=20)}, and the network was trained on it: add or rename the columns"
        )
    assert samples.arrays is not None
    places = [found.index(column) for column in wanted]
    return replace(samples, arrays=samples.arrays[:, places].contiguous(), columns=wanted)


def named_score(metrics: AnyMetrics) -> str:
    """Return the score of a task with its interval.

    >>> from trainwell.metrics import measure_numbers
    >>> named_score(measure_numbers([1.0, 2.0], [1.0, 2.0], ["y"]))
    'r2=1.0000 (1.0000 to 1.0000)'
    """
    name = next(name for name in ("accuracy", "r2", "exact_match") if hasattr(metrics, name))
    return f"{name}={getattr(metrics, name)}"


def _take_part(samples: Samples, part: Part) -> tuple[Samples, list[str]]:
    there = [name for name in ("train", "val", "test") if (samples.splits == name).any()]
    notes = []
    if part == "auto":
        part = "test" if "test" in there else "all"
        if part == "test":
            notes = [f"measured on its test split, {int((samples.splits == 'test').sum())} of {len(samples)} samples"]
    if part == "all":
        return samples, []
    if part not in there:
        has = f"it has {', '.join(there)}" if there else "it has no splits of its own"
        raise DataInvalid(f"the source has no {part} split: {has}; take another part, or all of it with --split all")
    rows = np.flatnonzero(samples.splits == part).tolist()
    if samples.dataset is None:
        return samples.take(rows), notes
    some = Subset(samples.dataset, rows)
    return replace(samples, labels=samples.labels[rows], splits=samples.splits[rows], dataset=some), notes


def _targets(samples: Samples, classes: Sequence[str]) -> np.ndarray:
    """Return the labels as positions in the classifier's classes, which are found by name."""
    position = {name: label for label, name in enumerate(classes)}
    used = [name for label, name in enumerate(samples.classes) if (samples.labels == label).any()]
    unknown = [name for name in used if name not in position]
    if unknown:
        near = did_you_mean(unknown[0], classes)
        hint = near if near.endswith("?") else "."  # else it lists all classes, of which the first few are enough
        noun = "class" if len(unknown) == 1 else "classes"
        raise DataInvalid(
            f"the source has samples of {len(unknown)} {noun} that this classifier does not know:"
            f" {first_rows(unknown)}{hint} It knows {first_rows(classes, limit=20)}: rename or leave out the others"
        )
    table = np.array([position.get(name, -1) for name in samples.classes], dtype=np.int64)
    labels: np.ndarray = table[samples.labels]
    return labels


def _columns(samples: Samples, classifier: Classifier) -> tuple[np.ndarray, list[str]]:
    """Return numbers or labels in the classifier's order, found by name, or by place where one side has no names."""
    if samples.task != classifier.task:
        raise DataInvalid(f"the source has {samples.task}, and this network answers {classifier.task}")
    ours, theirs = classifier.classes, samples.classes
    notes, order = [], list(range(len(ours)))
    if set(theirs) == set(ours):
        order = [theirs.index(name) for name in ours]
    elif len(theirs) == len(ours) and (len(ours) == 1 or _unnamed(ours) or _unnamed(theirs)):
        notes = [f"{first_rows(theirs)} of the source is taken for {first_rows(ours)} of the network"]
    else:
        raise DataInvalid(
            f"the source has the {samples.task} {first_rows(theirs, limit=20)}, and this network answers"
            f" {first_rows(ours, limit=20)}: name the same columns with label=[…]"
        )
    return samples.labels[:, order], notes


def _unnamed(names: Sequence[str]) -> bool:
    """Whether numbers or labels came from an array, which has no names for its columns."""
    return tuple(names) == tuple(str(column) for column in range(len(names)))


def _predict(classifier: Classifier, samples: Samples) -> tuple[np.ndarray, AnyPredictions]:
    """Return the answers as an array, and in the form of the task."""
    if samples.dataset is None:
        if samples.files is not None:
            found = classifier.predict(list(samples.files))
        else:
            assert samples.arrays is not None
            found = classifier.predict_levels(samples.arrays.numpy())
        return _array_of(found), found
    store = StreamStore(samples.dataset, torch.from_numpy(samples.labels), torch.arange(len(samples)), seed=0)
    pieces = torch.arange(len(samples)).split(STREAMED_AT_ONCE)
    parts = [_array_of(classifier.predict_levels(store.gather(piece).inputs)) for piece in pieces]
    names, answers = tuple(samples.name(row) for row in range(len(samples))), np.concatenate(parts)
    return answers, classifier.told(answers, names, THRESHOLD if classifier.task == "labels" else 0.0)


def _array_of(found: AnyPredictions) -> np.ndarray:
    return found.numbers if isinstance(found, NumberPredictions) else found.probabilities


def _other_scale(classifier: Classifier, samples: Samples) -> list[str]:
    """Say where a source was read on another scale than the arrays of training."""
    ours, theirs = classifier.contract.scale, samples.scale
    if ours is None or theirs is None or ours.factor == theirs.factor:
        return []
    return [
        f"the arrays of this source were read as 0 to {theirs.highest:g}, and those of training as 0 to"
        f" {ours.highest:g}: where both are numbers of one kind, bring them to one scale first"
    ]


def _seen_before(samples: Samples, known: Mapping[str, np.ndarray]) -> list[str]:
    """Say how many of the samples have the very content of training samples, and of val samples."""
    if not known or samples.dataset is not None:
        return []
    heads = np.array([int(digest[:16], 16) - 2**63 for digest in _digests(samples)], dtype=np.int64)
    notes = []
    for split, why in SEEN.items():
        seen = int(np.isin(heads, known[split]).sum()) if split in known else 0
        if seen:
            notes.append(f"{seen} of these {len(samples)} samples were in the {why}")
    return notes


def _digests(samples: Samples) -> list[str]:
    if samples.files is not None:
        return hash_files(samples.files, threads=available_cores())
    assert samples.arrays is not None
    return hash_rows(samples.arrays)
