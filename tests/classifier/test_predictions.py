"""Predictions read well one by one, as a table, as plain data and on a page."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from trainwell.classifier import Predictions
from trainwell.data.decode import BadFile
from trainwell.errors import OptionInvalid

SHARES = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]], np.float32)


@pytest.fixture
def answers() -> Predictions:
    return Predictions(SHARES, ("cat", "dog", "<b>fox"), ("a.jpg", "b,c.jpg", "<i>.jpg"), threshold=0.5)


def test_labels_and_confidences_are_the_largest_probabilities(answers: Predictions) -> None:
    assert answers.labels == ["cat", None, "dog"]
    assert answers.confidences.tolist() == SHARES.max(1).tolist()
    assert answers.indices.tolist() == [0, 2, 1]
    assert len(answers) == 3


def test_one_answer_gives_its_label_confidence_and_best_classes(answers: Predictions) -> None:
    assert answers[0].label == "cat"
    assert answers[1].top(2) == [("<b>fox", pytest.approx(0.4)), ("cat", pytest.approx(0.3))]
    assert answers[-1].name == "<i>.jpg"
    assert [one.label for one in answers] == answers.labels
    assert len(answers[0].top(99)) == 3
    with pytest.raises(IndexError):
        answers[3]


def test_a_confidence_at_the_threshold_is_an_answer() -> None:
    assert Predictions(np.array([[0.5, 0.5]], np.float32), ("a", "b"), ("x",), threshold=0.5).labels == ["a"]


def test_as_text_each_answer_is_a_line_and_doubt_is_said(answers: Predictions) -> None:
    assert str(answers).splitlines() == [
        "a.jpg: cat (70.0 %)",
        "b,c.jpg: don't know (perhaps <b>fox, 40.0 %)",
        "<i>.jpg: dog (100.0 %)",
    ]
    many = Predictions(np.repeat(SHARES, 10, axis=0), answers.classes, tuple(map(str, range(30))))
    assert str(many).splitlines()[-1] == "and 10 more"


def test_the_table_has_a_line_an_input_and_a_column_a_class(answers: Predictions, tmp_path: Path) -> None:
    with open(answers.to_csv(tmp_path / "out.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["input", "label", "confidence", "p(cat)", "p(dog)", "p(<b>fox)"]
    assert [row[:2] for row in rows[1:]] == [["a.jpg", "cat"], ["b,c.jpg", ""], ["<i>.jpg", "dog"]]
    np.testing.assert_allclose([[float(value) for value in row[3:]] for row in rows[1:]], SHARES, rtol=1e-5)
    assert os.listdir(tmp_path) == ["out.csv"]


def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.jpg")
    one = Predictions(SHARES[:1], ("a", "b", "c"), (odd,))
    assert b"caf\xe9.jpg,a," in one.to_csv(tmp_path / "out.csv").read_bytes()
    assert "caf?.jpg" in one._repr_html_()
    json.dumps(one.to_plain()).encode()


@pytest.mark.parametrize("place", ["gone/out.csv", "folder", "file/out.csv", "x" * 300, "nul\0l.csv"])
def test_a_table_that_cannot_be_written_says_where_and_leaves_nothing(
    answers: Predictions, tmp_path: Path, place: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OptionInvalid, match=r"the table cannot be written to .*: give the path of a new file"):
        answers.to_csv(tmp_path / place)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_table_that_was_there_stays_whole_where_the_new_one_fails(
    answers: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.csv").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainwell.classifier.tables.os.replace", full)
    with pytest.raises(OptionInvalid, match="No space left on device"):
        answers.to_csv(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_plain_data_is_json(answers: Predictions) -> None:
    plain = json.loads(json.dumps(answers.to_plain()))
    assert plain["predictions"][1]["label"] is None
    assert plain["predictions"][0]["probabilities"]["cat"] == pytest.approx(0.7)
    assert plain["threshold"] == 0.5


def test_what_was_left_out_is_said_everywhere() -> None:
    one = Predictions(SHARES[:1], ("a", "b", "c"), ("x",), skipped=(BadFile(Path("bad.png"), "is empty"),))
    assert one.to_plain()["skipped"] == [{"file": "bad.png", "reason": "is empty"}]
    assert str(one).endswith("1 file was left out, because it cannot be used: bad.png is empty")
    assert "1 file was left out: bad.png is empty" in one._repr_html_()


def test_of_many_files_that_were_left_out_the_first_few_are_named() -> None:
    bad = tuple(BadFile(Path(f"<{number}>.png"), "is empty") for number in range(9))
    one = Predictions(SHARES[:1], ("a", "b", "c"), ("x",), skipped=bad)
    words = str(one).splitlines()[-1]
    assert words.startswith("9 files were left out, because they cannot be used: <0>.png is empty; <1>.png is empty; ")
    assert words.endswith("<4>.png is empty; and 4 more")
    assert "9 files were left out: &lt;0&gt;.png is empty" in one._repr_html_()


@pytest.mark.parametrize("name", ["=1+2.png", "+1.png", "-1.png", "@SUM(A1).png", "\tx.png", "\rx.png"])
def test_a_name_that_a_spreadsheet_would_run_is_written_as_text(tmp_path: Path, name: str) -> None:
    one = Predictions(SHARES[:1], (name, "b", "c"), (name,))
    with open(one.to_csv(tmp_path / "out.csv"), encoding="utf-8", newline="") as file:
        head, row = csv.reader(file)
    assert row[:2] == [f"'{name}", f"'{name}"]
    assert head[3] == f"p({name})"
    assert one.to_plain()["predictions"][0]["input"] == name


def test_names_are_escaped_on_a_page(answers: Predictions) -> None:
    page = answers._repr_html_()
    assert "<i>" not in page
    assert "&lt;i&gt;.jpg" in page
    assert "don&#x27;t know" in page
