"""What is set and what is left alone, and that the report says so of every module with parameters."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from trainwell.errors import ModelInvalid, NameUnknown, OptionInvalid
from trainwell.initialization import initialize


class Mixed(nn.Module):
    """One of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 3.0))
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.slope = nn.PReLU()
        self.normed = weight_norm(nn.Conv2d(4, 4, 1))
        self.frozen = nn.Linear(4, 4)
        self.frozen.weight.requires_grad_(False)
        self.shifted = nn.Linear(4, 4)
        self.shifted.bias.requires_grad_(False)
        self.words = nn.Embedding(7, 4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.again = self.first
        self.lazy = nn.LazyLinear(3)
        self.recurrent = nn.GRU(2, 2)
        self.attention = nn.MultiheadAttention(4, 2)
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError


def test_every_module_with_parameters_is_set_or_named_with_its_reason() -> None:
    net = Mixed()
    before = {name: p.detach().clone() for name, p in net.named_parameters() if not nn.parameter.is_lazy(p)}
    report = initialize(net, "constant:value=0.5,bias=0.25", generator=torch.Generator().manual_seed(0))
    assert report.changed == ("conv", "first", "attention.out_proj", "head")
    reasons = {
        "": "no rule for this type of layer, whose scale stay as built",
        "norm": "a norm keeps its scale and shift",
        "slope": "no rule for this type of layer, whose weight stay as built",
        "normed": "parametrized: its weight is computed from other parameters",
        "frozen": "frozen: its weight does not train",
        "shifted": "frozen: its bias does not train",
        "words": "an embedding: its rows are looked up, so there is no fan to scale by",
        "second": "tied to first, which holds the same weight",
        "lazy": "lazy: its shapes are not known yet, run the network once on a sample first",
    }
    assert {name: words for name, words in report.left.items() if name in reasons} == reasons
    assert set(report.left) == {*reasons, "recurrent", "attention"}
    after = {name: p.detach() for name, p in net.named_parameters() if not nn.parameter.is_lazy(p)}
    set_here = {f"{name}.{part}" for name in report.changed for part in ("weight", "bias")}
    for name, value in after.items():
        expected = (
            torch.full_like(value, 0.5 if name.endswith("weight") else 0.25) if name in set_here else before[name]
        )
        assert torch.equal(value, expected), name


def test_a_report_prints_one_line_a_layer_and_one_a_reason() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8))
    text = str(initialize(net, "zeros")).splitlines()
    assert text == [
        "zeros: 2 layers set, 2 left alone",
        "  0 (Conv2d): fan_in 27, fan_out 72, std 0, bias 0",
        "  2 (Conv2d): fan_in 72, fan_out 72, std 0",
        "  left alone, a norm keeps its scale and shift: 1 (BatchNorm2d), 3 (BatchNorm2d)",
    ]


def test_the_old_form_of_weight_norm_is_left_alone_too() -> None:
    with pytest.warns(FutureWarning):
        layer = torch.nn.utils.weight_norm(nn.Linear(3, 3))
    report = initialize(nn.Sequential(layer, nn.Linear(3, 3)), "he")
    assert report.left == {"0": "its weight is computed from other parameters"}


@pytest.mark.parametrize("choice", ["he", "lsuv", "orthogonal", "zero_gamma", "fixup", "as_built", "pca"])
def test_a_module_with_no_weights_is_refused(choice: str) -> None:
    with pytest.raises(ModelInvalid, match=r"no weights: there is nothing|no residual unit"):
        initialize(nn.Sequential(nn.ReLU()), choice, batch=torch.zeros(4, 2))


def test_a_network_of_which_nothing_can_be_set_is_refused_with_all_reasons() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False)
    with pytest.raises(
        ModelInvalid, match="he can set no layer of Sequential: 0 .Linear.: frozen.*; 1 .BatchNorm1d.: a n"
    ):
        initialize(net, "he")


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(ModelInvalid, match=r"needs a torch.nn.Module, got Tensor"):
        initialize(torch.zeros(2), "he")  # type: ignore[arg-type]


def test_a_wrong_name_option_or_generator_is_refused_in_words() -> None:
    net = nn.Linear(2, 2)
    with pytest.raises(NameUnknown, match="no initialization is called 'hee': did you mean 'he'"):
        initialize(net, "hee")
    with pytest.raises(OptionInvalid, match="he:mode must be one of 'fan_in', 'fan_out', got 'fan'"):
        initialize(net, "he:mode=fan")
    with pytest.raises(OptionInvalid, match=r"generator must be a torch.Generator or None, got int"):
        initialize(net, "he", generator=3)  # type: ignore[arg-type]
    with pytest.raises(OptionInvalid, match="lsuv measures activations: pass batch="):
        initialize(net, "lsuv")
