"""Decode images in threads, a few batches ahead of whoever uses them."""

import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from trainwell.core.machine import available_cores
from trainwell.data.decode import BadFile, check_whole_size, decode_pixels, pillow_is_quiet, read_file
from trainwell.data.pixels import ORIENTATION, Unreadable, check_pixels, to_uint8, turn
from trainwell.data.resize import ImageForm, fit_into

Content = Path | bytes | Image.Image | np.ndarray  # an array is (h, w, 1, 3 or 4) uint8

_AHEAD = 2  # batches under way while one is used: enough for a slow file not to hold the network up
_PER_TASK = 8
_pillow_lock = threading.Lock()  # an image object may stand in a list twice, and loads its pixels once


@dataclass(frozen=True)
class Source:
    """One image to be decoded, and what a person calls it."""

    name: str
    content: Content


@dataclass
class Decoded:
    """A batch of decoded images: (N, H, W, C) uint8 pixels of the sources that could be used, and the others."""

    pixels: np.ndarray
    names: list[str] = field(default_factory=list)
    bad: list[BadFile] = field(default_factory=list)


def decode_batches(sources: Sequence[Source], form: ImageForm, *, batch_size: int) -> Generator[Decoded, None, None]:
    """Yield all sources in their order, decoded; the next batches are decoded while one is used."""
    under_way: deque[tuple[np.ndarray, int, list[Future[list[str | None]]]]] = deque()
    pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="decode")
    starts = iter(range(0, len(sources), batch_size))

    def begin() -> None:
        start = next(starts, None)
        if start is None:
            return
        count = min(batch_size, len(sources) - start)
        out = np.empty((count, *form.shape), np.uint8)
        pieces = [range(row, min(row + _PER_TASK, count)) for row in range(0, count, _PER_TASK)]
        tasks = [pool.submit(_decode_rows, sources, start, rows, form, out) for rows in pieces]
        under_way.append((out, start, tasks))

    try:
        with pillow_is_quiet():
            for _ in range(1 + _AHEAD):
                begin()
            while under_way:
                out, start, tasks = under_way.popleft()
                reasons = [reason for task in tasks for reason in task.result()]
                begin()
                yield _sorted_out(out, sources[start : start + len(out)], reasons)
    finally:
        pool.shutdown(cancel_futures=True)


def _sorted_out(out: np.ndarray, sources: Sequence[Source], reasons: Sequence[str | None]) -> Decoded:
    if not any(reasons):
        return Decoded(out, [source.name for source in sources])
    good = [row for row, reason in enumerate(reasons) if reason is None]
    bad = [BadFile(Path(s.name), why) for s, why in zip(sources, reasons, strict=True) if why is not None]
    return Decoded(out[good], [sources[row].name for row in good], bad)


def _decode_rows(
    sources: Sequence[Source], start: int, rows: range, form: ImageForm, out: np.ndarray
) -> list[str | None]:
    """Decode some sources into their rows; return for each what is wrong with it, or None."""
    reasons: list[str | None] = []
    for row in rows:
        try:
            fit_into(_pixels(sources[start + row].content, form), form, out[row])
            reasons.append(None)
        except Unreadable as fault:
            reasons.append(str(fault))
    return reasons


def _pixels(content: Content, form: ImageForm) -> np.ndarray:
    """Return upright (h, w, C) pixels of an image in any shape, with the colours of the form."""
    if isinstance(content, Path):
        return decode_pixels(read_file(content), form)
    if isinstance(content, bytes):
        if not content:
            raise Unreadable("is empty (0 bytes)")
        return decode_pixels(content, form)
    if isinstance(content, np.ndarray):
        pixels = _of_array(content, form)
    else:
        with _pillow_lock:
            pixels = _of_pillow(content, form)
    check_whole_size(pixels.shape[0], pixels.shape[1], form)
    return pixels


def _of_array(array: np.ndarray, form: ImageForm) -> np.ndarray:
    check_pixels(array.shape[1], array.shape[0])
    if array.shape[2] == form.channels:
        return array
    return to_uint8(Image.fromarray(array[..., 0] if array.shape[2] == 1 else array), form.channels)


def _of_pillow(image: Image.Image, form: ImageForm) -> np.ndarray:
    check_pixels(image.width, image.height)
    try:
        image.load()
        # Pillow turns TIFF files itself and takes the mark away, as its own exif_transpose does.
        turned = 1 if image.format == "TIFF" else image.getexif().get(ORIENTATION, 1)
        return turn(to_uint8(image, form.channels), turned)
    except Unreadable:
        raise
    except Exception as error:  # Pillow's readers let many kinds of error out on broken bytes
        raise Unreadable(f"cannot be decoded ({str(error).strip() or type(error).__name__})") from None
