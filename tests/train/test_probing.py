"""Training is the same to the bit with probes on or off, and a probe that cannot look stops nothing."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.core.recipe import Recipe
from trainwell.train.events import read_events
from trainwell.train.run import Run

Train = Callable[..., Run]


def images(count: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Small grey images of two classes."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 2
    return (generator.integers(0, 100, (count, 8, 8)) + 100 * labels[:, None, None]).astype(np.uint8), labels


class Own(nn.Module):
    """Somebody's network: it draws at random, works in place, counts its calls and keeps a moving mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Linear(12, 2)
        self.calls = 0
        self.register_buffer("mean", torch.zeros(64))

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        if self.training:
            self.calls += 1
            self.mean.mul_(0.9).add_(flat.detach().float().mean(0), alpha=0.1)
            flat = flat + 0.01 * self.calls * torch.randn_like(flat)
        hidden = self.norm(self.first(flat)).relu_()
        if self.training:
            hidden = hidden * (torch.rand_like(hidden) < 0.8)
        return self.second(hidden)


class Growing(Own):
    """Draws from generators that no step reseeds."""

    def forward(self, inputs: Tensor) -> Tensor:
        scores = super().forward(inputs)
        return scores * (1.0 + 0.1 * random.random() + 0.1 * np.random.rand()) if self.training else scores


NETWORKS: dict[str, dict[str, Any]] = {
    "dropout and batch norm": {"model": "convnet:width=4,depth=2,dropout=0.2"},
    "bfloat16": {"model": "convnet:width=4,depth=2,dropout=0.2", "set": {"machine.precision": "bfloat16"}},
    "in pieces": {"model": "convnet:width=4,depth=2", "set": {"batch.accumulate": 3}},
    "residual": {"model": "cifar_resnet:depth=8"},
    "somebody's own": {"model": Own},
    "of any generator": {"model": Growing},
}


@pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS)
def test_weights_and_losses_are_the_same_to_the_bit(train: Train, words: dict[str, Any]) -> None:
    def run(name: str, **more: Any) -> Run:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        model = words["model"] if isinstance(words["model"], str) else words["model"]()
        settings = {**words.get("set", {}), **more.pop("set", {})}
        words_of_run = {**words, **more, "model": model, "set": settings, "epochs": 3, "augmentation": []}
        return train(name, images(), **words_of_run)

    probed, plain = run("on", set={"machine.probe_every": 1}), run("off", probes=[])
    assert probed.model is not None
    assert plain.model is not None
    ours, theirs = probed.model.state_dict(), plain.model.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert getattr(probed.model, "calls", 0) == getattr(plain.model, "calls", 0)
    names = {reading.name for reading in plain.readings}
    assert [r for r in probed.readings if r.name in names] == plain.readings
    looks = {r.step for r in probed.readings if r.name == "activation/std"}
    assert looks == {r.step for r in probed.readings if r.name == "train/loss"}


def test_every_run_is_looked_at_by_default(train: Train) -> None:
    assert [choice.name for choice in Recipe().probes] == ["activations", "gradient_norm", "update_ratio"]
    run = train("run", set={"machine.probe_every": "auto"})
    steps = {name: [r.step for r in run.readings if r.name == name] for name in ("activation/mean", "update/ratio")}
    for taken in steps.values():
        assert {0, 1, 2, 4, 8, 16, 32, 64} <= set(taken)


class Averse(nn.Module):
    """Refuses to run without gradients while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and not torch.is_grad_enabled():
            raise RuntimeError("I need gradients")
        return self.linear(inputs.flatten(1))


class Listener:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *words: self.said.append(words[0]) if name == "say" else None


def test_a_network_that_cannot_be_looked_at_trains_on_and_that_is_said_once(train: Train) -> None:
    listener = Listener()
    run = train("run", images(), model=Averse(), epochs=3, augmentation=[], reporter=listener)
    assert {reading.name for reading in run.readings} >= {"gradient/norm", "update/ratio", "train/loss"}
    assert not [reading for reading in run.readings if reading.name.startswith("activation/")]
    (event,) = [event for event in read_events(run.path / "events.jsonl") if event.kind == "not examined"]
    assert event.step == 0
    assert event.values["probe"] == "activations"
    assert "I need gradients" in event.values["reason"]
    said = [words for words in listener.said if "not examined" in words]
    assert said == [f"activations: not examined: {event.values['reason']}"]
    again = Listener()
    tw.resume(run.path, epochs=4, data=images(), model=Averse(), reporter=again)
    assert not [words for words in again.said if "not examined" in words], "a resumed run knows"
    assert len([e for e in read_events(run.path / "events.jsonl") if e.kind == "not examined"]) == 1


def test_the_interval_has_a_reason(train: Train, tmp_path: Path) -> None:
    run = train("run", set={"machine.probe_every": "auto"})
    machine = (run.path / "machine.json").read_text()
    assert "a look costs about" in machine
    assert isinstance(run.recipe.machine.probe_every, int)
