"""What people do to a run is recorded at its step, applied there, and applied again on resume and rerun."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import trainwell as tw
from trainwell.core.record import read_readings
from trainwell.core.state import State
from trainwell.errors import OptionInvalid, RunInvalid
from trainwell.train.events import read_events
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

Train = Callable[..., Run]
CONSTANT = {"schedule": "constant", "optimizer": "adamw:lr=0.001,weight_decay=0.1"}


class Remember:
    """A hook that remembers the rate of each step, and asks for another one at a step."""

    def __init__(self, run: Path | None = None, at: int = -1) -> None:
        self.rates: list[float] = []
        self.decays: list[list[float]] = []
        self.run, self.at = run, at

    def after_step(self, state: State) -> None:
        """Remember; ask."""
        self.rates.append(state.lr)
        self.decays.append([group["weight_decay"] for group in state.optimizer.param_groups])
        if self.run is not None and state.step == self.at:
            assert tw.change(self.run, {"lr": 0.0005, "weight_decay": 0.3})


def test_a_rate_set_while_it_runs_holds_from_a_recorded_step_on(train: Train, tmp_path: Path) -> None:
    hook = Remember(tmp_path / "run", at=10)
    run = train("run", hooks=[hook], **CONSTANT)
    (event,) = read_events(run.path / "events.jsonl")
    assert event.values == {"lr": 0.0005, "weight_decay": 0.3}
    assert hook.rates[: event.step] == [0.001] * event.step
    assert hook.rates[event.step :] == [0.0005] * (len(hook.rates) - event.step)
    assert hook.decays[-1] == [0.3, 0.0], "what was exempt from decay stays exempt"


def test_a_rerun_with_the_events_gives_the_same_bits(train: Train, tmp_path: Path) -> None:
    run = train("run", hooks=[Remember(tmp_path / "run", at=10)], **CONSTANT)
    again = tw.fit(recipe=run.path, out=tmp_path / "again", reporter=Silence())
    assert (run.path / "record.jsonl").read_bytes() == (again.path / "record.jsonl").read_bytes()


def test_setting_a_stopped_run_holds_from_its_resume_on(train: Train) -> None:
    run = train("run", **CONSTANT, set={"regularization.patience": None})
    assert tw.change(run.path, {"lr": 0.0001}) is False
    tw.resume(run.path, epochs=5, reporter=Silence())
    rates = [reading.value for reading in read_readings(run.path / "record.jsonl", name="lr")]
    assert rates == [0.001] * 4 + [0.0001]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lrr": 0.1}, "'lrr' cannot be set while a run goes on: did you mean 'lr'?"),
        ({"lr": -1}, "lr must be a number >= 0, got -1"),
        ({"lr": 0}, "lr must be a number > 0, got 0"),
        ({"lr": "high"}, "lr must be a number >= 0, got 'high'"),
        ({"weight_decay": float("nan")}, "weight_decay must be a number >= 0, got nan"),
        ({"momentum": 0.5}, "'momentum' cannot be set while a run goes on: there are lr, weight_decay"),
    ],
)
def test_what_cannot_be_set_is_said(train: Train, values: dict[str, float], words: str) -> None:
    run = train("run", epochs=1)
    with pytest.raises(OptionInvalid) as caught:
        tw.change(run.path, values)
    assert words in str(caught.value)
    assert not (run.path / "requests").exists()


def test_setting_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match="does not exist"):
        tw.change(tmp_path / "nothing", {"lr": 0.1})
    with pytest.raises(RunInvalid, match="is not a run folder: it has no recipe.yaml"):
        tw.change(tmp_path, {"lr": 0.1})


def test_events_are_plain_lines(train: Train, tmp_path: Path) -> None:
    run = train("run", hooks=[Remember(tmp_path / "run", at=10)], **CONSTANT)
    (line,) = (run.path / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["kind"] == "set"
