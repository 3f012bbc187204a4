"""The drawing of a graph: where nodes stand, and that it shows the numbers it was given."""

import itertools
import json

import numpy as np
import pytest
from torch import nn, ones

from trainwell.graph import expression_graph, network_graph
from trainwell.graph.sketch import Arrow, Box, Sketch
from trainwell.pictures.graph import GRADIENT, VALUE, computation
from trainwell.pictures.layering import layout


def random_graph(seed: int) -> tuple[list[str], list[tuple[str, str]]]:
    random = np.random.default_rng(seed)
    keys = [f"k{number}" for number in range(int(random.integers(2, 30)))]
    pairs = [(a, b) for a, b in itertools.combinations(keys, 2) if random.uniform() < 2 / len(keys)]
    return keys, pairs


@pytest.mark.parametrize("seed", range(20))
def test_every_edge_points_right_and_no_two_nodes_touch(seed: int) -> None:
    keys, edges = random_graph(seed)
    places, routes = layout(keys, edges)
    assert [(route[0], route[-1]) for route in routes] == edges
    for route in routes:
        assert all(places[b][0] == places[a][0] + 1 for a, b in itertools.pairwise(route))
    for one, other in itertools.combinations(keys, 2):
        if places[one][0] == places[other][0]:
            assert abs(places[one][1] - places[other][1]) >= 1 - 1e-9


def test_a_chain_is_straight() -> None:
    places, _ = layout(["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert places == {"a": (0, 0), "b": (1, 0), "c": (2, 0)}


def test_a_graph_without_edges_is_placed() -> None:
    assert layout(["a"], []) == ({"a": (0, 0)}, [])


def test_an_input_stands_just_before_what_reads_it() -> None:
    keys, edges = ["x", "n1", "n2", "z", "f"], [("x", "n1"), ("n1", "n2"), ("n2", "f"), ("z", "f")]
    assert layout(keys, edges)[0]["z"][0] == 2


def test_value_gradient_and_local_gradient_are_shown() -> None:
    shown = computation(expression_graph("(x + y) * z", x=-2, y=5, z=-4).sketch())
    texts = [(note.text, note.font.color) for note in shown.layout.annotations]
    assert texts.count(("-4", GRADIENT)) == 3
    assert ("-12", VALUE) in texts
    assert {("1", None), ("-4", None), ("3", None)} <= set(texts)
    assert "(x + y) * z" in shown.layout.title.text
    json.dumps(shown.to_plotly_json(), default=lambda array: array.tolist())


def test_two_uses_of_a_node_share_an_arrow() -> None:
    sketch = expression_graph("q = 2 * x; q * q", x=1.5).sketch()
    assert [arrow.label for arrow in sketch.arrows] == ["2", "3 + 3"]


def test_names_of_users_stay_words() -> None:
    boxes = [Box("0", "<b>x</b>", "input", "1", "", "<script>"), Box("1", "y", "output", "2", "1", "y")]
    shown = computation(Sketch("<i>", ("a", "b", "c"), boxes, [Arrow("0", "1", "")]))
    written = json.dumps(shown.to_plotly_json(), default=lambda array: array.tolist())
    assert "<script>" not in written
    assert "<b>x</b>" not in written


def test_a_network_is_drawn() -> None:
    sketch = network_graph(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), ones(1, 3)).sketch()
    shown = computation(sketch)
    assert [trace.text[0] for trace in shown.data if trace.mode == "text"] == [
        "<b>input</b>",
        "0",
        "1",
        "2",
        "<b>sum</b>",
    ]
    assert shown.layout.width > 5 * 60
