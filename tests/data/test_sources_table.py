"""The table source: paths or features, column names, splits, and every cell that cannot be used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainwell.core.shelves import sources
from trainwell.data.prepare import DataSpec, prepare
from trainwell.data.samples import Samples
from trainwell.data.sources.table import read_features
from trainwell.errors import DataInvalid


def read(folder: Path, text: str, name: str = "table.csv", **options: Any) -> Samples:
    (folder / name).write_text(text, encoding="utf-8")
    return sources.build("table", options, location=str(folder / name))


def test_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    samples = read(tmp_path, "path,label\na/1.png,cat\n/b/2.png,dog\n")
    assert samples.files == (tmp_path / "a/1.png", Path("/b/2.png"))
    assert samples.classes == ("cat", "dog")
    assert samples.labels.tolist() == [0, 1]
    assert samples.name(0) == "a/1.png"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "filename;class\n1.png;cat\n2.png;dog\n"),
        ("t.tsv", "image\ttarget\n1.png\tcat\n2.png\tdog\n"),
        ("t.csv", "\ufeffFile,Category\r\n1.png , cat\r\n2.png,dog\r\n\r\n"),
        ("t.csv", 'img,y,remark\n1.png,cat,"a, b\nc"\n2.png,dog,\n'),
    ],
)
def test_usual_spellings_and_delimiters_are_known(tmp_path: Path, name: str, text: str) -> None:
    samples = read(tmp_path, text, name)
    assert samples.files == (tmp_path / "1.png", tmp_path / "2.png")
    assert samples.classes == ("cat", "dog")


def test_codes_with_leading_zeros_stay_names(tmp_path: Path) -> None:
    assert read(tmp_path, "path,label\n1.png,01\n2.png,1\n3.png,10\n").classes == ("01", "1", "10")


def test_columns_are_named_by_options(tmp_path: Path) -> None:
    text = "where,what,part,label\n1.png,cat,train,9\n2.png,dog,Validation,9\n3.png,dog,,9\n"
    samples = read(tmp_path, text, path="where", label="what", split="part")
    assert samples.classes == ("cat", "dog")
    assert samples.splits.tolist() == ["train", "val", ""]


def test_without_paths_the_other_columns_are_features(tmp_path: Path) -> None:
    samples = read(tmp_path, "a,b,label,split\n1,2.5,3,train\n-1e3,0,7,test\n")
    assert samples.kind == "features"
    assert samples.arrays is not None
    assert torch.equal(samples.arrays, torch.tensor([[1, 2.5], [-1000, 0]]))
    assert samples.classes == ("3", "7")
    assert "its 2 other columns are features: a, b" in samples.notes[0]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "is empty: its first line must name the columns"),
        ("path,label\n", {}, "holds only its first line: there are no samples below path, label"),
        ("path,kind\n1.png,cat\n", {}, "no label column: its columns are path, kind; name the column"),
        ("path,kind\n1.png,cat\n", {"label": "kinds"}, "has no column 'kinds' for the label: did you mean 'kind'?"),
        ("path,label\n1.png,cat\n2.png\n", {}, "table.csv, line 3: 1 cells where the first line names 2 columns"),
        ("path,label\n1.png,cat\n2.png,\n", {}, "column 'label' is empty in 1 rows (lines 3)"),
        ("path,label\n,cat\n2.png,dog\n", {}, "column 'path' is empty in 1 rows (lines 2)"),
        ("path,label\n1.png,1\n2.png,nan\n", {}, "column 'label' has no label (NaN) in 1 rows (lines 3)"),
        ("path,label\n1.png,0\n2.png,-1\n", {}, "must be class ids from 0, got 1 negative ones"),
        ("path,label\n1.png,0.5\n2.png,1\n3.png,1\n4.png,0\n5.png,1\n", {}, "holds fractions in 1 of 5 rows"),
        ("path,label,split\n1.png,a,trian\n", {}, "train, val, test or empty, got 'trian': did you mean 'train'"),
        ("path,path,label\n1.png,2.png,a\n", {}, "several columns called 'path'"),
        ("a,b,label\n1,x,0\n", {}, "line 2: column 'b' holds 'x', where a finite number is needed"),
        ("a,b,label\n1,,0\n", {}, "line 2: column 'b' is empty, where a finite number is needed"),
        ("a,b,label\n1,inf,0\n", {}, "line 2: column 'b' holds 'inf', where a finite number is needed"),
        ("label\ncat\n", {}, "has neither a column of paths nor of numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, text: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(DataInvalid) as caught:
        read(tmp_path, text, **options)
    assert words in str(caught.value)


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("path,label\n1.png,Küche\n".encode("latin-1"))
    with pytest.raises(DataInvalid, match="is not UTF-8 text"):
        sources.build("table", location=str(tmp_path / "t.csv"))


def test_files_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    lines = ["path,label"]
    for number in range(8):
        if number not in (2, 5):
            pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    spec = DataSpec(source="table", location=str(tmp_path / "t.csv"))
    with pytest.raises(DataInvalid, match=r"2 of 8 image files .*: 2.png cannot be read .*; 5.png cannot be read"):
        prepare(spec, seed=0, threads=1)


HOUSES = "area,rooms,price\n" + "".join(f"{n},{n % 4},{n * 2.5}\n" for n in range(1, 41))


def test_a_column_of_fractions_is_to_be_predicted(tmp_path: Path) -> None:
    samples = read(tmp_path, HOUSES, label="price")
    assert samples.task == "numbers"
    assert samples.classes == ("price",)
    assert samples.columns == ("area", "rooms")
    assert samples.labels[:2].tolist() == [[2.5], [5.0]]
    assert "column 'price' of table.csv holds fractions, such as 2.5" in samples.reason


def test_whole_numbers_are_classes_unless_the_task_says_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path, HOUSES, label="rooms").classes == ("0", "1", "2", "3")
    samples = read(tmp_path, HOUSES, label="rooms", task="numbers")
    assert (samples.task, samples.classes) == ("numbers", ("rooms",))


def test_several_columns_are_several_numbers_or_labels(tmp_path: Path) -> None:
    samples = read(tmp_path, HOUSES, label=["price", "area"])
    assert (samples.task, samples.classes, samples.labels.shape) == ("numbers", ("price", "area"), (40, 2))
    assert samples.columns == ("rooms",)
    text = "x,sun,rain\n" + "".join(f"{n},{n % 2},{'True' if n % 3 else 'false'}\n" for n in range(1, 9))
    samples = read(tmp_path, text, label=["sun", "rain"])
    assert (samples.task, samples.classes) == ("labels", ("sun", "rain"))
    assert samples.labels[:3].tolist() == [[1, 1], [0, 1], [1, 0]]
    assert samples.answer(2) == "sun"


def test_images_of_a_table_may_have_numbers(tmp_path: Path) -> None:
    samples = read(tmp_path, "path,label\n1.png,0.5\n2.png,1.25\n")
    assert samples.task == "numbers"
    assert samples.files is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": ["price", "price"]}, "column 'price' is named twice as a label"),
        ({"label": ["price", "prise"]}, "has no column 'prise' for the label: did you mean 'price'?"),
        ({"label": "rooms", "task": "labels"}, "must hold 0 or 1 for each label, got [2]"),
        ({"label": "price", "task": "classes"}, "say task=numbers to learn numbers"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataInvalid) as caught:
        read(tmp_path, HOUSES, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([*map(str, range(50)), "cheap"], "but for 1 of 51 rows, such as 'cheap' in line 52: mend or remove them"),
        ([f"{n},5" for n in range(50)], "has decimal commas, such as '0,5' in line 2: write a point instead"),
    ],
)
def test_a_column_of_numbers_with_some_that_are_none_is_no_column_of_classes(
    tmp_path: Path, cells: list[str], words: str
) -> None:
    text = "size,price\n" + "".join(f'{n},"{cell}"\n' for n, cell in enumerate(cells))
    with pytest.raises(DataInvalid) as caught:
        read(tmp_path, text, label="price")
    assert words in str(caught.value)
    few = "size,price\n" + "1,a\n2,b\n3,7\n" * 4
    assert read(tmp_path, few, label="price").task == "classes"


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="line 3: column 'price' holds 'cheap', where a number is needed"):
        read(tmp_path, "area,price\n1,2.5\n2,cheap\n", label="price", task="numbers")


def test_features_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("rooms,extra,area\n1,x,30\n2,y,40\n")
    assert read_features(tmp_path / "new.csv", ("area", "rooms")).tolist() == [[30, 1], [40, 2]]
    with pytest.raises(DataInvalid, match="has no column 'age', and the network was trained on area, age"):
        read_features(tmp_path / "new.csv", ("area", "age"))


def test_numbers_larger_than_integers_hold_stay_what_they_are(tmp_path: Path) -> None:
    """1e20 does not fit into 64 bits: it came out negative."""
    rows = "\n".join(f"{row},{price}" for row, price in enumerate(["1e20", "3e18", "2e300", "7"]))
    read_table = read(tmp_path, f"a,price\n{rows}\n", label="price", task="numbers")
    assert np.array_equal(np.asarray(read_table.labels, dtype=np.float64).ravel(), [1e20, 3e18, 2e300, 7.0])
