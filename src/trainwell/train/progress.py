"""How far a run is: the counters that a checkpoint stores and a rollback turns back."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trainwell.train.buffer import Drained


@dataclass
class Progress:
    """Counters of a run.

    `step` optimizer steps and `epoch` passes are done, and the pass under way began at step `begun`;
    `loss`, `weight`, `hits` and `count` are sums over it. `pieces` is into how many micro-batches a batch
    is cut, `epochs` how long the run shall be, `watch` the state of early stopping, `rate` that of a schedule
    which follows the losses.
    """

    epochs: int
    pieces: int = 1
    step: int = 0
    epoch: int = 0
    begun: int = 0
    loss: float = 0.0
    weight: float = 0.0
    hits: float = 0
    count: int = 0
    seconds: float = 0.0
    is_stopped_early: bool = False
    watch: dict[str, Any] = field(default_factory=dict)
    rate: dict[str, Any] = field(default_factory=dict)

    def take(self, drained: Drained) -> None:
        """Add some steps to the pass under way, one by one, however many were drained together."""
        for loss, weight, hits in zip(drained.sums, drained.weights, drained.hits, strict=True):
            self.loss += loss
            self.weight += weight
            self.hits += hits
        self.count += drained.count

    def end_epoch(self) -> None:
        """Begin the next pass."""
        self.epoch += 1
        self.begun = self.step
        self.loss = self.weight = 0.0
        self.hits = self.count = 0

    def copy(self) -> "Progress":
        """Return an independent copy."""
        return replace(self, watch=dict(self.watch), rate=dict(self.rate))

    def to_plain(self) -> dict[str, Any]:
        """Return the counters as plain data."""
        return asdict(self)
