"""Checkpoints are whole or not there, checked by content, and the newest valid one is used."""

import json
from pathlib import Path

import pytest
import torch

from trainwell.errors import RunDamaged, RunInvalid
from trainwell.train import checkpoint
from trainwell.train.checkpoint import load_newest, save


def tensors(step: int) -> dict[str, torch.Tensor]:
    """Some tensors in all sorts of memory."""
    generator = torch.Generator().manual_seed(step)
    image = torch.rand(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last)
    return {"a": image, "b": image[:, 1], "c": torch.tensor(step), "d": image.bfloat16(), "tied": image}


def test_what_was_stored_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path, 3, tensors(3), {"progress": {"step": 3}, "lr": 0.1})
    found = load_newest(tmp_path)
    assert found is not None
    assert found.state == {"progress": {"step": 3}, "lr": 0.1}
    assert found.tensors.keys() == tensors(3).keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors(3).items())


def test_the_newest_few_are_kept_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in (999_998, 999_999, 1_000_000):
        save(tmp_path, step, tensors(1), {"step": step})
    found = load_newest(tmp_path)
    assert found is not None
    assert found.state == {"step": 1_000_000}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1000000", "step-999999"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, 1, tensors(1), {"step": 1})
    path = save(tmp_path, 2, tensors(2), {"step": 2}) / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    if damage == "remove":
        path.unlink()
    found = load_newest(tmp_path)
    assert found is not None
    assert found.state == {"step": 1}
    assert "step-000002" in found.damaged[0]


def test_if_all_are_damaged_that_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(1), {})
    (path / "state.json").write_text(json.dumps({"step": 9}))
    with pytest.raises(RunDamaged, match="every checkpoint in .* is damaged .*state.json does not have the checksum"):
        load_newest(tmp_path)


def test_a_half_written_checkpoint_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".step-000002.new").mkdir()
    assert load_newest(tmp_path) is None
    assert load_newest(tmp_path / "nothing") is None


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, tensors(1), {"step": 1})

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "sync", full)
    with pytest.raises(RunInvalid, match="step-000002 cannot be written: No space left on device: free some space"):
        save(tmp_path, 2, tensors(2), {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
