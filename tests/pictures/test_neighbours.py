"""Neighbours against scikit-learn's, and what stands where in the figure."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from trainwell.pictures.neighbours import PICTURE, alike, nearest, neighbours, some_of_each
from trainwell.pictures.style import WRONG

CODES = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
LABELS = np.arange(30) % 3
CLASSES = ("ants", "bees", "<b>cats</b> with very long names")
PICTURES = [f"data:{number}" for number in range(30)]


def test_neighbours_are_those_of_scikit_learn() -> None:
    expected = NearestNeighbors(n_neighbors=6).fit(CODES).kneighbors(CODES, return_distance=False)[:, 1:]
    np.testing.assert_array_equal(nearest(CODES, 5), expected)


def test_far_from_the_origin_neighbours_are_the_same() -> None:
    np.testing.assert_array_equal(nearest(CODES.astype(np.float64) + 1e6, 4), nearest(CODES, 4))


def test_the_share_of_ones_own_class_is_that_of_the_votes() -> None:
    """With one neighbour it is the accuracy of leaving one out."""
    right = [
        KNeighborsClassifier(1).fit(np.delete(CODES, row, 0), np.delete(LABELS, row)).predict(CODES[[row]])[0]
        == LABELS[row]
        for row in range(30)
    ]
    assert alike(CODES, LABELS, 1) == pytest.approx(np.mean(right))


def test_equal_images_are_neighbours_but_none_is_its_own() -> None:
    found = nearest(np.zeros((4, 2)), 3)
    assert all(row not in others for row, others in enumerate(found.tolist()))


def test_as_many_images_of_each_class_are_asked_about() -> None:
    labels = np.repeat(np.arange(20), 3)
    asked = some_of_each(labels, 8)
    assert len(asked) == len(set(labels[asked])) == 8
    assert {0, 19} <= set(labels[asked])
    assert some_of_each(np.array([4, 4, 7]), 8).tolist() == [0, 1, 2]
    assert some_of_each(np.repeat(np.arange(3), 9), 8).tolist() == [0, 1, 9, 10, 18, 19]


def test_each_row_holds_the_image_and_its_neighbours_in_each_space() -> None:
    asked, count = np.array([0, 4]), 3
    spaces = {"before": CODES, "after": CODES[:, :2]}
    drawn = neighbours(PICTURES, LABELS, CLASSES, spaces, asked=asked, count=count)
    rows: dict[float, list[tuple[float, str]]] = {}
    for image in drawn.layout.images:
        rows.setdefault(image.y, []).append((image.x, image.source))
    assert len(rows) == 2
    for query, row in zip(asked, sorted(rows), strict=True):
        sources = [source for _, source in sorted(rows[row])]
        expected = [query, *nearest(CODES, count)[query], *nearest(CODES[:, :2], count)[query]]
        assert sources == [PICTURES[place] for place in expected]


def test_a_frame_stands_around_each_neighbour_of_another_class_and_only_there() -> None:
    drawn = neighbours(PICTURES, LABELS, CLASSES, {"space": CODES}, asked=np.array([0, 1]), count=4)
    framed = {(shape.x0, shape.y0) for shape in drawn.layout.shapes}
    assert {shape.line.color for shape in drawn.layout.shapes} == {WRONG}
    assert all(shape.x1 - shape.x0 == pytest.approx(PICTURE) for shape in drawn.layout.shapes)
    expected = set()
    tops = sorted({image.y for image in drawn.layout.images})
    for image in drawn.layout.images:
        query = tops.index(image.y)
        if LABELS[PICTURES.index(image.source)] != LABELS[query]:
            expected.add((image.x, image.y))
    assert framed == expected


def test_names_are_words_and_no_markup() -> None:
    drawn = neighbours(PICTURES, LABELS, CLASSES, {"<i>": CODES}, asked=np.array([2]), count=2)
    texts = [*drawn.data[0].text, *(note.text.replace("<br>", "") for note in drawn.layout.annotations)]
    assert not any("<" in text for text in texts)
