"""What the network was trained on: how many, what form, what was wrong with it, and what it looks like."""

from collections.abc import Iterable
from dataclasses import dataclass

from trainwell.pictures.counts import MOST_NAMED, samples_per_class
from trainwell.pictures.points import scatter_of_numbers, scatter_of_points
from trainwell.report.embed import Chart, chart, data_uri
from trainwell.report.evidence import Evidence
from trainwell.report.headline import noun_of
from trainwell.report.numbers import brief, counted

LISTED = 12
ROWS_UP_TO = 12  # classes that get a row of the contact sheet each
PICTURES_IN_ROW = 8
CHANNELS = {1: "grey", 3: "colour"}


@dataclass(frozen=True)
class Picture:
    """A picture as a `data:` address, its name and its class."""

    uri: str
    name: str
    label: str


@dataclass(frozen=True)
class Problem:
    """Something found in the data: what, and the samples it is about."""

    words: str
    samples: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """What the network was trained on.

    Attributes:
        facts: (name, value).
        notes: what was done to the samples.
        problems: what is wrong with them; empty where nothing was found.
        charts: samples per class, points.
        sheet: rows of (class, pictures); `is_rows` says whether each class has a row of its own, `across` how
            many pictures stand in a row; `is_by_class` whether there are equally many of each class.
        augmented: rows of a picture and its changed versions.
        missing: words for what cannot be shown, and why.
    """

    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
    charts: tuple[Chart, ...]
    sheet: tuple[tuple[str, tuple[Picture, ...]], ...]
    is_rows: bool
    is_by_class: bool
    across: int
    augmented: tuple[tuple[str, ...], ...]
    augmentations: str
    missing: tuple[str, ...]


def dataset(evidence: Evidence) -> Dataset | None:
    """Return what the network was trained on; None where the data were never read."""
    if not evidence.data:
        return None
    sheet = _sheet(evidence)
    augmented = _augmented(evidence)
    chosen = evidence.recipe.get("augmentation")
    is_images, missing = evidence.data.get("kind") == "images", []
    if is_images and not sheet:
        missing.append("There are no pictures of the data: the run ended before its first step, or the file is gone.")
    if is_images and sheet and not chosen:
        missing.append("The training images are not changed at random: the recipe has no augmentation.")
    return Dataset(
        facts=tuple(_facts(evidence)),
        notes=tuple(note for note in evidence.data.get("notes", [])),
        problems=tuple(_problems(evidence)),
        charts=tuple(_charts(evidence)),
        sheet=tuple(sheet),
        is_rows=len(evidence.classes) <= ROWS_UP_TO and evidence.task.name == "classes",
        is_by_class=evidence.task.name == "classes",
        across=min(PICTURES_IN_ROW, max((len(pictures) for _, pictures in sheet), default=1)),
        augmented=augmented,
        augmentations="; ".join(brief(one) for one in chosen) if isinstance(chosen, list) else "",
        missing=tuple(missing),
    )


def _facts(evidence: Evidence) -> list[tuple[str, str]]:
    data = evidence.data
    samples, form = data.get("samples", {}), data.get("form")
    facts = [(split, counted(int(count), noun_of(evidence))) for split, count in samples.items()]
    if form:
        colors = CHANNELS.get(int(form["channels"]), f"{form['channels']} channels")
        facts.append(("size", f"{form['height']} x {form['width']} pixels, {colors}"))
    elif data.get("input_shape"):
        facts.append(("input", " x ".join(map(str, data["input_shape"]))))
    facts.append((evidence.task.name, f"{len(evidence.classes):,}"))
    facts += [
        (f"{one['name']}", f"{one['low']:.4g} to {one['high']:.4g}, median {one['median']:.4g}")
        for one in data.get("numbers", [])[:LISTED]
    ]
    section = evidence.recipe.get("data", {})
    location = str(section.get("location") or brief(section.get("source", "")))
    return [*facts, ("source", location)] if location else facts


def _problems(evidence: Evidence) -> list[Problem]:
    data = evidence.data
    found = [Problem(str(words), ()) for words in data.get("problems", [])]
    bad = [f"{one['file']}: {one['reason']}" for one in data.get("bad_files", [])]
    twins = [f"{one['sample']} = {one['same_as']} ({one['split']})" for one in data.get("left_out", [])]
    groups = [" = ".join(map(str, group)) for group in data.get("duplicates", [])]
    conflicts = [
        " = ".join(f"{one['sample']} ({one['class']})" for one in group) for group in data.get("conflicts", [])
    ]
    listed = (
        (bad, "file could not be used and was left out", "files could not be used and were left out"),
        (
            twins,
            "sample was left out: the same content stands in another split",
            "samples were left out: the same content stands in another split",
        ),
        (conflicts, "content has several labels", "contents have several labels"),
        (groups, "content stands in the data more than once", "contents stand in the data more than once"),
    )
    for names, singular, plural in listed:
        if names:
            found.append(Problem(counted(len(names), singular, plural), _first(names)))
    return found


def _first(names: list[str]) -> tuple[str, ...]:
    more = len(names) - LISTED
    return (*names[:LISTED], *([f"and {more:,} more, in data.json"] if more > 0 else []))


def _charts(evidence: Evidence) -> Iterable[Chart]:
    counts, classes = evidence.data.get("counts", {}), evidence.classes
    if counts and classes:
        totals = [sum(split.get(name, 0) for split in counts.values()) for name in classes]
        ratio = max(totals) / max(1, min(totals))
        balance = (
            "about equally many" if ratio < 1.5 else f"the most frequent has {ratio:.1f} times as many as the rarest"
        )
        noun = evidence.task.output
        how = (
            f"Each bar is a {noun}" if len(classes) <= MOST_NAMED else f"Each column is a {noun}, named where you point"
        )
        yield chart(
            "counts",
            f"Samples per {noun}",
            samples_per_class(counts, classes),
            caption=f"{how}, its colours are the splits: {balance}.",
            alt=f"Samples per {noun}, from {min(totals):,} to {max(totals):,}.",
        )
    points = evidence.samples.get("points/inputs")
    if points is not None and "points/labels" in evidence.samples and evidence.task.name == "classes":
        yield chart(
            "points",
            "The train samples in the plane",
            scatter_of_points(points, evidence.samples["points/labels"], classes),
            caption=f"Each mark is one of {len(points):,} train samples; its colour and shape are its class.",
            alt=f"{len(points):,} points of {len(classes)} classes in the plane.",
        )

    if points is not None and "points/numbers" in evidence.samples and classes:
        numbers = evidence.samples["points/numbers"]
        yield chart(
            "points",
            "The train samples in the plane",
            scatter_of_numbers(points, numbers, classes[0]),
            caption=f"Each mark is one of {len(points):,} train samples; its colour is {classes[0]}.",
            alt=f"{len(points):,} points in the plane, {classes[0]} from {numbers.min():.4g} to {numbers.max():.4g}.",
        )


def _sheet(evidence: Evidence) -> list[tuple[str, tuple[Picture, ...]]]:
    images, labels = evidence.samples.get("sheet/images"), evidence.samples.get("sheet/labels")
    if images is not None and labels is None and evidence.task.name != "classes":
        names = (*evidence.sheet_names, *(f"sample {n}" for n in range(len(evidence.sheet_names), len(images))))
        return [("", tuple(Picture(data_uri(one), name, name) for one, name in zip(images, names, strict=True)))]
    if images is None or labels is None:
        return []
    rows: dict[str, list[Picture]] = {}
    for number, (pixels, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        name = evidence.sheet_names[number] if number < len(evidence.sheet_names) else f"sample {number}"
        row = rows.setdefault(evidence.classes[label], [])
        if len(row) < PICTURES_IN_ROW * (2 if len(evidence.classes) <= 4 else 1):
            row.append(Picture(data_uri(pixels), name, evidence.classes[label]))
    return [(label, tuple(pictures)) for label, pictures in rows.items()]


def _augmented(evidence: Evidence) -> tuple[tuple[str, ...], ...]:
    before, after = evidence.samples.get("augmented/before"), evidence.samples.get("augmented/after")
    if before is None or after is None:
        return ()
    pairs = zip(before, after, strict=True)
    return tuple((data_uri(image), *(data_uri(version) for version in versions)) for image, versions in pairs)
