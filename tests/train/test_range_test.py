"""The range test's sweeps: each step at its own rate from the same weights, ended where training explodes."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.core.shelves import optimizers
from trainwell.core.state import State
from trainwell.errors import MemoryExhausted, OptionInvalid
from trainwell.recipes.auto import auto
from trainwell.train.build import Job
from trainwell.train.execute import ready
from trainwell.train.folder import RunFolder
from trainwell.train.range_test import (
    FEWEST_STEPS,
    FINE_DECADES,
    FINE_SWEEPS,
    HIGHEST,
    LOWEST,
    refuse_own_steps,
    sweeps,
)
from trainwell.train.reporter import Silence
from trainwell.train.run import Given
from trainwell.train.snapshot import named_tensors

Prepare = Callable[..., tuple[Job, RunFolder]]


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Prepare]:
    """Build the job of a recipe and return it with its folder."""
    with ExitStack() as files:

        def build(
            model: nn.Module | None = None, hooks: tuple[object, ...] = (), **values: Any
        ) -> tuple[Job, RunFolder]:
            fixed = {"data.source": "points:kind=moons,samples=400", "model": "mlp:hidden=[16],dropout=0.1"}
            fixed |= {"machine.threads": 1, "length.epochs": 4, "batch.size": 32, "probes": []}
            fixed |= {"model": "given"} if model is not None else {}
            folder = RunFolder.create(tmp_path / "run")
            job, _ = ready(
                folder,
                tw.Recipe().with_values({**fixed, **values}),
                Given(model=model, hooks=hooks),
                decide=auto,
                reporter=Silence(),
                begun=0.0,
                is_stopped=lambda: False,
                files=files,
            )
            return job, folder

        yield build


class Remember:
    """A hook that remembers the rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def after_step(self, state: State) -> None:
        """Remember."""
        self.rates.append(state.lr)


def test_each_step_has_its_rate_a_constant_factor_above_the_one_before(prepare: Prepare) -> None:
    hook = Remember()
    job, folder = prepare(hooks=(hook,), optimizer="sgd:lr=0.5")
    coarse, *fine = sweeps(job, folder)
    assert len(fine) == FINE_SWEEPS
    assert coarse.rates[0] == LOWEST
    assert coarse.rates[-1] == pytest.approx(HIGHEST)
    for sweep in (coarse, *fine):
        ratios = [after / before for before, after in itertools.pairwise(sweep.rates)]
        assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert len(fine[0].rates) == FEWEST_STEPS
    assert fine[0].rates[-1] / fine[0].rates[0] == pytest.approx(10**FINE_DECADES)
    steps = len(coarse.losses)
    assert hook.rates[: steps + 1] == pytest.approx(coarse.rates[: steps + 1])


def test_weights_optimizer_schedule_and_generators_end_as_they_began(prepare: Prepare) -> None:
    job, folder = prepare(optimizer="adamw", **{"regularization.ema_decay": 0.9})
    before = {name: tensor.clone() for name, tensor in named_tensors(job.model).items()}
    schedule, state = job.schedule, torch.get_rng_state()
    groups = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in job.optimizer.param_groups]
    sweeps(job, folder)
    after = named_tensors(job.model)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not job.optimizer.state
    assert job.schedule is schedule
    assert torch.equal(torch.get_rng_state(), state)
    assert groups == [
        {k: v for k, v in group.items() if k not in ("params", "lr")} for group in job.optimizer.param_groups
    ]


class Bowl(nn.Module):
    """Answers with a weight, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the weight for each sample."""
        return self.w + 0 * inputs[:, :1]


def test_on_a_bowl_the_losses_are_the_closed_form_and_it_explodes_beyond_the_stable_rate(prepare: Prepare) -> None:
    """Squared error against plane's numbers, of which one batch is all: w - m falls by (1 - c lr) a step."""
    options = {
        "data.source": "points:kind=plane,samples=64,noise=0",
        "data.val_fraction": 0.0,
        "data.test_fraction": 0.0,
    }
    optimizer = "sgd:momentum=0.0,nesterov=false,weight_decay=0.0"
    job, folder = prepare(Bowl(), **{**options, "batch.size": 64, "optimizer": optimizer, "preprocessing": "none"})
    batch = next(iter(job.loaders.train.epoch(0)))
    targets = job.train_pipeline(batch, 0).targets.double().flatten().numpy()
    coarse, *fine = sweeps(job, folder)
    for sweep in (coarse, *fine):
        w = 2.0
        for rate, loss in zip(sweep.rates, sweep.losses, strict=False):
            if rate > 1:
                break  # beyond the stable rate rounding grows too
            w = w - rate * _grad(job, w, targets)
            assert loss == pytest.approx(_loss(job, w, targets), rel=2e-4, abs=1e-6)
    assert coarse.end.startswith("the loss was ")
    curvature = _grad(job, 1.0, targets) - _grad(job, 0.0, targets)
    assert coarse.last > 2 / curvature, "nothing explodes below the stable rate"


def _loss(job: Job, w: float, targets: np.ndarray) -> float:
    scores = torch.full((len(targets), 1), w, dtype=torch.float64)
    return float(job.criterion(scores, torch.from_numpy(targets)[:, None]).mean())


def _grad(job: Job, w: float, targets: np.ndarray) -> float:
    return (_loss(job, w + 1e-3, targets) - _loss(job, w - 1e-3, targets)) / 2e-3


class Breaking(nn.Module):
    """A linear map whose answers are NaN from a number of passes on."""

    def __init__(self, passes: int) -> None:
        super().__init__()
        self.fc, self.left = nn.Linear(2, 2), passes

    def forward(self, inputs: Tensor) -> Tensor:
        """Return scores."""
        self.left -= self.training
        scores: Tensor = self.fc(inputs)
        return scores * math.nan if self.left < 0 else scores


def test_a_sweep_that_meets_nan_ends_there_and_says_where(prepare: Prepare) -> None:
    job, folder = prepare(Breaking(23), optimizer="sgd")
    coarse = sweeps(job, folder)[0]
    assert len(coarse.losses) < 23
    assert coarse.end == f"the loss was nan behind a step at {coarse.rates[len(coarse.losses)]:.2g}"
    assert all(map(math.isfinite, coarse.losses))


class Greedy(nn.Module):
    """Runs out of memory when it trains on more than four samples."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.most = nn.Linear(2, 2), 1_000

    def forward(self, inputs: Tensor) -> Tensor:
        """Return scores."""
        if self.training and len(inputs) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        scores: Tensor = self.fc(inputs)
        return scores


def test_memory_that_runs_out_is_said_with_the_cure(prepare: Prepare) -> None:
    model = Greedy()
    job, folder = prepare(model, optimizer="sgd")
    job.model.most = 4  # type: ignore[assignment]
    with pytest.raises(MemoryExhausted, match="a batch of 32 does not fit into the memory of cpu: choose a smaller"):
        sweeps(job, folder)


def test_somebody_who_asks_to_stop_is_heard(prepare: Prepare) -> None:
    job, folder = prepare(optimizer="sgd")
    with pytest.raises(KeyboardInterrupt):
        sweeps(job, folder, is_stopped=lambda: True)


def test_optimizers_that_search_their_own_steps_are_refused_in_words() -> None:
    own = [card.name for card in optimizers if card.traits.get("needs_closure")]
    for name in own:
        with pytest.raises(OptionInvalid, match=f"lr-find moves the rate .* {name} searches the length of each step"):
            refuse_own_steps(name)
        with pytest.raises(OptionInvalid, match="name an optimizer that follows its rate, such as sgd or adamw"):
            tw.lr_find("points:samples=200", optimizer=name)
    refuse_own_steps("sgd")
