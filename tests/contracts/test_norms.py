"""What every norm on the shelf must do, whatever its name."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainwell.core.catalog import Card
from trainwell.core.shelves import norms
from trainwell.errors import ModelInvalid, ShapeError
from trainwell.optimizers.groups import parameter_groups

pytestmark = pytest.mark.parametrize("card", list(norms), ids=lambda card: card.name)

CHANNELS = 8
SHAPES = {"features": (), "images": (5, 3)}


def build(card: Card, kind: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The norm with scale and shift of its own, as after some training."""
    if card.traits.get("needs_maps") and kind == "features":
        pytest.skip("normalizes over pixels, as its card says")
    options = {card.traits["divides_channels"]: 2} if "divides_channels" in card.traits else {}
    module: nn.Module = card.build(options, channels=CHANNELS, spatial_dims=len(SHAPES[kind]))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module.to(dtype)


def inputs(kind: str, count: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.randn(count, CHANNELS, *SHAPES[kind], generator=torch.Generator().manual_seed(0))
    return (drawn * 2 + 1).to(dtype)


@pytest.fixture(params=list(SHAPES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_keeps_the_shape_and_leaves_its_inputs_alone(card: Card, kind: str) -> None:
    module, given = build(card, kind), inputs(kind)
    before = given.clone()
    outputs = module(given)
    assert outputs.shape == given.shape
    assert outputs.isfinite().all()
    assert torch.equal(given, before)


@pytest.mark.parametrize("is_training", [True, False])
def test_its_gradients_are_those_of_finite_differences(card: Card, kind: str, is_training: bool) -> None:
    module = build(card, kind).train(is_training)
    weights = tuple(module.parameters())

    def run(given: Tensor, *_: Tensor) -> Tensor:
        return module(given)

    assert torch.autograd.gradcheck(run, (inputs(kind, count=3).requires_grad_(), *weights))


def test_scale_and_shift_of_its_inputs_matter_little_where_it_normalizes(card: Card, kind: str) -> None:
    module, given = build(card, kind), inputs(kind)
    if card.traits.get("replaces_bias"):
        torch.testing.assert_close(module(100 * given - 7), module(given), rtol=1e-3, atol=1e-3)


def test_bfloat16_gives_what_float64_does_up_to_its_rounding(card: Card, kind: str) -> None:
    given = inputs(kind).bfloat16()
    outputs = build(card, kind, torch.bfloat16)(given)
    assert outputs.dtype == torch.bfloat16
    exact = build(card, kind, torch.bfloat16).double()(given.double())
    torch.testing.assert_close(outputs.double(), exact, rtol=0.05, atol=0.05)


def test_it_trains_under_bfloat16_autocast(card: Card, kind: str) -> None:
    module, given = build(card, kind, torch.float32), inputs(kind, dtype=torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = module(given)
    outputs.float().square().sum().backward()
    assert given.grad is not None
    assert given.grad.isfinite().all()


def test_channels_last_gives_the_same(card: Card) -> None:
    given = inputs("images")
    outputs = build(card, "images")(given.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(outputs, build(card, "images")(given), rtol=1e-12, atol=1e-12)


def test_inputs_that_are_not_contiguous_give_the_same(card: Card, kind: str) -> None:
    given = inputs(kind)
    spread = torch.stack([given, -given], dim=-1)[..., 0]
    assert not spread.is_contiguous()
    torch.testing.assert_close(build(card, kind)(spread), build(card, kind)(given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("is_training", [True, False])
def test_an_empty_batch_goes_through_and_leaves_no_trace(card: Card, kind: str, is_training: bool) -> None:
    module, given = build(card, kind).train(is_training), inputs(kind)[:0].requires_grad_()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    outputs = module(given)
    outputs.sum().backward()
    assert outputs.shape == given.shape
    after = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_a_batch_of_one_goes_through_or_is_refused_in_words(card: Card, kind: str) -> None:
    module = build(card, kind)
    if card.traits.get("needs_batch") and kind == "features":
        with pytest.raises(ShapeError, match=r"needs more than one value a channel, got inputs \(1, 8\): .* larger"):
            module(inputs(kind, count=1))
        module.eval()
    outputs = module(inputs(kind, count=1))
    assert outputs.isfinite().all()


def test_in_evaluation_a_sample_does_not_depend_on_its_neighbours(card: Card, kind: str) -> None:
    module, given = build(card, kind), inputs(kind)
    module(given)
    module.eval()
    alone = torch.cat([module(one) for one in given.split(1)])
    torch.testing.assert_close(alone, module(given), rtol=1e-12, atol=1e-12)


def test_in_training_too_unless_it_says_that_it_needs_a_batch(card: Card, kind: str) -> None:
    module, given = build(card, kind), inputs(kind)
    parts = torch.cat([module(pair) for pair in given.split(2)])
    assert torch.allclose(parts, module(given)) is not card.traits.get("needs_batch", False)


def test_a_copy_and_a_state_dict_carry_everything(card: Card, kind: str) -> None:
    module, given = build(card, kind), inputs(kind)
    module(given)
    module.eval()
    fresh = build(card, kind).eval()
    fresh.load_state_dict(module.state_dict())
    for other in (copy.deepcopy(module), fresh):
        assert torch.equal(other(given), module(given))


def test_weight_decay_leaves_what_it_learns_alone(card: Card, kind: str) -> None:
    groups = parameter_groups(nn.Sequential(nn.Linear(3, 4), build(card, kind)), 0.1)
    assert [name for group in groups if group["weight_decay"] for name in group["param_names"]] == ["0.weight"]


def test_other_channels_than_it_was_built_for_are_refused(card: Card, kind: str) -> None:
    module = build(card, kind)
    if any(True for _ in module.parameters()):
        with pytest.raises(ShapeError, match=r"\(N, 8, ...\), got \(2, 5"):
            module(torch.zeros(2, 5, *SHAPES[kind], dtype=torch.float64))


def test_features_are_refused_in_words_where_it_needs_maps(card: Card) -> None:
    if card.traits.get("needs_maps"):
        with pytest.raises(ModelInvalid, match=r"needs images \(N, C, H, W\), .* take layer or batch"):
            card.build({}, channels=CHANNELS, spatial_dims=0)


@pytest.mark.slow
def test_it_compiles_to_the_same(card: Card, kind: str) -> None:
    given, module = inputs(kind, dtype=torch.float32), build(card, kind, torch.float32)
    torch.compiler.reset()  # of the other members, whose forward is the same code
    compiled = torch.compile(copy.deepcopy(module), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(given), module(given))


@pytest.mark.slow
def test_it_can_be_exported_for_any_number_of_samples(card: Card, kind: str) -> None:
    module, given = build(card, kind, torch.float32).eval(), inputs(kind, dtype=torch.float32)
    batch = torch.export.Dim("batch")
    exported: Any = torch.export.export(module, (given,), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(exported(given[:3]), module(given[:3]))


def test_what_it_does_to_layers_leaves_their_outputs_as_they_are(card: Card) -> None:
    change = card.traits.get("reparametrize")
    for layer, given in ((nn.Linear(4, 3), torch.randn(5, 4)), (nn.Conv2d(4, 3, 3), torch.randn(2, 4, 5, 5))):
        before = layer(given)
        if change is not None:
            change(layer)
            assert len(list(layer.parameters())) == 3
        torch.testing.assert_close(layer(given), before)


def test_its_card_says_what_it_is(card: Card) -> None:
    assert card.summary.endswith(".")
    assert set(card.needs) <= {"channels", "spatial_dims"}
    assert all(option.default == option.parse(option.default, owner=card.name) for option in card.options.values())
