"""What is decided for the user about their images, once, before anything is decoded; each with its reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from trainwell.core.machine import AutoChoice, memory_bytes
from trainwell.errors import DataInvalid

KEPT_SIDE = 96  # images up to here train in minutes on two cores as they are
PHOTOGRAPH_SIDE = 64  # larger or mixed images are brought to at most this side
_STEP = 8  # sides are multiples of this, so that three halvings in a network leave whole numbers


def choose_size(
    asked: int | Literal["auto", "keep"] | None, sizes: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], AutoChoice]:
    """Return (height, width) that all images are brought to, and why.

    Images of one size up to the kept side stay as they are. Others become squares: as large as the median
    shorter side allows without enlarging, and at most the side of photographs.

    Args:
        asked: a side, or "keep" for images that all have one size, or "auto" or None.
        sizes: (height, width) of every image.

    Raises:
        DataInvalid: "keep" was asked for, and sizes differ.
    """
    distinct = sorted(set(sizes))
    (low_height, low_width), (high_height, high_width) = distinct[0], distinct[-1]
    if isinstance(asked, int):
        return (asked, asked), AutoChoice("data.image_size", asked, "asked for")
    if asked == "keep":
        if len(distinct) > 1:
            raise DataInvalid(
                f"image_size=keep needs images of one size, got {len(distinct)} sizes, such as "
                f"{low_width}x{low_height} and "
                f"{high_width}x{high_height}: give a side, such as image_size=64"
            )
        return distinct[0], AutoChoice("data.image_size", "keep", "asked for")
    if len(distinct) == 1 and max(distinct[0]) <= KEPT_SIDE:
        reason = f"all images are {low_width}x{low_height}, which is small: kept as they are"
        return distinct[0], AutoChoice("data.image_size", low_height if low_height == low_width else "keep", reason)
    shorter = int(np.median([min(size) for size in sizes]))
    side = min(PHOTOGRAPH_SIDE, max(_STEP, shorter // _STEP * _STEP))
    what = (
        f"all images are {low_width}x{low_height}"
        if len(distinct) == 1
        else f"images have {len(distinct)} sizes (median shorter side {shorter})"
    )
    reason = f"{what}: squares of {side} train fast on any machine; give image_size for finer detail"
    return (side, side), AutoChoice("data.image_size", side, reason)


def choose_color(asked: Literal["auto", "grey", "rgb"], channels: Sequence[int]) -> tuple[int, AutoChoice]:
    """Return how many channels all images get, and why: grey only where every image is."""
    if asked != "auto":
        return {"grey": 1, "rgb": 3}[asked], AutoChoice("data.color", asked, "asked for")
    if all(count == 1 for count in channels):
        return 1, AutoChoice("data.color", "grey", "all images are grey")
    grey = sum(count == 1 for count in channels)
    reason = (
        f"{grey} of {len(channels)} images are grey, the others are in colour" if grey else "the images are in colour"
    )
    return 3, AutoChoice("data.color", "rgb", reason)


def choose_budget(asked: float | Literal["auto"] | None) -> tuple[int, AutoChoice]:
    """Return how many bytes of memory the samples may take, and why: half of what is free."""
    if isinstance(asked, (int, float)):
        return int(asked * 2**30), AutoChoice("data.memory_gib", asked, "asked for")
    free = available_memory()
    gib = max(0.01, round(free / 2**31, 2))
    return int(gib * 2**30), AutoChoice(
        "data.memory_gib", gib, f"half of the {free / 2**30:.1f} GiB of memory that is free"
    )


def available_memory() -> int:
    """Return the bytes of memory that can be had without swapping, within the container's limit."""
    free = memory_bytes() // 2
    meminfo = _read(Path("/proc/meminfo"))
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = _read(group / "memory.max").strip(), _read(group / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        cached = next(
            (
                line.split()[1]
                for line in _read(group / "memory.stat").splitlines()
                if line.startswith("inactive_file ")
            ),
            "0",
        )
        free = min(free, max(0, int(limit) - int(used) + int(cached)))
    return free


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not Linux, or no such control group: the caller has a coarser figure
        return ""
