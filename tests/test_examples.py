"""The examples run, are short, and say what they should; the README names the files that a run has."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import trainwell as tw
from trainwell.train.reporter import Silence

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MAX_LINES = 60


def load(name: str) -> ModuleType:
    """Import an example by its name."""
    (path,) = [path for path in EXAMPLES if path.stem == name]
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw(folder: Path) -> None:
    """Make a folder of grey images, 40 crosses and 40 rings, of which no two are alike."""
    dice = np.random.default_rng(0)
    rows, columns = np.indices((12, 12)) - 5
    shapes = {"cross": (rows == 0) | (columns == 0), "ring": abs(np.hypot(rows, columns) - 4) < 0.8}
    for name, shape in shapes.items():
        (folder / name).mkdir(parents=True)
        for number in range(40):
            moved = np.roll(shape, dice.integers(-2, 3, 2), (0, 1))
            Image.fromarray((moved * 180 + dice.integers(0, 60, moved.shape)).astype(np.uint8)).save(
                folder / name / f"{number}.png"
            )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_what_it_is(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES
    assert load(path.stem).__doc__


@pytest.mark.slow
def test_first_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    load("first_net").main(epochs=1)
    said = capsys.readouterr().out
    assert "test accuracy" in said
    assert "mean loss of the epoch" in said
    assert said.endswith("the same recipe gave the same bits\n")


@pytest.mark.slow
def test_from_a_folder_to_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "marks")
    load("own_folder").main("marks", "marks/cross", epochs=20)
    said = capsys.readouterr().out
    accuracy = re.search(r"^accuracy (\S+) \(.* on 16 images$", said, re.M)
    assert accuracy
    assert float(accuracy[1]) >= 0.9
    assert re.search(r"^40 images, \d+ of them below a confidence of [01]\.\d\d: don't know$", said, re.M)
    assert "most frequent answer: cross" in said
    assert len((tmp_path / "answers.csv").read_text("utf-8").splitlines()) == 41

    (tmp_path / "marks" / "text.png").write_text("no image")
    load("predict").main(["deployed", "marks/ring/0.png", "marks/text.png", "--threshold", "1", "--csv", "one.csv"])
    said = capsys.readouterr().out
    assert said.startswith("Classifier(convnet")
    assert re.search(r"^marks/ring/0.png: don't know \(\d+%, then cross\)$", said, re.M)
    assert "left out: marks/text.png is no image" in said
    assert said.endswith("the table is one.csv\n")


@pytest.mark.slow
def test_own_loop(capsys: pytest.CaptureFixture[str]) -> None:
    load("own_loop").main(epochs=4)
    said = capsys.readouterr().out
    accuracy = re.search(r"^accuracy +(\S+) %", said, re.M)
    assert accuracy
    assert float(accuracy[1]) > 90


@pytest.mark.slow
def test_own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    load("own_network").main(epochs=2)
    assert "largest frequency" in capsys.readouterr().out


@pytest.mark.slow
def test_own_network_from_the_command_line(tmp_path: Path) -> None:
    (path,) = [path for path in EXAMPLES if path.stem == "own_network"]
    words = ["fit", "points:kind=spirals,noise=0.05", "--model", f"{path}:Net:width=16", "--epochs", "1"]
    done = subprocess.run([sys.executable, "-m", "trainwell", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^test +\d+\.\d+ % right", done.stdout, re.M)


def test_the_readme_names_every_file_of_a_run(tmp_path: Path) -> None:
    run = tw.fit("points:samples=60", out=tmp_path / "run", epochs=1, reporter=Silence(), set={"machine.threads": 1})
    there = {path.name + "/" * path.is_dir() for path in run.path.iterdir() if not path.name.startswith(".")}
    tree = re.search(r"^runs/.*/\n((?:  .*\n)+)", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert tree
    assert {line.split()[0] for line in tree[1].splitlines()} == there


def test_the_readme_names_only_verbs_and_files_that_there_are() -> None:
    from trainwell.cli import app

    text = (ROOT / "README.md").read_text("utf-8")
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"^(?:\$ )?trainwell ([a-z-]+)", text, re.M)) <= verbs
    named = re.findall(r"\]\(([\w./]+)\)", text) + re.findall(r'src="([\w./]+)"', text)
    assert all((ROOT / name).exists() for name in named)
