"""Answers that are numbers or labels: as text, table, JSON and page."""

import csv
import json
from pathlib import Path

import numpy as np

from trainwell.classifier import LabelPredictions, NumberPredictions

NUMBERS = NumberPredictions(np.array([[1.5, -2e-7], [1e9 + 0.25, 3.0]]), ("=price", "area"), ("row 0", "=cmd.csv"))
SHARES = np.array([[0.9, 0.2, 0.75], [0.1, 0.2, 0.3]], dtype=np.float32)
LABELS = LabelPredictions(SHARES, ("sun", "rain", "<b>"), ("a.jpg", "b.jpg"))


def test_numbers_keep_every_digit_in_the_table_and_negative_ones_stay_numbers(tmp_path: Path) -> None:
    with open(NUMBERS.to_csv(tmp_path / "out.csv"), newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["input", "'=price", "area"]
    assert [float(cell) for row in rows[1:] for cell in row[1:]] == [1.5, -2e-7, 1e9 + 0.25, 3.0]
    assert [row[0] for row in rows[1:]] == ["row 0", "'=cmd.csv"]


def test_labels_are_joined_and_each_has_its_probability(tmp_path: Path) -> None:
    with open(LABELS.to_csv(tmp_path / "out.csv"), newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["input", "labels", "p(sun)", "p(rain)", "p(<b>)"]
    assert [row[1] for row in rows[1:]] == ["sun;<b>", ""]
    np.testing.assert_allclose(np.array([row[2:] for row in rows[1:]], dtype=float), SHARES, rtol=1e-5)


def test_text_json_and_page_say_the_same() -> None:
    assert str(NUMBERS).splitlines()[0] == "row 0: =price 1.5, area -2e-07"
    assert str(LABELS).splitlines() == ["a.jpg: sun (90.0 %), <b> (75.0 %)", "b.jpg: none"]
    assert LABELS.labels == [("sun", "<b>"), ()]
    for answers in (NUMBERS, LABELS):
        json.dumps(answers.to_plain(), allow_nan=False)
        assert len(list(answers)) == len(answers) == 2
    assert LABELS.to_plain()["predictions"][0]["labels"] == ["sun", "<b>"]
    assert NUMBERS.to_plain()["predictions"][1]["numbers"]["area"] == 3.0
    assert "&lt;b&gt;" in LABELS._repr_html_()
    assert "<td>1.5</td>" in NUMBERS._repr_html_()
