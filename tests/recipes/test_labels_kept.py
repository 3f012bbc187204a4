"""The probe of augmentations: it knows which mirrors keep labels, and uses none that few images speak for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trainwell.core.batch import Batch
from trainwell.data.augmentation.geometry import Affine, HorizontalFlip, VerticalFlip
from trainwell.data.prepare import Prepared
from trainwell.recipes import labels_kept
from trainwell.recipes.labels_kept import Answer, LabelProbe, Sample

Prepare = Callable[..., Prepared]
Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
WHOLE = {"val_fraction": 0.0, "test_fraction": 0.0}  # all images are asked
MIRROR = HorizontalFlip(probability=1.0)
SMALL = Affine(rotation=10.0, smallest=0.9, largest=1.1, translation=0.1, padding="edge")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the probe's networks for a third of the steps; the synthetic sets are easy."""
    monkeypatch.setattr(labels_kept, "STEPS", 40)


@pytest.mark.usefixtures("quickly")
def test_a_mirror_is_kept_where_the_classes_look_the_same_in_it(prepared: Prepare, symmetric: Draw) -> None:
    probe = LabelProbe(prepared(symmetric(200), **WHOLE), seed=0)
    answer = probe.mirror(MIRROR)
    assert answer.is_kept
    assert answer.words.startswith("a quick network tells mirrored images apart in ")
    assert answer.words.endswith(" % of cases, class known")
    assert probe.mirror(VerticalFlip(probability=1.0)).is_kept


@pytest.mark.usefixtures("quickly")
def test_a_mirror_that_swaps_the_classes_is_refused_with_its_measurement(prepared: Prepare, arrows: Draw) -> None:
    answer = LabelProbe(prepared(arrows(160), **WHOLE), seed=0).mirror(MIRROR)
    assert not answer.is_kept
    assert told(answer) > 90
    assert answer.words.endswith(" % of cases, class known")


@pytest.mark.usefixtures("quickly")
def test_the_same_arrows_upside_down_are_the_same_arrows(prepared: Prepare, arrows: Draw) -> None:
    """The probe judges each mirror by itself, not the data as a whole."""
    assert LabelProbe(prepared(arrows(200), **WHOLE), seed=0).mirror(VerticalFlip(probability=1.0)).is_kept


def told(answer: Answer) -> int:
    """The percentage of images told from their mirror images, as the words say it."""
    return int(answer.words.partition(" apart in ")[2].partition(" %")[0])


def some_digits(prepared: Prepare, count: int, seed: int) -> Prepared:
    """So many of the 1,258 training digits."""
    data = prepared()
    train = data.stores.train
    chosen = torch.from_numpy(np.random.default_rng(seed).permutation(len(train))[:count])
    few = replace(train, inputs=train.inputs[chosen], targets=train.targets[chosen])
    return replace(data, stores=replace(data.stores, train=few))


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, 100, 200, 1258])
def test_a_few_digits_do_not_let_the_mirror_pass(prepared: Prepare, count: int) -> None:
    for seed in range(4):
        answer = LabelProbe(some_digits(prepared, count, seed), seed=seed).mirror(MIRROR)
        assert not answer.is_kept, f"seed {seed}: {answer.words}"


@pytest.mark.slow
def test_small_changes_of_digits_are_kept(prepared: Prepare) -> None:
    assert LabelProbe(prepared(), seed=0).outlasts(SMALL).is_kept


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("draw", ["symmetric", "arrows"])
@pytest.mark.parametrize("count", [2, 3, 6, 10, 30])
def test_a_few_images_prove_no_mirror_and_nothing_against_a_move_and_that_is_said(
    prepared: Prepare, request: pytest.FixtureRequest, draw: str, count: int
) -> None:
    probe = LabelProbe(prepared(request.getfixturevalue(draw)(count), **WHOLE), seed=0)
    answer = probe.mirror(MIRROR)
    assert not answer.is_kept
    assert (told(answer) < 60) == answer.words.endswith(f", class known, and {count} images cannot rule out 60 %")
    assert probe.outlasts(SMALL).is_kept


@pytest.mark.parametrize(("right", "is_kept"), [(0.5, True), (0.54, True), (0.57, False), (0.65, False)])
def test_a_mirror_is_used_only_where_the_upper_end_of_the_interval_is_below_the_limit(
    prepared: Prepare, symmetric: Draw, monkeypatch: pytest.MonkeyPatch, right: float, is_kept: bool
) -> None:
    """By hand for 400 images that are right or wrong: 0.54 + 1.96 * 0.025 = 0.59, and 0.57 + 0.049 = 0.62."""
    probe = LabelProbe(prepared(symmetric(400), **WHOLE), seed=0)
    monkeypatch.setattr(probe, "_told_apart", lambda *_: (torch.arange(200) < round(200 * right)).float())
    assert probe.mirror(MIRROR).is_kept == is_kept


def hits(probe: LabelProbe, monkeypatch: pytest.MonkeyPatch, known: float, left: float) -> Answer:
    """What the probe makes of shares of images that a network knows, unchanged and changed."""

    def made(change: object, learned: Sample, asked: Sample) -> torch.Tensor:
        place = torch.arange(len(asked)) / len(asked)
        return torch.stack([place < known, place < left]).float()

    monkeypatch.setattr(probe, "_hits", made)
    return probe.outlasts(SMALL)


@pytest.mark.parametrize(
    ("left", "is_kept", "words"),
    [
        (0.3, False, "a network that never saw such changes knows only 30 % (100 % unchanged, refused below 80 %)"),
        (0.95, True, "a network that never saw such changes still knows 95 % (100 % unchanged, refused below 80 %)"),
        (
            0.78,
            True,
            "a network that never saw such changes still knows 78 % (100 % unchanged, refused below 80 %, which 200"
            " images cannot prove)",
        ),
    ],
)
def test_a_reader_sees_why_a_change_that_loses_something_is_taken(
    prepared: Prepare, symmetric: Draw, monkeypatch: pytest.MonkeyPatch, left: float, is_kept: bool, words: str
) -> None:
    """Of two classes, chance knows 50 %, and four tenths of the 50 points above it may be lost."""
    probe = LabelProbe(prepared(symmetric(200), **WHOLE), seed=0)
    assert hits(probe, monkeypatch, 1.0, left) == Answer(is_kept, words)


@pytest.mark.usefixtures("quickly")
def test_answers_are_a_function_of_data_and_seed_and_leave_torch_as_it_was(prepared: Prepare, symmetric: Draw) -> None:
    data = prepared(symmetric(40), **WHOLE)
    torch.manual_seed(1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = LabelProbe(data, seed=0)
    one = first.mirror(MIRROR), first.outlasts(SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    second = LabelProbe(data, seed=0)
    assert (second.outlasts(SMALL), second.mirror(MIRROR)) == one[::-1], "whatever was asked before"


@pytest.mark.usefixtures("quickly")
def test_nothing_is_computed_with_as_many_threads_as_there_are_cores(
    prepared: Prepare, symmetric: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {}

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **words: Any) -> Any:
            seen.setdefault(name, set()).add(torch.get_num_threads())
            return original(*args, **words)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in [(labels_kept, "_small"), (torch.Tensor, "std"), (labels_kept.ConvNet, "forward")]:
        watch(owner, name)
    for name in ("_changed", "_learn", "_ready"):
        watch(LabelProbe, name)
    data, threads = prepared(symmetric(40), **WHOLE), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        probe = LabelProbe(data, seed=0)
        probe.mirror(MIRROR)
        probe.outlasts(SMALL)
    finally:
        torch.set_num_threads(threads)
    assert seen.keys() == {"_small", "std", "forward", "_changed", "_learn", "_ready"}
    assert {name: counts for name, counts in seen.items() if counts != {1} and name != "std"} == {}


@pytest.mark.parametrize("val", [0.0, 0.4])
def test_every_training_image_is_asked_once_of_a_network_that_learned_from_the_others(
    prepared: Prepare, symmetric: Draw, val: float
) -> None:
    data = prepared(symmetric(41), val_fraction=val, test_fraction=0.0)
    probe = LabelProbe(data, seed=0)
    (first, asked_first), (second, asked_second) = (
        [[image.numpy().tobytes() for image in part.images] for part in fold] for fold in probe.folds
    )
    assert (first, second) == (asked_second, asked_first)
    assert not set(first) & set(second)
    assert sorted(first + second) == sorted(image.float().numpy().tobytes() for image in data.stores.train.inputs)
    assert probe.count == len(data.stores.train)


def test_large_sets_are_asked_in_part(prepared: Prepare, symmetric: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_kept, "MOST_ASKED", 30)
    probe = LabelProbe(prepared(symmetric(41), **WHOLE), seed=0)
    assert [len(part) for part in probe.folds[0]] == [15, 15]


def test_large_images_are_averaged_down_in_their_aspect() -> None:
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 2, 32).repeat_interleave(32, 2)  # 64 x 32
    small = labels_kept._small(image)
    assert small.shape == (1, 1, 16, 8)
    assert small.mean().item() == pytest.approx(image.float().mean().item())
    assert torch.equal(labels_kept._small(image[:, :, :16, :16]), image[:, :, :16, :16].float())


def test_the_ends_of_the_interval_are_walds_with_four_values_more() -> None:
    values = torch.tensor([1.0, 1.0, 0.5, 0.0])
    more = np.array([1.0, 1.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0])
    found = labels_kept._interval(values, least=0.0)
    assert found.value == 0.625
    assert found.low == pytest.approx(more.mean() - 1.96 * more.std() / np.sqrt(8))
    assert found.high == pytest.approx(more.mean() + 1.96 * more.std() / np.sqrt(8))


def test_a_sample_is_taken_from_any_store(prepared: Prepare, symmetric: Draw) -> None:
    store = prepared(symmetric(40), **WHOLE).stores.train
    some = Sample.of(store, torch.tensor([3, 0]))
    assert torch.equal(some.labels, store.targets[[3, 0]])
    assert torch.equal(some.images, store.inputs[[3, 0]].float())


def test_images_of_full_size_are_never_many_in_memory(prepared: Prepare) -> None:
    x = np.random.default_rng(0).integers(0, 256, (150, 40, 48, 3)).astype(np.uint8)
    store = prepared((x, np.arange(150) % 2), image_size="keep", **WHOLE).stores.train
    gathered: list[int] = []

    class Watched:
        def __len__(self) -> int:
            return len(store)

        def gather(self, index: torch.Tensor) -> Batch:
            gathered.append(len(index))
            return store.gather(index)

    sample = Sample.of(Watched(), torch.arange(150))
    assert gathered == [64, 64, 22]
    assert sample.images.shape == (150, 3, 13, 16)
