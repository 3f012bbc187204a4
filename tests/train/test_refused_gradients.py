"""An optimizer that refuses a gradient which is not finite: the run goes back and says why, as with every other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.errors import NonFinite
from trainwell.train.reporter import Silence


class Bursting(nn.Module):
    """A linear network whose gradient, not its loss, is infinite from the third step on."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.passes = 0

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.fc(inputs)
        if self.training and torch.is_grad_enabled():
            self.passes += 1
            if self.passes > 2 and scores.requires_grad:
                scores.register_hook(lambda gradient: gradient * torch.inf)
        return scores


@pytest.mark.parametrize("optimizer", ["yellowfin", "sgd:lr=0.1"])
def test_an_infinite_gradient_ends_the_run_with_its_reason(tmp_path: Path, optimizer: str) -> None:
    chance = np.random.default_rng(0)
    points, labels = chance.normal(size=(120, 4)).astype(np.float32), np.arange(120) % 3
    with pytest.raises(NonFinite, match="in layer fc, in the loss or the backward pass"):
        tw.fit(
            (points, labels),
            out=tmp_path / "run",
            model=Bursting(),
            optimizer=optimizer,
            epochs=2,
            batch_size=16,
            reporter=Silence(),
        )
