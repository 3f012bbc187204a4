"""Turn an opened Pillow image of any mode into upright 8-bit grey or RGB pixels.

Transparent pixels are laid on white, as a browser or a page shows them. 16-bit grey is scaled to 8 bits
(65535 becomes 255). Of an animated file the first frame is taken. Colour profiles are not applied. An EXIF
part that says no orientation, or is damaged inside, counts as upright, as viewers take it.
"""

import io
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG")

# Pillow's own limit of 1 GiB / 4 / 3, taken for every format, and as an error where Pillow warns.
MAX_PIXELS = 89_478_485

ORIENTATION = 0x0112  # the EXIF tag
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_TURN_MARKS = (b"eXIf", b"Exif", b"EXIF", b"Raw profile type", b"tiff:Orientation")
_PNG_START = b"\x89PNG\r\n\x1a\n"


class Unreadable(Exception):
    """An image that cannot be used; the message is the reason in words, to be put behind the file's name."""


def open_image(data: bytes) -> Image.Image:
    """Return the image with its header read and nothing decoded.

    Raises:
        Unreadable: no format that we take, a broken header, or more pixels than `MAX_PIXELS`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable(f"holds more than {MAX_PIXELS:,} pixels (a decompression bomb?): scale it down") from None
    except UnidentifiedImageError:
        raise Unreadable(
            f"is no image: it begins with {_shown(data[:12])}, which is none of {', '.join(FORMATS)}"
        ) from None
    except Exception as error:  # Pillow's readers let many kinds of error out on broken bytes
        raise Unreadable(f"cannot be decoded: its header is broken ({_words(error)})") from None
    check_pixels(image.width, image.height)
    return image


def _shown(head: bytes) -> str:
    """Say the first bytes of a file: as text where they are some, else in hex.

    >>> _shown(b"PK12"), _shown(bytes([0, 255]))
    ("'PK12'", '00 ff')
    """
    return repr(head.decode("ascii")) if head.isascii() and head.decode("ascii").isprintable() else head.hex(" ")


def check_pixels(width: int, height: int) -> None:
    """Refuse more pixels than any one image may have, before they are decoded."""
    if width * height > MAX_PIXELS:
        raise Unreadable(f"is {width}x{height}: more than {MAX_PIXELS:,} pixels (a decompression bomb?): scale it down")


def is_grey(image: Image.Image) -> bool:
    """Whether the file holds no colour: a grey mode, or a palette of greys."""
    if image.mode != "P":
        return image.mode in _GREY_MODES
    palette = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def orientation(image: Image.Image, data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, that is still to be undone; TIFF files are turned by Pillow itself.

    Raises:
        Unreadable: the file ends before the place where its EXIF part would stand.
    """
    if image.format == "TIFF" or not any(mark in data for mark in _TURN_MARKS):
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)  # reads a PNG to its end: its EXIF part may stand behind the pixels
    except Exception as error:
        raise Unreadable(f"is cut short or damaged ({_words(error)})") from None
    return value if value in range(1, 9) else 1


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return (h, w, C) pixels upright: a view that undoes an EXIF orientation.

    >>> turn(np.array([[[1], [2]]]), 6)[..., 0]
    array([[1],
           [2]])
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def read_pixels(data: bytes, channels: int) -> np.ndarray:
    """Return the upright (h, w, C) uint8 pixels of a file's bytes, decoded by Pillow.

    Raises:
        Unreadable: the bytes are no image, damaged, cut short, too large, or of a kind without an agreed range.
    """
    image = open_image(data)
    if image.format == "PNG":
        check_png(data)
    try:
        image.load()
        turned = orientation(image, data)
        return turn(to_uint8(image, channels), turned)
    except Unreadable:
        raise
    except Exception as error:  # as above
        words = _words(error)
        is_short = any(hint in words for hint in ("truncated", "Truncated", "-2", "could not create decoder"))
        raise Unreadable(f"{'is cut short or damaged' if is_short else 'cannot be decoded'} ({words})") from None


def check_png(data: bytes) -> None:
    """Compare every chunk of a PNG file with its checksum: Pillow skips those of the pixels.

    Raises:
        Unreadable: a checksum is wrong, or the file ends before its end mark.
    """
    view, position = memoryview(data), len(_PNG_START)
    while position + 12 <= len(data):
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 8 + length
        kind = bytes(view[position + 4 : position + 8])
        if end + 4 > len(data):
            break
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise Unreadable(f"is damaged: the checksum of its {kind.decode('latin-1')!r} part is wrong")
        if kind == b"IEND":
            return
        position = end + 4
    raise Unreadable(f"is cut short: its {len(data)} bytes end before the end mark of a PNG file")


def to_uint8(image: Image.Image, channels: int) -> np.ndarray:
    """Return the (h, w, C) uint8 pixels of an image of any mode, as they lie in it: nothing is turned.

    Raises:
        Unreadable: pixels of a kind without an agreed range.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _sixteen_to_eight(image)
        return np.repeat(grey[:, :, None], channels, axis=2)  # (h, w) -> (h, w, C)
    if image.has_transparency_data:
        solid = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid)
    image = image.convert("L" if channels == 1 else "RGB")
    return np.array(image).reshape(image.height, image.width, channels)


def _sixteen_to_eight(image: Image.Image) -> np.ndarray:
    """Scale 0..65535 to 0..255, rounded."""
    if image.mode == "F":
        raise Unreadable("holds floating-point pixels, which have no agreed range: save it with 8 or 16 bits")
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise Unreadable(
            f"holds 32-bit grey values from {low} to {high}, outside 0 to 65535: save it with 8 or 16 bits"
        )
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return grey


def _words(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
