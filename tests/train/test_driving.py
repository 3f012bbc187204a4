"""Rates that follow the losses of a run: stored, rolled back, resumed and repeated exactly, and said with a reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import trainwell as tw
from trainwell.core.record import read_readings
from trainwell.core.state import State
from trainwell.errors import NonFinite
from trainwell.train.checkpoint import load_newest
from trainwell.train.events import read_events
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

from .conftest import Fail

Train = Callable[..., Run]
Whole = Callable[[str], tuple[Path, list[str]]]
Same = Callable[[Path, Path], None]
SOURCE = "points:kind=moons,samples=400"
SETTINGS = {  # those of the quick runs of this folder
    "machine.threads": 1,
    "machine.checkpoint_seconds": 0,
    "machine.probe_every": 7,
    "regularization.ema_decay": 0.9,
    "regularization.clip_norm": 1.0,
}
PLATEAU = "plateau:patience=1,factor=0.5,threshold=0.3"
BOLD = "bold_driver:window=1,stall=0.2,up=1.3,slow=0.9"
WORDS = {"epochs": 8, "set": {"regularization.patience": None}}


@pytest.fixture(autouse=True)
def _no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pages of the runs out: they cost more than the training."""
    monkeypatch.setattr("trainwell.surface.write_page", lambda path: path)


class Listener(Silence):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Remember."""
        self.said.append(text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return a whole run of a schedule, trained once for all tests, and what was said: read it, change nothing."""
    done: dict[str, tuple[Path, list[str]]] = {}

    def trained(schedule: str) -> tuple[Path, list[str]]:
        if schedule not in done:
            listener, out = Listener(), tmp_path_factory.mktemp("whole") / "run"
            words = {"model": "mlp:hidden=[16],dropout=0.1", "epochs": 8, "seed": 1, "reporter": listener}
            tw.fit(SOURCE, out=out, schedule=schedule, set={**SETTINGS, **WORDS["set"]}, **words)
            done[schedule] = out, listener.said
        return done[schedule]

    return trained


def changes(path: Path) -> list[tuple[int, float, float]]:
    """Step, rate before and rate after, of each change that the events tell of."""
    events = read_events(path / "events.jsonl")
    return [(e.step, e.values["before"], e.values["lr"]) for e in events if e.kind == "rate"]


def rates(path: Path) -> list[float]:
    """The rate of the last step of each epoch."""
    return [reading.value for reading in read_readings(path / "record.jsonl", name="lr")]


@pytest.mark.parametrize("schedule", [PLATEAU, BOLD])
def test_each_change_is_printed_with_its_reason_and_stored_as_an_event(whole: Whole, schedule: str) -> None:
    path, said = whole(schedule)
    events = [event for event in read_events(path / "events.jsonl") if event.kind == "rate"]
    assert events
    for event, (step, before, after) in zip(events, changes(path), strict=True):
        assert f"lr {before:.3g} -> {after:.3g} from step {step} on: {event.values['reason']}" in said
        assert "/loss " in event.values["reason"]
    level, known = rates(path)[0], []
    stood = {step: after for step, _, after in changes(path)}
    for epoch in range(8):
        level = stood.get(18 * epoch, level)
        known.append(level)
    assert rates(path) == pytest.approx(known, rel=1e-12)


def test_it_lowers_by_the_val_losses_in_the_record(whole: Whole) -> None:
    """The same rule, read off the record by hand: patience 1 and a third less than the best."""
    path, _ = whole(PLATEAU)
    best, level, known = float("inf"), 1.0, []
    for reading in read_readings(path / "record.jsonl", name="val/loss"):
        known.append(level)
        if reading.value < 0.7 * best or best == float("inf"):
            best = reading.value
        else:
            level /= 2
    assert rates(path) == pytest.approx([0.001 * level for level in known])
    assert known[-1] < 1


@pytest.mark.parametrize(
    ("schedule", "step"),
    [
        (PLATEAU, 54),
        (PLATEAU, 71),
        (PLATEAU, 130),
        (BOLD, 10),
        (BOLD, 90),
        (f'warm_up:then="{PLATEAU}",warmup=1.5', 71),
    ],
)
def test_killed_at_any_step_it_goes_on_with_the_same_bits(
    train: Train, whole: Whole, assert_same: Same, tmp_path: Path, schedule: str, step: int
) -> None:
    path, cut = whole(schedule)[0], tmp_path / "cut"
    with pytest.raises(RuntimeError, match="killed"):
        train("cut", schedule=schedule, hooks=[Fail(step)], **WORDS)
    tw.resume(cut, reporter=Silence())
    assert_same(path, cut)
    assert changes(path) == changes(cut), "a replayed change is written once"
    states = [load_newest(each / "checkpoints") for each in (path, cut)]
    kept = [state.state["progress"]["rate"] for state in states if state is not None]
    assert kept[0] == kept[1]
    assert "level" in kept[0]


def test_a_rerun_makes_the_same_changes(whole: Whole, tmp_path: Path) -> None:
    path, _ = whole(PLATEAU)
    again = tw.fit(recipe=path, out=tmp_path / "again", reporter=Silence())
    assert (path / "record.jsonl").read_bytes() == (again.path / "record.jsonl").read_bytes()
    assert changes(path) == changes(again.path)


def test_going_further_keeps_what_the_rate_has_learned(train: Train, whole: Whole) -> None:
    short = train("short", schedule=PLATEAU, epochs=5, set=WORDS["set"])
    tw.resume(short.path, epochs=8, reporter=Silence())
    assert rates(short.path) == rates(whole(PLATEAU)[0])


class Break:
    """A hook that puts NaN into a weight once, at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, state: State) -> None:
        """Break the network."""
        if state.step == self.step:
            with torch.no_grad():
                next(iter(state.model.parameters())).fill_(float("nan"))


def test_a_rollback_turns_the_rate_back_with_the_weights(train: Train, whole: Whole, tmp_path: Path) -> None:
    """NaN in the fifth epoch: what is stored is the end of the fourth, with the rate as it was then."""
    path, broken = whole(PLATEAU)[0], tmp_path / "broken"
    with pytest.raises(NonFinite):
        train("broken", schedule=PLATEAU, hooks=[Break(80)], **WORDS)
    stored = load_newest(broken / "checkpoints")
    assert stored is not None
    assert stored.state["progress"]["step"] <= 80
    done = stored.state["progress"]["epoch"]
    level = [after / 0.001 for step, _, after in changes(path) if step <= 18 * done]
    assert stored.state["progress"]["rate"]["level"] == pytest.approx(level[-1] if level else 1.0)
    tw.resume(broken, reporter=Silence())
    assert changes(broken) == changes(path)


class Ask:
    """A hook that sets another rate at a step."""

    def __init__(self, run: Path, step: int) -> None:
        self.run, self.step = run, step

    def after_step(self, state: State) -> None:
        """Ask."""
        if state.step == self.step:
            tw.change(self.run, {"lr": 0.0004})


@pytest.mark.parametrize("schedule", [PLATEAU, BOLD, "cyclical:half_cycle=1"])
def test_a_rate_set_by_hand_is_what_every_schedule_multiplies(train: Train, tmp_path: Path, schedule: str) -> None:
    plain = train("plain", schedule=schedule, epochs=4, set=WORDS["set"])
    run = train("run", schedule=schedule, epochs=4, set=WORDS["set"], hooks=[Ask(tmp_path / "run", 40)])
    (event,) = [event for event in read_events(run.path / "events.jsonl") if event.kind == "set"]
    assert event.values == {"lr": 0.0004}
    assert 40 < event.step <= 54
    assert rates(run.path)[:2] == rates(plain.path)[:2]
    assert rates(run.path)[2] == pytest.approx(0.4 * rates(plain.path)[2])
    again = tw.fit(recipe=run.path, out=tmp_path / "again", reporter=Silence())
    assert (run.path / "record.jsonl").read_bytes() == (again.path / "record.jsonl").read_bytes()


def test_without_a_val_split_it_watches_train_and_says_so(train: Train) -> None:
    listener = Listener()
    words = {"set": {**WORDS["set"], "data.val_fraction": 0.0}, "reporter": listener}
    run = train("run", schedule="plateau:patience=1,threshold=0.9,factor=0.5", epochs=3, **words)
    assert any("plateau watches train/loss, " in text and "no val split" in text for text in listener.said)
    assert all("train/loss was not" in text for text in listener.said if text.startswith("lr "))
    assert len(changes(run.path)) == 2


def test_the_state_is_plain_data(train: Train) -> None:
    run = train("run", schedule=BOLD, epochs=2, set=WORDS["set"])
    newest = load_newest(run.path / "checkpoints")
    assert newest is not None
    rate = newest.state["progress"]["rate"]
    assert json.loads(json.dumps(rate)) == rate
    assert set(rate) == {"level", "losses"}
