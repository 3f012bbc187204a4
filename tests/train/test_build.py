"""What a run's network and optimizer begin from: weights taken from the data, and rates of their own."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.core.batch import Batch
from trainwell.core.recipe import Recipe
from trainwell.core.record import read_readings
from trainwell.core.state import State
from trainwell.data.prepare import DataSpec, prepare
from trainwell.models.whitened import PATCH, SHIFT_LR_FACTOR, WHITENING_FLOOR
from trainwell.train.build import fit_preprocessing
from trainwell.train.reporter import Silence
from trainwell.train.starting import start_on_data

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 10, 10, 3)).astype(np.uint8)
IMAGES[..., 1] = IMAGES[..., 0] // 2 + IMAGES[..., 1] // 4  # channels that go together: there is something to whiten
DATA = IMAGES, np.arange(40) % 2
WORDS = {"model": "whitened:width=4", "augmentation": [], "epochs": 1, "reporter": Silence()}
SETTINGS = {"machine.threads": 1, "schedule": "constant", "optimizer": "sgd:lr=0.01"}

Fit = Callable[..., tw.Run]


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Train the whitened network for an epoch: `fit("name", preprocessing="minmax")`."""
    return lambda name, **words: tw.fit(DATA, out=tmp_path / name, **{"set": SETTINGS, **WORDS, **words})


def of_patches(weight: Tensor, images: Tensor) -> np.ndarray:
    """The covariance of what the first half of a whitening layer makes of the patches of images."""
    maps = nn.functional.conv2d(images, weight[: len(weight) // 2]).double().numpy()
    rows = maps.transpose(0, 2, 3, 1).reshape(-1, len(weight) // 2)
    return np.asarray(rows.T @ rows / len(rows))


@pytest.mark.parametrize("preprocessing", ["standardize", "minmax", "batch_norm"])
def test_the_whitening_is_that_of_the_preprocessed_train_split(fit: Fit, preprocessing: str) -> None:
    """Also behind a layer of the preprocessing that stands in front of the network."""
    run = fit("run", preprocessing=preprocessing, set={**SETTINGS, "data.val_fraction": 0, "data.test_fraction": 0})
    classifier = tw.load(run.path)
    assert run.model is not None
    with torch.no_grad():
        images = classifier.preprocessing.apply(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
        network = run.model
        if preprocessing == "batch_norm":
            network = run.model.get_submodule("1")
            images = (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)
    found = of_patches(network.get_parameter("whiten.weight").detach(), images)
    np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=2e-3)
    assert np.diag(found).max() <= 1 + 1e-3
    assert np.diag(found).min() >= 0.5
    assert PATCH == 2
    assert WHITENING_FLOOR < 1e-2


def test_a_rate_of_its_own_follows_the_rate_of_the_run_also_when_that_is_set(fit: Fit) -> None:
    seen: list[dict[float, float]] = []

    class Look:
        def after_step(self, state: State) -> None:
            seen.append({group.get("lr_factor", 1.0): group["lr"] for group in state.optimizer.param_groups})

    run = fit("run")
    tw.change(run.path, {"lr": 0.002})
    tw.resume(run.path, epochs=2, data=DATA, hooks=[Look()], reporter=Silence())
    assert seen[-1] == pytest.approx({1.0: 0.002, SHIFT_LR_FACTOR: 0.002 * SHIFT_LR_FACTOR})
    assert [reading.value for reading in read_readings(run.path / "record.jsonl", name="lr")] == [0.01, 0.002]


@pytest.mark.parametrize(("side", "count"), [(10, 1_024), (32, 1_024), (224, 20), (600, 16)])
def test_first_weights_of_large_images_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch, side: int, count: int
) -> None:
    """As many as have the pixels of 1,024 images of 32x32, and never fewer than 16."""
    asked: list[int] = []

    class Many:
        def __len__(self) -> int:
            return 2_000

        def gather(self, index: Tensor) -> Batch:
            asked.append(len(index))
            return Batch(torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64), index[:1])

    class Starts(nn.Module):
        def start_on(self, inputs: Tensor) -> None:
            pass

    data = SimpleNamespace(input_shape=(1, side, side), stores=SimpleNamespace(train=Many()))
    standing = SimpleNamespace(layer=lambda shape: None)

    class Pipe:
        preprocessing = standing

        def __call__(self, batch: Batch, epoch: int) -> Batch:
            return batch

    start_on_data(Starts(), cast(Any, data), cast(Any, Pipe()), seed=0)
    assert asked == [count]


SQUARES = np.random.default_rng(0).integers(0, 256, (1_500, 8, 8, 3)).astype(np.uint8), np.arange(1_500) % 2


@pytest.mark.parametrize("preprocessing", ["pca", "zca"])
def test_a_rerun_of_a_run_that_chose_its_threads_repeats_it_to_the_bit(tmp_path: Path, preprocessing: str) -> None:
    """The fit comes before the choice: with all cores then, with the chosen number in the rerun."""
    words: dict[str, Any] = {"epochs": 1, "reporter": Silence()}
    run = tw.fit(SQUARES, model="mlp:hidden=[4]", preprocessing=preprocessing, out=tmp_path / "run", **words)
    again = tw.fit(SQUARES, recipe=run.path, out=tmp_path / "again", reporter=Silence())
    assert again.recipe == run.recipe
    assert (again.path / "record.jsonl").read_bytes() == (run.path / "record.jsonl").read_bytes()
    assert run.model is not None
    assert again.model is not None
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


def test_preprocessing_is_fitted_to_the_same_bits_whatever_the_threads() -> None:
    prepared = prepare(DataSpec(), seed=0, threads=1, given=SQUARES)
    recipe = Recipe().with_values({"preprocessing": "zca"}).validate_shelves()
    threads, states = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            states.append(fit_preprocessing(recipe, prepared).preprocessing.state())
            assert torch.get_num_threads() == count, "as it was"
    finally:
        torch.set_num_threads(threads)
    for state in states[1:]:
        assert all(torch.equal(state[name], value) for name, value in states[0].items())


class Hasty(nn.Linear):
    """A network in which every parameter has a rate of its own."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.lr_factors = {"weight": 0.5, "bias": 0.5}


def test_the_rate_that_is_recorded_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    run = tw.fit("points:samples=100", model=Hasty(), epochs=1, out=tmp_path / "run", reporter=Silence(), set=SETTINGS)
    assert [reading.value for reading in read_readings(run.path / "record.jsonl", name="lr")] == [0.01]


def test_first_weights_are_a_function_of_recipe_and_data(fit: Fit) -> None:
    one, same = fit("one"), fit("same")
    assert one.model is not None
    assert same.model is not None
    assert torch.equal(one.model.get_parameter("whiten.weight"), same.model.get_parameter("whiten.weight"))
    assert (one.path / "record.jsonl").read_bytes() == (same.path / "record.jsonl").read_bytes()
