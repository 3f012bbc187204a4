"""What pydantic finds wrong is said in our users' words."""

from typing import Any

import pytest
from pydantic import ValidationError

from trainwell.core.faults import faults_of
from trainwell.core.recipe import Recipe


def faults(plain: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(plain)
    return sorted(faults_of(caught.value, Recipe))


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"seed": -1}, "seed: must be greater than or equal to 0, got -1"),
        ({"seed": "one"}, "seed: must be a whole number, got 'one'"),
        ({"batch": {"size": 0}}, "batch.size: must be greater than or equal to 1 or 'auto', got 0"),
        ({"length": {"epochs": 2.5}}, "length.epochs: must be a whole number or 'auto', got 2.5"),
        ({"length": {"minutes": "few"}}, "length.minutes: must be a number, got 'few'"),
        ({"data": {"resize": "zoom"}}, "data.resize: must be 'crop', 'pad' or 'stretch', got 'zoom'"),
        ({"data": {"location": 3}}, "data.location: must be a text, got 3"),
        ({"sed": 1}, "sed: there is no such field: did you mean 'seed'?"),
        ({"batch": {"sise": 1}}, "batch.sise: there is no such field: did you mean 'size'?"),
        (
            {"model": "mlp:lr"},
            "model: 'mlp:lr': an option is written key=value, got 'lr' or 'auto', got 'mlp:lr'",
        ),
    ],
)
def test_a_complaint_is_one_clause_with_the_path_and_what_was_received(plain: dict[str, Any], words: str) -> None:
    assert faults(plain) == [words]


def test_every_complaint_is_there_once() -> None:
    found = faults({"seed": -1, "batch": {"size": 0, "accumulate": 0}, "data": {"image_size": 0}})
    assert [fault.partition(":")[0] for fault in found] == ["batch.accumulate", "batch.size", "data.image_size", "seed"]
