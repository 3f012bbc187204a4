"""The house rules of the code itself: floors, sizes, docstrings, quick imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trainwell

PACKAGE = Path(trainwell.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES, MAX_FUNCTION, MAX_PARAMETERS = 400, 60, 8

# The floor of each part; a part imports from lower floors and from itself. `errors` and `core` are open to all.
FLOORS = {
    "errors": 0,
    "core": 0,
    "data": 1,
    "layers": 1,
    "initialization": 1,
    "graph": 1,
    "models": 2,
    "optimizers": 1,
    "losses": 1,
    "metrics": 1,
    "pictures": 1,
    "schedules": 1,
    "regularization": 2,
    "probes": 2,
    "classifier": 3,
    "train": 4,
    "recipes": 5,
    "evaluation": 5,
    "words": 5,
    "report": 6,
    "terminal": 6,
    "surface": 7,
    "lab": 7,
    "cli": 9,
    "__main__": 10,
    "__init__": 10,
}
SURFACE = ("cli/", "surface.py")  # verbs, whose parameters are the user's words


def part_of(path: Path) -> str:
    """The part of the house that a file belongs to."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports_of(tree: ast.Module) -> list[tuple[int, str]]:
    """Every import of our own package, with its line, wherever it stands."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append((node.lineno, "." * node.level + (node.module or "")))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "trainwell":
            found.append((node.lineno, node.module or ""))
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names if alias.name.partition(".")[0] == "trainwell"]
    return found


def test_every_part_has_a_floor() -> None:
    assert {part_of(path) for path in FILES} <= set(FLOORS)


def test_imports_only_go_down() -> None:
    breaches = []
    for path in FILES:
        here = part_of(path)
        for line, name in imports_of(ast.parse(path.read_text("utf-8"))):
            where = f"{path.relative_to(PACKAGE)}:{line} imports {name}"
            if name.startswith("."):
                breaches.append(f"{where}: absolute imports only")
                continue
            there = name.split(".")[1] if "." in name else "__init__"
            if there != here and not FLOORS[there] < FLOORS[here] and (FLOORS[here], there) != (0, "errors"):
                breaches.append(where)
    assert not breaches, "\n".join(breaches)


def test_core_imports_nothing_of_ours_but_errors() -> None:
    names = {
        f"{path.name}: {name}"
        for path in FILES
        if part_of(path) == "core"
        for _, name in imports_of(ast.parse(path.read_text("utf-8")))
        if not name.startswith(("trainwell.core", "trainwell.errors"))
    }
    assert not names


def test_files_are_short() -> None:
    long = {str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}


def functions() -> list[tuple[str, ast.FunctionDef]]:
    """Every function of the package with its place."""
    return [
        (f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]


def test_functions_are_short() -> None:
    long = {place: (node.end_lineno or 0) - node.lineno + 1 for place, node in functions()}
    surface = {place for place in long if place.startswith(SURFACE)}
    assert {place: lines for place, lines in long.items() if lines > MAX_FUNCTION and place not in surface} == {}


def test_functions_have_few_parameters() -> None:
    many = []
    for place, node in functions():
        is_constructor = node.name == "__init__" or any("card" in ast.unparse(d) for d in node.decorator_list)
        arguments = node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > MAX_PARAMETERS and not is_constructor and not place.startswith(SURFACE):
            many.append(f"{place}: {count}")
    assert not many, "\n".join(many)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_says_what_it_is_about(path: Path) -> None:
    words = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert words
    assert words.partition("\n\n")[0].strip().endswith((".", ":", "?")), "the first line is a sentence"


def test_nothing_unsafe_is_loaded() -> None:
    words = ("import pickle", "yaml.load(", "shell=True")
    found = [f"{path.name}: {word}" for path in FILES for word in words if word in path.read_text("utf-8")]
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                found += [] if given.get("weights_only") == "True" else [f"{path.name}:{node.lineno}: torch.load"]
    assert not found


def test_torchvision_timm_and_kornia_are_never_imported() -> None:
    for path in FILES:
        text = path.read_text("utf-8")
        assert not any(f"import {name}" in text or f"from {name}" in text for name in ("torchvision", "timm", "kornia"))


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def test_importing_trainwell_does_not_import_torch() -> None:
    assert run_python("import sys, trainwell; print('torch' in sys.modules)") == "False"


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['trainwell', '--help']\n"
        "from trainwell.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    out = run_python(code)
    assert out.endswith("False")
    assert "fit" in out


def test_public_names_are_the_ones_that_can_be_imported() -> None:
    assert list(trainwell.__all__) == sorted(trainwell.__all__)
    for name in trainwell.__all__:
        assert getattr(trainwell, name) is not None
