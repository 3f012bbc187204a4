"""The picture of a network's layers: what is drawn, and what is left out."""

from dataclasses import dataclass

from trainwell.pictures.anatomy import MOST_NAMED, layers_in_order, path_lengths


@dataclass
class Seen:
    """A receptive field."""

    size: tuple[int, ...]
    jump: tuple[float, ...] = (1, 1)


@dataclass
class Row:
    """A layer."""

    name: str
    stage: str
    field: Seen | None = None
    kind: str = "Conv2d"
    shape: tuple[int, ...] = (4, 8, 8)
    parameters: int = 10
    operations: int = 100
    volume: int = 256


@dataclass
class Lengths:
    """Path lengths."""

    units: int = 2
    probabilities: tuple[float, ...] = (0.25, 0.5, 0.25)


def test_each_stage_has_its_colour_in_three_panels_and_fields_are_a_line() -> None:
    rows = [Row("a", "stem", Seen((3, 3))), Row("b.0", "b", Seen((5, 5))), Row("b.1", "b", Seen((7, 9)))]
    shown = layers_in_order(rows, (3, 8, 8))
    bars = [trace for trace in shown.data if trace.type == "bar"]
    assert len(bars) == 2 * 3
    assert len({trace.marker.color for trace in bars}) == 2
    (line,) = [trace for trace in shown.data if trace.type == "scatter"]
    assert list(line.y) == [3, 5, 9]
    assert line.line.color not in {trace.marker.color for trace in bars}
    assert [trace.name for trace in bars if trace.showlegend] == ["stem", "b"]


def test_features_have_no_panel_of_fields_and_many_stages_no_legend() -> None:
    rows = [Row(f"<b>{number}", f"stage {number}") for number in range(MOST_NAMED + 1)]
    shown = layers_in_order(rows, (8,))
    assert {trace.type for trace in shown.data} == {"bar"}
    assert not shown.layout.showlegend
    assert "&lt;b&gt;0" in shown.data[0].customdata[0][0]


def test_path_lengths_are_shares() -> None:
    (bars,) = path_lengths(Lengths()).data
    assert (list(bars.x), list(bars.y)) == ([0, 1, 2], [0.25, 0.5, 0.25])
