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
        (["show", "optimizer"], "needs a NAME behind it: there are adamw"),
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
