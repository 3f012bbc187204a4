"""Stopping in time: when a value that is watched once an epoch no longer gets better.

Source: Prechelt 1998, "Early stopping, but when?".
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from trainwell.errors import OptionInvalid


class EarlyStopping:
    """Says when a value that is watched once an epoch has stopped getting better.

    It is exhausted as soon as `patience` values in a row were no improvement: with patience 1, the
    first epoch that is not better ends training. Keras' EarlyStopping counts alike; torch's
    ReduceLROnPlateau acts one epoch later. A value is better if it beats the best so far by more than
    `min_delta`; the first is always better; NaN never is.

    Attributes:
        best: the best value so far, or None before the first.
        waited: values in a row that were no improvement.

    Raises:
        OptionInvalid: patience below 1, min_delta below 0, or an unknown mode.

    >>> watch = EarlyStopping(patience=2)
    >>> [(watch.update(loss), watch.is_exhausted) for loss in (0.9, 0.5, 0.6, 0.5)]
    [(True, False), (True, False), (False, False), (False, True)]
    """

    def __init__(self, *, patience: int, min_delta: float = 0.0, mode: Literal["min", "max"] = "min") -> None:
        if patience < 1:
            raise OptionInvalid(f"patience must be a whole number >= 1, got {patience!r}: leave it out to never stop")
        if not 0 <= min_delta < math.inf:
            raise OptionInvalid(f"min_delta must be a number >= 0, got {min_delta!r}: it is an absolute difference")
        if mode not in ("min", "max"):
            raise OptionInvalid(f"mode must be one of 'min', 'max', got {mode!r}: 'min' for a loss, 'max' for accuracy")
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.best: float | None = None
        self.waited = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether `patience` values in a row were no improvement."""
        return self.waited >= self.patience

    def update(self, value: float) -> bool:
        """Take the value of one more epoch; return whether it is the best so far."""
        if math.isnan(value):
            is_better = False
        elif self.best is None:
            is_better = True
        else:
            gain = self.best - value if self.mode == "min" else value - self.best
            is_better = gain > self.min_delta
        if is_better:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return is_better

    def state(self) -> dict[str, Any]:
        """Return what must be stored, as JSON data."""
        return {"best": self.best, "waited": self.waited}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        best = state["best"]
        self.best = None if best is None else float(best)
        self.waited = int(state["waited"])
