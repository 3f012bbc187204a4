"""A network that begins from weights learned elsewhere: what comes over, what is frozen, and what is refused."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import trainwell as tw
from trainwell.core.recipe import decided
from trainwell.core.shelves import losses
from trainwell.errors import (
    DataInvalid,
    Interrupted,
    ModelInvalid,
    NameUnknown,
    OptionInvalid,
    RecipeInvalid,
    RunDamaged,
    RunInvalid,
    UserError,
)
from trainwell.models.pretrained import head_of
from trainwell.train import features
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

from .conftest import Fail

NET = "cifar_resnet:depth=8,width=4"
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
SETTINGS = {"machine.threads": 1, "data.val_fraction": 0.1}
Images = tuple[np.ndarray, np.ndarray]
Fit = Callable[..., Run]


def digits(classes: range, each: int = 30) -> Images:
    """Return images (N, 8, 8) uint8 of some digits, and their names."""
    pixels, labels = load_digits(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(labels == label)[:each] for label in classes])
    return (pixels[rows].reshape(-1, 8, 8) * 15.9).astype(np.uint8), NAMES[labels[rows]]


LOW, HIGH = digits(range(5)), digits(range(5, 10))
FEW = digits(range(5, 10), each=10)  # fewer than ten of each are left to train on


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network that knows the digits from 0 to 4."""
    place = tmp_path_factory.mktemp("source") / "low"
    words: dict[str, Any] = {"model": NET, "augmentation": [], "preprocessing": "mean_image", "epochs": 2}
    return tw.fit(LOW, out=place, set=SETTINGS, reporter=Silence(), **words)


@pytest.fixture
def fit(tmp_path: Path, source: Run) -> Fit:
    """Fit from the source: `fit("name", transfer="head", epochs=1)`."""

    def run(
        name: str, data: object = HIGH, *, from_: object = source, set: Mapping[str, Any] | None = None, **words: Any
    ) -> Run:
        words = {"reporter": Silence(), **words}
        if words.get("transfer") != "features":
            words = {"augmentation": [], **words}
        return tw.fit(data, from_=from_, out=tmp_path / name, set={**SETTINGS, **(set or {})}, **words)

    return run


def tensors(run: Run) -> dict[str, Tensor]:
    """Return weights and buffers of the classifier of a run, and of its preprocessing."""
    return load_file(run.path / "classifier" / "weights.safetensors")


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """Return the beginnings of the names of all tensors that differ."""
    differing = [
        name for name in before if before[name].shape != after[name].shape or not torch.equal(before[name], after[name])
    ]
    return {".".join(name.removeprefix("model/").split(".")[:2]) for name in differing}


HEAD = {"fc.weight", "fc.bias"}
LAST = {"layer3.0"}


@pytest.mark.parametrize(
    ("method", "learned"),
    [("features", HEAD), ("head", HEAD), ("last:1", HEAD | LAST), ("last:2", HEAD | LAST | {"layer2.0"})],
)
def test_what_is_frozen_stays_as_it_was_to_the_bit(fit: Fit, source: Run, method: str, learned: set[str]) -> None:
    """Weights, the running statistics of batch norms and their counters, and the preprocessing alike."""
    run = fit("run", transfer=method, **({} if method == "features" else {"epochs": 2}))
    assert changed(tensors(source), tensors(run)) == learned


@pytest.mark.parametrize("method", ["full", "gradual"])
def test_what_learns_moves_everywhere(fit: Fit, source: Run, method: str) -> None:
    run = fit("run", transfer=method, epochs=4)
    assert changed(tensors(source), tensors(run)) == HEAD | LAST | {"conv1.weight", "bn1.weight", "bn1.bias"} | {
        f"bn1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    } | {"layer1.0", "layer2.0"}


def test_a_source_gives_network_size_colour_and_preprocessing(fit: Fit, source: Run) -> None:
    run = fit("run", transfer="head", epochs=1)
    assert str(run.recipe.model) == str(source.recipe.model)
    assert (run.recipe.data.image_size, run.recipe.data.color) == (8, "grey")
    assert run.recipe.preprocessing == source.recipe.preprocessing
    assert len(run.recipe.transfer.sha256) == 64
    centre = "preprocessing/centre"
    assert torch.equal(tensors(run)[centre], tensors(source)[centre])


def test_larger_coloured_images_become_what_the_source_saw(fit: Fit) -> None:
    pixels, names = HIGH
    large = np.repeat(np.repeat(pixels, 2, 1), 2, 2)[..., None].repeat(3, 3)
    run = fit("run", (large, names), transfer="head", epochs=1)
    assert run.model is not None
    assert run.model.conv1.weight.shape[1] == 1


def test_ones_own_preprocessing_is_fitted_anew(fit: Fit, source: Run) -> None:
    run = fit("run", transfer="head", epochs=1, preprocessing="standardize")
    assert not torch.equal(tensors(run)["preprocessing/centre"], tensors(source)["preprocessing/centre"])


def test_the_head_is_kept_where_the_classes_have_the_same_names(fit: Fit, source: Run) -> None:
    """One tiny step: a kept head begins where it was, a fresh one nowhere near."""
    barely = {"optimizer": "sgd:lr=1e-9,momentum=0,nesterov=false,weight_decay=0", "schedule": "constant"}
    words: dict[str, Any] = {"transfer": "head", "epochs": 1, **barely}
    kept, fresh = fit("kept", LOW, **words), fit("fresh", HIGH, **words)
    before = tensors(source)["model/fc.weight"]
    assert torch.allclose(tensors(kept)["model/fc.weight"], before, atol=1e-6)
    assert not torch.allclose(tensors(fresh)["model/fc.weight"], before, atol=1e-2)


def test_numbers_are_no_names_of_classes(tmp_path: Path) -> None:
    (low, _), (high, _) = LOW, HIGH
    labels = np.repeat(np.arange(5), 30)
    words: dict[str, Any] = {"augmentation": [], "epochs": 1, "set": SETTINGS, "reporter": Silence()}
    first = tw.fit((low, labels), model=NET, out=tmp_path / "first", **words)
    barely = {"optimizer": "sgd:lr=1e-9,momentum=0,nesterov=false,weight_decay=0", "schedule": "constant"}
    second = tw.fit((high, labels), from_=first, transfer="head", out=tmp_path / "second", **words, **barely)
    assert not torch.allclose(tensors(second)["model/fc.weight"], tensors(first)["model/fc.weight"], atol=1e-2)


def test_the_solved_head_is_logistic_regression_on_the_features(fit: Fit) -> None:
    """scikit-learn finds the same probabilities for the same penalty, C = 1 / (strength N)."""
    run = fit("run", transfer="features")
    held = load_file(run.path / "codes.safetensors")
    codes, labels = held["train/codes"].double().numpy(), held["train/targets"].numpy()
    places = {reading.name: {} for reading in run.readings}
    for reading in run.readings:
        places[reading.name][reading.step] = reading.value
    choice = places["path/choice_loss"]
    strength = places["path/strength"][min(choice, key=choice.__getitem__)]
    spread = codes.std(0)
    scaled = (codes - codes.mean(0)) / np.where(spread > 0, spread, 1)
    theirs = LogisticRegression(C=1 / (strength * len(codes)), tol=1e-10, max_iter=100_000).fit(scaled, labels)
    weight, bias = (tensors(run)[f"model/fc.{name}"].double().numpy() for name in ("weight", "bias"))
    scores = codes @ weight.T + bias
    ours = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(ours / ours.sum(1, keepdims=True), theirs.predict_proba(scaled), atol=1e-4)


def test_features_are_what_the_network_gives_its_head(fit: Fit, source: Run) -> None:
    """A forward pass by hand, through the convolutions of the run's own classifier in float64."""
    run = fit("run", transfer="features")
    held = load_file(run.path / "codes.safetensors")
    network, pixels = run.model, torch.from_numpy(HIGH[0])[:, None].double()
    assert network is not None
    centre, scale = (tensors(run)[f"preprocessing/{name}"] for name in ("centre", "scale"))
    with torch.no_grad():
        network = network.double().eval()
        maps = network.maps((pixels - centre) * scale)
    codes = maps.mean((2, 3)).float()
    for split in ("train", "val", "test"):
        distances = torch.cdist(held[f"{split}/codes"], codes, compute_mode="donot_use_mm_for_euclid_dist")
        assert distances.amin(1).max() < 1e-4
    assert sum(len(held[f"{split}/codes"]) for split in ("train", "val", "test")) == len(codes)


def test_a_solved_run_goes_no_further_and_is_as_it_was(fit: Fit) -> None:
    run = fit("run", transfer="features")
    before, record = tensors(run), (run.path / "record.jsonl").read_bytes()
    again = tw.resume(run.path, data=HIGH, reporter=Silence())
    assert again.test == run.test
    assert changed(before, tensors(again)) == set()
    with pytest.raises(RunInvalid, match="--transfer full"):
        tw.resume(run.path, epochs=5, data=HIGH, reporter=Silence())
    assert (run.path / "record.jsonl").read_bytes() == record


@pytest.mark.parametrize("step", [1, 7, 19])
def test_a_gradual_thaw_goes_on_with_the_same_bits(
    fit: Fit, assert_same: Callable[[Path, Path], None], step: int
) -> None:
    words: dict[str, Any] = {"transfer": "gradual", "epochs": 3, "set": {"machine.checkpoint_seconds": 0}}
    whole = fit("whole", **words)
    with pytest.raises(RuntimeError, match="killed"):
        fit("cut", hooks=[Fail(step)], **words)
    cut = whole.path.with_name("cut")
    tw.resume(cut, data=HIGH, reporter=Silence())
    assert_same(whole.path, cut)


def test_a_run_goes_on_when_its_source_is_gone(fit: Fit, source: Run, tmp_path: Path) -> None:
    shutil.copytree(source.path, tmp_path / "copy")
    run = fit("run", from_=str(tmp_path / "copy"), transfer="head", epochs=1)
    shutil.rmtree(tmp_path / "copy")
    assert tw.resume(run.path, data=HIGH, epochs=2, reporter=Silence()).epochs == 2


def test_a_rerun_begins_from_the_same_weights_or_not_at_all(fit: Fit, source: Run, tmp_path: Path) -> None:
    shutil.copytree(source.path, tmp_path / "copy")
    run = fit("run", from_=str(tmp_path / "copy"), transfer="head", epochs=1)
    again = tw.fit(HIGH, recipe=run.path, out=tmp_path / "again", reporter=Silence())
    assert changed(tensors(run), tensors(again)) == set()
    other = tw.fit(LOW, model=NET, epochs=1, augmentation=[], out=tmp_path / "other", set=SETTINGS, reporter=Silence())
    shutil.rmtree(tmp_path / "copy")
    shutil.copytree(other.path, tmp_path / "copy")
    third = tw.fit(
        HIGH, recipe=run.path, out=tmp_path / "third", reporter=Silence()
    )  # from the copy that the run keeps
    assert changed(tensors(run), tensors(third)) == set()
    recipe = tw.Recipe.from_file(run.path / "recipe.yaml")
    with pytest.raises(RunInvalid, match="SHA-256"):
        tw.fit(HIGH, recipe=recipe, out=tmp_path / "fourth", reporter=Silence())
    assert not (tmp_path / "fourth").exists()
    moved = tw.fit(HIGH, recipe=run.path, from_=other, out=tmp_path / "fifth", reporter=Silence())
    weights = {name: tensor for name, tensor in tensors(other).items() if name.startswith("model/")}
    assert changed(weights, tensors(moved)) == HEAD


def test_a_recipe_of_another_method_leaves_open_what_belonged_to_that(fit: Fit, source: Run, tmp_path: Path) -> None:
    solved, trained = fit("solved", transfer="features"), fit("trained", transfer="full", epochs=1)
    words: dict[str, Any] = {"out": tmp_path / "again", "reporter": Silence()}
    again = tw.fit(HIGH, recipe=solved.path, transfer="full", epochs=1, augmentation=[], **words)
    assert again.recipe.optimizer == trained.recipe.optimizer
    assert again.recipe.schedule == trained.recipe.schedule
    words["out"] = tmp_path / "back"
    assert changed(tensors(solved), tensors(tw.fit(HIGH, recipe=trained.path, transfer="features", **words))) == set()


def test_a_layer_of_the_preprocessing_comes_over_with_its_statistics(tmp_path: Path) -> None:
    words: dict[str, Any] = {"augmentation": [], "epochs": 1, "set": SETTINGS, "reporter": Silence()}
    first = tw.fit(LOW, model=NET, preprocessing="batch_norm", out=tmp_path / "first", **words)
    second = tw.fit(HIGH, from_=first, transfer="head", out=tmp_path / "second", **words)
    front = {name for name in tensors(first) if name.startswith("model/0.")}
    assert len(front) == 5
    assert all(torch.equal(tensors(first)[name], tensors(second)[name]) for name in front)


def test_weights_in_a_file_fill_a_named_network(fit: Fit, source: Run, tmp_path: Path) -> None:
    weights = {name.removeprefix("model/"): tensor for name, tensor in tensors(source).items() if "model/" in name}
    save_file(weights, tmp_path / "weights.safetensors")
    words: dict[str, Any] = {"from_": str(tmp_path / "weights.safetensors"), "transfer": "head", "epochs": 1}
    run = fit("run", model=NET, **words)
    assert (
        changed({name: tensor for name, tensor in tensors(source).items() if name.startswith("model/")}, tensors(run))
        == HEAD
    )
    with pytest.raises(ModelInvalid, match="name it with --model"):
        fit("other", **words)


class Own(nn.Sequential):
    """A network of the user's own."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))


def test_a_network_that_was_handed_over_takes_weights_of_its_run(tmp_path: Path) -> None:
    words: dict[str, Any] = {"augmentation": [], "epochs": 1, "set": SETTINGS, "reporter": Silence()}
    first = tw.fit(LOW, model=Own(), out=tmp_path / "first", **words)
    second = tw.fit(HIGH, model=Own(), from_=first, transfer="head", out=tmp_path / "second", **words)
    assert changed(tensors(first), tensors(second)) == {"4.weight", "4.bias"}
    assert second.model is not None
    assert all(weight.requires_grad for weight in second.model.parameters())
    with pytest.raises(ModelInvalid, match=r"model=Net\(\)"):
        tw.fit(HIGH, from_=first, out=tmp_path / "third", **words)


OWN = """
from torch import nn


def net(num_classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes))
"""


def test_a_network_in_a_file_comes_over_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    words: dict[str, Any] = {"augmentation": [], "epochs": 1, "set": SETTINGS, "reporter": Silence()}
    first = tw.fit(LOW, model=f"{tmp_path / 'own.py'}:net:width=6", out=tmp_path / "first", **words)
    (tmp_path / "own.py").unlink()
    second = tw.fit(HIGH, from_=first, transfer="head", out=tmp_path / "second", **words)
    assert changed(tensors(first), tensors(second)) == {"3.weight", "3.bias"}
    assert tw.load(second.path).predict(HIGH[0][:2]).probabilities.shape == (2, 5)


def test_auto_decides_by_the_amount_of_data_and_says_why(fit: Fit) -> None:
    few, trained = fit("few", FEW), fit("trained", FEW, epochs=2)
    assert (few.recipe.transfer.method, trained.recipe.transfer.method) == ("features", "head")
    many = fit("many", epochs=1)
    assert many.recipe.transfer.method == "full"
    for run in (few, trained, many):
        choices = (run.path / "machine.json").read_text()
        assert "training samples a class" in choices


def test_numbers_are_solved_for_too(tmp_path: Path) -> None:
    """Ridge regression in closed form, on the features that the run kept."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6)).astype(np.float32)
    y = (x @ rng.normal(size=(6, 2)) + 0.1 * rng.normal(size=(120, 2))).astype(np.float32)
    words: dict[str, Any] = {"set": SETTINGS, "reporter": Silence()}
    first = tw.fit((x, y), model="mlp:hidden=[5]", epochs=2, out=tmp_path / "first", **words)
    run = tw.fit((x, y), from_=first, transfer="features", out=tmp_path / "run", **words)
    held = load_file(run.path / "codes.safetensors")
    codes, targets = held["train/codes"].double(), held["train/targets"].double()
    values = {(reading.name, reading.step): reading.value for reading in run.readings}
    place = min(
        (step for name, step in values if name == "path/choice_loss"), key=lambda s: values["path/choice_loss", s]
    )
    spread = codes.std(0, unbiased=False)
    scaled = (codes - codes.mean(0)) / torch.where(spread > 0, spread, 1)
    # The loss of a sample is the mean of half the squares, or of the squares, over its numbers: see the curvature.
    probe = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    loss = losses.build(decided(run.recipe.loss).name, decided(run.recipe.loss).options)
    curvature = torch.autograd.functional.hessian(lambda scores: loss(scores, torch.zeros(1, 2)).sum(), probe)
    factor = float(curvature[0, 0, 0, 0])
    gram = factor * scaled.T @ scaled / len(codes) + values["path/strength", place] * torch.eye(scaled.shape[1])
    weight = torch.linalg.solve(gram, factor * scaled.T @ (targets - targets.mean(0)) / len(codes))
    assert run.model is not None
    found = run.model.get_submodule(head_of(run.model)[0]).weight
    assert torch.allclose(found.double() * spread, weight.T, atol=1e-4)


@pytest.mark.parametrize(
    ("error", "words", "said"),
    [
        (RecipeInvalid, {"transfer": "last:0"}, "last:K"),
        (RecipeInvalid, {"transfer": "features", "optimizer": "adam"}, "takes no steps"),
        (RecipeInvalid, {"transfer": "features", "epochs": 7}, "takes no steps"),
        (RecipeInvalid, {"transfer": "features", "augmentation": ["horizontal_flip"]}, "takes no steps"),
        (RecipeInvalid, {"transfer": "head", "init": "he"}, "contradict"),
        (OptionInvalid, {"transfer": "last:9", "epochs": 1}, "last:4 or fewer"),
        (NameUnknown, {"from_": "no/such/run"}, "is no run and no file"),
        (NameUnknown, {"from_": "resnet51"}, "resnet50"),
        (OptionInvalid, {"model": "resnet50:pretrained"}, "both name weights"),
        (ModelInvalid, {"model": "cifar_resnet:depth=14,width=4"}, "tensors"),
        (ModelInvalid, {"model": "cifar_resnet:depth=8,width=8"}, "there"),
        (ModelInvalid, {"model": "mlp:hidden=[8]"}, "tensors"),
    ],
)
def test_what_cannot_be_is_refused(
    fit: Fit, tmp_path: Path, error: type[UserError], words: dict[str, Any], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        fit("run", **words)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_method_without_a_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="--from"):
        tw.fit(HIGH, transfer="head", out=tmp_path / "run", reporter=Silence())
    assert not (tmp_path / "run").exists()


class Squared(nn.Module):
    """A network that does something to its scores behind its head."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, K)."""
        return self.fc(x.flatten(1)).square()


class Unused(nn.Module):
    """A network whose last matrix is never read."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.spare = nn.Linear(64, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, K)."""
        return self.fc(input=x.flatten(1))


@pytest.mark.parametrize(("network", "said"), [(Squared, "does more to its scores"), (Unused, "called 0 times")])
def test_a_head_that_is_not_the_last_thing_cannot_be_solved_for(
    tmp_path: Path, network: type[nn.Module], said: str
) -> None:
    words: dict[str, Any] = {"set": SETTINGS, "reporter": Silence()}
    first = tw.fit(LOW, model=network(), epochs=1, augmentation=[], out=tmp_path / "first", **words)
    with pytest.raises(ModelInvalid, match=said):
        tw.fit(HIGH, model=network(), from_=first, transfer="features", out=tmp_path / "run", **words)
    assert not (tmp_path / "run").exists()
    full = tw.fit(
        HIGH, model=network(), from_=first, transfer="full", epochs=1, augmentation=[], out=tmp_path / "full", **words
    )
    assert full.test is not None


def test_blocks_are_counted_behind_a_layer_of_the_preprocessing(tmp_path: Path) -> None:
    words: dict[str, Any] = {"augmentation": [], "epochs": 1, "set": SETTINGS, "reporter": Silence()}
    first = tw.fit(LOW, model=NET, preprocessing="batch_norm", out=tmp_path / "first", **words)
    second = tw.fit(HIGH, from_=first, transfer="last:1", out=tmp_path / "second", **words)
    moved = {name.removeprefix("1.") for name in changed(tensors(first), tensors(second))}
    assert moved == {"fc", "layer3"}


def test_a_solved_run_may_be_stopped_and_resumed(fit: Fit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = fit("whole", transfer="features")
    monkeypatch.setattr(features, "solve_head", lambda *args, **words: None)  # as if somebody had pressed Ctrl-C
    with pytest.raises(Interrupted, match="trainwell resume"):
        fit("cut", transfer="features")
    monkeypatch.undo()
    cut = tw.resume(tmp_path / "cut", data=HIGH, reporter=Silence())
    assert changed(tensors(whole), tensors(cut)) == set()
    again = tw.fit(HIGH, recipe=whole.path, out=tmp_path / "again", reporter=Silence())
    assert (again.path / "record.jsonl").read_bytes() == (whole.path / "record.jsonl").read_bytes()


def test_labels_are_solved_for_too_and_class_weights_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 6)).astype(np.float32)
    y = (x[:, :3] + 0.5 * rng.normal(size=(150, 3)) > 0).astype(np.int64)
    words: dict[str, Any] = {"set": SETTINGS, "reporter": Silence()}
    first = tw.fit((x, y), task="labels", model="mlp:hidden=[5]", epochs=3, out=tmp_path / "first", **words)
    run = tw.fit((x, y), task="labels", from_=first, transfer="features", out=tmp_path / "run", **words)
    assert run.test is not None
    assert first.test is not None
    assert run.test.loss < first.test.loss
    rare = (digits(range(5, 10))[0][:100], np.repeat(NAMES[5:7], [90, 10]))
    source = tw.fit(LOW, model=NET, augmentation=[], epochs=1, out=tmp_path / "net", **words)
    balanced, plain = (
        tw.fit(
            rare,
            from_=source,
            transfer="features",
            out=tmp_path / kind,
            reporter=Silence(),
            set={**SETTINGS, "regularization.class_weights": kind},
        )
        for kind in ("balanced", "none")
    )
    answers = [tw.load(run.path).predict(rare[0]).probabilities.mean(0) for run in (balanced, plain)]
    assert np.abs(answers[0] - 0.5).max() < np.abs(answers[1] - 0.5).max()


@pytest.mark.parametrize("kind", ["ema_decay=0.9", "swa_start=0.5", "patience=1"])
def test_what_is_frozen_stays_in_averages_too(fit: Fit, source: Run, kind: str) -> None:
    name, value = kind.split("=")
    run = fit("run", transfer="head", epochs=2, set={f"regularization.{name}": float(value) if "." in value else 1})
    assert changed(tensors(source), tensors(run)) == HEAD


def test_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    rows = ["a,b,label", *(f"{n},{-n},{'xy'[n > 0]}" for n in range(-20, 20))]
    (tmp_path / "one.csv").write_text("\n".join(rows))
    swapped = ["b,a,label", *(f"{-n},{n},{'xy'[n > 0]}" for n in range(-20, 20))]
    (tmp_path / "two.csv").write_text("\n".join(swapped))
    words: dict[str, Any] = {"epochs": 1, "set": SETTINGS, "reporter": Silence()}
    first = tw.fit(str(tmp_path / "one.csv"), model="mlp:hidden=[4]", out=tmp_path / "first", **words)
    with pytest.raises(DataInvalid, match="a, b"):
        tw.fit(str(tmp_path / "two.csv"), from_=first, transfer="head", out=tmp_path / "second", **words)


def test_the_copy_of_a_source_is_checked(fit: Fit) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        fit("cut", transfer="head", epochs=2, hooks=[Fail(1)], set={"machine.checkpoint_seconds": 1000})
    run = fit("whole", transfer="head", epochs=1).path.with_name("cut")
    held = load_file(run / "source.safetensors")
    with safe_open(run / "source.safetensors", "pt") as file:
        metadata = file.metadata()
    name = next(iter(held))
    save_file({**held, name: held[name] + 1}, run / "source.safetensors", metadata)
    with pytest.raises(RunDamaged, match="altered"):
        tw.resume(run, data=HIGH, reporter=Silence())


def test_hooks_and_features_do_not_go_together(fit: Fit) -> None:
    with pytest.raises(OptionInvalid, match="hooks act in steps"):
        fit("run", transfer="features", hooks=[Fail(0)])


@pytest.mark.parametrize("set", [{"regularization.clip_norm": 1.0}, {"batch.accumulate": 2}, {"rates.per_depth": 0.5}])
def test_auto_trains_where_something_asks_for_training(fit: Fit, set: dict[str, Any]) -> None:
    assert fit("run", FEW, epochs=1, set=set).recipe.transfer.method == "head"
    with pytest.raises(RecipeInvalid, match="takes no steps"):
        fit("other", transfer="features", set=set)


def test_a_head_without_biases_and_with_a_factor_behind_it_is_solved_for(tmp_path: Path) -> None:
    """The whitened network: its scores are the outputs of a dense layer without biases, times a constant."""
    large = np.repeat(np.repeat(LOW[0], 3, 1), 3, 2)[..., None].repeat(3, 3)
    words: dict[str, Any] = {"set": SETTINGS, "reporter": Silence()}
    first = tw.fit(
        (large, LOW[1]), model="whitened:width=8", epochs=1, augmentation=[], out=tmp_path / "first", **words
    )
    other = np.repeat(np.repeat(HIGH[0], 3, 1), 3, 2)[..., None].repeat(3, 3)
    run = tw.fit((other, HIGH[1]), from_=first, transfer="features", out=tmp_path / "run", **words)
    values = {(reading.name, reading.step): reading.value for reading in run.readings}
    place = min(
        (step for name, step in values if name == "path/choice_loss"), key=lambda s: values["path/choice_loss", s]
    )
    assert run.val is not None
    assert run.val.score == pytest.approx(values["path/val_score", place])


def test_a_head_of_several_layers_cannot_be_solved_for(tmp_path: Path) -> None:
    words: dict[str, Any] = {"set": SETTINGS, "reporter": Silence()}
    first = tw.fit(LOW, model=f"{NET},head=mlp", epochs=1, augmentation=[], out=tmp_path / "first", **words)
    with pytest.raises(ModelInvalid, match="--transfer head"):
        tw.fit(HIGH, from_=first, transfer="features", out=tmp_path / "run", **words)


def test_an_unfinished_run_is_no_source(fit: Fit, source: Run, tmp_path: Path) -> None:
    shutil.copytree(source.path, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "classifier")
    with pytest.raises(RunInvalid, match="no classifier yet"):
        fit("run", from_=str(tmp_path / "cut"))


def test_a_damaged_source_is_refused_by_name(fit: Fit, source: Run, tmp_path: Path) -> None:
    shutil.copytree(source.path, tmp_path / "bad")
    file = tmp_path / "bad" / "classifier" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(RunDamaged, match=r"weights\.safetensors"):
        fit("run", from_=str(tmp_path / "bad"))
