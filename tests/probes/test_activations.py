"""The shadow pass measures what a layer hands on, against NumPy on values that are known."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from trainwell.core.batch import Batch
from trainwell.core.catalog import Card
from trainwell.core.shelves import activations as shelf
from trainwell.core.shelves import norms, probes
from trainwell.core.state import State
from trainwell.errors import NotExamined
from trainwell.probes.activations import QUANTILES, SAMPLES
from trainwell.probes.watching import BOUNDED, _band

Values = dict[tuple[str, str], float]


def look(model: nn.Module, inputs: Tensor) -> Values:
    """What the probe reads off a network for a batch, by name and place."""
    labels = torch.zeros(len(inputs), dtype=torch.int64)
    state = State(model, torch.optim.SGD(model.parameters(), lr=0.1), batch=Batch(inputs, labels, labels))
    return {(r.name.removeprefix("activation/"), r.where): r.value for r in probes.build("activations").measure(state)}


def places(found: Values) -> list[str]:
    return [where for name, where in found if name == "mean"]


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A dense layer with these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return layer


def test_mean_and_spread_are_those_of_the_first_samples() -> None:
    inputs = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    found = look(nn.Sequential(linear(torch.eye(5))), inputs)
    some = inputs[:SAMPLES].double().numpy()
    assert found["mean", "0"] == pytest.approx(some.mean(), rel=1e-5)
    assert found["std", "0"] == pytest.approx(some.std(), rel=1e-5)
    half = look(nn.Sequential(linear(torch.eye(5))), inputs[:40])
    assert half["mean", "0"] == pytest.approx(inputs[:20].double().mean().item(), rel=1e-5), "half of a smaller batch"


def test_a_mean_far_from_zero_spoils_no_spread() -> None:
    inputs = torch.randn(128, 50, generator=torch.Generator().manual_seed(0))
    found = look(nn.Sequential(linear(torch.eye(50), torch.full((50,), 1000.0))), inputs)
    shifted = (inputs[:SAMPLES] + 1000.0).double().numpy()
    assert found["std", "0"] == pytest.approx(shifted.std(), rel=1e-4)


def test_quantiles_are_values_below_which_that_share_lies() -> None:
    inputs = torch.linspace(0, 1, 64 * 101).reshape(101, 64).T.repeat(2, 1)  # (128, 101): 0 to 1 in each half
    found = look(nn.Sequential(linear(torch.eye(101))), inputs)
    for share in QUANTILES:
        assert found["quantile", f"0@{share:g}"] == pytest.approx(share, abs=0.01)


def test_units_that_answer_alike_to_all_samples_are_dead() -> None:
    bias = torch.tensor([0.0, -100.0, 0.0, -100.0, -100.0, 0.0, 0.0, 0.0])
    model = nn.Sequential(linear(torch.eye(8), bias), nn.ReLU(inplace=True), nn.Linear(8, 2))
    found = look(model, torch.randn(64, 8))
    assert found["dead", "0"] == 3 / 8
    assert ("dead", "2") not in found, "scores have no activation function that could die"
    assert ("saturated", "0") not in found


def test_a_dead_channel_of_maps_is_a_dead_unit() -> None:
    convolution = nn.Conv2d(1, 4, 1)
    with torch.no_grad():
        convolution.weight.fill_(1.0)
        convolution.bias.copy_(torch.tensor([0.0, -100.0, 0.0, 0.0]))
    found = look(nn.Sequential(convolution, nn.BatchNorm2d(4).eval(), nn.ReLU()), torch.randn(8, 1, 6, 6))
    assert found["dead", "0"] == 1 / 4


SATURATED: list[tuple[nn.Module, list[float], float]] = [
    (nn.Tanh(), [-3.0, -1.5, 0.0, 3.0], 0.5),
    (nn.Sigmoid(), [-5.0, -2.0, 0.0, 5.0], 0.5),
    (nn.Hardtanh(), [-2.0, -0.5, 0.5, 2.0], 0.5),
    (nn.Hardtanh(-3.0, 3.0), [-2.0, -0.5, 0.5, 4.0], 0.25),
    (nn.Hardtanh(min_val=0.0, max_val=1.0), [-2.0, -0.5, 0.5, 4.0], 0.25),  # rests at 0, as ReLU
    (nn.ReLU6(), [-2.0, 0.5, 3.0, 7.0], 0.25),
    (nn.Softsign(), [-100.0, -1.0, 0.0, 1.0], 0.25),
    (nn.Hardsigmoid(), [-9.0, -1.0, 1.0, 9.0], 0.5),
]


@pytest.mark.parametrize(("activation", "values", "expected"), SATURATED, ids=lambda value: str(value)[:24])
def test_values_near_an_end_are_saturated(activation: nn.Module, values: list[float], expected: float) -> None:
    found = look(nn.Sequential(linear(torch.eye(4)), activation), torch.tensor(values).repeat(16, 1))
    assert found["saturated", "0"] == expected


@pytest.mark.parametrize(("name", "function"), [("tanh", torch.tanh), ("sigmoid", torch.sigmoid)])
def test_saturated_means_a_slope_below_a_tenth_of_the_largest(name: str, function: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-8, 8, 1601, dtype=torch.float64, requires_grad=True)
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    low, high = _band(name, (), {})
    is_saturated = (y < low) | (y > high)
    largest = float(slope.max())
    assert slope[is_saturated].max() < 0.1 * largest
    assert slope[~is_saturated].min() > 0.09 * largest


def test_every_bounded_activation_of_torch_is_known_by_its_ends() -> None:
    for name, (low, high) in BOUNDED.items():
        function = getattr(functional, name, None) or getattr(torch, name)
        ends = function(torch.tensor([-1e9, 1e9]))
        assert ends.tolist() == [low, high]


class Functional(nn.Module):
    """Calls its activation functions in its own forward pass, one of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.second(functional.relu(self.first(inputs))).tanh_()
        return self.third(hidden.mul_(1.0))


def test_functions_are_seen_like_modules() -> None:
    torch.manual_seed(0)
    model, inputs = Functional(), torch.randn(32, 6)
    found = look(model, inputs)
    chain = nn.Sequential(model.first, nn.ReLU(), model.second, nn.Tanh(), model.third)
    as_modules = look(chain, inputs)
    assert list(found.values()) == list(as_modules.values())
    assert places(found) == ["first", "second", "third"]
    assert ("dead", "first") in found
    assert ("saturated", "second") in found


def test_what_a_later_module_changes_in_place_was_copied_before() -> None:
    """Dropout in place behind the ReLU does not belong to what the ReLU gave."""
    model = nn.Sequential(linear(torch.eye(4)), nn.ReLU(), nn.Dropout(1.0, inplace=True), nn.Linear(4, 2))
    inputs = torch.rand(32, 4) + 1
    assert look(model, inputs)["mean", "0"] == pytest.approx(inputs[:16].mean().item(), rel=1e-5)


class Residual(nn.Module):
    """relu(x + f(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear(torch.eye(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(inputs + self.inner(inputs))


def test_the_last_activation_before_the_next_layer_counts() -> None:
    inputs = torch.randn(64, 3)
    found = look(nn.Sequential(Residual(), nn.Linear(3, 2)), inputs)
    assert places(found) == ["0.inner", "1"]
    expected = torch.relu(2 * inputs[:32]).double()
    assert found["mean", "0.inner"] == pytest.approx(expected.mean().item(), rel=1e-5)


def test_a_layer_that_is_called_again_is_a_place_of_its_own() -> None:
    shared = linear(2 * torch.eye(3))
    found = look(nn.Sequential(shared, shared), torch.ones(8, 3))
    assert (found["mean", "0"], found["mean", "0#2"]) == (2.0, 4.0)


def test_a_layer_with_a_parametrized_weight_keeps_its_place() -> None:
    model = nn.Sequential(weight_norm(nn.Linear(4, 3)), nn.ReLU())
    assert places(look(model, torch.randn(16, 4))) == ["0"]


def test_norms_and_unweighted_modules_are_no_layers() -> None:
    model = nn.Sequential(
        nn.LayerNorm((2, 4, 4)), nn.Conv2d(2, 3, 3), nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(12, 2)
    )
    assert places(look(model, torch.randn(16, 2, 4, 4))) == ["1", "4"]


def test_the_units_of_a_sequence_are_its_features() -> None:
    weight = torch.zeros(5, 3)
    weight[0] = 1.0
    found = look(nn.Sequential(linear(weight), nn.ReLU()), torch.rand(16, 7, 3))
    assert found["dead", "0"] == 4 / 5


class Squared(nn.Module):
    """An activation of one's own."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.clamp(min=0) ** 2


def test_an_activation_of_ones_own_is_taken_for_one() -> None:
    inputs = torch.randn(64, 3) - torch.tensor([100.0, 0.0, 0.0])
    found = look(nn.Sequential(linear(torch.eye(3)), Squared()), inputs)
    assert found["dead", "0"] == pytest.approx(1 / 3, rel=1e-5)
    assert found["mean", "0"] == pytest.approx((inputs[:32].clamp(min=0) ** 2).mean().item(), rel=1e-5)


def test_a_norm_of_ones_own_on_the_shelf_is_no_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    class Centring(nn.Module):
        """Subtract each sample's mean."""

        def __init__(self, channels: int = 3, spatial_dims: int = 0) -> None:
            super().__init__()

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs - inputs.mean(1, keepdim=True)

    monkeypatch.setitem(norms._cards, "centring", Card("centring", Centring, "Subtract each sample's mean."))
    inputs = torch.randn(64, 3) + 5
    found = look(nn.Sequential(linear(torch.eye(3)), nn.ReLU(), Centring()), inputs)
    assert found["mean", "0"] == pytest.approx(inputs[:32].clamp(min=0).mean().item(), rel=1e-5)


@pytest.mark.parametrize("card", list(shelf), ids=lambda card: card.name)
def test_every_activation_of_the_shelf_is_measured(card: object) -> None:
    facts = {"channels": 6}
    pieces = card.options["pieces"].default if "pieces" in card.options else 1  # type: ignore[attr-defined]
    torch.manual_seed(0)
    activation = card.build({}, **facts)  # type: ignore[attr-defined]
    model = nn.Sequential(nn.Linear(4, 6 * pieces), activation, nn.Linear(6, 2))
    inputs = torch.randn(64, 4)
    found = look(model, inputs)
    with torch.no_grad():
        expected = activation(model[0](inputs[:32])).double()
    assert found["mean", "0"] == pytest.approx(expected.mean().item(), rel=1e-4, abs=1e-6)
    assert found["std", "0"] == pytest.approx(expected.std(correction=0).item(), rel=1e-4)
    assert (("saturated", "0") in found) == bool(card.traits.get("is_saturating", False))  # type: ignore[attr-defined]


def test_of_large_maps_some_positions_stand_for_all() -> None:
    """Within 5 % of what hooks on the whole maps give."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    inputs = torch.randn(32, 3, 64, 64)
    found = look(model, inputs)
    with torch.no_grad():
        whole = model(inputs[:16]).double()
    assert found["mean", "0"] == pytest.approx(whole.mean().item(), rel=0.05)
    assert found["std", "0"] == pytest.approx(whole.std().item(), rel=0.05)
    assert found["quantile", "0@0.95"] == pytest.approx(float(np.quantile(whole.numpy(), 0.95)), rel=0.05)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 3e38])
def test_of_a_network_that_diverges_numbers_are_not_finite_and_nothing_warns(value: float) -> None:
    model = nn.Sequential(linear(torch.eye(3)), nn.Tanh(), linear(torch.full((2, 3), value)))
    found = look(model, torch.randn(16, 3))
    assert not np.isfinite(found["std", "2"])
    assert np.isfinite(found["std", "0"])


def test_no_more_samples_are_looked_at_than_are_computed_at_once() -> None:
    model, inputs = nn.Sequential(linear(torch.eye(3))), torch.randn(64, 3)
    state = State(model, torch.optim.SGD(model.parameters(), lr=0.1), batch=Batch(inputs, inputs[:, 0], inputs[:, 0]))
    state.losses = [torch.zeros(8)] * 8
    found = {r.where: r.value for r in probes.build("activations").measure(state) if r.name == "activation/mean"}
    assert found["0"] == pytest.approx(inputs[:8].mean().item(), rel=1e-4)


class Messy(nn.Module):
    """Counts, keeps tensors, replaces and changes buffers and weights, and draws from every generator there is."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.calls, self.kept = 0, torch.zeros(1)
        self.own = torch.Generator().manual_seed(3)
        self.register_buffer("total", torch.zeros(4))
        self.register_buffer("replaced", torch.zeros(4))
        self.register_buffer("spread", torch.zeros(1).expand(4))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        self.kept = inputs
        self.total += inputs.detach().sum(0)
        self.replaced = self.replaced + 1
        self.inner.weight.data.clamp_(-0.1, 0.1)
        noise = torch.rand(4) + torch.rand(4, generator=self.own) + random.random() + np.random.rand()
        inputs.add_(1.0)
        self.train(not self.training)
        return self.inner(inputs) + noise


def test_whatever_a_forward_pass_changes_is_put_back() -> None:
    torch.manual_seed(0)
    model, inputs = Messy(), torch.randn(16, 4)
    kept, replaced, before = model.kept, model.replaced, {k: v.clone() for k, v in model.state_dict().items()}
    batch = inputs.clone()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1], model.own.get_state()
    look(model, inputs)
    assert (model.calls, model.kept is kept, model.replaced is replaced, model.training) == (0, True, True, True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(inputs, batch)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert np.array_equal(states[2], np.random.get_state()[1])
    assert torch.equal(states[3], model.own.get_state())


class Failing(Messy):
    """Fails behind all of that, without gradients only."""

    def forward(self, inputs: Tensor) -> Tensor:
        super().forward(inputs)
        raise ValueError("no gradients,\n no answer")


def test_a_network_that_fails_is_not_examined_and_put_back() -> None:
    model = Failing()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(NotExamined, match=r"fails on 8 samples of its batch \(ValueError: no gradients, no answer\)"):
        look(model, torch.randn(16, 4))
    assert model.calls == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_network_without_layers_is_not_examined() -> None:
    model = nn.BatchNorm1d(4)
    with pytest.raises(NotExamined, match="calls no layer that owns weights"):
        look(model, torch.randn(16, 4))


def test_a_single_layer_is_its_own_place() -> None:
    assert places(look(nn.Linear(4, 2), torch.randn(16, 4))) == ["(root)"]
