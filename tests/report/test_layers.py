"""The section on the layers: charts of what was read off them, in words for everybody."""

from collections.abc import Callable
from typing import Any

import pytest

from trainwell.report.evidence import gather
from trainwell.report.layers import layers
from trainwell.report.learning import learning

Writer = Callable[..., Any]
FEW, MANY = ["body.0", "body.2", "fc"], [f"layer{n}.conv" for n in range(100)]


@pytest.mark.parametrize("names", [FEW, MANY], ids=["few", "many"])
def test_every_measure_has_a_chart_with_words(writer: Writer, names: list[str]) -> None:
    found = layers(gather(writer().begin().learn().look(names).folder))
    assert found is not None
    keys = [chart.key.removeprefix("layers-") for chart in found.charts]
    assert keys == ["distribution", "spread", "mean", "dead", "saturated", "gradients", "updates"]
    for chart in found.charts:
        assert len(chart.caption) > 40
        assert chart.alt.endswith(".")
        assert chart.height < 600
    updates = found.charts[-1]
    assert "from 0.0057 in fc to 0.017 in body.0" in updates.caption or names is MANY
    assert ("the dotted line" in updates.caption) == (names is FEW)
    assert f"Each of its {len(names)} layers is" in found.lead
    assert "6 times" in found.lead


def test_a_share_that_was_always_zero_is_a_sentence(writer: Writer) -> None:
    found = layers(gather(writer().begin().learn().look(FEW, dead=0.0).folder))
    assert found is not None
    assert "dead" not in [chart.key.removeprefix("layers-") for chart in found.charts]
    assert found.remarks == ("Dead units: none at any look, in 2 layers.",)


def test_without_a_look_there_is_no_section_but_what_was_not_examined_is_said(writer: Writer) -> None:
    assert layers(gather(writer("plain").begin().learn().folder)) is None
    made = writer("said").begin().learn().event(0, "not examined", probe="activations", reason="it needs gradients")
    found = layers(gather(made.folder))
    assert found is not None
    assert found.charts == ()
    assert found.remarks == ("Not examined by activations: it needs gradients.",)


def test_the_learning_section_keeps_the_gradient_of_the_whole_network(writer: Writer) -> None:
    found = learning(gather(writer().begin().learn().look(FEW).folder))
    assert found is not None
    titles = [chart.title for chart in found.others]
    assert "Size of the gradients" in titles
    assert not [title for title in titles if title.startswith(("activation/", "update/"))]
    gradients = next(chart for chart in found.others if chart.title == "Size of the gradients")
    assert len(gradients.figure["data"]) == 1


def test_a_page_with_a_hundred_layers_and_looks_stays_small(writer: Writer) -> None:
    from trainwell.report import write_report

    made = writer().begin().learn().look(MANY, steps=range(0, 2_000, 20)).keep_samples().finish()
    assert write_report(made.folder.path).stat().st_size < 6_000_000
