"""A network before any training, drawn: what each layer holds, costs and gives, and how far it sees."""

from collections.abc import Sequence
from typing import Protocol

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from trainwell.pictures.style import CLASSES, NEUTRAL, TRAIN, figure, label, template

PANELS = (
    ("parameters", "Parameters"),
    ("operations", "Operations for a sample"),
    ("volume", "Activations: numbers that the layer gives"),
    ("field", "Receptive field, in pixels of the input"),
)
STAGES = tuple(color for color in CLASSES if color != NEUTRAL)  # which is of the receptive field
FEW = 15  # layers, each of which has its number
PANEL_HEIGHT, TITLE_HEIGHT, LEGEND_LINE, LEGEND_LETTERS = 165, 34, 28, 100  # pixels, pixels, pixels, letters of a line
MOST_NAMED = 12  # stages in the legend; more would be taller than what they explain


class Field(Protocol):
    """A receptive field."""

    @property
    def size(self) -> Sequence[int]:
        """Pixels along each axis of the input."""

    @property
    def jump(self) -> Sequence[float]:
        """Pixels between the fields of neighbours; 0 for one unit of the whole axis."""


class Layer(Protocol):
    """A layer: `models.anatomy.Layer`."""

    @property
    def name(self) -> str:
        """Its path."""

    @property
    def kind(self) -> str:
        """What it does."""

    @property
    def stage(self) -> str:
        """The block at the top that it stands in."""

    @property
    def shape(self) -> Sequence[int]:
        """Of what it gives, for one sample."""

    @property
    def parameters(self) -> int:
        """How many."""

    @property
    def operations(self) -> int:
        """For one sample."""

    @property
    def volume(self) -> int:
        """Numbers that it gives."""

    @property
    def field(self) -> Field | None:
        """What a unit of it sees."""


class PathLengths(Protocol):
    """How many branches paths go through: `models.anatomy.PathLengths`."""

    @property
    def units(self) -> int:
        """Residual units."""

    @property
    def probabilities(self) -> Sequence[float]:
        """Of 0, 1, ... branches."""


def layers_in_order(layers: Sequence[Layer], input_shape: Sequence[int]) -> go.Figure:
    """Draw bars of parameters, operations and activations of each layer, and the line of its receptive field.

    Args:
        layers: in the order in which they ran.
        input_shape: of one sample; the receptive field is compared with its smallest side.
    """
    panels = PANELS if any(layer.field for layer in layers) else PANELS[:-1]
    shown = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.07,
        subplot_titles=[words for _, words in panels],
    )
    stages = list(dict.fromkeys(layer.stage for layer in layers))
    numbered = list(enumerate(layers, start=1))
    for place, stage in enumerate(stages):
        inside = [(number, layer) for number, layer in numbered if layer.stage == stage]
        for row, (what, _) in enumerate(panels, start=1):
            if what != "field":
                shown.add_trace(_bars(inside, what, STAGES[place % len(STAGES)], is_named=row == 1), row, 1)
    if len(panels) == len(PANELS):
        _draw_fields(shown, numbered, input_shape, row=len(panels))
    _settle(shown, panels, named=stages if len(stages) <= MOST_NAMED else ())
    if len(layers) < FEW:
        shown.update_xaxes(dtick=1)
    return shown


def path_lengths(lengths: PathLengths) -> go.Figure:
    """Draw which share of the paths through residual units goes through how many branches."""
    shown = figure("branches that a path goes through", "share of all paths", height=260)
    shown.add_bar(
        x=list(range(lengths.units + 1)),
        y=list(lengths.probabilities),
        marker={"color": TRAIN},
        hovertemplate="%{x} branches: %{y:.2%}<extra></extra>",
    )
    shown.update_yaxes(tickformat=".0%")
    return shown


def _bars(inside: Sequence[tuple[int, Layer]], what: str, color: str, *, is_named: bool) -> go.Bar:
    """Return the bars of one stage."""
    stage = inside[0][1].stage
    return go.Bar(
        x=[number for number, _ in inside],
        y=[getattr(layer, what) for _, layer in inside],
        name=label(stage, 40),
        legendgroup=stage,
        showlegend=is_named,
        marker={"color": color, "line": {"width": 0}},
        customdata=[[_words(layer)] for _, layer in inside],
        hovertemplate=f"%{{customdata[0]}}<br>%{{y:,}} {what if what != 'volume' else 'activations'}<extra></extra>",
    )


def _draw_fields(
    shown: go.Figure, numbered: Sequence[tuple[int, Layer]], input_shape: Sequence[int], *, row: int
) -> None:
    """Draw the receptive field as a line, broken where it is not known, and the input's side as another."""
    sizes = [max(layer.field.size) if layer.field else None for _, layer in numbered]
    shown.add_trace(
        go.Scatter(
            x=[number for number, _ in numbered],
            y=sizes,
            mode="lines",
            line={"color": NEUTRAL, "width": 2, "shape": "hv"},
            showlegend=False,
            customdata=[[_words(layer)] for _, layer in numbered],
            hovertemplate="%{customdata[0]}<br>sees %{y:,} pixels<extra></extra>",
        ),
        row,
        1,
    )
    side = min(input_shape[1:]) if len(input_shape) > 1 else 0
    if side:
        shown.add_hline(
            y=side,
            line={"color": NEUTRAL, "width": 1, "dash": "dot"},
            annotation={
                "text": f"the input: {side}",
                "font": {"size": 11},
                "yanchor": "bottom",
                "xanchor": "left",
                "x": 0,
                "xshift": 4,
            },
            row=row,
            col=1,
        )


def _settle(shown: go.Figure, panels: Sequence[tuple[str, str]], *, named: Sequence[str]) -> None:
    """Set the axes and the room that they take, with that of the legend of the stages `named`."""
    letters = sum(len(label(stage, 40)) + 6 for stage in named)
    top = TITLE_HEIGHT + LEGEND_LINE * -(-letters // LEGEND_LETTERS)
    shown.update_layout(
        template=template("light"),
        height=PANEL_HEIGHT * len(panels) + top,
        margin={"l": 8, "r": 12, "t": top, "b": 8},
        bargap=0.12,
        barmode="overlay",
        showlegend=bool(named),
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top", "font": {"size": 12}},
        hovermode="closest",
    )
    shown.update_xaxes(showgrid=False, showline=True, zeroline=False)
    shown.update_xaxes(title={"text": "layer, in the order in which they run"}, row=len(panels), col=1)
    shown.update_yaxes(zeroline=False, rangemode="tozero", nticks=5, ticksuffix=" ")
    for title in shown.layout.annotations[: len(panels)]:
        title.update(x=0, xanchor="left", font={"size": 12})


def _words(layer: Layer) -> str:
    """Say what a layer is."""
    shape = "x".join(map(str, layer.shape)) or "1"
    return f"<b>{label(layer.name, 60)}</b><br>{label(layer.kind, 40)}, gives {shape}"
