"""Files on the disk have the permissions that the user lets new files have; waiting for them needs no torch."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from trainwell.core.files import save_tensors


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_tensors_have_the_permissions_of_any_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == mode


def test_writing_tensors_never_changes_the_mask_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: int) -> int:
        raise AssertionError("files that other threads make at this moment would be open to all")

    monkeypatch.setattr(os, "umask", never)
    save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2)})


def test_tensors_and_words_come_back(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"a": torch.arange(3)}, {"names": "[1]"})
    with safe_open(tmp_path / "a.safetensors", "pt") as stored:
        assert stored.metadata() == {"names": "[1]"}
        assert torch.equal(stored.get_tensor("a"), torch.arange(3))


def test_waiting_for_files_needs_no_torch() -> None:
    code = "import sys, trainwell.core.files; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
