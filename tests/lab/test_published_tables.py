"""The tables as data: they add up by arithmetic of their own, every row has its network, a wrong count is seen."""

from collections.abc import Mapping
from typing import Any

import pytest

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.published_tables import (
    ALEXNET,
    ARMS,
    FOLDED_34,
    PRINTED,
    counts,
    figures,
    judge,
    look,
    measure,
)


def test_the_rows_of_resnet34_add_up_to_its_printed_total() -> None:
    rows = {row: numbers for row, *numbers in PRINTED[FOLDED_34]}
    parameters, operations = rows.pop("")
    assert sum(row[0] or 0 for row in rows.values()) == parameters
    pooled, classes = 64 * 112 * 112 + 512 * 7 * 7, 1_000  # inputs of both poolings, the softmax
    assert sum(row[1] or 0 for row in rows.values()) + pooled + classes == operations


def test_parameters_of_the_folded_rows_are_those_of_the_formulas() -> None:
    """9 c c' + c' a convolution, and c c' + c' a projection."""

    def unit(before: int, wide: int) -> int:
        projection = (before + 1) * wide if before != wide else 0
        return (9 * before + 1) * wide + (9 * wide + 1) * wide + projection

    rows = {row: parameters for row, parameters, _ in PRINTED[FOLDED_34]}
    assert rows["conv1"] == (49 * 3 + 1) * 64
    assert rows["layer1"] == 3 * unit(64, 64)
    for stage, count in ((2, 4), (3, 6), (4, 3)):
        wide = 32 * 2**stage
        assert rows[f"layer{stage}.0"] == unit(wide // 2, wide)
        assert rows[f"layer{stage}, the others"] == (count - 1) * unit(wide, wide)
    assert rows["fc"] == 513 * 1_000


def test_multiply_adds_of_vgg16_are_those_of_its_layers() -> None:
    sides = [(224, 3, 64), (224, 64, 64), (112, 64, 128), (112, 128, 128), (56, 128, 256), (56, 256, 256)]
    sides += [(56, 256, 256), (28, 256, 512), (28, 512, 512), (28, 512, 512), *[(14, 512, 512)] * 3]
    convolutions = sum(9 * side * side * before * after for side, before, after in sides)
    ((_, _, operations),) = PRINTED["VGG-16"]
    assert operations == convolutions + 49 * 512 * 4_096 + 4_096 * 4_096 + 4_096 * 1_000


def test_one_column_of_alexnet_has_what_two_had_together() -> None:
    found = look(ARMS[ALEXNET])
    pooled = 96 * 55 * 55 + 256 * 27 * 27 + 256 * 13 * 13
    assert found.operations == counts(found, "layers with weights")[1] + pooled + 1_000
    assert found.input_shape == (3, 227, 227)


def test_every_row_is_printed_of_a_network_that_is_counted() -> None:
    assert set(PRINTED) <= set(ARMS)
    assert all(arm in PRINTED or "152" in arm for arm in ARMS)


def printed_as_found() -> dict[str, dict[str, Any]]:
    """A table in which every network is as printed."""
    cells: dict[str, dict[str, Any]] = {arm: {"parameters": 60_176_040.0, "operations": 11.3e9} for arm in ARMS}
    for arm, rows in PRINTED.items():
        for row, *numbers in rows:
            for word, number in zip(("parameters", "operations"), numbers, strict=True):
                cells[arm][f"{row}: {word}" if row else word] = number if number is not None else 0
    return cells


def judged(cells: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [check.claim for check in judge(Table({arm: [row] for arm, row in cells.items()})) if not check.holds]


def test_a_count_that_is_wrong_by_one_is_seen() -> None:
    cells = printed_as_found()
    assert judged(cells) == []
    cells["DenseNet-121"]["parameters"] += 1
    assert judged(cells) == ["DenseNet-121: parameters"]
    cells["ResNet-18"]["operations"] *= 1.2
    assert len(judged(cells)) == 3


@pytest.mark.parametrize("arm", ["CIFAR ResNet-20", "GoogLeNet with batch norm"])
def test_networks_are_measured_as_they_are_printed(arm: str) -> None:
    cells = printed_as_found()
    cells[arm] = dict(measure(ARMS[arm], 0, True))
    assert judged(cells) == []
    assert figures(Table({name: [row] for name, row in cells.items()}))
