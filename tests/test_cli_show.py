"""`trainwell show RUN`: the state of a run in the terminal, also while it goes on, and what is refused."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import trainwell as tw
from trainwell import cli
from trainwell.train.reporter import Silence

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Say:
    """Run the command line in this process, in an empty folder, and return code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trainwell", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of a network with two bounded layers."""
    folder = tmp_path_factory.mktemp("runs") / "moons"
    words = {"model": "mlp:hidden=[8,6],activation=tanh", "epochs": 3, "set": {"machine.threads": 1}}
    tw.fit("points:kind=moons,samples=200", out=folder, reporter=Silence(), **words)
    return folder


def test_a_run_is_shown_with_its_curves_and_layers(say: Say, run: Path) -> None:
    code, out, err = say("show", run, "--json")
    assert (code, err) == (0, "")
    assert "mlp on points: finished, 3 of 3 epochs done" in out
    assert all(
        word in out for word in ("train/loss", "val/accuracy", "gradient/norm", "saturated", "the layers at step")
    )
    assert max(map(len, out.splitlines()[:-1])) <= 100
    plain = json.loads(out.splitlines()[-1])
    assert [layer["layer"] for layer in plain["layers"]] == ["body.0", "body.2", "fc"]
    assert all(0 < layer["step"] < 10 and layer["gradient"] > 0 for layer in plain["layers"])
    assert plain["layers"][0]["saturated"] is not None
    assert plain["layers"][2]["saturated"] is None
    assert plain["status"] == "finished"


def test_watching_a_finished_run_shows_it_once(say: Say, run: Path) -> None:
    code, out, _ = say("show", run, "--watch")
    assert code == 0
    assert out.count("the layers at step") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "runs/none"], "runs/none does not exist"),
        (["show", "."], "is not a run folder"),
        (["show", "optimizer"], "needs a NAME behind it: there are "),
        (["show", "optimisers"], "'optimisers' is neither a run folder nor a shelf: did you mean 'optimizer'"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_paragraph(say: Say, words: list[str], expected: str) -> None:
    code, _, err = say(*words)
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_run_is_watched_on_a_terminal_until_it_ends(tmp_path: Path) -> None:
    words = ["fit", "points:samples=2000", "--epochs", "40", "--batch-size", "10", "--out", str(tmp_path / "run")]
    trained = subprocess.Popen(
        [sys.executable, "-m", "trainwell", *words, "--set", "machine.threads=1"], stdout=subprocess.DEVNULL
    )
    while not (tmp_path / "run" / "record.jsonl").exists():
        assert trained.poll() is None
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "trainwell", "show", str(tmp_path / "run"), "--watch"]
    child = subprocess.Popen(command, stdout=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux says so when the other side is closed
        pass
    assert child.wait(timeout=60) == 0
    assert trained.wait(timeout=60) == 0
    text = shown.decode()
    assert "still running" in text
    assert "finished, 40 of 40 epochs done" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is given back"


def test_a_schedule_is_drawn_with_its_options_without_torch(say: Say, tmp_path: Path) -> None:
    words = ["show", "schedule", "cosine:final=0.5,warmup=2", "--epochs", "10", "--steps-per-epoch", "4"]
    code, out, err = say(*words, "--out", "rate.html")
    assert (code, err) == (0, "")
    assert "Multiplier of lr of cosine:final=0.5,warmup=2 in 10 epochs of 4 steps" in out
    rows = [line.partition("│")[2] for line in out.splitlines() if "│" in line]
    assert len(rows) == 9
    assert {len(row) for row in rows[5:]} == {40}, "a column a step, and the second half is never below one half"
    assert rows[0].startswith(" " * 7 + "█")
    page = (tmp_path / "rate.html").read_text("utf-8")
    assert "cosine:final=0.5" in page
    assert '<script src="http' not in page
    plain = json.loads(say(*words, "--json")[1].splitlines()[-1])
    assert plain["options"].keys() == {"final", "warmup"}
    curve = plain["curve"]
    assert (curve["epochs"], curve["steps_per_epoch"], curve["steps"]) == (10, 4, list(range(40)))
    assert curve["multipliers"][:9] == [*(step / 8 for step in range(1, 9)), 1.0]
    code = "import sys; sys.argv = 'trainwell show schedule steps'.split()\nfrom trainwell.cli import main\n"
    code += "try: main()\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_a_rate_that_follows_the_losses_is_drawn_for_imagined_ones(say: Say) -> None:
    _, out, _ = say("show", "schedule", "plateau:patience=3,factor=0.5", "--epochs", "12")
    assert "here an imagined loss that falls in the first third and then stays as it is" in out
    assert "after epoch 7: 1 -> 0.5: val/loss was not 0.01 % below 0.8145 for 3 epochs" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["show", "optimizer", "sgd", "--epochs", "3"],
            "--epochs, --steps-per-epoch and --out are for `trainwell show",
        ),
        (["show", "schedule", "cosin:final=0.5"], "no schedule is called 'cosin': did you mean 'cosine'?"),
        (["show", "schedule", "cosine:final=3"], "cosine:final must be a number >= 0 and <= 1, got 3"),
        (
            ["show", "schedule", "cosine:warmup=99"],
            "cosine:warmup of 99 epochs is 1980 steps, and the whole run has 600",
        ),
        (["show", "schedule", "cosine", "--epochs", "0"], "invalid value for '--epochs'"),
        (["show", "schedule", "cosine", "--out", "no/where.html"], "no/where.html cannot be written"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_paragraph(say: Say, words: list[str], expected: str) -> None:
    code, _, err = say(*words)
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1
