"""What a network learns to answer: the tasks, and which losses are meant for which."""

import pytest

from trainwell.core.recipe import Recipe
from trainwell.core.shelves import losses
from trainwell.core.task import TASKS
from trainwell.errors import RecipeInvalid


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_the_default_loss_of_a_task_is_meant_for_it(task: object) -> None:
    assert task.takes(losses[task.loss].traits["tasks"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("loss", "task", "cure"),
    [
        ("hinge", "numbers", "hinge is for classes, and these data have numbers: choose squared_error, or leave"),
        ("cross_entropy", "labels", "cross_entropy is for classes, and these data have labels: choose binary_cross"),
        ("squared_error", "labels", "squared_error is for numbers and classes, and these data have labels"),
    ],
)
def test_a_loss_that_does_not_fit_the_task_is_refused_in_words(loss: str, task: str, cure: str) -> None:
    with pytest.raises(RecipeInvalid, match=f"loss: {cure}"):
        Recipe().with_values({"loss": loss, "data.task": task}).validate_shelves()


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "hinge", "squared_hinge"])
def test_classes_take_every_loss_that_is_meant_for_them(loss: str) -> None:
    Recipe().with_values({"loss": loss, "data.task": "classes"}).validate_shelves()


def test_a_penalty_that_is_there_twice_is_refused() -> None:
    with pytest.raises(RecipeInvalid, match="penalties: l2 is there twice: give it once, with the sum"):
        Recipe().with_values({"penalties": ["l2:strength=0.1", "l2"]}).validate_shelves()
