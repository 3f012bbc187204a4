"""The multi-layer perceptron: its layers, its initial scale, and what it refuses."""

import numpy as np
import pytest
import torch

from trainwell.core.shelves import models
from trainwell.errors import OptionInvalid, ShapeError
from trainwell.layers.choosing import gain_of
from trainwell.layers.hidden import NormOrder
from trainwell.models.mlp import MLP


def test_a_forward_equals_matrix_products_in_float64() -> None:
    net = MLP(6, 3, hidden=(5, 4)).double()
    inputs = torch.randn(7, 1, 2, 3, dtype=torch.float64)
    weights = [parameter.detach().numpy() for parameter in net.parameters()]
    x = inputs.reshape(7, 6).numpy()
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = np.maximum(x @ weight.T + bias, 0)
    np.testing.assert_allclose(net(inputs).detach().numpy(), x @ weights[-2].T + weights[-1], rtol=1e-12)


def test_a_4_3_1_net_has_12_and_3_weights_beside_its_biases() -> None:
    assert [p.numel() for p in MLP(4, 1, hidden=(3,)).parameters() if p.ndim == 2] == [12, 3]


def test_no_hidden_layer_makes_a_linear_classifier() -> None:
    net = MLP(3, 2, hidden=()).double()
    one, other = torch.randn(2, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(net(one) + net(other), net(one + other) + net(torch.zeros_like(one)))


def test_the_mean_square_of_what_relu_passes_stays_1_through_10_layers() -> None:
    """He's scale: with unit inputs the mean over 64 nets is 1; the band is 4 standard errors wide."""
    torch.manual_seed(0)
    nets = (MLP(128, 10, hidden=(128,) * 10) for _ in range(64))
    squares = torch.stack([net.body(torch.randn(1, 128)).detach().square().mean() for net in nets])
    error = squares.std() / len(squares) ** 0.5
    assert error < 0.15
    assert abs(squares.mean() - 1) < 4 * error


def test_the_weights_before_a_relu_have_variance_2_over_fan_in_and_those_before_the_scores_a_hundredth() -> None:
    torch.manual_seed(0)
    net = MLP(400, 200, hidden=(300,))
    assert net.body[0].weight.var().item() == pytest.approx(2 / 400, rel=0.05)
    assert net.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not net.fc.bias.any()
    assert not net.body[0].bias.any()


def test_batch_norm_replaces_the_bias_and_stands_before_the_relu() -> None:
    kinds = [type(layer).__name__ for layer in MLP(4, 2, hidden=(3,), norm="batch", dropout=0.1).body]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert MLP(4, 2, hidden=(3,), norm="batch").body[0].bias is None


def test_behind_the_activation_a_norm_leaves_the_layer_its_bias() -> None:
    body = MLP(4, 2, hidden=(3,), norm="batch", norm_order="after").body
    assert [type(layer).__name__ for layer in body] == ["Linear", "ReLU", "BatchNorm1d"]
    assert body[0].bias is not None


@pytest.mark.parametrize(("former", "norm"), [(True, "batch"), (False, "none")])
def test_options_of_runs_from_before_the_norms_are_still_read(former: bool, norm: str) -> None:
    assert models["mlp"].parse_options({"batch_norm": former, "hidden": [3]})["norm"] == norm
    with pytest.raises(OptionInvalid, match="mlp has no option 'batch_norm'"):
        models["mlp"].parse_options({"batch_norm": "perhaps"})


@pytest.mark.parametrize("order", ["before", "after"])
def test_maxout_widens_the_layer_in_front_of_it_and_nothing_else(order: NormOrder) -> None:
    net = MLP(6, 3, hidden=(5, 4), activation="maxout:pieces=3", norm="batch", norm_order=order)
    shapes = [tuple(p.shape) for p in net.parameters() if p.ndim == 2]
    assert shapes == [(15, 6), (12, 5), (3, 4)]
    assert net(torch.randn(7, 6)).shape == (7, 3)


@pytest.mark.parametrize("choice", ["tanh", "selu", "elu:alpha=0.5", "maxout:pieces=2", "leaky_relu:slope=0.3"])
def test_the_weights_have_the_variance_that_the_activation_asks_for(choice: str) -> None:
    torch.manual_seed(0)
    net = MLP(400, 5, hidden=(300,), activation=choice)
    assert net.body[0].weight.var().item() == pytest.approx(gain_of(choice) ** 2 / 400, rel=0.05)


def test_weight_norm_starts_with_mean_0_and_variance_1_in_every_layer_of_the_first_batch() -> None:
    torch.manual_seed(0)
    net = MLP(6, 3, hidden=(5, 4), norm="weight", activation="tanh").double()
    inputs, seen = 3 + 2 * torch.randn(50, 6, dtype=torch.float64), []
    for layer in (net.body[0], net.body[2]):
        layer.register_forward_hook(lambda module, given, outputs: seen.append(outputs.detach()))
    assert net.start_on is not None
    net.start_on(inputs)
    seen.clear()
    net(inputs)
    for outputs in seen:
        torch.testing.assert_close(outputs.mean(0), torch.zeros_like(outputs[0]), rtol=0, atol=1e-12)
        torch.testing.assert_close(outputs.var(0, correction=0), torch.ones_like(outputs[0]))
    assert type(net.fc) is torch.nn.Linear, "the head stays as it is"


def test_a_width_of_zero_is_refused_with_the_words() -> None:
    with pytest.raises(OptionInvalid, match="mlp:hidden must be a list of whole numbers >= 1, got"):
        models.build("mlp", {"hidden": [64, 0]}, in_features=4, num_classes=2)


def test_inputs_of_another_size_are_refused_with_a_cure() -> None:
    with pytest.raises(ShapeError, match=r"mlp was built for 64 numbers a sample, got 49 in \(2, 1, 7, 7\)"):
        MLP(64, 10)(torch.zeros(2, 1, 7, 7))
