"""The page in a real browser: nothing fails, every chart is drawn, in light and dark and on a phone."""

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trainwell.pictures.style import template
from trainwell.report import write_report

CHARTS = 9
# Collects all that goes wrong from the very first line, and tells the outer page once all charts are drawn.
SPY = """<script>
const troubles = [];
addEventListener("error", (event) => troubles.push(event.message || "a resource failed"), true);
addEventListener("unhandledrejection", (event) => troubles.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => troubles.push(event.violatedDirective));
for (const level of ["error", "warn"]) console[level] = (...words) => troubles.push(words.join(" "));
const look = setInterval(() => {
  const root = document.documentElement;
  if (root.dataset.drawn === undefined) return;
  clearInterval(look);
  const label = document.querySelector(".xtick text");
  const found = { troubles, drawn: root.dataset.drawn, ink: getComputedStyle(label).fill };
  found.requests = performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 60));
  found.overflow = root.scrollWidth - innerWidth;
  parent.postMessage(found, "*");
}, 50);
</script>"""
OUTER = """<title>nothing yet</title><body style="margin:0">
<script>addEventListener("message", (event) => { document.title = JSON.stringify(event.data); });</script>
<iframe src="{page}" style="width:{width}px;height:900px;border:0"></iframe>"""


def visit(browser: str, page: Path, folder: Path, *, width: int, is_dark: bool = False) -> dict[str, Any]:
    """Open a page in a frame of a width, and return what it tells."""
    spied, outer = folder / "spied.html", folder / "outer.html"
    spied.write_text(page.read_text("utf-8").replace("<head>", "<head>" + SPY, 1), "utf-8")
    outer.write_text(OUTER.replace("{page}", spied.as_uri()).replace("{width}", str(width)), "utf-8")
    quiet = "--disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
    theme = f"--blink-settings=preferredColorScheme={0 if is_dark else 1}"
    command = [browser, "--headless", "--no-sandbox", *quiet.split(), f"--user-data-dir={folder / 'profile'}", theme]
    command += ["--window-size=1400,1000", "--virtual-time-budget=20000", "--dump-dom", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stdout[:500]
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("width", "is_dark"), [(1280, False), (1280, True), (390, False)])
def test_the_page_opens_without_an_error_in_every_form(
    browser: str, finished: Any, tmp_path: Path, width: int, is_dark: bool
) -> None:
    found = visit(browser, write_report(finished.folder.path), tmp_path, width=width, is_dark=is_dark)
    assert found["troubles"] == []
    assert int(found["drawn"]) >= CHARTS
    assert found["overflow"] <= 0, "the page scrolls sideways"
    assert [name for name in found["requests"] if not name.startswith("data:")] == []
    color = template("dark" if is_dark else "light").layout.font.color
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    assert found["ink"] == f"rgb({red}, {green}, {blue})"


@pytest.mark.slow
def test_hostile_class_names_run_nothing_in_the_browser(browser: str, writer: Any, tmp_path: Path) -> None:
    evil = ('<img src=x onerror="console.error(1)">', "<script>console.error(2)</script>", "</script><b>", "$\\bad$")
    made = writer(classes=evil).begin().learn().keep_samples().finish()
    found = visit(browser, write_report(made.folder.path), tmp_path, width=1000)
    assert found["troubles"] == []


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "width", "is_dark"), [(3, 390, False), (7, 1280, True), (100, 390, True)])
def test_the_layers_are_drawn_in_every_form(
    browser: str, writer: Any, tmp_path: Path, layers: int, width: int, is_dark: bool
) -> None:
    names = [f"blocks.{number}.convolution" for number in range(layers)]
    made = writer().begin().learn().look(names).keep_samples().finish()
    found = visit(browser, write_report(made.folder.path), tmp_path, width=width, is_dark=is_dark)
    assert found["troubles"] == []
    assert int(found["drawn"]) >= CHARTS + 7
    assert found["overflow"] <= 0, "the page scrolls sideways"


@pytest.mark.slow
def test_a_run_that_died_opens_without_an_error(browser: str, writer: Any, tmp_path: Path) -> None:
    made = writer().begin().learn(epochs=1)
    assert visit(browser, write_report(made.folder.path), tmp_path, width=390)["troubles"] == []
