"""Pairs of inputs and labels, one for each split, checked and put together as Samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainwell.core.task import TaskName, TaskWish
from trainwell.data.layouts import Layout, as_array, read_inputs
from trainwell.data.samples import SPLIT_WORDS, Samples, first_rows
from trainwell.data.targets import choose_task, read_targets
from trainwell.errors import DataInvalid, did_you_mean

_INPUT_WORDS = {"x", "images", "image", "imgs", "data", "inputs", "input", "features", "samples"}
_LABEL_WORDS = {"y", "labels", "label", "targets", "target"}
_CLASS_WORDS = {"classes", "class_names", "target_names"}


@dataclass(frozen=True)
class Pair:
    """Inputs and labels of one split ("" where the split is ours to decide), and their names in errors."""

    split: str
    x: Any
    y: Any
    x_name: str = "x"
    y_name: str = "y"


def join_pairs(
    pairs: Sequence[Pair],
    *,
    layout: Layout = "auto",
    classes: tuple[str, ...] | None = None,
    task: TaskWish = "auto",
) -> Samples:
    """Return one Samples for the pairs; layout, scale, task and classes are decided over all of them together.

    Raises:
        DataInvalid: an array or its labels cannot be used, they differ in length, or the pairs do not fit each other.
    """
    inputs = [as_array(pair.x, pair.x_name) for pair in pairs]
    labels = [_label_array(pair) for pair in pairs]
    asked, reason = _choose(pairs, labels) if task == "auto" else (task, "")
    for pair, x, y in zip(pairs, inputs, labels, strict=True):
        if len(x) != len(y):
            raise DataInvalid(
                f"{pair.x_name} holds {len(x)} samples and {pair.y_name} holds {len(y)} labels: give one label a "
                "sample, in the same order"
            )
        read_targets(y, where=pair.y_name, task=asked, names=classes)
        if x.shape[1:] != inputs[0].shape[1:]:
            raise DataInvalid(
                f"{pair.x_name} has samples of shape {x.shape[1:]}, but {pairs[0].x_name} of {inputs[0].shape[1:]}: "
                "all splits must agree"
            )
        if y.shape[1:] != labels[0].shape[1:] or (y.dtype.kind in "OUS") != (labels[0].dtype.kind in "OUS"):
            raise DataInvalid(
                f"{pair.y_name} and {pairs[0].y_name} hold labels of different kinds: all splits must agree"
            )
    x_name = " and ".join(pair.x_name for pair in pairs)
    y_name = " and ".join(pair.y_name for pair in pairs)
    read = read_inputs(_join(inputs), where=x_name, layout=layout)
    known = read_targets(_join(labels), where=y_name, task=asked, names=classes)
    splits = np.repeat(np.array([pair.split for pair in pairs], dtype="<U5"), [len(x) for x in inputs])
    notes = read.notes + known.notes
    return Samples(
        known.classes,
        known.labels,
        splits,
        read.kind,
        arrays=read.tensor,
        notes=notes,
        scale=read.scale,
        task=known.task,
        reason=reason,
    )


def _choose(pairs: Sequence[Pair], labels: Sequence[np.ndarray]) -> tuple[TaskName, str]:
    """Return the task of all pairs together: one with fractions makes all of them numbers."""
    found = [choose_task(y, where=pair.y_name) for pair, y in zip(pairs, labels, strict=True)]
    order: tuple[TaskName, ...] = ("numbers", "labels", "classes")
    return next((name, why) for wanted in order for name, why in found if name == wanted)


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _label_array(pair: Pair) -> np.ndarray:
    values = pair.y.detach().cpu() if hasattr(pair.y, "detach") else pair.y
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataInvalid(f"{pair.y_name} has rows of different lengths: give one class id a sample") from None
    if array.ndim == 0:
        raise DataInvalid(f"{pair.y_name} must be (N,), one label a sample, got {array.item()!r}")
    return array


def find_pairs(
    arrays: Mapping[str, Any], *, where: str, x: str | None = None, y: str | None = None
) -> tuple[list[Pair], tuple[str, ...] | None]:
    """Return the pairs that a mapping of named arrays holds, and its class names if it has them.

    Known spellings: an input word (`x`, `images`, `data` ...) and a label word (`y`, `labels`, `targets` ...),
    alone or joined by `_` with `train`, `val` or `test` in either order, in any case.

    Raises:
        DataInvalid: inputs or labels are missing, doubled or without their partner.

    >>> [(p.split, p.x_name) for p in find_pairs({"x_train": 1, "y_train": 2, "x_test": 3, "y_test": 4}, where="it")[0]]
    [('train', 'x_train of it'), ('test', 'x_test of it')]
    """
    for asked in (name for name in (x, y) if name is not None and name not in arrays):
        raise DataInvalid(f"{where} holds no array called {asked!r}{did_you_mean(asked, arrays)}")
    if x is not None and y is not None:
        return [Pair("", arrays[x], arrays[y], f"{x} of {where}", f"{y} of {where}")], _class_names(arrays, where)
    found: dict[str, dict[str, str]] = {}
    for name in arrays:
        role, split = _role(name)
        if (x or y) and name not in (x, y):
            role = "" if (role == "x" and x) or (role == "y" and y) else role
        elif name in (x, y):
            role, split = ("x" if name == x else "y"), ""
        if role and role in (roles := found.setdefault(split, {})):
            raise DataInvalid(f"{where} holds both {roles[role]!r} and {name!r}: say which to read with {role}=NAME")
        if role:
            found[split][role] = name
    found = {split: roles for split, roles in found.items() if roles}
    _refuse_incomplete(found, where, list(arrays))
    order = sorted(found, key=["", "train", "val", "test"].index)
    names = [(split, found[split]["x"], found[split]["y"]) for split in order]
    return [Pair(s, arrays[a], arrays[b], f"{a} of {where}", f"{b} of {where}") for s, a, b in names], _class_names(
        arrays, where
    )


def _role(name: str) -> tuple[str, str]:
    """Return what a name says: ("x", "y" or "", split or "")."""
    words = name.lower().replace("-", "_").split("_")
    splits = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
    rest = "_".join(word for word in words if word not in SPLIT_WORDS)
    for word in list(SPLIT_WORDS):
        if not splits and rest in (f"x{word}", f"y{word}"):
            return rest[0], SPLIT_WORDS[word]
    if len(splits) > 1 or rest not in _INPUT_WORDS | _LABEL_WORDS:
        return "", ""
    return ("x" if rest in _INPUT_WORDS else "y"), (splits[0] if splits else "")


def _refuse_incomplete(found: Mapping[str, Mapping[str, str]], where: str, names: list[str]) -> None:
    cure = "call them x and y, or x_train, y_train, x_test, y_test, or say x=NAME and y=NAME"
    has = f"it holds {first_rows(names, 12)}" if names else "it holds nothing"
    if not found:
        raise DataInvalid(f"{where} must hold inputs and labels; {has}: {cure}")
    for roles in found.values():
        for role, partner in (("x", "y"), ("y", "x")):
            if partner not in roles:
                what = "labels" if partner == "y" else "inputs"
                raise DataInvalid(f"{where} holds {roles[role]!r} without its {what}; {has}: {cure}")
    if "" in found and len(found) > 1:
        other = next(roles["x"] for split, roles in found.items() if split)
        raise DataInvalid(
            f"{where} holds both {found['']['x']!r} and {other!r}: name the splits of all arrays, or say x=NAME and "
            "y=NAME"
        )


def _class_names(arrays: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    for name in arrays:
        if name.lower() in _CLASS_WORDS:
            names = np.asarray(arrays[name])
            if names.ndim != 1 or names.dtype.kind not in "UO" or len(set(names.tolist())) != len(names):
                raise DataInvalid(
                    f"{name} of {where} must be a list of different class names, got {names.dtype} of shape "
                    f"{names.shape}"
                )
            return tuple(str(value) for value in names.tolist())
    return None
