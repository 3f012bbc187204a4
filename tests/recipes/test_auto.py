"""The sound default: everything is decided with a reason, and nothing that the user decided is touched."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainwell.core.choice import Choice
from trainwell.core.machine import AutoChoice
from trainwell.core.recipe import MEMBER_FIELDS, Recipe, is_open
from trainwell.core.shelves import optimizers
from trainwell.data.augmentation.geometry import Geometric
from trainwell.data.prepare import Prepared
from trainwell.errors import RecipeInvalid
from trainwell.recipes import labels_kept
from trainwell.recipes.auto import (
    FAMILIES,
    FEWEST_EPOCHS,
    LEAST_BATCH,
    LEAST_EPOCHS,
    LEAST_MINUTES_TO_ASK,
    MOST_BATCH,
    MOST_EPOCHS,
    auto,
)
from trainwell.recipes.labels_kept import Answer, LabelProbe
from trainwell.recipes.work import Work

Prepare = Callable[..., Prepared]
Images = Callable[..., tuple[np.ndarray, np.ndarray]]
MEMBERS = set(MEMBER_FIELDS) - {"probes", "penalties"}
DECIDED_HERE = (*MEMBERS, "batch.size", "length.epochs", "regularization.class_weights")
NO_CHANGES: dict[str, Any] = {"augmentation": []}  # the probe takes a second, and is tested by itself


def decide(prepared: Prepared, values: dict[str, Any] | None = None) -> tuple[Recipe, dict[str, AutoChoice]]:
    """Return what `auto` makes of a recipe, and its choices by field."""
    recipe = Recipe().with_values({"machine.device": "cpu", **(values or {})})
    done, choices = auto(recipe, prepared, lambda: 0.0)
    by_field = {choice.field: choice for choice in choices}
    assert len(by_field) == len(choices), "no field is chosen twice"
    return done, by_field


def value_at(recipe: Recipe, field: str) -> Any:
    value: Any = recipe
    for part in field.split("."):
        value = getattr(value, part)
    return value


@pytest.fixture
def features() -> tuple[np.ndarray, np.ndarray]:
    """60 samples of 5 features in 3 classes."""
    return np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the probe of augmentations take a few steps; its answers do not matter here."""
    monkeypatch.setattr(labels_kept, "STEPS", 3)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("shape", "network"),
    [
        ((20, 20, 3), "whitened"),
        ((20, 20, 1), "convnet"),
        ((12, 12, 3), "convnet"),  # too small for patches
        ((2, 9, 1), "mlp"),  # too small to be convolved
        ((16, 40, 3), "whitened"),
        ((5,), "mlp"),
    ],
    ids=str,
)
def test_every_field_is_decided_and_every_choice_has_a_reason(
    prepared: Prepare, images: Images, shape: tuple[int, ...], network: str
) -> None:
    x, y = images(40, *shape)
    done, choices = decide(prepared((x if len(shape) > 1 else x.astype(np.float32), y)))
    assert done.model.name == network  # type: ignore[union-attr]
    assert not [field for field in DECIDED_HERE if is_open(value_at(done, field))]
    assert choices.keys() == set(DECIDED_HERE)
    assert all(len(choice.reason) > 10 for choice in choices.values())
    assert done == done.validate_shelves(), "the options of every member are written out"


@pytest.mark.usefixtures("quickly")
def test_images_of_two_channels_are_taken(prepared: Prepare, wide_npz: Callable[[int], str]) -> None:
    data = prepared(source="arrays", location=wide_npz(2), options={"layout": "NHWC"}, image_size="keep")
    assert data.input_shape[0] == 2
    done, _ = decide(data)
    assert done.model.name == "whitened"  # type: ignore[union-attr]
    assert not is_open(done.augmentation)


@pytest.mark.usefixtures("quickly")
def test_one_sample_of_each_class_is_enough_where_the_user_brings_the_splits(prepared: Prepare, images: Images) -> None:
    x, y = images(6, 20, 20, 3, classes=3)
    done, _ = decide(prepared({"train": (x[:3], y[:3]), "val": (x[3:], y[3:])}))
    assert not [field for field in DECIDED_HERE if is_open(value_at(done, field))]


@pytest.mark.usefixtures("quickly")
def test_two_images_without_a_val_split_are_decided_on_too(prepared: Prepare, images: Images) -> None:
    done, _ = decide(prepared(images(2, 20, 20, 3), val_fraction=0.0, test_fraction=0.0))
    assert not is_open(done.augmentation)


USERS: dict[str, Any] = {
    "model": "mlp:hidden=[7]",
    "initialization": "as_built",
    "transfer.method": "none",
    "preprocessing": "minmax",
    "augmentation": ["shift:pixels=3"],
    "optimizer": "sgd:lr=0.7",
    "loss": "cross_entropy:smoothing=0.3",
    "schedule": "cosine",
    "batch.size": 7,
    "regularization.class_weights": "balanced",
    "length.epochs": 3,
}


def test_a_recipe_in_which_nothing_is_open_stays_as_it_is(prepared: Prepare, images: Images) -> None:
    before = Recipe().with_values({"machine.device": "cpu", **USERS}).validate_shelves()
    assert auto(before, prepared(images(40, 20, 20, 3)), lambda: 0.0) == (before, [])


@pytest.mark.parametrize("field", USERS)
def test_one_choice_of_the_user_is_kept_among_ours(prepared: Prepare, images: Images, field: str) -> None:
    done, choices = decide(prepared(images(40, 20, 20, 3)), {**NO_CHANGES, field: USERS[field]})
    asked = Recipe().with_values({field: USERS[field]}).validate_shelves()
    assert value_at(done, field) == value_at(asked, field)
    assert field not in choices


def test_options_given_to_auto_hold_for_whatever_is_chosen(prepared: Prepare, features: Any) -> None:
    done, choices = decide(prepared(features), {"optimizer": "auto:lr=0.25,weight_decay=0", "model.hidden": [9]})
    defaults = optimizers["adamw"].parse_options({})
    assert done.optimizer == Choice(name="adamw", options={**defaults, "lr": 0.25, "weight_decay": 0.0})
    assert done.model.options["hidden"] == [9]  # type: ignore[union-attr]
    assert choices["optimizer"].reason.endswith("; lr, weight_decay asked for")
    assert str(choices["optimizer"].value) == "adamw:lr=0.25,weight_decay=0"


def test_our_other_options_stand_beside_those_given_to_auto(prepared: Prepare, images: Images) -> None:
    done, _ = decide(prepared(images(40, 20, 20, 3)), {**NO_CHANGES, "optimizer.lr": 0.5})
    assert done.optimizer.options["lr"] == 0.5  # type: ignore[union-attr]
    assert done.optimizer.options["momentum"] == FAMILIES["whitened"].momentum  # type: ignore[union-attr]


def test_a_width_given_to_auto_is_taken_and_no_reason_is_made_up_for_it(prepared: Prepare, images: Images) -> None:
    done, choices = decide(prepared(images(40, 20, 20, 3)), {**NO_CHANGES, "model.width": 5})
    assert (done.model.name, done.model.options["width"]) == ("whitened", 5)  # type: ignore[union-attr]
    assert choices["model"].reason == "colour images; width asked for"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"optimizer.momentum": 0.5},
            "optimizer: adamw was chosen (forgiving of scales that nobody tuned), and it has",
        ),
        ({"optimizer.bta1": 0.5}, "no option 'bta1': did you mean 'beta1'"),
        ({"optimizer.momentum": 0.5}, "; leave the option out, or name the optimizer too"),
        ({"model.width": 8}, "model: mlp was chosen (the samples are features, not images), and it has no option"),
        ({"optimizer.lr": -1}, "lr must be a number > 0, got -1"),
    ],
)
def test_an_option_that_the_chosen_member_does_not_take_is_refused_with_who_chose_it(
    prepared: Prepare, features: Any, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        decide(prepared(features), values)
    assert words in str(caught.value)


def test_an_option_that_the_chosen_network_does_not_take_is_refused(prepared: Prepare, images: Images) -> None:
    with pytest.raises(RecipeInvalid, match="model: whitened was chosen .*no option 'widht': did you mean 'width'"):
        decide(prepared(images(40, 20, 20, 3)), {**NO_CHANGES, "model.widht": 8})


def test_minutes_buy_a_wider_network_than_seconds(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Work, "_work_a_second", lambda self, model: 1e9)
    data = prepared(images(60, 32, 32, 3))
    widths, reasons = [], []
    for minutes in (0.001, 6.0, 100.0):
        done, choices = decide(data, {**NO_CHANGES, "length.minutes": minutes})
        widths.append(done.model.options["width"])  # type: ignore[union-attr]
        reasons.append(choices["model"].reason)
        assert "length.epochs" not in choices, "the epochs follow from the minutes later"
    assert widths == sorted(widths)
    assert (widths[0], widths[-1]) == (min(FAMILIES["whitened"].widths), max(FAMILIES["whitened"].widths))
    assert reasons[0] == ("colour images; the narrowest: even it cannot see every sample once in 0.001 minutes")
    assert reasons[-1].startswith("colour images; the widest that can see every sample ")
    assert reasons[-1].endswith(" times in 100 minutes")


def test_a_network_in_between_is_the_widest_that_fits(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = {width: 30.0 / width for width in FAMILIES["whitened"].widths}
    monkeypatch.setattr(Work, "epochs", lambda self, choice: 1000 * fits[choice.options["width"]])
    done, _ = decide(prepared(images(40, 20, 20, 3)), {**NO_CHANGES, "length.epochs": 600})
    widest = max(width for width in fits if 1000 * fits[width] >= 600)
    assert done.model.options["width"] == widest  # type: ignore[union-attr]


def test_the_rate_grows_with_the_batch(prepared: Prepare, images: Images) -> None:
    data = prepared(images(40, 20, 20, 3))
    optimizers = [decide(data, {**NO_CHANGES, "batch.size": size})[0].optimizer for size in (16, 64, 128)]
    rates = [optimizer.options["lr"] for optimizer in optimizers]  # type: ignore[union-attr]
    assert rates == pytest.approx([FAMILIES["whitened"].lr * factor for factor in (0.25, 1, 2)], rel=1e-2)


@pytest.mark.parametrize("count", [40, 1_000, 40_000])
def test_batches_and_epochs_stay_between_their_bounds(prepared: Prepare, count: int) -> None:
    x = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
    done, choices = decide(prepared((x, np.arange(count) % 2)))
    size, epochs = done.batch.size, done.length.epochs
    assert isinstance(size, int)
    assert isinstance(epochs, int)
    assert LEAST_BATCH <= size <= MOST_BATCH
    assert size & (size - 1) == 0, "a power of two"
    assert LEAST_EPOCHS <= epochs <= MOST_EPOCHS
    assert " an epoch" in choices["length.epochs"].reason


def test_a_change_is_used_only_where_the_probe_lets_it_pass(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelProbe, "mirror", lambda self, flip: Answer(False, "a 3 is no mirrored 3"))
    monkeypatch.setattr(LabelProbe, "outlasts", lambda self, change: Answer(True, "all is well"))
    done, choices = decide(prepared(images(40, 20, 20, 3)))
    assert [choice.name for choice in done.augmentation] == ["affine"]  # type: ignore[union-attr]
    assert choices["augmentation"].reason == "no flip: a 3 is no mirrored 3; moves: all is well"
    monkeypatch.setattr(LabelProbe, "outlasts", lambda self, change: Answer(False, "too much is lost"))
    assert decide(prepared(images(40, 20, 20, 3)))[0].augmentation == ()


def test_up_and_down_are_asked_about_only_where_enough_images_can_tell(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def mirror(self: LabelProbe, flip: object) -> Answer:
        asked.append(type(flip).__name__)
        return Answer(True, "kept")

    monkeypatch.setattr(LabelProbe, "mirror", mirror)
    monkeypatch.setattr(LabelProbe, "outlasts", lambda self, change: Answer(True, "kept"))
    decide(prepared(images(40, 20, 20, 3)))
    assert asked == ["HorizontalFlip"]
    monkeypatch.setattr("trainwell.recipes.auto.LEAST_FOR_VERTICAL", 4)
    decide(prepared(images(40, 20, 20, 3)))
    assert asked == ["HorizontalFlip", "HorizontalFlip", "VerticalFlip"]


@pytest.mark.parametrize(
    ("affordable", "epochs", "words"),
    [
        (17.4, 17, "as many as the work of one run allows"),
        (
            2.04,
            FEWEST_EPOCHS,
            "the work meant for a run of about two minutes on two cores holds 2.0 passes, and fewer than 3 teach too"
            " little; name --minutes or a smaller image_size",
        ),
        (
            0.0625,
            FEWEST_EPOCHS,
            "one pass takes 16 times the work meant for a run of about two minutes on two cores; name --minutes or a"
            " smaller image_size",
        ),
    ],
)
def test_where_even_the_narrowest_is_too_much_work_the_run_is_shorter_and_that_is_said(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch, affordable: float, epochs: int, words: str
) -> None:
    monkeypatch.setattr(Work, "epochs", lambda self, choice: affordable)
    done, choices = decide(prepared(images(40, 20, 20, 3)), NO_CHANGES)
    assert done.model.options["width"] == min(FAMILIES["whitened"].widths)  # type: ignore[union-attr]
    assert done.length.epochs == epochs
    assert choices["length.epochs"].reason == words


@pytest.mark.parametrize(("affordable", "seen"), [(0.06, "cannot see every sample once"), (1.2, "only once")])
def test_a_network_that_sees_a_part_of_the_samples_is_not_said_to_see_all_once(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch, affordable: float, seen: str
) -> None:
    monkeypatch.setattr(Work, "epochs", lambda self, choice: affordable)
    _, choices = decide(prepared(images(40, 20, 20, 3)), NO_CHANGES)
    assert f"{seen} in 16 trillion multiply-adds" in choices["model"].reason


@pytest.mark.parametrize(
    ("rare", "reason"),
    [
        (60, "classes are about equally frequent"),
        (21, "classes are about equally frequent"),
        (
            20,
            "the rarest class has 20 samples, the most frequent 60; weights would trade accuracy on data as they come"
            " for rare classes: set balanced if those matter more",
        ),
        (
            1,
            "the rarest class has 1 sample, the most frequent 60; weights would trade accuracy on data as they come"
            " for rare classes: set balanced if those matter more",
        ),
    ],
)
def test_classes_are_not_weighted_and_the_reason_comes_from_the_data(prepared: Prepare, rare: int, reason: str) -> None:
    y = np.repeat([0, 1], [60, rare])
    x = np.random.default_rng(0).normal(size=(len(y), 2)).astype(np.float32)
    done, choices = decide(prepared({"train": (x, y), "val": (x + 9, y)}))
    assert done.regularization.class_weights == "none"
    assert choices["regularization.class_weights"].reason == reason


def test_a_shift_is_asked_about_in_the_share_that_it_will_move(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 of 32 pixels are 1 of the 16 that the probe averages images down to."""
    asked: list[int | None] = []

    def outlasts(self: LabelProbe, change: Geometric) -> Answer:
        asked.append(change.reach)
        return Answer(True, "kept")

    monkeypatch.setattr(LabelProbe, "mirror", lambda self, flip: Answer(False, "no"))
    monkeypatch.setattr(LabelProbe, "outlasts", outlasts)
    monkeypatch.setattr("trainwell.recipes.auto.FEW_IMAGES", 4)
    done, _ = decide(prepared(images(40, 32, 32, 3)))
    assert asked == [1]
    assert done.augmentation[0].options["pixels"] == 2  # type: ignore[union-attr]


def test_in_a_few_seconds_the_data_are_not_asked_about_changes(
    prepared: Prepare, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the probe takes seconds that are not there")

    monkeypatch.setattr("trainwell.recipes.auto.LabelProbe", never)
    monkeypatch.setattr(Work, "_work_a_second", lambda self, model: 1e9)
    done, choices = decide(prepared(images(40, 20, 20, 3)), {"length.minutes": LEAST_MINUTES_TO_ASK / 2})
    assert done.augmentation == ()
    assert choices["augmentation"].reason == "no time to ask the data which changes keep labels"


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("model", "optimizer"), [("cifar_resnet:depth=8", "sgd"), ("cifar_resnet:depth=8,norm=none", "adamw")]
)
def test_convolutions_with_batch_norm_are_trained_with_momentum(
    prepared: Prepare, images: Images, model: str, optimizer: str
) -> None:
    done, choices = auto(
        Recipe().with_values({"machine.device": "cpu", "model": model}), prepared(images(40, 20, 20, 3)), lambda: 0.0
    )
    assert done.optimizer != "auto"
    assert done.optimizer.name == optimizer
    assert ("convolutions with batch norm" in {c.field: c.reason for c in choices}["optimizer"]) == (optimizer == "sgd")
