"""Three ways that samples are held before they become stores: files, arrays, and a Dataset that streams.

Each answers the same questions: which samples, their content hashes, what every input becomes, and the
store of some rows of them.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from trainwell.core.machine import AutoChoice
from trainwell.data.automatic import choose_color, choose_size
from trainwell.data.badfiles import files_invalid, look, undecodable
from trainwell.data.decode import BadFile, Header
from trainwell.data.digests import fingerprint, hash_files, hash_rows
from trainwell.data.resize import ImageForm, Policy, fit_into
from trainwell.data.samples import Samples
from trainwell.data.store import Room, Store, store_images
from trainwell.data.stream import StreamStore
from trainwell.errors import DataInvalid

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wish:
    """How the user wants inputs to become tensors; see `DataSpec`."""

    image_size: int | Literal["auto", "keep"] | None
    resize: Policy
    color: Literal["auto", "grey", "rgb"]


class Held(Protocol):
    """Samples on their way into stores."""

    @property
    def samples(self) -> Samples: ...
    @property
    def digests(self) -> Sequence[str]: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def form(self) -> ImageForm | None: ...
    @property
    def choices(self) -> tuple[AutoChoice, ...]: ...
    @property
    def bad(self) -> tuple[BadFile, ...]: ...

    def store(self, rows: np.ndarray, room: Room, progress: Progress | None) -> tuple[Any, list[BadFile]]:
        """Return the store of some rows, and the files among them that could not be decoded."""
        ...


@dataclass(frozen=True)
class HeldFiles:
    """Image files whose headers are sound; `bad` are those that were left out."""

    samples: Samples
    digests: tuple[str, ...]
    form: ImageForm
    choices: tuple[AutoChoice, ...]
    bad: tuple[BadFile, ...]
    threads: int
    skip_bad: bool

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.form.channels, self.form.height, self.form.width

    def store(self, rows: np.ndarray, room: Room, progress: Progress | None) -> tuple[Store | None, list[BadFile]]:
        assert self.samples.files is not None
        return store_images(
            [self.samples.files[row] for row in rows],
            self.samples.labels[rows],
            self.form,
            room=room,
            fingerprint=fingerprint(f"{place} {self.digests[row]}" for place, row in enumerate(rows.tolist())),
            threads=self.threads,
            skip_bad=self.skip_bad,
            progress=progress,
        )


def hold_files(samples: Samples, wish: Wish, *, threads: int, skip_bad: bool) -> HeldFiles:
    """Read the header and the hash of every file, and decide what all images become.

    Raises:
        FilesInvalid: files cannot be used, and `skip_bad` is not set.
        DataInvalid: no file can be used.
    """
    assert samples.files is not None
    answers = look(samples.files, threads=threads)
    bad = tuple(answer for answer in answers if isinstance(answer, BadFile))
    good = [row for row, answer in enumerate(answers) if isinstance(answer, Header)]
    if bad and not skip_bad:
        rest = undecodable([samples.files[row] for row in good], threads=threads)
        names = {fault.path: fault for fault in (*bad, *rest)}
        raise files_invalid(
            [names[path] for path in dict.fromkeys(samples.files) if path in names], len(samples), samples.root
        )
    if not good:
        raise files_invalid(bad, len(samples), samples.root)
    headers = [answer for answer in answers if isinstance(answer, Header)]
    size, size_choice = choose_size(wish.image_size, [(header.height, header.width) for header in headers])
    channels, color_choice = choose_color(wish.color, [header.channels for header in headers])
    form = ImageForm(*size, cast(Literal[1, 3], channels), wish.resize)
    kept = samples.take(good) if bad else samples
    digests = tuple(hash_files(kept.files or (), threads=threads))
    return HeldFiles(kept, digests, form, (size_choice, color_choice), bad, threads, skip_bad)


@dataclass(frozen=True)
class HeldArrays:
    """Images (N, H, W, C) or features (N, D) in memory, in their final form."""

    samples: Samples
    digests: tuple[str, ...]
    form: ImageForm | None
    choices: tuple[AutoChoice, ...]
    bad: tuple[BadFile, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        assert self.samples.arrays is not None
        shape = tuple(self.samples.arrays.shape[1:])
        return (shape[2], shape[0], shape[1]) if self.samples.kind == "images" else shape

    def store(self, rows: np.ndarray, room: Room, progress: Progress | None) -> tuple[Store, list[BadFile]]:
        assert self.samples.arrays is not None
        inputs = self.samples.arrays[torch.from_numpy(rows)]
        make = Store.of_images if self.samples.kind == "images" else Store.of_features
        return make(inputs, self.samples.labels[rows]), []


def hold_arrays(samples: Samples, wish: Wish, *, threads: int) -> HeldArrays:
    """Bring arrays to their final size and colour.

    Raises:
        DataInvalid: a colour was asked for that the channels cannot give.
    """
    assert samples.arrays is not None
    digests = tuple(hash_rows(samples.arrays))
    if samples.kind == "features":
        if wish.image_size not in (None, "auto") or wish.color != "auto":
            raise DataInvalid(
                f"the data are features of {samples.arrays.shape[1]} numbers, not images: "
                f"image_size={wish.image_size} and color={wish.color} mean nothing here; leave both on auto"
            )
        return HeldArrays(samples, digests, None, ())
    images = samples.arrays
    _count, height, width, channels = images.shape
    size, size_choice = choose_size(wish.image_size, [(height, width)])
    if channels not in (1, 3) and (wish.color != "auto" or size != (height, width)):
        raise DataInvalid(
            f"images of {channels} channels can only be kept as they are: leave color=auto and say image_size=keep, "
            f"got color={wish.color} and image_size={size_choice.value}"
        )
    wanted, color_choice = choose_color(wish.color, [channels])
    if channels not in (1, 3):
        return HeldArrays(samples, digests, None, (size_choice,))
    form = ImageForm(*size, cast(Literal[1, 3], wanted), wish.resize)
    images = _resized(_recoloured(images, wanted), form, threads)
    return HeldArrays(replace(samples, arrays=images), digests, form, (size_choice, color_choice))


def _recoloured(images: Tensor, channels: int) -> Tensor:
    """Bring (N, H, W, C) images to 1 or 3 channels; grey is the luma of ITU-R BT.601, as image files become grey."""
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return images.expand(-1, -1, -1, 3).contiguous()
    luma = images.float() @ torch.tensor([[0.299], [0.587], [0.114]])  # (N, H, W, 3) -> (N, H, W, 1)
    return luma.round().to(torch.uint8) if images.dtype == torch.uint8 else luma


def _resized(images: Tensor, form: ImageForm, threads: int) -> Tensor:
    if images.shape[1:3] == (form.height, form.width):
        return images
    pixels = images.numpy()
    out = np.empty((len(pixels), *form.shape), dtype=pixels.dtype)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda row: fit_into(pixels[row], form, out[row]), range(len(pixels)), chunksize=64))
    return torch.from_numpy(out)


@dataclass(frozen=True)
class HeldStream:
    """A user's Dataset that streams: its items come as the Dataset makes them."""

    samples: Samples
    digests: tuple[str, ...]
    input_shape: tuple[int, ...]
    seed: int
    form: ImageForm | None = None
    choices: tuple[AutoChoice, ...] = ()
    bad: tuple[BadFile, ...] = ()

    def store(self, rows: np.ndarray, room: Room, progress: Progress | None) -> tuple[StreamStore, list[BadFile]]:
        assert self.samples.dataset is not None
        places = torch.from_numpy(rows)
        return StreamStore(self.samples.dataset, torch.from_numpy(self.samples.labels)[places], places, self.seed), []


def hold_stream(samples: Samples, wish: Wish, *, seed: int) -> HeldStream:
    """Take a Dataset as it is.

    Raises:
        DataInvalid: a size or a colour was asked for, which only the Dataset itself can give.
    """
    assert samples.dataset is not None
    assert samples.digests is not None
    if wish.image_size not in (None, "auto", "keep") or wish.color != "auto":
        raise DataInvalid(
            f"the dataset streams, so its images come as it makes them: image_size={wish.image_size} and "
            f"color={wish.color} "
            "cannot be brought about here; resize in the dataset, and leave both on auto"
        )
    first, _ = samples.dataset[0]
    return HeldStream(samples, samples.digests, tuple(first.shape), seed)
