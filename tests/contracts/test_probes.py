"""What every probe on the shelf must do, whatever its name: look, say what it saw, and touch nothing."""

import math
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.batch import Batch
from trainwell.core.catalog import Card
from trainwell.core.record import Reading
from trainwell.core.shelves import probes
from trainwell.core.state import Probe, State, UpdateProbe

pytestmark = pytest.mark.parametrize("card", list(probes), ids=lambda card: card.name)


class Own(nn.Module):
    """Somebody's network: draws at random, works in place, counts its calls, and keeps a moving sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.calls = nn.Linear(6, 10), nn.Linear(10, 3), 0
        self.register_buffer("total", torch.zeros(6))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        with torch.no_grad():
            self.total.mul_(0.9).add_(inputs.float().mean(0))
        hidden = functional.relu(self.first(inputs + 0.1 * torch.randn_like(inputs)), inplace=True)
        hidden = hidden * (torch.rand(10) < random.random() + np.random.rand())
        return self.second(hidden)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.3), nn.Linear(12, 3))


def convnet() -> nn.Module:
    front = (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout2d(0.2), nn.MaxPool2d(2))
    return nn.Sequential(
        *front, nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(54, 3)
    )


def half() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """A network with inputs of a kind, in a precision and a memory order."""

    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    memory: torch.memory_format = torch.contiguous_format
    pieces: int = 1


IMAGES = (2, 12, 12)
CASES = {
    "features": Case(mlp, (6,)),
    "images": Case(convnet, IMAGES),
    "own": Case(Own, (6,)),
    "bfloat16": Case(convnet, IMAGES, half, torch.channels_last),
    "channels-last": Case(convnet, IMAGES, memory=torch.channels_last),
    "accumulated": Case(convnet, IMAGES, pieces=2),
    "compiled": Case(lambda: torch.compile(mlp(), backend="eager"), (6,)),  # type: ignore[arg-type, return-value]
    "a layer": Case(lambda: nn.Linear(6, 3), (6,)),
}


def ready(case: Case) -> State:
    """A step under way, after its backward pass."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    model = case.model()
    inputs = torch.randn(32, *case.shape)
    if len(case.shape) == 3:
        inputs = inputs.to(memory_format=case.memory)
        model = model.to(memory_format=case.memory)  # type: ignore[call-overload]
    batch = Batch(inputs, torch.arange(32) % 3, torch.arange(32))
    for piece in batch.split(case.pieces):
        with case.autocast():
            scores = model(piece.inputs)
        functional.cross_entropy(scores.float(), piece.targets).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return State(model, optimizer, step=5, batch=batch, autocast=case.autocast)


def look(probe: Probe, state: State) -> list[Reading]:
    """Let a probe look at a whole step."""
    readings = list(probe.measure(state))
    state.optimizer.step()
    if isinstance(probe, UpdateProbe):
        readings += probe.measure_update(state)
    return readings


def traces(state: State) -> dict[str, Any]:
    """Everything that a probe could have touched."""
    model, batch = state.model, state.batch
    assert batch is not None
    found: dict[str, Any] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found |= {f"{name}.grad": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    found |= {f"{name}.training": module.training for name, module in model.named_modules()}
    found |= {f"{name}.hooks": len(module._forward_hooks) for name, module in model.named_modules()}
    found |= {"inputs": batch.inputs.clone(), "torch": torch.get_rng_state(), "python": random.getstate()}
    found |= {"numpy": torch.from_numpy(np.random.get_state()[1].astype(np.int64)), "calls": getattr(model, "calls", 0)}
    found |= {f"{name}.needs": p.requires_grad for name, p in model.named_parameters()}
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_looking_leaves_everything_bit_for_bit(card: Card, case: Case) -> None:
    state, plain = ready(case), ready(case)
    probe = card.build({})
    before = traces(state)
    list(probe.measure(state))
    after = traces(state)
    assert before.keys() == after.keys()
    differing = [
        n for n, v in before.items() if not (torch.equal(v, after[n]) if isinstance(v, Tensor) else v == after[n])
    ]
    assert differing == []
    look(probe, state)
    plain.optimizer.step()
    for ours, theirs in zip(state.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_reading_is_a_number_at_a_place_under_a_name_that_is_defined(card: Card, case: Case) -> None:
    state = ready(case)
    probe = card.build({})
    readings = look(probe, state)
    assert readings
    defined = {measure.name: measure for measure in probe.measures}
    modules = {name.removeprefix("_orig_mod.").removeprefix("_orig_mod") for name, _ in state.model.named_modules()}
    for reading in readings:
        assert reading.step == 5
        assert isinstance(reading.value, float)
        assert math.isfinite(reading.value)
        assert defined[reading.name].unit
        assert defined[reading.name].definition
        assert reading.where.partition("@")[0] in modules | {"(root)"}
    assert len({(reading.name, reading.where) for reading in readings}) == len(readings)


def test_all_that_it_defines_is_measured_somewhere(card: Card) -> None:
    probe = card.build({})
    assert isinstance(probe, Probe)
    measured = {reading.name for case in CASES.values() for reading in look(card.build({}), ready(case))}
    assert measured == {measure.name for measure in probe.measures}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_looking_twice_gives_the_same_numbers(card: Card, case: Case) -> None:
    state = ready(case)
    probe = card.build({})
    assert list(probe.measure(state)) == list(probe.measure(state))


def test_a_compiled_network_is_read_under_its_own_names(card: Card) -> None:
    compiled, plain = (look(card.build({}), ready(CASES[name])) for name in ("compiled", "features"))
    assert [(r.name, r.where) for r in compiled] == [(r.name, r.where) for r in plain]
    assert [r.value for r in compiled] == pytest.approx([r.value for r in plain], rel=1e-5, abs=1e-6)


def test_a_compiled_network_is_not_compiled_anew(card: Card) -> None:
    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(len(inputs))
        return graph

    torch.compiler.reset()
    state = ready(Case(lambda: torch.compile(mlp(), backend=backend), (6,)))  # type: ignore[arg-type, return-value]
    before = len(compiled)
    assert before
    look(card.build({}), state)
    state.model(state.batch.inputs).sum().backward()  # type: ignore[union-attr]
    assert len(compiled) == before


def test_its_cost_is_told_in_steps(card: Card) -> None:
    assert 0 <= card.traits["cost"] < 10
    assert set(card.traits) <= {"cost", "layer_seconds", "weight_passes"}
    assert card.summary.endswith(".")
