"""What every source on the shelf promises; no member is named here."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainwell.core.catalog import Card
from trainwell.core.shelves import sources
from trainwell.data.prepare import DataSpec, Prepared, prepare
from trainwell.data.samples import Samples, infer_source

CARDS = list(sources)


@pytest.fixture(params=CARDS, ids=lambda card: card.name)
def card(request: pytest.FixtureRequest) -> Card:
    return request.param


def example(card: Card, folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the location and options of a card's own example; a source without location needs none."""
    if "location" not in card.needs:
        return "", {}
    folder.mkdir(parents=True, exist_ok=True)
    return card.traits["example"](folder)


def read(card: Card, folder: Path) -> Samples:
    location, options = example(card, folder)
    return card.build(options, location=location)


def ready(card: Card, folder: Path, *, seed: int = 0, threads: int = 1) -> Prepared:
    location, options = example(card, folder)
    return prepare(DataSpec(source=card.name, location=location, options=options), seed=seed, threads=threads)


def test_the_card_says_what_the_source_is(card: Card) -> None:
    assert card.summary.endswith(".")
    assert len(card.summary) < 130
    assert card.needs in ((), ("location",))
    assert inspect.getdoc(card.builder)
    if card.needs:
        assert callable(card.traits["accepts"])
        assert callable(card.traits["example"])
        assert card.traits["takes"].startswith("a ")


def test_samples_are_labelled_and_of_one_kind(card: Card, tmp_path: Path) -> None:
    samples = read(card, tmp_path)
    assert len(samples) == len(samples.labels) == len(samples.splits) > 0
    assert samples.labels.dtype == np.int64
    assert samples.labels.min() == 0
    assert samples.labels.max() == len(samples.classes) - 1
    assert len(set(samples.classes)) == len(samples.classes) >= 2
    assert set(samples.splits) <= {"", "train", "val", "test"}
    if samples.files is not None:
        assert len(samples.files) == len(samples)
        assert all(file.is_file() for file in samples.files)
    if samples.arrays is not None:
        assert len(samples.arrays) == len(samples)
        assert samples.arrays.dtype in (torch.uint8, torch.float32)
        assert samples.arrays.ndim == (4 if samples.kind == "images" else 2)
    assert all(isinstance(note, str) and "\n" not in note for note in samples.notes)


def test_the_same_place_gives_the_same_samples(card: Card, tmp_path: Path) -> None:
    one, other = read(card, tmp_path / "one"), read(card, tmp_path / "two")
    assert np.array_equal(one.labels, other.labels)
    assert one.classes == other.classes
    if one.arrays is not None and other.arrays is not None:
        assert torch.equal(one.arrays, other.arrays)


def test_its_place_is_recognised(card: Card, tmp_path: Path) -> None:
    location, _ = example(card, tmp_path / "place")
    found = infer_source(location or card.name)
    assert (found.name, found.location) == (card.name, location)
    assert found.reason


def test_it_can_be_prepared_and_the_result_is_a_function_of_content_and_seed(card: Card, tmp_path: Path) -> None:
    one, other = ready(card, tmp_path / "one", threads=1), ready(card, tmp_path / "two", threads=3)
    assert {name for name, _ in one.stores.items()} >= {"train", "val"}
    for (name, mine), (twin, yours) in zip(one.stores.items(), other.stores.items(), strict=True):
        assert name == twin
        batch = mine.gather(torch.arange(len(mine)))
        assert batch.inputs.shape == (len(mine), *one.input_shape)
        assert torch.equal(batch.inputs, yours.gather(torch.arange(len(yours))).inputs)
        assert torch.equal(batch.targets, yours.targets)
        assert int(batch.targets.min()) >= 0
        assert int(batch.targets.max()) < len(one.classes)
        assert one.name(name, 0)
    assert one.summary["fingerprint"] == other.summary["fingerprint"]
    assert json.loads(json.dumps(one.summary)) == one.summary
    assert set(one.stores.train.targets.tolist()) == set(range(len(one.classes)))
    assert ready(card, tmp_path / "three", seed=1).summary["membership"] != one.summary["membership"]
