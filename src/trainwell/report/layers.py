"""What went on inside: what each layer handed on, its gradients and its steps, with how to read them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trainwell.pictures.layers import BOX, MOST_BOXES, MOST_LINES, Scale, distributions, layers_over_looks, looks_of
from trainwell.pictures.series import History, Series
from trainwell.report.embed import Chart, chart
from trainwell.report.evidence import Evidence
from trainwell.report.numbers import counted, percent

USUAL_RATIO = 1e-3  # Karpathy 2019, "A recipe for training neural networks" and CS231n notes: about 0.001
MEASURED = ("activation/", "update/")  # what this section shows, beside `gradient/norm` of the layers
NOT_EXAMINED = "not examined"


@dataclass(frozen=True)
class Layers:
    """The charts of the layers, with words before them and words on what could not be examined."""

    lead: str
    charts: tuple[Chart, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """How one measure is drawn: its name in the record, key and title on the page, axis, scale and caption."""

    name: str
    key: str
    title: str
    axis: str
    scale: Scale
    caption: str
    usual: float | None = None


DRAWN = (
    Drawn(
        "activation/std",
        "spread",
        "Spread of the activations",
        "Standard deviation",
        "logarithmic",
        "Layers of one kind whose spreads stay close, and do not shrink or grow from the first to the last, pass their"
        " signal on well.",
    ),
    Drawn(
        "activation/mean",
        "mean",
        "Mean of the activations",
        "Mean",
        "linear",
        "Behind ReLU it lies above 0, by about as much as the spread; a mean that runs away from 0 many times the"
        " spread drowns the signal.",
    ),
    Drawn(
        "activation/dead",
        "dead",
        "Dead units",
        "Dead units in %",
        "share",
        "Units that answered the same to every sample looked at. They pass nothing on and, behind ReLU, learn nothing"
        " any more. Up to a quarter is common in networks that are well; a share that climbs to all of a layer is not.",
    ),
    Drawn(
        "activation/saturated",
        "saturated",
        "Saturated activations",
        "Values near an end in %",
        "share",
        "Values near the flat ends of an activation function with two ends, where hardly any gradient comes through.",
    ),
    Drawn(
        "gradient/norm",
        "gradients",
        "Gradients of the layers",
        "Norm of the gradient",
        "logarithmic",
        "As the optimizer gets them, after clipping. Norms that fall tenfold and more from the last layer to the first"
        " are vanishing gradients; norms that climb over the steps warn of divergence.",
    ),
    Drawn(
        "update/ratio",
        "updates",
        "Size of the steps",
        "Step over weights",
        "logarithmic",
        "How far one step moves the weights of a layer, over how large they are. About 0.001 is usual (the dotted"
        " line); far below, a layer hardly learns, far above, it is torn about. The schedule moves all layers together:"
        " compare them with each other.",
        USUAL_RATIO,
    ),
)


def layers(evidence: Evidence) -> Layers | None:
    """Return what went on inside the network; None where no layer was looked at."""
    names = layers_of(evidence.readings)
    remarks = tuple(not_examined(evidence))
    if not names:
        return Layers("", (), remarks) if remarks else None
    charts = list(_distributions(evidence))
    calm = []
    for drawn in DRAWN:
        places = {
            name: series
            for name in names
            if (series := evidence.readings.get(drawn.name, {}).get(name)) and len(series)
        }
        if drawn.scale == "share" and places and not any(series.values.any() for series in places.values()):
            calm.append(f"{drawn.title}: none at any look, in {counted(len(places), 'layer')}.")
        elif places:
            charts.append(_chart(drawn, places))
    return Layers(_lead(evidence, len(names)), tuple(charts), (*calm, *remarks))


def layers_of(readings: History) -> list[str]:
    """Return the layers that own weights, in the order in which they act where that is known.

    >>> line = Series(np.arange(1), np.ones(1))
    >>> layers_of({"gradient/norm": {"": line, "bn": line, "fc": line}, "update/ratio": {"fc": line}})
    ['fc']
    """
    found = [*readings.get("activation/std", {}), *readings.get("update/ratio", {})]
    return list(dict.fromkeys(found))


def _lead(evidence: Evidence, count: int) -> str:
    looks = looks_of(
        {**evidence.readings.get("activation/std", {}), **evidence.readings.get("update/ratio", {})}, 10**9
    )
    lines = "a line from blue, the first, to orange, the last" if count <= MOST_LINES else "a row, the first on top"
    return (
        f"The network was looked at {counted(len(looks), 'time')} on its way, from step {looks[0]:,} to {looks[-1]:,},"
        f" and trained exactly as if nobody had looked. Each of its {counted(count, 'layer')} is {lines}. Looks stand"
        " at equal distances, though most were taken at the start, where most happens. In a network that learns well"
        " all layers learn at about the same rate."
    )


def _chart(drawn: Drawn, places: Mapping[str, Series]) -> Chart:
    last = {name: float(series.values[-1]) for name, series in places.items()}
    least, most = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    low, high = (percent(last[name]) if drawn.scale == "share" else f"{last[name]:.2g}" for name in (least, most))
    where = f"At the last look from {low} in {least} to {high} in {most}."
    if len(places) == 1:
        where = f"At the last look {high} in {most}."
    caption = drawn.caption
    if drawn.usual is not None and len(places) > MOST_LINES:
        caption = caption.replace("the dotted line", "grey; blue is below, orange above")
    return chart(
        f"layers-{drawn.key}",
        drawn.title,
        layers_over_looks(places, drawn.axis, scale=drawn.scale, usual=drawn.usual),
        caption=f"{caption} {where}",
        alt=f"{drawn.title} by layer over the looks. {where}",
    )


def _distributions(evidence: Evidence) -> Iterator[Chart]:
    """Yield how the values handed on are spread, before the first step and at the last look."""
    quantiles = evidence.readings.get("activation/quantile", {})
    steps = looks_of(quantiles)
    if not steps:
        return
    looks = {f"step {step:,}": _at(quantiles, step) for step in dict.fromkeys((steps[0], steps[-1]))}
    whole = {words: at for words, at in looks.items() if at}
    if not whole:
        return
    last = list(whole.values())[-1]
    kind, ones = "The box holds the middle half of the values, the whiskers reach from 5 to 95 %", "Boxes"
    if len(last) > MOST_BOXES:
        ones = "Bands"
        kind = "The line is the median, the inner band holds the middle half of the values, the outer one 5 to 95 %"
    yield chart(
        "layers-distribution",
        "What each layer hands on",
        distributions(whole),
        caption=f"{kind}, over samples and units, after the activation function. {ones} that shrink from layer to layer"
        " are a signal that fades; that grow, one that explodes; pressed flat onto 0, units that are off.",
        alt=f"Distribution of the activations of {counted(len(last), 'layer')} at {' and '.join(whole)}.",
    )


def _at(quantiles: Mapping[str, Series], step: int) -> dict[str, dict[float, float]]:
    """Return the quantiles of each layer at one look; layers that lack one are left out."""
    found: dict[str, dict[float, float]] = {}
    for place, series in quantiles.items():
        layer, _, share = place.rpartition("@")
        (there,) = np.nonzero(series.steps == step)
        if there.size and float(share) in BOX:
            found.setdefault(layer, {})[float(share)] = float(series.values[there[0]])
    return {layer: parts for layer, parts in found.items() if len(parts) == len(BOX)}


def not_examined(evidence: Evidence) -> Iterator[str]:
    """Yield what a probe could not examine, and why."""
    for event in evidence.events:
        if event.kind == NOT_EXAMINED:
            yield f"Not examined by {event.values.get('probe', 'a probe')}: {event.values.get('reason', 'no reason')}."
