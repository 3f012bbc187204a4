"""Central differences against closed forms, and whole-network checks against torch's own checker."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainwell.errors import ModelInvalid, OptionInvalid, ShapeError
from trainwell.graph import check_gradients, numerical_gradient
from trainwell.graph.conventions import CONVENTIONS
from trainwell.graph.kinks import KinkSides
from trainwell.graph.numerical import numerical_gradients


class WrongProduct(torch.autograd.Function):
    """x w', with a backward pass that gives the weights 1.1 times their gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradients[0] @ weight, 1.1 * gradients[0].T @ x


class WrongLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return WrongProduct.apply(x, self.weight) + self.bias


def net(*, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), activation(), nn.Linear(5, 2))


def batch(count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, generator=generator), torch.arange(count) % 2


def noisy_net() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(12, 2),
    )


def test_a_gradient_of_a_vector_equals_its_closed_form() -> None:
    x = torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=torch.float64)
    found = numerical_gradient(lambda x: (x.exp() * x).sum(), x)
    torch.testing.assert_close(found, x.exp() * (1 + x), rtol=1e-8, atol=1e-10)


def test_a_number_in_float32_is_differentiated_in_float64() -> None:
    assert float(numerical_gradient(lambda x: x**3, 2.0)) == pytest.approx(12, rel=1e-9)
    assert numerical_gradient(lambda x: x.sum(), torch.zeros(2)).dtype == torch.float64


def test_the_error_falls_with_the_square_of_h() -> None:
    errors = [
        float(numerical_gradient(lambda x: torch.sin(x), 1.0, h=h)) - torch.cos(torch.tensor(1.0).double())
        for h in (1e-2, 1e-3)
    ]
    assert float(errors[0] / errors[1]) == pytest.approx(100, rel=1e-3)


def test_what_was_given_is_not_moved() -> None:
    x = torch.randn(3, dtype=torch.float64)
    before = x.clone()
    numerical_gradient(lambda x: (x**2).sum(), x)
    assert torch.equal(x, before)


def test_the_parameters_of_a_network_are_differentiated() -> None:
    model, (x, y) = net(), batch()
    found = numerical_gradients(model, lambda network: nn.functional.cross_entropy(network(x.double()), y))
    exact = copy.deepcopy(model).double()
    nn.functional.cross_entropy(exact(x.double()), y).backward()
    for name, parameter in exact.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("h", "words"), [(0.0, "h must be a positive number"), (1e-30, "is lost in rounding")])
def test_a_bad_step_is_said(h: float, words: str) -> None:
    with pytest.raises(OptionInvalid, match=words):
        numerical_gradient(lambda x: x.sum(), [1.0], h=h)


def test_a_function_that_is_no_number_is_said() -> None:
    with pytest.raises(ShapeError, match="f must return one number"):
        numerical_gradient(lambda x: x, [1.0, 2.0])
    with pytest.raises(OptionInvalid, match="not finite"):
        numerical_gradient(lambda x: torch.log(x).sum(), [0.0])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_right_gradient_is_right_by_every_convention_and_by_torchs_checker(convention: Any) -> None:
    model, (x, y) = net(), batch()
    found = check_gradients(model, x, y, nn.CrossEntropyLoss(), convention=convention)
    assert found.grade == "right", str(found)
    exact = copy.deepcopy(model).double()
    names, tensors = zip(*exact.named_parameters(), strict=True)
    call = torch.func.functional_call
    assert torch.autograd.gradcheck(
        lambda *w: nn.functional.cross_entropy(call(exact, dict(zip(names, w, strict=True)), (x.double(),)), y), tensors
    )


@pytest.mark.parametrize("convention", ["max", "sum", "norm", "allclose"])
def test_a_wrong_backward_pass_is_found_and_named(convention: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), WrongLinear(4, 2))
    x, _ = batch()
    found = check_gradients(model, x, torch.randn(4, 2), nn.MSELoss(), convention=convention)
    assert [one.name for one in found.parameters if one.grade == "wrong"] == ["2.weight"]
    assert "wrong: the gradient of 2.weight is wrong" in str(found)
    if convention == "max":
        assert found.worst.error == pytest.approx(0.1 / 1.1, rel=1e-3)
    leaves = (x.double().requires_grad_(), torch.randn(2, 3).double().requires_grad_())
    assert not torch.autograd.gradcheck(WrongProduct.apply, leaves, raise_exception=False)


def test_the_conventions_are_their_formulas() -> None:
    a, n = torch.tensor([2.0, 0.0, 1e-3]), torch.tensor([1.0, 0.0, -1e-3])
    d = (a - n).abs()
    errors = {name: convention.error(d, a, n).tolist() for name, convention in CONVENTIONS.items()}
    assert errors["max"] == pytest.approx([0.5, 0, 2])
    assert errors["sum"] == pytest.approx([1 / 3, 0, 1])
    assert errors["allclose"] == pytest.approx([1 / (1e-5 + 1e-3), 0, 2e-3 / (1e-5 + 1e-6)], rel=1e-4)
    assert errors["caffe"] == pytest.approx([0.5, 0, 2e-3])
    assert errors["norm"] == pytest.approx([float(d.norm() / (a.norm() + n.norm()))] * 3)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_check_leaves_the_network_exactly_as_it_was(mode: Any) -> None:
    model = noisy_net()
    model[1].eval()
    model[6].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    found = check_gradients(
        model, torch.randn(2, 1, 6, 6), torch.tensor([0, 1]), nn.CrossEntropyLoss(), mode=mode, entries=3
    )
    assert found.grade == "right", str(found)
    assert found.skipped == ("6.bias",)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[0].bias.grad is None


def test_a_check_moves_no_random_state() -> None:
    model = net()
    chance = torch.get_rng_state()
    check_gradients(model, *batch(), nn.CrossEntropyLoss(), mode="train", entries=2)
    assert torch.equal(torch.get_rng_state(), chance)


def test_a_network_that_fails_is_left_as_it_was_too() -> None:
    model, (x, y) = net(), batch()

    def fails(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("no")

    with pytest.raises(ModelInvalid, match="RuntimeError: no"):
        check_gradients(model, x, y, fails)
    assert model.training
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_entries_that_cross_a_kink_are_counted_and_left_out() -> None:
    """One sample stands at 3e-6: moving the bias by 1e-5 to both sides crosses 0, moving the weight does not."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.fill_(0.0)
    x = torch.tensor([[3e-6], [2.0]], dtype=torch.float64)
    found = check_gradients(model, x, torch.zeros(2, 1), lambda outputs, targets: outputs.sum())
    by_name = {one.name: one for one in found.parameters}
    assert by_name["0.bias"].kinks == 1
    assert by_name["0.bias"].grade == "not examined"
    assert by_name["0.bias"].error_at_kinks == pytest.approx(0.35 / 2, rel=1e-6)  # 2 against 1 + 1.3/2
    assert (by_name["0.weight"].kinks, by_name["0.weight"].grade) == (0, "right")  # 1e-5 * 3e-6 crosses nothing
    assert "kinks: 1 of 2 entries cross one" in str(found)


@pytest.mark.parametrize(
    ("function", "before", "after"),
    [
        (torch.relu, 1e-9, -1e-9),
        (lambda x: x.clone().relu_(), 1e-9, -1e-9),
        (lambda x: nn.functional.leaky_relu(x, 0.1), 1e-9, -1e-9),
        (lambda x: nn.functional.hardtanh(x), 1 - 1e-9, 1 + 1e-9),
        (lambda x: nn.functional.relu6(x), 6 - 1e-9, 6 + 1e-9),
        (lambda x: x.clamp(min=0.5), 0.4, 0.6),
        (lambda x: x.clamp(max=0.5), 0.4, 0.6),
        (torch.abs, 1e-9, -1e-9),
        (nn.functional.selu, 1e-9, -1e-9),
        (lambda x: torch.maximum(x, torch.ones(1)), 0.9, 1.1),
        (lambda x: torch.cat([x, torch.ones(1)]).max(), 0.9, 1.1),
        (lambda x: torch.cat([x, torch.ones(1)]).amin(0), 0.9, 1.1),
        (lambda x: torch.where(x > 2, x, -x), 1.9, 2.1),
        (lambda x: x * (x > 0), 1e-9, -1e-9),
        (lambda x: nn.functional.max_pool1d(torch.cat([x, torch.ones(1)]).reshape(1, 1, 2), 2), 0.9, 1.1),
        (lambda x: nn.functional.max_pool2d(torch.cat([x, torch.ones(3)]).reshape(1, 1, 2, 2), 2), 0.9, 1.1),
        (lambda x: nn.functional.prelu(x, torch.full((1,), 0.2, dtype=torch.float64)), 1e-9, -1e-9),
        (lambda x: nn.functional.l1_loss(x, torch.ones(1)), 0.9, 1.1),
    ],
)
def test_a_kink_between_two_points_is_seen(function: Any, before: float, after: float) -> None:
    def sides(value: float) -> KinkSides:
        with KinkSides() as seen:
            function(torch.tensor([value], dtype=torch.float64))
        return seen

    assert sides(before).crossings(sides(after)) >= 1
    assert sides(before).crossings(sides(before)) == 0


@pytest.mark.parametrize("function", [torch.tanh, nn.functional.elu, nn.functional.softplus, nn.functional.gelu])
def test_a_smooth_function_has_no_kinks(function: Any) -> None:
    seen = []
    for value in (1e-9, -1e-9):
        with KinkSides() as sides:
            function(torch.tensor([value], dtype=torch.float64))
        seen.append(sides)
    assert seen[0].crossings(seen[1]) == 0


def test_tied_weights_are_moved_together() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    found = check_gradients(model, torch.randn(2, 3), torch.tensor([0, 2]), nn.CrossEntropyLoss())
    assert found.grade == "right"
    assert [one.name for one in found.parameters] == ["0.weight", "0.bias", "2.bias"]


def test_a_loss_for_each_sample_is_averaged() -> None:
    found = check_gradients(net(), *batch(), nn.CrossEntropyLoss(reduction="none"))
    assert found.grade == "right"


def test_what_cannot_be_checked_is_said() -> None:
    model, (x, y) = net(), batch()
    criterion = nn.CrossEntropyLoss()
    with pytest.raises(OptionInvalid, match="no convention is called 'maxx': did you mean 'max'?"):
        check_gradients(model, x, y, criterion, convention="maxx")  # type: ignore[arg-type]
    with pytest.raises(OptionInvalid, match="entries must be at least 1"):
        check_gradients(model, x, y, criterion, entries=0)
    with pytest.raises(ModelInvalid, match="the loss is nan"):
        check_gradients(model, x * float("nan"), y, criterion)
    with pytest.raises(ModelInvalid, match="depends on no parameter"):
        check_gradients(model.requires_grad_(False), x, y, criterion)


def test_a_network_with_randomness_of_its_own_is_refused() -> None:
    import random

    class Restless(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * random.random()

    with pytest.raises(ModelInvalid, match="answers differently each time"):
        check_gradients(Restless(3, 2), *batch(), nn.CrossEntropyLoss())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"h": 0.0}, "h must be a positive number, got 0.0"),
        ({"entries": 1.5}, "entries must be at least 1 of each parameter, a whole number, got 1.5"),
        ({"mode": "training"}, "mode must be one of 'eval', 'train', got 'training'"),
    ],
)
def test_options_of_a_check_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionInvalid, match=words):
        check_gradients(nn.Linear(3, 2), torch.randn(2, 3), torch.tensor([0, 1]), nn.CrossEntropyLoss(), **options)


class WrongShape(WrongProduct):
    """x w', with a backward pass that gives the weights a gradient of another shape."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradients[0] @ weight, x.T @ gradients[0] if weight.shape[0] != weight.shape[1] else x


class Raising(WrongProduct):
    """x w', whose backward pass has a fault of its own."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        raise IndexError("no such row")


@pytest.mark.parametrize("fault", [WrongShape, Raising])
def test_a_backward_pass_that_fails_is_named_in_words(fault: type[torch.autograd.Function]) -> None:
    class Layer(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = fault.apply(x, self.weight)
            return answer

    with pytest.raises(
        ModelInvalid, match=r"the backward pass fails with \w+Error: .*; look at the backward of your own"
    ):
        check_gradients(Layer(3, 2), torch.randn(4, 3), torch.tensor([0, 1, 0, 1]), nn.CrossEntropyLoss())


def test_inputs_of_another_width_and_lazy_layers_are_named_in_words() -> None:
    targets = torch.tensor([0, 1])
    with pytest.raises(ModelInvalid, match="the forward pass fails with RuntimeError: mat1 and mat2 shapes"):
        check_gradients(net(), torch.randn(2, 4), targets, nn.CrossEntropyLoss())
    with pytest.raises(ModelInvalid, match="lazy layers whose shapes are not known yet"):
        check_gradients(nn.Sequential(nn.LazyLinear(2)), torch.randn(2, 4), targets, nn.CrossEntropyLoss())
