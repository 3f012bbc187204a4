"""What `trainwell show` says of an activation: its traits, a number that depends on options at their defaults."""

import json

import pytest

from trainwell.cli.shelves import show
from trainwell.core.shelves import activations


def test_show_lists_what_a_card_declares(capsys: pytest.CaptureFixture[str]) -> None:
    show("activation", "relu")
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert ["formula", "max(0, x)"] in lines
    assert ["can", "die          yes"] in lines
    assert ["gain", "1.414"] in lines
    show("activation", "leaky_relu")
    assert "gain             1.414\n" in capsys.readouterr().out


def test_as_json_traits_are_plain_data_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    for card in activations:
        show("activation", card.name, as_json=True)
        traits = json.loads(capsys.readouterr().out)["traits"]
        assert traits.keys() >= {
            "formula",
            "derivative",
            "range",
            "is_saturating",
            "is_zero_centred",
            "can_die",
            "gain",
        }


def test_what_a_card_holds_for_the_machinery_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show("norm", "weight", as_json=True)
    assert json.loads(capsys.readouterr().out)["traits"] == {}
    show("model", "mlp")
    assert "former" not in capsys.readouterr().out
