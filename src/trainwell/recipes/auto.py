"""The sound default: what a recipe leaves open is chosen from the data and the time allowed, each with its reason.

The choices follow rules on the kind, size, colour and number of the samples, on what a quick probe says of
augmentations, and on the work that the run may take; only `--minutes` asks the clock how fast this machine is. What
the rules are worth, beside one fixed default on several data sets, stands in `docs/defaults.md`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainwell.core.choice import Choice
from trainwell.core.machine import AutoChoice
from trainwell.core.recipe import MEMBER_FIELDS, Recipe, decided, is_open
from trainwell.core.shelves import SHELVES, models, optimizers
from trainwell.core.task import Task, TaskName
from trainwell.data.augmentation.geometry import Affine, Geometric, HorizontalFlip, Padding, Shift, VerticalFlip
from trainwell.data.prepare import Prepared
from trainwell.errors import RecipeInvalid, did_you_mean
from trainwell.models.convnet import LEAST_SIDE
from trainwell.recipes.labels_kept import Answer, LabelProbe
from trainwell.recipes.transferring import choose_method, choose_tuning
from trainwell.recipes.work import Work, work_meant

# Passes over the samples: judgement, not measured by itself. With fewer the rate has no time to rise and fall; after
# more a network knows its few samples by heart. The runs that prove the default as a whole lie between them.
LEAST_EPOCHS, MOST_EPOCHS = 10, 200
FEWEST_EPOCHS = 3  # even where one takes more than the work meant for a run: a rise, a height and a fall of the rate
# Steps of one run, where the data are few; the second for tiny images, whose small networks are done sooner.
AIMED_STEPS, AIMED_TINY_STEPS = 1_000, 500
STEPS_AN_EPOCH = 20  # at least, as far as batches of 16 allow: fewer steps of a small set are few chances to move
LEAST_BATCH, MOST_BATCH = 16, 256  # below, statistics of batch norms are noise; above, one device gains little
TINY_SIDE = 16  # pixels; below it a first layer on patches of 2x2 leaves too little
FEW_IMAGES = 10_000  # below it moves by parts of pixels are worth their resampling, which costs more than copies
LEAST_MINUTES_TO_ASK = 0.4  # the label probe takes a few seconds, of which less would leave nothing to train in
# Train images. The probe tells CIFAR-10 from upside down in 63 % of cases with 1,000 images already; objects that are
# harder to know need more until it is not ignorance that finds up and down alike.
LEAST_FOR_VERTICAL = 4_000
UNBALANCED = 3  # the most frequent class over the rarest, from which weights are a question


@dataclass(frozen=True)
class Family:
    """A network of the shelf in several widths, and how it is trained best.

    Attributes:
        widths: widest first.
        lr: learning rate for batches of 64; it grows with the batch.
        momentum, weight_decay: of SGD with Nesterov's momentum.
        smoothing: of the labels.
    """

    widths: tuple[int, ...]
    lr: float
    momentum: float
    weight_decay: float
    smoothing: float


FAMILIES = {
    "whitened": Family((96, 64, 48, 40, 32, 24), lr=0.075, momentum=0.85, weight_decay=8e-4, smoothing=0.1),
    "convnet": Family((24, 16), lr=0.1, momentum=0.9, weight_decay=5e-4, smoothing=0.1),
}
# Any other network of convolutions with batch norm. Measured on ResNet-20 and the CIFAR copy, three epochs: after two
# val accuracy is 0.64 with it, and 0.56 with AdamW at 0.001; after all three test accuracy is 0.77 with batches of 128,
# and 0.75 with 256.
NORMED_BATCH = 128
NORMED = Family((), lr=0.1, momentum=0.9, weight_decay=5e-4, smoothing=0.1)
MOST_LR = 0.8  # twice what the families take with MOST_BATCH: a bound for larger batches that users name
MOVE, SHIFT = 0.1, 0.06  # largest moves, as shares of the image
LOSS_REASONS: dict[TaskName, str] = {
    "classes": "one class a sample",
    "numbers": "its least value is at the mean of what a sample may be; R² is measured by it",
    "labels": "each label is a question of its own",
}
CALLED = {"horizontal_flip": "flip", "vertical_flip": "vertical flip", "affine": "moves", "shift": "moves"}


class Plan:
    """The recipe as far as it is decided, and the decisions with their reasons."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.choices: list[AutoChoice] = []

    def is_open(self, field: str) -> bool:
        """Whether nobody has decided a field yet; fields are dotted paths."""
        value: Any = self.recipe
        for part in field.split("."):
            value = getattr(value, part)
        return is_open(value)

    def choose(self, field: str, value: Any, reason: str) -> None:
        """Decide a field, if it is open; options that the user gave to `auto` stay."""
        if self.is_open(field):
            asked = self.asked(field)
            if asked:
                chosen = Choice.model_validate(value)
                _refuse_unknown(field, chosen.name, asked, reason)
                value = {"name": chosen.name, **chosen.options, **asked}
                reason = f"{reason}; {', '.join(asked)} asked for"
            self.recipe = self.recipe.with_values({field: value})
            shown = str(Choice.model_validate(value)) if isinstance(value, dict) else value
            self.choices.append(AutoChoice(field, shown, reason))

    def decide(self, field: str, value: Any, reason: str) -> None:
        """Set a field that has no `auto`, and say why."""
        self.recipe = self.recipe.with_values({field: value})
        self.choices.append(AutoChoice(field, value, reason))

    def asked(self, field: str) -> Mapping[str, Any]:
        """Return the options that whatever is chosen for a field shall have: `auto:lr=0.1`."""
        value = getattr(self.recipe, field, None)
        return value.options if isinstance(value, Choice) else {}


def _refuse_unknown(field: str, name: str, asked: Mapping[str, Any], reason: str) -> None:
    card = SHELVES[MEMBER_FIELDS[field]][name]
    for option in asked:
        if option not in card.options:
            raise RecipeInvalid(
                [
                    f"{field}: {name} was chosen ({reason}), and it has no option"
                    f" {option!r}{did_you_mean(option, card.options)}; leave the option out, or name the {field} too"
                ]
            )


def auto(recipe: Recipe, prepared: Prepared, elapsed: Callable[[], float]) -> tuple[Recipe, list[AutoChoice]]:
    """Choose what a recipe leaves open of network, preprocessing, augmentation, training and length.

    Measured beside one fixed default on seven data sets: `docs/defaults.md`.

    Args:
        recipe: with the device chosen; anything else may be `auto`.
        prepared: the data, split and decoded.
        elapsed: seconds since the run began, for `--minutes`.

    Returns:
        The recipe, in which only what depends on the built network and the machine is open; and the choices.
    """
    plan = Plan(recipe)
    plan.choose("regularization.class_weights", "none", _balance(prepared))
    choose_method(plan, prepared)
    plan.choose("preprocessing", "standardize", "each channel or feature gets mean 0 and deviation 1, fitted on train")
    count = len(prepared.stores.train)
    is_tiny = prepared.kind == "images" and min(prepared.input_shape[1:]) < TINY_SIDE
    aimed = _choose_batch(plan, count, AIMED_TINY_STEPS if is_tiny else AIMED_STEPS)
    wanted, affordable = _wanted_epochs(plan.recipe, count, aimed), math.inf
    if prepared.kind == "images":
        affordable = _choose_network(plan, prepared, wanted, elapsed)
        if prepared.task.name != "classes":
            plan.choose(
                "augmentation", [], f"which changes keep {prepared.task.name} right cannot be asked of the data"
            )
        _choose_augmentation(plan, prepared)
    else:
        plan.choose("model", "mlp", "the samples are features, not images")
        plan.choose("augmentation", [], "there are none for features")
    plan.choose("initialization", "as_built", "networks of the shelf begin at the scale of their activation")
    choose_tuning(plan)
    _choose_training(plan, prepared.task)
    if plan.recipe.length.minutes is None:
        reason = _length_reason(plan.recipe, count, aimed)
        if affordable < wanted:
            wanted, reason = max(FEWEST_EPOCHS, round(affordable)), _shortened(plan.recipe, affordable)
        plan.choose("length.epochs", wanted, reason)
    return plan.recipe.validate_shelves(), plan.choices


def _balance(prepared: Prepared) -> str:
    """Say why classes are not weighted: accuracy on data as they come is what a run is after."""
    if prepared.task.name != "classes":
        return f"the task is {prepared.task.name}: there are no classes to weigh"
    counts = torch.bincount(prepared.stores.train.targets, minlength=len(prepared.classes))
    rarest, most = int(counts.min()), int(counts.max())
    if most < UNBALANCED * rarest:
        return "classes are about equally frequent"
    return (
        f"the rarest class has {rarest:,} sample{'' if rarest == 1 else 's'}, the most frequent {most:,}; weights would"
        " trade accuracy on data as they come for rare classes: set balanced if those matter more"
    )


def _choose_batch(plan: Plan, count: int, aimed: int) -> int:
    """Choose the batch, and return the steps aimed at; the optimizer's card may declare both, `batch` and `steps`."""
    optimizer, traits = plan.recipe.optimizer, _traits(plan)
    if "batch" in traits:
        batches = math.ceil(count / traits["batch"])
        reason = f"{decided(optimizer).name} solves for its batch, which must be large to stand for the data"
        plan.choose("batch.size", math.ceil(count / batches), reason)
    most = NORMED_BATCH if not plan.is_open("model") and _is_normed(decided(plan.recipe.model)) else MOST_BATCH
    bounds = f"about {STEPS_AN_EPOCH} steps an epoch, with batches of {LEAST_BATCH} to {most}"
    plan.choose("batch.size", min(most, _batch_size(count)), f"{count:,} training samples; {bounds}")
    return int(traits.get("steps", aimed))


def _traits(plan: Plan) -> Mapping[str, Any]:
    """Return what the card of the optimizer declares, where the user has named one."""
    return {} if plan.is_open("optimizer") else optimizers[decided(plan.recipe.optimizer).name].traits


def _batch_size(count: int) -> int:
    power = 2 ** round(math.log2(max(count / STEPS_AN_EPOCH, 1)))
    return int(min(MOST_BATCH, max(LEAST_BATCH, power)))


def _wanted_epochs(recipe: Recipe, count: int, aimed: int) -> int:
    """Return how often a run should see every sample, if work and time were no matter."""
    if recipe.length.epochs != "auto":
        return recipe.length.epochs
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, round(aimed / math.ceil(count / decided(recipe.batch.size)))))


def _length_reason(recipe: Recipe, count: int, aimed: int) -> str:
    steps = math.ceil(count / decided(recipe.batch.size))
    words = f"{steps:,} step{'' if steps == 1 else 's'} an epoch"
    if aimed / steps > MOST_EPOCHS:
        return f"{words}, and samples seen more than {MOST_EPOCHS} times teach little more"
    if aimed / steps < LEAST_EPOCHS:
        return f"{words}, and every sample should be seen {LEAST_EPOCHS} times"
    return f"{words}, about {aimed:,} in all"


def _shortened(recipe: Recipe, affordable: float) -> str:
    """Say why a run is shorter than the data deserve, and what to do about it where it is longer than it should."""
    if affordable >= FEWEST_EPOCHS:
        return "as many as the work of one run allows"
    meant = f"the work meant for a run of {work_meant(recipe).words}"
    if affordable < 1:
        meant = f"one pass takes {1 / affordable:.2g} times {meant}"
    else:
        meant = f"{meant} holds {affordable:.1f} passes, and fewer than {FEWEST_EPOCHS} teach too little"
    return f"{meant}; name --minutes or a smaller image_size"


def _choose_network(plan: Plan, prepared: Prepared, wanted: int, elapsed: Callable[[], float]) -> float:
    """Take the widest network of the family that can see all samples often enough; return how often it can."""
    if not plan.is_open("model"):
        return math.inf
    channels, *sides = prepared.input_shape
    if min(sides) < LEAST_SIDE:
        plan.choose("model", "mlp", f"images of {sides[0]}x{sides[1]} are too small to be convolved")
        return math.inf
    is_tiny = min(sides) < TINY_SIDE
    family = "convnet" if is_tiny or channels == 1 else "whitened"
    why = "the images are tiny" if is_tiny else "grey images" if channels == 1 else "colour images"
    work = Work(prepared, plan.recipe, elapsed, cost=_traits(plan).get("cost", 1.0))
    asked = plan.asked("model")
    _refuse_unknown("model", family, asked, why)
    if "width" in asked:
        plan.choose("model", family, why)
        return work.epochs(Choice(name=family, options=dict(asked)))
    for width in FAMILIES[family].widths:
        choice = Choice(name=family, options={"width": width, **asked})
        epochs = work.epochs(choice)
        if epochs >= wanted:
            break
    words = f"{why}; the widest that can see every sample {_times(wanted)} in {work.words}"
    if epochs < wanted:
        seen = f"can see every sample only {_times(epochs)}" if epochs >= 1 else "cannot see every sample once"
        words = f"{why}; the narrowest: even it {seen} in {work.words}"
    plan.choose("model", {"name": family, "width": width}, words)
    return epochs


def _times(epochs: float) -> str:
    rounded = round(epochs)
    return "once" if rounded == 1 else f"{rounded} times"


def _choose_augmentation(plan: Plan, prepared: Prepared) -> None:
    """Use each change of the images that the probe lets pass."""
    if not plan.is_open("augmentation"):
        return
    if min(prepared.input_shape[1:]) < LEAST_SIDE:
        plan.choose("augmentation", [], "the images are too small to be changed")
        return
    if (plan.recipe.length.minutes or math.inf) < LEAST_MINUTES_TO_ASK:
        plan.choose("augmentation", [], "no time to ask the data which changes keep labels")
        return
    probe = LabelProbe(prepared, seed=plan.recipe.seed)
    taken: list[str] = []
    reasons: list[str] = []

    def settle(name: str, answer: Answer) -> None:
        if answer.is_kept:
            taken.append(name)
        reasons.append(f"{'' if answer.is_kept else 'no '}{CALLED[name.partition(':')[0]]}: {answer.words}")

    mirror = probe.mirror(HorizontalFlip(probability=1.0))
    settle("horizontal_flip", mirror)
    if mirror.is_kept and len(prepared.stores.train) >= LEAST_FOR_VERTICAL:
        settle("vertical_flip", probe.mirror(VerticalFlip(probability=1.0)))
    is_grey = prepared.input_shape[0] == 1
    padding: Padding = "zero" if is_grey else "reflect"  # grey images mostly show something on a black ground
    if is_grey or len(prepared.stores.train) < FEW_IMAGES:
        change: Geometric = Affine(translation=MOVE, padding=padding)
        name = f"affine:translation={MOVE},padding={padding}"
    else:
        pixels = _pixels(prepared.input_shape[1:])
        change = Shift(pixels=_pixels(probe.sides), padding=padding)  # the same share of the smaller images it asks
        name = f"shift:pixels={pixels},padding={padding}"
    settle(name, probe.outlasts(change))
    plan.choose("augmentation", taken, "; ".join(reasons))


def _pixels(sides: Sequence[int]) -> int:
    """Return the whole pixels of a shift of large sets, which hold more moves of their own."""
    return max(1, round(SHIFT * min(sides)))


def _is_normed(model: Choice) -> bool:
    """Whether a network of the shelf works on images and has batch norms behind its convolutions."""
    if model.is_own:
        return False
    card = models[model.name]
    norm = card.options.get("norm")
    return "in_channels" in card.needs and norm is not None and model.options.get("norm", norm.default) == "batch"


def _choose_training(plan: Plan, task: Task) -> None:
    """Choose optimizer, schedule and loss, which belong together; the loss is that of the task."""
    chosen = decided(plan.recipe.batch.size)
    model = decided(plan.recipe.model)
    family = FAMILIES.get(model.name) or (NORMED if _is_normed(model) else None)
    if family is not None:
        lr = round(min(MOST_LR, family.lr * chosen / 64), 4)
        options = {"lr": lr, "momentum": family.momentum, "weight_decay": family.weight_decay}
        how = f"how {model.name} trains best" if model.name in FAMILIES else "convolutions with batch norm"
        reason = f"{how}; the rate grows with the batch, {family.lr:g} for 64"
        plan.choose("optimizer", {"name": "sgd", **options}, reason)
        if task.name == "classes":
            reason = "soft labels: the network must not be too sure of what it has seen"
            plan.choose("loss", {"name": "cross_entropy", "smoothing": family.smoothing}, reason)
    plan.choose("optimizer", "adamw", "forgiving of scales that nobody tuned")
    plan.choose("loss", task.loss, LOSS_REASONS[task.name])
    own = _traits(plan).get("schedule")
    if own is not None:
        plan.choose("schedule", own, f"{decided(plan.recipe.optimizer).name} sets the length of its steps itself")
    plan.choose("schedule", "one_cycle", "a rise from a low rate and a fall to zero: the best use of a fixed length")
