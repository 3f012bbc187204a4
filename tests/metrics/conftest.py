"""Answers of an imagined classifier."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Answers = tuple[NDArray[np.float64], NDArray[np.int64]]


@pytest.fixture
def answers() -> Callable[..., Answers]:
    """Return a maker of (probabilities, targets): classes lie `apart` from each other in units of the noise."""

    def make(
        count: int, size: int, *, apart: float = 2.0, seed: int = 0, chances: list[float] | None = None
    ) -> Answers:
        generator = np.random.default_rng(seed)
        targets = generator.choice(size, size=count, p=chances)
        scores = generator.normal(size=(count, size))
        scores[np.arange(count), targets] += apart
        odds = np.exp(1.5 * apart * scores)
        return odds / odds.sum(axis=1, keepdims=True), targets

    return make
