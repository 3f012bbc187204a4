"""The probes of a run at work: what they read off a step, and what they could not examine.

A probe that cannot look at a network says so once, and training goes on.
"""

from collections.abc import Callable, Iterable, Sequence

from trainwell.core.record import Reading
from trainwell.core.state import Probe, State, UpdateProbe
from trainwell.errors import NotExamined
from trainwell.train.cadence import is_looked_at
from trainwell.train.events import Event, Events
from trainwell.train.reporter import Reporter

NOT_EXAMINED = "not examined"  # the kind of the event


class Probing:
    """The probes of a run, and what they read until it is taken to be written down."""

    def __init__(self, probes: Sequence[Probe], *, every: int, events: Events, reporter: Reporter) -> None:
        self._probes, self._every = probes, every
        self._events, self._reporter = events, reporter
        self._readings: list[Reading] = []
        past = (event for step in events.steps for event in events.at(step) if event.kind == NOT_EXAMINED)
        self._unable = {str(event.values["probe"]) for event in past}

    @property
    def has_readings(self) -> bool:
        """Whether something was read that nobody has taken."""
        return bool(self._readings)

    def is_due(self, step: int) -> bool:
        """Whether the probes look at a step."""
        return bool(self._probes) and is_looked_at(step, self._every)

    def before_update(self, state: State) -> None:
        """Look at gradients and activations, in front of the optimizer."""
        for probe in self._probes:
            self._look(probe, probe.measure, state)

    def after_update(self, state: State) -> None:
        """Look at what the optimizer did to the weights."""
        for probe in self._probes:
            if isinstance(probe, UpdateProbe):
                self._look(probe, probe.measure_update, state)

    def take(self) -> list[Reading]:
        """Return what was read, and forget it."""
        taken, self._readings = self._readings, []
        return taken

    def _look(self, probe: Probe, measure: Callable[[State], Iterable[Reading]], state: State) -> None:
        try:
            self._readings += list(measure(state))  # all of it, or nothing where the probe gives up
        except NotExamined as reason:
            name = type(probe).__name__
            if name in self._unable:
                return
            self._unable.add(name)
            self._events.add(Event(state.step, NOT_EXAMINED, {"probe": name, "reason": str(reason)}))
            self._reporter.say(f"{name}: not examined: {reason}")
