"""Products of the Gauss-Newton matrix are those of torch.func's forward and reverse mode."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp
from torch.nn import functional

from trainwell.core.shelves import losses, models
from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.optimizers.gauss_newton import GaussNewton
from trainwell.optimizers.tangents import Tangents

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # forward mode of torch itself


class Everything(nn.Module):
    """One layer of each sort, with a skip, a shared weight and a product of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.plain = nn.BatchNorm2d(6, affine=False)
        self.grouped = nn.Conv2d(6, 6, 3, stride=2, groups=2, bias=False)
        self.layer = nn.GroupNorm(2, 6)
        self.up = nn.ConvTranspose2d(6, 4, 2)
        self.slope = nn.PReLU()
        self.hidden = nn.Linear(4, 5)
        self.after = nn.LayerNorm(5)
        self.last = nn.Linear(5, 3)
        self.lone = nn.Parameter(torch.randn(3))

    def forward(self, inputs: Tensor) -> Tensor:
        maps = functional.relu(self.norm(self.first(inputs)))
        maps = maps + 0.5 * functional.silu(self.plain(self.first(inputs)))
        maps = functional.max_pool2d(maps, 2) + functional.avg_pool2d(maps, 2)
        maps = self.slope(self.up(self.layer(self.grouped(maps))))
        pooled = functional.dropout(maps.mean((2, 3)), 0.3, training=self.training)
        hidden = self.after(self.hidden(pooled)).tanh() * functional.softplus(self.hidden(pooled))
        return self.last(hidden.clamp(min=-2)) * self.lone.exp()


class Squares(torch.autograd.Function):
    """x^2, by hand."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class SquaresOnce(Squares):
    """x^2, whose derivative has none."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class Handmade(nn.Module):
    """A linear layer behind a function of one's own."""

    def __init__(self, function: type[torch.autograd.Function] = Squares) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(2, 4), nn.Linear(4, 3), function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.function.apply(self.first(inputs.flatten(1)[:, :2])))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "handmade":
        return Handmade().double()
    if name == "everything":
        return Everything().double()
    facts = {"input_shape": (2, 8, 8), "in_channels": 2, "in_features": 128, "num_classes": 3}
    small = {"convnet": {"width": 4, "dropout": 0.2}, "resnet20": {}, "mlp": {"hidden": [5, 4], "dropout": 0.2}}
    net = models.build(name, small[name], **facts).double()
    return nn.Sequential(nn.Flatten(), net) if name == "mlp" else net


LOSSES = {
    "cross_entropy": torch.tensor([0, 1, 2, 1, 0, 2]),
    "squared_error": torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
    "binary_cross_entropy": torch.tensor([[0.0, 1.0, 1.0]] * 6, dtype=torch.float64),
    "squared_hinge": torch.tensor([0, 1, 2, 1, 0, 2]),
}


@pytest.mark.parametrize("is_training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("loss_name", list(LOSSES))
@pytest.mark.parametrize("name", ["everything", "convnet", "resnet20", "mlp"])
def test_a_product_is_that_of_forward_and_reverse_mode(name: str, loss_name: str, is_training: bool) -> None:
    net, criterion, targets = network(name).train(is_training), losses.build(loss_name), LOSSES[loss_name]
    inputs = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    parameters = dict(net.named_parameters())
    buffers = {key: buffer.clone() for key, buffer in net.named_buffers()}
    nudge = {key: torch.randn_like(parameter) for key, parameter in parameters.items()}
    torch.manual_seed(3)
    outputs = net(inputs)
    operator = GaussNewton(list(parameters.values()), criterion(outputs, targets).mean(), outputs, damping=0.1)
    product = operator(torch.cat([part.flatten() for part in nudge.values()]))

    def forward(weights: dict[str, Tensor]) -> Tensor:
        torch.manual_seed(3)  # the same masks of dropout
        there = {key: buffer.clone() for key, buffer in buffers.items()}
        return functional_call(net, (weights, there), (inputs,))

    moved = jvp(forward, (parameters,), (nudge,))[1]
    seen, back = vjp(forward, parameters)
    torch.testing.assert_close(seen, outputs)
    bent = torch.func.jvp(torch.func.grad(lambda scores: criterion(scores, targets).mean()), (seen,), (moved,))[1]
    (expected,) = back(bent)
    flat = torch.cat([(expected[key] + 0.1 * nudge[key]).flatten() for key in parameters])
    assert (product - flat).norm() <= 1e-10 * flat.norm()


def test_a_function_of_ones_own_in_the_network_counts() -> None:
    net = network("handmade")
    inputs = torch.randn(6, 2, dtype=torch.float64)
    parameters = dict(net.named_parameters())
    nudge = {key: torch.randn_like(parameter) for key, parameter in parameters.items()}
    moved = Tangents(net(inputs), list(parameters.values()))(list(nudge.values()))

    def forward(weights: dict[str, Tensor]) -> Tensor:
        first = functional.linear(inputs, weights["first.weight"], weights["first.bias"]).square()
        return functional.linear(first, weights["last.weight"], weights["last.bias"])

    torch.testing.assert_close(moved, jvp(forward, (parameters,), (nudge,))[1], rtol=1e-12, atol=1e-12)


def test_what_the_loss_says_of_weights_directly_counts_in_full() -> None:
    """A penalty past the outputs, not even a quadratic one."""
    weight = torch.tensor([[1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    inputs = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 1.0]], dtype=torch.float64)

    def penalty(given: Tensor) -> Tensor:
        return given.pow(4).sum() + 3 * given[0, 0] * given[0, 1]

    outputs = functional.linear(inputs, weight, bias)
    loss = outputs.square().mean() / 2 + penalty(weight)
    vector = torch.tensor([0.3, -0.2, 0.7], dtype=torch.float64)
    with_ones = torch.cat([inputs, torch.ones(3, 1, dtype=torch.float64)], 1)
    expected = with_ones.T @ with_ones / 3 @ vector
    expected[:2] += torch.autograd.functional.hessian(penalty, weight.detach()).view(2, 2) @ vector[:2]
    product = GaussNewton([weight, bias], loss, outputs)(vector)
    torch.testing.assert_close(product, expected, rtol=1e-12, atol=1e-12)


def test_the_matrix_is_symmetric_and_has_no_negative_eigenvalue() -> None:
    net = network("mlp").eval()
    outputs = net(torch.randn(6, 2, 8, 8, dtype=torch.float64))
    parameters = list(net.parameters())[-4:]
    operator = GaussNewton(parameters, functional.cross_entropy(outputs, LOSSES["cross_entropy"]), outputs)
    count = sum(parameter.numel() for parameter in parameters)
    matrix = torch.stack([operator(row) for row in torch.eye(count, dtype=torch.float64)])
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-10, atol=1e-12)
    assert torch.linalg.eigvalsh(matrix)[0] > -1e-12
    assert operator.products == count


def test_no_step_of_the_random_numbers_is_taken() -> None:
    net = network("mlp")
    outputs = net(torch.randn(6, 2, 8, 8, dtype=torch.float64))
    state = torch.get_rng_state()
    parameters = list(net.parameters())
    operator = GaussNewton(parameters, outputs.square().mean(), outputs)
    operator(torch.ones(sum(parameter.numel() for parameter in parameters), dtype=torch.float64))
    assert torch.equal(torch.get_rng_state(), state)


def simple() -> tuple[list[Tensor], Tensor]:
    weight = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    return [weight], torch.randn(5, 2, generator=torch.Generator().manual_seed(1)) @ weight.T


def test_losses_without_curvature_are_refused() -> None:
    parameters, outputs = simple()
    hinge = losses.build("hinge")(outputs, torch.tensor([0, 1, 2, 0, 1])).mean()
    for flat in (hinge, outputs.sum()):
        with pytest.raises(OptionInvalid, match="loss has no curvature in the outputs here.*hinge"):
            GaussNewton(parameters, flat, outputs)


def test_losses_that_bend_downwards_are_refused_with_the_sample() -> None:
    parameters, outputs = simple()
    signs = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0])
    with pytest.raises(OptionInvalid, match="not convex in the outputs: nudging those of sample 3 bends it downwards"):
        GaussNewton(parameters, (signs[:, None] * outputs.square()).sum(), outputs)


def test_outputs_that_do_not_belong_to_the_loss_are_refused() -> None:
    parameters, outputs = simple()
    with pytest.raises(OptionInvalid, match="loss must be made from the outputs that are returned beside it"):
        GaussNewton(parameters, outputs.detach().clone().requires_grad_().sum(), outputs)
    with pytest.raises(ModelInvalid, match="the outputs depend on none of the parameters"):
        GaussNewton([torch.ones(1, requires_grad=True)], outputs.square().sum(), outputs)


def test_functions_without_second_derivative_are_refused_by_name() -> None:
    net = Handmade(SquaresOnce)
    outputs = net(torch.randn(6, 2))
    operator = GaussNewton(list(net.parameters()), outputs.square().sum(), outputs)
    with pytest.raises(ModelInvalid, match="the graph holds SquaresOnceBackward, which cannot be differentiated twice"):
        operator(torch.ones(sum(parameter.numel() for parameter in net.parameters())))
