"""Every example in a docstring or in the documents runs and prints what it says."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import trainwell
from trainwell import cli
from trainwell.core.shelves import SHELVES

ROOT = Path(__file__).parent.parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = [m.name for m in pkgutil.walk_packages(trainwell.__path__, "trainwell.") if m.name != "trainwell.__main__"]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S)
COMMAND = re.compile(r"^(?:\$ )?(trainwell [a-z].*?)(?:  .*)?$", re.M)
NUMBER = re.compile(r"\d[\d,.]*(?:e[-+]\d+)?")


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_document_examples(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a document's Python from top to bottom, and where a block shows a terminal its commands too."""
    monkeypatch.chdir(tmp_path)
    for shelf in SHELVES.values():  # what a document puts on a shelf is gone with it
        monkeypatch.setattr(shelf, "_cards", {card.name: card for card in shelf})
    draw_photos(tmp_path / "photos")
    names: dict[str, Any] = {}
    text = path.read_text("utf-8")
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 2
        body = re.sub(f"^{block['indent']}", "", block["body"], flags=re.M)
        if block["language"] == "python":
            run_python(body, names, path, line)
        elif block["language"] == "console":
            run_console(body, monkeypatch)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_in_a_document_have_words_that_there_are(path: Path) -> None:
    app: Any = typer.main.get_command(cli.app)
    for block in BLOCK.finditer(path.read_text("utf-8")):
        for command in COMMAND.findall(block["body"]) if block["language"] != "python" else ():
            verb, *words = shlex.split(command.replace("[", "").replace("]", ""))[1:]
            app.commands[verb].make_context(verb, words)  # parses, and runs nothing


def draw_photos(folder: Path) -> None:
    """Make the folder `photos/` that the documents speak of."""
    dice = np.random.default_rng(0)
    for name, colour in (("cat", 60), ("dog", 180)):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = dice.integers(colour - 40, colour + 40, (10, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def run_python(body: str, names: dict[str, Any], path: Path, line: int) -> None:
    """Run a block; a session must print what it says, of anything else the output is not shown."""
    if ">>>" not in body:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile("\n" * (line - 1) + body, str(path), "exec"), names)
        return
    parse, name = doctest.DocTestParser().get_doctest, f"{path.stem}.{line}"
    session = parse(body.replace("…", "..."), names, name, str(path), line - 1)
    session.globs = names  # the parser took a copy, and later blocks need what this one defines
    said = io.StringIO()
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(session, out=said.write, clear_globs=False)
    assert failed == 0, said.getvalue()


def run_console(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each command and compare what it prints: words exactly, any number for a number, anything for `…`."""
    for part in re.split(r"^\$ ", body, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        program, *words = shlex.split(command)
        assert program == "trainwell"
        monkeypatch.setattr(sys, "argv", [program, *words])
        printed = io.StringIO()
        listening = contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed)
        with listening[0], listening[1], pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == (2 if expected.startswith("error:") else 0), printed.getvalue()
        if expected.strip():
            assert re.fullmatch(pattern(expected), printed.getvalue().strip(), re.S), (
                f"`{command}` printed\n{printed.getvalue()}\nand the document says\n{expected}"
            )


def pattern(expected: str) -> str:
    """Turn what a document shows into an expression that what is printed must match as a whole."""
    parts = [NUMBER.sub("\0", part) for part in expected.split()]
    words = [re.escape(part).replace("\0", NUMBER.pattern).replace("…", ".*") for part in parts]
    return re.sub(r"\\s\+\.\*(?=\\s\+|$)", r"(?:\\s.*)?", r"\s+".join(words))


@pytest.mark.parametrize(
    ("shown", "is_right"),
    [
        ("took 4.1 s\nfor 12 epochs\nlr 1.0e-07", True),  # other numbers, other line ends
        ("took … epochs\nlr 2e-4", True),
        ("took 4.1 s\n…\nlr 1.0e-07", True),
        ("took 4.1 s for 12 epochs\n…\nlr 1.0e-07", True),  # nothing was left out
        ("took 4.1 s…\n", True),
        ("took 4.1 s for 12 rounds\nlr 1.0e-07", False),
        ("took 4.1 s for 12 epochs", False),
        ("took s for epochs\nlr 1.0e-07", False),
        ("took … rounds …", False),
    ],
)
def test_a_document_may_differ_in_numbers_alone(shown: str, is_right: bool) -> None:
    assert bool(re.fullmatch(pattern(shown), "took 21.25 s for 8 epochs\nlr 3.1e-04", re.S)) is is_right
