"""What lies near what in the space of a network's features, before and after it went on to these images."""

from dataclasses import dataclass

import numpy as np

from trainwell.pictures.neighbours import alike, neighbours, some_of_each
from trainwell.report.embed import Chart, chart, data_uri
from trainwell.report.evidence import Array, Evidence
from trainwell.report.numbers import percent

STAGES = {"random": "random weights", "source": "weights of the source", "end": "weights of this run"}
MOST_ROWS, NEIGHBOURS = 8, 4


@dataclass(frozen=True)
class Neighbours:
    """The chart, with words before it."""

    lead: str
    chart: Chart


def nearest_neighbours(evidence: Evidence) -> Neighbours | None:
    """Return which train images are neighbours; None where the run has begun from no source, or too few are there."""
    images, labels = evidence.samples.get("sheet/images"), evidence.samples.get("sheet/labels")
    if images is None or labels is None or len(images) <= NEIGHBOURS:
        return None
    codes = _stages(evidence, len(images))
    if not codes:
        return None
    asked = some_of_each(labels, MOST_ROWS)
    drawn = neighbours(
        [data_uri(each) for each in images], labels, evidence.classes, codes, asked=asked, count=NEIGHBOURS
    )
    shares = ", ".join(f"{percent(alike(values, labels, NEIGHBOURS), 0)} with {name}" for name, values in codes.items())
    chance = float(((labels[:, None] == labels[None]).sum(axis=1) - 1).mean()) / (len(labels) - 1)
    return Neighbours(
        lead=f"Which of {len(images)} train images lie nearest to an image in what the head is given. Of"
        f" {NEIGHBOURS} neighbours of each, so many are of its class: {shares}; by chance {percent(chance, 0)} would"
        " be.",
        chart=chart(
            "neighbours",
            "Nearest neighbours",
            drawn,
            caption="On the left an image, right of it its neighbours, the nearest first; a purple frame marks another"
            " class. These images were trained on: on new ones the share is lower where a network has learned them by"
            " heart.",
            alt=f"Neighbours of {len(asked)} images; of the same class: {shares}.",
        ),
    )


def _stages(evidence: Evidence, count: int) -> dict[str, Array]:
    """Return the features of each stage of the weights by its name; an end that is as the source was counts once."""
    held = {name: evidence.codes[name] for name in STAGES if name in evidence.codes}
    held = {name: codes for name, codes in held.items() if codes.ndim == 2 and len(codes) == count}
    if "end" not in held:
        return {}
    if "source" in held and np.array_equal(held["source"], held["end"]):
        del held["end"]
    return {STAGES[name]: codes for name, codes in held.items()}
