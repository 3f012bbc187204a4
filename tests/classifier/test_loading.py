"""A classifier that was tampered with is refused by the file's name, and one that answers otherwise by the step's."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainwell.classifier import golden, layout, load
from trainwell.core.own_code import settle_files
from trainwell.data import decode
from trainwell.data.preprocessing.elementwise import Elementwise
from trainwell.data.resize import ImageForm
from trainwell.errors import ClassifierMismatch, OptionInvalid, RunDamaged, RunInvalid
from trainwell.models.convnet import ConvNet

from .conftest import Saved

Make = Callable[..., Saved]

FILES = (
    "weights.safetensors", "golden.safetensors", "golden/deep.png", "golden/large.jpg", "golden/transparent.png",
    "golden/turned.jpg",
)  # fmt: skip


def test_these_are_all_files_that_a_classifier_has(saved: Make) -> None:
    path = saved().path
    found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert found == {*FILES, "classifier.json"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", ["altered", "cut", "missing"])
def test_a_tampered_file_is_named(saved: Make, name: str, way: str) -> None:
    path = saved().path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if way == "missing":
        path.unlink()
    else:
        path.write_bytes(data if way == "altered" else data[: len(data) // 2])
    words = "is missing" if way == "missing" else "was altered or cut short after it was written"
    with pytest.raises(RunDamaged, match=f"{name} {words}.*: restore it from a copy") as caught:
        load(path.parents[1] if "/" in name else path.parent)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new"), [('"cat"', '"dgo"'), ('"standardize"', '"minmax"'), ('"height": 16', '"height": 18')]
)
def test_an_edited_head_is_named(saved: Make, old: str, new: str) -> None:
    head = saved().path / "classifier.json"
    head.write_text(head.read_text().replace(old, new, 1))
    with pytest.raises(RunDamaged, match=r"classifier\.json was altered after it was written: restore"):
        load(head.parent)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "{}", "\x00"])
def test_a_head_that_is_no_head_is_named(saved: Make, text: str) -> None:
    head = saved().path / "classifier.json"
    head.write_text(text)
    with pytest.raises(RunDamaged, match=r"classifier\.json (cannot be read|was altered)"):
        load(head.parent)


def test_a_missing_head_is_named(saved: Make, tmp_path: Path) -> None:
    head = saved().path / "classifier.json"
    head.unlink()
    for path in (head.parent, tmp_path):
        with pytest.raises(RunDamaged, match=r"classifier\.json is missing"):
            load(path)


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the head and seal it again, as a later version might."""
    plain = json.loads((path / "classifier.json").read_text())
    change(plain)
    for name in plain["sha256"]:
        plain["sha256"][name] = layout.sha256(path / name)
    (path / "classifier.json").write_text(layout.sealed({key: plain[key] for key in plain if key != "seal"}))


def test_a_stray_file_beside_the_golden_images_is_not_read(saved: Make) -> None:
    path = saved().path
    (path / "golden" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (path / "golden" / "folder").mkdir()
    assert load(path).classes == ("cat", "dog", "fox")


def owned(saved: Make, tmp_path: Path) -> Path:
    """A classifier with a network in a file of the user's own, which is gone from where it was."""
    file = tmp_path / "my_net.py"
    file.write_text(
        "from torch import nn\n\n\ndef net(in_features, num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, num_classes))\n"
    )
    files = settle_files({str(file): ""}, tmp_path / "code", networks=(str(file),))
    path = saved(model=f"{file}:net", files=files).path
    file.unlink()
    return path


@pytest.mark.parametrize("digest", ["right", "empty"])
@pytest.mark.parametrize("place", ["absolute", "above"])
def test_code_outside_the_classifier_is_not_run(saved: Make, tmp_path: Path, digest: str, place: str) -> None:
    path = owned(saved, tmp_path)
    assert load(path).classes == ("cat", "dog", "fox")
    evil, ran = tmp_path / "evil.py", tmp_path / "ran"
    evil.write_text(f"open({str(ran)!r}, 'w')\n")
    name = str(evil) if place == "absolute" else "../../evil.py"
    found = layout.sha256(evil) if digest == "right" else ""

    def change(plain: dict[str, Any]) -> None:
        plain["contract"]["files"][name] = found

    reseal(path, change)
    with pytest.raises(
        RunDamaged, match=r"evil\.py of the user's own, and no such file .* is in .*code: no other file"
    ):
        load(path)
    assert not ran.exists()


def test_code_without_a_digest_is_not_run_even_in_its_folder(saved: Make, tmp_path: Path) -> None:
    path = owned(saved, tmp_path)
    reseal(path, lambda plain: plain["contract"].update(files={"my_net.py": ""}))
    with pytest.raises(RunDamaged, match=r"names the file my_net\.py of the user's own, and no such file with its SHA"):
        load(path)


def test_a_network_in_a_file_that_did_not_come_along_is_refused(saved: Make, tmp_path: Path) -> None:
    path = owned(saved, tmp_path)
    reseal(path, lambda plain: plain["contract"].update(files={}))
    with pytest.raises(RunDamaged, match=r"names a network in my_net\.py, which is not among its files"):
        load(path)


def test_a_head_that_names_files_outside_its_folder_is_refused(saved: Make, tmp_path: Path) -> None:
    path = saved().path
    (tmp_path / "secret").write_text("secret")
    reseal(path, lambda plain: plain["sha256"].update({"golden/../../secret": ""}))
    with pytest.raises(RunDamaged, match=r"names the file golden/\.\./\.\./secret, which is not in its own folder"):
        load(path)


def test_a_newer_format_asks_for_an_upgrade(saved: Make) -> None:
    path = saved().path
    reseal(path, lambda plain: plain.update(format=99))
    with pytest.raises(RunInvalid, match=r"in a format that this one, .*, does not know: upgrade trainwell"):
        load(path)


def test_weights_of_another_network_are_refused(saved: Make, tmp_path: Path) -> None:
    other = saved(model="logistic").path.rename(tmp_path / "other")
    path = saved().path
    shutil.copy(other / "weights.safetensors", path / "weights.safetensors")
    reseal(path, lambda plain: None)
    with pytest.raises(RunDamaged, match=r"does not fit the network convnet:width=8 that it names, they differ in"):
        load(path)


def test_a_run_without_a_classifier_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(RunInvalid, match=r"has no classifier yet: .* still going or was stopped: .*`trainwell resume"):
        load(tmp_path)


def test_a_path_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match=r"nowhere does not exist: give the folder of a run, or of a classifier"):
        load(tmp_path / "nowhere")
    with pytest.raises(RunInvalid, match=r"is neither the folder of a run nor of a classifier"):
        load(tmp_path)


def test_a_device_that_is_not_there_is_refused(saved: Make) -> None:
    with pytest.raises(OptionInvalid, match=r"^device must be one of cpu.*, got 'abacus'"):
        saved().load(device="abacus")


def mismatch(path: Path, words: str) -> str:
    """Load a classifier that answers otherwise, and return the step that is blamed."""
    with pytest.raises(ClassifierMismatch, match=words) as caught:
        load(path)
    assert f"the first step that differs is the {caught.value.step}: " in str(caught.value)
    return caught.value.step


def test_another_decoder_is_named(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path
    real = golden.decode_pixels

    def brighter(data: bytes, form: ImageForm) -> np.ndarray:
        return np.clip(real(data, form).astype(int) + 5, 0, 255).astype(np.uint8)

    monkeypatch.setattr(golden, "decode_pixels", brighter)
    words = r"a value of deep\.png is 5 of 255 levels off, allowed are 2; the versions are the same"
    assert mismatch(path, words) == "decoder"


def test_a_decoder_that_forgets_to_turn_is_named_by_its_shape(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path
    monkeypatch.setattr("trainwell.data.jpeg.turn", lambda pixels, orientation: pixels)
    assert mismatch(path, r"turned\.jpg comes out as .* and came out as") == "decoder"


def test_a_decoder_that_can_no_longer_read_is_named(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path
    monkeypatch.setattr("trainwell.data.pixels.MAX_PIXELS", 10)
    assert mismatch(path, r"deep\.png is .*: more than 10 pixels.*, and could be decoded") == "decoder"


def test_a_decoder_that_gives_blue_first_is_named_by_the_channel_order(
    saved: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved().path
    real = golden.decode_pixels
    monkeypatch.setattr(golden, "decode_pixels", lambda data, form: real(data, form)[..., ::-1])
    assert mismatch(path, r"the decoder gives large\.jpg with red and blue swapped") == "channel order"


def test_another_resize_kernel_is_named(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path

    def nearest(image: np.ndarray, form: ImageForm, out: np.ndarray) -> None:
        rows = np.arange(form.height) * image.shape[0] // form.height
        columns = np.arange(form.width) * image.shape[1] // form.width
        out[...] = image[rows][:, columns]

    monkeypatch.setattr(golden, "fit_into", nearest)
    assert mismatch(path, r"a value of .* is \d+ of 255 levels off, allowed are 1") == "resize kernel"


def test_another_mean_is_named(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path
    real = Elementwise.apply
    monkeypatch.setattr(Elementwise, "apply", lambda self, x, **words: real(self, x, **words) + 0.1)
    assert mismatch(path, r"a value is 0\.1\d* off, allowed are") == "preprocessing"


def test_a_mean_in_the_order_of_another_library_is_named(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path
    real = Elementwise.load_state
    monkeypatch.setattr(
        Elementwise, "load_state", lambda self, state: real(self, {key: value.flip(0) for key, value in state.items()})
    )
    assert mismatch(path, r"the preprocessing agrees once red and blue are swapped") == "channel order"


def test_other_weights_are_named_as_the_network(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path
    real = ConvNet.forward
    monkeypatch.setattr(ConvNet, "forward", lambda self, inputs: real(self, inputs * 1.01))
    assert mismatch(path, r"a value is .* off, allowed are") == "network"


def test_a_network_that_reads_blue_first_is_named_by_the_channel_order(
    saved: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved().path
    real = ConvNet.forward
    monkeypatch.setattr(ConvNet, "forward", lambda self, inputs: real(self, inputs.flip(1)))
    assert mismatch(path, r"the network agrees once red and blue are swapped") == "channel order"


def test_a_network_that_fails_is_named(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(form=None, shape=(4,), model="mlp").path

    def fail(*_: object) -> Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("trainwell.models.mlp.MLP.forward", fail)
    assert mismatch(path, r"it fails on a sample that it took: RuntimeError: no such kernel") == "network"


def test_versions_that_differ_are_named_with_the_cure(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path
    reseal(path, lambda plain: plain["versions"].update(jpeg="simplejpeg 0.1"))
    assert load(path).classes == ("cat", "dog", "fox"), "versions alone are no reason to refuse"
    monkeypatch.setattr(golden, "KERNEL_LEVELS", -1)
    words = rf"it was made with jpeg simplejpeg 0\.1 \(here {decode.DECODER['jpeg'][:10]}.*install those versions"
    assert mismatch(path, words) == "resize kernel"


def test_a_difference_within_rounding_is_none(saved: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved().path
    real = golden.decode_pixels

    def off_by_one(data: bytes, form: ImageForm) -> np.ndarray:
        return np.clip(real(data, form).astype(int) + 1, 0, 255).astype(np.uint8)

    monkeypatch.setattr(golden, "decode_pixels", off_by_one)
    assert load(path).classes == ("cat", "dog", "fox")


def test_loading_needs_no_training_code(saved: Make) -> None:
    path = saved().path
    code = (
        "import sys\nfrom trainwell.classifier import load\n"
        f"print(load({str(path)!r}).predict({str(path / 'golden')!r}).labels)\n"
        "print([name for name in sys.modules if name.startswith(('trainwell.train', 'trainwell.optim', 'sklearn'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip().endswith("[]")


def test_golden_images_take_every_way_through_the_decoder() -> None:
    form = ImageForm(32, 32, 3)
    images = golden.draw_images(form)
    assert images == golden.draw_images(form)
    steps = golden.decoded(images, form)
    large = steps["decoder/large.jpg"]
    assert min(large.shape[:2]) < 4 * 32, "a reduced scale is used"
    turned = steps["decoder/turned.jpg"]
    assert turned.shape[0] > turned.shape[1], "it is stored lying"
    assert torch.equal(steps["decoder/deep.png"][..., 0], steps["decoder/deep.png"][..., 2])
    assert not torch.equal(turned[..., 0], turned[..., 2])
