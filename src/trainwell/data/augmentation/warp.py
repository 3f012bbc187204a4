"""Carries out a list of geometric ops on a batch: one matrix for each image, one pass over the pixels.

Where every op moves by whole pixels (flips, shifts) pixels are only copied: the batch is padded into a
reused buffer beside its mirror image, and each row of the result is one stretch of that buffer. Otherwise
each pixel's centre is carried back through the inverse matrix and interpolated bilinearly. On whole-pixel
matrices both give the same uint8 images.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from trainwell.core.chance import Chance
from trainwell.data.augmentation.geometry import Geometric, Padding, compose
from trainwell.errors import OptionInvalid, ShapeError

# Padded images worked on at a time: both copies stay in a second- or third-level cache.
BUFFER_BYTES = 16 * 2**20


class Warp:
    """A list of geometric ops as one step: `Warp([flip, shift], seed=0)(images, index, epoch)`.

    Draws depend on (seed, op and its place in the list, epoch, sample index) alone. The result never
    shares memory with what was given or with an earlier result.

    Args:
        ops: in the order in which they act.
        seed: of the run.
        samples: size of the split, where known: all matrices of an epoch are then made at once.

    Raises:
        OptionInvalid: two ops want different padding, which one pass cannot give.
    """

    def __init__(self, ops: Sequence[Geometric], *, seed: int, samples: int | None = None) -> None:
        self.ops = tuple(ops)
        self.padding: Padding = _common_padding(ops)
        self._samples = samples
        self._chances = [Chance(seed, f"{type(op).__name__}#{place}") for place, op in enumerate(ops)]
        self._made: tuple[tuple[object, ...], Tensor] | None = None
        reaches = [op.reach for op in ops if op.reach is not None]
        is_whole = len(reaches) == len(ops)
        self._copy = WholePixels(sum(reaches), self.padding, any(op.mirrors for op in ops)) if is_whole else None

    def matrices(self, index: Tensor, epoch: int, height: int, width: int) -> Tensor:
        """Return (N, 3, 3): what all ops together do to each sample, first op first."""
        drawn = [
            op.matrices(chance.uniform(epoch, index, op.draws), height, width)
            for op, chance in zip(self.ops, self._chances, strict=True)
        ]
        return reduce(lambda earlier, later: compose(later, earlier), drawn)

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Return the changed images, channels-last, same dtype; the given ones stay as they are.

        Args:
            images: (N, C, H, W) uint8 or float.
            index: (N,) int64 position of each in its split.
            epoch: pass over the data, from 0.

        Raises:
            OptionInvalid: the inputs are not images.
        """
        require_images(images.shape[1:], self.ops)
        if not self.ops:
            return images.clone(memory_format=torch.channels_last)
        plan = self._plan(index, epoch, *images.shape[2:])
        return resample(images, plan, self.padding) if self._copy is None else self._copy(images, plan)

    def _plan(self, index: Tensor, epoch: int, height: int, width: int) -> Tensor:
        """Matrices, or for copies where rows begin, for each sample of a batch."""
        if self._samples is None:
            return self._plan_of(index, epoch, height, width)
        key = (epoch, height, width, index.device)
        if self._made is None or self._made[0] != key:
            everyone = torch.arange(self._samples, device=index.device)
            self._made = (key, self._plan_of(everyone, epoch, height, width))
        return self._made[1].index_select(0, index)

    def _plan_of(self, index: Tensor, epoch: int, height: int, width: int) -> Tensor:
        matrices = self.matrices(index, epoch, height, width)
        return matrices if self._copy is None else self._copy.plan(matrices, height, width)


def _common_padding(ops: Sequence[Geometric]) -> Padding:
    wanted: dict[Padding, str] = {op.padding: type(op).__name__ for op in ops if op.padding is not None}
    if len(wanted) > 1:
        said = " and ".join(f"{name} has {padding!r}" for padding, name in wanted.items())
        raise OptionInvalid(
            f"geometric augmentations are done in one pass and share one padding: {said}; give all the same"
        )
    for padding in wanted:
        return padding
    return "zero"


def require_images(shape: Sequence[int], ops: Sequence[Geometric]) -> None:
    """Raise unless one sample of this shape is an image (C, H, W) that the ops can work on.

    Raises:
        OptionInvalid: the sample is no image, or an op moves farther than the image is wide or high.
    """
    names = ", ".join(type(op).__name__ for op in ops)
    if len(shape) != 3:
        raise OptionInvalid(
            f"augmentation {names} needs images (C, H, W), but each sample here is {tuple(shape)}: "
            "leave geometric augmentation out for features"
        )
    reach = sum(op.reach or 0 for op in ops)
    if reach >= min(shape[1:]):
        raise OptionInvalid(
            f"augmentation {names} moves images by up to {reach} pixels, which must be less than their shorter "
            f"side, {min(shape[1:])}: give fewer pixels"
        )


class WholePixels:
    """Flips and whole-pixel shifts as pure copies; keeps a padded buffer between calls.

    The buffer holds each padded image and after it its mirror image, so a flipped row is a plain row of the mirror.

    Args:
        pad: pixels of surroundings that can come into view on each side.
        padding: what they hold.
        mirrors: whether left and right may change places.
    """

    def __init__(self, pad: int, padding: Padding, mirrors: bool) -> None:
        self._pad = pad
        self._padding: Padding = padding
        self._sides = 2 if mirrors or padding == "reflect" else 1
        self._buffers: dict[tuple[object, ...], Tensor] = {}

    def plan(self, matrices: Tensor, height: int, width: int) -> Tensor:
        """Return (N, 2) int64 from whole-pixel matrices (N, 3, 3): the pixel of an image's stretch of the buffer
        where its first row begins, and how far it is from there to the next row.

        A point goes to s x + t, so the pixel at d comes from s (d - t), less one pixel where s = -1. In the
        mirror image column d comes from column d + W - t.
        """
        tall, wide = height + 2 * self._pad, width + 2 * self._pad
        sign_x, sign_y = matrices[:, 0, 0].long(), matrices[:, 1, 1].long()
        right, down = matrices[:, 0, 2].long(), matrices[:, 1, 2].long()
        column = self._pad - right + sign_x.lt(0) * (width + tall * wide)
        row = self._pad - sign_y * down - sign_y.lt(0).long()
        return torch.stack([row * wide + column, sign_y * wide], dim=1)

    def __call__(self, images: Tensor, plan: Tensor) -> Tensor:
        """Return (N, C, H, W) images in channels-last memory, changed as planned."""
        rows = images.permute(0, 2, 3, 1).contiguous()  # (N, C, H, W) -> (N, H, W, C), free in channels-last
        count, height, width, channels = rows.shape
        out = torch.empty_like(rows)
        buffer = self._buffer(rows)
        room = buffer.shape[0]
        pixels = buffer.view(-1, channels)
        stretches = pixels.as_strided((pixels.shape[0] - width + 1, width * channels), (channels, 1))
        stride = self._sides * buffer.shape[2] * buffer.shape[3]
        begin = torch.arange(0, room * stride, stride, device=plan.device)
        down = torch.arange(height, device=plan.device)
        for start in range(0, count, room):
            part = slice(start, start + room)
            self._fill(buffer, rows[part])
            first, step = plan[part].unsqueeze(2).unbind(1)  # (M, 1), (M, 1)
            starts = torch.addcmul(first + begin[: first.shape[0]].unsqueeze(1), step, down)  # (M, H)
            torch.index_select(stretches, 0, starts.view(-1), out=out[part].view(-1, width * channels))
        return out.permute(0, 3, 1, 2)

    def _buffer(self, rows: Tensor) -> Tensor:
        """The buffer for images of this kind: (M, sides, H + 2 pad, W + 2 pad, C), zero where nothing is written."""
        count, height, width, channels = rows.shape
        key = (height, width, channels, rows.dtype, rows.device)
        shape = (self._sides, height + 2 * self._pad, width + 2 * self._pad, channels)
        room = min(count, max(1, BUFFER_BYTES // (math.prod(shape) * rows.element_size())))
        held = self._buffers.get(key)
        if held is None or held.shape[0] < room:
            held = torch.zeros((room, *shape), dtype=rows.dtype, device=rows.device)
            self._buffers = {key: held}
        return held

    def _fill(self, buffer: Tensor, rows: Tensor) -> None:
        """Write images and mirror images into the buffer, with their surroundings."""
        buffer = buffer[: rows.shape[0]]
        if self._sides == 1:
            self._surround(buffer[:, 0], rows, rows)
            return
        mirror = rows.permute(0, 3, 1, 2).flip(3).permute(0, 2, 3, 1)  # torch flips 8 times faster in this order
        self._surround(buffer[:, 0], rows, mirror)
        self._surround(buffer[:, 1], mirror, rows)

    def _surround(self, target: Tensor, image: Tensor, mirror: Tensor) -> None:
        """Write images into the middle of (M, H + 2 pad, W + 2 pad, C) and what the padding says around them."""
        pad, (height, width) = self._pad, image.shape[1:3]
        inside, right = slice(pad, pad + height), slice(pad + width, None)
        target[:, inside, pad : pad + width] = image
        if pad == 0 or self._padding == "zero":
            return
        is_edge = self._padding == "edge"
        target[:, inside, :pad] = image[:, :, :1] if is_edge else mirror[:, :, width - 1 - pad : width - 1]
        target[:, inside, right] = image[:, :, -1:] if is_edge else mirror[:, :, 1 : pad + 1]
        for step in range(1, pad + 1):
            inward = 0 if is_edge else step
            target[:, pad - step] = target[:, pad + inward]
            target[:, pad + height - 1 + step] = target[:, pad + height - 1 - inward]


def resample(images: Tensor, matrices: Tensor, padding: Padding) -> Tensor:
    """Return images moved by any affine matrices, each pixel interpolated bilinearly between four.

    Args:
        images: (N, C, H, W) uint8 or floating point.
        matrices: (N, 3, 3) float32, pixel coordinates with corners at whole numbers.
        padding: what lies outside: `zero`, `edge` or `reflect` (mirrored without repeating the border).

    Returns:
        (N, C, H, W) in channels-last memory and the same dtype; uint8 is rounded to the nearest.

    Raises:
        ShapeError: matrices is not (N, 3, 3).

    >>> image = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4)
    >>> half = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> resample(image.float(), half, "edge").flatten().tolist()
    [0.0, 0.5, 1.5, 2.5]
    """
    count, _, height, width = images.shape
    if matrices.shape != (count, 3, 3):
        raise ShapeError(
            f"matrices must be (N, 3, 3) = ({count}, 3, 3), got {tuple(matrices.shape)}: give one for each image"
        )
    grid = torch.stack(_source_points(matrices, height, width, padding), dim=3)  # (N, H, W, 2), in [-1, 1]
    outside = "zeros" if padding == "zero" else "border"
    given = images if images.is_floating_point() else images.float()
    result = functional.grid_sample(
        given, grid.to(given.dtype), mode="bilinear", padding_mode=outside, align_corners=False
    )
    if not images.is_floating_point():
        result = result.round_().to(images.dtype)
    return result.contiguous(memory_format=torch.channels_last)


def _source_points(matrices: Tensor, height: int, width: int, padding: Padding) -> tuple[Tensor, Tensor]:
    """Where each pixel's centre comes from, x and y (N, H, W), scaled so that the image spans [-1, 1]."""
    a, b, tx = matrices[:, 0].unbind(1)
    c, d, ty = matrices[:, 1].unbind(1)
    scale = 1 / (a * d - b * c)
    x = torch.arange(width, device=matrices.device) + 0.5
    y = (torch.arange(height, device=matrices.device) + 0.5).unsqueeze(1)
    right, down = x - tx.view(-1, 1, 1), y - ty.view(-1, 1, 1)  # (N, 1, W), (N, H, 1)
    from_x = (d * scale).view(-1, 1, 1) * right - (b * scale).view(-1, 1, 1) * down
    from_y = (a * scale).view(-1, 1, 1) * down - (c * scale).view(-1, 1, 1) * right
    if padding == "reflect":
        from_x, from_y = _folded(from_x, width), _folded(from_y, height)
    return from_x * (2 / width) - 1, from_y * (2 / height) - 1


def _folded(place: Tensor, length: int) -> Tensor:
    """Fold coordinates back between the centres of the first and the last pixel, as between two mirrors.

    >>> _folded(torch.tensor([-0.5, 0.5, 3.5, 4.5]), 4).tolist()
    [1.5, 0.5, 3.5, 2.5]
    """
    last = length - 1
    if last == 0:
        return torch.full_like(place, 0.5)
    return last - (torch.remainder(place - 0.5, 2 * last) - last).abs() + 0.5
