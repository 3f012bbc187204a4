"""One self-contained page of results: a table of all claims, then each experiment with checks, figures and numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from trainwell.lab.cache import write_aside
from trainwell.lab.measuring import experiment_of
from trainwell.lab.result import NOT_EXAMINED, NOT_SHOWN, SHOWN, Result, mean_of
from trainwell.pictures.style import template
from trainwell.report.embed import Chart, as_script_data, chart
from trainwell.report.numbers import counted, duration, printable

NAME = "lab.html"
HEIGHT = 320  # pixels of a figure that names none


@dataclass(frozen=True)
class Section:
    """One experiment on the page.

    Attributes:
        result: what came of it.
        claims: the numbers of its claims, in words.
        charts: its figures.
        trouble: why there are none, in words; empty where all were drawn.
        rows: (arm, measure, mean, interval, deviation, seeds) of each number; curves by their two ends.
        facts: (name, value) of how it was measured.
    """

    result: Result
    claims: str
    charts: tuple[Chart, ...]
    trouble: str
    rows: tuple[tuple[str, str, str, str, str, str], ...]
    facts: tuple[tuple[str, str], ...]


def write_page(folder: Path, results: Sequence[Result]) -> Path:
    """Write the page of some results into a folder and return its path.

    Raises:
        RunInvalid: the folder cannot be written.
    """
    path = folder / NAME
    write_aside(path, render(results).encode())
    return path


def render(results: Sequence[Result]) -> str:
    """Return the page, with everything that it needs inside it."""
    sections = [_section(result) for result in results]
    figures = {one.key: one.figure for section in sections for one in section.charts}
    themes = {theme: template(theme).to_plotly_json() for theme in ("light", "dark")}
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("trainwell.lab.showing"), PackageLoader("trainwell.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    verdicts = [result.verdict for result in results]
    checks = [check for result in results for check in result.checks]
    page = environment.get_template("lab.html").render(
        sections=sections,
        title=sections[0].result.question if len(sections) == 1 else "What the lab shows",
        counts=[(verdict, verdicts.count(verdict)) for verdict in (SHOWN, NOT_SHOWN, NOT_EXAMINED)],
        holding=sum(check.holds for check in checks),
        checks=counted(len(checks), "check"),
        machine=dict(_machine(results[0])) if results else {},
        figures=Markup(as_script_data({"figures": figures, "themes": themes})),
        plotly=Markup(get_plotlyjs()) if figures else Markup(),
    )
    return printable(page)


def _section(result: Result) -> Section:
    charts, trouble = _charts(result)
    count = result.measured + result.cached
    read = f", of which {result.cached:,} were read" if result.cached else ""
    return Section(
        result=result,
        claims=", ".join(map(str, result.claims)),
        charts=charts,
        trouble=trouble,
        rows=tuple(_rows(result)),
        facts=(
            ("Form", "quick" if result.is_quick else "full"),
            ("Seeds of each arm", str(result.seeds)),
            ("Measurements", f"{count:,}{read}"),
            ("Work", duration(result.seconds)),
            ("Date", result.date[:16].replace("T", " ")),
        ),
    )


def _charts(result: Result) -> tuple[tuple[Chart, ...], str]:
    """Return the figures of a result; one that cannot be drawn costs the figures and not the numbers."""
    if result.table is None:
        return (), ""
    try:
        figures = experiment_of(result.name).figures(result.table)
        return tuple(_chart(result, number, figure) for number, figure in enumerate(figures, start=1)), ""
    except Exception as error:  # whatever a figure does, the numbers are shown
        return (), f"The figures could not be drawn: {type(error).__name__}: {error}"


def _chart(result: Result, number: int, figure: Any) -> Chart:
    """Set a figure on the page: its `layout.meta` may name a title and a caption, else its axes do."""
    layout, meta = figure.layout, figure.layout.meta
    meta = meta if isinstance(meta, dict) else {}
    if layout.height is None:
        figure.update_layout(height=HEIGHT)
    above, across = layout.title.text or "", layout.xaxis.title.text or ""
    title = meta.get("title") or (above[:1].upper() + above[1:]) or f"Figure {number}"
    caption = meta.get("caption") or (f"Over {across[:1].lower()}{across[1:]}." if across else "")
    return chart(f"{result.name}-{number}", title, figure, caption=caption, alt=f"{title}. {caption}")


def _rows(result: Result) -> Iterator[tuple[str, str, str, str, str, str]]:
    for arm, measure, numbers in result.table.rows() if result.table is not None else ():
        seeds = str(len(numbers))
        if numbers.ndim == 1:
            found = mean_of(numbers)
            spread = f"{numbers.std(ddof=1):.3g}" if len(numbers) > 1 and abs(found.value) < float("inf") else "-"
            ends = f"{found.low:.4g} to {found.high:.4g}" if spread != "-" else "-"
            yield arm, measure, f"{found.value:.4g}", ends, spread, seeds
        else:
            first, last = (f"{mean_of(numbers[:, end]).value:.4g}" for end in (0, -1))
            yield arm, measure, f"{first} … {last}", counted(numbers.shape[1], "point"), "-", seeds


def _machine(result: Result) -> Iterator[tuple[str, str]]:
    machine, versions = result.machine, result.machine.get("versions", {})
    yield "Processor", f"{machine.get('processor', '?')}, {counted(int(machine.get('cores', 0)), 'core')}"
    yield "System", str(machine.get("system", "?"))
    yield from ((name, str(versions[name])) for name in ("trainwell", "torch", "numpy", "python") if name in versions)
