"""A run that was stopped anywhere ends with the bits of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trainwell as tw
from trainwell.core.record import read_readings
from trainwell.errors import DataInvalid, Interrupted, RunDamaged, RunInvalid
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

from .conftest import Fail

Train = Callable[..., Run]
Same = Callable[[Path, Path], None]


@pytest.mark.parametrize("step", [0, 1, 18, 31, 32, 36, 50, 71])
def test_stopped_at_any_step_it_ends_with_the_same_bits(train: Train, assert_same: Same, step: int) -> None:
    whole = train("whole")
    with pytest.raises(RuntimeError, match="killed"):
        train("cut", hooks=[Fail(step)])
    cut = whole.path.with_name("cut")
    assert tw.resume(cut, reporter=Silence()).test == whole.test
    assert_same(whole.path, cut)


def test_how_often_checkpoints_are_written_changes_nothing(train: Train, assert_same: Same) -> None:
    whole, rare = train("often"), train("rare", set={"machine.checkpoint_seconds": 1000})
    assert (whole.path / "record.jsonl").read_bytes() == (rare.path / "record.jsonl").read_bytes()
    assert whole.test == rare.test


def test_probes_on_or_off_give_the_same_weights(train: Train) -> None:
    probed, plain = train("on", set={"machine.probe_every": 1}), train("off", probes=[])
    assert probed.model is not None
    assert plain.model is not None
    for ours, theirs in zip(probed.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    names = {reading.name for reading in probed.readings} - {reading.name for reading in plain.readings}
    assert {"gradient/norm", "update/ratio", "activation/mean"} <= names


def test_a_resume_that_is_refused_changes_nothing(train: Train) -> None:
    run = train("run")
    before = (run.path / "record.jsonl").read_bytes()
    with pytest.raises(RunInvalid, match="done 4 epochs already"):
        tw.resume(run.path, epochs=2, reporter=Silence())
    assert (run.path / "record.jsonl").read_bytes() == before


def test_going_further_continues_the_epochs(train: Train) -> None:
    run = train("run", set={"regularization.patience": None})
    longer = tw.resume(run.path, epochs=6, reporter=Silence())
    steps = [reading.step for reading in read_readings(longer.path / "record.jsonl", name="train/loss")]
    assert steps == list(range(6 * 18))
    assert "extend" in (run.path / "events.jsonl").read_text()
    with pytest.raises(RunInvalid, match="has done 6 epochs already: epochs must be more than that, got 5"):
        tw.resume(run.path, epochs=5, reporter=Silence())


def test_going_further_is_repeated_by_recipe_and_events(train: Train, assert_same: Same, tmp_path: Path) -> None:
    run = train("run", set={"regularization.patience": None})
    tw.resume(run.path, epochs=5, reporter=Silence())
    again = tw.fit(recipe=run.path, out=tmp_path / "again", reporter=Silence())
    losses = [read_readings(path / "record.jsonl", name="train/loss") for path in (run.path, again.path)]
    assert losses[0] == losses[1]


def kill_after(path: Path, seconds: float, *words: str) -> None:
    """Start a run in a process of its own and kill it without warning."""
    child = subprocess.Popen([sys.executable, "-m", "trainwell", *words], stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()


@pytest.mark.slow
def test_killed_at_several_moments_it_ends_with_the_same_bits(tmp_path: Path, assert_same: Same) -> None:
    words = "--model mlp:hidden=[64] --epochs 40 --seed 2 --set machine.threads=1 --set machine.checkpoint_seconds=0"
    fit = ["fit", "digits", *words.split(), "--out"]
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "trainwell", *fit, str(tmp_path / "whole")], check=True, capture_output=True)
    whole_seconds = time.monotonic() - begun
    kill_after(tmp_path, whole_seconds * 0.5, *fit, str(tmp_path / "cut"))
    cut = tmp_path / "cut"
    for share in (0.55, 0.7):
        if cut.exists():
            kill_after(tmp_path, whole_seconds * share, "resume", str(cut))
    act = ["resume", str(cut)] if cut.exists() else [*fit, str(cut)]
    subprocess.run([sys.executable, "-m", "trainwell", *act], check=True, capture_output=True)
    assert_same(tmp_path / "whole", cut)


def test_interrupting_leaves_a_run_that_goes_on(train: Train, assert_same: Same) -> None:
    whole = train("whole")

    class Interrupt:
        """A hook that presses Ctrl-C."""

        def after_step(self, state: object) -> None:
            """Press it in step 20."""
            if state.step == 20:  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(
        Interrupted, match="stopped at step 21 of 72, everything is stored: go on with `trainwell resume"
    ):
        train("cut", hooks=[Interrupt()])
    cut = whole.path.with_name("cut")
    tw.resume(cut, reporter=Silence())
    assert_same(whole.path, cut)


def test_a_run_killed_before_its_first_step_starts_anew(train: Train, assert_same: Same) -> None:
    whole = train("whole")
    cut = whole.path.with_name("cut")
    cut.mkdir()
    plain = json.loads(json.dumps(whole.recipe.to_plain()))
    plain["batch"]["size"] = plain["preprocessing"] = "auto"
    plain["machine"]["precision"] = plain["machine"]["device"] = "auto"
    (cut / "recipe.yaml").write_text(json.dumps(plain))
    tw.resume(cut, reporter=Silence())
    assert_same(whole.path, cut)


def test_damaged_newest_checkpoint_falls_back_and_says_so(train: Train, assert_same: Same) -> None:
    whole = train("whole")
    with pytest.raises(RuntimeError, match="killed"):
        train("cut", hooks=[Fail(60)])
    cut = whole.path.with_name("cut")
    newest = max((cut / "checkpoints").iterdir())
    (newest / "tensors.safetensors").write_bytes(b"tampered")
    said: list[str] = []

    class Listener(Silence):
        """Remembers what is said."""

        def say(self, text: str) -> None:
            """Remember."""
            said.append(text)

    tw.resume(cut, reporter=Listener())
    assert any(f"a damaged checkpoint was passed over: {newest.name}" in text for text in said)
    assert_same(whole.path, cut)


def test_a_torn_record_is_mended_from_the_checkpoint(train: Train, assert_same: Same) -> None:
    whole = train("whole")
    with pytest.raises(RuntimeError, match="killed"):
        train("cut", hooks=[Fail(60)])
    cut = whole.path.with_name("cut")
    with open(cut / "record.jsonl", "ab") as file:
        file.write(b'{"step":54,"name":"train/lo')
    tw.resume(cut, reporter=Silence())
    assert_same(whole.path, cut)


def test_a_record_shorter_than_its_checkpoint_is_refused(train: Train) -> None:
    run = train("run")
    (run.path / "record.jsonl").write_text("")
    with pytest.raises(RunDamaged, match="is shorter than its newest checkpoint says"):
        tw.resume(run.path, reporter=Silence())


def test_other_data_than_at_the_start_are_refused(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)
    words = {"epochs": 2, "reporter": Silence(), "set": {"machine.threads": 1}}
    run = tw.fit((inputs, labels), out=tmp_path / "run", **words)
    with pytest.raises(RunInvalid, match="handed over in Python: pass the same ones as data="):
        tw.resume(run.path, reporter=Silence())
    with pytest.raises(DataInvalid, match="are not the ones that it was started with"):
        tw.resume(run.path, data=(inputs + 1, labels), reporter=Silence())
    assert tw.resume(run.path, data=(inputs, labels), reporter=Silence()).test == run.test


def test_another_network_than_at_the_start_is_refused(tmp_path: Path) -> None:
    words = {"epochs": 2, "reporter": Silence(), "set": {"machine.threads": 1}}
    run = tw.fit("points:samples=120", model=nn.Linear(2, 2), out=tmp_path / "run", **words)
    with pytest.raises(RunDamaged, match="holds another network than the recipe builds"):
        tw.resume(run.path, model=nn.Linear(2, 2, bias=False), reporter=Silence())


def test_two_processes_do_not_train_one_run(train: Train) -> None:
    from trainwell.train.folder import RunFolder

    run = train("run")
    with RunFolder(run.path).owned(), pytest.raises(RunInvalid, match="is being trained by another process"):
        tw.resume(run.path, reporter=Silence())


def test_a_stream_of_random_samples_resumes_exactly(tmp_path: Path, assert_same: Same) -> None:
    class Noisy(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
        """Answers differently each time."""

        def __len__(self) -> int:
            return 96

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.randn(4) + index % 2, index % 2

    def words(name: str) -> dict[str, object]:
        return {"out": tmp_path / name, "epochs": 3, "reporter": Silence(), "set": {"machine.threads": 1}}

    whole = tw.fit(Noisy(), **words("whole"))
    with pytest.raises(RuntimeError, match="killed"):
        tw.fit(Noisy(), hooks=[Fail(7)], **words("cut"))
    tw.resume(tmp_path / "cut", data=Noisy(), reporter=Silence())
    assert_same(whole.path, tmp_path / "cut")
