"""What broke once at the edges of a run: cut and extended lengths, odd networks, rollbacks, changed recipes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import trainwell as tw
from trainwell.core.record import read_readings
from trainwell.core.state import State
from trainwell.errors import FilesInvalid, ModelInvalid, NonFinite, OptionInvalid, RunInvalid
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

Train = Callable[..., Run]
QUIET: dict[str, Any] = {"reporter": Silence(), "seed": 0}
ONE = {"machine.threads": 1}
OFF = {"regularization.ema_decay": None, "regularization.patience": None, "regularization.clip_norm": None}


def steps_of(run: Path) -> list[int]:
    """The steps that have a loss."""
    return [reading.step for reading in read_readings(run / "record.jsonl", name="train/loss")]


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_a_run_cut_by_steps_goes_on_with_whole_epochs(train: Train, class_weights: str) -> None:
    settings = {**OFF, "length.steps": 5, "regularization.class_weights": class_weights}
    run = train("run", epochs=1, set=settings)
    assert steps_of(run.path) == list(range(5))
    longer = tw.resume(run.path, epochs=3, reporter=Silence())
    assert steps_of(longer.path) == list(range(5 + 2 * 18))


def test_extending_a_run_that_stopped_early_gives_it_its_patience_anew(train: Train) -> None:
    run = train("run", epochs=40, optimizer="sgd:lr=0.000001", schedule="constant",
                set={"regularization.patience": 2, "regularization.ema_decay": None})  # fmt: skip
    before = len([r for r in run.readings if r.name == "val/loss"])
    longer = tw.resume(run.path, epochs=50, reporter=Silence())
    assert len([r for r in longer.readings if r.name == "val/loss"]) >= min(before + 2, 50)


class Masked(nn.Module):
    """Holds -inf in a buffer, as the mask of an attention does."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs) + self.mask.exp().sum() * 0


def test_a_network_with_infinity_in_a_buffer_trains(tmp_path: Path) -> None:
    run = tw.fit("points:samples=100", model=Masked(), epochs=2, out=tmp_path / "run", set=ONE, **QUIET)
    assert len(steps_of(run.path)) == 2 * 5


def test_a_network_that_starts_with_nan_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, torch.nan)
    with pytest.raises(ModelInvalid, match="starts with NaN or Inf in its weights weight"):
        tw.fit("points:samples=100", model=model, out=tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


class Once:
    """A hook that spoils a weight one single time, as failing hardware would."""

    def __init__(self, step: int) -> None:
        self.step, self.is_done = step, False

    def after_step(self, state: State) -> None:
        """Spoil it."""
        if state.step == self.step and not self.is_done:
            self.is_done = True
            with torch.no_grad():
                next(state.model.parameters()).view(-1)[0] = torch.nan


def test_what_does_not_come_back_in_the_replay_is_not_explained_away(tmp_path: Path) -> None:
    with pytest.raises(NonFinite, match="unknown: the same steps stayed finite in the replay"):
        tw.fit("points:samples=200", model="mlp", hooks=[Once(7)], epochs=4, out=tmp_path / "run", set=ONE, **QUIET)


def test_an_alarm_right_after_an_extension_is_explained(train: Train) -> None:
    words = {"model": "mlp:hidden=[16]", "optimizer": "sgd:lr=0.01", "schedule": "constant", "set": OFF}
    run = train("run", epochs=1, **words)
    tw.change(run.path, {"lr": 2e19})
    with pytest.raises(NonFinite, match="the learning rate is too high"):
        tw.resume(run.path, epochs=3, reporter=Silence())


class HungryInEvaluation(nn.Module):
    """Takes only so many samples at once when it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training and inputs.shape[0] > 20:
            raise torch.OutOfMemoryError("out of memory")
        return self.linear(inputs)


def test_evaluation_cuts_its_batches_where_memory_runs_out(tmp_path: Path) -> None:
    run = tw.fit("points:samples=400", model=HungryInEvaluation(), epochs=1, out=tmp_path / "run", set=ONE, **QUIET)
    assert run.test is not None
    assert run.test.count == 80


def test_weight_decay_can_be_set_after_it_was_zero(train: Train) -> None:
    run = train("run", optimizer="adamw:weight_decay=0.0", epochs=1, set=OFF)
    tw.change(run.path, {"weight_decay": 0.5})
    seen: list[list[float]] = []

    class See:
        """Remembers the decay of the groups."""

        def after_step(self, state: State) -> None:
            """Remember."""
            seen.append([group["weight_decay"] for group in state.optimizer.param_groups])

    tw.resume(run.path, epochs=2, hooks=[See()], reporter=Silence())
    assert seen[-1] == [0.5, 0.0]


def test_batch_norm_bears_accumulation(tmp_path: Path) -> None:
    tw.fit("points:samples=100", model="mlp:norm=batch", epochs=1, batch_size=10, out=tmp_path / "run",
           set={**ONE, "batch.accumulate": 4}, **QUIET)  # fmt: skip


class Caching(nn.Module):
    """Keeps a tensor that grows with the largest batch seen, as positional caches do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.cache = torch.zeros(0)

    def forward(self, inputs: Tensor) -> Tensor:
        if len(self.cache) < len(inputs):
            self.cache = torch.ones(len(inputs), 1)
        return self.linear(inputs * self.cache[: len(inputs)])


def test_a_network_that_caches_tensors_trains_on_after_evaluation(tmp_path: Path) -> None:
    tw.fit("points:samples=600", model=Caching(), epochs=2, out=tmp_path / "run", set=ONE, **QUIET)


def test_a_recipe_changed_by_hand_is_not_silently_ignored(train: Train) -> None:
    run = train("run", set=OFF)
    text = (run.path / "recipe.yaml").read_text()
    (run.path / "recipe.yaml").write_text(text.replace("lr: 0.001", "lr: 0.5"))
    with pytest.raises(RunInvalid, match="recipe.yaml was changed after the run began"):
        tw.resume(run.path, reporter=Silence())


def test_a_rerun_with_other_epochs_leaves_the_extension_out(train: Train, tmp_path: Path) -> None:
    run = train("run", epochs=1, set=OFF)
    tw.resume(run.path, epochs=2, reporter=Silence())
    again = tw.fit(recipe=run.path, epochs=4, out=tmp_path / "again", reporter=Silence())
    assert len(steps_of(again.path)) == 4 * 18


def test_early_stopping_without_a_val_split_is_refused(tmp_path: Path) -> None:
    settings = {**ONE, "data.val_fraction": 0, "regularization.patience": 2}
    with pytest.raises(OptionInvalid, match="watches the val split, and these data have none"):
        tw.fit("points:samples=100", model="logistic", out=tmp_path / "run", set=settings, **QUIET)
    inputs = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)
    data = {"train": (inputs[:40], labels[:40]), "val": (inputs[40:], labels[40:])}
    tw.fit(data, model="logistic", epochs=1, out=tmp_path / "other", set=settings, **QUIET)


def test_stateful_hooks_must_come_back_on_resume(train: Train) -> None:
    class Counter:
        """Counts steps."""

        def __init__(self) -> None:
            self.count = torch.zeros(())

        def after_step(self, state: State) -> None:
            """Count."""
            self.count += 1

        def state(self) -> dict[str, Tensor]:
            """Return the count."""
            return {"count": self.count}

        def load_state(self, tensors: dict[str, Tensor]) -> None:
            """Take it back."""
            self.count = tensors["count"].clone()

    run = train("run", epochs=1, hooks=[Counter()], set=OFF)
    with pytest.raises(RunInvalid, match="was begun with the stateful hooks Counter, and now has none"):
        tw.resume(run.path, epochs=2, reporter=Silence())
    counter = Counter()
    tw.resume(run.path, epochs=2, hooks=[counter], reporter=Silence())
    assert int(counter.count) == 2 * 18


def test_process_settings_are_given_back(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    tw.fit("points:samples=60", model="logistic", epochs=1, deterministic=True, out=tmp_path / "run", set=ONE, **QUIET)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_rate_beyond_all_measure_is_still_named_as_the_cause(tmp_path: Path) -> None:
    with pytest.raises(NonFinite, match="the learning rate is too high: without any update at all"):
        tw.fit("points:samples=200", model="mlp", optimizer="sgd:lr=1e38", out=tmp_path / "run", set=ONE, **QUIET)


def test_the_epochs_of_a_run_are_those_that_were_done(train: Train) -> None:
    run = train("run", epochs=1, set=OFF)
    assert run.epochs == 1
    assert tw.resume(run.path, epochs=3, reporter=Silence()).epochs == 3


def test_tiny_work_takes_one_thread_and_says_why(tmp_path: Path) -> None:
    run = tw.fit("points:samples=100", model="logistic", epochs=1, out=tmp_path / "run", **QUIET)
    assert run.recipe.machine.threads == 1
    with pytest.raises(OptionInvalid, match="more threads only wait for each other"):
        tw.fit("points:samples=100", out=tmp_path / "many", set={"machine.threads": 100_000}, **QUIET)


def test_a_pipe_among_the_images_is_named_and_not_waited_for(tmp_path: Path) -> None:
    rows = np.zeros((8, 8), np.uint8)
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(rows + 20 * number + (label == "b")).save(tmp_path / f"data/{label}/{number}.png")
    os.mkfifo(tmp_path / "data/a/pipe.png")
    with pytest.raises(FilesInvalid, match="a/pipe.png is no regular file"):
        tw.fit(tmp_path / "data", out=tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_file_of_ones_own_that_leaves_the_interpreter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("raise SystemExit(5)\n")
    with pytest.raises(ModelInvalid, match="leaves.py cannot be imported: SystemExit: 5"):
        tw.fit("points:samples=60", model=f"{tmp_path / 'leaves.py'}:Net", out=tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_file_that_puts_nothing_on_a_shelf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("NOTHING = None\n")
    with pytest.raises(ModelInvalid, match="empty.py puts nothing on any shelf"):
        tw.fit("points:samples=60", with_files=[tmp_path / "empty.py"], out=tmp_path / "run", **QUIET)


def test_lazy_layers_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="has lazy layers"):
        tw.fit("points:samples=60", model=nn.LazyLinear(2), out=tmp_path / "run", **QUIET)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="width is given twice"):
        tw.Choice.parse("convnet:width=8,width=9")


def test_a_reader_that_goes_away_does_not_end_the_training(tmp_path: Path) -> None:
    words = f"fit points:samples=200 --epochs 30 --set machine.threads=1 --out {tmp_path / 'run'}"
    subprocess.run(f"{sys.executable} -m trainwell {words} | head -1", shell=True, check=True, capture_output=True)
    assert steps_of(tmp_path / "run")[-1] == 30 * 9 - 1


def test_two_threads_may_be_the_first_to_look_at_a_shelf() -> None:
    code = (
        "import threading\n"
        "from trainwell.core.shelves import sources\n"
        "found = []\n"
        "threads = [threading.Thread(target=lambda: found.append('points' in sources)) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "print(found == [True] * 4)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
