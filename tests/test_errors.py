"""The tree of errors in the docstring is the tree of classes, with the exit codes that it names."""

import inspect
import re

import pytest

from trainwell import errors
from trainwell.errors import NonFinite, RecipeInvalid, TrainwellError, did_you_mean


def drawn_tree() -> dict[str, str | None]:
    """Each class in the docstring's drawing with the class that it hangs on."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)([A-Z]\w+)  +\S", line)
        if not found:
            continue
        column, name = len(found[1]), found[2]
        above = [(at, other) for at, other in above if at < column]
        parents[name] = above[-1][1] if above else None
        above.append((column, name))
    return parents


def written_tree() -> dict[str, str | None]:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, TrainwellError)]
    own = {c.__name__ for c in classes}
    return {c.__name__: next((b.__name__ for b in c.__mro__[1:] if b.__name__ in own), None) for c in classes}


def test_the_drawing_is_the_code() -> None:
    assert drawn_tree() == written_tree()
    assert len(drawn_tree()) >= 10


def test_every_class_has_the_exit_code_that_the_drawing_gives_its_branch() -> None:
    codes = {"TrainwellError": 3}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.search(r"([A-Z]\w+) .*exit code (\d)$", line):
            codes[found[1]] = int(found[2])
    parents = drawn_tree()
    for name in parents:
        at: str | None = name
        while at is not None and at not in codes:
            at = parents[at]
        assert at is not None
        assert getattr(errors, name).exit_code == codes[at], name


def test_what_a_user_gave_wrong_is_a_value_error_for_plain_python_too() -> None:
    assert issubclass(errors.UserError, ValueError)


def test_a_recipe_shows_all_its_faults() -> None:
    assert str(RecipeInvalid(["a is wrong"])) == "the recipe has a fault: a is wrong"
    error = RecipeInvalid(["a is wrong", "b too"])
    assert str(error) == "the recipe has 2 faults: a is wrong; b too"
    assert error.faults == ("a is wrong", "b too")


def test_non_finite_carries_its_report() -> None:
    assert NonFinite("x", {"step": 3}).report == {"step": 3}
    assert NonFinite("x").report == {}


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("resnet2O", ["resnet20", "resnet110", "mlp"], ": did you mean 'resnet20' or 'resnet110'?"),
        ("mpl", ["mlp", "convnet"], ": did you mean 'mlp'?"),
        ("zebra", ["mlp", "convnet"], ": there are convnet, mlp"),
        ("zebra", [], ": there are none"),
    ],
)
def test_the_nearest_names_are_offered(name: str, known: list[str], words: str) -> None:
    assert did_you_mean(name, known) == words
