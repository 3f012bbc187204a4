"""The page of a network before any training: its picture, its stages, and all its layers."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from trainwell.models.anatomy import Anatomy
from trainwell.models.anatomy.counting import CONVENTIONS
from trainwell.models.anatomy.table import layer_rows, said, size, sizes, stage_rows
from trainwell.pictures.anatomy import layers_in_order, path_lengths
from trainwell.pictures.style import template
from trainwell.report.embed import Chart, as_script_data, chart
from trainwell.report.numbers import counted, printable


def anatomy_page(found: Anatomy) -> str:
    """Return the page, with everything that it needs inside it."""
    charts = [_picture(found), *_lengths(found)]
    themes = {theme: template(theme).to_plotly_json() for theme in ("light", "dark")}
    environment = Environment(
        loader=PackageLoader("trainwell.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("anatomy.html").render(
        title=found.title,
        input=sizes(found.input_shape),
        facts=_facts(found),
        charts=charts,
        stages=list(stage_rows(found)),
        layers=list(layer_rows(found)),
        notes=[words for name, words in said(found) if name in ("not run", "not counted", "field", "note")],
        figures=Markup(as_script_data({"figures": {one.key: one.figure for one in charts}, "themes": themes})),
        plotly=Markup(get_plotlyjs()),
    )
    return printable(page)


def _facts(found: Anatomy) -> list[tuple[str, str, str]]:
    """Return (name, value, what it means) of the totals."""
    trained = "all" if found.trainable == found.parameters else f"{found.trainable:,}"
    words = "multiply-adds for a sample" if found.count == "macs" else f"for a sample, counted as {found.count}"
    return [
        ("Layers", f"{len(found.layers):,}", f"norms and activations too; {counted(len(found.stages), 'stage')}"),
        ("Parameters", f"{found.parameters:,}", f"{trained} are trained"),
        ("Operations", f"{found.operations:,}", words),
        ("Activations", size(found.memory), "written for a sample, float32"),
        ("Kept", size(found.kept), "of a sample, for the way back"),
        ("At once", size(found.peak), "at least, on the way forward"),
    ]


def _picture(found: Anatomy) -> Chart:
    stages = ", ".join(f"{stage.name} {100 * stage.operation_share:.0f} %" for stage in found.stages)
    panels = f"Parameters, operations, activations and receptive field of {len(found.layers)} layers."
    return chart(
        "layers",
        "Layer by layer",
        layers_in_order(found.layers, found.input_shape),
        caption="From the input on the left to the answer on the right; colours are the stages, in the order of their"
        f" names. Operations are counted as {found.count}: {CONVENTIONS[found.count]}.",
        alt=f"{panels} Operations: {stages}.",
    )


def _lengths(found: Anatomy) -> list[Chart]:
    if found.paths is None:
        return []
    units, (low, high) = found.paths.units, found.paths.central(0.95)
    share = 100 * found.paths.between(low, high)
    caption = (
        f"Each of {counted(units, 'residual unit')} is passed through its branch or along its skip, so there are"
        f" 2^{units} paths, and their lengths are Binomial({units}, 1/2): {share:.1f} % of them have {low} to {high}"
        " branches."
    )
    return [chart("paths", "How long paths are", path_lengths(found.paths), caption=caption, alt=caption)]
