"""From the bytes of an image file to upright uint8 pixels, in the size and colour that a data set has.

JPEG goes through libjpeg-turbo (simplejpeg), everything else through Pillow. Nothing is repaired: a file
that is cut short, damaged, empty, too large or no image gives an error that names it. What the bytes say
counts, not the file's ending; `mismatch` tells where the two differ.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from PIL import Image

from trainwell.data.jpeg import HEAD_BYTES, JPEG_DECODER, read_jpeg, read_jpeg_header
from trainwell.data.pixels import Unreadable, check_pixels, is_grey, open_image, orientation, read_pixels
from trainwell.data.resize import KERNEL, ImageForm, fit_into, whole_size
from trainwell.errors import DataInvalid

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Answer = TypeVar("Answer")

DECODER = {
    "jpeg": JPEG_DECODER,
    "other": f"Pillow {PIL.__version__}, transparency on white",
    "kernel": KERNEL,
}

MAX_FILE_BYTES = 512 * 2**20
_FILES_PER_TASK = 16
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "PNG": (".png", ".apng"), "GIF": (".gif",),
    "BMP": (".bmp", ".dib"), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"),
}  # fmt: skip


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used, and why, in words."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


@dataclass(frozen=True)
class Header:
    """What a file says of its image before anything is decoded: the upright size, 1 or 3 channels, its format."""

    width: int
    height: int
    channels: int
    format: str


def mismatch(path: Path, header: Header) -> str | None:
    """Say that a file's ending names another format than its content, or None where they agree.

    >>> mismatch(Path("a.jpg"), Header(4, 4, 3, "PNG"))
    'a.jpg holds a PNG image'
    """
    return None if path.suffix.lower() in _SUFFIXES[header.format] else f"{path} holds a {header.format} image"


def read_header(path: Path) -> Header:
    """Return the header of an image file.

    Raises:
        DataInvalid: the file cannot be opened, is empty or no image, or has too many pixels.
    """
    with pillow_is_quiet():
        return _or_data_invalid(_read_header, path, str(path))


def inspect(paths: Sequence[Path], *, threads: int = 1, progress: Progress | None = None) -> list[Header | BadFile]:
    """Return for each file its header, or what is wrong with it; nothing is raised."""
    answers: list[Header | BadFile] = []
    for path, answer in zip(paths, _in_threads(_read_header, paths, threads, progress), strict=True):
        answers.append(BadFile(path, str(answer)) if isinstance(answer, Unreadable) else answer)
    return answers


def decode_bytes(data: bytes, form: ImageForm, name: str = "the image") -> np.ndarray:
    """Return the image in a file's bytes in the form asked for: (H, W, C) uint8.

    Args:
        data: the content of a JPEG, PNG, GIF (first frame), BMP, WebP or TIFF file.
        form: size, channels and policy.
        name: what an error calls the image.

    Raises:
        DataInvalid: the bytes are no image, damaged, cut short or too large.
    """
    out = np.empty(form.shape, dtype=np.uint8)
    with pillow_is_quiet():
        _or_data_invalid(lambda content: _decode(content, form, out), data, name)
    return out


def decode_pixels(data: bytes, form: ImageForm) -> np.ndarray:
    """Return the upright (h, w, C) uint8 pixels of a file's bytes as `fit_into` takes them; C as in `form`.

    A JPEG that is much larger than the form comes out at a reduced scale.

    Raises:
        Unreadable: the bytes are no image, damaged, cut short or too large.
    """
    jpeg = read_jpeg_header(data)
    if jpeg is None:
        pixels = read_pixels(data, form.channels)
    else:
        pixels = read_jpeg(data, jpeg, form.channels, at_least=min(whole_size(*jpeg.upright, form)))
    check_whole_size(pixels.shape[0], pixels.shape[1], form)
    return pixels


def decode_into(
    paths: Sequence[Path],
    form: ImageForm,
    out: np.ndarray,
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> list[BadFile]:
    """Decode files straight into the rows of an array; the same bits whatever the number of threads.

    Args:
        paths: N image files.
        form: size, channels and policy.
        out: (N, H, W, C) uint8, in memory or memory-mapped; row n is overwritten by file n, and left in
            an undefined state where file n is bad.
        threads: files decoded at a time.
        progress: called as `progress(done, N)` from the calling thread.

    Returns:
        All bad files, in the order of `paths`.
    """
    assert out.shape == (len(paths), *form.shape), "one row a file"
    assert out.dtype == np.uint8

    def decode(row: int) -> None:
        _decode(read_file(paths[row]), form, out[row])

    answers = _in_threads(decode, range(len(paths)), threads, progress)
    return [BadFile(path, str(answer)) for path, answer in zip(paths, answers, strict=True) if answer is not None]


def _decode(data: bytes, form: ImageForm, out: np.ndarray) -> None:
    fit_into(decode_pixels(data, form), form, out)


def check_whole_size(height: int, width: int, form: ImageForm) -> None:
    """Refuse an image so long and thin that its whole would have too many pixels in a form.

    Raises:
        Unreadable: so it is.
    """
    whole_height, whole_width = whole_size(height, width, form)
    try:
        check_pixels(whole_width, whole_height)
    except Unreadable:
        raise Unreadable(
            f"is {width}x{height}, too long and thin: it would be {whole_width}x{whole_height} before the centre "
            "is cut out; cut it yourself or use resize = pad"
        ) from None


def _read_header(path: Path) -> Header:
    head = read_file(path, HEAD_BYTES)
    if (jpeg := read_jpeg_header(head)) is not None:
        height, width = jpeg.upright
        return Header(width, height, 1 if jpeg.is_grey else 3, "JPEG")
    data = head if len(head) < HEAD_BYTES else read_file(path)
    image = open_image(data)
    width, height = image.size
    if orientation(image, data) >= 5:
        width, height = height, width
    return Header(width, height, 1 if is_grey(image) else 3, image.format or "")


def read_file(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a file, or its first `limit` bytes.

    Raises:
        Unreadable: it cannot be opened, is empty, too large, or no regular file.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise Unreadable("is no regular file")  # a pipe would keep its reader waiting for ever
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise Unreadable(f"is {size / 2**20:,.0f} MiB, an image file may have {MAX_FILE_BYTES // 2**20} MiB")
            data = file.read(-1 if limit is None else limit)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise Unreadable(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not data:
        raise Unreadable("is empty (0 bytes)")
    return data


def _or_data_invalid(work: Callable[[Item], Answer], item: Item, name: str) -> Answer:
    try:
        return work(item)
    except Unreadable as fault:
        raise DataInvalid(f"{name} {fault}") from None


def _in_threads(
    work: Callable[[Item], Answer], items: Sequence[Item], threads: int, progress: Progress | None
) -> list[Answer | Unreadable]:
    """Return for each item the answer of `work`, or the Unreadable that it raised, in order."""

    def task(start: int) -> list[Answer | Unreadable]:
        answers: list[Answer | Unreadable] = []
        for item in items[start : start + _FILES_PER_TASK]:
            try:
                answers.append(work(item))
            except Unreadable as fault:
                answers.append(fault)
        return answers

    done: list[Answer | Unreadable] = []
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="decode")
    try:
        with pillow_is_quiet():
            for answers in pool.map(task, range(0, len(items), _FILES_PER_TASK)):
                done += answers
                if progress is not None:
                    progress(len(done), len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return done


@contextmanager
def pillow_is_quiet() -> Iterator[None]:
    """Leave Pillow's warnings on broken metadata out, and make its bomb warning the error that it is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
        yield
