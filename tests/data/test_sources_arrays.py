"""Arrays in a .npz: names, layouts, scales, labels, and all that can be wrong with them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainwell.core.shelves import sources
from trainwell.data.layouts import read_inputs
from trainwell.data.samples import Samples, Scale
from trainwell.errors import DataInvalid

GREY = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def load(folder: Path, options: dict[str, Any] | None = None, /, **named: Any) -> Samples:
    np.savez(folder / "data.npz", **named)
    return sources.build("arrays", options or {}, location=str(folder / "data.npz"))


def says(words: str) -> str:
    return re.escape(words)


@pytest.mark.parametrize(
    "names", [("x", "y"), ("X", "Y"), ("images", "labels"), ("data", "target"), ("features", "targets")]
)
def test_usual_names_are_known(tmp_path: Path, names: tuple[str, str]) -> None:
    samples = load(tmp_path, **{names[0]: GREY, names[1]: LABELS})
    assert samples.arrays is not None
    assert samples.arrays.shape == (6, 4, 5, 1)
    assert samples.labels.tolist() == LABELS.tolist()
    assert set(samples.splits) == {""}


@pytest.mark.parametrize(
    "names",
    ["x_train y_train x_test y_test", "train_images train_labels test_images test_labels", "xtrain ytrain xtest ytest"],
)
def test_named_splits_are_kept(tmp_path: Path, names: str) -> None:
    a, b, c, d = names.split()
    samples = load(tmp_path, **{a: GREY, b: LABELS, c: GREY[:2], d: LABELS[:2]})
    assert samples.splits.tolist() == ["train"] * 6 + ["test"] * 2


def test_other_names_are_given_as_options(tmp_path: Path) -> None:
    samples = load(tmp_path, {"x": "pixels", "y": "kind"}, pixels=GREY, kind=LABELS, other=LABELS)
    assert len(samples) == 6
    with pytest.raises(DataInvalid, match=says("holds no array called 'pixel': did you mean 'pixels'?")):
        load(tmp_path, {"x": "pixel", "y": "kind"}, pixels=GREY, kind=LABELS)


def test_one_renamed_array_keeps_the_usual_partner(tmp_path: Path) -> None:
    assert len(load(tmp_path, {"x": "pixels"}, pixels=GREY, x=GREY[:3], y=LABELS)) == 6


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"foo": GREY}, "must hold inputs and labels; it holds foo: call them x and y"),
        ({"x": GREY}, "holds 'x' without its labels"),
        ({"y": LABELS}, "holds 'y' without its inputs"),
        ({"x": GREY, "images": GREY, "y": LABELS}, "holds both 'x' and 'images': say which to read with x=NAME"),
        ({"x": GREY, "y": LABELS, "x_test": GREY, "y_test": LABELS}, "holds both 'x' and 'x_test': name the splits"),
        ({"x": GREY, "y": LABELS[:4]}, "x of data.npz holds 6 samples and y of data.npz holds 4 labels"),
        ({"x": GREY.astype(complex), "y": LABELS}, "must hold whole numbers or floats, got dtype complex128"),
        ({"x": np.full((6, 4), "a"), "y": LABELS}, "must hold whole numbers or floats, got dtype <U1"),
        ({"x": LABELS, "y": LABELS}, "must be (N, D) features or (N, H, W)"),
        ({"x": np.zeros((0, 4, 4)), "y": np.zeros(0)}, "it holds no samples"),
        ({"x": np.zeros((6, 3, 5, 3)), "y": LABELS}, "say which with layout=NHWC or layout=NCHW"),
        ({"x": np.zeros((6, 5, 5, 4)), "y": LABELS}, "drop the alpha channel with x[..., :3]"),
        ({"x": GREY.astype(np.int32) - 1, "y": LABELS}, "must be images on the scale 0 to 255"),
        (
            {"x": GREY, "y": [0, 1, 0, 1, 0, -1]},
            "1 negative ones (first: row 5 is -1): -1 often marks unlabelled samples",
        ),
        ({"x": GREY, "y": [0, 1, 0, 1, np.nan, 1]}, "holds NaN or Inf in 1 of 6 rows (first: 4)"),
        (
            {"x": GREY, "y": [0, 1, 0, 1, 0.5, 1]},
            "holds fractions in 1 of 6 rows (first: row 4 is 0.5): a class id is a whole number",
        ),
        ({"x": GREY, "y": np.full((6, 2), 0.5)}, "(N, K) one-hot rows with a single 1, got shape (6, 2)"),
        ({"x": GREY, "y": LABELS.astype(complex)}, "must hold whole numbers or texts, got dtype complex128"),
        ({"x": GREY, "y": ["a", "b", "", "b", "a", "b"]}, "is empty in 1 rows (first: 2)"),
        (
            {"x": GREY, "y": LABELS + 1, "classes": np.array(["a", "b"])},
            "in [0, 2), because 2 classes are named; got 3 outside",
        ),
        (
            {"x_train": GREY, "y_train": LABELS, "x_test": GREY[:, :2], "y_test": LABELS},
            "has samples of shape (2, 5), but x_train",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, named: dict[str, Any], words: str) -> None:
    with pytest.raises(DataInvalid, match=says(words)):
        load(tmp_path, **named)


def test_python_objects_are_refused_not_unpickled(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"array y of .*data.npz holds Python objects .*loading them can run code"):
        load(tmp_path, x=GREY, y=np.array(["a", None, 3, "b", "a", "b"], dtype=object))


@pytest.mark.parametrize(
    ("content", "words"), [(b"", r"is empty \(0 bytes\)"), (b"PK not a zip", "is damaged or no .npz file")]
)
def test_a_damaged_file_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataInvalid, match=words):
        sources.build("arrays", location=str(tmp_path / "bad.npz"))


def test_a_truncated_file_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", x=GREY, y=LABELS)
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    content[150:160] = bytes(10)
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataInvalid, match="cannot be read"):
        sources.build("arrays", location=str(tmp_path / "bad.npz"))


def test_nan_in_inputs_is_counted_and_placed(tmp_path: Path) -> None:
    x = np.zeros((6, 4, 5), np.float32)
    x[2, 1, 3], x[4, 0, 0] = np.nan, np.inf
    with pytest.raises(
        DataInvalid, match=says("2 values that are NaN or Inf, in 2 of 6 samples; the first is nan at index (2, 1, 3)")
    ):
        load(tmp_path, x=x, y=LABELS)


def test_both_channel_orders_give_the_same_images(tmp_path: Path) -> None:
    last = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    one = load(tmp_path, x=last, y=LABELS)
    other = load(tmp_path, x=last.transpose(0, 3, 1, 2), y=LABELS)
    assert one.arrays is not None
    assert other.arrays is not None
    assert torch.equal(one.arrays, other.arrays)
    assert "was read as (N, H, W, C)" in one.notes[0]
    assert "was read as (N, C, H, W)" in other.notes[0]


def test_a_layout_that_the_shape_hides_is_given_as_an_option(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 3), dtype=np.uint8)
    samples = load(tmp_path, {"layout": "NCHW"}, x=x, y=LABELS)
    assert samples.arrays is not None
    assert torch.equal(samples.arrays.permute(0, 3, 1, 2), torch.from_numpy(x))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 255])
def test_eight_bit_images_kept_as_floats_come_back_as_uint8(dtype: Any, scale: int) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    read = read_inputs((levels / 255 * scale).astype(dtype) if scale == 1 else levels.astype(dtype), where="x")
    assert torch.equal(read.tensor, torch.from_numpy(levels)[..., None])
    assert "stored as uint8, which loses nothing" in read.notes[1]


def test_fine_floats_stay_floats_on_the_scale_of_images() -> None:
    values = np.linspace(0, 1, 7 * 16, dtype=np.float32).reshape(1, 7, 16)
    read = read_inputs(values, where="x")
    assert read.tensor.dtype == torch.float32
    torch.testing.assert_close(read.tensor[..., 0], torch.from_numpy(values * 255))


def test_standardized_floats_are_kept_and_said() -> None:
    read = read_inputs(np.array([[[-1.5, 2.0]]]), where="x")
    assert read.tensor.flatten().tolist() == [-1.5, 2.0]
    assert "no image's 0 to 1 or 0 to 255: kept as it is" in read.notes[1]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (GREY, Scale(1, is_float=False)),
        (GREY.astype(np.int64), Scale(1, is_float=False)),
        (GREY.astype(np.uint16) * np.uint16(257), Scale(1 / 257, is_float=False)),
        (GREY > 9, Scale(255, is_float=False)),
        (GREY / 255, Scale(255, is_float=True)),
        (np.linspace(0, 1, 120).reshape(GREY.shape), Scale(255, is_float=True)),
        (GREY.astype(np.float32), Scale(1, is_float=True)),
        (GREY * 0.999, Scale(1, is_float=True)),
        (GREY - 60.0, None),
        (GREY[:, 0] / 255, None),
    ],
)
def test_what_arrays_were_multiplied_by_is_kept(tmp_path: Path, values: np.ndarray, scale: Scale | None) -> None:
    samples = load(tmp_path, x=values, y=LABELS)
    assert samples.scale == scale
    if scale is not None and samples.arrays is not None:
        want = torch.from_numpy(values * scale.factor).float()
        torch.testing.assert_close(samples.arrays[..., 0].float(), want, atol=1e-3, rtol=1e-5)


def test_sixteen_bit_and_boolean_images_reach_the_whole_scale() -> None:
    assert read_inputs(np.array([[[0, 65535]]], np.uint16), where="x").tensor.flatten().tolist() == [0.0, 255.0]
    assert read_inputs(np.array([[[False, True]]]), where="x").tensor.flatten().tolist() == [0, 255]


def test_two_axes_are_features(tmp_path: Path) -> None:
    samples = load(tmp_path, x=np.arange(12.0).reshape(6, 2), y=LABELS)
    assert samples.kind == "features"
    assert samples.arrays is not None
    assert samples.arrays.dtype == torch.float32
    assert samples.arrays.shape == (6, 2)


@pytest.mark.parametrize(
    ("y", "classes", "labels"),
    [
        (["b", "a", "b", "a", "c10", "c9"], ("a", "b", "c9", "c10"), [1, 0, 1, 0, 3, 2]),
        ([1, 2, 1, 2, 10, 10], ("1", "2", "10"), [0, 1, 0, 1, 2, 2]),
        ([True, False, True, False, True, False], ("False", "True"), [1, 0, 1, 0, 1, 0]),
        ([0.0, 1.0, 0.0, 1.0, 2.0, 2.0], ("0", "1", "2"), [0, 1, 0, 1, 2, 2]),
        (np.eye(3, dtype=int)[[0, 1, 0, 1, 2, 2]], ("0", "1", "2"), [0, 1, 0, 1, 2, 2]),
        (np.array([[0], [1], [0], [1], [2], [2]]), ("0", "1", "2"), [0, 1, 0, 1, 2, 2]),
        (np.array([b"b", b"a", b"b", b"a", b"b", b"a"]), ("a", "b"), [1, 0, 1, 0, 1, 0]),
    ],
)
def test_sound_labels_of_any_form_become_class_ids(
    tmp_path: Path, y: Any, classes: tuple[str, ...], labels: list[int]
) -> None:
    samples = load(tmp_path, x=GREY, y=y)
    assert samples.classes == classes
    assert samples.labels.tolist() == labels


def test_class_names_in_the_file_are_used(tmp_path: Path) -> None:
    samples = load(tmp_path, x=GREY, y=LABELS, classes=np.array(["cat", "dog"]))
    assert samples.classes == ("cat", "dog")
