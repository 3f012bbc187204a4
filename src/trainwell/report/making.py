"""How the run was made, and how to make and use it again: recipe, choices, events, time, machine, commands."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainwell.core.record import Measure
from trainwell.pictures.measures import measure_over_steps
from trainwell.pictures.series import Series
from trainwell.report.embed import Chart, chart
from trainwell.report.evidence import Evidence
from trainwell.report.headline import noun_of
from trainwell.report.numbers import brief, counted, duration

ASKED = {
    "classes": "answers[0].label, answers[0].confidence",
    "numbers": "answers[0].numbers",
    "labels": "answers[0].labels",
}
EVENTS = {"set": "values were changed", "extend": "made longer", "retreat": "memory ran out: smaller pieces"}


@dataclass(frozen=True)
class Making:
    """How the run was made.

    Attributes:
        choices: (field, value, reason) of each automatic choice.
        recipe: the resolved recipe, as its file says it.
        events: (step, what happened, values).
        timing: the chart of speed, if there is one.
        machine: (name, value).
        commands: (what for, command) for the command line.
        python: the same in Python.
        remark: what must be handed over again; empty where nothing.
    """

    choices: tuple[tuple[str, str, str], ...]
    recipe: str
    events: tuple[tuple[str, str, str], ...]
    timing: tuple[Chart, ...]
    machine: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]
    python: str
    remark: str


def making(evidence: Evidence) -> Making:
    """Return how the run was made."""
    remarks = []
    if _name(evidence, "model") == "given":
        remarks.append("the network was handed over in Python: pass it again as model=")
    if brief(evidence.recipe.get("data", {}).get("source", "")).partition(":")[0] == "given":
        remarks.append("the samples were handed over in Python: pass them again as data=")
    choices = evidence.machine.get("choices", [])
    return Making(
        choices=tuple((str(one["field"]), brief(one["value"]), str(one["reason"])) for one in choices),
        recipe=evidence.recipe_text,
        events=tuple(
            (f"{event.step:,}", EVENTS.get(event.kind, event.kind), brief(dict(event.values)))
            for event in evidence.events
        ),
        timing=tuple(_timing(evidence)),
        machine=tuple(_machine(evidence.machine)),
        commands=tuple(_commands(evidence)),
        python=_python(evidence),
        remark="; ".join(remarks)[:1].upper() + "; ".join(remarks)[1:] + "." if remarks else "",
    )


def _name(evidence: Evidence, field: str) -> str:
    return brief(evidence.recipe.get(field, "")).partition(":")[0]


def _timing(evidence: Evidence) -> list[Chart]:
    epochs = [line for line in evidence.timing if "images_per_second" in line]
    if not epochs:
        return []
    steps = np.array([line["step"] for line in epochs], dtype=np.int64)
    rates = Series(steps, np.array([line["images_per_second"] for line in epochs], dtype=np.float64))
    noun, memory = f"{noun_of(evidence)}s", max(float(line.get("peak_memory_mib", 0)) for line in epochs)
    words = f"In all {duration(evidence.seconds)}" if evidence.seconds is not None else ""
    words += f", at most {memory / 1024:.1f} GiB of memory." if memory else "."
    figure = measure_over_steps(Measure(f"train {noun}", "", ""), {"": rates}, steps_per_epoch=evidence.steps_per_epoch)
    figure.update_layout(title_text=f"Train {noun} per second").update_yaxes(rangemode="tozero")
    return [
        chart(
            "speed",
            "Speed",
            figure,
            caption=f"How many train {noun} went through each second of an epoch, without evaluation; a dip is other"
            f" work on the machine. {words}",
            alt=f"Train {noun} per second, median {np.median(rates.values):,.0f}.",
        )
    ]


def _machine(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not machine:
        return []
    gpus = ", ".join(machine.get("gpus", [])) or "none"
    rows = [
        ("processor", f"{machine.get('processor', '?')}, {counted(int(machine.get('cores', 0)), 'core')}"),
        ("memory", f"{machine.get('memory_gib', '?')} GiB"),
        ("GPUs", gpus),
        ("system", str(machine.get("system", "?"))),
    ]
    return rows + [(str(name), str(version)) for name, version in machine.get("versions", {}).items()]


def _commands(evidence: Evidence) -> list[tuple[str, str]]:
    run = shlex.quote(str(evidence.path))
    done = len(evidence.epoch_ends)
    commands = []
    if evidence.has_classifier:
        asked = "TABLE.csv" if evidence.data.get("columns") else "FILES…"
        commands.append(("Ask it about new files", f"trainwell predict {run} {asked} --csv answers.csv"))
        commands.append(("Measure it on other labelled data", f"trainwell evaluate {run} SOURCE"))
    commands.append(("Train the same again, bit for bit on this machine", f"trainwell fit --recipe {run}"))
    transfer = evidence.recipe.get("transfer", {})
    if evidence.status == "finished" and transfer.get("source") and transfer.get("method") == "features":
        commands.append(("Train all of it from here", f"trainwell fit SOURCE --from {run} --transfer full"))
    elif evidence.status == "finished":
        commands.append(("Train longer", f"trainwell resume {run} --epochs {max(2 * done, 1)}"))
    else:
        commands.append(("Go on where it stopped", f"trainwell resume {run}"))
    commands.append(("Write this page again", f"trainwell report {run}"))
    return commands


def _python(evidence: Evidence) -> str:
    run = repr(str(evidence.path))
    model = ", model=Net()" if _name(evidence, "model") == "given" else ""
    if not evidence.has_classifier:
        return f"import trainwell as tw\n\nrun = tw.resume({run}{model})"
    asked = '["new.jpg"]' if evidence.data.get("kind") == "images" else "features"
    return (
        f"import trainwell as tw\n\nclassifier = tw.load({run}{model})\n"
        f"answers = classifier.predict({asked})\n"
        f"print({ASKED[evidence.task.name]})"
    )
