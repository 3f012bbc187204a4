"""`trainwell lab`: what it prints, what it writes, and which code it leaves with."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from trainwell import cli


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Said]:
    """Run the verb in this process, in an empty folder: `lab("run", "ten_layers")`."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["trainwell", "lab", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return Said(left.value.code, printed.out, printed.err)

    return run


def test_list_shows_claims_names_and_questions(lab: Callable[..., Said], toys: list[str]) -> None:
    said = lab("list", "--with", toys[0])
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].split() == ["claim", "name", "question"]
    assert any(line.split()[:2] == ["77", "toy_shown"] and line.endswith("Is high higher than low?") for line in lines)
    assert any("toy_needy" in line and "cannot be examined: mnist is not here" in line for line in lines)
    said = lab("list", "--with", toys[0], "--json")
    found = json.loads(said.out.splitlines()[-1])["toy_needy"]
    assert found["needs"] == ["mnist"]
    assert (found["arms"], found["seeds"], found["quick_seeds"], found["claims"]) == (["low", "high"], 3, 2, [80])


def test_list_shows_only_what_is_named(lab: Callable[..., Said], toys: list[str]) -> None:
    said = lab("list", "toy_shown", "--with", toys[0])
    assert [line.split()[1] for line in said.out.splitlines()] == ["name", "toy_shown"]
    assert "did you mean 'toy_shown'?" in lab("list", "toy_shwon", "--with", toys[0]).err


def test_list_is_what_the_bare_verb_does(lab: Callable[..., Said], own_shelf: Callable[[], None]) -> None:
    assert lab().out == lab("list").out


def test_run_prints_checks_and_writes_page_table_and_numbers(lab: Callable[..., Said], toys: list[str]) -> None:
    said = lab("run", "toy_shown", "--quick", "--with", toys[0], "--jobs", 1, "--out", "found", "--json")
    assert (said.code, said.err) == (0, "")
    assert "toy_shown  claim 77  shown (2 of 2 checks hold)" in said.out
    assert "experiments  1 shown, 0 not shown, 0 not examined" in said.out
    assert sorted(path.name for path in Path("found").iterdir()) == ["README.md", "lab.html", "toy_shown.json"]
    plain = json.loads(said.out.splitlines()[-1])
    assert (plain["shown"], plain["not_shown"], plain["not_examined"]) == (1, 0, 0)
    assert plain["page"] == "found/lab.html"
    assert [check["verdict"] for check in plain["experiments"][0]["checks"]] == ["shown", "shown"]


def test_without_out_it_goes_below_runs(lab: Callable[..., Said], toys: list[str]) -> None:
    assert lab("run", "toy_shown", "--quick", "--with", toys[0], "--jobs", 1).code == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.endswith("-lab-toy_shown")
    assert (folder / "lab.html").exists()


def test_a_claim_that_is_not_shown_leaves_with_1(
    lab: Callable[..., Said], write_toys: Callable[..., str], own_shelf: Callable[[], None]
) -> None:
    said = lab("run", "toy_shown", "--quick", "--with", write_toys(threshold=30), "--jobs", 1)
    assert said.code == 1
    assert "not shown (1 of 2 checks hold)" in said.out
    assert "experiments  0 shown, 1 not shown, 0 not examined" in said.out


def test_a_measure_that_fails_leaves_with_3_and_loses_no_other(lab: Callable[..., Said], toys: list[str]) -> None:
    said = lab("run", "toy_shown", "toy_failing", "--quick", "--with", toys[0], "--jobs", 1, "--out", "found")
    assert said.code == 3
    assert "failed: toy_failing, arm high, seed 1: ValueError: this seed is bad" in said.out
    assert "1 shown, 0 not shown, 1 not examined" in said.out
    assert Path("found/toy_shown.json").exists()


def test_what_needs_absent_data_is_said_and_is_no_bad_news(lab: Callable[..., Said], toys: list[str]) -> None:
    said = lab("run", "toy_needy", "--with", toys[0], "--jobs", 1)
    assert said.code == 0
    assert "not examined (mnist is not here: name the folder that holds it in TRAINWELL_DATA)" in said.out
    assert "0 shown, 0 not shown, 1 not examined" in said.out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("run", "toy_shwon"), "no experiment is called 'toy_shwon': did you mean 'toy_shown'?"),
        (("rum", "toy_shown"), "the lab knows no 'rum': did you mean 'run'?"),
        (("run",), "name the experiments to run, or all: `trainwell lab list` shows them"),
        (("run", "toy_shown", "--jobs", 0), "jobs must be a whole number >= 1, got 0"),
        (("run", "toy_shown", "--quik"), "there is no option '--quik': did you mean '--quick'?"),
    ],
)
def test_wrong_words_leave_with_2(
    lab: Callable[..., Said], toys: list[str], words: tuple[object, ...], error: str
) -> None:
    said = lab(*words, "--with", toys[0])
    assert said.code == 2
    assert said.err == f"error: {error}\n"
    assert not Path("runs").exists()
