"""Muon: torch's own on matrices, its formulas in float64, and updates that move all directions about equally far."""

import math

import pytest
import torch
from torch import Tensor, nn

from trainwell.core.rates import RatesSection
from trainwell.optimizers.groups import parameter_groups
from trainwell.optimizers.muon import Muon, orthogonalized
from trainwell.optimizers.stepwise import Stepwise

SHAPES = [(8, 8), (5, 20), (20, 5), (5, 20), (1, 7)]


def matrices(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in SHAPES]


def newton_schulz(matrix: Tensor) -> Tensor:
    """The published loop, line by line."""
    x = matrix / matrix.norm()
    if x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
def test_two_hundred_steps_are_those_of_the_formulas(scale: str, nesterov: bool, seed: int) -> None:
    ours, theirs = matrices(seed), matrices(seed)
    targets = [torch.roll(parameter.detach(), 1) for parameter in ours]
    optimizer = Muon(ours, lr=0.01, nesterov=nesterov, scale=scale, weight_decay=0.1, momentum=0.9, last_layer="muon")
    velocities = [torch.zeros_like(parameter) for parameter in theirs]
    for _ in range(200 if seed == 0 and scale == "original" else 10):
        for parameter, target in zip(ours, targets, strict=True):
            parameter.grad = (parameter.detach() - target).tanh()
        optimizer.step()
        with torch.no_grad():
            for parameter, target, velocity in zip(theirs, targets, velocities, strict=True):
                gradient = (parameter - target).tanh()
                velocity.mul_(0.9).add_(0.1 * gradient)
                update = 0.1 * gradient + 0.9 * velocity if nesterov else velocity
                rows, columns = parameter.shape
                factor = (
                    math.sqrt(max(1, rows / columns)) if scale == "original" else 0.2 * math.sqrt(max(rows, columns))
                )
                parameter.mul_(1 - 0.01 * 0.1).sub_(0.01 * factor * newton_schulz(update))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_are_those_of_torch_within_its_bfloat16(nesterov: bool, scale: str) -> None:
    ours, theirs = matrices(dtype=torch.float32), matrices(dtype=torch.float32)
    start = [parameter.detach().clone() for parameter in ours]
    words = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.2}
    optimizers = [
        Muon(ours, last_layer="muon", scale=scale, **words),
        torch.optim.Muon(theirs, adjust_lr_fn=scale, **words),
    ]
    for step in range(3):
        for parameters in (ours, theirs):
            for place, parameter in enumerate(parameters):
                generator = torch.Generator().manual_seed(100 * step + place)
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    for one, other, before in zip(ours, theirs, start, strict=True):
        assert (one - other).norm() < 0.03 * (other - before).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 16, 144), (2, 64, 576), (4, 32, 32), (2, 40, 10), (1, 1, 9)])
def test_singular_values_come_near_one_and_singular_vectors_stay(
    shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    found = orthogonalized(batch).double()
    left, values, right = torch.linalg.svd(batch.double(), full_matrices=False)
    polished = left.mT @ found @ right.mT  # diagonal in the basis of the matrix itself
    assert (polished - torch.diag_embed(polished.diagonal(dim1=1, dim2=2))).abs().max() < 2e-3
    expected = values / values.norm(dim=1, keepdim=True)
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    tolerance = 1e-9 if dtype == torch.float64 else 2e-3
    torch.testing.assert_close(polished.diagonal(dim1=1, dim2=2), expected, rtol=0, atol=tolerance)
    is_well = values > 0.02 * values[:, :1]
    assert expected[is_well].min() > 0.5
    assert expected.max() < 1.3


def test_a_flat_gradient_moves_nothing() -> None:
    weight = torch.ones(3, 4, requires_grad=True)
    weight.grad = torch.zeros(3, 4)
    Muon([weight], last_layer="muon", weight_decay=0.0).step()
    assert torch.equal(weight, torch.ones(3, 4))


def test_kernels_are_matrices_of_their_inputs_in_either_memory_order() -> None:
    generator = torch.Generator().manual_seed(0)
    kernel, gradient = (torch.randn(6, 4, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    moved = []
    for order in (torch.contiguous_format, torch.channels_last):
        weight = kernel.clone().contiguous(memory_format=order).requires_grad_()
        weight.grad = gradient.contiguous(memory_format=order)
        Muon([weight], lr=1.0, weight_decay=0.0, last_layer="muon").step()
        moved.append(weight.detach())
    expected = kernel - newton_schulz(gradient.flatten(1)).view_as(kernel)
    torch.testing.assert_close(moved[0], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(moved[1], expected, rtol=1e-9, atol=1e-9)


def test_vectors_and_the_last_layer_are_moved_by_torchs_adamw() -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    inputs = torch.randn(5, 1, 4, 4)
    ours = Muon(nets[0].parameters(), lr=0.02, weight_decay=0.1)
    rest = [parameter for name, parameter in nets[1].named_parameters() if name != "0.weight"]
    theirs = torch.optim.AdamW(rest, lr=0.002, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    for _ in range(5):
        nets[1][0].weight.data.copy_(nets[0][0].weight.data)
        for net, optimizer in zip(nets, (ours, theirs), strict=True):
            optimizer.zero_grad()
            net(inputs).square().sum().backward()
            optimizer.step()
    for (name, one), other in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        if name != "0.weight":
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert "momentum_buffer" in ours.state[nets[0][0].weight]
    assert "exp_avg" in ours.state[nets[0][3].weight]


def test_the_last_layer_may_be_a_matrix_like_others() -> None:
    weight = torch.ones(2, 3, requires_grad=True)
    weight.grad = torch.ones(2, 3)
    optimizer = Muon([weight], last_layer="muon")
    assert isinstance(optimizer, Stepwise)
    optimizer.step()
    assert list(optimizer.state[weight]) == ["momentum_buffer"]


def test_maximize_climbs() -> None:
    down, up = matrices()[:1], matrices()[:1]
    for parameters, maximize in ((down, False), (up, True)):
        parameters[0].grad = torch.eye(8, dtype=torch.float64) * (-1 if maximize else 1)
        Muon(parameters, last_layer="muon", maximize=maximize).step()
    assert torch.equal(down[0], up[0])


def chain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def by_adamw(net: nn.Module, optimizer: Muon) -> set[str]:
    """The matrices that AdamW moves in a step."""
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {name for name, p in net.named_parameters() if p.ndim >= 2 and "exp_avg" in optimizer.state[p]}


@pytest.mark.parametrize("sort", [list, tuple])
def test_the_last_layer_is_that_of_the_model_in_whatever_order_the_groups_come(sort: type) -> None:
    net = chain()
    groups = parameter_groups(net, rates=RatesSection(per_depth=0.8))
    assert groups[0]["param_names"] == ["4.weight"]  # the common rate first
    for order in (groups, groups[::-1], groups[2:] + groups[:2]):
        optimizer = Muon([{**group, "places": sort(group["places"])} for group in order])
        assert by_adamw(net, optimizer) == {"4.weight"}


def test_the_last_layer_is_found_among_groups_added_later() -> None:
    net = chain()
    first, *later = parameter_groups(net, rates=RatesSection(per_depth=0.8))
    optimizer = Muon([first])
    for group in later:
        optimizer.add_param_group(group)
    assert by_adamw(net, optimizer) == {"4.weight"}


def test_where_groups_tell_no_place_or_those_of_several_models_their_order_counts() -> None:
    net, other = chain(), nn.Linear(3, 2)
    both = nn.ModuleList([net, other])
    groups = parameter_groups(net)
    optimizer = Muon(groups)
    optimizer.add_param_group({"params": list(other.parameters()), "param_names": ["head", "shift"]})
    assert by_adamw(both, optimizer) == {"1.weight"}
    optimizer = Muon([*groups, *parameter_groups(other)])  # two parameters have place 0
    assert by_adamw(both, optimizer) == {"1.weight"}


LAYOUTS: list[
    tuple[tuple[int, ...], tuple[int, ...]]
] = [  # shape, and its dimensions from the farthest apart in memory
    ((6, 4), (1, 0)),
    ((6, 4, 5), (0, 2, 1)),
    ((6, 4, 5), (2, 1, 0)),
    ((6, 4, 5), (1, 0, 2)),
    ((6, 4, 3, 2), (0, 2, 3, 1)),  # channels last
    ((6, 4, 3, 2), (1, 0, 2, 3)),  # transposed
    ((6, 4, 3, 2), (3, 1, 0, 2)),
    ((2, 4, 3, 2, 3), (0, 2, 3, 4, 1)),  # channels last, three dimensions
    ((40, 4, 1, 2, 3), (4, 0, 2, 1, 3)),
]


def laid_out(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    back = [order.index(place) for place in range(tensor.ndim)]
    return tensor.permute(order).contiguous().permute(back)


@pytest.mark.parametrize("last_layer", ["muon", "adamw"])
@pytest.mark.parametrize("is_gradient_contiguous", [False, True])
@pytest.mark.parametrize(("shape", "order"), LAYOUTS)
def test_the_order_in_memory_changes_no_step(
    shape: tuple[int, ...], order: tuple[int, ...], is_gradient_contiguous: bool, last_layer: str
) -> None:
    """Both for a matrix inside and for one that AdamW moves, beside one in the usual order."""
    generator = torch.Generator().manual_seed(0)
    start, *gradients = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4))
    beside = torch.randn(7, generator=generator, dtype=torch.float64)
    ends = []
    for place in (tuple(range(len(shape))), order):
        weight, other = laid_out(start.clone(), place).requires_grad_(), beside.clone().requires_grad_()
        optimizer = Muon([weight, other], lr=0.1, weight_decay=0.1, last_layer=last_layer)
        for gradient in gradients:
            weight.grad, other.grad = gradient if is_gradient_contiguous else laid_out(gradient, place), beside
            optimizer.step()
        assert weight.stride() == laid_out(start, place).stride()
        ends.append((weight.detach(), other.detach()))
    assert (ends[1][0] - start).abs().max() > 1e-3
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-9, atol=1e-10)
