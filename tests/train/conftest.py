"""What the tests of whole runs share: a quick run, and how two runs are compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trainwell as tw
from trainwell.core.state import State
from trainwell.train.checkpoint import load_newest
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

SOURCE = "points:kind=moons,samples=400"
SETTINGS: dict[str, Any] = {
    "machine.threads": 1,
    "machine.checkpoint_seconds": 0,
    "machine.probe_every": 7,
    "regularization.ema_decay": 0.9,
    "regularization.patience": 3,
    "regularization.clip_norm": 1.0,
}


class Fail:
    """A hook that dies at one step, as a killed process would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, state: State) -> None:
        """Die."""
        if state.step == self.step:
            raise RuntimeError("killed")


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Run]:
    """Train a quick run with all hooks on: `train("name", epochs=4, set={...})`."""

    def run(name: str, source: object = SOURCE, *, set: dict[str, Any] | None = None, **words: Any) -> Run:
        words = {"model": "mlp:hidden=[16],dropout=0.1", "epochs": 4, "seed": 1, "reporter": Silence(), **words}
        return tw.fit(source, out=tmp_path / name, set={**SETTINGS, **(set or {})}, **words)

    return run


@pytest.fixture
def assert_same() -> Callable[[Path, Path], None]:
    """Assert that two runs have bit-identical final state and record."""

    def check(one: Path, other: Path) -> None:
        ours, theirs = (load_newest(path / "checkpoints") for path in (one, other))
        assert ours is not None
        assert theirs is not None
        assert ours.path.name == theirs.path.name
        assert ours.tensors.keys() == theirs.tensors.keys()
        differing = [name for name, tensor in ours.tensors.items() if not torch.equal(tensor, theirs.tensors[name])]
        assert differing == []
        assert (one / "record.jsonl").read_bytes() == (other / "record.jsonl").read_bytes()

    return check
