"""What a page carries within itself: figures as data, pictures as small files in the text."""

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from plotly.utils import PlotlyJSONEncoder

LOSSLESS_SIDE = 40  # pixels up to which a picture is stored exactly; above, losses cannot be seen
QUALITY = 80


@dataclass(frozen=True)
class Chart:
    """A figure on the page.

    Attributes:
        key: unique on the page.
        title: what it shows, in a few words.
        caption: one sentence that says how to read it, with what was measured where that helps.
        alt: the same for those who cannot see it, with the main numbers.
        height: pixels, so that the page does not jump while figures are drawn.
        figure: as Plotly's script reads it.
    """

    key: str
    title: str
    caption: str
    alt: str
    height: int
    figure: dict[str, Any]


def chart(key: str, title: str, figure: go.Figure, *, caption: str, alt: str) -> Chart:
    """Return a figure for the page, without its template, which the page holds once for all."""
    plain = figure.to_plotly_json()
    layout = {name: value for name, value in plain["layout"].items() if name != "template"}
    return Chart(key, title, caption, alt, int(figure.layout.height), {"data": plain["data"], "layout": layout})


def as_script_data(plain: Any) -> str:
    """Return JSON that may stand inside a script element, whatever texts it holds.

    >>> as_script_data(["</script>"])
    '["\\\\u003c/script\\\\u003e"]'
    """
    text = json.dumps(plain, cls=PlotlyJSONEncoder, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a picture (H, W, 1 or 3) as a `data:` address: exact where it is small, else WebP with small losses."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    if max(pixels.shape[:2]) <= LOSSLESS_SIDE:
        image.save(file, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(file, "WEBP", quality=QUALITY, method=4)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
