"""What a run keeps for people to look at: some of its samples, and what it answered to val and test.

Pictures and pages read these files and never the data, so that they can be drawn anywhere, by a process
without torch, and of a run that died.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainwell.core.files import save_tensors, sync
from trainwell.data.pipeline import Pipeline
from trainwell.data.prepare import Prepared
from trainwell.data.resize import resize
from trainwell.errors import RunDamaged, RunInvalid
from trainwell.metrics import shown
from trainwell.train.folder import RunFolder

SHEET_IMAGES = 60
AUGMENTED_IMAGES, AUGMENTED_TIMES = 6, 6
LARGEST_SIDE = 96  # pixels of an image that is only looked at
MOST_POINTS = 2_000
ANSWERS = {"classes": "probabilities", "labels": "probabilities", "numbers": "numbers"}  # what the file calls them


def keep_samples(folder: RunFolder, prepared: Prepared, pipeline: Pipeline, *, is_augmented: bool) -> None:
    """Store a contact sheet, augmented versions of some images, and the content hashes of train and val.

    Args:
        folder: of the run.
        prepared: its data.
        pipeline: of training; what it does to a sample is a function of seed and epoch, so looking changes nothing.
        is_augmented: whether the recipe has augmentations.

    Raises:
        RunInvalid: the disk is full or may not be written.
    """
    tensors = {"train_digests": _heads(prepared, prepared.rows.train)}
    if prepared.rows.val is not None:
        tensors["val_digests"] = _heads(prepared, prepared.rows.val)
    store, names = prepared.stores.train, []
    if prepared.kind == "images":
        is_classes, chosen = prepared.task.name == "classes", sheet(prepared)
        tensors["sheet/images"] = for_eyes(store.gather(chosen).inputs)
        if is_classes:
            tensors["sheet/labels"] = store.targets[chosen].clone()
        names = [prepared.name("train", position) for position in chosen.tolist()]
        if is_augmented:
            spread = torch.linspace(0, len(chosen) - 1, min(AUGMENTED_IMAGES, len(chosen))).long()
            batch = store.gather(chosen[spread])
            versions = [for_eyes(pipeline.augment(batch, epoch)) for epoch in range(AUGMENTED_TIMES)]
            tensors["augmented/before"] = for_eyes(batch.inputs)
            tensors["augmented/after"] = torch.stack(versions, dim=1)  # (m, r, H, W, C)
    elif prepared.input_shape == (2,):
        batch = store.gather(torch.arange(min(len(store), MOST_POINTS)))
        tensors["points/inputs"] = batch.inputs.float()
        if prepared.task.name == "classes":
            tensors["points/labels"] = batch.targets
        elif prepared.task.name == "numbers":
            tensors["points/numbers"] = torch.from_numpy(prepared.targets("train")[: len(batch), 0].copy())
    write_tensors(folder.samples, tensors, {"names": json.dumps(names)})


def sheet(prepared: Prepared) -> Tensor:
    """Return the positions of the train images that a page shows: equally many of each class, or evenly over all."""
    store = prepared.stores.train
    if prepared.task.name == "classes":
        return balanced(store.targets, len(prepared.classes), SHEET_IMAGES)
    return _spread(len(store))


def _spread(count: int) -> Tensor:
    """Return positions of some samples of a split, evenly over it."""
    return torch.linspace(0, count - 1, min(SHEET_IMAGES, count)).long()


def _heads(prepared: Prepared, rows: np.ndarray) -> Tensor:
    """Return the first 8 bytes of the content hashes of some samples, sorted, int64."""
    heads = sorted(int(prepared.digests[row][:16], 16) - 2**63 for row in rows.tolist())
    return torch.tensor(heads, dtype=torch.int64)


def keep_predictions(
    folder: RunFolder,
    prepared: Prepared,
    answers: Mapping[str, Tensor],
    *,
    step: int,
    temperature: float = 1.0,
) -> None:
    """Store what was answered to val and test, and the val images that a person should look at.

    Args:
        folder: of the run.
        prepared: its data.
        answers: by split: the probabilities (N, K) of classes or labels, or numbers (N, M).
        step: after how many steps the weights gave them.
        temperature: that they were brought to.

    Raises:
        RunInvalid: the disk is full or may not be written.
    """
    tensors: dict[str, Tensor] = {}
    names = {"step": str(step), "temperature": repr(temperature)}
    task = prepared.task.name
    for split, values in answers.items():
        targets = torch.from_numpy(np.ascontiguousarray(prepared.targets(split)))
        tensors |= {f"{split}/{ANSWERS[task]}": values, f"{split}/targets": targets}
        names[f"{split}_names"] = json.dumps([prepared.name(split, position) for position in range(len(targets))])
    val = prepared.stores.val
    if "val" in answers and val is not None and prepared.kind == "images" and task == "classes":
        chosen = torch.from_numpy(shown(answers["val"].numpy(), val.targets.numpy()))
        tensors["val/shown_index"] = chosen
        if len(chosen):
            tensors["val/shown_images"] = for_eyes(val.gather(chosen).inputs)
    write_tensors(folder.predictions, tensors, names)


def remove_predictions(folder: RunFolder) -> None:
    """Remove the predictions of an earlier end of a run, if there are any, on the disk too.

    Raises:
        RunInvalid: the disk may not be written.
    """
    try:
        folder.predictions.unlink(missing_ok=True)
        sync(folder.path)
    except OSError as error:
        raise RunInvalid(f"{folder.predictions} cannot be replaced: {error.strerror}: let it be written") from None


def balanced(targets: Tensor, num_classes: int, most: int) -> Tensor:
    """Return positions of at most `most` samples, the same number of each class while there are any, class by class.

    >>> balanced(torch.tensor([0, 0, 0, 1]), 2, 4)
    tensor([0, 1, 3])
    """
    each = max(1, most // num_classes)
    by_class = [(targets == label).nonzero().flatten()[:each] for label in range(min(num_classes, most))]
    return torch.cat(by_class)


def for_eyes(images: Tensor) -> Tensor:
    """Return (N, C, H, W) images of any kind as (N, h, w, 1 or 3) uint8, small enough to look at many."""
    if images.dtype != torch.uint8:
        low, high = images.amin(), images.amax()
        images = ((images - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    if images.shape[1] not in (1, 3):
        images = images[:, :1]
    pixels = images.permute(0, 2, 3, 1).contiguous()
    height, width = pixels.shape[1:3]
    if max(height, width) <= LARGEST_SIDE:
        return pixels
    ratio = LARGEST_SIDE / max(height, width)
    size = max(1, round(height * ratio)), max(1, round(width * ratio))
    return torch.from_numpy(np.stack([resize(image, *size) for image in pixels.numpy()]))


def read_kept(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Return those of some arrays that a file of a run holds; none where there is no file yet.

    Raises:
        RunDamaged: the file was altered or cut short.
    """
    if not path.exists():
        return {}
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in set(file.keys()).intersection(names)}
    except (OSError, SafetensorError) as error:
        raise RunDamaged(
            f"{path} cannot be read: {error}: it was altered or cut short: restore it from a copy, or delete it, which"
            " loses only what it shows"
        ) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file so that a reader sees the old file or the new one, never half of it.

    Raises:
        RunInvalid: the disk is full or may not be written.
    """
    aside = path.with_name(f".{path.name}.new")
    try:
        save_tensors(aside, {name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise RunInvalid(f"{path} cannot be written: {error}: free some space or choose another disk") from None
    finally:
        aside.unlink(missing_ok=True)  # nothing is there where all went well
