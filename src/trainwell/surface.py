"""The one-call surface: `fit` trains a classifier, `resume` goes on with it, `change` sets values while it runs,
`lr_find` tries rates before training, `evaluate` measures a run on any labelled source, and `write_report` writes the
page of one.
"""

import contextlib
import copy
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from trainwell.classifier import load
from trainwell.core.choice import Choice
from trainwell.core.recipe import Recipe
from trainwell.data.automatic import choose_budget
from trainwell.data.prepare import DataSpec, find
from trainwell.data.samples import infer_source
from trainwell.errors import DataInvalid, Interrupted, OptionInvalid, TrainwellError, UserError, did_you_mean
from trainwell.evaluation import Evaluated, Part, evaluate_samples
from trainwell.recipes.auto import auto
from trainwell.recipes.transferring import reopened
from trainwell.report import write_report as write_page
from trainwell.terminal import showing
from trainwell.train.events import ACTS, SETTABLE, read_events, request
from trainwell.train.execute import execute, find_rate
from trainwell.train.folder import RunFolder, default_path
from trainwell.train.hooks import checked_hooks
from trainwell.train.keep import read_kept
from trainwell.train.range_found import FoundRate
from trainwell.train.reporter import Reporter, Silence
from trainwell.train.run import Given, Run

WORDS = {
    "model": "model",
    "init": "initialization",
    "from_": "transfer.source",
    "transfer": "transfer.method",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "loss": "loss",
    "penalties": "penalties",
    "task": "data.task",
    "augmentation": "augmentation",
    "preprocessing": "preprocessing",
    "probes": "probes",
    "epochs": "length.epochs",
    "minutes": "length.minutes",
    "batch_size": "batch.size",
    "image_size": "data.image_size",
    "skip_bad": "data.skip_bad",
    "device": "machine.device",
    "deterministic": "machine.deterministic",
    "seed": "seed",
}


PRETRAINED = ":pretrained"


def fit(
    source: object = None,
    *,
    out: str | Path | None = None,
    recipe: Recipe | str | Path | None = None,
    hooks: Sequence[object] = (),
    reporter: Reporter | None = None,
    set: Mapping[str, Any] | None = None,
    with_files: Sequence[str | Path] = (),
    **words: Any,
) -> Run:
    """Train a classifier and return the run.

    Args:
        source: a folder, file or built-in set by name, as on the command line; or the samples
            themselves: `(x, y)`, `{"train": (x, y), "test": (x, y)}`, a torch `Dataset`. None is the
            recipe's source where there is a recipe, and digits else.
        out: the run folder; by default a new one below `runs/`.
        recipe: a recipe, or the file of one, to begin from.
        hooks: your own hooks (see `docs/adding.md`).
        reporter: who shows it; by default the terminal.
        set: dotted recipe paths and values, `{"optimizer.lr": 0.1}`.
        with_files: files of your own shelf members.
        **words: `task`, `model`, `init`, `from_`, `transfer`, `optimizer`, `schedule`, `loss`, `penalties`,
            `augmentation`, `preprocessing`, `probes`, `epochs`, `minutes`, `batch_size`, `image_size`, `skip_bad`,
            `device`, `deterministic`, `seed`: the same words and values as on the command line; `model` may be
            an `nn.Module`, `optimizer` and the others `"NAME:key=value"`. `init` sets the weights of such a module too,
            in place, as training does; left out, it begins as it is. `from_` is a run, a file of weights or the name of
            published ones that the network begins from, `transfer` what of it learns: see `TransferSection`.

    Raises:
        UserError: something given cannot be used; nothing was trained and nothing is left behind.
        RunFailed: the run began and could not be finished; its folder holds the last good state.
    """
    start, beside = _starting_recipe(recipe)
    full, given = _asked(source, start, words, has_recipe=recipe is not None, values=set or {}, with_files=with_files)
    given = replace(given, hooks=checked_hooks(hooks))
    name = full.data.location or str(full.data.source.name)
    model_name = "" if full.model == "auto" else full.model.name
    if out is not None and not str(out):
        raise OptionInvalid("out is the path of the run folder and must not be empty: leave it out for one below runs/")
    path = Path(out) if out is not None else default_path(Path("runs"), name, model_name)
    folder = RunFolder.create(path)
    try:
        with showing(reporter) as shown:
            if beside is not None:
                begins_alike = full.transfer.sha256 == start.transfer.sha256 != ""
                _take_over(folder, beside, is_same=full == start, begins_alike=begins_alike, reporter=shown)
            folder.write_text(folder.recipe, full.to_yaml())
            return _with_report(execute(folder, full, given, decide=auto, reporter=shown), shown)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped: go on with `trainwell resume {path}`") from None
    except Exception as error:
        if not folder.record.exists() or (isinstance(error, UserError) and not folder.has_checkpoint):
            folder.discard()
        raise


def lr_find(
    source: object = None,
    *,
    recipe: Recipe | str | Path | None = None,
    reporter: Reporter | None = None,
    set: Mapping[str, Any] | None = None,
    with_files: Sequence[str | Path] = (),
    **words: Any,
) -> FoundRate:
    """Try learning rates on mini-batches, from far too low to far too high, and say which are good.

    The recipe is resolved as `fit` does it; its schedule and its rate are left aside, and what is learned is thrown
    away. A network that was handed over is not changed.

    Args:
        source, recipe, set, with_files, **words: as for `fit`.
        reporter: who shows what is found on the way; by default nobody.

    Raises:
        UserError: something given cannot be used, or the optimizer follows no rate.
    """
    start, _ = _starting_recipe(recipe)
    full, given = _asked(source, start, words, has_recipe=recipe is not None, values=set or {}, with_files=with_files)
    given = replace(given, model=copy.deepcopy(given.model))
    with tempfile.TemporaryDirectory(prefix="trainwell-") as place:
        return find_rate(
            RunFolder.create(Path(place) / "run"), full, given, decide=auto, reporter=reporter or Silence()
        )


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    data: object = None,
    model: nn.Module | None = None,
    hooks: Sequence[object] = (),
    reporter: Reporter | None = None,
) -> Run:
    """Go on with a run exactly where it stopped, or further.

    Args:
        run: the run folder.
        epochs: train until this many epochs are done; the schedule is stretched to them.
        data, model, hooks: what was handed over in Python when the run was started, again.
        reporter: who shows it; by default the terminal.

    Raises:
        RunInvalid: there is no such run, or another process works on it.
        RunDamaged: what is stored of it is damaged.
    """
    folder = RunFolder.open(Path(run))
    recipe = Recipe.from_file(folder.recipe)
    if epochs is not None and (not isinstance(epochs, int) or epochs < 1):
        raise OptionInvalid(f"epochs must be a whole number >= 1, got {epochs!r}")
    given = Given(data, model, checked_hooks(hooks))
    try:
        with showing(reporter) as shown:
            return _with_report(execute(folder, recipe, given, decide=auto, reporter=shown, epochs=epochs), shown)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped: go on with `trainwell resume {run}`") from None


def change(run: str | Path, values: Mapping[str, float]) -> bool:
    """Set values of the optimizer of a run, now if it is running, else when it is resumed.

    Args:
        run: the run folder.
        values: `lr` (the rate that the schedule multiplies), `weight_decay`, `momentum`.

    Returns:
        Whether the run is going on now.

    Raises:
        RunInvalid: there is no such run.
        OptionInvalid: a name that cannot be set, or a value outside its range.
    """
    folder = RunFolder.open(Path(run))
    optimizer = Recipe.from_file(folder.recipe).optimizer
    options = {} if optimizer == "auto" else optimizer.options
    request(folder, values, settable=[name for name in SETTABLE if name in options or name == "lr"])
    return folder.is_running


def evaluate(
    run: str | Path,
    source: object,
    *,
    split: Part = "auto",
    model: nn.Module | None = None,
    device: str | torch.device = "cpu",
) -> Evaluated:
    """Measure the classifier of a run on any labelled source: every metric with its interval.

    Args:
        run: a run folder, or the folder of a classifier.
        source: like that of `fit`; its classes are found by name among those of the classifier.
        split: which of the source's own splits; `auto` takes its test split where it has one, else everything.
        model: the network, where it was handed over in Python when the run was started.
        device: where it computes.

    Raises:
        RunInvalid: there is no classifier.
        RunDamaged: a file of it was altered or cut short.
        DataInvalid: the source cannot be used, or has classes that the classifier does not know.
    """
    if split not in get_args(Part):
        raise OptionInvalid(f"split must be one of {', '.join(get_args(Part))}, got {split!r}")
    if source is None:
        raise DataInvalid(
            "evaluate needs labelled samples, got None: pass a folder, a file, a built-in source by name, or (x, y)"
        )
    classifier = load(run, model=model, device=device)
    data, values = _source(source, has_recipe=False)
    section = Recipe().with_values(values).data
    spec = DataSpec(
        source=section.source.name, options=section.source.options, location=section.location, task=classifier.task
    )
    samples = find(spec, data, budget=choose_budget("auto")[0])
    return evaluate_samples(classifier, samples, part=split, known=_known_to(Path(run)))


def write_report(run: str | Path) -> Path:
    """Write the page of a run, finished or not, and return its path.

    Raises:
        RunInvalid: there is no such run, or the page cannot be written.
    """
    return write_page(RunFolder.open(Path(run)).path)


def _with_report(run: Run, reporter: Reporter) -> Run:
    """Write the page of a finished run; whatever becomes of the page, the run is not lost with it."""
    path = RunFolder(run.path).report
    later = f"the run is finished and stored: write its page with `trainwell report {run.path}`"
    try:
        write_page(run.path)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped while the page was written; {later}") from None
    except Exception as error:  # a fault of the page, ours too, must not hide what was trained for hours
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # that of an earlier end would show other numbers
        why = str(error) if isinstance(error, TrainwellError) else f"{type(error).__name__}: {error}"
        reporter.say(f"{path} is missing, since it could not be written ({why}); {later}")
    return run


def _known_to(run: Path) -> dict[str, np.ndarray]:
    """Return the content hashes of the samples that a run was trained and chosen on, by split, where they are known."""
    folder = RunFolder(run if (run / "recipe.yaml").exists() else run.parent)
    kept = read_kept(folder.samples, "train_digests", "val_digests")
    return {name.removesuffix("_digests"): digests for name, digests in kept.items()}


def _asked(
    source: object,
    start: Recipe,
    words: Mapping[str, Any],
    *,
    has_recipe: bool,
    values: Mapping[str, Any],
    with_files: Sequence[str | Path],
) -> tuple[Recipe, Given]:
    """Return the recipe that somebody asks for, as far as it is said, and what was handed over."""
    given_model = words["model"] if isinstance(words.get("model"), nn.Module) else None
    said = _values(words, given_model)
    data, source_values = _source(source, has_recipe=has_recipe)
    files = {"files": {**start.files, **{str(path): "" for path in with_files}}} if with_files else {}
    wanted = {**said, **values}
    full = reopened(start, wanted).with_values({**source_values, **said, **files, **values})
    return _with_own_files(full), Given(data, given_model)


def _starting_recipe(recipe: Recipe | str | Path | None) -> tuple[Recipe, Path | None]:
    """Return the recipe to begin from, and the folder of the run that it belongs to."""
    if recipe is None or isinstance(recipe, Recipe):
        return recipe or Recipe(), None
    path = Path(recipe)
    path = path / "recipe.yaml" if path.is_dir() else path
    return Recipe.from_file(path), path.parent


def _take_over(folder: RunFolder, beside: Path, *, is_same: bool, begins_alike: bool, reporter: Reporter) -> None:
    """Take the user's own files of the run that a recipe belongs to, what it began from, and what people did to it."""
    if (beside / "code").is_dir():
        shutil.copytree(beside / "code", folder.code)
    kept = RunFolder(beside).source
    if begins_alike and kept.is_file():
        shutil.copyfile(kept, folder.source)
    events = beside / "events.jsonl"
    if not events.is_file() or not any(event.kind in ACTS for event in read_events(events)):
        return
    if is_same:
        folder.write_text(folder.events, events.read_text("utf-8"))
        reporter.say(f"what was done to {beside} while it ran is done at its steps again")
    else:
        reporter.say(f"what was done to {beside} while it ran is left out, since this recipe differs from it")


def _values(words: Mapping[str, Any], given_model: nn.Module | None) -> dict[str, Any]:
    """Translate the words of the surface into recipe paths; None means not said."""
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise OptionInvalid(f"fit has no argument {unknown[0]!r}{did_you_mean(unknown[0], WORDS)}")
    values = {WORDS[word]: value for word, value in _with_source(words).items() if value is not None}
    if given_model is not None:
        values["model"] = "given"
    for path in ("augmentation", "penalties", "probes"):
        if isinstance(values.get(path), str):
            values[path] = [values[path]]
    if values.get("augmentation") == ["auto"]:
        values["augmentation"] = "auto"
    return {path: str(v) if isinstance(v, (Choice, torch.device)) else v for path, v in values.items()}


def _with_source(words: Mapping[str, Any]) -> dict[str, Any]:
    """Bring what a network begins from into one form: `model="resnet50:pretrained"` names network and weights at once.

    A run, or the path of one, becomes an absolute path, so that the run can go on from anywhere.
    """
    found, model, start = dict(words), words.get("model"), words.get("from_")
    if isinstance(model, str) and model.endswith(PRETRAINED):
        if start is not None:
            raise OptionInvalid(
                f"model={model} and from_={start} both name weights to begin from: leave one of them out"
            )
        found |= {"model": model.removesuffix(PRETRAINED), "from_": model}
    elif isinstance(start, Run):
        found["from_"] = str(start.path.absolute())
    elif start is not None and not isinstance(start, str | Path):
        raise OptionInvalid(
            f"from_ is a run, the path of one or of a file of weights, or a published name, got {type(start).__name__};"
            " a network whose weights are to go on learning is given as model="
        )
    elif start is not None and Path(start).expanduser().exists():
        found["from_"] = str(Path(start).expanduser().absolute())
    elif start is not None:
        found["from_"] = str(start)
    return found


def _source(source: object, *, has_recipe: bool) -> tuple[object, dict[str, Any]]:
    """Return samples that were handed over (or None) and the recipe values that name the source."""
    if source is None and has_recipe:
        return None, {}
    source = "digits" if source is None else source
    if not isinstance(source, (str, Path)):
        return source, {"data.source": "given", "data.location": ""}
    inferred = infer_source(str(source))
    options = Choice.parse(f"{inferred.name}:{_options_of(str(source))}").options
    location = str(Path(inferred.location).absolute()) if inferred.location else ""
    return None, {"data.source": {"name": inferred.name, **options}, "data.location": location}


def _options_of(text: str) -> str:
    """Return the `key=value,…` behind a source's name or path."""
    last = text.rpartition(":")[2]
    return last if "=" in last and not Path(text).exists() else ""


def _with_own_files(recipe: Recipe) -> Recipe:
    """Note the file of the user's own network among the files that the run depends on."""
    if recipe.model == "auto" or ".py:" not in recipe.model.name:
        return recipe
    file = recipe.model.name.rpartition(":")[0]
    return recipe.model_copy(update={"files": {**recipe.files, file: recipe.files.get(file, "")}})
