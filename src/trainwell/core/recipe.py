"""One whole run as plain, frozen data: what prints, compares, hashes and travels as YAML or JSON.

A field that says `auto` is decided before step 0 (`auto:lr=0.1` with that option); the decisions are written
into the run's own recipe, which is then *resolved*: it repeats the run bit for bit on the same machine.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from trainwell.core.choice import Choice
from trainwell.core.faults import faults_of
from trainwell.core.rates import RatesSection
from trainwell.core.sections import (
    Auto,
    BatchSection,
    DataSection,
    Frozen,
    LengthSection,
    MachineSection,
    RegularizationSection,
)
from trainwell.core.shelves import SHELVES
from trainwell.core.task import TASKS
from trainwell.core.transfer import TransferSection
from trainwell.core.units import Seed
from trainwell.errors import NameUnknown, OptionInvalid, RecipeInvalid, did_you_mean

Section = TypeVar("Section", bound=BaseModel)
Value = TypeVar("Value")


class Recipe(Frozen):
    """One whole run. `Recipe()` is the default: every open decision is `auto`.

    `files` are the user's own files that the run depends on, with their SHA-256 (empty until they are
    read for the first time): a network of their own, and files of shelf members given by `--with`.

    >>> Recipe().seed, Recipe().with_values({"optimizer.lr": 0.2}).optimizer.options["lr"]
    (0, 0.2)
    """

    data: DataSection = DataSection()
    preprocessing: Choice | Auto = "auto"
    augmentation: tuple[Choice, ...] | Auto = "auto"
    model: Choice | Auto = "auto"
    initialization: Choice | Auto = "auto"
    transfer: TransferSection = TransferSection()
    loss: Choice | Auto = "auto"
    optimizer: Choice | Auto = "auto"
    schedule: Choice | Auto = "auto"
    rates: RatesSection = RatesSection()
    regularization: RegularizationSection = RegularizationSection()
    penalties: tuple[Choice, ...] = ()
    batch: BatchSection = BatchSection()
    length: LengthSection = LengthSection()
    probes: tuple[Choice, ...] = tuple(Choice(name=n) for n in ("activations", "gradient_norm", "update_ratio"))
    machine: MachineSection = MachineSection()
    files: dict[str, str] = Field(default_factory=dict)
    seed: Seed = 0

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Recipe":
        """Build a recipe from nested plain data.

        Raises:
            RecipeInvalid: all unknown fields and wrong values, by path, with the nearest names.
        """
        try:
            return cls.model_validate(dict(plain))
        except ValidationError as error:
            raise RecipeInvalid(list(faults_of(error, cls))) from None

    @classmethod
    def from_yaml(cls, text: str, *, name: str = "the recipe") -> "Recipe":
        """Read a recipe from YAML.

        Raises:
            RecipeInvalid: not YAML, not a mapping, or a fault in a field.
        """
        try:
            plain = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeInvalid([f"{name} is not YAML: {' '.join(str(error).split())}"]) from None
        if plain is None:
            plain = {}
        if not isinstance(plain, dict):
            raise RecipeInvalid([f"{name} must be a mapping of fields to values, got {type(plain).__name__}"])
        return cls.from_plain(plain)

    @classmethod
    def from_file(cls, path: Path) -> "Recipe":
        """Read a recipe from a YAML file.

        Raises:
            RecipeInvalid: the file cannot be read, or see `from_yaml`.
        """
        if not path.exists():
            raise RecipeInvalid([f"{path} does not exist: give the path of a recipe file, or of a run folder"])
        try:
            return cls.from_yaml(path.read_text("utf-8"), name=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeInvalid([f"{path} cannot be read as a recipe: {error}"]) from None

    def to_plain(self) -> dict[str, Any]:
        """Return nested plain data: only mappings, lists, texts, numbers, booleans and None."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        return plain

    def to_yaml(self) -> str:
        """Return the recipe as YAML that `from_yaml` reads back to an equal recipe."""
        return yaml.safe_dump(self.to_plain(), sort_keys=False, allow_unicode=True)

    @property
    def id(self) -> str:
        """16 hex digits that equal recipes share, whatever the machine, process or field order."""
        text = json.dumps(self.to_plain(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return int(self.id, 16)

    def with_values(self, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with dotted paths set: `{"optimizer.lr": 0.1, "model": "mlp"}`.

        A member's own options are reached through its field: `optimizer.lr`, `augmentation.0.pixels`.

        Raises:
            RecipeInvalid: all paths that do not exist and values that do not fit, at once.
        """
        plain = self.to_plain()
        faults: list[str] = []
        for path, value in values.items():
            try:
                _set_path(plain, _keys(path), value, path)
            except NameUnknown as fault:
                faults.append(str(fault))
        try:
            recipe = Recipe.from_plain(plain)
        except RecipeInvalid as wrong:
            faults += wrong.faults
        if faults:
            raise RecipeInvalid([*faults, *_member_faults(plain)])
        return recipe

    def validate_shelves(self) -> "Recipe":
        """Return the recipe with every member's defaults written out.

        Raises:
            RecipeInvalid: all unknown members, bad options and contradictions at once.
        """
        faults = list(_contradictions(self))
        filled: dict[str, Any] = {}
        for field, kind in MEMBER_FIELDS.items():
            value = getattr(self, field)
            if is_open(value):
                continue
            choices = value if isinstance(value, tuple) else (value,)
            complete = [_complete(choice, kind, field, faults) for choice in choices]
            filled[field] = tuple(complete) if isinstance(value, tuple) else complete[0]
        source = _complete(self.data.source, "source", "data.source", faults)
        filled["data"] = self.data.model_copy(update={"source": source})
        if faults:
            raise RecipeInvalid(faults)
        return self.model_copy(update=filled)


def is_open(value: object) -> bool:
    """Whether a field is still to be decided; `auto` may carry options that whatever is chosen shall have.

    >>> is_open("auto"), is_open(Choice(name="auto", options={"lr": 0.1})), is_open(3)
    (True, True, False)
    """
    return value == "auto" or (isinstance(value, Choice) and value.name == "auto")


def decided(value: Value | Auto) -> Value:
    """Return a field of a resolved recipe, in which nothing says `auto` any more.

    >>> decided(3)
    3
    """
    assert value != "auto", "the recipe is resolved"
    assert not is_open(value), "the recipe is resolved"
    return value


# Of the minutes allowed, what training cannot have: seconds of start and end that no run is spared (imports before the
# run begins, about 2; the last evaluation, the classifier and the page, about 2), and a share for what the estimate of
# a step does not see. But a network that hardly trained is worth less than a promise kept: it has a fifth in any case.
FIXED_SECONDS = 4.0
TRAINED_SHARE, LEAST_SHARE = 0.92, 0.2


def training_seconds(minutes: float, elapsed: float) -> float:
    """Return the seconds that training may still take of the minutes allowed, `elapsed` seconds after the run began.

    >>> round(training_seconds(1.0, 10.0), 2), round(training_seconds(0.1, 5.0), 2)
    (41.52, 1.2)
    """
    allowed = minutes * 60
    return max(LEAST_SHARE * allowed, (allowed - FIXED_SECONDS) * TRAINED_SHARE - elapsed)


MEMBER_FIELDS = {
    "preprocessing": "preprocessing",
    "augmentation": "augmentation",
    "model": "model",
    "initialization": "initialization",
    "loss": "loss",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "penalties": "penalty",
    "probes": "probe",
}
PATTERNS = "rates.per_layer"
SINGLE_MEMBERS = ("preprocessing", "model", "initialization", "loss", "optimizer", "schedule")


def diff(old: Recipe, new: Recipe) -> list[tuple[str, Any, Any]]:
    """Return (path, old value, new value) for every field in which two recipes differ.

    >>> diff(Recipe(), Recipe(seed=1))
    [('seed', 0, 1)]
    """
    before, after = dict(_flatten(_spelled_out(old))), dict(_flatten(_spelled_out(new)))
    paths = list(before) + [path for path in after if path not in before]
    return [(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)]


def _spelled_out(recipe: Recipe) -> dict[str, Any]:
    """Write every member as a mapping with its name, so that one with options compares with one without."""
    plain = recipe.to_plain()
    for field in MEMBER_FIELDS:
        value = plain[field]
        if isinstance(value, list):
            plain[field] = [{"name": part} if isinstance(part, str) else part for part in value]
        elif isinstance(value, str):
            plain[field] = {"name": value}
    return plain


def _flatten(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(plain, dict) and plain:
        for key, value in plain.items():
            yield from _flatten(value, f"{path}.{key}" if path else key)
    elif isinstance(plain, list) and plain:
        for position, value in enumerate(plain):
            yield from _flatten(value, f"{path}.{position}")
    else:
        yield path, plain


def _keys(path: str) -> list[str]:
    """Split a dotted path; what stands below `rates.per_layer` is one pattern, dots and all."""
    if path.startswith(f"{PATTERNS}."):
        return [*PATTERNS.split("."), path.removeprefix(f"{PATTERNS}.")]
    return path.split(".")


def _set_path(plain: Any, keys: list[str], value: Any, path: str) -> None:
    key, rest = keys[0], keys[1:]
    if isinstance(plain, list):
        if not key.isdigit() or int(key) >= len(plain):
            raise NameUnknown(f"{path}: {key} must be a position below {len(plain)}")
        if rest and isinstance(plain[int(key)], str):
            plain[int(key)] = {"name": plain[int(key)]}
        if rest:
            _set_path(plain[int(key)], rest, value, path)
        else:
            plain[int(key)] = value
        return
    is_open_to_names = "name" in plain or path.startswith(f"{PATTERNS}.{key}")
    if key not in plain and not is_open_to_names:
        raise NameUnknown(f"{path}: there is no field {key!r}{did_you_mean(key, plain)}")
    if not rest:
        plain[key] = value
        return
    if isinstance(plain.get(key), str) and (plain[key] != "auto" or key in SINGLE_MEMBERS):
        choice = Choice.parse(plain[key])  # options of `auto` are set on whatever is chosen
        plain[key] = {"name": choice.name, **choice.options}
    if not isinstance(plain.get(key), (dict, list)):
        raise NameUnknown(f"{path}: {key} is {plain.get(key)!r} and has no field {rest[0]!r}; set {key} itself first")
    _set_path(plain[key], rest, value, path)


def _complete(choice: Choice, kind: str, field: str, faults: list[str]) -> Choice:
    if choice.is_own or (is_open(choice) and field in SINGLE_MEMBERS):
        return choice
    try:
        options = SHELVES[kind][choice.name].parse_options(choice.options)
        return Choice(name=choice.name, options=json.loads(json.dumps(options)))  # plain: lists, not tuples
    except (NameUnknown, OptionInvalid) as fault:
        faults.append(f"{field}: {fault}")
        return choice


def _member_faults(plain: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the members of a recipe that has other faults, so that all are said at once."""
    faults: list[str] = []
    if plain["files"]:
        return faults  # they may stand in files that are not read yet
    for field, kind in MEMBER_FIELDS.items():
        value = plain[field]
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, (str, dict)) and part != "auto":
                try:
                    _complete(Choice.model_validate(part), kind, field, faults)
                except (ValidationError, OptionInvalid):
                    continue  # said already, as a fault of the field
    return faults


def _contradictions(recipe: Recipe) -> Iterator[str]:
    length, data, batch = recipe.length, recipe.data, recipe.batch
    if length.minutes is not None and length.epochs != "auto":
        yield f"length: epochs={length.epochs} and minutes={length.minutes} contradict: give one, the other follows"
    if data.val_fraction + data.test_fraction >= 1:
        yield (
            f"data: val_fraction={data.val_fraction} and test_fraction={data.test_fraction} leave nothing to"
            " train on: their sum must be < 1"
        )
    if batch.size != "auto" and batch.accumulate > batch.size:
        yield f"batch: accumulate={batch.accumulate} pieces cannot be made of size={batch.size} samples"
    kept = recipe.regularization
    if kept.ema_decay is not None and kept.swa_start is not None:
        yield (
            f"regularization: ema_decay={kept.ema_decay} and swa_start={kept.swa_start} contradict: one average of the"
            " weights is evaluated; give one of them"
        )
    yield from _of_transfer(recipe)
    names = [penalty.name for penalty in recipe.penalties]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"penalties: {name} is there twice: give it once, with the sum of the strengths"
    loss = None if recipe.loss == "auto" else recipe.loss.name
    if data.task != "auto" and loss is not None and loss in SHELVES["loss"]:
        task, meant = TASKS[data.task], {card.name: card.traits.get("tasks") for card in SHELVES["loss"]}
        if not task.takes(meant[loss]):
            yield (
                f"loss: {loss} is for {' and '.join(meant[loss] or ())}, and these data have {data.task}: choose"
                f" {' or '.join(name for name in meant if task.takes(meant[name]))}, or leave the loss out"
            )
    warmup = None if recipe.schedule == "auto" else recipe.schedule.options.get("warmup")
    if isinstance(warmup, (int, float)) and length.epochs != "auto" and warmup >= length.epochs:
        yield f"schedule: warmup={warmup} epochs does not fit into length.epochs={length.epochs}: make it shorter"


def _of_transfer(recipe: Recipe) -> Iterator[str]:
    asked, start = recipe.transfer, recipe.initialization
    if not asked.is_on and asked.method not in ("auto", "none"):
        yield (
            f"transfer: method={asked.method} says what is kept of weights that were learned elsewhere, and there are"
            " none: name them with --from (transfer.source), or leave the method out"
        )
    if asked.is_on and isinstance(start, Choice) and start.name not in ("auto", "as_built"):
        yield (
            f"transfer: source={asked.source} and initialization={start} contradict: the first weights are those of"
            " the source; leave one of them out"
        )
