"""What every activation on the shelf must do, whatever its name; what its card declares is tried on the module."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainwell.core.catalog import Card
from trainwell.core.shelves import activations
from trainwell.layers.choosing import gain_of, widening
from trainwell.optimizers.groups import parameter_groups

pytestmark = pytest.mark.parametrize("card", list(activations), ids=lambda card: card.name)

CHANNELS = 4
SHAPES = {"features": (), "images": (3, 5)}


def build(card: Card, dtype: torch.dtype = torch.float64) -> nn.Module:
    module: nn.Module = card.build({}, channels=CHANNELS)
    return module.to(dtype)


def inputs(card: Card, kind: str, count: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers from -3 to 3, none of them near a kink: not near 0, and no two alike."""
    shape = (count, CHANNELS * widening(card.name), *SHAPES[kind])
    size = math.prod(shape)
    values = torch.linspace(0.05, 3, size)[torch.randperm(size, generator=torch.Generator().manual_seed(0))]
    signs = torch.randint(0, 2, (size,), generator=torch.Generator().manual_seed(1)) * 2 - 1
    return (values * signs).reshape(shape).to(dtype)


@pytest.fixture(params=list(SHAPES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def expected_shape(given: Tensor) -> tuple[int, ...]:
    return (given.shape[0], CHANNELS, *given.shape[2:])


def test_it_gives_its_channels_at_every_place_and_leaves_its_inputs_alone(card: Card, kind: str) -> None:
    given = inputs(card, kind)
    before = given.clone()
    outputs = build(card)(given)
    assert outputs.shape == expected_shape(given)
    assert outputs.dtype == torch.float64
    assert outputs.isfinite().all()
    assert torch.equal(given, before)


def test_its_gradients_are_those_of_finite_differences(card: Card, kind: str) -> None:
    module = build(card)
    weights = tuple(module.parameters())

    def run(given: Tensor, *_: Tensor) -> Tensor:
        return module(given)

    assert torch.autograd.gradcheck(run, (inputs(card, kind, count=2).requires_grad_(), *weights))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_float_type_gives_what_float64_does_up_to_its_rounding(card: Card, kind: str, dtype: torch.dtype) -> None:
    given = inputs(card, kind).to(dtype)
    outputs = build(card, dtype)(given)
    assert outputs.dtype == dtype
    share = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(outputs.double(), build(card)(given.double()), rtol=share, atol=share)


def test_a_lower_type_comes_in_and_goes_out_under_autocast_though_its_weights_are_float32(card: Card) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert build(card, torch.float32)(inputs(card, "images", dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_channels_last_gives_the_same(card: Card) -> None:
    given = inputs(card, "images")
    outputs = build(card)(given.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(outputs, build(card)(given), rtol=1e-12, atol=1e-12)
    assert outputs.is_contiguous(memory_format=torch.channels_last)


def test_inputs_that_are_not_contiguous_give_the_same(card: Card, kind: str) -> None:
    given = inputs(card, kind)
    spread = torch.stack([given, -given], dim=-1)[..., 0]
    assert not spread.is_contiguous()
    torch.testing.assert_close(build(card)(spread), build(card)(given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1])
def test_it_takes_an_empty_batch_and_a_batch_of_one(card: Card, kind: str, count: int) -> None:
    given = inputs(card, kind)[:count].requires_grad_()
    outputs = build(card)(given)
    outputs.sum().backward()
    assert outputs.shape == expected_shape(given)
    assert given.grad is not None
    assert given.grad.shape == given.shape


def test_a_sample_does_not_depend_on_its_neighbours(card: Card, kind: str) -> None:
    module, given = build(card), inputs(card, kind)
    torch.testing.assert_close(
        torch.cat([module(one) for one in given.split(1)]), module(given), rtol=1e-12, atol=1e-12
    )


def test_a_copy_and_a_state_dict_carry_everything(card: Card, kind: str) -> None:
    module, given = build(card), inputs(card, kind)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3)
    fresh = build(card)
    fresh.load_state_dict(module.state_dict())
    for other in (copy.deepcopy(module), fresh):
        assert torch.equal(other(given), module(given))


def test_weight_decay_leaves_what_it_learns_alone(card: Card) -> None:
    groups = parameter_groups(nn.Sequential(nn.Linear(3, 4), build(card)), 0.1)
    decayed = [name for group in groups if group["weight_decay"] for name in group["param_names"]]
    assert decayed == ["0.weight"]


@pytest.mark.slow
def test_it_compiles_to_the_same(card: Card, kind: str) -> None:
    given = inputs(card, kind, dtype=torch.float32)
    module = build(card, torch.float32)
    torch.compiler.reset()  # of the other members, whose forward is the same code
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(given), module(given))


@pytest.mark.slow
def test_it_can_be_exported_for_any_number_of_samples(card: Card, kind: str) -> None:
    module, given = build(card, torch.float32).eval(), inputs(card, kind, dtype=torch.float32)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(module, (given,), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(exported(given[:3]), module(given[:3]))


WORDS: dict[str, Any] = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "sqrt": math.sqrt, "inf": math.inf, "max": max, "min": min,
    "Phi": lambda x: (1 + math.erf(x / math.sqrt(2))) / 2,
    "phi": lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
}  # fmt: skip


def said(card: Card, trait: str, **names: Any) -> Any:
    """What a trait that is written in the words of Python says, at the card's default options."""
    return eval(card.traits[trait], {**WORDS, **card.parse_options({}), **names})


def slopes(card: Card, given: Tensor) -> Tensor:
    given = given.clone().requires_grad_()
    build(card)(given).sum().backward()
    assert given.grad is not None
    return given.grad


def test_it_computes_its_formula(card: Card) -> None:
    given, pieces = inputs(card, "features", count=40) * 4, widening(card.name)
    outputs = build(card)(given).detach()
    for row in range(len(given)):
        for i in range(CHANNELS):
            x = given[row, i * pieces : (i + 1) * pieces].tolist()
            expected = said(card, "formula", x=x if pieces > 1 else x[0], i=i)
            assert outputs[row, i].item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_its_slope_is_its_derivative(card: Card) -> None:
    given, pieces = inputs(card, "features", count=40) * 4, widening(card.name)
    found = slopes(card, given)
    for row in range(len(given)):
        for i in range(CHANNELS):
            x = given[row, i * pieces : (i + 1) * pieces].tolist()
            for j in range(pieces):
                expected = said(card, "derivative", x=x if pieces > 1 else x[0], i=i, j=j)
                assert found[row, i * pieces + j].item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


def line(card: Card, low: float = -30, high: float = 30) -> Tensor:
    """Every channel, and every piece, from one end to the other: (M, C k)."""
    return torch.linspace(low, high, 20_001, dtype=torch.float64)[:, None].repeat(1, CHANNELS * widening(card.name))


def test_its_outputs_fill_its_range_and_no_more(card: Card) -> None:
    low, high = said(card, "range")
    outputs = build(card)(line(card)).detach()
    assert low - 1e-3 <= outputs.min() <= (low + 1e-3 if math.isfinite(low) else -0.2)
    assert (high - 1e-3 if math.isfinite(high) else 20) <= outputs.max() <= high + 1e-3


def test_it_saturates_on_both_sides_where_it_says_so(card: Card) -> None:
    ends = slopes(card, torch.cat([line(card)[:1], line(card)[-1:]]))
    assert bool((ends.abs() < 1e-6).all()) is card.traits["is_saturating"]


def test_it_can_die_where_it_says_so(card: Card) -> None:
    sides = [slopes(card, line(card, *ends)) for ends in ((-6, -0.5), (0.5, 6))]
    assert any(bool((side == 0).any()) and bool((side[:, 0] == 0).all()) for side in sides) is card.traits["can_die"]


def gaussian(card: Card, power: int) -> float:
    """The mean of a power of what comes out where all that comes in is unit Gaussian, by 4 million draws."""
    torch.manual_seed(0)
    outputs = build(card)(torch.randn(1_000_000, CHANNELS * widening(card.name), dtype=torch.float64))
    return float(outputs.detach().pow(power).mean())


def test_its_mean_is_0_where_it_says_so(card: Card) -> None:
    """The mean of 4 million draws of a spread of at most 1.1 is within 6 standard errors: fails in 2e-9 of cases."""
    assert (abs(gaussian(card, 1)) < 6 * 1.1 / 2_000) is card.traits["is_zero_centred"]


def test_its_gain_keeps_a_signal_of_unit_size_nearly_as_it_is(card: Card) -> None:
    """Within the 10 % that the customary gain of one of them is off; the closed forms stand in tests/layers."""
    assert gain_of(card.name) ** 2 * gaussian(card, 2) == pytest.approx(1, rel=0.1)


def test_its_card_says_what_it_is_and_where_it_comes_from(card: Card) -> None:
    assert card.summary.endswith(".")
    assert card.source
    assert card.traits["cost"]
    assert set(card.needs) <= {"channels"}
    assert all(option.default == option.parse(option.default, owner=card.name) for option in card.options.values())
