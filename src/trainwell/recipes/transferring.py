"""What of a network learns where it begins from weights that were learned elsewhere, and how: by the amount of data."""

from collections.abc import Mapping
from typing import Any, Protocol

from trainwell.core.recipe import Recipe, decided
from trainwell.data.prepare import Prepared
from trainwell.errors import RecipeInvalid

# Training samples of a class from which training everything beats a head on frozen features on average, on each target
# of the lab's `transfer_curves`; with fewer it has not been measured, and there is little to tell good from bad by.
LEAST_FOR_FULL = 10
# Rates for batches of 64 with SGD and momentum, the best of small grids with the nets of `transfer_curves` and the
# published CIFAR ResNet-20, on seeds that these do not use: a head alone begins anew, and takes 0.3 to 1 equally well
# on near images; all weights take 0.02 to 0.1 on near ones, where far ones (MNIST) lose 3 to 13 points with 0.02.
HEAD_LR, TUNING_LR = 0.3, 0.05
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
# Of the rate from each block to the one before it, where all of a network is trained. In these grids 0.8, 0.9 and 1 lie
# within a point on near images, and 0.8 loses one to two on far ones. With many blocks it all but freezes the first.
DEPTH_FACTOR = 0.9
# What solving for a head has no use for, and the values that then stand in the recipe.
UNUSED: dict[str, Any] = {
    "augmentation": [],
    "optimizer": "sgd",
    "schedule": "constant",
    "penalties": [],
    "length.epochs": 1,
    "regularization.ema_decay": None,
    "regularization.swa_start": None,
    "regularization.patience": None,
    "regularization.clip_norm": None,
    "length.minutes": None,
    "length.steps": None,
    "batch.accumulate": 1,
    "rates.per_depth": 1.0,
    "rates.per_layer": {},
}
SOLVABLE_HEADS = ("linear", "conv")
MOST_SCORES = 2_000_000  # samples times outputs, above which solving takes longer than training would


class Choosing(Protocol):
    """The recipe as far as it is decided; see `recipes.auto.Plan`."""

    recipe: Recipe

    def is_open(self, field: str) -> bool:
        """Whether nobody has decided a field yet."""
        ...

    def choose(self, field: str, value: Any, reason: str) -> None:
        """Decide a field, if it is open."""
        ...

    def decide(self, field: str, value: Any, reason: str) -> None:
        """Set a field that has no `auto`, and say why."""
        ...


def reopened(start: Recipe, wanted: Mapping[str, Any]) -> Recipe:
    """Return a recipe to begin from, with that left open again which belonged to another source or method.

    Args:
        start: a resolved recipe, or any.
        wanted: what is asked for beside it, by dotted path.
    """
    source, method = wanted.get("transfer.source"), wanted.get("transfer.method")
    open_again: dict[str, Any] = {}
    if source is not None and source != start.transfer.source:
        open_again["transfer.sha256"] = ""
    if method is not None and (method == "features") != start.transfer.is_solved:
        plain = Recipe().to_plain()
        open_again |= {field: _at(plain, field) for field in (*UNUSED, "loss")}
    return start.with_values(open_again) if open_again and start != Recipe() else start


def choose_method(plan: Choosing, prepared: Prepared) -> None:
    """Choose what learns, and fill in what solving for a head has no use for.

    Raises:
        RecipeInvalid: features were asked for together with something that only training has.
    """
    is_on, method = plan.recipe.transfer.is_on, plan.recipe.transfer.method
    if not is_on or method == "none":  # none stands in the recipe of a run without a source, which may be given one now
        plan.recipe = plan.recipe.with_values({"transfer.method": "auto" if is_on else "none"})
    if not is_on:
        return
    plan.choose("initialization", "as_built", "the first weights are those of the source")
    count, outputs = len(prepared.stores.train), len(prepared.classes)
    each = count / outputs
    what = f"{each:.0f} training samples a {prepared.task.output}"
    odd = _asked_in_vain(plan)
    trains = [field for field in UNUSED if field in odd or (field == "length.epochs" and not plan.is_open(field))]
    head = decided(plan.recipe.model).options.get("head", "linear")
    if each >= LEAST_FOR_FULL:
        plan.choose("transfer.method", "full", f"{what}: enough for all weights to learn more")
    elif trains:
        plan.choose("transfer.method", "head", f"{what} are few, and {', '.join(trains)} asks for training")
    elif head not in SOLVABLE_HEADS or count * outputs > MOST_SCORES:
        why = f"a {head} head" if head not in SOLVABLE_HEADS else f"one for {outputs:,} classes and {count:,} samples"
        plan.choose("transfer.method", "head", f"{what} are few, and {why} is trained, not solved for")
    else:
        plan.choose("transfer.method", "features", f"{what} are few: a head on frozen features cannot forget")
    if plan.recipe.transfer.is_solved:
        _fill_unused(plan, prepared, odd)


def _at(plain: Any, field: str) -> Any:
    """Return what stands at a dotted path of a recipe as plain data."""
    for part in field.split("."):
        plain = plain[part]
    return plain


def _asked_in_vain(plan: Choosing) -> list[str]:
    """Return the fields in which somebody asked for something that solving for a head has no use for."""
    plain, odd = plan.recipe.to_plain(), []
    for field, unused in UNUSED.items():
        given = _at(plain, field)
        name = given["name"] if isinstance(given, dict) and "name" in given else given
        if not plan.is_open(field) and name != unused:
            odd.append(field)
    return odd


def _fill_unused(plan: Choosing, prepared: Prepared, odd: list[str]) -> None:
    if odd:
        raise RecipeInvalid(
            [
                f"transfer.method: features solves for the head and takes no steps, so {', '.join(odd)} would do"
                " nothing: leave it out, or take --transfer head"
            ]
        )
    for field, value in UNUSED.items():
        plan.choose(field, value, "not used: the head is solved for, on images as they are")
    plan.choose(
        "loss", prepared.task.loss, "with it the problem has one solution; the penalty does what smoothing would"
    )


def choose_tuning(plan: Choosing) -> None:
    """Choose how weights that were learned elsewhere go on learning."""
    transfer = plan.recipe.transfer
    if not transfer.is_on or transfer.is_solved:
        return
    size, is_head = decided(plan.recipe.batch.size), transfer.method == "head"
    lr = HEAD_LR if is_head else TUNING_LR
    options = {"lr": round(lr * size / 64, 5), "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}
    why = "a new head on frozen features" if is_head else "weights that know something already move less"
    plan.choose("optimizer", {"name": "sgd", **options}, f"{why}; the rate grows with the batch, {lr:g} for 64")
    if transfer.method in ("full", "gradual") and plan.recipe.rates.is_common:
        plan.decide("rates.per_depth", DEPTH_FACTOR, "what early blocks know is more general, so they move less")
