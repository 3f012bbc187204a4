"""The one-call surface: what `fit`, `resume` and `change` take, and what they give back."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

import trainwell as tw
from trainwell.core.recipe import diff
from trainwell.errors import Interrupted, OptionInvalid, RunInvalid
from trainwell.terminal import LiveReporter, PlainReporter, showing
from trainwell.train.reporter import EpochReport, Silence, StepReport

Fit = Callable[..., tw.Run]
SOURCE = "points:kind=moons,samples=200"


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Fit quickly and quietly: `fit("name", source, epochs=2)`."""

    def quick(name: str, source: object = SOURCE, **words: Any) -> tw.Run:
        words = {"model": "mlp:hidden=[8]", "epochs": 1, "reporter": Silence(), **words}
        words["set"] = {"machine.threads": 1, **words.get("set", {})}
        return tw.fit(source, out=tmp_path / name, **words)

    return quick


def test_a_run_says_what_came_of_it(fit: Fit) -> None:
    run = fit("run", epochs=3)
    assert run.val is not None
    assert run.test is not None
    assert run.accuracy == run.test_accuracy == run.test.accuracy
    assert run.val_accuracy == run.val.accuracy
    assert run.test.interval.low <= run.test.accuracy <= run.test.interval.high
    assert run.classes == ("0", "1")
    assert isinstance(run.model, nn.Module)
    assert [reading.value for reading in run.readings if reading.name == "final/test/accuracy"] == [run.test_accuracy]


def test_no_choice_is_left_open_in_the_recipe_of_a_run(fit: Fit) -> None:
    run = fit("run")
    assert "auto" not in str(run.recipe.to_plain()["machine"])
    assert run.recipe.batch.size != "auto"
    assert tw.Recipe.from_file(run.path / "recipe.yaml") == run.recipe


def test_words_fields_and_a_recipe_add_up(fit: Fit) -> None:
    base = tw.Recipe(seed=3).with_values({"optimizer": "sgd:lr=0.5", "batch.size": 20})
    run = fit("run", recipe=base, optimizer="adamw", set={"optimizer.lr": 0.01})
    assert (run.recipe.seed, run.recipe.batch.size) == (3, 20)
    assert (run.recipe.optimizer.name, run.recipe.optimizer.options["lr"]) == ("adamw", 0.01)


def test_auto_is_what_leaving_it_out_is(fit: Fit) -> None:
    assert fit("said", augmentation="auto", optimizer="auto").recipe == fit("left out").recipe
    assert fit("listed", augmentation=["auto"]).recipe.augmentation == ()


def test_options_given_to_auto_reach_what_is_chosen(fit: Fit) -> None:
    run = fit("run", optimizer="auto:lr=0.25")
    assert run.recipe.optimizer.options["lr"] == 0.25


def test_an_option_of_a_member_may_be_a_choice(fit: Fit) -> None:
    run = fit("run", optimizer=tw.Choice(name="sgd", options={"lr": 0.25}), device=torch.device("cpu"))
    assert run.recipe.optimizer.options["lr"] == 0.25


def test_a_recipe_repeats_and_a_word_beside_it_changes_one_thing(fit: Fit) -> None:
    first = fit("first", epochs=2)
    again = fit("again", None, recipe=first.path, model=None, epochs=None)
    assert again.recipe == first.recipe
    assert (again.path / "record.jsonl").read_bytes() == (first.path / "record.jsonl").read_bytes()
    other = fit("other", None, recipe=first.path, model=None, epochs=None, seed=7)
    assert diff(first.recipe, other.recipe) == [("seed", 0, 7)]


@pytest.mark.parametrize("kind", ["numpy", "tensors", "dataset", "dict", "npz", "csv", "folder"])
def test_all_kinds_of_data_are_taken(fit: Fit, tmp_path: Path, kind: str) -> None:
    inputs = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    np.savez(tmp_path / "data.npz", x=inputs, y=labels)
    lines = [",".join(map(str, [*row, label])) for row, label in zip(inputs.tolist(), labels, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,c,d,label", *lines]))
    for number, row in enumerate(inputs):
        place = tmp_path / "photos" / str(labels[number])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.abs(row) * 50).clip(0, 255).astype(np.uint8).reshape(2, 2)).save(place / f"{number}.png")
    sources: dict[str, object] = {
        "numpy": (inputs, labels),
        "tensors": (x, y),
        "dataset": torch.utils.data.TensorDataset(x, y),
        "dict": {"train": (x[:40], y[:40]), "val": (x[40:60], y[40:60]), "test": (x[60:], y[60:])},
        "npz": str(tmp_path / "data.npz"),
        "csv": tmp_path / "data.csv",
        "folder": tmp_path / "photos",
    }
    run = fit("run", sources[kind])
    assert run.val is not None
    assert run.test is not None
    if kind == "dict":
        assert (run.val.count, run.test.count) == (20, 20)


def test_a_relative_path_is_found_again_from_anywhere(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = np.random.default_rng(0).normal(size=(80, 4))
    np.savez(tmp_path / "data.npz", x=inputs, y=inputs[:, 0] > 0)
    monkeypatch.chdir(tmp_path)
    run = fit("run", "data.npz")
    monkeypatch.chdir("/")
    assert tw.resume(run.path, reporter=Silence()).test == run.test


def test_the_network_of_a_run_is_the_one_handed_over(fit: Fit) -> None:
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    run = fit("run", model=model)
    assert run.model is model
    assert not torch.equal(model.weight, before)


def test_change_holds_from_the_step_at_which_the_run_goes_on(fit: Fit) -> None:
    run = fit("run", optimizer="sgd", schedule="constant")
    assert tw.change(run.path, {"lr": 0.125}) is False
    longer = tw.resume(run.path, epochs=2, reporter=Silence())
    assert [reading.value for reading in longer.readings if reading.name == "lr"] == [0.1, 0.125]


def test_change_refuses_what_cannot_be_set(fit: Fit, tmp_path: Path) -> None:
    run = fit("run")
    with pytest.raises(OptionInvalid, match="'epochs' cannot be set while a run goes on"):
        tw.change(run.path, {"epochs": 3})
    with pytest.raises(OptionInvalid, match="'momentum' cannot be set"):
        tw.change(run.path, {"momentum": 0.5})  # adamw has none
    with pytest.raises(RunInvalid, match="does not exist: beside it are the runs run"):
        tw.change(tmp_path / "ran", {"lr": 0.1})


@pytest.mark.parametrize("epochs", [0, -1, 2.5])
def test_resume_refuses_epochs_that_are_no_count(fit: Fit, epochs: Any) -> None:
    run = fit("run")
    with pytest.raises(OptionInvalid, match=f"epochs must be a whole number >= 1, got {epochs}"):
        tw.resume(run.path, epochs=epochs, reporter=Silence())


def test_a_run_stopped_while_it_decodes_says_how_to_go_on(tmp_path: Path) -> None:
    place = tmp_path / "photos"
    for number in range(40):
        (place / str(number % 2)).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(place / str(number % 2) / f"{number}.png")

    class Impatient(Silence):
        """Presses Ctrl-C as soon as a file is decoded."""

        def work(self, what: str, done: int, total: int) -> None:
            """Press it."""
            raise KeyboardInterrupt

    words: dict[str, Any] = {"model": "logistic", "epochs": 1, "set": {"machine.threads": 1}}
    with pytest.raises(Interrupted, match="go on with `trainwell resume"):
        tw.fit(place, out=tmp_path / "cut", reporter=Impatient(), **words)
    whole = tw.fit(place, out=tmp_path / "whole", reporter=Silence(), **words)
    assert tw.resume(tmp_path / "cut", reporter=Silence()).test == whole.test


REPORT = EpochReport(
    epoch=1, epochs=10, loss=2.1874, train_score=0.3076, val_loss=2.1, val_score=0.306, lr=0.003,
    images_per_second=5120.4, seconds=1.5,
)  # fmt: skip


def test_a_plain_reporter_prints_one_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = PlainReporter()
    reporter.step(StepReport(1, 10, 5, 100, 2.5, 0.25, 5000.0, 60.0))
    reporter.work("decoding", 500, 999)
    reporter.work("decoding", 2000, 2000)
    reporter.epoch(REPORT)
    assert capsys.readouterr().out == (
        "decoding: 2,000 done\nepoch 1/10: loss 2.187, train 0.308, val 0.306, lr 3.0e-03\n"
    )


def test_an_epoch_without_val_has_no_val_in_its_line() -> None:
    without = EpochReport(**{**vars(REPORT), "val_loss": None, "val_score": None})
    assert str(without) == "epoch 1/10: loss 2.187, train 0.308, lr 3.0e-03"


def test_a_live_line_goes_away_however_the_work_ends() -> None:
    shown = io.StringIO()
    live = LiveReporter(Console(file=shown, force_terminal=True, width=100))
    with contextlib.suppress(KeyboardInterrupt), showing(live) as reporter:
        reporter.say("classes [red] and [blue]")
        reporter.epoch(REPORT)
        reporter.step(StepReport(2, 10, 15, 100, 1.25, 0.5, 5000.0, 83.0))
        raise KeyboardInterrupt
    text = shown.getvalue()
    assert "classes [red] and [blue]\n" in text
    assert "val 0.306, lr 3.0e-03, 5,120 images/s" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is given back"
