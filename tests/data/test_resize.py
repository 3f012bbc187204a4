"""Images are brought to size as Pillow's antialiased bilinear does it, and scaled decoding keeps the quality."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainwell.data.decode import decode_bytes
from trainwell.data.jpeg import scaled_decoding
from trainwell.data.resize import ImageForm, Policy, resize, whole_size


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def wave(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = [127 + 60 * np.sin(x / (5 + c)) + 60 * np.cos(y / (4 + c) + x / 31) for c in range(3)]
    return np.stack(channels, axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(90, 130), (130, 90), (97, 64), (20, 33), (64, 64)])
@pytest.mark.parametrize("policy", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_agrees_with_pillows_antialiased_bilinear(
    size: tuple[int, int], policy: Policy, channels: int
) -> None:
    image = Image.fromarray(wave(*size))
    form = ImageForm(48, 48, 1 if channels == 1 else 3, policy)
    height, width = whole_size(*size, form)
    source = image.convert("L") if channels == 1 else image
    whole = np.asarray(source.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, channels)
    if policy == "pad":
        want = np.zeros(form.shape, np.uint8)
        top, left = (48 - height) // 2, (48 - width) // 2
        want[top : top + height, left : left + width] = whole
    else:
        top, left = round((height - 48) / 2), round((width - 48) / 2)
        want = whole[top : top + 48, left : left + 48]
    assert distance(decode_bytes(encoded(image, "PNG"), form), want) <= 1


@pytest.mark.parametrize("policy", ["crop", "pad"])
@pytest.mark.parametrize("size", [(1, 7), (7, 1), (333, 77), (77, 333), (50, 50), (1000, 999)])
def test_the_side_that_decides_comes_out_exactly(policy: Policy, size: tuple[int, int]) -> None:
    height, width = whole_size(*size, ImageForm(48, 48, 3, policy))
    assert (min if policy == "crop" else max)(height, width) == 48
    assert min(height, width) >= 1


def test_oblong_forms_are_covered_by_crop_and_hold_pad() -> None:
    for size in [(100, 300), (300, 100), (200, 100), (201, 100)]:
        height, width = whole_size(*size, ImageForm(64, 32, 3, "crop"))
        assert height >= 64
        assert width >= 32
        assert height == 64 or width == 32
        height, width = whole_size(*size, ImageForm(64, 32, 3, "pad"))
        assert height <= 64
        assert width <= 32
        assert height == 64 or width == 32


@pytest.mark.parametrize(("side", "factor"), [(512, 8), (192, 4), (64, 2), (63, 1)])
def test_scaled_jpeg_decoding_is_taken_only_where_much_is_left(side: int, factor: int) -> None:
    assert scaled_decoding(side, 16) == factor


@pytest.mark.parametrize("turned", [1, 6])
def test_scaled_jpeg_decoding_keeps_the_promised_quality(turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    stored = Image.fromarray(wave(384, 512))
    data = encoded(stored, "JPEG", quality=92, exif=exif)
    upright = (
        Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_270)
        if turned == 6
        else Image.open(io.BytesIO(data))
    )
    for side in (24, 48, 96):
        got = decode_bytes(data, ImageForm(side, side, 3, "stretch")).astype(float)
        want = np.asarray(upright.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
        assert 10 * np.log10(255**2 / np.mean((got - want) ** 2)) >= 38


def test_grey_floats_keep_what_lies_between_whole_numbers() -> None:
    flat = np.full((40, 30, 1), 0.3, np.float32)
    assert np.allclose(resize(flat, 16, 12), 0.3)
    ramp = np.linspace(0, 1, 40, dtype=np.float32)[:, None, None].repeat(30, axis=1)
    assert np.allclose(resize(ramp, 20, 30)[2:-2, 0, 0], ramp.reshape(20, 2, 30).mean((1, 2))[2:-2], atol=2e-3)
