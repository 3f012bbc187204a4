"""The whole page as one text: sections, figures and pictures set into the template."""

import dataclasses
from collections.abc import Iterator

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from trainwell.pictures.style import template
from trainwell.report.cases import galleries
from trainwell.report.dataset import dataset
from trainwell.report.embed import Chart, as_script_data
from trainwell.report.evidence import gather
from trainwell.report.headline import headline
from trainwell.report.labelled import quality_of_labels
from trainwell.report.layers import layers
from trainwell.report.learning import learning
from trainwell.report.making import making
from trainwell.report.neighbours import nearest_neighbours
from trainwell.report.numbers import printable
from trainwell.report.quality import quality
from trainwell.report.regression import quality_of_numbers
from trainwell.train.folder import RunFolder

QUALITIES = {"classes": quality, "numbers": quality_of_numbers, "labels": quality_of_labels}


def render(folder: RunFolder) -> str:
    """Return the page of a run, with everything that it needs inside it."""
    evidence = gather(folder)
    parts = {
        "headline": headline(evidence),
        "quality": QUALITIES[evidence.task.name](evidence),
        "galleries": galleries(evidence),
        "learning": learning(evidence),
        "layers": layers(evidence),
        "neighbours": nearest_neighbours(evidence),
        "dataset": dataset(evidence),
        "making": making(evidence),
    }
    figures = {chart.key: chart.figure for chart in charts_of(parts)}
    themes = {theme: template(theme).to_plotly_json() for theme in ("light", "dark")}
    environment = Environment(
        loader=PackageLoader("trainwell.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        **parts,
        figures=Markup(as_script_data({"figures": figures, "themes": themes})),
        plotly=Markup(get_plotlyjs()) if figures else Markup(),
        folder=str(folder.path),
    )
    return printable(page)


def charts_of(part: object) -> Iterator[Chart]:
    """Yield every chart anywhere in a section.

    >>> list(charts_of(("words", None)))
    []
    """
    if isinstance(part, Chart):
        yield part
    elif isinstance(part, (tuple, list)):
        for item in part:
            yield from charts_of(item)
    elif isinstance(part, dict):
        yield from charts_of(list(part.values()))
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            yield from charts_of(getattr(part, field.name))
