"""Statistics of training inputs in float64, and which samples they are taken from.

Sums run over chunks, so memory-mapped splits are read once a pass and never copied as a whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from trainwell.core.batch import Batch
from trainwell.core.chance import Chance
from trainwell.errors import DataInvalid, RunDamaged

# Values read by one pass of a fit: beyond it a sample is taken. At 224 x 224 x 3 it is 3566 images, where the
# mean of a channel, which varies by about 0.2 from image to image, is known to 0.2 / sqrt(3566) = 0.003.
FIT_VALUES = 2**29
# Samples that a stream is asked for to fit: the mean is known to 0.2 / sqrt(4096) = 0.003 likewise.
STREAM_SAMPLES = 4096
CHUNK_VALUES = 2**20

NOT_FITTED = "preprocessing was used before it was fitted: call fit(train) or load_state(state) first"

Share = Literal["value", "channel"]


class Preprocessing(Protocol):
    """What every member of the shelf can do; `notes` says what a user should know about the fit."""

    notes: tuple[str, ...]

    def fit(self, train: Tensor) -> None:
        """Take statistics from training inputs (N, C, H, W) or (N, D); uint8 or float."""
        ...

    def apply(self, inputs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return new inputs of the same shape, images in channels-last memory; the given ones stay."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return the frozen statistics as tensors by name."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take statistics that `state` returned, instead of a fit."""
        ...

    def layer(self, input_shape: Sequence[int]) -> nn.Module | None:
        """Return a module to stand in front of the network, or None where `apply` does all."""
        ...


class Samples(Protocol):
    """A split that gives samples by position: a Store, or a stream."""

    def __len__(self) -> int: ...

    def gather(self, index: Tensor) -> Batch:
        """Return the samples at `index`."""
        ...


def fit_on(preprocessing: Preprocessing, train: Samples, *, seed: int) -> str:
    """Fit on the train split, or on a sample of it that `seed` draws where it is very large; say so, in words."""
    inputs: Tensor | None = getattr(train, "inputs", None)
    count = len(train)
    values = train.gather(torch.zeros(1, dtype=torch.int64)).inputs.numel()
    most = STREAM_SAMPLES if inputs is None else max(1, FIT_VALUES // values)
    if inputs is not None and count <= most:
        preprocessing.fit(inputs)
    else:
        chosen = Chance(seed, "preprocessing").permutation(0, count)[:most].sort().values
        preprocessing.fit(train.gather(chosen).inputs)
    if count <= most:
        return ""
    return f"fitted on {most} of {count} training samples, drawn by seed {seed}: more would hardly move the statistics"


def flat_rows(inputs: Tensor) -> Tensor:
    """Return (N, D) with the values of a sample as they lie in memory: (H, W, C) for channels-last images."""
    lying = inputs.permute(0, 2, 3, 1) if inputs.dim() == 4 else inputs
    return lying.reshape(lying.shape[0], -1)


def chunks(rows: Tensor) -> Iterator[Tensor]:
    """Yield (N, D) rows in pieces as float64 copies, free to be changed; a piece fits into a second-level cache."""
    size = max(1, CHUNK_VALUES // max(rows.shape[1], 1))
    for start in range(0, rows.shape[0], size):
        yield rows[start : start + size].to(torch.float64, copy=True)


def check_train(train: Tensor) -> None:
    """Raise unless statistics can be taken from this.

    Raises:
        DataInvalid: no samples, not (N, C, H, W) or (N, D), or NaN or Inf inside.
    """
    if train.dim() not in (2, 4) or train.shape[0] == 0:
        raise DataInvalid(
            f"preprocessing is fitted on images (N, C, H, W) or features (N, D) with N > 0, got {tuple(train.shape)}: "
            "give the train split as one tensor"
        )
    if train.is_floating_point():
        bad = ~torch.stack([row.isfinite().all() for row in torch.split(train, 256)])
        if bad.any():
            block = 256 * int(bad.nonzero()[0])
            first = block + int((~train[block : block + 256].flatten(1).isfinite().all(1)).nonzero()[0])
            raise DataInvalid(f"training inputs must be finite, but sample {first} holds NaN or Inf: clean or drop it")


def mean(train: Tensor, share: Share) -> Tensor:
    """Return the mean of the values that share one, float64, broadcastable to one sample.

    Args:
        train: (N, C, H, W) or (N, D).
        share: `value`: each place of a sample by itself; `channel`: all places of a channel (or feature).
    """
    rows = flat_rows(train)
    return _shared(_total(piece.sum(0) for piece in chunks(rows)) / rows.shape[0], train.shape[1:], share)


def deviation(train: Tensor, centre: Tensor, share: Share) -> Tensor:
    """Return the standard deviation around a known mean, divided by n, not n - 1; shaped as `mean`.

        std = sqrt(sum (x - mean)^2 / n)

    A second pass over the data, because sum x^2 - n mean^2 cancels.
    """
    rows = flat_rows(train)
    each = flat_rows(centre.expand(train.shape[1:]).unsqueeze(0))
    square = _total(piece.sub_(each).square_().sum(0) for piece in chunks(rows)) / rows.shape[0]
    return _shared(square, train.shape[1:], share).sqrt()


def extremes(train: Tensor, share: Share) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest of the values that share them, exactly, as float64."""
    rows = flat_rows(train)
    low, high = (_unflat(edge(0), train.shape[1:]) for edge in (rows.amin, rows.amax))
    if share == "channel" and low.dim() == 3:
        low, high = low.amin((1, 2), keepdim=True), high.amax((1, 2), keepdim=True)
    return low.to(torch.float64), high.to(torch.float64)


def covariance(train: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and the covariance (D, D), divided by N - 1, of samples flattened in torch's order.

    C = sum (x - mean)(x - mean)^T / (N - 1)
    """
    rows = train.flatten(1)
    centre = _total(piece.sum(0) for piece in chunks(rows)) / rows.shape[0]
    total = torch.zeros(centre.numel(), centre.numel(), dtype=torch.float64)
    for block in torch.split(rows, max(256, centre.numel())):
        centred = block.to(torch.float64) - centre
        total.addmm_(centred.T, centred)
    return centre, total / max(train.shape[0] - 1, 1)


def take_state(state: Mapping[str, Tensor], names: Sequence[str]) -> list[Tensor]:
    """Return copies of the named tensors as float64.

    Raises:
        RunDamaged: a name is missing or there is one too many.
    """
    if set(state) != set(names):
        found = ", ".join(sorted(state)) or "nothing"
        raise RunDamaged(
            f"stored preprocessing must hold {', '.join(sorted(names))}, found {found}: "
            "the file is from another preprocessing, or damaged"
        )
    return [state[name].detach().to("cpu", torch.float64, copy=True) for name in names]


def _total(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total.add_(part)
    return total


def _unflat(row: Tensor, shape: Sequence[int]) -> Tensor:
    """Undo `flat_rows` for one row."""
    return row.view(shape[1], shape[2], shape[0]).permute(2, 0, 1) if len(shape) == 3 else row.view(*shape)


def _shared(row: Tensor, shape: Sequence[int], share: Share) -> Tensor:
    """Average one row over the places that share a value."""
    sample = _unflat(row, shape)
    return sample.mean((1, 2), keepdim=True) if share == "channel" and sample.dim() == 3 else sample
