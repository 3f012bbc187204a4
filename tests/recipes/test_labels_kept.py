"""The probe of augmentations: it knows which mirrors keep labels, and doubts what few images say."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from trainwell.data.augmentation.geometry import Affine, HorizontalFlip, VerticalFlip
from trainwell.data.prepare import Prepared
from trainwell.recipes import labels_kept
from trainwell.recipes.labels_kept import LabelProbe, Sample

Prepare = Callable[..., Prepared]
Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
HALVES = {"val_fraction": 0.4, "test_fraction": 0.0}  # quick: much to ask, little to learn
MIRROR = HorizontalFlip(probability=1.0)
SMALL = Affine(rotation=10.0, smallest=0.9, largest=1.1, translation=0.1, padding="edge")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the probe's networks for a third of the steps; the synthetic sets are easy."""
    monkeypatch.setattr(labels_kept, "STEPS", 40)


@pytest.mark.usefixtures("quickly")
def test_a_mirror_is_kept_where_the_classes_look_the_same_in_it(prepared: Prepare, symmetric: Draw) -> None:
    probe = LabelProbe(prepared(symmetric(160), **HALVES), seed=0)
    assert probe.mirror(MIRROR).is_kept
    assert probe.mirror(VerticalFlip(probability=1.0)).is_kept


@pytest.mark.usefixtures("quickly")
def test_a_mirror_that_swaps_the_classes_is_refused_with_its_measurement(prepared: Prepare, arrows: Draw) -> None:
    answer = LabelProbe(prepared(arrows(160), **HALVES), seed=0).mirror(MIRROR)
    assert not answer.is_kept
    words = "knowing the class, a quick network tells mirrored images from original ones in "
    assert answer.words.startswith(words)
    assert int(answer.words.removeprefix(words).partition("%")[0]) > 90
    assert answer.words.endswith(" of cases (50 % is guessing)")


@pytest.mark.usefixtures("quickly")
def test_the_same_arrows_upside_down_are_the_same_arrows(prepared: Prepare, arrows: Draw) -> None:
    """The probe judges each mirror by itself, not the data as a whole."""
    assert LabelProbe(prepared(arrows(160), **HALVES), seed=0).mirror(VerticalFlip(probability=1.0)).is_kept


@pytest.mark.slow
def test_a_mirror_is_refused_for_digits_and_small_changes_are_kept(prepared: Prepare) -> None:
    probe = LabelProbe(prepared(), seed=0)
    assert not probe.mirror(MIRROR).is_kept
    assert probe.outlasts(SMALL).is_kept


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("count", [2, 3, 6, 10])
def test_a_few_images_prove_nothing_against_a_change_and_that_is_said(
    prepared: Prepare, arrows: Draw, count: int
) -> None:
    probe = LabelProbe(prepared(arrows(count), val_fraction=0.0, test_fraction=0.0), seed=0)
    assert len(probe.held.labels) == max(1, count // 4)
    answer = probe.mirror(MIRROR)
    assert answer.is_kept
    share = int(answer.words.partition(" in ")[2].partition("%")[0])
    assert (share >= 60) == answer.words.endswith("cannot prove")
    assert probe.outlasts(SMALL).is_kept


def test_a_change_under_which_known_images_are_lost_is_refused(
    prepared: Prepare, symmetric: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 images all known, 20 of 64 known when changed: 31 % is below chance, and 69 points are lost."""
    probe = LabelProbe(prepared(symmetric(160), **HALVES), seed=0)
    hits = iter([torch.ones(64), (torch.arange(64) < 20).float()])
    monkeypatch.setattr(probe, "_hits", lambda raw: next(hits))
    answer = probe.outlasts(SMALL)
    assert not answer.is_kept
    assert answer.words == "a quick network knows 100 % of unchanged held-out images and 31 % of changed ones"


def test_who_speaks_against_a_change_that_is_kept_is_counted(prepared: Prepare, arrows: Draw) -> None:
    probes = [LabelProbe(prepared(arrows(count), val_fraction=0.0, test_fraction=0.0), seed=0) for count in (4, 8)]
    assert [probe._doubt(True) for probe in probes] == [", which 1 image cannot prove", ", which 2 images cannot prove"]


def test_a_change_that_loses_little_is_kept_without_a_doubt(
    prepared: Prepare, symmetric: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = LabelProbe(prepared(symmetric(160), **HALVES), seed=0)
    hits = iter([torch.ones(64), (torch.arange(64) < 60).float()])
    monkeypatch.setattr(probe, "_hits", lambda raw: next(hits))
    answer = probe.outlasts(SMALL)
    assert (answer.is_kept, answer.words[-len("changed ones") :]) == (True, "changed ones")


@pytest.mark.usefixtures("quickly")
def test_answers_are_a_function_of_data_and_seed_and_leave_torch_as_it_was(prepared: Prepare, symmetric: Draw) -> None:
    data = prepared(symmetric(40), **HALVES)
    torch.manual_seed(1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = LabelProbe(data, seed=0)
    one = first.mirror(MIRROR), first.outlasts(SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    second = LabelProbe(data, seed=0)
    assert (second.mirror(MIRROR), second.outlasts(SMALL)) == one


def test_it_learns_from_train_and_asks_val(prepared: Prepare, symmetric: Draw) -> None:
    data = prepared(symmetric(40), **HALVES)
    assert data.stores.val is not None
    probe = LabelProbe(data, seed=0)
    assert (len(probe.train.labels), len(probe.held.labels)) == (len(data.stores.train), len(data.stores.val))
    assert torch.equal(probe.held.labels, data.stores.val.targets)


def test_without_a_val_split_it_asks_other_images_than_it_learns_from(prepared: Prepare, symmetric: Draw) -> None:
    probe = LabelProbe(prepared(symmetric(40), val_fraction=0.0, test_fraction=0.0), seed=0)
    learned, asked = ({image.numpy().tobytes() for image in part.raw} for part in (probe.train, probe.held))
    assert (len(learned), len(asked)) == (30, 10)
    assert not learned & asked


def test_large_images_are_averaged_down_in_their_aspect() -> None:
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 2, 32).repeat_interleave(32, 2)  # 64 x 32
    small = labels_kept._small(image)
    assert small.shape == (1, 1, 16, 8)
    assert small.mean().item() == pytest.approx(image.float().mean().item())
    assert torch.equal(labels_kept._small(image[:, :, :16, :16]), image[:, :, :16, :16].float())


def test_the_lower_end_of_the_interval_is_wald_with_four_values_more() -> None:
    values = torch.tensor([1.0, 1.0, 0.5, 0.0])
    more = np.array([1.0, 1.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0])
    mean, low = labels_kept._surely(values, least=0.0)
    assert mean == 0.625
    assert low == pytest.approx(more.mean() - 1.96 * more.std() / np.sqrt(8))


def test_a_sample_is_taken_from_any_store(prepared: Prepare, symmetric: Draw) -> None:
    store = prepared(symmetric(40), **HALVES).stores.train
    some = Sample.of(store, torch.tensor([3, 0]))
    assert torch.equal(some.labels, store.targets[[3, 0]])
    assert some.raw.shape == (2, 1, 8, 8)
