"""What every loss on the shelf must do, whatever its name."""

import pytest
import torch

from trainwell.core.catalog import Card
from trainwell.core.shelves import losses
from trainwell.core.task import TASKS
from trainwell.errors import ShapeError

pytestmark = pytest.mark.parametrize("card", list(losses), ids=lambda card: card.name)


def samples(count: int = 6, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, classes, dtype=torch.float64), torch.arange(count) % classes


def test_it_gives_one_finite_value_a_sample(card: Card) -> None:
    logits, labels = samples()
    values = card.build({})(logits, labels)
    assert values.shape == (6,)
    assert values.isfinite().all()


def test_a_sample_does_not_depend_on_its_neighbours(card: Card) -> None:
    logits, labels = samples()
    criterion = card.build({})
    alone = torch.cat([criterion(logits[n : n + 1], labels[n : n + 1]) for n in range(6)])
    torch.testing.assert_close(criterion(logits, labels), alone)


def test_class_ids_and_their_one_hot_targets_cost_the_same(card: Card) -> None:
    logits, labels = samples()
    criterion = card.build({})
    torch.testing.assert_close(criterion(logits, torch.eye(4, dtype=torch.float64)[labels]), criterion(logits, labels))


def test_its_gradient_is_that_of_finite_differences(card: Card) -> None:
    logits, labels = samples()
    criterion = card.build({})
    assert torch.autograd.gradcheck(lambda scores: criterion(scores, labels), logits.requires_grad_())


def test_a_higher_score_of_the_right_class_costs_less_while_there_is_anything_to_gain(card: Card) -> None:
    logits, labels = samples()
    criterion = card.build({})
    if "aims_at" in card.traits:  # a score above it costs again
        logits = logits.clamp(max=card.traits["aims_at"] - 0.5)
    better = logits + 0.1 * torch.eye(4, dtype=torch.float64)[labels]
    before, after = criterion(logits, labels), criterion(better, labels)
    assert (before > 0).any()
    assert ((after < before) | ((before == 0) & (after == 0))).all()


def test_float32_agrees_with_float64(card: Card) -> None:
    logits, labels = samples()
    criterion = card.build({})
    torch.testing.assert_close(
        criterion(logits.float(), labels).double(), criterion(logits, labels), rtol=1e-5, atol=1e-6
    )


def test_it_takes_an_empty_batch(card: Card) -> None:
    assert card.build({})(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_targets_of_another_length_are_refused(card: Card) -> None:
    with pytest.raises(ShapeError, match=r"targets must be .*, got \(5,\): "):
        card.build({})(torch.zeros(6, 4), torch.zeros(5, dtype=torch.int64))


def test_its_card_says_what_it_is_and_where_it_comes_from(card: Card) -> None:
    assert card.summary.endswith(".")
    assert card.source
    assert card.needs == ()


def test_its_card_says_which_tasks_it_is_for_and_what_its_unit_is(card: Card) -> None:
    assert card.traits["tasks"]
    assert set(card.traits["tasks"]) <= set(TASKS)
    assert card.traits["unit"]


def test_low_precision_is_computed_in_float32(card: Card) -> None:
    logits, labels = samples()
    values = card.build({})(logits.bfloat16(), labels)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, card.build({})(logits.bfloat16().float(), labels))
