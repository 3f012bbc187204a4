"""From a source to stores: what is decided and said, what never changes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainwell.data.pairs import Pair, join_pairs
from trainwell.data.prepare import DataSpec, Prepared, prepare
from trainwell.data.samples import Scale, infer_source
from trainwell.data.store import Store
from trainwell.data.stream import StreamStore
from trainwell.errors import DataInvalid, FilesInvalid, NameUnknown, OptionInvalid


def pixels(seed: int, height: int = 12, width: int = 12, channels: int = 3) -> np.ndarray:
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(path: Path, seed: int, **size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, **size)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for seed in range(20):
        picture(root / ("cat" if seed % 2 else "dog") / f"{seed:02}.png", seed)
    return root


@pytest.mark.parametrize(("size", "color"), [("keep", "auto"), (8, "grey")])
def test_the_scale_of_arrays_survives_their_size_and_colour(size: Any, color: Any) -> None:
    x = np.stack([pixels(seed) for seed in range(24)]) / 255
    spec = DataSpec(image_size=size, color=color)
    assert prepare(spec, seed=0, threads=1, given=(x, np.arange(24) % 2)).scale == Scale(255, is_float=True)


def test_files_have_no_scale_of_arrays(photos: Path) -> None:
    assert ready(photos).scale is None


def ready(root: Path, *, seed: int = 0, threads: int = 1, cache: Path | None = None, **fields: Any) -> Prepared:
    return prepare(DataSpec(source="folder", location=str(root), **fields), seed=seed, threads=threads, cache=cache)


def choice(prepared: Prepared, field: str) -> tuple[Any, str]:
    return next((choice.value, choice.reason) for choice in prepared.choices if choice.field == field)


def inputs(store: Store | StreamStore) -> torch.Tensor:
    assert isinstance(store, Store)
    return store.inputs


def same(one: Prepared, other: Prepared) -> bool:
    parts = zip(one.stores.items(), other.stores.items(), strict=True)
    return all(
        name == twin and torch.equal(inputs(mine), inputs(yours)) and torch.equal(mine.targets, yours.targets)
        for (name, mine), (twin, yours) in parts
    )


def test_a_folder_becomes_three_stores_of_its_own_pixels(photos: Path) -> None:
    prepared = ready(photos)
    assert {name: len(store) for name, store in prepared.stores.items()} == {"train": 14, "val": 2, "test": 4}
    assert prepared.classes == ("cat", "dog")
    assert prepared.input_shape == (3, 12, 12)
    for split, store in prepared.stores.items():
        for index in range(len(store)):
            name = prepared.name(split, index)
            assert name.startswith(prepared.classes[int(store.targets[index])])
            original = np.asarray(Image.open(photos / name))
            assert np.array_equal(inputs(store)[index].permute(1, 2, 0).numpy(), original)


def test_the_result_does_not_depend_on_threads_file_names_or_repetition(photos: Path, tmp_path: Path) -> None:
    first = ready(photos)
    assert same(first, ready(photos, threads=3))
    for number, file in enumerate(sorted(photos.rglob("*.png"), reverse=True)):
        file.rename(file.with_name(f"renamed-{number}.png"))
    renamed = ready(photos)
    assert same(first, renamed)
    assert all(
        first.summary[key] == renamed.summary[key] for key in ("fingerprint", "fingerprints", "membership", "counts")
    )
    assert not same(first, ready(photos, seed=1))


def test_the_summary_is_plain_and_complete(photos: Path) -> None:
    (photos / ".ipynb_checkpoints").mkdir()
    summary = ready(photos).summary
    assert json.loads(json.dumps(summary)) == summary
    assert summary["counts"] == {
        "train": {"cat": 7, "dog": 7},
        "val": {"cat": 1, "dog": 1},
        "test": {"cat": 2, "dog": 2},
    }
    assert summary["samples"] == {"train": 14, "val": 2, "test": 4}
    assert summary["source"] == "folder"
    assert summary["storage"] == "memory"
    assert summary["bad_files"] == []
    assert any(".ipynb_checkpoints" in note for note in summary["notes"])
    assert len(summary["fingerprint"]) == len(summary["membership"]) == 64
    assert "simplejpeg" in summary["decoder"]["jpeg"]
    assert "bilinear" in summary["decoder"]["kernel"]
    assert summary["form"] == {"height": 12, "width": 12, "channels": 3, "resize": "crop"}


def test_small_images_of_one_size_are_kept(photos: Path) -> None:
    assert choice(ready(photos), "data.image_size") == (12, "all images are 12x12, which is small: kept as they are")


def test_small_oblong_images_are_kept_oblong(tmp_path: Path) -> None:
    for seed in range(8):
        picture(tmp_path / "ab"[seed % 2] / f"{seed}.png", seed, height=6, width=10)
    prepared = ready(tmp_path)
    assert prepared.input_shape == (3, 6, 10)
    assert choice(prepared, "data.image_size")[0] == "keep"


def test_mixed_sizes_become_squares_and_the_reason_is_given(tmp_path: Path) -> None:
    for seed in range(8):
        picture(tmp_path / "ab"[seed % 2] / f"{seed}.png", seed, height=100 + seed, width=150)
    prepared = ready(tmp_path)
    assert prepared.input_shape == (3, 64, 64)
    value, reason = choice(prepared, "data.image_size")
    assert value == 64
    assert reason.startswith("images have 8 sizes (median shorter side 103)")
    assert ready(tmp_path, image_size=32, resize="pad").input_shape == (3, 32, 32)
    with pytest.raises(
        DataInvalid, match="image_size=keep needs images of one size, got 8 sizes, such as 150x100 and 150x107"
    ):
        ready(tmp_path, image_size="keep")


def test_small_mixed_icons_are_not_enlarged(tmp_path: Path) -> None:
    for seed in range(8):
        picture(tmp_path / "ab"[seed % 2] / f"{seed}.png", seed, height=20 + seed, width=30)
    assert ready(tmp_path).input_shape == (3, 16, 16)


def test_images_are_grey_only_if_all_are(photos: Path, tmp_path: Path) -> None:
    assert choice(ready(photos), "data.color") == ("rgb", "the images are in colour")
    grey = tmp_path / "grey"
    for seed in range(8):
        picture(grey / "ab"[seed % 2] / f"{seed}.png", seed, channels=1)
    assert ready(grey).input_shape == (1, 12, 12)
    assert ready(grey, color="rgb").input_shape == (3, 12, 12)
    picture(grey / "a" / "colour.png", 99)
    prepared = ready(grey)
    assert prepared.input_shape == (3, 12, 12)
    assert choice(prepared, "data.color")[1] == "8 of 9 images are grey, the others are in colour"


def spoil(root: Path) -> set[str]:
    """Put one file of each kind of badness into the cat folder."""
    whole = (root / "cat" / "01.png").read_bytes()
    bomb = Image.new("1", (9_500, 9_500))
    bomb.save(root / "cat" / "bomb.png")
    (root / "cat" / "short.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "cat" / "text.jpg").write_text("not an image")
    (root / "cat" / "other.jpg").write_bytes((root / "cat" / "03.png").read_bytes())
    (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    Image.fromarray(pixels(50, 64, 64)).save(root / "cat" / "full.jpg")
    cut = (root / "cat" / "full.jpg").read_bytes()
    (root / "cat" / "full.jpg").write_bytes(cut[: len(cut) // 2])
    return {
        f"cat/{name}"
        for name in ("bomb.png", "short.png", "empty.png", "text.jpg", "other.jpg", "gone.png", "full.jpg")
    }


def test_all_bad_files_are_named_at_once(photos: Path) -> None:
    names = spoil(photos)
    with pytest.raises(FilesInvalid) as caught:
        ready(photos)
    assert {str(bad.path.relative_to(photos)) for bad in caught.value.files} == names
    words = str(caught.value)
    assert f"7 of 27 image files in {photos} cannot be used" in words
    assert "leave them out with --skip-bad" in words
    for part in (
        "cat/empty.png is empty (0 bytes)",
        "cat/text.jpg is no image",
        "cat/other.jpg holds a PNG image, not what its ending .jpg says",
        "cat/bomb.png holds more than",
        "cat/gone.png cannot be read",
        "cat/full.jpg is cut short",
        "cat/short.png is cut short",
    ):
        assert part in words


def test_a_file_that_fails_only_in_decoding_is_named_too(photos: Path) -> None:
    whole = bytearray((photos / "cat" / "01.png").read_bytes())
    whole[len(whole) // 2] ^= 255
    (photos / "cat" / "01.png").write_bytes(whole)
    with pytest.raises(FilesInvalid, match=r"1 of 20 image files .*cat/01.png is damaged"):
        ready(photos)
    prepared = ready(photos, skip_bad=True)
    assert sum(prepared.summary["samples"].values()) == 19
    assert prepared.summary["bad_files"][0]["file"] == "cat/01.png"


def test_skipped_files_are_left_out_and_written_down(photos: Path) -> None:
    clean = ready(photos)
    names = spoil(photos)
    prepared = ready(photos, skip_bad=True, image_size=12)
    assert {entry["file"] for entry in prepared.summary["bad_files"]} == names
    assert any("7 bad files were left out: " in note for note in prepared.notes)
    assert sum(prepared.summary["samples"].values()) == 20
    assert prepared.summary["fingerprint"] == clean.summary["fingerprint"]
    for split, store in prepared.stores.items():
        for index in range(len(store)):
            name = prepared.name(split, index)
            assert name.startswith(prepared.classes[int(store.targets[index])])
            assert np.array_equal(inputs(store)[index].permute(1, 2, 0).numpy(), np.asarray(Image.open(photos / name)))


def test_only_bad_files_are_refused_even_when_skipped(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(FilesInvalid, match="2 of 2 image files"):
        ready(tmp_path, skip_bad=True)


def test_many_bad_files_are_counted_beyond_the_first_twenty(photos: Path) -> None:
    for number in range(30):
        (photos / "cat" / f"bad{number:02}.jpg").write_bytes(b"")
    with pytest.raises(FilesInvalid, match=r"cat/bad19.jpg is empty \(0 bytes\); and 10 more") as caught:
        ready(photos)
    assert len(caught.value.files) == 30


def test_a_class_with_one_image_is_refused_by_name(photos: Path) -> None:
    picture(photos / "emu" / "1.png", 77)
    with pytest.raises(DataInvalid, match=r"class 'emu' has 1 \(emu/1.png\)"):
        ready(photos)


def test_training_copies_of_held_out_files_are_left_out(tmp_path: Path) -> None:
    for seed in range(8):
        picture(tmp_path / "train" / "ab"[seed % 2] / f"{seed}.png", seed)
    for seed in (0, 101):
        picture(tmp_path / "val" / "ab"[seed % 2] / f"v{seed}.png", seed)
    prepared = ready(tmp_path)
    assert prepared.summary["left_out"] == [{"sample": "train/a/0.png", "same_as": "val/a/v0.png", "split": "val"}]
    assert prepared.summary["samples"] == {"train": 7, "val": 2}
    assert prepared.stores.test is None
    assert any(
        "1 samples are identical to held-out ones and were left out: train/a/0.png = val/a/v0.png" in n
        for n in prepared.notes
    )


def test_beyond_the_memory_budget_a_pack_on_disk_holds_the_same_images(photos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    packed = ready(photos, cache=cache, memory_gib=1e-6)
    assert packed.summary["storage"].startswith("packs on disk: ")
    assert len(list(cache.glob("*.pack"))) == 3
    assert same(packed, ready(photos))


def test_beyond_the_memory_budget_without_a_cache_is_refused(photos: Path) -> None:
    with pytest.raises(DataInvalid, match=r"over the memory budget of .* GiB, and there is no cache folder"):
        ready(photos, memory_gib=1e-6)


def test_the_budget_is_half_of_what_is_free(photos: Path) -> None:
    value, reason = choice(ready(photos), "data.memory_gib")
    assert value > 0
    assert reason.startswith("half of the ")
    assert reason.endswith("GiB of memory that is free")


def test_decoding_reports_its_progress(photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    spec = DataSpec(source="folder", location=str(photos))
    prepare(spec, seed=0, threads=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)


def test_arrays_are_resized_and_recoloured_like_files(photos: Path) -> None:
    x = np.stack([pixels(seed) for seed in range(20)])
    y = np.array(["cat" if seed % 2 else "dog" for seed in range(20)])
    from_files = ready(photos, image_size=6, color="rgb")
    from_arrays = prepare(DataSpec(image_size=6), given=(x, y), seed=0, threads=2)
    assert from_arrays.input_shape == from_files.input_shape == (3, 6, 6)
    rows = {int(row): (split, index) for split, found in from_arrays.rows.items() for index, row in enumerate(found)}
    for split, store in from_files.stores.items():
        for index in range(len(store)):
            seed = int(Path(from_files.name(split, index)).stem)
            other, place = rows[seed]
            assert torch.equal(inputs(getattr(from_arrays.stores, other))[place], inputs(store)[index])
    assert prepare(DataSpec(color="grey"), given=(x, y), seed=0, threads=1).input_shape == (1, 12, 12)
    grey = inputs(prepare(DataSpec(color="rgb"), given=(x[..., 0], y), seed=0, threads=1).stores.train)
    assert grey.shape[1] == 3
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_other_channels_can_only_be_kept() -> None:
    x = torch.rand(20, 5, 8, 8)
    y = torch.arange(20) % 2
    samples = join_pairs([Pair("", x, y)], layout="NCHW")
    assert prepare(DataSpec(), given=samples, seed=0, threads=1).input_shape == (5, 8, 8)
    with pytest.raises(DataInvalid, match="images of 5 channels can only be kept as they are"):
        prepare(DataSpec(color="rgb"), given=samples, seed=0, threads=1)


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        (DataSpec(source="folder", location="/no/such/place"), DataInvalid, "/no/such/place does not exist"),
        (DataSpec(source="folder"), DataInvalid, "the source folder reads a folder .*: give its path as location"),
        (
            DataSpec(val_fraction=0.5, test_fraction=0.5),
            DataInvalid,
            "leave nothing to train on: their sum must",
        ),
        (DataSpec(source="points", image_size=32), DataInvalid, "features of 2 numbers, not images: image_size=32"),
        (DataSpec(source="digit"), NameUnknown, r"no source is called 'digit': did you mean 'digits'\?"),
        (
            DataSpec(source="points", options={"knid": "xor"}),
            OptionInvalid,
            r"points has no option 'knid': did you mean 'kind'\?",
        ),
        (
            DataSpec(source="points", options={"kind": "moon"}),
            OptionInvalid,
            "points:kind must be one of 'moons', 'circles'",
        ),
    ],
)
def test_a_wrong_spec_is_refused_with_its_cure(spec: DataSpec, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prepare(spec, seed=0, threads=1)


def test_a_users_words_find_their_source(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", x=0)
    (tmp_path / "t.CSV").write_text("a,b\n")
    monkeypatch.chdir(tmp_path)

    def found(text: str) -> tuple[str, str]:
        return infer_source(text)[:2]

    assert found("digits") == ("digits", "")
    assert found("points:kind=moons,noise=0.2") == ("points", "")
    assert found("photos/") == ("folder", "photos")
    assert found("a.npz:layout=NHWC") == ("arrays", "a.npz")
    assert found("t.CSV") == ("table", "t.CSV")
    assert found("idx:photos") == ("idx", "photos")
    (tmp_path / "digits").mkdir()
    assert "write ./digits" in infer_source("digits").reason
    assert found("./digits") == ("folder", "digits")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("photo", "there is no file, folder or built-in source called 'photo': did you mean 'photos'?"),
        ("digit", "did you mean 'digits'?"),
        ("photoss/cat", "did you mean 'photos'?"),
        ("xyz", "holds nothing like it. Give the path of"),
        ("notes.txt", "no source reads the file notes.txt: give the path of"),
        (
            "folder",
            "the source folder reads a folder with one sub-folder of images a class: write its path, or folder:PATH",
        ),
        ("", "no source of data is named"),
    ],
)
def test_words_that_name_nothing_get_a_guess(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "notes.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataInvalid) as caught:
        infer_source(text)
    assert words in str(caught.value)
