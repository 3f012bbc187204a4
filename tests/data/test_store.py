"""Samples that lie ready: in memory or in a pack on disk, and nothing half-written when it cannot be."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainwell.data import store as store_module
from trainwell.data.pack import draft_pack, open_pack, pack_path
from trainwell.data.resize import ImageForm
from trainwell.data.store import Room, Store, store_images
from trainwell.errors import DataInvalid, ShapeError

FORM = ImageForm(8, 8, 3)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{n}.png" for n in range(6)]
    for n, path in enumerate(paths):
        Image.new("RGB", (8, 8), (n, 10 * n, 100)).save(path)
    return paths


TARGETS = np.arange(6)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_images_are_gathered_in_channels_last_memory(files: list[Path]) -> None:
    store, bad = store_images(files, TARGETS, FORM, room=Room(), fingerprint="f")
    assert store is not None
    assert not bad
    assert store.pack is None
    assert len(store) == 6
    assert store.inputs.shape == (6, 3, 8, 8)
    assert store.inputs.is_contiguous(memory_format=torch.channels_last)
    batch = store.gather(torch.tensor([4, 1]))
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert batch.inputs.dtype == torch.uint8
    assert batch.inputs[:, 1, 0, 0].tolist() == [40, 10]
    assert batch.targets.tolist() == [4, 1] == batch.index.tolist()
    batch.inputs.zero_()
    assert store.inputs[4, 1, 0, 0] == 40


def test_features_keep_their_shape() -> None:
    store = Store.of_features(torch.arange(12.0).view(4, 3), torch.zeros(4, dtype=torch.int64))
    assert store.gather(torch.tensor([3])).inputs.tolist() == [[9.0, 10.0, 11.0]]


def test_wrong_shapes_are_said() -> None:
    with pytest.raises(ShapeError, match=r"images must be \(N, H, W, C\) uint8 or float32, got \(2, 8, 8\)"):
        Store.of_images(np.zeros((2, 8, 8), np.uint8), np.zeros(2, np.int64))
    with pytest.raises(ShapeError, match=r"targets must be \(N,\) int64 with N = 2 inputs, got \(3,\)"):
        Store.of_images(np.zeros((2, 8, 8, 1), np.uint8), np.zeros(3, np.int64))
    with pytest.raises(ShapeError, match=r"features must be \(N, ...\) float32, got \(2, 3\) torch.float64"):
        Store.of_features(np.zeros((2, 3)), np.zeros(2, np.int64))


def test_beyond_the_memory_budget_the_same_samples_lie_in_a_pack(files: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    inside, _ = store_images(files, TARGETS, FORM, room=Room(), fingerprint="f")
    outside, _ = store_images(files, TARGETS, FORM, room=Room(100, cache), fingerprint="f", threads=2)
    assert inside is not None
    assert outside is not None
    assert outside.pack is not None
    assert names(cache) == [outside.pack.name]
    assert torch.equal(inside.inputs, outside.inputs)
    assert torch.equal(outside.gather(torch.tensor([5, 0])).inputs, inside.gather(torch.tensor([5, 0])).inputs)


def test_a_pack_is_used_again_for_the_same_content_only(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, calls = tmp_path / "cache", []
    decode = store_module.decode_into
    monkeypatch.setattr(store_module, "decode_into", lambda *a, **k: calls.append(1) or decode(*a, **k))
    for fingerprint, form in [("f", FORM), ("f", FORM), ("g", FORM), ("f", ImageForm(8, 8, 3, "pad")), ("g", FORM)]:
        store_images(files, TARGETS, form, room=Room(100, cache), fingerprint=fingerprint)
    assert len(calls) == 3
    assert len(names(cache)) == 3


def test_writing_to_a_packs_tensor_does_not_reach_the_file(files: list[Path], tmp_path: Path) -> None:
    room = Room(100, tmp_path / "cache")
    store, _ = store_images(files, TARGETS, FORM, room=room, fingerprint="f")
    assert store is not None
    store.inputs.zero_()
    again, _ = store_images(files, TARGETS, FORM, room=room, fingerprint="f")
    assert again is not None
    assert again.inputs[3, 1, 0, 0] == 30


@pytest.mark.parametrize("memory", [None, 100])
def test_bad_files_leave_nothing_behind_unless_they_are_skipped(
    files: list[Path], tmp_path: Path, memory: int | None
) -> None:
    cache = tmp_path / "cache"
    files[1].write_bytes(b"")
    files[4].write_bytes(b"hello")
    room = Room(memory, cache)
    store, bad = store_images(files, TARGETS, FORM, room=room, fingerprint="f")
    assert store is None
    assert [fault.path for fault in bad] == [files[1], files[4]]
    assert names(cache) == []
    for _ in range(2):  # decoded, then from the pack
        store, bad = store_images(files, TARGETS, FORM, room=room, fingerprint="f", skip_bad=True)
        assert store is not None
        assert [fault.path for fault in bad] == [files[1], files[4]]
        assert bad[0].reason == "is empty (0 bytes)"
        assert store.targets.tolist() == [0, 2, 3, 5]
        assert store.inputs[:, 0, 0, 0].tolist() == [0, 2, 3, 5]
    store, bad = store_images(files, TARGETS, FORM, room=room, fingerprint="f")
    assert store is None
    assert len(bad) == 2


def test_if_every_file_is_bad_that_is_an_error(files: list[Path]) -> None:
    for path in files:
        path.write_bytes(b"")
    with pytest.raises(DataInvalid, match="none of the 6 files can be used"):
        store_images(files, TARGETS, FORM, room=Room(), fingerprint="f", skip_bad=True)


def test_without_a_cache_folder_the_budget_is_a_limit(files: list[Path]) -> None:
    with pytest.raises(DataInvalid, match=r"6 images of 8x8 take 0.00 GiB, over the memory budget .* no cache folder"):
        store_images(files, TARGETS, FORM, room=Room(100), fingerprint="f")


def test_a_full_disk_is_said_before_anything_is_decoded(files: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(
            DataInvalid, match=r"has no room for them .*: free space, name a cache folder on another disk"
        ):
            store_images(files, TARGETS, FORM, room=Room(100, cache), fingerprint="f")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(cache) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "has no room for them"), (errno.EROFS, "cannot be written to .*Read-only file system")],
)
def test_a_disk_that_refuses_leaves_nothing_half_written(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    cache = tmp_path / "cache"
    for call in ("fsync", "replace", "posix_fallocate"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            with pytest.raises(DataInvalid, match=words):
                store_images(files, TARGETS, FORM, room=Room(100, cache), fingerprint="f")
        assert names(cache) == []


def test_a_cache_folder_that_cannot_be_made_is_said(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(
        DataInvalid, match=r"cannot be written to .*taken.*: name a cache folder that can be written to"
    ):
        store_images(files, TARGETS, FORM, room=Room(100, tmp_path / "taken" / "cache"), fingerprint="f")


def test_a_damaged_pack_is_never_read_but_made_again(files: list[Path], tmp_path: Path) -> None:
    room = Room(100, tmp_path / "cache")
    store, _ = store_images(files, TARGETS, FORM, room=room, fingerprint="f")
    assert store is not None
    assert store.pack is not None
    whole = store.pack.read_bytes()
    for damaged in (whole[:-1], whole[1:], whole + b"x", whole[:-60] + b"?" + whole[-59:], b"", b"x" * len(whole)):
        store.pack.write_bytes(damaged)
        again, _ = store_images(files, TARGETS, FORM, room=room, fingerprint="f")
        assert again is not None
        assert torch.equal(again.inputs[:, 1, 0, 0], torch.arange(0, 60, 10, dtype=torch.uint8))
        assert store.pack.read_bytes() == whole


def test_drafts_of_killed_processes_are_swept_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    path = pack_path(tmp_path, {"a": 1})
    script = (
        "import os, signal, sys; from pathlib import Path; from trainwell.data.pack import draft_pack\n"
        "with draft_pack(Path(sys.argv[1]), {'a': 1}, (4, 8, 8, 3)): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert len(names(tmp_path)) == 1
    assert names(tmp_path)[0].endswith(".part")
    assert open_pack(path, {"a": 1}) is None
    with draft_pack(path, {"a": 1}, (4, 8, 8, 3)) as mine:
        mine.rows[:] = 7
        with draft_pack(path, {"a": 1}, (4, 8, 8, 3)):
            assert len(names(tmp_path)) == 2
        pack = mine.publish(3, {"bad": []})
    assert names(tmp_path) == [path.name]
    assert pack.rows.shape == (3, 8, 8, 3)
    assert (pack.rows == 7).all()
