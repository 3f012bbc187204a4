"""`trainwell landscape`: what it prints, draws and refuses."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainwell import cli

Said = tuple[int, str, str]
Command = Callable[..., Said]


@pytest.fixture
def landscape(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the verb in this process, in an empty folder, and return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["trainwell", "landscape", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, printed.out, printed.err

    return run


def test_it_lists_the_landscapes_with_their_options(landscape: Command) -> None:
    code, out, _ = landscape()
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} >= {"beale", "rosenbrock", "plateau", "ten_terms"}
    assert "(shallow=0.2, steep=14)" in out
    plain = json.loads(landscape("list", "--json")[1].splitlines()[-1])
    assert len(plain["beale"]["heights"]) == len(plain["beale"]["y"])


def test_it_walks_draws_and_answers_in_json(landscape: Command) -> None:
    code, out, _ = landscape(
        "ravine", "--optimizer", "sgd:momentum=0.5,nesterov=false", "--optimizer", "adamw:lr=0.1", "--steps", 4,
        "--batch", 2, "--sub-steps", 3, "--out", "page.html", "--json",
    )  # fmt: skip
    assert code == 0
    plain = json.loads(out.splitlines()[-1])
    assert [(one["asked"][:3], one["kind"], one["steps"]) for one in plain["paths"]] == [
        ("sgd", "batch", 4), ("sgd", "stochastic", 12), ("ada", "batch", 4), ("ada", "stochastic", 12),
    ]  # fmt: skip
    assert plain["out"] == "page.html"
    page = Path("page.html").read_text("utf-8")
    assert page.count('class="plotly-graph-div"') == 6
    assert "adamw:lr=0.1,weight_decay=0.0" in out


def test_without_a_name_every_optimizer_of_the_shelf_walks(landscape: Command) -> None:
    from trainwell.core.shelves import optimizers

    code, out, _ = landscape("ill_conditioned_bowl", "--steps", 2, "--out", "all.html")
    assert code == 0
    for card in optimizers:
        assert f"\n{card.name}" in out
    assert Path("all.html").read_text("utf-8").count('class="plotly-graph-div"') == 1


def test_one_that_diverges_is_cut_and_said(landscape: Command) -> None:
    code, out, _ = landscape("beale", "--optimizer", "sgd:lr=1", "--steps", 50)
    assert code == 0
    assert "of 50 steps: the step from" in out
    assert "so the rate is too large here" in out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["ravin"], "no landscape is called 'ravin': did you mean 'ravine'?"),
        (["beale:steep=1"], "beale has no option 'steep'"),
        (["beale", "--sub-steps", "5"], "--sub-steps are mini-batches: give their size too, --batch M"),
        (["beale", "--optimizer", "zgd"], "no optimizer is called 'zgd'"),
        (["beale", "--optimizer", "sgd:lr=-1"], "sgd:lr must be a number > 0, got -1"),
        (["beale", "--optimizer", "sgd", "--optimizer", "sgd"], "sgd is named twice"),
        (["beale", "--steps", "0"], "steps must be a whole number >= 1, got 0"),
        (["beale", "--batch", "0"], "batch must be a whole number >= 1, got 0"),
        (["beale", "--noise", "1"], "say how many samples"),
        (["ten_terms", "--noise", "1", "--batch", "2"], "whose own noise it has"),
        (["beale", "--start", "1"], "--start is two numbers such as -2.5,1, got '1'"),
        (["beale", "--start", "nan,1"], "start must be two finite numbers"),
        (["beale", "--optimizer", "sgd", "--out", "no/such/folder.html"], "cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_one_paragraph(landscape: Command, words: list[str], fault: str) -> None:
    code, _, err = landscape(*words)
    assert code == 2
    assert fault in err
    assert err.count("\n") == 1
