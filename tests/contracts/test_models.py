"""What every network on the shelf must do, whatever its name.

Of a family with published sizes the small form is asked, which its card declares; the sizes themselves, its presets,
are compared with it in `tests/models/test_presets.py`. A card that declares `foreign` gives another library's networks,
which keep to that library's ways, and is not asked.
"""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.catalog import Card
from trainwell.core.shelves import activations, models, norms
from trainwell.errors import ModelInvalid, ShapeError, TrainwellError
from trainwell.layers.choosing import widening
from trainwell.models.auxiliary import with_auxiliaries
from trainwell.models.heads import last_layer

FAMILIES = [card for card in models if not {"preset_of", "foreign"} & card.traits.keys()]

pytestmark = pytest.mark.parametrize("card", FAMILIES, ids=lambda card: card.name)

IMAGES = ((1, 8, 8), (3, 16, 12), (4, 9, 9))
SIDES = (8, 9, 31, 33, 64, 512)
CLASSES = 5


def sized(card: Card, input_shape: tuple[int, ...] = (3, 16, 12)) -> tuple[int, ...]:
    """The shape, or, where a card declares that it needs larger images, that one."""
    channels, *sides = input_shape
    return (channels, *(max(side, card.traits.get("least_side", 1)) for side in sides))


def build(card: Card, input_shape: tuple[int, ...] = (3, 16, 12), seed: int = 0, **options: Any) -> nn.Module:
    input_shape = sized(card, input_shape)
    facts: dict[str, Any] = {
        "input_shape": input_shape,
        "in_channels": input_shape[0],
        "in_features": math.prod(input_shape),
        "num_classes": CLASSES,
    }
    torch.manual_seed(seed)
    return card.build({**card.traits.get("small", {}), **options}, **facts)


def has_hidden_layers(card: Card) -> bool:
    """Whether the choice of activation and norm means anything here; a network without hidden layers says so."""
    return bool(card.traits.get("has_hidden_layers", True))


def written(norm: Card) -> str:
    """A choice of this norm that fits every number of channels."""
    return f"{norm.name}:{norm.traits['divides_channels']}=4" if "divides_channels" in norm.traits else norm.name


def batch(card: Card, input_shape: tuple[int, ...] = (3, 16, 12), count: int = 10) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, *sized(card, input_shape)), torch.arange(count) % CLASSES


def loss_of(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The loss in training, with what a network's auxiliary classifiers add to it."""
    return with_auxiliaries(functional.cross_entropy, model)(model(images).float(), labels)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are not frozen, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("input_shape", IMAGES, ids=str)
def test_it_gives_one_finite_score_a_class_for_any_channels_and_sizes(card: Card, input_shape: tuple[int, ...]) -> None:
    with torch.no_grad():
        scores = build(card, input_shape)(batch(card, input_shape)[0])
    assert scores.shape == (10, CLASSES)
    assert scores.isfinite().all()


def least_said(words: str, side: int) -> int:
    """The least side that a refusal of smaller images names."""
    said = re.search(r"needs images of at least (\d+)x\1 pixels, got (\d+)x\2: ", words)
    assert said, words
    least, got = map(int, said.groups())
    assert got == side < least
    return least


@torch.no_grad()
def test_images_of_other_sizes_give_scores_or_an_error_that_names_the_least(card: Card) -> None:
    if "in_features" in card.needs:  # made for one number of features
        return
    model = build(card, (3, 8, 8)).eval()
    for side in SIDES:
        try:
            scores = model(torch.zeros(1, 3, side, side))
        except ShapeError as refusal:
            least = least_said(str(refusal), side)
            scores = model(torch.zeros(1, 3, least, least))
        assert scores.shape == (1, CLASSES)
        assert scores.isfinite().all()


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_ones(card: Card) -> None:
    one, same, other = (build(card, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    is_drawn = any(torch.count_nonzero(value) and name.endswith("fc.weight") for name, value in one.items())
    assert not is_drawn or any(not torch.equal(one[name], other[name]) for name in one)


def test_the_first_loss_is_near_ln_k(card: Card) -> None:
    images, labels = batch(card, count=40)
    with torch.no_grad():
        loss = functional.cross_entropy(build(card)(images), labels).item()
    assert abs(loss - math.log(CLASSES)) < 0.2


def test_with_zeros_in_its_last_layer_the_first_loss_is_ln_k(card: Card) -> None:
    model, (images, labels) = build(card), batch(card)
    last = last_layer(model.head if hasattr(model, "head") else model.fc)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    assert functional.cross_entropy(model(images), labels).item() == pytest.approx(math.log(CLASSES), rel=1e-6)


def test_the_first_backward_reaches_every_parameter(card: Card) -> None:
    model, (images, labels) = build(card), batch(card)
    loss_of(model, images, labels).backward()
    missed = [name for name, p in trained(model).items() if p.grad is None or not p.grad.any()]
    assert missed == []
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(model).values())


def test_one_step_along_the_gradient_lowers_the_loss(card: Card) -> None:
    model, (images, labels) = build(card), batch(card)
    torch.manual_seed(2)
    before = loss_of(model, images, labels)
    before.backward()
    torch.manual_seed(2)  # the same dropout
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter -= 1e-3 * parameter.grad
        after = loss_of(model, images, labels)
    assert after < before


def test_it_can_learn_one_batch_by_heart(card: Card) -> None:
    images, labels = batch(card, (3, 8, 8))
    model = build(card, (3, 8, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        loss = functional.cross_entropy(model(images), labels)
        if loss < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_channels_last_changes_nothing_but_rounding(card: Card) -> None:
    model, (images, _) = build(card).double().eval(), batch(card)
    expected = model(images.double())
    model = model.to(memory_format=torch.channels_last)
    actual = model(images.double().contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_channels_last_trains_with_the_same_gradients(card: Card) -> None:
    images, labels = batch(card)
    grads = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = build(card).double().to(memory_format=memory_format)
        torch.manual_seed(2)
        loss_of(model, images.double().contiguous(memory_format=memory_format), labels).backward()
        grads.append({name: parameter.grad for name, parameter in trained(model).items()})
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-9, atol=1e-9)


def test_it_trains_under_bfloat16_autocast(card: Card) -> None:
    model, (images, labels) = build(card), batch(card)
    torch.manual_seed(2)
    expected = loss_of(model, images, labels).item()
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, images, labels)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=0.1, abs=0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(model).values())


def test_it_trains_with_weights_of_bfloat16(card: Card) -> None:
    model, (images, labels) = build(card).bfloat16(), batch(card)
    scores = model(images.bfloat16())
    assert scores.dtype == torch.bfloat16
    loss_of(model, images.bfloat16(), labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(model).values())


def test_in_evaluation_a_sample_does_not_depend_on_its_neighbours(card: Card) -> None:
    model, (images, _) = build(card).double().eval(), batch(card)
    together = model(images.double())
    alone = torch.cat([model(image[None].double()) for image in images])
    torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-9)


def test_evaluation_changes_no_state(card: Card) -> None:
    model, (images, _) = build(card).eval(), batch(card)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model(images)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_wrong_inputs_are_refused_in_words_of_ours(card: Card) -> None:
    model = build(card)
    for inputs in (torch.zeros(4, 2, 16, 12), torch.zeros(4, 7)):
        with pytest.raises(TrainwellError, match=r"got .*: "):
            model(inputs)


def test_its_weights_go_through_a_state_dict(card: Card) -> None:
    model, copy = build(card).eval(), build(card, seed=9).eval()
    copy.load_state_dict(model.state_dict())
    assert torch.equal(model(batch(card)[0]), copy(batch(card)[0]))


def test_it_takes_an_activation_a_norm_and_their_order_unless_it_has_no_hidden_layers(card: Card) -> None:
    assert ({"activation", "norm", "norm_order"} <= card.options.keys()) is has_hidden_layers(card)


def test_it_takes_classes_channels_and_where_it_ends_in_maps_a_head(card: Card) -> None:
    assert "num_classes" in card.needs
    assert {"in_channels", "input_shape", "in_features"} & set(card.needs)
    assert ("head" in card.options) is hasattr(build(card), "maps")


def check_training(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Every weight gets a gradient; after a small step scores are finite, and each sample's are its own."""
    loss_of(model, images, labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(model).values())
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter -= 1e-3 * parameter.grad / (1 + parameter.grad.norm())  # a deep net without a norm has huge ones
        scores = model.eval()(images)
        alone = torch.cat([model(image[None]) for image in images])
    assert scores.isfinite().all()
    torch.testing.assert_close(alone, scores, rtol=1e-9, atol=1e-9 * float(scores.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("activation", list(activations), ids=lambda card: card.name)
def test_every_activation_trains_in_it(card: Card, activation: Card) -> None:
    if not has_hidden_layers(card):
        return
    images, labels = batch(card, (3, 8, 8), count=6)
    model = build(card, (3, 8, 8), activation=activation.name).double()
    check_training(model, images.double(), labels)
    plain, wide = (sum(p.numel() for p in net.parameters() if p.ndim > 1) for net in (build(card, (3, 8, 8)), model))
    assert (wide > 1.5 * plain) is (widening(activation.name) > 1)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("norm", list(norms), ids=lambda card: card.name)
def test_every_norm_trains_in_it_in_either_place(card: Card, norm: Card, order: str) -> None:
    if not has_hidden_layers(card):
        return
    images, labels = batch(card, (3, 8, 8), count=6)
    takes_features = "in_features" in card.needs
    if norm.traits.get("needs_maps") and takes_features:
        with pytest.raises(ModelInvalid, match="take layer or batch"):
            build(card, (3, 8, 8), norm=written(norm), norm_order=order)
        return
    model = build(card, (3, 8, 8), norm=written(norm), norm_order=order).double()
    start_on = getattr(model, "start_on", None)
    assert start_on is not None or "start_on" not in norm.traits
    if start_on is not None:
        start_on(images.double())
    check_training(model, images.double(), labels)


@pytest.mark.slow
def test_it_can_be_exported_for_any_number_of_samples(card: Card) -> None:
    model, (images, _) = build(card).eval(), batch(card)
    exported = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    torch.testing.assert_close(exported(images[:3]), model(images[:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_compiles_as_one_graph_with_the_same_gradients(card: Card) -> None:
    """Traced and run by eager kernels; what a compiler does with the graph is torch's own affair."""
    model, (images, labels) = build(card).double(), batch(card, count=4)
    grads = []
    for network in (model, torch.compile(model, backend="eager", fullgraph=True)):
        torch.manual_seed(2)
        model.zero_grad()
        loss_of(network, images.double(), labels).backward()
        grads.append({name: parameter.grad.clone() for name, parameter in trained(model).items()})
    torch._dynamo.reset()
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-9, atol=1e-9)


def test_its_card_says_what_it_is_and_where_it_comes_from(card: Card) -> None:
    assert card.summary.endswith(".")
    assert card.source
    assert all(option.default == option.parse(option.default, owner=card.name) for option in card.options.values())
