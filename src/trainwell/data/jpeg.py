"""Decode JPEG files with libjpeg-turbo, at a reduced scale where much more is stored than asked for."""

from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from trainwell.data.pixels import Unreadable, check_pixels, open_image, orientation, turn

# libjpeg-turbo decodes at 1/2, 1/4 and 1/8 faster than in full (its other scales are slower). A scale is taken where
# the decoded image is still this many times larger than the result: bench/decode.py measures the PSNR of each.
SCALES = ((8, 4.0), (4, 3.0), (2, 2.0))

JPEG_DECODER = f"simplejpeg {simplejpeg.__version__}, strict, (scale, margin) {SCALES}"

HEAD_BYTES = 256 * 2**10  # what is searched for the EXIF part and the frame header


@dataclass(frozen=True)
class JpegHeader:
    """The size as stored, the EXIF orientation, and the colour space in simplejpeg's words."""

    height: int
    width: int
    orientation: int
    colour: str

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after turning."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def is_grey(self) -> bool:
        """Whether the file holds no colour."""
        return self.colour == "Gray"


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Return the header of a JPEG, or None for what is left to Pillow: other formats, rare samplings, broken headers.

    Raises:
        Unreadable: more pixels than an image may have.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    check_pixels(int(width), int(height))
    return JpegHeader(int(height), int(width), _orientation(data), str(colour))


def read_jpeg(data: bytes, header: JpegHeader, channels: int, *, at_least: int) -> np.ndarray:
    """Return the upright (h, w, C) uint8 pixels of a JPEG.

    Args:
        data: the file's content.
        header: of the same file.
        channels: 1 (luma) or 3.
        at_least: the shorter side that is wanted in the end; a scale is taken where it leaves enough for it.

    Raises:
        Unreadable: the file is cut short or damaged; what libjpeg-turbo would repair is an error too.
    """
    scale = scaled_decoding(min(header.upright), at_least)
    is_ink = header.colour in ("CMYK", "YCCK")
    try:
        pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="CMYK" if is_ink else "GRAY" if channels == 1 else "RGB",
            min_height=-(-header.height // scale),
            min_width=-(-header.width // scale),
            min_factor=scale,
        )
    except ValueError as error:
        words = str(error)
        raise Unreadable(
            f"is {'cut short' if 'Premature end of JPEG file' in words else 'damaged'} ({words})"
        ) from None
    return turn(_ink_to_light(pixels, channels) if is_ink else pixels, header.orientation)


def scaled_decoding(side: int, wanted: int) -> int:
    """Return by how much a side may be divided in decoding: 1, 2, 4 or 8.

    >>> [scaled_decoding(side, 224) for side in (500, 1000, 3000, 8000)]
    [1, 2, 4, 8]
    """
    for scale, margin in SCALES:
        if side >= scale * margin * wanted:
            return scale
    return 1


def _ink_to_light(ink: np.ndarray, channels: int) -> np.ndarray:
    """Turn (h, w, 4) CMYK, stored inverted as Adobe does (255 is no ink), into RGB or grey."""
    light = ink.astype(np.uint16)
    rgb = ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8)
    return rgb if channels == 3 else np.array(Image.fromarray(rgb).convert("L"))[..., None]  # (h, w) -> (h, w, 1)


def _orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 where there is none; most files are done without Pillow."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        if data[position + 1] == 0xE1:  # APP1: EXIF or XMP
            return orientation(open_image(data), data[:HEAD_BYTES])
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return 1
