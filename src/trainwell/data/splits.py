"""Which sample trains, which validates and which tests: stratified by class, seeded, and decided by content.

The place of a sample is a function of its content hash, its class and the seed: neither file names
nor their order matter, and the same content never stands in two splits. Numbers and labels are not stratified:
all samples are one group.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from trainwell.core.chance import derive
from trainwell.data.samples import Samples, first_rows
from trainwell.errors import DataInvalid


@dataclass(frozen=True)
class Assignment:
    """The split of each sample, and what was found on the way.

    Attributes:
        splits: (N,) str: "train", "val", "test", or "" where a sample is left out because its content
            stands in a held-out split.
        left_out: rows that are left out, each with the row of the held-out sample it is identical to.
        duplicates: groups of rows with the same content.
        conflicts: the groups among them whose labels differ.
        problems: all of it in words, for people.
    """

    splits: np.ndarray
    left_out: tuple[tuple[int, int], ...] = ()
    duplicates: tuple[tuple[int, ...], ...] = ()
    conflicts: tuple[tuple[int, ...], ...] = ()
    problems: tuple[str, ...] = ()


def assign(
    samples: Samples, digests: Sequence[str], *, seed: int, val_fraction: float, test_fraction: float
) -> Assignment:
    """Return the split of each sample.

    Splits that the user gave stand. Samples without one are placed by us; where the user gave train
    and test but no val, val is taken out of train. A class always keeps one train sample and, where
    there is a val split to make, gets one val sample. Identical samples go together; of samples that
    the user put into two splits, test keeps its own, then val, and the others are left out.

    Args:
        samples: N samples.
        digests: N content hashes.
        seed: of the draw.
        val_fraction: share of the distinct samples of each class that validate, rounded over all classes.
        test_fraction: share that test, where there is no test split and no complete set of user's splits.

    Raises:
        DataInvalid: there is only one class, or a class has too few distinct samples.
    """
    assert len(digests) == len(samples), "one digest a sample"
    groups: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        groups[digest].append(row)
    if samples.task == "classes":
        _refuse_one_class(samples)
        _refuse_copied_classes(samples, groups)
    splits = samples.splits.astype("<U5")
    left_out = _leave_out(splits, groups)
    undecided = set(np.flatnonzero(splits == "").tolist()) - {row for row, _ in left_out}
    _refuse_no_training(samples, splits, undecided, left_out)
    places = _places(splits, bool(undecided), val_fraction, test_fraction)
    if places:
        _place(samples, splits, groups, undecided, places, seed)
    duplicates = tuple(tuple(rows) for _, rows in sorted(groups.items()) if len(rows) > 1)
    conflicts = tuple(rows for rows in duplicates if len({samples.answer(row) for row in rows}) > 1)
    problems = _problems(samples, splits, left_out, duplicates, conflicts)
    return Assignment(splits, tuple(left_out), duplicates, conflicts, problems)


def _refuse_one_class(samples: Samples) -> None:
    present = np.unique(samples.labels)
    if len(present) < 2:
        name = samples.classes[int(present[0])] if len(present) else "none"
        raise DataInvalid(
            f"the data hold one class only ({name!r}, {len(samples)} samples): a classifier needs at least two; "
            "add samples of another class, or check that the folders or labels are the classes that you mean"
        )


def _refuse_copied_classes(samples: Samples, groups: Mapping[str, Sequence[int]]) -> None:
    contents = [np.unique(samples.labels[rows]) for rows in groups.values()]
    own = {int(labels[0]) for labels in contents if len(labels) == 1}
    copied = sorted(set(np.unique(samples.labels).tolist()) - own)
    if copied:
        raise DataInvalid(
            f"{len(copied)} classes have no sample of their own: "
            f"{first_rows(samples.classes[label] for label in copied)}; every one is "
            "identical to a sample under another label, so labels are wrong or two classes are the same"
        )


def _leave_out(splits: np.ndarray, groups: Mapping[str, Sequence[int]]) -> list[tuple[int, int]]:
    """Clear the split of samples whose content is held out elsewhere; undecided copies of it follow it."""
    left_out = []
    for rows in groups.values():
        by_split = {str(splits[row]): row for row in reversed(rows)}
        if len(by_split) < 2:
            continue
        keeper = next(split for split in ("test", "val", "train") if split in by_split)
        for row in rows:
            if splits[row] == "":
                splits[row] = keeper
            elif splits[row] != keeper:
                splits[row] = ""
                left_out.append((row, by_split[keeper]))
    return sorted(left_out)


def _refuse_no_training(
    samples: Samples, splits: np.ndarray, undecided: Set[int], left_out: Sequence[tuple[int, int]]
) -> None:
    usable = sorted(undecided | set(np.flatnonzero(splits == "train").tolist()))
    if samples.task != "classes":
        if not usable:
            raise DataInvalid("no sample is left to train on: every one is held out, or identical to a held-out one")
        return
    missing = sorted(set(range(len(samples.classes))) - set(samples.labels[usable].tolist()))
    if missing:
        names = first_rows(samples.classes[label] for label in missing)
        why = ", because their training samples are identical to held-out ones" if left_out else ""
        raise DataInvalid(
            f"{len(missing)} classes have no training samples{why}: {names}; add some, or remove these classes"
        )


def _places(splits: np.ndarray, has_undecided: bool, val_fraction: float, test_fraction: float) -> dict[str, float]:
    """Return the splits that are ours to fill, with their fractions; the rest trains."""
    places = {}
    if val_fraction > 0 and not (splits == "val").any():
        places["val"] = val_fraction
    if test_fraction > 0 and has_undecided and not (splits == "test").any():
        places["test"] = test_fraction
    return places if places or not has_undecided else {"train": 0.0}


def _place(
    samples: Samples, splits: np.ndarray, groups: Mapping[str, Sequence[int]], undecided: Set[int],
    places: Mapping[str, float], seed: int,
) -> None:  # fmt: skip
    """Fill the splits that are ours; changes `splits`."""
    pool = undecided or set(np.flatnonzero(splits == "train").tolist())
    classes: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
    strata = samples.strata
    key = derive(seed, "split").to_bytes(8, "little")
    for digest, rows in groups.items():
        ours = [row for row in rows if row in pool]
        if ours:
            order = hashlib.blake2b(digest.encode(), key=key, digest_size=16).hexdigest()
            classes[int(strata[ours].min())].append((order, ours))
    trained = set(strata[splits == "train"].tolist()) if undecided else set()
    seen = dict.fromkeys(places, 0.0)
    too_few: list[list[int]] = []
    for label in sorted(classes):
        distinct = [rows for _, rows in sorted(classes[label])]
        counts = _counts(len(distinct), places, seen, needs_train=label not in trained)
        if counts.get("val") == 0:
            too_few.append(distinct[0])
        start = 0
        for split, count in counts.items():
            for rows in distinct[start : start + count]:
                splits[rows] = split
            start += count
        for rows in distinct[start:]:
            splits[rows] = "train"
    if too_few:
        _refuse(samples, too_few)


def _counts(distinct: int, places: Mapping[str, float], seen: dict[str, float], *, needs_train: bool) -> dict[str, int]:
    """Return how many distinct samples of one class each of our splits gets.

    Running sums are rounded, so all classes together have the fraction to one sample and each class is within one
    sample of its own; but val gets at least one. Changes `seen`, the exact sums so far.
    """
    counts = {}
    free = distinct - (1 if needs_train else 0)
    for split, fraction in places.items():
        before, seen[split] = seen[split], seen[split] + fraction * distinct
        count = int(np.floor(seen[split] + 0.5)) - int(np.floor(before + 0.5))
        if split == "val":
            count = max(1, count)
        counts[split] = max(0, min(count, free))
        free -= counts[split]
    return counts


def _refuse(samples: Samples, too_few: Sequence[Sequence[int]]) -> None:
    """Name the classes whose only distinct content is these rows."""
    if samples.task != "classes":
        raise DataInvalid(
            f"the data hold 1 different sample ({samples.name(too_few[0][0])}): at least 2 are needed, one to train and"
            " one to validate; add samples, or give your own val split"
        )
    shown = first_rows(
        (
            f"class {samples.classes[int(samples.labels[rows].min())]!r} has 1 ({samples.name(rows[0])}"
            + (f" and {len(rows) - 1} copies of it)" if len(rows) > 1 else ")")
            for rows in too_few
        ),
        limit=20,
    )
    raise DataInvalid(
        f"each class needs at least 2 different samples, one to train and one to validate, but {shown}: "
        "add samples of this class, remove the class, or give your own val split"
    )


def _problems(
    samples: Samples, splits: np.ndarray, left_out: Sequence[tuple[int, int]],
    duplicates: Sequence[Sequence[int]], conflicts: Sequence[Sequence[int]],
) -> tuple[str, ...]:  # fmt: skip
    said = []
    if left_out:
        pairs = first_rows(f"{samples.name(row)} = {samples.name(twin)}" for row, twin in left_out)
        said.append(f"{len(left_out)} samples are identical to held-out ones and were left out: {pairs}")
    if duplicates:
        extra = sum(len(rows) - 1 for rows in duplicates)
        shown = first_rows(" = ".join(samples.name(row) for row in rows[:3]) for rows in duplicates)
        said.append(f"{extra} samples are exact copies of others (copies stay in one split): {shown}")
    if conflicts:
        shown = first_rows(
            " = ".join(f"{samples.name(r)} ({samples.answer(r)})" for r in rows[:3]) for rows in conflicts
        )
        is_numbers = samples.task == "numbers"
        what = "numbers, which nobody can tell apart" if is_numbers else "labels, so some labels are wrong"
        said.append(f"{len(conflicts)} contents stand under different {what}: {shown}")
    if samples.task != "classes":
        return tuple(said)
    for split in ("val", "test"):
        present = set(samples.labels[splits == split].tolist())
        missing = [name for label, name in enumerate(samples.classes) if label not in present]
        if present and missing:
            said.append(f"{split} has no samples of {len(missing)} classes: {first_rows(missing)}")
    return tuple(said)
