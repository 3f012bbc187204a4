"""Image files of every kind come out right, and every broken one says what is wrong with it."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from trainwell.data import decode, pixels
from trainwell.data.decode import BadFile, Header, decode_bytes, decode_into, inspect, mismatch, read_header
from trainwell.data.resize import ImageForm
from trainwell.errors import DataInvalid

RAMP = np.add.outer(np.arange(24) * 4, np.arange(32) * 4).astype(np.uint8)  # (24, 32)
PHOTO = np.stack([RAMP, 255 - RAMP, RAMP[::-1]], axis=2)  # (24, 32, 3), smooth: JPEG keeps it within a few levels
AS_IS = ImageForm(24, 32, 3)
GREY = ImageForm(24, 32, 1)


def encoded(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_files_give_their_pixels(format: str) -> None:
    assert np.array_equal(decode_bytes(encoded(PHOTO, format), AS_IS), PHOTO)


def test_lossless_webp_gives_its_pixels() -> None:
    assert np.array_equal(decode_bytes(encoded(PHOTO, "WEBP", lossless=True), AS_IS), PHOTO)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_jpeg_gives_the_same_pixels_as_pillow(options: dict[str, object]) -> None:
    data = encoded(PHOTO, "JPEG", quality=90, **options)
    assert np.array_equal(decode_bytes(data, AS_IS), np.asarray(Image.open(io.BytesIO(data))))


def test_grey_of_a_colour_jpeg_is_its_luma() -> None:
    data = encoded(PHOTO, "JPEG", quality=95)
    assert distance(decode_bytes(data, GREY)[..., 0], np.asarray(Image.fromarray(PHOTO).convert("L"))) <= 4


def test_a_grey_jpeg_as_rgb_has_three_equal_channels() -> None:
    rgb = decode_bytes(encoded(RAMP, "JPEG", quality=95), AS_IS)
    assert np.array_equal(rgb[..., 0], rgb[..., 1])
    assert np.array_equal(rgb[..., 0], rgb[..., 2])
    assert distance(rgb[..., 0], RAMP) <= 4


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(format: str) -> None:
    deep = (RAMP.astype(np.uint16) * 257).astype(np.uint16)
    assert np.array_equal(decode_bytes(encoded(deep, format), GREY)[..., 0], RAMP)
    assert np.array_equal(decode_bytes(encoded(deep, format), AS_IS)[..., 1], RAMP)


def test_big_endian_sixteen_bits_are_scaled() -> None:
    deep = (RAMP.astype(np.uint16) * 257).astype(">u2")
    image = Image.frombytes("I;16B", (32, 24), deep.tobytes())
    assert np.array_equal(decode_bytes(encoded(image, "TIFF"), GREY)[..., 0], RAMP)


def test_thirty_two_bit_grey_counts_as_sixteen_bits_or_is_refused() -> None:
    deep = RAMP.astype(np.int32) * 257
    assert np.array_equal(decode_bytes(encoded(Image.fromarray(deep), "TIFF"), GREY)[..., 0], RAMP)
    deep[3, 3] = 70000
    data = encoded(Image.fromarray(deep), "TIFF")
    with pytest.raises(DataInvalid, match=r"x.tif holds 32-bit grey values from 0 to 70000, outside 0 to 65535"):
        decode_bytes(data, GREY, "x.tif")


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(DataInvalid, match="floating-point pixels, which have no agreed range"):
        decode_bytes(encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), GREY)


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(RAMP > 90)
    assert set(np.unique(decode_bytes(encoded(bits, "PNG"), GREY))) == {0, 255}


def test_a_palette_gives_its_colours() -> None:
    palette = Image.fromarray(PHOTO).quantize(16)
    assert np.array_equal(decode_bytes(encoded(palette, "PNG"), AS_IS), np.asarray(palette.convert("RGB")))
    assert np.array_equal(decode_bytes(encoded(palette, "GIF"), AS_IS), np.asarray(palette.convert("RGB")))


def test_transparent_pixels_are_laid_on_white() -> None:
    alpha = np.full((24, 32), 255, np.uint8)
    alpha[:12], alpha[12:14] = 0, 128
    out = decode_bytes(encoded(np.dstack([PHOTO, alpha]), "PNG"), AS_IS)
    half = (PHOTO[12:14].astype(int) * 128 + 255 * 127) / 255
    assert (out[:12] == 255).all()
    assert np.array_equal(out[14:], PHOTO[14:])
    assert np.abs(out[12:14] - half).max() <= 1


def test_transparent_palette_entries_and_key_colours_are_laid_on_white() -> None:
    palette = Image.fromarray((RAMP // 64).astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    out = decode_bytes(encoded(palette, "PNG", transparency=0), AS_IS)
    assert (out[RAMP < 64] == 255).all()
    assert (out[RAMP // 64 == 1] == [40, 50, 60]).all()
    grey = decode_bytes(encoded(RAMP, "PNG", transparency=8), GREY)[..., 0]
    assert np.array_equal(grey, np.where(RAMP == 8, 255, RAMP))
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    grey = decode_bytes(encoded(deep, "PNG", transparency=8 * 257), GREY)[..., 0]
    assert np.array_equal(grey, np.where(RAMP == 8, 255, RAMP))


def test_grey_with_alpha_is_laid_on_white() -> None:
    image = Image.merge("LA", [Image.fromarray(RAMP), Image.new("L", (32, 24), 0)])
    assert (decode_bytes(encoded(image, "PNG"), GREY) == 255).all()


def test_cmyk_jpeg_is_inverted_as_adobe_writes_it() -> None:
    data = encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=98)
    assert distance(decode_bytes(data, AS_IS), PHOTO) <= 6
    assert distance(decode_bytes(data, GREY)[..., 0], np.asarray(Image.fromarray(PHOTO).convert("L"))) <= 6


def test_ycck_jpeg_is_read_like_the_cmyk_it_was_made_from() -> None:
    ink = np.asarray(Image.fromarray(PHOTO).convert("CMYK"))
    plain = simplejpeg.encode_jpeg(
        np.ascontiguousarray(255 - ink), quality=98, colorspace="CMYK", colorsubsampling="444"
    )
    assert simplejpeg.decode_jpeg_header(plain)[2] == "YCCK"
    assert distance(decode_bytes(plain, AS_IS), PHOTO) <= 8


def test_a_cmyk_tiff_is_not_inverted() -> None:
    data = encoded(Image.fromarray(PHOTO).convert("CMYK"), "TIFF")
    assert distance(decode_bytes(data, AS_IS), PHOTO) <= 1


TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # how the stored pixels lie, for each orientation
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2), 6: np.rot90, 7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a, -1),
}  # fmt: skip


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_come_out_upright(tmp_path: Path, format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}.get(format, {})
    path = tmp_path / f"x.{format.lower()}"
    path.write_bytes(encoded(np.ascontiguousarray(TURNED[orientation](PHOTO)), format, exif=exif, **options))
    out = decode_bytes(path.read_bytes(), AS_IS)
    assert distance(out, PHOTO) <= (8 if format == "JPEG" else 0)
    assert read_header(path) == Header(32, 24, 3, format)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.fromarray(PHOTO).quantize(32), Image.new("P", (32, 24))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode_bytes(data, AS_IS), np.asarray(frames[0].convert("RGB")))


def wave(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = [127 + 60 * np.sin(x / (5 + c)) + 60 * np.cos(y / (4 + c) + x / 31) for c in range(3)]
    return np.stack(channels, axis=2).clip(0, 255).astype(np.uint8)


# ---- files that cannot be used --------------------------------------------------------------------------


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded(PHOTO, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_file_that_is_cut_short_is_never_repaired(format: str, share: float) -> None:
    data = encoded(NOISE, format)
    with pytest.raises(DataInvalid, match=r"^x/1 (is cut short|is damaged|cannot be decoded|is no image)"):
        decode_bytes(data[: int(len(data) * share)], AS_IS, "x/1")


@pytest.mark.parametrize("lost", [2, 20])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_that_lacks_its_last_bytes_is_cut_short(lost: int, options: dict[str, object]) -> None:
    with pytest.raises(DataInvalid, match=r"^a.jpg is cut short \(Premature end of JPEG file\)$"):
        decode_bytes(encoded(NOISE, "JPEG", **options)[:-lost], AS_IS, "a.jpg")


def test_a_jpeg_with_damaged_pixels_is_damaged() -> None:
    data = bytearray(encoded(NOISE, "JPEG", quality=90))
    middle = len(data) // 2
    data[middle : middle + 60] = bytes(60)
    with pytest.raises(DataInvalid, match=r"a.jpg is damaged"):
        decode_bytes(bytes(data), AS_IS, "a.jpg")


def test_a_png_whose_pixels_were_changed_fails_its_checksum() -> None:
    data = bytearray(encoded(NOISE, "PNG"))
    data[-30] ^= 4
    with pytest.raises(DataInvalid, match=r"a.png is damaged: the checksum of its 'IDAT' part is wrong"):
        decode_bytes(bytes(data), AS_IS, "a.png")


def test_a_png_without_its_end_is_cut_short() -> None:
    with pytest.raises(DataInvalid, match=r"is cut short: its .* bytes end before the end mark"):
        decode_bytes(encoded(NOISE, "PNG")[:-12], AS_IS)


@pytest.mark.parametrize(
    "bomb", [png_of_size(10_000, 9_000), png_of_size(60_000, 60_000), jpeg_of_size(65_000, 65_000)]
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, bomb: bytes) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(bomb)
    for look in (lambda: decode_bytes(bomb, AS_IS, str(path)), lambda: read_header(path)):
        with pytest.raises(DataInvalid, match=r"bomb .*pixels \(a decompression bomb\?\): scale it down"):
            look()


def test_an_image_too_long_and_thin_to_crop_is_refused() -> None:
    with pytest.raises(DataInvalid, match=r"is 30000x1, too long and thin: it would be 1920000x64"):
        decode_bytes(encoded(np.zeros((1, 30_000, 3), np.uint8), "PNG"), ImageForm(64, 64, 3))
    assert decode_bytes(encoded(np.zeros((1, 30_000, 3), np.uint8), "PNG"), ImageForm(64, 64, 3, "pad")).max() == 0


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0\x2a\0\0", b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x05\x01\x12", b"Exif\0\0????????"]
)
def test_a_damaged_exif_part_counts_as_upright(exif: bytes) -> None:
    assert distance(decode_bytes(encoded(PHOTO, "JPEG", quality=95, exif=exif), AS_IS), PHOTO) <= 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good file and one of each bad kind."""
    (tmp_path / "good.png").write_bytes(encoded(PHOTO, "PNG"))
    (tmp_path / "really_png.jpg").write_bytes(encoded(PHOTO, "PNG"))
    (tmp_path / "cut.jpg").write_bytes(encoded(NOISE, "JPEG")[:-100])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"hello, this is no image")
    (tmp_path / "bomb.png").write_bytes(png_of_size(20_000, 20_000))
    (tmp_path / "folder.png").mkdir()
    return tmp_path


REASONS = {
    "cut.jpg": "is cut short (Premature end of JPEG file)",
    "empty.jpg": "is empty (0 bytes)",
    "text.jpg": "is no image: it begins with 'hello, this '",
    "bomb.png": "pixels (a decompression bomb?)",
    "folder.png": "cannot be read (Is a directory)",
    "missing.png": "cannot be read (No such file or directory)",
}


def test_all_bad_files_are_named_at_once_with_their_reasons(folder: Path) -> None:
    paths = [*sorted(folder.iterdir()), folder / "missing.png"]
    out = np.zeros((len(paths), *AS_IS.shape), np.uint8)
    bad = {fault.path.name: fault.reason for fault in decode_into(paths, AS_IS, out, threads=2)}
    assert bad.keys() == REASONS.keys()
    for name, reason in REASONS.items():
        assert reason in bad[name]
    for row, path in enumerate(paths):
        assert path.name in bad or np.array_equal(out[row], PHOTO)


def test_inspect_finds_what_headers_show_and_raises_nothing(folder: Path) -> None:
    paths = sorted(folder.iterdir())
    answers = dict(zip((path.name for path in paths), inspect(paths, threads=2), strict=True))
    assert answers["good.png"] == answers["really_png.jpg"] == Header(32, 24, 3, "PNG")
    assert {name for name, answer in answers.items() if isinstance(answer, BadFile)} == {
        "bomb.png", "empty.jpg", "folder.png", "text.jpg",
    }  # fmt: skip
    assert str(answers["empty.jpg"]) == f"{folder / 'empty.jpg'} is empty (0 bytes)"


def test_content_decides_and_a_wrong_ending_is_said() -> None:
    assert mismatch(Path("a/b.jpg"), Header(1, 1, 3, "PNG")) == "a/b.jpg holds a PNG image"
    assert mismatch(Path("a/b.JPEG"), Header(1, 1, 3, "JPEG")) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(PHOTO, "PNG"))
    path.chmod(0)
    with pytest.raises(DataInvalid, match=r"secret.png cannot be read \(Permission denied\)"):
        read_header(path)


def test_a_refused_open_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(decode, "open", refuse, raising=False)
    with pytest.raises(DataInvalid, match=r"a.png cannot be read \(Permission denied\)"):
        read_header(tmp_path / "a.png")


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with open(path, "wb") as file:
        file.truncate(600 * 2**20)
    with pytest.raises(DataInvalid, match="is 600 MiB, an image file may have 512 MiB"):
        read_header(path)
    assert len(decode_into([path], AS_IS, np.zeros((1, *AS_IS.shape), np.uint8))) == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "LA"])
def test_headers_tell_grey_from_colour(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(PHOTO).convert(mode).save(path)
    assert read_header(path).channels == (3 if mode in ("RGB", "P") else 1)


def test_a_palette_of_greys_counts_as_grey(tmp_path: Path) -> None:
    path = tmp_path / "x.gif"
    Image.fromarray(RAMP).save(path)
    assert read_header(path).channels == 1


def test_bits_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    paths = []
    for n in range(40):
        path = tmp_path / f"{n}.{'jpg' if n % 2 else 'png'}"
        Image.fromarray(np.roll(wave(60 + n, 90 - n), n)).save(path)
        paths.append(path)
    form, ticks = ImageForm(32, 32, 3), []
    one, three = (np.zeros((40, *form.shape), np.uint8) for _ in range(2))
    assert decode_into(paths, form, one, threads=1) == []
    assert decode_into(paths, form, three, threads=3, progress=lambda done, total: ticks.append((done, total))) == []
    assert np.array_equal(one, three)
    assert one.any(axis=(1, 2, 3)).all()
    assert ticks == [(16, 40), (32, 40), (40, 40)]


def test_pixel_budget_is_not_above_what_pillow_warns_at() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert pixels.MAX_PIXELS <= Image.MAX_IMAGE_PIXELS
