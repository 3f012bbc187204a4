"""Pictures of paths show every iteration, keep far points away, and put a panel for each optimizer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainwell.pictures.landscape import FAR, LONGEST, losses, panels, speeds, walks

Floats = NDArray[np.floating[Any]]


@dataclass
class Bowl:
    """x^2 + y^2."""

    window: tuple[tuple[float, float], tuple[float, float]] = ((-2.0, 1.0), (-1.0, 1.0))
    minima: tuple[tuple[float, float], ...] = ((0.0, 0.0),)

    def height(self, point: tuple[float, float]) -> float:
        return point[0] ** 2 + point[1] ** 2

    def heights(self, side: int = 5) -> tuple[Floats, Floats, Floats]:
        x, y = (np.linspace(*ends, side) for ends in self.window)
        return x, y, x[None, :] ** 2 + y[:, None] ** 2


@dataclass
class Walk:
    """A path through some positions."""

    positions: Floats
    sub_steps: int = 1

    @property
    def iterations(self) -> Floats:
        return self.positions[:: self.sub_steps]

    @property
    def losses(self) -> Floats:
        return np.asarray((self.positions**2).sum(1))

    @property
    def speeds(self) -> Floats:
        return np.asarray(np.linalg.norm(np.diff(self.positions, axis=0), axis=1))


def straight(count: int, sub_steps: int = 1, length: float = 1.0) -> Walk:
    return Walk(np.column_stack([np.linspace(-length, -0.1, count), np.zeros(count)]), sub_steps)


def test_a_path_is_a_line_through_every_step_with_a_dot_for_each_iteration() -> None:
    shown = walks(Bowl(), {"one": straight(13, sub_steps=4)})
    contour, line, ring, dots, cross = shown.data
    assert contour.type == "contour"
    assert (len(line.x), list(ring.x), len(dots.x)) == (13, [-1.0], 3)
    assert [number for number, _ in dots.customdata] == [1, 2, 3]
    assert list(cross.x) == [0.0]


def test_losses_are_drawn_over_iterations_with_a_point_for_each_step() -> None:
    shown = losses(Bowl(), {"one": straight(13, sub_steps=4)})
    assert list(shown.data[0].x[:5]) == [0, 0.25, 0.5, 0.75, 1]
    assert shown.data[0].y[0] == 1.0
    assert shown.layout.yaxis.type == "log"


def test_heights_lie_between_none_and_one_and_the_lowest_is_none() -> None:
    bent = np.array(walks(Bowl(), {"one": straight(3)}).data[0].z)
    assert (bent.min(), bent.max()) == (0, 1)


def test_many_paths_are_told_apart_and_named_once() -> None:
    shown = walks(Bowl(), {f"<b>{n}": straight(3) for n in range(10)})
    named = [trace for trace in shown.data if trace.type == "scatter" and trace.showlegend is None]
    assert [trace.name for trace in named] == [f"&lt;b&gt;{n}" for n in range(10)]
    lines = [trace.line for trace in losses(Bowl(), {str(n): straight(3) for n in range(10)}).data]
    assert len({(line.color, line.dash) for line in lines}) == 10


def test_what_flies_away_stays_in_reach_and_off_the_scale_of_the_others() -> None:
    far = Walk(np.array([[-1.0, 0.0], [1e100, -1e100]]))
    shown = walks(Bowl(), {"far": far, "near": straight(3)})
    assert max(shown.data[1].x) == 1 + FAR * 3
    assert min(shown.data[1].y) == -1 - FAR * 2
    curves = losses(Bowl(), {"far": far, "near": straight(3)})
    assert curves.layout.yaxis.autorangeoptions.maxallowed == pytest.approx(np.log10(30))


def test_long_paths_are_thinned_and_count_on() -> None:
    dots = walks(Bowl(), {"long": straight(5 * LONGEST + 1)}).data[3]
    assert len(dots.x) <= LONGEST
    assert dots.customdata[1][0] == 2 * dots.customdata[0][0] > 2


def test_without_a_minimum_losses_are_drawn_as_they_are() -> None:
    shown = losses(Bowl(minima=()), {"one": straight(3)})
    assert shown.layout.yaxis.type is None
    assert shown.layout.title.text == "Loss"


def test_every_optimizer_has_a_pair_of_panels_and_its_losses() -> None:
    pair = {"batch": straight(3), "stochastic": straight(9, sub_steps=4)}
    shown = panels(Bowl(), {f"optimizer {n}": pair for n in range(5)}, columns=4)
    assert sum(trace.type == "contour" for trace in shown.data) == 10
    words = [note.text for note in shown.layout.annotations]
    assert len(words) == 6
    assert "<b>optimizer 3</b>" in words[4]
    assert ">0.01<" in words[4]
    tops = [shown.layout[f"yaxis{'' if n == 1 else n}"].domain for n in (1, 2, 9)]
    assert tops[0][0] > tops[1][1] > tops[2][1], "one below the other, and the fifth in a second row"
    for number in range(1, 11):
        low, high = shown.layout[f"yaxis{'' if number == 1 else number}"].domain
        assert 0 <= low < high <= 1


def test_a_missing_kind_needs_no_room() -> None:
    both = panels(Bowl(), {"one": {"batch": straight(3), "stochastic": straight(3)}})
    assert panels(Bowl(), {"one": {"batch": straight(3)}}).layout.height < both.layout.height


def test_a_tiny_loss_is_said_to_be_tiny() -> None:
    near = Walk(np.array([[-1.0, 0.0], [1e-20, 0.0]]))
    words = panels(Bowl(), {"one": {"batch": near}}).layout.annotations[1].text
    assert "&lt;1e-9" in words


def test_speeds_have_their_terminal_one_dotted_where_there_is_one() -> None:
    shown = speeds({"a": straight(4), "b": straight(4)}, {"a": np.ones((3, 2)), "b": None})
    assert [trace.line.dash for trace in shown.data] == [None, "dot", None]
    assert shown.data[1].y[0] == pytest.approx(1.414)
