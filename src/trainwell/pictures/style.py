"""How every picture looks: the colours, which the colour-blind can tell apart, and a light and a dark template.

The colours of data stand out 3 to 1 at least from white and from near-black, so a figure's traces are the
same in both themes; only text, grid and hover boxes change, and these belong to the template.

Source of the colours: Okabe and Ito 2008, "Color universal design"; the purple is darkened for contrast.
"""

from html import escape

import plotly.graph_objects as go

TRAIN, VAL, TEST = "#0072B2", "#D55E00", "#009E73"
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}
NEUTRAL, WRONG = "#7A8490", "#B3478F"
CLASSES = ("#0072B2", "#D55E00", "#009E73", "#B3478F", "#B07A00", "#3D8FC4", "#7A8490", "#8A6FD1")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "triangle-down")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LONGEST_LABEL = 16

_THEMES = {
    "light": {"ink": "#3c434a", "grid": "#e7e9eb", "line": "#b9bec4", "box": "#ffffff"},
    "dark": {"ink": "#c3c9d0", "grid": "#2a2f36", "line": "#4a525b", "box": "#22272d"},
}


def template(theme: str) -> go.layout.Template:
    """Return the template of a theme, `light` or `dark`; backgrounds are transparent in both.

    >>> template("dark").layout.font.color
    '#c3c9d0'
    """
    colors = _THEMES[theme]
    axis = {
        "gridcolor": colors["grid"],
        "linecolor": colors["line"],
        "tickcolor": colors["line"],
        "zerolinecolor": colors["line"],
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 12}},
        "tickfont": {"size": 12},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": colors["ink"]},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "title": {"font": {"size": 12, "color": colors["ink"]}},
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": colors["box"],
                "bordercolor": colors["line"],
                "font": {"color": colors["ink"], "family": FONT, "size": 12},
            },
        }
    )


def figure(x_title: str, y_title: str, *, height: int = 300) -> go.Figure:
    """Return an empty figure: the vertical axis is named in words at the top left, where it reads level.

    Args:
        x_title: what the horizontal axis is, with its unit.
        y_title: what the vertical axis is, with its unit.
        height: pixels.
    """
    return go.Figure(
        layout={
            "template": template("light"),
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 58, "b": 8},
            "title": {"text": y_title, "x": 0, "xref": "container", "y": 1, "yanchor": "top", "pad": {"t": 4, "l": 2}},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {
                "title": {"text": x_title},
                "showgrid": False,
                "showline": True,
                "ticks": "outside",
                "zeroline": False,
            },
            "yaxis": {"zeroline": False},
            "hovermode": "closest",
        }
    )


def label(name: str, longest: int = LONGEST_LABEL) -> str:
    """Return a user's words for Plotly, which reads a little HTML: escaped, on one line, and cut where long.

    The middle is cut: names of one family often differ at their end.

    >>> label("<b>cats</b>"), label("a very long name of a class")
    ('&lt;b&gt;cats&lt;/b&gt;', 'a very lo… class')
    """
    line = "".join(letter if letter.isprintable() else "?" for letter in name)
    tail = longest * 2 // 5
    cut = f"{line[: longest - 1 - tail]}…{line[len(line) - tail :]}"
    return escape(line if len(line) <= longest else cut, quote=False)


def translucent(color: str, opacity: float) -> str:
    """Return a `#rrggbb` colour as seen through.

    >>> translucent("#0072B2", 0.5)
    'rgba(0,114,178,0.5)'
    """
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
