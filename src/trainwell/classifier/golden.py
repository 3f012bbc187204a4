"""Golden inputs: made-up samples that travel with a classifier, and what each step once made of them.

They are run through again wherever the classifier is loaded. Each step is given what the step before it gave
where the classifier was made, so that the first one that differs is the one to blame: the decoder, the resize
kernel, the preprocessing, the network, or the order of the colour channels in front of one of them. No
sample of the user's is among them.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from trainwell.classifier.contract import Contract
from trainwell.data.decode import decode_pixels, pillow_is_quiet
from trainwell.data.pixels import ORIENTATION, Unreadable
from trainwell.data.preprocessing.fitting import Preprocessing
from trainwell.data.resize import ImageForm, fit_into

DECODER, KERNEL, CHANNELS, PREPROCESSING, NETWORK = (
    "decoder", "resize kernel", "channel order", "preprocessing", "network",
)  # fmt: skip

# Levels of 255. Two builds of libjpeg differ by one in the inverse transform and by one in the colours; builds of the
# kernel differ by one in rounding.
DECODER_LEVELS, KERNEL_LEVELS = 2, 1
# Of the largest value. Order of summation alone moves float32 results by about 1e-6 a layer; another device may use
# shorter products (TF32 keeps 10 bits).
PREPROCESSING_SHARE, NETWORK_SHARE, OTHER_DEVICE_SHARE = 1e-4, 1e-3, 2e-2

MOST_SIDE = 1400  # of a golden image: enough for a decoder to reduce the scale for forms up to 340 pixels

Steps = dict[str, Tensor]


class Differs(Exception):
    """A step gives something else than it once did: `step`, and by how much in words."""

    def __init__(self, step: str, words: str) -> None:
        super().__init__(words)
        self.step = step


def draw_images(form: ImageForm) -> dict[str, bytes]:
    """Return image files that together take every way through the decoder: name -> content.

    A small turned JPEG of odd size, one large enough to be decoded at a reduced scale, a half-transparent PNG
    and a grey PNG of 16 bits that is enlarged.
    """
    side = max(form.height, form.width)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    small = (min(side, MOST_SIDE // 2) * 3 // 2 | 1, min(side, MOST_SIDE // 2) * 2 + 3)
    large = (min(4 * side + 9, MOST_SIDE), min(4 * side + 34, MOST_SIDE))
    solid = _pattern(form.height + 3, form.width + 8)
    clear = np.linspace(0, 255, solid.shape[1]).astype(np.uint8)
    deep = _pattern(form.height // 2 + 3, form.width // 2 + 2)[..., 1].astype(np.uint16) * 253
    return {
        "deep.png": _file(deep, "PNG"),
        "large.jpg": _file(_pattern(*large), "JPEG", quality=75),
        "transparent.png": _file(np.dstack([solid, np.broadcast_to(clear, solid.shape[:2])]), "PNG"),
        "turned.jpg": _file(_pattern(*small), "JPEG", quality=90, exif=exif),
    }


def draw_samples(contract: Contract) -> Tensor:
    """Return golden samples for a classifier that takes no files: (4, *input_shape) on the scale of its inputs."""
    size = int(np.prod(contract.input_shape))
    ramp = torch.linspace(-2, 2, size)
    rows = torch.stack([torch.zeros(size), torch.ones(size), ramp, ramp.flip(0) * (-1.0) ** torch.arange(size)])
    if contract.takes_images:
        rows = (rows + 2) * (255 / 4)
    dtype = torch.uint8 if contract.dtype == "uint8" else torch.float32
    return rows.to(dtype).reshape(4, *contract.input_shape)


def _pattern(height: int, width: int) -> np.ndarray:
    """Slopes, waves and edges, different in each channel: (height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    red = 255 * x / x.max()
    green = 128 + 90 * np.sin(2 * np.pi * (3 * x + 2 * y))
    blue = 40 + 120 * y / y.max() + 80 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06)
    return np.stack([red, green, blue], axis=2).clip(0, 255).astype(np.uint8)


def _file(pixels: np.ndarray, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def decoded(images: Mapping[str, bytes], form: ImageForm) -> Steps:
    """Return what the decoder makes of each image, and the kernel of all of them."""
    steps: Steps = {}
    resized = np.empty((len(images), *form.shape), np.uint8)
    with pillow_is_quiet():
        for place, (name, data) in enumerate(sorted(images.items())):
            pixels = np.ascontiguousarray(decode_pixels(data, form))
            fit_into(pixels, form, resized[place])
            steps[f"{DECODER}/{name}"] = torch.from_numpy(pixels)
    return steps | {KERNEL: torch.from_numpy(resized)}


@torch.no_grad()
def computed(samples: Tensor, preprocessing: Preprocessing, model: nn.Module) -> Steps:
    """Return what preprocessing and network (in evaluation mode) make of samples (N, C, H, W) or (N, D)."""
    ready = preprocessing.apply(samples)
    return {PREPROCESSING: ready, NETWORK: model(ready).float()}


def as_samples(steps: Mapping[str, Tensor]) -> Tensor:
    """Return the golden samples as preprocessing takes them: images (N, C, H, W) in channels-last memory."""
    return steps[KERNEL].permute(0, 3, 1, 2) if KERNEL in steps else steps["samples"]


def check_decoding(images: Mapping[str, bytes], form: ImageForm, once: Mapping[str, Tensor]) -> None:
    """Compare decoder and kernel with what they once gave.

    Raises:
        Differs: one of them gives something else.
    """
    with pillow_is_quiet():
        for place, (name, data) in enumerate(sorted(images.items())):
            before = once[f"{DECODER}/{name}"].numpy()
            try:
                now = decode_pixels(data, form)
            except Unreadable as fault:
                raise Differs(DECODER, f"{name} {fault}, and could be decoded") from None
            _compare(DECODER, name, torch.from_numpy(np.ascontiguousarray(now)), torch.from_numpy(before), 2)
            resized = np.empty(form.shape, np.uint8)
            fit_into(before, form, resized)
            _compare(KERNEL, name, torch.from_numpy(resized), once[KERNEL][place], 2)


@torch.no_grad()
def check_computing(
    once: Mapping[str, Tensor], preprocessing: Preprocessing, model: nn.Module, device: torch.device
) -> None:
    """Compare preprocessing and network with what they once gave.

    Raises:
        Differs: one of them gives something else.
    """
    share = NETWORK_SHARE if device.type == "cpu" else OTHER_DEVICE_SHARE
    _try(PREPROCESSING, preprocessing.apply, as_samples(once).to(device), once[PREPROCESSING], PREPROCESSING_SHARE)
    _try(NETWORK, lambda ready: model(ready).float(), once[PREPROCESSING].to(device), once[NETWORK], share)


def _try(step: str, work: Callable[[Tensor], Tensor], given: Tensor, before: Tensor, share: float) -> None:
    try:
        now = work(given)
    except Exception as error:  # whatever a step raises on what it once took is how it differs
        raise Differs(step, f"it fails on a sample that it took: {type(error).__name__}: {error}") from error
    try:
        _compare_floats(step, now.cpu(), before, share)
    except Differs:
        if given.ndim == 4 and given.shape[1] == 3 and _agrees_swapped(work, given, before, share):
            raise Differs(CHANNELS, f"the {step} agrees once red and blue are swapped") from None
        raise


def _agrees_swapped(work: Callable[[Tensor], Tensor], given: Tensor, before: Tensor, share: float) -> bool:
    """Whether a step has red and blue of its inputs, of its constants or of its outputs the wrong way round."""
    plain, swapped = work(given).cpu(), work(given.flip(1)).cpu()
    ways = [swapped]
    if plain.shape == given.shape:
        ways += [swapped.flip(1), plain.flip(1)]
    for way in ways:
        try:
            _compare_floats("", way, before, share)
        except Differs:
            continue
        return True
    return False


def _compare_floats(step: str, now: Tensor, before: Tensor, share: float) -> None:
    if now.shape != before.shape:
        raise Differs(step, f"it gives {tuple(now.shape)} and gave {tuple(before.shape)}")
    finite = before[before.isfinite()].abs()
    allowed = share * max(float(finite.max()) if finite.numel() else 0.0, 1e-3)
    same = (now == before) | (now.isnan() & before.isnan())
    worst = float(torch.where(same, 0.0, (now - before).abs()).nan_to_num(torch.inf).max())
    if worst > allowed:
        raise Differs(step, f"a value is {worst:.3g} off, allowed are {allowed:.3g}")


def _compare(step: str, name: str, now: Tensor, before: Tensor, channels: int) -> None:
    allowed = DECODER_LEVELS if step == DECODER else KERNEL_LEVELS
    if now.shape != before.shape:
        raise Differs(step, f"{name} comes out as {tuple(now.shape)} and came out as {tuple(before.shape)}")
    worst = _levels(now, before)
    if worst > allowed and now.shape[channels] == 3 and _levels(now.flip(channels), before) <= allowed:
        raise Differs(CHANNELS, f"the {step} gives {name} with red and blue swapped")
    if worst > allowed:
        raise Differs(step, f"a value of {name} is {worst} of 255 levels off, allowed are {allowed}")


def _levels(now: Tensor, before: Tensor) -> int:
    return int((now.int() - before.int()).abs().max())
