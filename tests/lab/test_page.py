"""What is written of results: the page, the table of claims, and the numbers as JSON."""

import dataclasses
import html
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainwell.errors import RunInvalid
from trainwell.lab.result import Result
from trainwell.lab.runner import run
from trainwell.lab.showing.markdown import readme, write_results
from trainwell.lab.showing.page import render, write_page


@pytest.fixture
def results(toys: list[str]) -> list[Result]:
    """One that is shown, one that failed, one without data, one without figures."""
    names = ["toy_shown", "toy_failing", "toy_needy", "toy_undrawn"]
    return run(names, files=toys, jobs=1, is_quick=True)


@pytest.fixture
def refuted(write_toys: Callable[..., str], own_shelf: Callable[[], None]) -> Result:
    """One of whose two checks one fails."""
    own_shelf()
    return run(["toy_shown"], files=[write_toys(threshold=30)], jobs=1, is_quick=True)[0]


def text_of(page: str) -> str:
    """What a person reads."""
    body = page.partition("<body>")[2].partition('<script type="application/json"')[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_holds_verdicts_checks_figures_and_numbers(results: list[Result]) -> None:
    page = render(results)
    words = text_of(page)
    assert "4 of 4 checks hold." in words
    assert "Experiments: 2 shown, 0 not shown, 2 not examined." in words
    assert "low | is low < 10" in words
    assert "Not examined: mnist is not here" in words
    assert "Failed: toy_failing, arm high, seed 1: ValueError: this seed is bad" in words
    assert "The figures could not be drawn: RuntimeError: no ink" in words
    assert "claim 77" in words
    assert "nobody 1999" in words
    assert re.search(r"low number -?\d", words), "all numbers"
    data = json.loads(page.partition('id="page-data">')[2].partition("</script>")[0])
    assert list(data["figures"]) == ["toy_shown-1"]
    assert page.count('data-chart="toy_shown-1"') == 1


def test_a_verdict_of_numpy_is_stored_like_any_other(results: list[Result], tmp_path: Path) -> None:
    shown = results[0]
    checks = tuple(dataclasses.replace(check, holds=np.bool_(True)) for check in shown.checks)
    write_results(tmp_path, [dataclasses.replace(shown, checks=checks)])
    assert json.loads((tmp_path / f"{shown.name}.json").read_text())["holding"] == len(checks)


def test_a_failed_check_stays_and_is_labelled(refuted: Result) -> None:
    words = text_of(render([refuted]))
    assert "1 of 2 checks hold." in words
    assert re.search(r"high is <b>high</b> > 10 20 exact not shown", words)
    line = next(line for line in readme([refuted.to_plain()]).splitlines() if line.startswith("| high is"))
    assert line == "| high is <b>high</b> | > 10 | 20 | exact | **not shown** |"


def test_words_of_an_experiment_run_nothing_on_the_page(results: list[Result]) -> None:
    evil = dataclasses.replace(results[0], question='<script>alert("1")</script>', note="<img src=x>", why="</p>")
    page = render([evil])
    assert "<script>alert" not in page
    assert "<img" not in page.partition("<body>")[2].partition("<script")[0]


def test_the_page_asks_nothing_of_the_network(results: list[Result]) -> None:
    page = render(results)
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="https?:', page.partition("<script>")[0])


def test_results_are_written_as_json_and_as_one_table(results: list[Result], tmp_path: Path) -> None:
    table = write_results(tmp_path / "out", results)
    assert sorted(path.name for path in table.parent.iterdir()) == [
        "README.md", "toy_failing.json", "toy_needy.json", "toy_shown.json", "toy_undrawn.json",
    ]  # fmt: skip
    plain = json.loads((tmp_path / "out" / "toy_shown.json").read_text("utf-8"))
    assert plain == json.loads(json.dumps(results[0].to_plain()))
    text = table.read_text("utf-8")
    assert "4 experiments: 2 shown, 0 not shown, 2 not examined; 4 of 4 checks hold." in text
    assert "| 77 | [toy_shown](#toy_shown-claim-77) | Is high higher than low? | shown, quick form | 2 |" in text
    assert r"| low \| is low | < 10 |" in text
    assert "**not examined**: mnist is not here" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (6, 8), line


def test_running_one_again_renews_its_lines_and_keeps_the_others(
    results: list[Result], refuted: Result, tmp_path: Path
) -> None:
    write_results(tmp_path, results)
    text = write_results(tmp_path, [refuted]).read_text("utf-8")
    assert "4 experiments: 1 shown, 1 not shown, 2 not examined; 3 of 4 checks hold." in text


def test_a_file_that_is_no_result_is_named(results: list[Result], tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(RunInvalid, match="package.json is not a result of the lab"):
        write_results(tmp_path, results)


def test_a_folder_that_cannot_be_written_is_named(results: list[Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunInvalid, match="lab.html cannot be written"):
        write_page(tmp_path / "file", results)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, 1), (1280, 0), (390, 1)])
def test_the_page_draws_every_figure_in_a_browser(
    browser: str, results: list[Result], tmp_path: Path, width: int, scheme: int
) -> None:
    page = write_page(tmp_path, results)
    frame, tell = tmp_path / "frame.html", "parent.postMessage({drawn: document.documentElement.dataset.drawn,"
    tell += "overflow: document.documentElement.scrollWidth - innerWidth}, '*')"
    spy = f"<script>setInterval(() => document.documentElement.dataset.drawn && {tell}, 50)</script>"
    page.write_text(page.read_text("utf-8").replace("<head>", f"<head>{spy}", 1), "utf-8")
    frame.write_text(
        "<title>nothing</title><script>onmessage = (e) => { document.title = JSON.stringify(e.data) }</script>"
        f'<iframe src="{page.as_uri()}" style="width:{width}px;height:900px;border:0"></iframe>'
    )
    options = "--headless --no-sandbox --disable-gpu --virtual-time-budget=20000 --dump-dom --window-size=1400,1000"
    command = [browser, *options.split(), f"--blink-settings=preferredColorScheme={scheme}"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    found = json.loads(html.unescape(title[1]))
    assert found["drawn"] == "1"
    assert found["overflow"] <= 0, "the page scrolls sideways"
