"""What targets are: told apart by what they hold, refused where they can be read in two ways, and scaled exactly."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from trainwell.data.given import given
from trainwell.data.prepare import DataSpec, prepare
from trainwell.data.targets import Scaling, choose_task, read_targets
from trainwell.errors import DataInvalid

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = X[:, 0] * 10 + 0.5


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1, 2, 1], "classes"),
        (["a", "b"], "classes"),
        ([True, False], "classes"),
        ([1.0, 2.0, 1.0], "classes"),
        ([0.25, 1.5, 3.0], "numbers"),
        ([0, 1, 0, 1, 0, 1, 0.5], "classes"),
        (np.arange(100) * 7, "numbers"),
        (np.arange(70) % 60, "numbers"),
        (np.arange(200) % 60, "classes"),
        ([[1, 0], [0, 1]], "classes"),
        ([[1, 1], [0, 1]], "labels"),
        ([[0.0, 0.0], [0.0, 1.0]], "labels"),
        ([[0.2, 0.8], [0.5, 0.5]], "classes"),
        ([[0.2, 3.0], [0.5, 0.5]], "numbers"),
        ([[1, 2], [3, 4]], "numbers"),
    ],
)
def test_the_task_follows_from_what_targets_hold(values: Any, task: str) -> None:
    found, reason = choose_task(np.asarray(values), where="y")
    assert found == task
    assert "y" in reason


def test_whatever_is_decided_can_be_decided_otherwise() -> None:
    assert read_targets([1, 2, 3], where="y", task="numbers").labels.tolist() == [[1.0], [2.0], [3.0]]
    assert read_targets([[1, 0], [0, 1]], where="y", task="labels").task == "labels"
    with pytest.raises(DataInvalid, match="holds fractions .* say task=numbers to learn numbers"):
        read_targets([0.5, 1.0], where="y", task="classes")


@pytest.mark.parametrize(
    ("values", "task", "words"),
    [
        ([0.5, np.nan], "numbers", r"y holds NaN or Inf in 1 of 2 rows \(first: 1\)"),
        (["a", "b"], "numbers", r"y must be \(N,\) or \(N, M\) numbers for task=numbers, got dtype"),
        ([[1, 2]], "labels", r"y must hold 0 or 1 for each label, got \[1, 2\] in row 0"),
        ([[0.5, 0.5]], "auto", "one-hot rows with a single 1, .* say task=labels .* and task=numbers"),
    ],
)
def test_what_is_unsound_is_refused_with_a_cure(values: Any, task: Any, words: str) -> None:
    with pytest.raises(DataInvalid, match=words):
        read_targets(np.asarray(values), where="y", task=task)


def test_scaling_is_numpys_mean_and_deviation_and_goes_back_exactly() -> None:
    numbers = np.random.default_rng(1).normal([1e6, -3], [5.0, 0.01], size=(50, 2))
    scaling = Scaling.of(numbers, ["a", "b"])
    np.testing.assert_allclose(scaling.mean, numbers.mean(0), rtol=1e-15)
    np.testing.assert_allclose(scaling.deviation, numbers.std(0), rtol=1e-12)
    standardized = scaling.standardized(numbers)
    assert standardized.dtype == np.float32
    np.testing.assert_allclose(scaling.restored(standardized), numbers, rtol=1e-6)


def test_a_number_that_never_changes_is_refused() -> None:
    with pytest.raises(DataInvalid, match="b is the same number in all 3 training samples"):
        Scaling.of(np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]]), ["a", "b"])


def test_arrays_of_fractions_are_numbers_standardized_on_train_alone_and_split_unstratified() -> None:
    data = prepare(DataSpec(), given=(X, Y), seed=0, threads=1)
    assert data.task.name == "numbers"
    assert data.scaling is not None
    train = data.stores.train.targets
    assert train.shape == (42, 1)
    assert train.mean().item() == pytest.approx(0, abs=1e-6)
    assert train.std(unbiased=False).item() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(data.scaling.mean, [data.targets("train").mean()], rtol=1e-12)
    np.testing.assert_allclose(data.scaling.restored(data.stores.test.targets), data.targets("test"), rtol=1e-5)
    chosen = {choice.field: choice for choice in data.choices}
    assert chosen["data.task"].value == "numbers"
    assert "y holds fractions" in chosen["data.task"].reason
    assert any("not stratified" in note for note in data.notes)
    assert data.summary["task"] == "numbers"
    assert data.summary["numbers"][0]["high"] == float(Y.max())


def test_the_split_of_numbers_depends_on_content_alone() -> None:
    one = prepare(DataSpec(), given=(X, Y), seed=0, threads=1)
    other = prepare(DataSpec(), given=(X[::-1].copy(), Y[::-1].copy()), seed=0, threads=1)
    assert one.summary["membership"] == other.summary["membership"]
    assert (one.stores.train.targets == other.stores.train.targets).all()


def test_rows_of_zeros_and_ones_are_labels() -> None:
    targets = (X > 0).astype(int)
    data = prepare(DataSpec(), given=(X, targets), seed=0, threads=1)
    assert data.task.name == "labels"
    assert data.classes == ("0", "1", "2")
    assert data.stores.train.targets.shape == (42, 3)
    assert set(data.stores.train.targets.unique().tolist()) == {0.0, 1.0}
    total = np.array([data.summary["counts"][split]["0"] for split in ("train", "val", "test")]).sum()
    assert total == targets[:, 0].sum()


def test_a_fraction_in_one_split_makes_all_of_them_numbers() -> None:
    parts = {"train": (X[:40], Y[:40]), "test": (X[40:], np.rint(Y[40:]))}
    assert given(parts, budget=2**30).task == "numbers"


def test_a_task_that_the_data_do_not_have_is_refused() -> None:
    with pytest.raises(DataInvalid, match="digits holds classes, and task=numbers was asked for"):
        prepare(DataSpec(source="digits", task="numbers"), seed=0, threads=1)


def test_contents_with_different_numbers_are_named() -> None:
    x = np.concatenate([X, X[:1]])
    data = prepare(DataSpec(), given=(x, np.append(Y, 77.5)), seed=0, threads=1)
    assert any("1 contents stand under different numbers" in note for note in data.notes)


class Noisy(Dataset[tuple[np.ndarray, Any]]):
    """A Dataset that answers differently each time, with a number for each item."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> tuple[np.ndarray, Any]:
        return X[row] + np.random.normal(size=3).astype(np.float32), float(Y[row])


def test_a_dataset_that_streams_may_have_numbers() -> None:
    store = prepare(DataSpec(), given=Noisy(), seed=0, threads=1).stores.train
    index = torch.tensor([3, 1])
    assert torch.equal(store.gather(index).targets, store.targets[index])
    assert store.targets.shape == (42, 1)


class Skies(Noisy):
    """A Dataset of several labels an item."""

    def __getitem__(self, row: int) -> tuple[np.ndarray, Any]:
        return X[row], torch.from_numpy((X[row] > 0).astype(np.int64))


def test_the_items_of_a_dataset_may_have_several_labels() -> None:
    samples = given(Skies(), budget=2**30)
    assert samples.task == "labels"
    assert (samples.labels == (X > 0)).all()


def test_a_label_that_never_changes_in_training_is_said() -> None:
    targets = np.stack([X[:, 0] > 0, np.ones(60, dtype=bool), X[:, 1] > 0], axis=1)
    data = prepare(DataSpec(), given=(X, targets), seed=0, threads=1)
    assert "1 is true of all training samples or of none, and cannot be learned" in data.notes
