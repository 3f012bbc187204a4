"""Files, bytes, images and arrays of every kind get the network's own answers; what cannot be used is named."""

import io
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainwell.classifier import Classifier, classifier
from trainwell.data.decode import decode_bytes
from trainwell.data.resize import ImageForm
from trainwell.data.samples import Scale
from trainwell.errors import DataInvalid, FilesInvalid, OptionInvalid, ShapeError

from .conftest import CLASSES, Saved, encoded, photo

Make = Callable[..., Saved]


@pytest.fixture
def made(saved: Make) -> Saved:
    return saved()


@pytest.fixture
def clf(made: Saved) -> Classifier:
    return made.load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of different size and kind, one of them in a folder below, beside a hidden one and a text."""
    place = tmp_path / "pictures"
    (place / "below").mkdir(parents=True)
    (place / "b.jpg").write_bytes(encoded(photo(40, 60), "JPEG", quality=95))
    (place / "a.PNG").write_bytes(encoded(photo(16, 12)))
    (place / "below" / "c.png").write_bytes(encoded(photo()[..., 0]))
    (place / ".hidden.png").write_bytes(b"none of it is read")
    (place / "notes.txt").write_text("none of it is read")
    return place


def answers(made: Saved, *images: np.ndarray) -> np.ndarray:
    """What the trained network says of images in their final form, computed without the classifier."""
    rows = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    scores = made.logits(rows).double()
    return (scores.exp() / scores.exp().sum(1, keepdim=True)).numpy()


def by_decoder(made: Saved, *files: bytes) -> np.ndarray:
    assert made.contract.form is not None
    return answers(made, *(decode_bytes(data, made.contract.form) for data in files))


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5) -> bool:
    return got.shape == want.shape and bool(np.abs(got - want).max() <= tolerance)


def test_a_folder_gives_all_images_below_it_by_name(made: Saved, clf: Classifier, folder: Path) -> None:
    got = clf.predict(folder)
    files = [folder / "a.PNG", folder / "b.jpg", folder / "below" / "c.png"]
    assert got.names == tuple(map(str, files))
    assert got.classes == CLASSES
    assert got.probabilities.dtype == np.float32
    assert close(got.probabilities, by_decoder(made, *(file.read_bytes() for file in files)))
    assert np.allclose(got.probabilities.sum(1), 1, atol=1e-6)


def test_answers_do_not_depend_on_the_batch_size(clf: Classifier, folder: Path) -> None:
    paths = sorted(folder.rglob("*.png")) + [folder / "b.jpg"] * 40
    paths = [path for path in paths if not path.name.startswith(".")]
    whole = clf.predict(paths)
    for size in (1, 7, 41):
        got = clf.predict(paths, batch_size=size)
        assert got.names == whole.names
        assert close(got.probabilities, whole.probabilities)


def test_a_path_its_bytes_and_a_list_of_both_give_the_same(clf: Classifier, folder: Path) -> None:
    path = folder / "b.jpg"
    one = clf.predict(path)
    mixed = clf.predict([str(path), path.read_bytes(), bytearray(path.read_bytes()), folder / "below"])
    assert one.names == (str(path),)
    assert mixed.names == (str(path), "row 1", "row 2", str(folder / "below" / "c.png"))
    for row in range(3):
        assert close(mixed.probabilities[row], one.probabilities[0])


def test_paths_may_come_one_by_one(clf: Classifier, folder: Path) -> None:
    assert len(clf.predict(path for path in folder.glob("[ab].*"))) == 2


def test_a_link_back_up_is_not_followed_for_ever(clf: Classifier, folder: Path) -> None:
    (folder / "below" / "loop").symlink_to(folder)
    assert len(clf.predict(folder)) == 3


def test_a_pillow_image_is_answered_as_its_file_even_twice_in_a_list(made: Saved, clf: Classifier) -> None:
    data = encoded(photo())
    image = Image.open(io.BytesIO(data))
    got = clf.predict([image] * 9)
    assert close(got.probabilities, np.repeat(by_decoder(made, data), 9, axis=0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_file_or_pillow_image_is_turned_upright(clf: Classifier, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = photo()
    stored = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.swapaxes(0, 1), 6: np.rot90(pixels, 1), 7: pixels[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(pixels, 3),
    }[orientation]  # fmt: skip
    data = encoded(np.ascontiguousarray(stored), "PNG", exif=exif)
    got = clf.predict([data, Image.open(io.BytesIO(data)), pixels])
    assert close(got.probabilities[0], got.probabilities[2])
    assert close(got.probabilities[1], got.probabilities[2])


def test_tiny_huge_grey_deep_transparent_and_animated_files_are_answered(made: Saved, clf: Classifier) -> None:
    deep = (photo()[..., 0].astype(np.uint16)) * 257
    first, second = Image.fromarray(photo()), Image.fromarray(photo()[::-1].copy())
    clear = np.dstack([photo(), np.full((20, 30), 255, np.uint8)])
    files = {
        "tiny": encoded(photo(1, 1) + np.uint8(90)),
        "huge": encoded(photo(3000, 4000), "JPEG", quality=90),
        "grey": encoded(photo()[..., 0]),
        "deep": encoded(deep),
        "clear": encoded(clear),
        "moving": encoded(first, "GIF", save_all=True, append_images=[second]),
    }
    got = clf.predict(list(files.values()))
    assert close(got.probabilities, by_decoder(made, *files.values()))
    place = list(files).index
    assert close(got.probabilities[place("deep")], got.probabilities[place("grey")])
    assert close(got.probabilities[place("clear")], clf.predict(photo()).probabilities[0])
    assert close(got.probabilities[place("moving")], clf.predict(files["moving"]).probabilities[0])


def test_of_an_animated_file_the_first_frame_counts(clf: Classifier) -> None:
    frames = [Image.fromarray(photo()), Image.fromarray(photo()[::-1].copy())]
    moving = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert close(clf.predict(moving).probabilities, clf.predict(encoded(photo())).probabilities)


def test_all_files_that_cannot_be_used_are_named_at_once(clf: Classifier, folder: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no image")
    whole = (folder / "b.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[:-60])
    (folder / "phone.heic").write_bytes(b"\x00\x00\x00 ftypheic")
    with pytest.raises(FilesInvalid, match=r"4 of 7 image files cannot be used: ") as caught:
        clf.predict(folder, batch_size=2)
    for words in ("cut.jpg is cut short", "empty.png is empty (0 bytes)", "phone.heic is no image", "text.jpg is no"):
        assert words in str(caught.value)
    assert "skip_bad=True" in str(caught.value)
    assert len(caught.value.files) == 4


def test_bad_files_are_left_out_where_that_is_asked_for_and_stay_named(
    made: Saved, clf: Classifier, folder: Path
) -> None:
    (folder / "b0.png").write_bytes(b"")
    got = clf.predict(folder, skip_bad=True, batch_size=2)
    assert [Path(name).name for name in got.names] == ["a.PNG", "b.jpg", "c.png"]
    assert [str(bad) for bad in got.skipped] == [f"{folder / 'b0.png'} is empty (0 bytes)"]
    assert close(got.probabilities[1:2], by_decoder(made, (folder / "b.jpg").read_bytes()))
    assert "1 file was left out" in str(got)


def test_nothing_but_bad_files_is_an_error_even_then(clf: Classifier, tmp_path: Path) -> None:
    with pytest.raises(FilesInvalid, match=r"1 of 1 image files cannot be used: .*gone\.png cannot be read \(No such"):
        clf.predict(tmp_path / "gone.png", skip_bad=True)


def test_a_name_with_a_zero_byte_is_named_as_bad(clf: Classifier) -> None:
    with pytest.raises(FilesInvalid, match=r"cannot be read \(embedded null byte\)"):
        clf.predict("a\0.png")


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0broken"])
def test_bytes_that_are_no_image_are_named_by_their_row(clf: Classifier, content: bytes) -> None:
    with pytest.raises(FilesInvalid, match=r"1 of 2 image files cannot be used: row 1 (is|cannot)"):
        clf.predict([encoded(photo()), content])


def test_an_empty_folder_says_what_it_holds_instead(clf: Classifier, tmp_path: Path) -> None:
    place = tmp_path / "empty"
    place.mkdir()
    with pytest.raises(DataInvalid, match=r"empty holds no images, no files at all: read are \.jpg"):
        clf.predict(place)
    (place / "a.txt").touch()
    with pytest.raises(DataInvalid, match=r"empty holds no images, only 1 other file \(a\.txt\)"):
        clf.predict([place])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], r"there is nothing to answer for, the list is empty: give a path, a folder"),
        (None, r"a classifier takes a path, a folder, .*, got NoneType"),
        (3, r"got int"),
        ({"a": 1}, r"got dict"),
        ([None], r"row 0 of the list is of type NoneType"),
        (np.zeros((0, 16, 12, 3), np.uint8), r"\(0, 16, 12, 3\): it holds no samples"),
        (np.full((4, 4), np.nan), r"the array holds 16 values that are NaN or Inf"),
        (np.full((4, 4), -3), r"int64 values from -3 to -3, and this classifier takes arrays of uint8 from 0 to 255"),
        (np.full((4, 4), 300), r"int64 values from 300 to 300, .* of uint16 from 0 to 65535"),
        (np.full((4, 4), 0.5), r"float64 values from 0\.5 to 0\.5, .*trained on files.*bring floats from 0 to 1 to"),
        ([np.full((4, 4), 0.5)], r"row 0 holds float64 values from 0\.5 to 0\.5, and this classifier takes arrays of"),
        (np.zeros((4, 4), complex), r"must hold whole numbers or floats"),
    ],
)
def test_what_is_no_input_is_refused_in_words(clf: Classifier, inputs: object, words: str) -> None:
    with pytest.raises(DataInvalid, match=words):
        clf.predict(inputs)


@pytest.mark.parametrize("shape", [(5,), (2, 7, 9, 8), (1, 2, 3, 4, 5)])
def test_arrays_of_other_shapes_are_refused_in_words(clf: Classifier, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="has shape"):
        clf.predict(np.zeros(shape, np.uint8))


def test_many_images_in_one_place_of_a_list_are_refused(clf: Classifier) -> None:
    with pytest.raises(ShapeError, match=r"row 1 of the list has shape .*, which is more than one image"):
        clf.predict([photo(), np.stack([photo()] * 2)])


LAYOUTS: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy (N, H, W, C)": lambda batch: batch,
    "numpy (N, C, H, W)": lambda batch: batch.transpose(0, 3, 1, 2),
    "tensor (N, C, H, W)": lambda batch: torch.from_numpy(batch).permute(0, 3, 1, 2),
    "tensor, contiguous": lambda batch: torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(),
    "a list of images": lambda batch: list(batch),
    "a list of tensors": lambda batch: [torch.from_numpy(image).permute(2, 0, 1) for image in batch],
    "whole numbers": lambda batch: batch.astype(np.int64),
    "16 bits": lambda batch: batch.astype(np.uint16) * np.uint16(257),
    "with an opaque fourth channel": lambda batch: np.concatenate([batch, np.full_like(batch[..., :1], 255)], axis=3),
    "read-only": lambda batch: np.frombuffer(batch.tobytes(), np.uint8).reshape(batch.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(16, 12), (20, 30)], ids=["final size", "another size"])
def test_one_batch_in_any_layout_and_number_type_gives_the_same(
    made: Saved, clf: Classifier, layout: str, size: tuple[int, int]
) -> None:
    batch = np.stack([photo(*size), 255 - photo(*size), np.ascontiguousarray(photo(*size)[::-1])])
    got = clf.predict(LAYOUTS[layout](batch))
    want = by_decoder(made, *map(encoded, batch))
    assert got.names == ("row 0", "row 1", "row 2")
    assert close(got.probabilities, want)


TRAINED: dict[str, tuple[Scale | None, Callable[[np.ndarray], np.ndarray]]] = {
    "files, 8 bits": (None, lambda levels: levels),
    "files, 16 bits": (None, lambda levels: levels.astype(np.uint16) * np.uint16(257)),
    "floats to 1": (Scale(255, is_float=True), lambda levels: levels / np.float32(255)),
    "floats to 255": (Scale(1, is_float=True), lambda levels: levels.astype(np.float64)),
    "floats to 16": (Scale(255 / 16, is_float=True), lambda levels: levels / (255 / 16)),
    "8 bits": (Scale(1, is_float=False), lambda levels: levels),
    "8 bits in 64": (Scale(1, is_float=False), lambda levels: levels.astype(np.int64)),
    "16 bits": (Scale(1 / 257, is_float=False), lambda levels: levels.astype(np.uint16) * np.uint16(257)),
}


@pytest.mark.parametrize(
    ("trained", "dtype"),
    [(name, dtype) for name in TRAINED for dtype in ("uint8", "float32") if name[:5] != "files"]
    + [("files, 8 bits", "uint8"), ("files, 16 bits", "uint8")],
)
@pytest.mark.parametrize("bright", [0.004, 0.1, 1.0], ids=["nearly black", "dark", "bright"])
def test_how_bright_an_image_is_does_not_change_its_scale(saved: Make, trained: str, bright: float, dtype: str) -> None:
    scale, as_given = TRAINED[trained]
    made = saved(model="mlp:hidden=[8]", scale=scale, dtype=dtype)
    levels = (photo(16, 12) * bright).astype(np.uint8)
    want = made.logits(torch.from_numpy(levels[None]).permute(0, 3, 1, 2).to(getattr(torch, dtype))).softmax(1).numpy()
    got = made.load().predict(as_given(levels[None]))
    assert close(got.probabilities, want, tolerance=1e-4)
    one = made.load().predict([as_given(levels)])
    assert close(one.probabilities, want, tolerance=1e-4)


def test_an_image_of_all_nine_tenths_stays_dark_after_training_on_floats_to_255(saved: Make) -> None:
    made = saved(form=ImageForm(16, 12, 1), dtype="float32", scale=Scale(1, is_float=True))
    rows = np.full((1, 16, 12), 0.9, np.float32)
    want = made.logits(torch.full((1, 1, 16, 12), 0.9)).softmax(1).numpy()
    assert close(made.load().predict(rows).probabilities, want)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("scale", "array", "words"),
    [
        (Scale(255, is_float=True), np.full((16, 12), 1.5), r"from 1\.5 to 1\.5, .* takes numbers from 0 to 1, as the"),
        (Scale(255, is_float=True), photo(16, 12), r"uint8 values from 0 to \d+, .* takes numbers from 0 to 1, as the"),
        (
            Scale(255 / 16, is_float=True),
            np.full((16, 12), 17),
            r"takes numbers from 0 to 16, .*multiplied by 15\.9375",
        ),
        (Scale(1, is_float=True), np.full((16, 12), 256.0), r"takes numbers from 0 to 255, as the arrays that it was"),
        (Scale(1, is_float=True), np.full((16, 12), -0.1), r"from -0\.1 to -0\.1, .* takes numbers from 0 to 255"),
        (
            Scale(1, is_float=True),
            np.ones((16, 12), bool),
            r"holds bool values from 0 to 1|holds bool values from 1 to 1",
        ),
        (
            Scale(1, is_float=False),
            np.full((16, 12), 0.9),
            r"holds float64 values .* takes whole numbers from 0 to 255",
        ),
        (Scale(1, is_float=False), np.full((16, 12), 300), r"from 300 to 300, .* takes whole numbers from 0 to 255"),
        (Scale(1 / 257, is_float=False), np.full((16, 12), 9, np.uint8), r"takes uint16 from 0 to 65535.*give image f"),
    ],
)
def test_numbers_that_training_arrays_could_not_have_held_are_refused(
    saved: Make, dtype: str, scale: Scale, array: np.ndarray, words: str
) -> None:
    clf = saved(form=ImageForm(16, 12, 3 if array.ndim == 3 else 1), model="logistic", scale=scale, dtype=dtype).load()
    with pytest.raises(DataInvalid, match=words) as caught:
        clf.predict(array)
    assert "\n" not in str(caught.value)


def test_files_are_answered_after_training_on_arrays_of_any_scale(saved: Make) -> None:
    made = saved(scale=Scale(255 / 16, is_float=True))
    assert close(made.load().predict(encoded(photo())).probabilities, by_decoder(made, encoded(photo())))


def test_true_and_false_are_white_and_black_as_in_a_file_of_one_bit(saved: Make) -> None:
    made = saved(form=ImageForm(16, 12, 1))
    mask = photo(16, 12)[..., 0] > 90
    want = answers(made, np.where(mask, 255, 0).astype(np.uint8)[..., None])
    assert close(made.load().predict(mask).probabilities, want)


@pytest.mark.parametrize("array", [np.full((2, 3, 16, 12), 0.5), np.full((2, 3, 16, 12), 300)])
def test_streamed_bytes_are_not_made_of_floats_or_of_more_than_a_byte(saved: Make, array: np.ndarray) -> None:
    made = saved(form=None, shape=(3, 16, 12), dtype="uint8", is_streamed=True, scale=Scale(1, is_float=False))
    with pytest.raises(DataInvalid, match=r"takes whole numbers from 0 to 255"):
        made.load().predict(array)
    whole = (array * 2 % 256).astype(np.uint8)
    assert close(made.load().predict(whole).probabilities, made.logits(torch.from_numpy(whole)).softmax(1).numpy())


def test_streamed_floats_to_one_are_scaled_as_in_training(saved: Make) -> None:
    made = saved(form=None, shape=(3, 16, 12), is_streamed=True, scale=Scale(255, is_float=True))
    rows = torch.rand(4, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    assert close(made.load().predict(rows).probabilities, made.logits(rows * 255).softmax(1).numpy())
    assert close(made.load().predict_levels(rows * 255).probabilities, made.logits(rows * 255).softmax(1).numpy())


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_one_grey_image_is_answered_as_its_file(
    made: Saved, clf: Classifier, shape: tuple[int, ...], kind: type
) -> None:
    grey = photo()[..., 0]
    pixels = (grey if kind is np.uint8 else grey.astype(np.uint16) * 257).reshape(shape)
    assert close(clf.predict(pixels).probabilities, by_decoder(made, encoded(grey)))


def test_many_grey_images_are_told_from_one_in_colour(saved: Make) -> None:
    clf = saved(form=ImageForm(16, 12, 1)).load()
    assert len(clf.predict(np.zeros((7, 16, 12), np.uint8))) == 7
    assert len(clf.predict(np.zeros((7, 16, 3), np.uint8))) == 1
    assert len(clf.predict(torch.zeros(3, 16, 12, dtype=torch.uint8))) == 1


def test_colour_for_a_grey_classifier_becomes_its_luma(saved: Make) -> None:
    made = saved(form=ImageForm(16, 12, 1))
    luma = (photo(16, 12) @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
    got = made.load().predict([encoded(photo(16, 12)), photo(16, 12)]).probabilities
    assert close(got, np.repeat(answers(made, luma[..., None]), 2, axis=0), tolerance=2e-2)
    assert close(got[0], got[1])


@pytest.mark.parametrize("policy", ["crop", "pad", "stretch"])
def test_each_policy_is_the_one_of_training(saved: Make, policy: Any) -> None:
    made = saved(form=ImageForm(16, 12, 3, policy))
    assert close(made.load().predict(photo(50, 20)).probabilities, by_decoder(made, encoded(photo(50, 20))))


def test_an_image_too_long_and_thin_is_named(clf: Classifier) -> None:
    with pytest.raises(FilesInvalid, match=r"row 0 is 20000000x1, too long and thin"):
        clf.predict(np.zeros((1, 20_000_000), np.uint8))


def test_features_are_answered_as_an_array_a_list_or_one_row(saved: Make) -> None:
    made = saved(form=None, shape=(4,), model="mlp:hidden=[8]")
    clf, rows = made.load(), torch.randn(6, 4, generator=torch.Generator().manual_seed(1)) * 50
    want = made.logits(rows).softmax(1).numpy()
    for inputs in (rows, rows.numpy(), rows.tolist(), list(rows), rows.double().numpy()):
        assert close(clf.predict(inputs).probabilities, want)
    assert close(clf.predict(rows[0]).probabilities, want[:1])
    assert clf.predict(rows, batch_size=4).names == tuple(f"row {row}" for row in range(6))


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        (
            np.zeros((3, 5)),
            ShapeError,
            r"shape \(3, 5\), and this classifier takes samples of shape \(4,\): .*\(N, 4\)",
        ),
        ("a.png", DataInvalid, r"trained on features, so how a file becomes a sample is not known: .*\(N, 4\)"),
        (np.full((2, 4), np.inf), DataInvalid, "NaN or Inf"),
        ([[1, 2, 3, 4], [1, 2]], ShapeError, "the 2 samples differ in shape"),
        (["x" * 3, 4], DataInvalid, "trained on features"),
    ],
)
def test_what_is_no_feature_row_is_refused_in_words(
    saved: Make, inputs: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        saved(form=None, shape=(4,), model="mlp").load().predict(inputs)


def test_float_images_are_scaled_and_resized_as_training_arrays_are(saved: Make) -> None:
    made = saved(form=ImageForm(16, 12, 1), dtype="float32", scale=Scale(255, is_float=True))
    clf = made.load()
    rows = np.random.default_rng(0).random((3, 16, 12)).astype(np.float32)  # finer than uint8 on the scale 0 to 1
    want = made.logits(torch.from_numpy(rows[:, None] * 255)).softmax(1).numpy()
    assert close(clf.predict(rows).probabilities, want)
    assert close(clf.predict(rows[0]).probabilities, want[:1])
    flat = np.full((2, 40, 50), 0.1234, np.float32)
    steady = made.logits(torch.full((2, 1, 16, 12), 0.1234 * 255)).softmax(1).numpy()
    assert close(clf.predict(flat).probabilities, steady)
    with pytest.raises(DataInvalid, match=r"trained on arrays of floats, so how a file becomes a sample is not known"):
        clf.predict("a.png")
    with pytest.raises(ShapeError, match=r"images of 3 channels, and this classifier was trained on float images of 1"):
        clf.predict(np.zeros((2, 16, 12, 3), np.float32))


def test_images_that_were_streamed_are_taken_as_they_are(saved: Make) -> None:
    made = saved(form=None, shape=(3, 16, 12), is_streamed=True)
    rows = torch.rand(4, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    want = made.logits(rows).softmax(1).numpy()
    assert close(made.load().predict(rows).probabilities, want)
    assert close(made.load().predict(rows.permute(0, 2, 3, 1).numpy()).probabilities, want)


def test_images_of_many_channels_come_in_one_form_only(saved: Make) -> None:
    made = saved(form=None, shape=(5, 9, 8), dtype="uint8")
    rows = torch.randint(0, 256, (4, 5, 9, 8), dtype=torch.uint8)
    want = made.logits(rows).softmax(1).numpy()
    assert close(made.load().predict(rows).probabilities, want)
    assert close(made.load().predict(rows.permute(0, 2, 3, 1).numpy()).probabilities, want)
    with pytest.raises(ShapeError, match=r"takes samples of shape \(5, 9, 8\)"):
        made.load().predict(rows[:, :, :8])


def test_below_the_threshold_the_answer_is_dont_know(clf: Classifier) -> None:
    everything = clf.predict(photo())
    assert everything.labels == [CLASSES[int(everything.indices[0])]]
    assert clf.predict(photo(), threshold=1.0).labels == [None]
    assert clf.predict(photo(), threshold=float(everything.confidences[0])).labels == everything.labels


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), True])
def test_a_threshold_that_is_no_confidence_is_refused(clf: Classifier, threshold: float) -> None:
    with pytest.raises(OptionInvalid, match=r"threshold is a confidence from 0 to 1, got"):
        clf.predict(photo(), threshold=threshold)


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_batch_size_that_is_no_number_of_samples_is_refused(clf: Classifier, size: Any) -> None:
    with pytest.raises(OptionInvalid, match=r"batch_size must be a whole number >= 1, got"):
        clf.predict(photo(), batch_size=size)


def test_large_images_are_computed_in_small_pieces(
    clf: Classifier, made: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = Classifier.logits

    def watched(self: Classifier, samples: Tensor) -> Tensor:
        sizes.append(len(samples))
        return real(self, samples)

    monkeypatch.setattr(Classifier, "logits", watched)
    monkeypatch.setattr(classifier, "MOST_VALUES", 2 * 3 * 16 * 12)
    batch = np.stack([photo()] * 5)
    assert close(clf.predict(batch).probabilities, by_decoder(made, *map(encoded, batch)))
    assert sizes == [2, 2, 1]


def test_no_thread_is_left_behind_and_no_warning_filter_either(clf: Classifier, folder: Path) -> None:
    before = list(warnings.filters)
    (folder / "bad.png").write_bytes(b"x")
    with pytest.raises(FilesInvalid):
        clf.predict(folder)
    assert warnings.filters == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
