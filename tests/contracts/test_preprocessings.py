"""What every member of the preprocessing shelf must keep to; holds no member's name."""

import pytest
import torch
from safetensors.torch import load, save

from trainwell.core.catalog import Card
from trainwell.core.shelves import preprocessings

SHAPES = {"images": (200, 3, 5, 4), "grey": (200, 1, 5, 4), "floats": (200, 3, 5, 4), "features": (200, 7)}


def inputs(kind: str, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if kind in ("images", "grey"):
        drawn = torch.randint(0, 256, SHAPES[kind], generator=generator, dtype=torch.uint8)
        return drawn.contiguous(memory_format=torch.channels_last)
    return torch.randn(SHAPES[kind], generator=generator) * 3 + 2


@pytest.fixture(params=list(preprocessings), ids=lambda card: card.name)
def card(request) -> Card:
    return request.param


@pytest.fixture(params=list(SHAPES))
def kind(request, card: Card) -> str:
    channels = card.traits.get("channels")
    if channels not in (None, SHAPES[request.param][1]):
        pytest.skip(f"by default it is for {channels} channels, as its card says")
    return request.param


def test_it_keeps_the_shape_gives_floats_and_leaves_the_inputs_as_they_are(card, kind):
    made, train, other = card.build({}), inputs(kind), inputs(kind, seed=1)
    before = other.clone()
    made.fit(train)
    result = made.apply(other)
    assert result.shape == other.shape
    assert result.dtype == torch.float32
    assert bool(result.isfinite().all())
    assert torch.equal(other, before)
    assert result.untyped_storage().data_ptr() != other.untyped_storage().data_ptr()
    if result.dim() == 4:
        assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fit_leaves_the_training_inputs_as_they_are(card, kind, dtype):
    """Float64 too, whose pieces need no conversion and would be the caller's own memory."""
    train = inputs(kind).to(dtype)
    before = train.clone()
    card.build({}).fit(train)
    assert torch.equal(train, before)


def test_memory_layout_does_not_change_the_result(card, kind):
    made, train = card.build({}), inputs(kind)
    made.fit(train)
    again = card.build({})
    again.fit(train.contiguous())
    assert torch.allclose(made.apply(train.contiguous()), made.apply(train), atol=1e-6)
    assert torch.allclose(again.apply(train), made.apply(train), atol=1e-4)


def test_a_fit_never_sees_what_it_is_applied_to(card, kind):
    made, train, other = card.build({}), inputs(kind), inputs(kind, seed=1)
    made.fit(train)
    alone = made.apply(other[:1])
    assert torch.allclose(made.apply(other)[:1], alone, atol=1e-5)
    assert all(
        torch.equal(a, b) for a, b in zip(made.state().values(), _fitted(card, train).state().values(), strict=True)
    )


def test_its_state_travels_through_safetensors_bit_for_bit(card, kind):
    train, other = inputs(kind), inputs(kind, seed=1)
    made, loaded = _fitted(card, train), card.build({})
    loaded.load_state(load(save(made.state())))
    assert torch.equal(loaded.apply(other), made.apply(other))
    assert all(value.dtype == torch.float64 for value in made.state().values())


def test_float32_is_the_float64_result_rounded(card, kind):
    made, train = _fitted(card, inputs(kind)), inputs(kind)
    exact = made.apply(train, dtype=torch.float64)
    assert exact.dtype == torch.float64
    assert (made.apply(train).double() - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_inputs_that_never_change_give_finite_numbers(card, kind):
    train = torch.full_like(inputs(kind), 5)
    assert bool(_fitted(card, train).apply(train).isfinite().all())


def test_its_layer_is_a_module_or_none(card, kind):
    train = inputs(kind)
    layer = _fitted(card, train).layer(tuple(train.shape[1:]))
    if layer is not None:
        assert layer(card_inputs := _fitted(card, train).apply(train)).shape == card_inputs.shape


def _fitted(card: Card, train: torch.Tensor):
    made = card.build({})
    made.fit(train)
    return made
