"""Metrics as people read them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from trainwell.metrics import measure

Maker = Callable[..., Any]


def test_the_text_names_every_number_and_every_class(answers: Maker) -> None:
    probabilities, targets = answers(300, 6)
    text = str(measure(probabilities, targets, ["ant", "bee", "cat", "dog", "eel", "fox"]))
    lines = text.splitlines()
    assert lines[0] == "on 300 samples of 6 classes, with 95 % intervals"
    for word in ("accuracy", "balanced accuracy", "macro F1", "top-3", "log loss", "calibration error", "ROC-AUC"):
        assert any(line.startswith(word) for line in lines[1:9]), word
    assert [line.split()[0] for line in lines[-6:]] == ["ant", "bee", "cat", "dog", "eel", "fox"]
    assert max(map(len, lines)) <= 100


def test_of_many_classes_the_worst_twenty_stand_worst_first() -> None:
    targets = np.repeat(np.arange(30), 40)
    wrong = np.arange(1_200) % 40 < 30 - targets  # class 0 is wrong 30 times of 40, class 29 once
    answered = np.where(wrong, (targets + 1) % 30, targets)
    found = measure(np.eye(30)[answered], targets, [f"c{label}" for label in range(30)])
    shown = [line.split()[0] for line in str(found).splitlines()[-21:-1]]
    worst = sorted(found.per_class, key=lambda one: one.f1.value)
    assert shown == [one.name for one in worst[:20]]
    assert str(found).endswith("the 20 classes with the lowest F1; 10 more are not shown")


def test_few_mistakes_are_said() -> None:
    found = measure([[0.9, 0.1], [0.8, 0.2]], [0, 1], ["a", "b"])
    assert found.notes == ("with 1 mistake among 2, log loss and calibration error are less sure than shown",)
    assert f"note: {found.notes[0]}" in str(found)
    assert found.notes[0] in found._repr_html_()


def test_names_cannot_break_the_table_or_the_page() -> None:
    found = measure([[0.9, 0.1], [0.8, 0.2]], [0, 1], ["<script>alert(1)</script>", "two\nlines" + "x" * 50])
    assert "<script>" not in found._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()
    last = str(found).splitlines()[-1]
    assert last.startswith("two?lines")
    assert len(last) <= 100


def test_what_is_undefined_is_a_dash_in_the_table() -> None:
    found = measure([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]], [0, 1], ["a", "b", "c"])
    assert str(found).splitlines()[-1].split() == ["c", "0", "-", "-", "-", "-"]
