"""Runs whose optimizer asks for the loss at several weights: exact on resume, harmless to probes, refusals in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trainwell as tw
from trainwell.core.state import State
from trainwell.errors import NonFinite, OptionInvalid
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

from .conftest import Fail

Train = Callable[..., Run]
Same = Callable[[Path, Path], None]
SECOND: dict[str, Any] = {"optimizer": "hessian_free:most_iterations=6", "schedule": "constant"}
SET: dict[str, Any] = {
    "batch.size": 100,
    "length.steps": 6,
    "penalties": ["l2", "functional_l2"],
    "machine.precision": "auto",
    "regularization.clip_norm": None,
}


class Normed(nn.Module):
    """Batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (N, 2)."""
        return self.body(inputs)


@pytest.mark.parametrize("step", [0, 4])
def test_stopped_at_any_step_it_ends_with_the_same_bits(train: Train, assert_same: Same, step: int) -> None:
    torch.manual_seed(0)
    start = Normed().state_dict()

    def model() -> nn.Module:
        net = Normed()
        net.load_state_dict(start)
        return net

    whole = train("whole", model=model(), set=SET, **SECOND)
    with pytest.raises(RuntimeError, match="killed"):
        train("cut", model=model(), hooks=[Fail(step)], set=SET, **SECOND)
    cut = whole.path.with_name("cut")
    assert tw.resume(cut, model=model(), reporter=Silence()).test == whole.test
    assert_same(whole.path, cut)
    losses = [reading.value for reading in whole.readings if reading.name == "train/loss"]
    assert losses[-1] < losses[0]
    assert {"penalty/l2", "penalty/functional_l2", "gradient/norm"} <= {reading.name for reading in whole.readings}


def test_probes_on_or_off_give_the_same_weights(train: Train) -> None:
    probed, plain = (
        train("on", set={**SET, "machine.probe_every": 1}, **SECOND),
        train("off", probes=[], set=SET, **SECOND),
    )
    assert probed.model is not None
    assert plain.model is not None
    for ours, theirs in zip(probed.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_it_starts_where_every_other_optimizer_starts(train: Train) -> None:
    """Loss, penalties and gradient of the first step are those that SGD sees."""
    ours = train("second", set=SET, **SECOND)
    theirs = train("first", set=SET, optimizer="sgd", schedule="constant")
    for name in ("train/loss", "penalty/l2", "penalty/functional_l2", "gradient/norm"):
        one, other = (
            [reading for reading in run.readings if reading.name == name and reading.step == 0]
            for run in (ours, theirs)
        )
        assert len(one) == len(other) >= 1
        for mine, his in zip(one, other, strict=True):
            assert mine.value == pytest.approx(his.value, rel=1e-5), (name, mine.where)


def test_running_statistics_move_once_a_step(train: Train) -> None:
    net = Normed()
    train("run", model=net, set={**SET, "length.steps": 5, "regularization.ema_decay": None}, **SECOND)
    counted = {int(m.num_batches_tracked) for m in net.modules() if isinstance(m, nn.BatchNorm1d)}
    assert counted == {5}
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm1d)} == {0.1}


def quick(path: Path, **words: Any) -> Run:
    """Train on few points with what is left open."""
    name = "hessian_free:most_iterations=3"
    return tw.fit("points:samples=400", model="logistic", optimizer=name, out=path, reporter=Silence(), **words)


def test_what_is_left_open_is_chosen_for_such_an_optimizer_with_its_reason(tmp_path: Path) -> None:
    run = quick(tmp_path / "run", set={"length.steps": 3})
    found = json.loads((run.path / "machine.json").read_text())["choices"]
    chosen = {choice["field"]: (choice["value"], choice["reason"]) for choice in found}
    assert chosen["schedule"] == ("constant", "hessian_free sets the length of its steps itself")
    assert chosen["machine.precision"][0] == "float32"
    assert "which bfloat16 would round away" in chosen["machine.precision"][1]
    size, reason = chosen["batch.size"]
    assert size == 280
    assert "solves for its batch" in reason


def test_minutes_are_timed_with_its_own_steps(tmp_path: Path) -> None:
    run = quick(tmp_path / "run", minutes=0.02)
    assert run.recipe.length.minutes is None
    assert isinstance(run.recipe.length.epochs, int)


def test_a_loss_that_is_not_finite_is_found_and_named(train: Train) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(2, 2)
            self.seen = 0

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            scores = self.last(inputs)
            return (scores * 1e30) ** 2 - (scores * 1e30) ** 2 if self.training else scores

    with pytest.raises(NonFinite, match="NaN or Inf appeared at step 0"):
        train("broken", model=Breaks(), set=SET, **SECOND)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"regularization.clip_norm": 1.0},
            "regularization.clip_norm must be none, got 1: hessian_free takes its step",
        ),
        ({"batch.accumulate": 2}, "batch.accumulate must be 1, got 2: hessian_free takes its step"),
        ({"machine.precision": "bfloat16"}, "machine.precision=bfloat16 would round that model away: hessian_free"),
        ({"loss": "hinge", "penalties": []}, "loss has no curvature in the outputs here"),
        (
            {"optimizer": "newton", "model": "mlp:hidden=[120,120]"},
            "newton keeps the Hessian of all parameters, at most 10,000",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_words(train: Train, values: dict[str, Any], words: str) -> None:
    named = {key: values[key] for key in ("optimizer", "model", "loss") if key in values}
    rest = {key: value for key, value in values.items() if key not in named}
    with pytest.raises(OptionInvalid, match=words):
        train("run", set={**SET, **rest}, **{**SECOND, **named})


def test_hooks_that_change_gradients_are_refused(train: Train) -> None:
    class Noise:
        def after_backward(self, state: State) -> None:
            """Change gradients."""

    with pytest.raises(OptionInvalid, match="hooks: Noise acts on gradients, and hessian_free takes its own"):
        train("run", hooks=[Noise()], set=SET, **SECOND)


def test_newton_trains_what_is_small_enough(train: Train) -> None:
    run = train("small", model="mlp:hidden=[8]", optimizer="newton:damping=0.05", schedule="constant", set=SET)
    losses = [reading.value for reading in run.readings if reading.name == "train/loss"]
    assert losses[-1] < 0.7 * losses[0]
