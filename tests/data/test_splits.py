"""Splits: stratified, seeded, by content, and never the same content in two of them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from trainwell.data.samples import Samples
from trainwell.data.splits import Assignment, assign
from trainwell.errors import DataInvalid


def digest(content: object) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()


def make(labels: Sequence[int], splits: Sequence[str] | None = None, classes: int | None = None) -> Samples:
    names = tuple("abcdefghij"[: classes or max(labels) + 1])
    given = np.array(splits or [""] * len(labels), dtype="<U5")
    files = tuple(Path(f"{row}.png") for row in range(len(labels)))
    return Samples(names, np.array(labels, dtype=np.int64), given, files=files)


def split(
    samples: Samples, contents: Sequence[object], seed: int = 0, val: float = 0.1, test: float = 0.2
) -> Assignment:
    return assign(samples, [digest(content) for content in contents], seed=seed, val_fraction=val, test_fraction=test)


def test_every_class_and_the_whole_have_their_fractions() -> None:
    labels = [0] * 100 + [1] * 37 + [2] * 263
    found = split(make(labels), range(400)).splits
    assert Counter(found.tolist()) == {"train": 280, "val": 40, "test": 80}
    for label, count in ((0, 100), (1, 37), (2, 263)):
        mine = Counter(found[np.array(labels) == label].tolist())
        assert abs(mine["val"] - 0.1 * count) <= 1
        assert abs(mine["test"] - 0.2 * count) <= 1


def test_the_split_is_a_function_of_content_and_seed_alone() -> None:
    labels = np.arange(60) % 3
    one = dict(zip(range(60), split(make(labels.tolist()), range(60)).splits.tolist(), strict=True))
    order = np.random.default_rng(1).permutation(60)
    other = dict(zip(order.tolist(), split(make(labels[order].tolist()), order.tolist()).splits.tolist(), strict=True))
    assert one == other
    assert one != dict(zip(range(60), split(make(labels.tolist()), range(60), seed=1).splits.tolist(), strict=True))


def test_the_same_content_never_stands_in_two_splits() -> None:
    generator = np.random.default_rng(0)
    contents = generator.integers(0, 40, 200).tolist()
    found = split(make([content % 2 for content in contents]), contents)
    for content in set(contents):
        assert len({found.splits[row] for row in range(200) if contents[row] == content}) == 1
    assert len(found.duplicates) == sum(count > 1 for count in Counter(contents).values())
    assert any(f"{200 - len(set(contents))} samples are exact copies of others" in words for words in found.problems)


def test_tiny_classes_keep_one_to_train_and_one_to_validate() -> None:
    labels = [0] * 50 + [1] * 2 + [2] * 3
    found = split(make(labels), range(55)).splits
    assert sorted(found[50:52].tolist()) == ["train", "val"]
    assert {"train", "val"} <= set(found[52:].tolist())


def test_many_tiny_classes_still_get_a_test_split_together() -> None:
    labels = [label for label in range(10) for _ in range(4)]
    assert Counter(split(make(labels), range(40), test=0.1).splits.tolist())["test"] == 4


def test_a_class_with_one_sample_is_refused_by_name() -> None:
    words = r"each class needs at least 2 different samples, .*but class 'b' has 1 \(3.png\): add samples of this class"
    with pytest.raises(DataInvalid, match=words):
        split(make([0, 0, 0, 1]), range(4))


def test_copies_of_one_sample_do_not_count() -> None:
    with pytest.raises(DataInvalid, match=r"class 'b' has 1 \(3.png and 1 copies of it\)"):
        split(make([0, 0, 0, 1, 1]), [0, 1, 2, 3, 3])


def test_one_class_only_is_refused() -> None:
    with pytest.raises(DataInvalid, match=r"one class only \('a', 3 samples\): a classifier needs at least two"):
        split(make([0, 0, 0]), range(3))


def test_the_users_splits_stand() -> None:
    given = ["train", "train", "val", "val", "test", "test"]
    found = split(make([0, 1] * 3, given), range(6))
    assert found.splits.tolist() == given
    assert found.problems == ()


def test_val_is_taken_out_of_train_where_the_user_gave_train_and_test() -> None:
    given = ["train"] * 40 + ["test"] * 10
    found = split(make([0, 1] * 25, given), range(50)).splits
    assert (found[40:] == "test").all()
    assert Counter(found[:40].tolist()) == {"train": 36, "val": 4}


def test_no_test_split_is_made_out_of_the_users_train_and_val() -> None:
    given = ["train"] * 20 + ["val"] * 4
    assert set(split(make([0, 1] * 12, given), range(24)).splits.tolist()) == {"train", "val"}


def test_blank_cells_are_ours_and_marked_ones_the_users() -> None:
    given = ["test"] * 4 + [""] * 40
    found = split(make([0, 1] * 22, given), range(44)).splits
    assert Counter(found.tolist()) == {"test": 4, "val": 4, "train": 36}


def test_blank_samples_train_where_val_and_test_are_given() -> None:
    given = ["", "", "val", "val", "test", "test"]
    assert split(make([0, 1] * 3, given), range(6)).splits.tolist() == ["train", "train", *given[2:]]


def test_train_samples_identical_to_held_out_ones_are_left_out_and_said() -> None:
    given = ["train", "train", "train", "train", "val", "val", "test", "test"]
    found = split(make([0, 1] * 4, given), ["x", 1, 2, 3, "x", 5, 6, 7])
    assert found.splits.tolist() == ["", *given[1:]]
    assert found.left_out == ((0, 4),)
    assert "1 samples are identical to held-out ones and were left out: 0.png = 4.png" in found.problems


def test_a_left_out_sample_does_not_make_a_test_split() -> None:
    given = ["train"] * 6 + ["val"] * 2
    found = split(make([0, 1] * 4, given), ["x", 1, 2, 3, 4, 5, "x", 7]).splits
    assert found.tolist() == ["", *given[1:]]


def test_of_val_and_test_test_keeps_the_shared_content() -> None:
    given = ["train", "train", "val", "val", "val", "test"]
    found = split(make([0, 1, 0, 1, 0, 1], given), [0, 1, "x", 3, 4, "x"])
    assert found.splits.tolist() == ["train", "train", "", "val", "val", "test"]


def test_blank_copies_follow_the_held_out_sample() -> None:
    found = split(make([0, 0, 0, 1, 1, 1], ["", "", "test", "", "", "test"]), ["x", 1, "x", 2, 3, 4], val=0)
    assert found.splits.tolist() == ["test", "train", "test", "train", "train", "test"]
    assert found.left_out == ()


def test_a_class_whose_training_is_all_held_out_is_refused() -> None:
    given = ["train", "train", "val", "val"]
    with pytest.raises(
        DataInvalid,
        match="1 classes have no training samples, because their training samples are identical to held-out ones: a",
    ):
        split(make([0, 1, 0, 1], given), ["x", 1, "x", 3])


def test_content_under_two_labels_stays_together_and_is_said() -> None:
    found = split(make([0] * 10 + [1] * 10), [*range(10), 0, *range(11, 20)])
    assert found.conflicts == ((0, 10),)
    assert found.splits[0] == found.splits[10]
    assert "1 contents stand under different labels, so some labels are wrong: 0.png (a) = 10.png (b)" in found.problems


def test_a_class_that_is_a_copy_of_another_is_refused() -> None:
    with pytest.raises(
        DataInvalid,
        match="2 classes have no sample of their own: a, b; every one is identical to a sample under another label",
    ):
        split(make([0] * 4 + [1] * 4), [*range(4), *range(4)])


def test_no_val_split_is_made_when_none_is_wanted() -> None:
    assert set(split(make([0, 1]), range(2), val=0, test=0).splits.tolist()) == {"train"}
