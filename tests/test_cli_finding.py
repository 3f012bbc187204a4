"""`trainwell lr-find` and `tw.lr_find`: an answer with a picture, no answer with exit code 1, nothing left behind."""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trainwell as tw
from trainwell import cli
from trainwell.errors import OptionInvalid, RecipeInvalid

Say = Callable[..., tuple[int, str, str]]
POINTS = ["points:kind=moons,samples=600", "--model", "mlp:hidden=[16]", "--epochs", "10", "--set", "machine.threads=1"]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Say:
    """Run the command line in this process, in an empty folder, and return code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trainwell", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, printed.out, printed.err

    return run


def left(folder: Path) -> list[str]:
    """What lies in a folder, but for the folder of temporary files itself."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != "temporary")


def test_it_says_what_is_good_and_leaves_a_picture_alone(say: Say, tmp_path: Path) -> None:
    code, out, _ = say("lr-find", *POINTS, "--optimizer", "sgd", "--out", "found.html", "--json")
    assert code == 0
    plain = json.loads(out.splitlines()[-1])
    low, high = plain["good"]
    assert 1e-3 < low <= plain["suggestion"] <= high < 10
    assert f"suggested  lr={plain['suggestion']:g}, well inside the good ones, as the top of one_cycle" in out
    assert "data      600 samples of 2 features" in out
    assert "reasons" not in out
    assert left(tmp_path) == ["found.html"]
    page = (tmp_path / "found.html").read_text("utf-8")
    assert "too high" in page
    assert '<script src="http' not in page


def test_the_same_words_give_the_same_answer_whatever_the_rate_and_the_schedule(say: Say) -> None:
    answers = []
    for words in (["--optimizer", "adamw"], ["--optimizer", "adamw:lr=5", "--schedule", "cosine:warmup=1"]):
        _, out, _ = say("lr-find", *POINTS, *words, "--out", "found.html", "--json")
        answers.append(json.loads(out.splitlines()[-1]))
    assert answers[0]["losses"] == answers[1]["losses"]
    assert answers[0]["suggestion"] == answers[1]["suggestion"] is not None


def test_labels_that_cannot_be_learned_give_no_suggestion_and_code_1(say: Say, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    inputs, labels = generator.normal(size=(2000, 2)).astype(np.float32), generator.integers(0, 2, 2000)
    np.savez(tmp_path / "noise.npz", x=inputs, y=labels)
    words = ["--model", "logistic", "--optimizer", "sgd", "--epochs", 10, "--set", "machine.threads=1"]
    code, out, err = say("lr-find", "noise.npz", *words)
    assert (code, err) == (1, "")
    assert "no answer  the loss never falls: from 0.6" in out
    assert "suggested" not in out
    (picture,) = [name for name in left(tmp_path) if name.endswith(".html")]
    assert picture.startswith("runs/")
    assert [name for name in left(tmp_path) if name.startswith("temporary")] == []


def test_a_run_of_too_few_steps_gives_none_either(say: Say) -> None:
    code, out, _ = say("lr-find", *POINTS[:3], "--epochs", 1, "--batch-size", 256, "--out", "found.html")
    assert code == 1
    assert "no answer  the run has 2 steps, fewer than 20" in out


def test_what_is_wrong_is_said_as_by_fit_and_leaves_nothing(say: Say, tmp_path: Path) -> None:
    code, _, err = say("lr-find", "digitz")
    assert code == 2
    assert "there is no file, folder or built-in source called 'digitz': did you mean 'digits'?" in err
    code, _, err = say("lr-find", *POINTS, "--out", "no/where.html")
    assert code == 2
    assert "no/where.html cannot be written" in err
    assert left(tmp_path) == []
    with pytest.raises(RecipeInvalid, match="optimizer: no optimizer is called 'sdg': did you mean 'sgd'"):
        tw.lr_find("digits", optimizer="sdg")
    with pytest.raises(OptionInvalid, match="no argument 'optimiser': did you mean 'optimizer'"):
        tw.lr_find("digits", optimiser="sgd")


def test_from_python_samples_and_a_network_of_ones_own_stay_as_they_are(say: Say) -> None:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(300, 2)).astype(np.float32)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 2))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = tw.lr_find((inputs, (inputs[:, 0] > 0).astype(np.int64)), model=net, epochs=10, set={"machine.threads": 1})
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert found.suggestion is not None
    assert found.optimizer.startswith("adamw")
