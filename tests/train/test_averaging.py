"""Weights averaged over the late epochs of a run: what is averaged, evaluated, delivered and resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trainwell as tw
from trainwell.core.state import State
from trainwell.errors import OptionInvalid, RecipeInvalid
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

from .conftest import Fail

SWA = {
    "regularization.ema_decay": None,
    "regularization.patience": None,
    "regularization.swa_start": 0.5,
}


class Collect:
    """Keeps the weights at the end of each epoch."""

    def __init__(self) -> None:
        self.weights: list[list[torch.Tensor]] = []

    def after_epoch(self, state: State) -> None:
        self.weights.append([parameter.detach().clone() for parameter in state.model.parameters()])


def test_the_mean_of_the_late_epochs_is_reported_and_delivered(train: Callable[..., Run]) -> None:
    kept = Collect()
    run = train("run", epochs=4, model="mlp:hidden=[16],norm=batch", set=SWA, hooks=[kept])
    for average, values in zip(run.model.parameters(), zip(*kept.weights[1:], strict=True), strict=True):
        torch.testing.assert_close(average, torch.stack(values).mean(0), rtol=1e-5, atol=1e-6)
    inputs = torch.randn(8, 2)
    delivered = tw.load(run.path).model.eval()  # its batch norms are folded into the layers before them
    torch.testing.assert_close(delivered(inputs), run.model(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("step", [40, 71])
def test_a_run_stopped_while_it_averages_ends_with_the_same_bits(
    train: Callable[..., Run], assert_same: Callable[[Path, Path], None], step: int
) -> None:
    words = {"model": "mlp:hidden=[16],norm=batch", "set": SWA}
    whole = train("whole", **words)
    with pytest.raises(RuntimeError, match="killed"):
        train("cut", hooks=[Fail(step)], **words)
    cut = whole.path.with_name("cut")
    assert tw.resume(cut, reporter=Silence()).test == whole.test
    assert_same(whole.path, cut)


def test_two_averages_contradict(train: Callable[..., Run]) -> None:
    with pytest.raises(RecipeInvalid, match=r"ema_decay=0.9 and swa_start=0.5 contradict"):
        train("run", set={"regularization.swa_start": 0.5})


def test_rates_by_depth_and_by_name_reach_the_optimizer(train: Callable[..., Run]) -> None:
    seen: list[dict[str, float]] = []

    class Look:
        def before_forward(self, state: State) -> None:
            groups = state.optimizer.param_groups
            seen.append({name: group["lr"] / groups[0]["lr"] for group in groups for name in group["param_names"]})

    settings: dict[str, Any] = {"rates.per_depth": 0.5, "rates.per_layer.*.bias": 4.0}
    train("run", epochs=1, model="mlp:hidden=[16,8]", set=settings, hooks=[Look()])
    weights = sorted(value for name, value in seen[0].items() if name.endswith("weight"))
    biases = sorted(value for name, value in seen[0].items() if name.endswith("bias"))
    first = max(weights)
    assert [value / first for value in weights] == pytest.approx([0.25, 0.5, 1.0])
    assert [value / first for value in biases] == pytest.approx([1.0, 2.0, 4.0])


def test_a_pattern_that_matches_nothing_is_refused(train: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match=r"rates.per_layer: 'heat' matches no parameter"):
        train("run", epochs=1, set={"rates.per_layer": {"heat": 2.0}})
