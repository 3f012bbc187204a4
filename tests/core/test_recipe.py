"""A recipe is plain data: it travels, compares, hashes, and says all its faults at once."""

import json
import subprocess
import sys

import pytest

from trainwell.core.choice import Choice, read_value
from trainwell.core.recipe import FIXED_SECONDS, SINGLE_MEMBERS, Recipe, decided, diff, is_open, training_seconds
from trainwell.errors import OptionInvalid, RecipeInvalid

RICH = {
    "data.source": "points:kind=moons,samples=300",
    "model": "mlp:hidden=[32, 16]",
    "optimizer": "sgd:lr=0.05,momentum=0.8",
    "schedule": "cosine:warmup=0.5",
    "augmentation": ["shift:pixels=2", "horizontal_flip"],
    "regularization.clip_norm": 1.0,
    "length.epochs": 3,
    "machine.threads": 1,
    "seed": 7,
}


def test_a_recipe_travels_through_yaml_and_json_unchanged() -> None:
    recipe = Recipe().with_values(RICH)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_plain(json.loads(json.dumps(recipe.to_plain()))) == recipe


def test_the_completed_recipe_travels_too() -> None:
    recipe = Recipe().with_values(RICH).validate_shelves()
    assert recipe.optimizer.options["nesterov"] is True  # type: ignore[union-attr]
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_equal_recipes_share_an_id_in_every_process() -> None:
    recipe = Recipe().with_values(RICH)
    code = "import sys; from trainwell.core.recipe import Recipe; print(Recipe.from_yaml(sys.stdin.read()).id)"
    shuffled = dict(reversed(list(recipe.to_plain().items())))
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(shuffled), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == recipe.id
    assert recipe.id != Recipe().id
    assert hash(recipe) == hash(Recipe().with_values(RICH))


def test_diff_names_each_field_that_differs() -> None:
    old, new = Recipe(), Recipe().with_values({"optimizer.lr": 0.1, "machine.threads": 2})
    assert diff(old, old) == []
    assert diff(old, new) == [("machine.threads", "auto", 2), ("optimizer.lr", None, 0.1)]


def test_all_faults_are_said_at_once_with_the_nearest_names() -> None:
    with pytest.raises(RecipeInvalid) as caught:
        Recipe.from_plain({"optimzer": "sgd", "seed": -1, "machine": {"thread": 2, "precision": "float8"}})
    words = str(caught.value)
    assert "the recipe has 4 faults" in words
    assert "optimzer: there is no such field: did you mean 'optimizer'?" in words
    assert "machine.thread: there is no such field: did you mean 'threads'?" in words
    assert "seed: must be greater than or equal to 0, got -1" in words
    assert "machine.precision" in words
    assert "float8" in words


def test_members_options_and_contradictions_are_one_list_of_faults() -> None:
    recipe = Recipe().with_values(
        {
            "model": "resnet2O",
            "optimizer": "sgd:lr=-1,momentm=0.9",
            "length.epochs": 3,
            "length.minutes": 1.0,
            "schedule": "cosine:warmup=5",
            "batch.size": 2,
            "batch.accumulate": 4,
            "data.val_fraction": 0.6,
            "data.test_fraction": 0.5,
        }
    )
    with pytest.raises(RecipeInvalid) as caught:
        recipe.validate_shelves()
    faults = "\n".join(caught.value.faults)
    assert "no model is called 'resnet2O': did you mean" in faults
    assert "'resnet20'" in faults
    assert "sgd has no option 'momentm': did you mean 'momentum'?" in faults
    assert "sgd:lr must be a number > 0, got -1" in faults
    assert "epochs=3 and minutes=1.0 contradict" in faults
    assert "warmup=5 epochs does not fit into length.epochs=3" in faults
    assert "accumulate=4 pieces cannot be made of size=2 samples" in faults
    assert "leave nothing to train on" in faults


def test_a_path_that_does_not_exist_is_named_with_its_neighbours() -> None:
    with pytest.raises(RecipeInvalid, match="did you mean 'epochs'"):
        Recipe().with_values({"length.epoch": 3})
    with pytest.raises(RecipeInvalid, match="augmentation.3: 3 must be a position below 0"):
        Recipe(augmentation=()).with_values({"augmentation.3": "flip"})


def test_a_members_option_is_reached_by_its_path() -> None:
    recipe = Recipe().with_values({"augmentation": ["shift"], "augmentation.0.pixels": 3, "optimizer.lr": "2e-3"})
    assert recipe.augmentation[0] == Choice(name="shift", options={"pixels": 3})
    assert recipe.optimizer == Choice(name="auto", options={"lr": "2e-3"})
    recipe = Recipe(optimizer=Choice(name="adamw")).with_values({"optimizer.lr": "2e-3"})
    assert recipe.optimizer == Choice(name="adamw", options={"lr": "2e-3"})
    assert recipe.validate_shelves().optimizer.options["lr"] == 0.002  # type: ignore[union-attr]


@pytest.mark.parametrize("field", SINGLE_MEMBERS)
def test_auto_may_carry_options_that_whatever_is_chosen_shall_have(field: str) -> None:
    as_text = Recipe().with_values({field: "auto:lr=0.1"})
    by_path = Recipe().with_values({f"{field}.lr": 0.1})
    assert as_text == by_path
    assert is_open(getattr(as_text, field))
    assert Recipe.from_yaml(as_text.to_yaml()) == as_text.validate_shelves() == as_text
    assert as_text != Recipe()


def test_what_is_open_is_auto_whatever_options_it_carries() -> None:
    assert is_open(Recipe().optimizer)
    assert is_open(Recipe().batch.size)
    assert not is_open(Recipe(augmentation=()).augmentation)
    assert not is_open(Choice(name="sgd"))
    for value in ("auto", Choice(name="auto", options={"lr": 0.1})):
        with pytest.raises(AssertionError, match="the recipe is resolved"):
            decided(value)


@pytest.mark.parametrize("values", [["auto"], ["shift", "auto:pixels=2"]])
def test_auto_is_no_member_of_a_list(values: list[str]) -> None:
    with pytest.raises(RecipeInvalid, match="augmentation: no augmentation is called 'auto'"):
        Recipe().with_values({"augmentation": values}).validate_shelves()


CHOICES = [
    "resnet20",
    "sgd:lr=0.1",
    "mlp:hidden=[32, 16],dropout=0.5",
    "my/net.py:Net:width=8",
    'mlp:norm="batch:momentum=0.4,epsilon=0.001",dropout=0.5',
    "idx:path=it's,other=it's",
]


@pytest.mark.parametrize("text", CHOICES)
def test_a_choice_is_written_as_it_is_read(text: str) -> None:
    assert str(Choice.parse(text)) == text
    assert Choice.parse(str(Choice.parse(text))) == Choice.parse(text)


def test_a_choice_inside_a_choice_keeps_all_its_options() -> None:
    inner = Choice.parse(str(Choice(name="mlp", options={"norm": "batch:momentum=0.4,epsilon=0.001"}))).options["norm"]
    assert Choice.parse(inner).options == {"momentum": 0.4, "epsilon": 0.001}


def test_a_choice_with_an_option_without_value_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="an option is written key=value, got 'lr'"):
        Choice.parse("sgd:lr")


def test_numbers_with_an_exponent_are_numbers() -> None:
    assert read_value("3e-4") == 3e-4
    assert read_value("[a, b]") == ["a", "b"]
    assert read_value("null") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("- 1\n- 2", "must be a mapping"), ("a: [", "is not YAML"), ("seed: one", "seed: must be a whole number")],
)
def test_a_file_that_is_no_recipe_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        Recipe.from_yaml(text)
    assert words in str(caught.value)


def test_a_recipe_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 3


def test_class_weights_are_open_by_default_and_no_other_word_is_taken() -> None:
    assert Recipe().regularization.class_weights == "auto"
    assert Recipe().with_values({"regularization.class_weights": "none"}).regularization.class_weights == "none"
    with pytest.raises(RecipeInvalid, match="regularization.class_weights"):
        Recipe().with_values({"regularization.class_weights": "equal"})


@pytest.mark.parametrize("minutes", [0.2, 0.5, 2.0, 60.0])
def test_training_leaves_the_seconds_that_start_and_end_take(minutes: float) -> None:
    """Also where the run had begun a second before."""
    left = training_seconds(minutes, 1.0)
    assert left + 1.0 + FIXED_SECONDS < 60 * minutes
    assert left == pytest.approx((60 * minutes - 4) * 0.92 - 1)


@pytest.mark.parametrize(("minutes", "elapsed"), [(0.01, 0.0), (0.1, 3.0), (2.0, 500.0)])
def test_where_start_and_end_take_all_the_time_training_still_has_a_fifth(minutes: float, elapsed: float) -> None:
    assert training_seconds(minutes, elapsed) == pytest.approx(minutes * 60 / 5)
