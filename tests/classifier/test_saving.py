"""What is saved comes back, gives the trained network's own answers, and is written whole or not at all."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

import trainwell as tw
from trainwell.classifier import load, save
from trainwell.core.catalog import Card
from trainwell.core.choice import Choice
from trainwell.core.own_code import settle_files, sha256
from trainwell.core.shelves import models, preprocessings
from trainwell.data.resize import ImageForm
from trainwell.errors import ModelInvalid, RunInvalid
from trainwell.train.reporter import Silence

from .conftest import Saved

Make = Callable[..., Saved]

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_features, num_classes, *, width=4):
        super().__init__(nn.Flatten(), nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes))
"""


def images(count: int = 5, shape: tuple[int, ...] = (3, 16, 12)) -> torch.Tensor:
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(2)).to(torch.uint8)


@pytest.mark.parametrize(
    "card", [card for card in models if not {"preset_of", "foreign"} & card.traits.keys()], ids=lambda card: card.name
)
def test_every_network_of_the_shelf_answers_as_it_did_in_training(saved: Make, card: Card) -> None:
    side = max(16, card.traits.get("least_side", 1))
    model = str(Choice(name=card.name, options=card.traits.get("small", {})))
    made, samples = saved(model=model, form=ImageForm(side, side, 3)), images(shape=(3, side, side))
    want, got = made.logits(samples), made.load().logits(samples)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize("name", [card.name for card in preprocessings])
def test_every_preprocessing_of_the_shelf_comes_back(saved: Make, name: str) -> None:
    made = saved(model="mlp", preprocessing=name)
    torch.testing.assert_close(made.load().logits(images()), made.logits(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [card.name for card in preprocessings if "channels" not in card.traits])
def test_every_preprocessing_of_features_comes_back(saved: Make, name: str) -> None:
    made = saved(model="mlp", form=None, shape=(6,), preprocessing=name)
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)) * 100
    torch.testing.assert_close(made.load().logits(rows), made.logits(rows), rtol=1e-4, atol=1e-4)


def test_batch_norms_are_folded_and_stored_unfolded(saved: Make) -> None:
    made = saved()
    assert not [m for m in made.load().model.modules() if isinstance(m, nn.BatchNorm2d)]
    with safe_open(made.path / "weights.safetensors", "np") as stored:
        assert "model/body.0.1.running_var" in stored.keys()  # noqa: SIM118
        assert "preprocessing/centre" in stored.keys()  # noqa: SIM118


def test_the_folder_may_be_moved_anywhere_and_a_run_folder_is_taken_for_the_one_in_it(
    saved: Make, tmp_path: Path
) -> None:
    made = saved()
    run = tmp_path / "elsewhere"
    run.mkdir()
    (run / "recipe.yaml").touch()
    made.path.rename(run / "classifier")
    assert torch.equal(load(run).logits(images()), load(run / "classifier").logits(images()))


def test_saving_leaves_the_network_in_its_mode_and_its_weights_alone(saved: Make, tmp_path: Path) -> None:
    made = saved()
    made.model.train()
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    save(tmp_path / "again", model=made.model, preprocessing=made.preprocessing, contract=made.contract)
    assert made.model.training
    assert all(torch.equal(value, before[name]) for name, value in made.model.state_dict().items())


class Remembers(nn.Module):
    """Keeps its last output, which is no leaf of a graph, and something that no copy can be made of."""

    def __init__(self, *, is_copyable: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
        self.kept: list[torch.Tensor] = []
        self.lock = None if is_copyable else threading.Lock()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.kept = [self.body(inputs)]
        return self.kept[0]


def test_a_network_that_keeps_its_last_output_is_saved_after_training(saved: Make, tmp_path: Path) -> None:
    made = saved(model="given", given=Remembers())
    net = made.model
    net.train()
    assert isinstance(net, Remembers)
    net.body[2].eval()
    net(torch.zeros(4, 3, 16, 12)).sum().backward()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    path = save(tmp_path / "again", model=net, preprocessing=made.preprocessing, contract=made.contract)
    assert [module.training for module in (net, net.body, net.body[2], net.body[3])] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    want = made.logits(images())
    net(torch.zeros(4, 3, 16, 12))  # what it keeps has a graph again
    got = load(path, model=net).logits(images())
    assert torch.equal(net.body[1].weight, before["body.1.weight"])
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_a_network_that_cannot_be_copied_is_saved(saved: Make) -> None:
    made = saved(model="given", given=Remembers(is_copyable=False))
    fresh = made.load(model=Remembers())
    torch.testing.assert_close(fresh.logits(images()), made.logits(images()), rtol=1e-4, atol=1e-4)


def test_saving_again_replaces_the_classifier_and_leaves_nothing_else_behind(saved: Make) -> None:
    saved()
    other = saved(model="logistic")
    assert "logistic" in repr(other.load())
    assert [path.name for path in other.path.parent.iterdir()] == ["classifier"]


def test_a_disk_that_cannot_be_written_leaves_the_old_classifier_as_it_was(
    saved: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = saved()
    before = {path: path.read_bytes() for path in made.path.rglob("*") if path.is_file()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainwell.classifier.saving.save_tensors", full)
    with pytest.raises(RunInvalid, match=r"classifier cannot be written: No space left on device: free some space"):
        saved(model="logistic")
    assert {path: path.read_bytes() for path in made.path.rglob("*") if path.is_file()} == before
    assert os.listdir(made.path.parent) == ["classifier"]


def test_no_image_of_the_users_is_in_it_and_no_path_of_the_users_machine(saved: Make, tmp_path: Path) -> None:
    made = saved()
    assert sorted(path.name for path in (made.path / "golden").iterdir()) == [
        "deep.png", "large.jpg", "transparent.png", "turned.jpg",
    ]  # fmt: skip
    assert str(tmp_path) not in (made.path / "classifier.json").read_text()


def test_a_network_from_a_file_travels_with_the_classifier(saved: Make, tmp_path: Path) -> None:
    file = tmp_path / "my_net.py"
    file.write_text(NET)
    files = settle_files({str(file): ""}, tmp_path / "code", networks=(str(file),))
    made = saved(model=f"{file}:Net:width=5", files=files)
    file.unlink()
    (tmp_path / "code" / "my_net.py").unlink()
    assert (made.path / "code" / "my_net.py").read_text() == NET
    assert made.load().contract.files == {"my_net.py": sha256(made.path / "code" / "my_net.py")}
    torch.testing.assert_close(made.load().logits(images()), made.logits(images()))


def test_files_of_one_name_from_two_folders_are_kept_apart(saved: Make, tmp_path: Path) -> None:
    files = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.py").write_text(NET + f"# {name}\n")
        files[str(tmp_path / name / "net.py")] = ""
    settled = settle_files(files, tmp_path / "code", networks=tuple(files))
    made = saved(model=f"{tmp_path}/two/net.py:Net", files=settled)
    assert len(made.load().contract.files) == 2
    torch.testing.assert_close(made.load().logits(images()), made.logits(images()))


def test_a_missing_copy_of_a_file_is_said_before_anything_is_written(saved: Make, tmp_path: Path) -> None:
    file = tmp_path / "my_net.py"
    file.write_text(NET)
    files = settle_files({str(file): ""}, tmp_path / "code", networks=(str(file),))
    (tmp_path / "code" / "my_net.py").unlink()
    with pytest.raises(RunInvalid, match=r"the copy of .*my_net\.py in .*code is missing or was altered"):
        saved(model=f"{file}:Net", files=files)
    assert not (tmp_path / "classifier").exists()


def test_a_network_handed_over_is_asked_for_again_and_stays_as_it_is(saved: Make) -> None:
    def net() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 3))

    made, fresh = saved(model="given", given=net()), net().requires_grad_(False)
    with pytest.raises(ModelInvalid, match=r"handed over in Python, so only its weights are stored: pass the network"):
        made.load()
    before = fresh[1].weight.clone()
    torch.testing.assert_close(made.load(model=fresh).logits(images()), made.logits(images()))
    assert torch.equal(fresh[1].weight, before)
    assert not fresh[1].weight.requires_grad
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 3, bias=False))
    with pytest.raises(ModelInvalid, match=r"is not the one that .* was stored from: they differ in 1\.bias"):
        made.load(model=other)


def test_a_network_that_nobody_asked_for_is_refused(saved: Make) -> None:
    with pytest.raises(ModelInvalid, match=r"holds its own network, convnet:width=8: leave model= out"):
        saved().load(model=nn.Linear(2, 2))


def test_images_that_are_float_arrays_come_back_without_golden_files(saved: Make) -> None:
    made = saved(dtype="float32")
    assert not list((made.path / "golden").iterdir())
    rows = images().float() + 0.25
    torch.testing.assert_close(made.load().logits(rows), made.logits(rows), rtol=1e-4, atol=1e-4)


def test_the_head_says_what_it_was_made_with(saved: Make) -> None:
    head = json.loads((saved().path / "classifier.json").read_text())
    assert head["format"] == 1
    assert head["versions"]["torch"] == torch.__version__
    assert "simplejpeg" in head["versions"]["jpeg"]
    assert head["contract"]["classes"] == ["cat", "dog", "fox"]
    assert np.prod(head["contract"]["input_shape"]) == 3 * 16 * 12
    assert head["contract"]["form"] == {"height": 16, "width": 12, "channels": 3, "policy": "crop"}


@pytest.mark.parametrize("form", [ImageForm(8, 8, 1), ImageForm(5, 9, 3, "pad"), ImageForm(64, 64, 3, "stretch")])
def test_forms_of_any_size_colour_and_policy_pass_their_own_check(saved: Make, form: ImageForm) -> None:
    assert saved(model="mlp", form=form).load().form == form


def test_what_only_training_reads_is_not_stored(tmp_path: Path) -> None:
    """GoogLeNet's auxiliary classifiers: the classifier loads and answers without them."""
    pixels, labels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8), np.arange(40) % 2
    words: dict[str, Any] = {"augmentation": [], "epochs": 1, "set": {"machine.threads": 1}, "reporter": Silence()}
    run = tw.fit((pixels, labels), model="googlenet:width=8,stem=small", out=tmp_path / "run", **words)
    with safe_open(run.path / "classifier" / "weights.safetensors", "pt") as file:
        stored = set(file.keys())
    assert run.model is not None
    assert {name for name in run.model.state_dict() if f"model/{name}" not in stored} == {
        name for name in run.model.state_dict() if name.startswith(("aux1.", "aux2."))
    }
    assert tw.load(run.path).predict(pixels[:3]).probabilities.shape == (3, 2)
