"""Penalties in a step: their gradients beside that of the data loss, and their sizes, which the record keeps apart."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainwell.core.choice import Choice
from trainwell.core.record import Measure
from trainwell.core.shelves import penalties


class Penalties:
    """The penalties of a run, built around its network.

    A step calls `begin`, then `on_scores` for each piece of its batch, then `on_weights`; `taken` says what the terms
    were.

    Args:
        choices: members of the shelf, each once.
        model: the network in training.
    """

    def __init__(self, choices: Sequence[Choice], model: nn.Module) -> None:
        built = {
            choice.name: (
                penalties[choice.name].traits.get("of", "weights"),
                penalties.build(choice.name, choice.options, model=model),
            )
            for choice in choices
        }
        self.names = tuple(built)
        self._of_scores = {name: penalty for name, (of, penalty) in built.items() if of == "scores"}
        self._of_weights = {name: penalty for name, (of, penalty) in built.items() if of == "weights"}
        self._taken: dict[str, Tensor] = {}

    def __bool__(self) -> bool:
        return bool(self.names)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What the readings mean; each is in the unit of the loss that it is added to."""
        words = "what the penalty adds to the loss of a step, strength included, before the step changes the weights"
        return tuple(Measure(f"penalty/{name}", "as the loss", words) for name in self.names)

    def begin(self) -> None:
        """Begin a step."""
        self._taken = {}

    def on_scores(self, losses: Tensor, scores: Tensor, share: Tensor) -> Tensor:
        """Return the losses (n,) of a piece plus the penalties of its scores (n, K); `share`: what each counts."""
        for name, penalty in self._of_scores.items():
            terms: Tensor = penalty(scores)
            losses = losses + terms
            term = (terms.detach() * share).sum()
            self._taken[name] = self._taken[name] + term if name in self._taken else term
        return losses

    def on_weights(self) -> None:
        """Add the gradients of the penalties of the weights to those that are there."""
        for term in self._terms_of_weights():
            if term.requires_grad:  # nothing is pulled where every weight is frozen
                term.backward()

    def of_weights(self) -> Tensor | float:
        """Return the sum of the penalties of the weights, with its graph."""
        return sum(self._terms_of_weights(), 0.0)

    def _terms_of_weights(self) -> Iterator[Tensor]:
        for name, penalty in self._of_weights.items():
            term: Tensor = penalty()
            self._taken[name] = term.detach()
            yield term

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Let penalties be asked once more in a step; the terms of the step stay what they are."""
        taken = self._taken
        self._taken = {}
        try:
            yield
        finally:
            self._taken = taken

    def taken(self) -> Tensor:
        """Return the terms of this step, (P,) in the order of `names`, on the device: nothing waits for it."""
        return torch.stack([self._taken[name] for name in self.names])
