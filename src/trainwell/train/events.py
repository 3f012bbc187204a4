"""What people do to a run while it goes on: each act is a request first, then an event at its step.

`trainwell set RUN lr=0.01` leaves a request in the run folder; the loop takes it up at its next look,
writes it into `events.jsonl` with the step from which it holds, and applies it. A resumed or repeated
run applies the events at their steps again.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwell.core.record import Journal, read_lines
from trainwell.errors import OptionInvalid, did_you_mean
from trainwell.train.folder import RunFolder

ACTS = ("set", "extend", "retreat")
SETTABLE = ("lr", "weight_decay", "momentum")


@dataclass(frozen=True)
class Event:
    """Something that was done before a step: `set` (optimizer values), `extend` (epochs), `retreat`
    (pieces of a batch, after memory ran out), or a remark that changes nothing, such as `rate`, which says
    why the schedule changed it."""

    step: int
    kind: str
    values: Mapping[str, Any]


class Events:
    """The events of a run: those on disk, and those to come; `steps` are those with something to apply."""

    def __init__(self, folder: RunFolder) -> None:
        self._requests = str(folder.requests)
        self._journal = Journal(folder.events)
        self._by_step: dict[int, list[Event]] = {}
        self.steps: set[int] = set()
        for event in read_events(folder.events):
            self._keep(event)

    def at(self, step: int) -> list[Event]:
        """Return the events to apply before a step."""
        return self._by_step.get(step, [])

    def add(self, event: Event) -> None:
        """Write an event down, on disk before anything follows from it."""
        self._journal.append([{"step": event.step, "kind": event.kind, "values": dict(event.values)}])
        self._journal.sync()
        self._keep(event)

    def remark(self, event: Event) -> None:
        """Write down what follows from the run itself, unless it stands there: a replayed step says it again."""
        if event not in self.at(event.step):
            self.add(event)

    def _keep(self, event: Event) -> None:
        self._by_step.setdefault(event.step, []).append(event)
        self.steps.add(event.step)

    def take_requests(self, step: int) -> bool:
        """Turn waiting requests into events before `step`; return whether there were any."""
        if not os.path.exists(self._requests):
            return False
        waiting = sorted(entry.path for entry in os.scandir(self._requests) if entry.name.endswith(".json"))
        for path in waiting:
            with open(path, encoding="utf-8") as file:
                self.add(Event(step, "set", json.load(file)))
            os.unlink(path)
        return bool(waiting)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def read_events(path: Path) -> list[Event]:
    """Return the events in a file, in order; none if there is no file."""
    if not path.exists():
        return []
    return [Event(line["step"], line["kind"], line["values"]) for line in read_lines(path)]


def request(folder: RunFolder, values: Mapping[str, float], *, settable: Sequence[str]) -> None:
    """Leave a request for the loop: values of the optimizer that shall hold from its next look on.

    Raises:
        OptionInvalid: an unknown name, or a value that is not a finite number >= 0 (lr: > 0).
    """
    faults = []
    for name, value in values.items():
        if name not in settable:
            faults.append(f"{name!r} cannot be set while a run goes on{did_you_mean(name, settable)}")
        elif not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < float("inf"):
            faults.append(f"{name} must be a number >= 0, got {value!r}")
        elif name == "lr" and value == 0:
            faults.append("lr must be a number > 0, got 0")
        elif name == "momentum" and value >= 1:
            faults.append(f"momentum must be a number >= 0 and < 1, got {value!r}")
    if faults:
        raise OptionInvalid("; ".join(faults))
    folder.requests.mkdir(exist_ok=True)
    folder.write_json(folder.requests / f"{time.time_ns():020d}-{os.getpid()}.json", dict(values))
