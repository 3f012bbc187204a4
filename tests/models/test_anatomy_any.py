"""Anatomies of networks of every make: attention, recurrence, functions, stubborn ones; and that none is touched."""

import copy
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from trainwell.models.anatomy import PathLengths, anatomy


class Attention(nn.Module):
    """Attention by hand, by einsum, or by torch's own function; all the same operations."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, T, 8)."""
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.how == "matmul":
            return torch.softmax(q @ k.transpose(1, 2), -1) @ v
        if self.how == "einsum":
            return torch.einsum("nij,njd->nid", torch.softmax(torch.einsum("nid,njd->nij", q, k), -1), v)
        return functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


@pytest.mark.parametrize("how", ["matmul", "einsum", "function"])
def test_products_without_modules_are_counted(how: str) -> None:
    found = anatomy(Attention(how), (5, 8))
    assert found.operations == 5 * 8 * 24 + 2 * 5 * 5 * 8
    assert not found.not_counted


def test_torchs_own_attention_layers_are_counted() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = anatomy(layer, (5, 8))
    assert found.operations == 5 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 5 * 5 * 8
    assert found.parameters == sum(parameter.numel() for parameter in layer.parameters())
    assert found.paths == PathLengths(2)


def test_recurrent_layers_are_counted_and_have_no_residual_units() -> None:
    found = anatomy(nn.LSTM(4, 3, batch_first=True), (5, 4))
    assert found.operations == 5 * 12 * (4 + 3)
    assert found.paths is None


class Spectrum(nn.Module):
    """Uses an operation whose cost nobody has written down, and a value to decide on."""

    def __init__(self, *, decides: bool) -> None:
        super().__init__()
        self.fc, self.decides, self.seen = nn.Linear(4, 4), decides, 0
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return magnitudes."""
        self.seen += 1
        self.count += 1
        if self.decides and float(x.sum()) > 1:
            return x
        return torch.fft.rfft(self.fc(x)).abs()


def test_what_cannot_be_counted_is_named() -> None:
    found = anatomy(Spectrum(decides=False), (4,))
    assert found.not_counted == (("fft_r2c", "_fft_r2c"),)
    assert "not counted  _fft_r2c" in str(found)
    assert not found.notes


def test_a_network_that_refuses_shapes_alone_runs_on_zeros_and_is_not_touched() -> None:
    network = Spectrum(decides=True)
    found = anatomy(network, (4,))
    assert found.operations == 16
    assert "refuses torch's meta device" in found.notes[0]
    assert (network.seen, float(network.count)) == (0, 0.0)


def test_a_network_that_cannot_be_copied_is_put_back_as_it_was() -> None:
    network = Spectrum(decides=True)
    network.lock = threading.Lock()
    found = anatomy(network, (4,))
    assert "cannot be copied" in found.notes[0]
    assert (network.seen, float(network.count), network.training) == (0, 0.0, True)
    assert not network._forward_hooks
    assert not network.fc._forward_pre_hooks


class Noisy(nn.Module):
    """Draws, normalizes and drops."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Return maps with noise."""
        return self.body(x) + torch.rand(1)


@pytest.mark.parametrize("refuses", [False, True])
def test_mode_buffers_weights_and_random_state_are_left_alone(refuses: bool) -> None:
    network = Noisy()
    network.body[1].eval()
    if refuses:
        network.lock = threading.Lock()  # nothing but itself can be run
    modes = [module.training for module in network.modules()]
    before = copy.deepcopy(network.state_dict())
    kept = {name: id(value) for name, value in (*network.named_parameters(), *network.named_buffers())}
    state = torch.get_rng_state()
    anatomy(network, (3, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {name: id(value) for name, value in (*network.named_parameters(), *network.named_buffers())} == kept
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_computed_weights_belong_to_their_layer_and_cost_nothing() -> None:
    plain, normed = nn.Conv2d(3, 4, 3), parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    first, second = anatomy(nn.Sequential(plain), (3, 8, 8)), anatomy(nn.Sequential(normed), (3, 8, 8))
    assert first.operations == second.operations == 36 * 4 * 27
    assert [layer.name for layer in second.layers] == ["0"]
    assert second.parameters == first.parameters + 4  # the lengths
    assert second.layers[0].kind == "Conv2d"


def test_a_batch_of_ones_own_may_be_given() -> None:
    network = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 2))
    found = anatomy(network, torch.zeros(4, 7, dtype=torch.long))
    assert found.layers[-1].shape == (7, 2)
    assert found.operations == 7 * 6 * 2


class Block(nn.Module):
    """A residual unit of some kind."""

    def __init__(self, skip: nn.Module | None, *, layers: int = 2) -> None:
        super().__init__()
        self.skip = skip
        self.branch = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        """Return branch plus skip."""
        return self.branch(x) + (x if self.skip is None else self.skip(x))


@pytest.mark.parametrize(
    ("skip", "layers", "units"),
    [
        (None, 1, 1),
        (None, 3, 1),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), 2, 1),
        (nn.AvgPool2d(3, 1, 1), 2, 1),
        (nn.Conv2d(4, 4, 1), 1, None),  # two branches alike: neither is a skip
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)), 3, None),
    ],
)
def test_residual_units_are_told_from_branches(skip: nn.Module | None, layers: int, units: int | None) -> None:
    found = anatomy(Block(skip, layers=layers), (4, 6, 6))
    assert (found.paths and found.paths.units) == units


def test_units_in_a_row_are_all_found_and_branches_that_are_joined_are_none() -> None:
    found = anatomy(nn.Sequential(*(Block(None) for _ in range(5))), (4, 6, 6))
    assert found.paths == PathLengths(5)
    assert sum(PathLengths(5).probabilities) == 1
    assert PathLengths(5).probabilities[2] == 10 / 32


def test_the_published_shares_of_path_lengths_come_out() -> None:
    """Veit et al. 2016: of 54 units more than 95 % of paths have 19 to 35 branches, 0.45 % have 5 to 17."""
    assert round(PathLengths(54).between(19, 35), 4) == 0.9802
    assert round(PathLengths(54).between(5, 17), 6) == 0.004537


def test_plain_data_hold_everything() -> None:
    plain: dict[str, Any] = anatomy(Block(None), (4, 6, 6)).to_plain()
    assert plain["paths"]["probabilities"] == [0.5, 0.5]
    assert plain["layers"][0]["field"] == {"size": (3, 3), "jump": (1, 1), "start": (-1, -1)}
    assert sum(stage["operations"] for stage in plain["stages"]) == plain["operations"] == 2 * 36 * 4 * 36


class Pieces(nn.Module):
    """Writes its result piece by piece into an empty tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps."""
        out = torch.zeros_like(x)
        out[:, :2] = self.conv(x)[:, :2]
        out[:, 2:] = x[:, 2:]
        result: Tensor = self.conv(out)
        return result


def test_where_fields_cannot_be_followed_is_said() -> None:
    found = anatomy(Pieces(), (3, 4, 4))
    assert found.operations == 2 * 16 * 81
    assert found.layers[0].field is not None
    assert found.layers[-1].field is None
    assert found.lost[0][1] == "copy"


def test_scripted_networks_are_seen_operation_by_operation() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of late torch; what is scripted still comes in files
        network = torch.jit.trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval(), torch.zeros(2, 1, 5, 5))
    found = anatomy(network, (1, 5, 5))
    assert [(layer.kind, layer.parameters) for layer in found.layers] == [("convolution", 20), ("relu", 0)]
    assert found.operations == 9 * 2 * 9


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.Conv2d(4, 8, (1, 5), (2, 1), (0, 2), (1, 2), groups=4),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(2, 3, 1, ceil_mode=True),
        nn.MaxPool2d(3, 2, 1, 2),
        nn.BatchNorm2d(4),
        nn.Flatten(2),
    ],
)
@pytest.mark.parametrize("side", [9, 10, 14])
def test_shapes_without_numbers_are_those_with_numbers(layer: nn.Module, side: int) -> None:
    found = anatomy(layer, (4, side, side + 1))
    assert found.layers[0].shape == tuple(layer.eval()(torch.zeros(2, 4, side, side + 1)).shape[1:])
    assert not found.notes
