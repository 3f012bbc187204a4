"""The step: averages by sample, hooks in their places, memory that runs out, early stopping."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.core.record import read_readings
from trainwell.core.state import HOOK_PLACES, State
from trainwell.errors import MemoryExhausted, ModelInvalid, OptionInvalid
from trainwell.train.events import read_events
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

Train = Callable[..., Run]
PLAIN = {"model": "logistic", "optimizer": "sgd:lr=0.1,momentum=0.9,nesterov=false,weight_decay=0.0", "epochs": 2}
OFF = {"regularization.ema_decay": None, "regularization.patience": None, "regularization.clip_norm": None}


def gaussian_rows() -> tuple[np.ndarray, np.ndarray]:
    """Unbalanced labelled rows."""
    generator = np.random.default_rng(4)
    labels = (generator.uniform(size=200) < 0.2).astype(np.int64)
    return (generator.normal(size=(200, 3)) + labels[:, None]).astype(np.float32), labels


def test_a_run_equals_a_plain_loop_in_float64(train: Train) -> None:
    """Logistic regression, written out in NumPy, on the same batches."""
    run = train("run", gaussian_rows(), schedule="constant", batch_size=32, preprocessing="none", set=OFF, **PLAIN)
    seen: list[tuple[Tensor, Tensor]] = []

    class See:
        """Remembers the batches."""

        def before_forward(self, state: State) -> None:
            """Remember."""
            assert state.batch is not None
            seen.append((state.batch.inputs.double(), state.batch.targets))

    again = train("again", gaussian_rows(), schedule="constant", batch_size=32, preprocessing="none", set=OFF,
                  hooks=[See()], **PLAIN)  # fmt: skip
    assert again.model is not None
    start = train("start", gaussian_rows(), batch_size=32, preprocessing="none",
                  set={**OFF, "length.steps": 1, "optimizer.lr": 1e-30}, **PLAIN)  # fmt: skip
    assert start.model is not None
    weights = [parameter.detach().double().numpy().copy() for parameter in start.model.parameters()]
    velocity = [np.zeros_like(weight) for weight in weights]
    losses = []
    for inputs, targets in seen:
        x, y = inputs.numpy(), np.eye(2)[targets.numpy()]
        logits = x @ weights[0].T + weights[1]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(x)), targets.numpy()]).mean())
        gradients = [(p - y).T @ x / len(x), (p - y).mean(0)]
        for i in range(2):
            velocity[i] = 0.9 * velocity[i] + gradients[i]
            weights[i] = weights[i] - 0.1 * velocity[i]
    found = [reading.value for reading in read_readings(run.path / "record.jsonl", name="train/loss")]
    np.testing.assert_allclose(found, losses, rtol=2e-6)
    for parameter, weight in zip(again.model.parameters(), weights, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_accumulation_equals_one_large_batch(train: Train, class_weights: str) -> None:
    runs = [
        train(f"in {pieces}", gaussian_rows(), batch_size=30,
              set={**OFF, "batch.accumulate": pieces, "regularization.class_weights": class_weights}, **PLAIN)
        for pieces in (1, 4)
    ]  # fmt: skip
    for ours, theirs in zip(*(run.model.parameters() for run in runs if run.model is not None), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    losses = [[r.value for r in run.readings if r.name == "train/loss"] for run in runs]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_balanced_class_weights_make_classes_count_alike(train: Train) -> None:
    inputs, labels = gaussian_rows()
    run = train("run", (inputs * 1e-4, labels), preprocessing="none", epochs=60, batch_size=200, model="logistic",
                optimizer="sgd:lr=1.0", set={**OFF, "regularization.class_weights": "balanced"})  # fmt: skip
    assert run.model is not None
    p = run.model(torch.zeros(1, 3)).softmax(1)
    torch.testing.assert_close(p, torch.full((1, 2), 0.5), atol=5e-3, rtol=0)


def test_hooks_act_in_their_places(train: Train) -> None:
    places: list[str] = []

    class Everywhere:
        """Writes down where it was called."""

        def __getattr__(self, name: str) -> Callable[[State], None]:
            if name not in HOOK_PLACES:
                raise AttributeError(name)
            return lambda state: places.append(name)

    train("run", epochs=1, hooks=[Everywhere()])
    assert places[:4] == ["before_step", "before_forward", "after_backward", "after_step"]
    assert places[-1] == "after_epoch"
    assert set(places) == set(HOOK_PLACES)


def test_a_hook_that_would_never_act_is_refused(train: Train) -> None:
    class Mistaken:
        """Has a method of another library."""

        def on_batch_end(self) -> None:
            """Do nothing."""

    with pytest.raises(OptionInvalid, match="Mistaken has none of the methods before_step, .*so it would never act"):
        train("run", hooks=[Mistaken()])


class Greedy(nn.Module):
    """Runs out of memory on more than some samples."""

    def __init__(self, most: int, norm: nn.Module) -> None:
        super().__init__()
        self.most = most
        self.norm = norm
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = self.norm(inputs)
        if self.training and inputs.shape[0] > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return self.linear(inputs)


def test_when_memory_runs_out_batches_are_cut_and_that_is_recorded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Greedy(9, nn.BatchNorm1d(2))
    words = {"epochs": 2, "batch_size": 32, "seed": 0, "reporter": Silence(), "set": {"machine.threads": 1}}
    run = tw.fit("points:kind=moons,samples=300", model=model, out=tmp_path / "run", **words)
    retreats = [event.values for event in read_events(run.path / "events.jsonl")]
    assert retreats == [{"pieces": 2}, {"pieces": 4}]
    assert int(model.norm.num_batches_tracked) == 4 * 14, "a step that was cut short left no trace in the statistics"


def test_when_not_even_two_samples_fit_that_is_said(tmp_path: Path) -> None:
    words = {"epochs": 2, "batch_size": 4, "reporter": Silence(), "set": {"machine.threads": 1}}
    with pytest.raises(MemoryExhausted, match="not even two samples at a time fit into the memory of cpu"):
        tw.fit("points:samples=60", model=Greedy(0, nn.Identity()), out=tmp_path / "run", **words)


def test_early_stopping_restores_the_best_weights(train: Train) -> None:
    run = train("run", epochs=60, model="mlp:hidden=[64]", optimizer="sgd:lr=0.5", schedule="constant",
                source="points:kind=moons,samples=120,noise=0.4",
                set={"regularization.ema_decay": None, "regularization.patience": 2})  # fmt: skip
    losses = [r.value for r in run.readings if r.name == "val/loss"]
    assert len(losses) < 60
    assert len(losses) == int(np.argmin(losses)) + 1 + 2
    assert run.val is not None
    assert run.val.loss == min(losses)


def test_epoch_averages_count_every_sample_once(train: Train) -> None:
    run = train("run", epochs=1, batch_size=37, set=OFF)
    steps = [r.value for r in run.readings if r.name == "train/loss"]
    (epoch,) = [r.value for r in run.readings if r.name == "epoch/loss"]
    sizes = [37] * (280 // 37) + [280 % 37]
    assert epoch == pytest.approx(np.average(steps, weights=sizes), rel=1e-12)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(2, 3), r"must return \(N, K\) = \(\d+, 2\).*check its last layer"),
        (nn.Flatten(0), "has no weights that can be trained"),
        (nn.Linear(5, 2), "cannot take|mat1 and mat2"),
    ],
)
def test_a_network_that_answers_wrongly_is_refused_before_training(
    tmp_path: Path, model: nn.Module, words: str
) -> None:
    with pytest.raises(ModelInvalid, match=words):
        tw.fit("points:samples=60", model=model, out=tmp_path / "run", reporter=Silence(), epochs=1)
    assert not (tmp_path / "run").exists()
