"""The folder of a run: made whole or not at all, and owned by one process at a time."""

import json
import re
from pathlib import Path

import pytest

from trainwell.errors import RunInvalid
from trainwell.train.folder import RunFolder, default_path


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "a" / "b")
    assert folder.path.is_dir()
    assert list(folder.path.iterdir()) == []


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path).path == tmp_path


def test_a_folder_with_something_in_it_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("keep me")
    with pytest.raises(RunInvalid, match="exists already and is not empty: choose another --out, or go on with"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "keep me"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep me")
    with pytest.raises(RunInvalid, match="is a file, and --out is the run folder itself"):
        RunFolder.create(tmp_path / "file")
    with pytest.raises(RunInvalid, match="cannot be written: Not a directory: choose another folder with --out"):
        RunFolder.create(tmp_path / "file" / "run")


def test_opening_what_is_no_run_names_the_runs_beside_it(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "good").write_text(tmp_path / "good" / "recipe.yaml", "seed: 1\n")
    with pytest.raises(RunInvalid, match="does not exist: beside it are the runs good"):
        RunFolder.open(tmp_path / "god")
    (tmp_path / "other").mkdir()
    with pytest.raises(RunInvalid, match=r"other is not a run folder: it has no recipe\.yaml"):
        RunFolder.open(tmp_path / "other")


def test_small_files_are_written_whole_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_json(folder.data, {"classes": ["ä"]})
    folder.write_json(folder.data, {"classes": ["ö"]})
    assert json.loads(folder.data.read_text("utf-8")) == {"classes": ["ö"]}
    assert [path.name for path in folder.path.iterdir()] == ["data.json"]


def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_text(folder.recipe, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunInvalid, match=r"recipe\.yaml cannot be written: No space left on device: free some space"):
        folder.write_text(folder.recipe, "new")
    assert folder.recipe.read_text() == "old"
    assert [path.name for path in folder.path.iterdir()] == ["recipe.yaml"]


def test_one_process_at_a_time_owns_a_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    assert not folder.is_running
    with folder.owned():
        assert RunFolder(folder.path).is_running
        with pytest.raises(RunInvalid, match="is being trained by another process"), RunFolder(folder.path).owned():
            pass
    assert not folder.is_running


def test_a_default_path_says_time_source_and_model_and_is_new(tmp_path: Path) -> None:
    path = default_path(tmp_path, "/data/my photos/", "my_net.py:Net")
    assert re.fullmatch(r"\d{8}-\d{6}-my-photos-my_net\.py-Net", path.name)
    path.mkdir()
    again = default_path(tmp_path, "/data/my photos/", "my_net.py:Net")
    assert not again.exists()


def test_a_text_that_is_no_utf8_leaves_nothing_beside_the_old_one(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_text(folder.report, "old")
    with pytest.raises(UnicodeEncodeError):
        folder.write_text(folder.report, "caf\udce9.png")
    assert folder.report.read_text() == "old"
    assert [path.name for path in folder.path.iterdir()] == ["report.html"]


def test_names_that_are_no_utf8_come_back_from_json_as_they_were(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_json(folder.data, {"classes": ["caf\udce9", "ä"]})
    assert json.loads(folder.data.read_text("utf-8")) == {"classes": ["caf\udce9", "ä"]}
