"""NaN or Inf never reaches a stored weight, and the replay names step, operation, layer, sample and cause."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.errors import NonFinite
from trainwell.train.checkpoint import load_newest
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

Train = Callable[..., Run]


def fail(path: Path, **words: object) -> NonFinite:
    """Train to the alarm and return it."""
    words = {"epochs": 20, "seed": 0, "reporter": Silence(), "out": path, **words}
    words["set"] = {"machine.threads": 1, **words.get("set", {})}  # type: ignore[dict-item]
    with pytest.raises(NonFinite) as caught:
        tw.fit(words.pop("source", "points:kind=moons,samples=300"), **words)  # type: ignore[arg-type]
    return caught.value


def assert_stored_weights_are_finite(path: Path) -> None:
    """The last good state is on disk."""
    found = load_newest(path / "checkpoints")
    assert found is not None
    assert all(torch.isfinite(tensor.float()).all() for tensor in found.tensors.values())


def test_a_rate_far_too_high_is_named_as_the_cause(tmp_path: Path) -> None:
    alarm = fail(tmp_path / "run", model="mlp:hidden=[32]", optimizer="sgd:lr=2e19", schedule="constant")
    assert "the learning rate is too high" in str(alarm)
    assert "rolled back to the last finite state" in str(alarm)
    assert f"trainwell resume {tmp_path / 'run'}" in str(alarm)
    assert_stored_weights_are_finite(tmp_path / "run")


class LogOfZero(nn.Module):
    """Takes the logarithm of something that is 0 for some samples."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.gate = nn.ReLU()
        self.last = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.log(self.gate(self.first(inputs))))


def test_a_logarithm_of_zero_is_named_as_the_operation(tmp_path: Path) -> None:
    alarm = fail(tmp_path / "run", model=LogOfZero())
    assert alarm.report["op"].startswith("log")
    assert alarm.report["step"] == 0
    assert "not the learning rate and not the precision" in str(alarm)


class Brittle(nn.Module):
    """Divides by zero for one sort of sample, inside a named layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 8, bias=False), Reciprocal())
        self.head = nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))


class Reciprocal(nn.Module):
    """x / x, which is not a number at 0."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs / inputs


def test_the_layer_and_the_samples_are_named(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    inputs[17] = 0.0
    labels = (np.arange(200) % 2).astype(np.int64)
    alarm = fail(
        tmp_path / "run",
        source={"train": (inputs, labels), "val": (inputs[:40] + 1, labels[:40])},
        model=Brittle(),
        preprocessing="none",
        set={"optimizer.lr": 1e-6},
    )
    assert alarm.report["layer"] == "body.1"
    assert alarm.report["op"].startswith("div")
    assert alarm.report["samples"] == ["row 17"]
    assert "train samples row 17" in str(alarm)


class SqrtOfZero(nn.Module):
    """Has a finite value and an infinite gradient at 0, where its first layer starts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        nn.init.zeros_(self.first.weight)
        nn.init.zeros_(self.first.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sqrt(self.first(inputs) ** 2)


def test_a_gradient_that_breaks_alone_is_found_in_the_backward_pass(tmp_path: Path) -> None:
    alarm = fail(tmp_path / "run", model=SqrtOfZero())
    assert alarm.report["phase"] == "loss or the backward pass"
    assert alarm.report["layer"] == "first"


def test_after_an_alarm_the_run_goes_on_with_a_lower_rate(tmp_path: Path) -> None:
    words = {"model": "mlp:hidden=[32]", "optimizer": "sgd:lr=2e19", "schedule": "constant", "epochs": 5}
    fail(tmp_path / "run", **words)
    tw.change(tmp_path / "run", {"lr": 0.05})
    run = tw.resume(tmp_path / "run", reporter=Silence())
    losses = [reading.value for reading in run.readings if reading.name == "train/loss"]
    assert np.isfinite(losses).all()
    assert len(losses) == run.readings[-1].step


class Flaky:
    """A hook that makes the loss of one step not a number, once, as a cosmic ray would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, state: object) -> None:
        """Spoil one weight."""
        if state.step == self.step:  # type: ignore[attr-defined]
            with torch.no_grad():
                next(iter(state.model.parameters())).view(-1)[0] = float("nan")  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", [3, 31, 63, 90])
def test_whenever_it_happens_no_bad_weight_is_stored(tmp_path: Path, step: int) -> None:
    alarm = fail(tmp_path / "run", model="mlp:hidden=[8]", hooks=[Flaky(step)], set={"machine.checkpoint_seconds": 0})
    assert alarm.report["step"] in (step, step + 1)
    assert_stored_weights_are_finite(tmp_path / "run")
