"""The graph of a network against torch's autograd: gradients at every node, Jacobians of every step."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainwell.core.shelves import models
from trainwell.errors import ModelInvalid
from trainwell.graph import network_graph


class Residual(nn.Module):
    """x + f(x), the addition in place, a shared activation, and a step that is no call of a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.act(self.first(x)))
        y += x
        return self.act(y) * x.T.T


class Doubled(torch.autograd.Function):
    """2x, whose backward pass is its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


class WithOwnFunction(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Doubled.apply(x).tanh())


def test_values_and_gradients_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(5, 3, requires_grad=True)
    kept = [x]
    for layer in net:
        kept.append(layer(kept[-1]))
        kept[-1].retain_grad()
    loss = kept[-1].square().mean()
    loss.backward()
    graph = network_graph(net, x, loss=lambda y: y.square().mean())
    assert [node.name for node in graph.nodes] == ["input", "0", "1", "2", "square", "mean"]
    for node, tensor in zip(graph.nodes, kept, strict=False):
        assert node.shape == tuple(tensor.shape)
        assert (node.mean, node.std) == pytest.approx((tensor.mean().item(), tensor.std(correction=0).item()), rel=1e-5)
        assert node.gradient_norm == pytest.approx(tensor.grad.norm().item(), rel=1e-5)
    assert graph.loss == pytest.approx(loss.item())
    weights = {weight.name: weight for node in graph.nodes for weight in node.weights}
    for name, parameter in net.named_parameters():
        assert weights[name].gradient_norm == pytest.approx(parameter.grad.norm().item(), rel=1e-5)


def test_local_jacobians_are_of_one_step_and_multiply_to_the_whole_gradient() -> None:
    torch.manual_seed(0)
    net, x = Residual().double(), torch.randn(1, 3, dtype=torch.float64)
    graph = network_graph(net, x)
    order = {node.name: place for place, node in enumerate(graph.nodes)}
    gradients: dict[str, Tensor] = {graph.nodes[-1].name: torch.ones(1, 1, dtype=torch.float64)}
    for edge in sorted(graph.edges, key=lambda edge: -order[edge.target]):
        assert edge.jacobian is not None
        arriving = gradients[edge.target] @ edge.jacobian
        gradients[edge.source] = gradients.get(edge.source, torch.zeros_like(arriving)) + arriving
    leaf = x.clone().requires_grad_()
    net(leaf).sum().backward()
    torch.testing.assert_close(gradients["input"].reshape(1, 3), leaf.grad, rtol=1e-12, atol=1e-12)
    for node in graph.nodes:
        assert node.gradient_norm == pytest.approx(float(gradients[node.name].norm()), rel=1e-12)
    add = next(node.name for node in graph.nodes if node.operation == "add")
    for edge in graph.edges:
        if edge.target == add:  # the other way round the unit is closed
            assert torch.equal(edge.jacobian, torch.eye(3, dtype=torch.float64))


def test_a_users_own_autograd_function_has_its_node() -> None:
    net, x = WithOwnFunction(3, 2).double(), torch.randn(1, 3, dtype=torch.float64)
    graph = network_graph(net, x)
    tanh = next(place for place, node in enumerate(graph.nodes) if node.operation == "tanh")
    doubled = next(edge for edge in graph.edges if edge.target == graph.nodes[tanh - 1].name)
    assert doubled.source == "input"
    assert torch.equal(doubled.jacobian, 2 * torch.eye(3, dtype=torch.float64))


def test_a_part_that_is_used_twice_has_two_nodes() -> None:
    names = [node.name for node in network_graph(Residual(), torch.randn(2, 3)).nodes]
    assert [name for name in names if name.startswith("act")] == ["act", "act #2"]


def test_where_no_gradient_flows_it_is_said() -> None:
    class Gated(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (x.sum() > 0).float()

    graph = network_graph(Gated(3, 2), torch.ones(1, 3))
    gate = next(node for node in graph.nodes if node.operation == "float")
    assert gate.gradient_norm is None
    assert "none" in str(graph)


def test_a_dead_branch_is_left_out() -> None:
    class Wasteful(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x).exp()
            return super().forward(x)

    assert [node.operation for node in network_graph(Wasteful(3, 2), torch.ones(1, 3)).nodes] == [
        "input",
        "linear",
        "sum",
    ]


@pytest.mark.parametrize("name", ["resnet20", "convnet", "mlp"])
def test_networks_of_the_shelf_are_left_exactly_as_they_were(name: str) -> None:
    torch.manual_seed(0)
    net = models.build(name, {}, in_channels=3, input_shape=(3, 32, 32), in_features=3072, num_classes=4)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    chance = torch.get_rng_state()
    graph = network_graph(net, torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert net.training
    named = {weight.name for node in graph.nodes for weight in node.weights}
    assert named == {name for name, _ in net.named_parameters()}


def test_a_skip_joins_the_unit_before() -> None:
    net = models.build("resnet20", {}, in_channels=3, num_classes=4)
    edges = {(edge.source, edge.target) for edge in network_graph(net, torch.randn(1, 3, 32, 32)).edges}
    assert {("act1", "layer1.0"), ("layer1.0.bn2", "layer1.0"), ("layer1.0.act2", "layer1.1")} <= edges


def test_a_large_network_is_drawn_by_modules_and_it_is_said() -> None:
    net = models.build("resnet20", {}, in_channels=3, num_classes=4)
    sketch = network_graph(net, torch.randn(1, 3, 32, 32)).sketch(most=24)
    assert len(sketch.boxes) <= 24
    assert "layer2.1" in [box.title for box in sketch.boxes]
    assert "share one" in sketch.notes[0]


def test_a_long_chain_is_cut_in_the_middle_and_it_is_said() -> None:
    net = nn.Sequential(*(nn.Identity() if place % 2 else nn.Tanh() for place in range(400)))
    graph = network_graph(net, torch.zeros(1, 2))
    sketch = graph.sketch(most=10)
    assert len(sketch.boxes) == 10
    assert "in the middle are one box" in sketch.notes[0]
    assert len(str(graph).splitlines()) <= 102


def test_several_inputs_and_whole_numbers_are_taken() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(5, 3), nn.Linear(3, 2)

        def forward(self, words: Tensor, scale: Tensor) -> dict[str, Tensor]:
            return {"scores": self.head(self.table(words) * scale)}

    graph = network_graph(
        Embedded(), [torch.tensor([1, 2]), torch.ones(2, 1)], loss=lambda answer: answer["scores"].sum()
    )
    assert {"input 2", "table", "mul", "head"} <= {node.name for node in graph.nodes}


def test_what_has_no_gradient_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="pass loss="):
        network_graph(nn.LSTM(3, 2), torch.ones(1, 1, 3))
    with pytest.raises(ModelInvalid, match="must be one number"):
        network_graph(nn.Linear(3, 2), torch.ones(1, 3), loss=lambda y: y)
    with pytest.raises(ModelInvalid, match="depends on the network's values"):
        network_graph(nn.Linear(3, 2), torch.ones(1, 3), loss=lambda y: y.detach().sum())
