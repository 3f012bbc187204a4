"""Samples of one split, decoded once and ready to be gathered: in memory, or in a memory-mapped pack on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainwell.core.batch import Batch
from trainwell.data.decode import DECODER, BadFile, Progress, decode_into
from trainwell.data.pack import Pack, draft_pack, open_pack, pack_path
from trainwell.data.resize import ImageForm
from trainwell.errors import DataInvalid, ShapeError


@dataclass(frozen=True)
class Store:
    """N samples of one split.

    Attributes:
        inputs: (N, C, H, W) images in channels-last memory (a view of a contiguous (N, H, W, C) tensor), uint8
            or float32, or (N, ...) float32 features.
        targets: (N,) int64 class ids, or (N, M) float32 numbers or labels.
        pack: the file that holds the inputs, or None where they are in memory.

    >>> store = Store.of_images(torch.zeros(3, 8, 8, 1, dtype=torch.uint8), torch.tensor([0, 1, 1]))
    >>> batch = store.gather(torch.tensor([2, 0]))
    >>> tuple(batch.inputs.shape), batch.targets.tolist(), batch.index.tolist()
    ((2, 1, 8, 8), [1, 0], [2, 0])
    """

    inputs: Tensor
    targets: Tensor
    pack: Path | None = None

    def __post_init__(self) -> None:
        form = torch.int64 if self.targets.ndim == 1 else torch.float32
        if self.targets.ndim not in (1, 2) or len(self.targets) != len(self.inputs) or self.targets.dtype != form:
            raise ShapeError(
                f"targets must be (N,) int64 with N = {len(self.inputs)} inputs, got {tuple(self.targets.shape)} "
                f"{self.targets.dtype}: give one class id for each sample, or its numbers as (N, M) float32"
            )

    @classmethod
    def of_images(
        cls, images: np.ndarray | Tensor, targets: np.ndarray | Tensor, *, pack: Path | None = None
    ) -> "Store":
        """Return a store over (N, H, W, C) images, without copying them.

        Raises:
            ShapeError: images is not (N, H, W, C) uint8 or float32, or targets is not (N,) int64.
        """
        images = torch.as_tensor(images)
        if images.ndim != 4 or images.dtype not in (torch.uint8, torch.float32):
            raise ShapeError(
                f"images must be (N, H, W, C) uint8 or float32, got {tuple(images.shape)} {images.dtype}: "
                "add the axis of channels, and keep the range 0 to 255"
            )
        return cls(images.contiguous().permute(0, 3, 1, 2), torch.as_tensor(targets), pack)

    @classmethod
    def of_features(cls, features: np.ndarray | Tensor, targets: np.ndarray | Tensor) -> "Store":
        """Return a store over (N, ...) float32 features, without copying them.

        Raises:
            ShapeError: features is not (N, ...) float32, or targets is not (N,) int64.
        """
        features = torch.as_tensor(features)
        if features.ndim < 2 or features.dtype != torch.float32:
            raise ShapeError(f"features must be (N, ...) float32, got {tuple(features.shape)} {features.dtype}")
        return cls(features.contiguous(), torch.as_tensor(targets))

    def __len__(self) -> int:
        return len(self.targets)

    def gather(self, index: Tensor) -> Batch:
        """Return the samples at `index`, (n,) int64 positions, as a batch that owns its memory."""
        if self.inputs.ndim == 4:  # index_select keeps rows together only in the order that they lie in
            inputs = self.inputs.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
        else:
            inputs = self.inputs.index_select(0, index)
        return Batch(inputs, self.targets.index_select(0, index), index)


@dataclass(frozen=True)
class Room:
    """Where decoded images may lie: in memory up to a number of bytes, beyond it in packs in a folder.

    `folder` None means that there is no place on disk; `memory` None means no limit.
    """

    memory: int | None = None
    folder: Path | None = None

    def holds(self, size: int) -> bool:
        """Whether `size` bytes may lie in memory."""
        return self.memory is None or size <= self.memory


def store_images(
    paths: Sequence[Path],
    targets: np.ndarray,
    form: ImageForm,
    *,
    room: Room,
    fingerprint: str,
    threads: int = 1,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> tuple[Store | None, list[BadFile]]:
    """Decode image files into a Store, once: a pack on disk is used again.

    Args:
        paths: N image files.
        targets: (N,) int64 class ids, or (N, M) float32.
        form: size, channels and policy of the stored images.
        room: where they may lie.
        fingerprint: hash of the files' contents in this order; with `form` and the decoder it names the pack.
        threads: files decoded at a time; the bits do not depend on it.
        skip_bad: leave bad files out; the rows behind them move up.
        progress: called as `progress(done, N)`.

    Returns:
        (store, bad files in the order of `paths`); the store is None, and nothing is kept, where files are
        bad and `skip_bad` is not set.

    Raises:
        DataInvalid: neither memory nor disk has room for the images, or every file is bad.
    """
    shape = (len(paths), *form.shape)
    size = int(np.prod(shape))
    if room.holds(size):
        rows = np.empty(shape, dtype=np.uint8)
        bad = decode_into(paths, form, rows, threads=threads, progress=progress)
        if bad and not skip_bad:
            return None, bad
        kept = _close_up(rows, _rows_of(bad, paths))
        return Store.of_images(rows[: len(kept)], targets[kept]), bad
    if room.folder is None:
        raise DataInvalid(
            f"{len(paths)} images of {form.height}x{form.width} take {size / 2**30:.2f} GiB, over the memory budget "
            f"of {(room.memory or 0) / 2**30:.2f} GiB, and there is no cache folder: name one, raise the budget, or "
            "choose a smaller image_size"
        )
    key = {"fingerprint": fingerprint, "form": [*form.shape, form.policy], "files": len(paths), "decoder": DECODER}
    path = pack_path(room.folder, key)
    found = open_pack(path, key)
    if found is None:
        with draft_pack(path, key, shape) as draft:
            bad = decode_into(paths, form, draft.rows, threads=threads, progress=progress)
            if bad and not skip_bad:
                return None, bad
            faults = dict(zip(_rows_of(bad, paths), (fault.reason for fault in bad), strict=True))
            kept = _close_up(draft.rows, list(faults))
            found = draft.publish(len(kept), {"bad": sorted(faults.items())})
    return _of_pack(found, paths, targets, skip_bad=skip_bad)


def _of_pack(
    pack: Pack, paths: Sequence[Path], targets: np.ndarray, *, skip_bad: bool
) -> tuple[Store | None, list[BadFile]]:
    rows = [row for row, _ in pack.note["bad"]]
    bad = [BadFile(paths[row], reason) for row, reason in pack.note["bad"]]
    if bad and not skip_bad:
        return None, bad
    return Store.of_images(pack.rows, np.delete(targets, rows, axis=0), pack=pack.path), bad


def _rows_of(bad: Sequence[BadFile], paths: Sequence[Path]) -> list[int]:
    names = {fault.path for fault in bad}
    return [row for row, path in enumerate(paths) if path in names]


def _close_up(rows: np.ndarray, missing: Sequence[int]) -> np.ndarray:
    """Move the good rows up over the missing ones, in place; return the positions that they came from."""
    kept = np.delete(np.arange(len(rows)), missing)
    if not len(kept):
        raise DataInvalid(f"none of the {len(rows)} files can be used: see the reasons named for each")
    for target in range(min(missing, default=len(kept)), len(kept)):
        rows[target] = rows[kept[target]]
    return kept
