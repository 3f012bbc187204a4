"""Data given as Python objects: NumPy arrays, tensors, any torch Dataset, or one of these for each split.

A Dataset is read a few items at a time, twice: where it answers the same, it is stored; where it is
random or too large, it stays a Dataset that streams, and that is said. It is never frozen silently.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, TensorDataset

from trainwell.core.task import TaskWish
from trainwell.data.datasets import PROBED_ITEMS, DatasetRead, StreamedItems, read_dataset, streamed_form
from trainwell.data.pairs import Pair, find_pairs, join_pairs
from trainwell.data.samples import SPLIT_WORDS, Kind, Samples, Scale
from trainwell.data.targets import read_targets
from trainwell.errors import DataInvalid

_CURE = 'give (x, y), {"train": (x, y), "test": (x, y)}, a torch Dataset of (input, label), or a dict of Datasets'


def given(data: Any, *, budget: int, task: TaskWish = "auto") -> Samples:
    """Return what a Python object holds as Samples.

    Args:
        data: `(x, y)`; a dict of split names to `(x, y)` or Datasets; a dict of named arrays as in a `.npz`;
            a map-style torch Dataset; or Samples.
        budget: bytes that a stored Dataset may take; a larger one streams.
        task: what the targets are; `auto` decides by what they hold.

    Raises:
        DataInvalid: the object is none of these, or what it holds cannot be used.
    """
    if isinstance(data, Samples):
        return data
    if isinstance(data, Mapping):
        return _from_mapping(data, budget, task)
    if isinstance(data, Dataset):
        return _from_datasets({"": data}, budget, task)
    if isinstance(data, (tuple, list)) and len(data) == 2 and not isinstance(data[0], Dataset):
        return join_pairs([Pair("", *data)], task=task)
    _refuse(data, "the data")
    raise DataInvalid(f"the data are a {type(data).__name__}{_length(data)}, which cannot be read: {_CURE}")


def _from_mapping(data: Mapping[Any, Any], budget: int, task: TaskWish) -> Samples:
    splits = {SPLIT_WORDS.get(str(name).lower(), ""): part for name, part in data.items()}
    if "" in splits or len(splits) != len(data):
        pairs, classes = find_pairs(data, where="the dict")
        return join_pairs(pairs, classes=classes, task=task)
    if "train" not in splits:
        raise DataInvalid(f"the dict holds the splits {', '.join(splits)} but no train: {_CURE}")
    datasets = [part for part in splits.values() if isinstance(part, Dataset)]
    if len(datasets) == len(splits):
        return _from_datasets(splits, budget, task)
    for name, part in splits.items():
        _refuse(part, f"the {name} part")
        if isinstance(part, Dataset) or not isinstance(part, (tuple, list)) or len(part) != 2:
            raise DataInvalid(
                f"the {name} part of the dict is a {type(part).__name__}{_length(part)}: {_CURE}, all of one kind"
            )
    pairs = [Pair(name, part[0], part[1], f"x of {name}", f"y of {name}") for name, part in splits.items()]
    return join_pairs(pairs, task=task)


def _from_datasets(parts: Mapping[str, Any], budget: int, task: TaskWish) -> Samples:
    for name, dataset in parts.items():
        _refuse(dataset, f"the {name} part" if name else "the data")
    plain = [_tensors(dataset) for dataset in parts.values()]
    if all(tensors is not None for tensors in plain):
        pairs = [Pair(name, *tensors, *_names(name)) for name, tensors in zip(parts, plain, strict=True) if tensors]
        return join_pairs(pairs, task=task)
    share = budget // len(parts)
    reads = {name: read_dataset(part, where=_place(name), budget=share) for name, part in parts.items()}
    notes = [note for read in reads.values() for note in read.notes]
    if any(read.streams for read in reads.values()):
        return _streaming(parts, reads, task).noted(*notes)
    pairs = [Pair(name, read.inputs, read.labels, *_names(name)) for name, read in reads.items()]
    return join_pairs(pairs, task=task).noted(*notes)


def _streaming(parts: Mapping[str, Any], reads: Mapping[str, DatasetRead], task: TaskWish) -> Samples:
    """Join Datasets of which at least one streams: all of them stream then."""
    forms = {name: streamed_form(read.inputs[:PROBED_ITEMS], _names(name)[0]) for name, read in reads.items()}
    shapes = {name: read.inputs.shape[1:] for name, read in reads.items()}
    if len(set(shapes.values())) > 1:
        raise DataInvalid(
            f"the parts of the dict differ in the shape of their inputs: {shapes}; bring them to one shape"
        )
    scales = {name: form.scale for name, form in forms.items()}
    if len(set(scales.values())) > 1:
        found = "; ".join(f"{name} {_scale_words(scale)}" for name, scale in scales.items())
        raise DataInvalid(
            f"the parts of the dict stream images on different scales: {found}; bring all of them to one type of number"
            " and one scale, such as uint8 from 0 to 255 or floats from 0 to 1"
        )
    where = " and ".join(_names(name)[1] for name in parts)
    known = read_targets(np.concatenate([read.labels for read in reads.values()]), where=where, task=task)
    ends = np.cumsum([len(read.labels) for read in reads.values()])
    items = [
        StreamedItems(part, labels, _place(name), forms[name])
        for (name, part), labels in zip(parts.items(), np.split(known.labels, ends[:-1]), strict=True)
    ]
    splits = np.repeat(np.array(list(parts), dtype="<U5"), [len(item) for item in items])
    kind: Kind = "images" if next(iter(forms.values())).is_image else "features"
    digests = tuple(digest for read in reads.values() for digest in read.digests)
    return Samples(
        known.classes,
        known.labels,
        splits,
        kind,
        dataset=ConcatDataset(items),
        digests=digests,
        notes=known.notes,
        scale=next(iter(scales.values())),
        task=known.task,
        reason=known.reason,
    )


def _scale_words(scale: Scale | None) -> str:
    if scale is None:
        return "holds values on no image's scale"
    return f"holds {'floats' if scale.is_float else 'whole numbers'} from 0 to {scale.highest:g}"


def _place(split: str) -> str:
    return f"the {split} dataset" if split else "the dataset"


def _names(split: str) -> tuple[str, str]:
    return (f"x of {split}", f"y of {split}") if split else ("x of the dataset", "y of the dataset")


def _tensors(dataset: Dataset[Any]) -> tuple[Any, Any] | None:
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return dataset.tensors[0], dataset.tensors[1]
    return None


def _refuse(data: Any, what: str) -> None:
    if isinstance(data, IterableDataset):
        raise DataInvalid(
            f"{what} is an IterableDataset, which has no length and no index, so it cannot be split or shuffled: "
            "give a map-style Dataset with __len__ and __getitem__"
        )
    if isinstance(data, DataLoader):
        raise DataInvalid(
            f"{what} is a DataLoader: give its dataset (loader.dataset); batches and shuffling are made here"
        )


def _length(data: Any) -> str:
    return f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
