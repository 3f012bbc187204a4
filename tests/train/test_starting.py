"""The initialization of a recipe: applied before step 0, a function of the seed, and never again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.core.recipe import Recipe
from trainwell.core.state import State
from trainwell.errors import Interrupted, ModelInvalid, RecipeInvalid
from trainwell.train.reporter import Silence

POINTS = "points:kind=moons,samples=200"
SETTINGS = {"machine.threads": 1, "schedule": "constant", "optimizer": "sgd:lr=0.01"}
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 10, 10, 3)).astype(np.uint8)
DATA = IMAGES, np.arange(60) % 2


class Begin:
    """Keeps the weights that a run begins with."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def before_step(self, state: State) -> None:
        if not self.weights:
            self.weights = {name: value.detach().clone() for name, value in state.model.state_dict().items()}


def train(path: Path, source: object = POINTS, **words: Any) -> tuple[tw.Run, dict[str, Tensor]]:
    begin, settings = Begin(), {**SETTINGS, **words.pop("set", {})}
    values = {"epochs": 1, "model": "mlp:hidden=[12,12]", "hooks": [begin], "reporter": Silence(), **words}
    return tw.fit(source, out=path, set=settings, **values), begin.weights


def matrices(weights: dict[str, Tensor]) -> list[Tensor]:
    return [value for name, value in weights.items() if name.endswith("weight") and value.dim() == 2]


def test_the_network_begins_with_the_weights_that_the_recipe_names(tmp_path: Path) -> None:
    run, weights = train(tmp_path / "run", init="constant:value=0.25,bias=0.5")
    assert run.recipe.initialization.name == "constant"
    assert all(bool((value == 0.25).all()) for value in matrices(weights))
    assert all(bool((value == 0.5).all()) for name, value in weights.items() if name.endswith("bias"))


def test_left_open_the_network_begins_as_it_was_built(tmp_path: Path) -> None:
    run, weights = train(tmp_path / "run")
    same, again = train(tmp_path / "same", init="as_built")
    assert run.recipe.initialization.name == "as_built"
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert run.recipe == same.recipe


@pytest.mark.slow
@pytest.mark.parametrize("init", ["he:distribution=uniform", "lsuv", "pca"])
def test_the_same_recipe_gives_the_same_bits_and_another_seed_others(tmp_path: Path, init: str) -> None:
    one, first = train(tmp_path / "one", init=init)
    same, second = train(tmp_path / "same", init=init)
    _, other = train(tmp_path / "other", init=init, seed=1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(a, b) for a, b in zip(matrices(first), matrices(other), strict=True))
    assert (one.path / "record.jsonl").read_bytes() == (same.path / "record.jsonl").read_bytes()
    assert len(matrices(first)) == 3


@pytest.mark.parametrize("init", ["orthogonal", "within_layer"])
def test_a_resumed_run_goes_on_from_its_weights(tmp_path: Path, init: str) -> None:
    whole, _ = train(tmp_path / "whole", init=init, epochs=3)

    class Stop:
        def after_epoch(self, state: State) -> None:
            raise KeyboardInterrupt

    path = tmp_path / "part"
    with pytest.raises(Interrupted):
        train(path, init=init, epochs=3, hooks=[Stop()])
    begin = Begin()
    resumed = tw.resume(path, reporter=Silence(), hooks=[begin])
    assert resumed.model is not None
    assert whole.model is not None
    ends = zip(resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in ends)


def test_activations_are_measured_on_preprocessed_training_samples(tmp_path: Path) -> None:
    run, weights = train(
        tmp_path / "run", init="lsuv:tolerance=1e-6", set={"data.val_fraction": 0, "data.test_fraction": 0}
    )
    inputs = tw.load(run.path).preprocessing.apply(torch.from_numpy(np.asarray(points_of(run))))
    first = inputs @ matrices(weights)[0].T
    assert float(first.var(correction=0)) == pytest.approx(1, abs=1e-3)


def points_of(run: tw.Run) -> np.ndarray:
    from trainwell.data.prepare import DataSpec, prepare

    section = run.recipe.data
    spec = DataSpec(source=section.source.name, options=section.source.options, val_fraction=0, test_fraction=0)
    store = prepare(spec, seed=run.recipe.seed, threads=1).stores.train
    return np.asarray(store.gather(torch.arange(len(store))).inputs)


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", ["standardize", "batch_norm"])
@pytest.mark.parametrize("init", ["he", "lsuv"])
def test_frozen_first_weights_that_a_network_takes_from_data_stay_its_own(
    tmp_path: Path, init: str, preprocessing: str
) -> None:
    words = {"model": "whitened:width=4", "augmentation": [], "preprocessing": preprocessing}
    _, plain = train(tmp_path / "plain", DATA, **words)
    _, weights = train(tmp_path / "run", DATA, init=init, **words)
    (name,) = [name for name in plain if name.endswith("whiten.weight")]
    assert torch.equal(plain[name], weights[name])
    assert any(not torch.equal(plain[key], weights[key]) for key in plain if key.endswith("0.weight"))


def test_a_network_that_was_handed_over_is_set_in_place_where_it_is_asked_for(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    _, weights = train(tmp_path / "plain", model=net)
    assert all(torch.equal(before[name], weights[name]) for name in before)
    _, weights = train(tmp_path / "run", model=net, init="constant:value=0.5")
    assert all(bool((value == 0.5).all()) for value in matrices(weights))
    assert not bool((net[0].weight == 0.5).all()), "trained in place"


def test_what_was_set_is_said(tmp_path: Path) -> None:
    class Listen(Silence):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

    listen = Listen()
    train(tmp_path / "run", init="he", reporter=listen)
    assert "initialization he: 3 layers set, none left alone" in listen.lines


def test_a_start_that_does_not_fit_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="zero_gamma is for residual networks"):
        train(tmp_path / "run", init="zero_gamma")
    with pytest.raises(RecipeInvalid, match="initialization: no initialization is called 'hee': did you mean 'he'"):
        train(tmp_path / "run", init="hee")
    assert not (tmp_path / "run").exists()


def test_the_default_recipe_leaves_it_open() -> None:
    assert Recipe().initialization == "auto"
