"""What a run begins from where it begins from weights that were learned elsewhere: found, kept, and filled in."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.data import Dataset

from trainwell.classifier.source import LAYER, from_run
from trainwell.core.choice import Choice
from trainwell.core.machine import AutoChoice
from trainwell.core.recipe import Recipe
from trainwell.data.prepare import Prepared
from trainwell.errors import DataInvalid, ModelInvalid, NameUnknown, RunDamaged, RunInvalid
from trainwell.models.pretrained import Pretrained, from_file, head_of, load_into, published
from trainwell.train.folder import RunFolder
from trainwell.train.keep import write_tensors
from trainwell.train.reporter import Reporter

ANSWERS = ("true", "false", "yes", "no", "positive", "negative", "pos", "neg", "on", "off", "none", "other")


@dataclass(frozen=True)
class Source:
    """The weights that a run begins from.

    Attributes:
        weights: with what they were trained to see.
        files: the user's own files that their network needs, path -> SHA-256.
        resize: how images were brought to size there, where that is known.
        columns: names of the features there, where samples came from a table.
    """

    weights: Pretrained
    files: Mapping[str, str] = field(default_factory=dict)
    resize: str | None = None
    columns: tuple[str, ...] = ()

    @property
    def is_run(self) -> bool:
        """Whether it is a run of ours, or its classifier."""
        return (Path(self.weights.location) / "classifier.json").is_file()

    @property
    def state(self) -> dict[str, Tensor]:
        """The statistics of the preprocessing."""
        return {name: tensor for name, tensor in self.weights.preprocessing_state.items() if not _is_of_layer(name)}

    @property
    def layer(self) -> dict[str, Tensor]:
        """What a layer of the preprocessing in front of the network holds."""
        state = self.weights.preprocessing_state
        return {name.removeprefix(LAYER): tensor for name, tensor in state.items() if _is_of_layer(name)}


def _is_of_layer(name: str) -> bool:
    return name.startswith(LAYER)


def open_source(recipe: Recipe, folder: RunFolder, reporter: Reporter) -> Source | None:
    """Return what a recipe begins from; None where its network begins anew. The run keeps a copy.

    What is fetched, and from where, is said.

    Raises:
        NameUnknown, ModelInvalid, RunInvalid, RunDamaged: there is no such source, or it cannot be used.
        RunInvalid: it holds other weights than those that the recipe was run with.
    """
    asked = recipe.transfer
    if not asked.is_on:
        return None
    if folder.source.exists():
        return _read(folder.source)
    source = _found(asked.source, reporter)
    if asked.sha256 and source.weights.sha256 != asked.sha256:
        raise RunInvalid(
            f"transfer.source: {asked.source} does not hold the weights that this recipe was run with: their SHA-256"
            f" begins with {source.weights.sha256[:12]}, the recipe says {asked.sha256[:12]}: restore them, or take"
            " transfer.sha256 out of the recipe"
        )
    _keep(folder.source, source)
    return source


def _found(text: str, reporter: Reporter) -> Source:
    path = Path(text).expanduser()
    if path.is_dir() and any((path / name).exists() for name in ("recipe.yaml", "classifier.json", "classifier")):
        return Source(*from_run(path))
    if path.exists():
        return Source(from_file(path))
    try:
        return Source(published(text, say=reporter.say))
    except NameUnknown as unknown:
        raise NameUnknown(f"transfer.source: {text} is no run and no file, and {unknown}") from None


def settle_source(recipe: Recipe, source: Source, choices: list[AutoChoice], *, data: object) -> Recipe:
    """Write down which weights these are, and take from them what the recipe leaves open of network and inputs.

    Args:
        recipe: as it was asked for.
        source: its weights.
        choices: takes what is decided here.
        data: samples that were handed over; items of a Dataset come as it makes them, in size and colour.

    Raises:
        ModelInvalid: which network they are for is not known, and none was named.
    """
    weights, values = source.weights, dict[str, Any]()
    if recipe.model == "auto" or recipe.model.name == "auto":
        if weights.model is None and source.is_run:
            raise ModelInvalid(
                f"the network of {weights.location} was handed over in Python, so only its weights are stored: pass one"
                " that is built alike here too, model=Net()"
            )
        if weights.model is None:
            raise ModelInvalid(
                f"{weights.location} does not say which network its weights are for: name it with --model, such as"
                " --model resnet20"
            )
        options = {} if recipe.model == "auto" else recipe.model.options
        values["model"] = {"name": weights.model.name, **weights.model.options, **options}
        shown = str(Choice.model_validate(values["model"]))
        choices.append(AutoChoice("model", shown, f"the network of {weights.name}"))
        values["files"] = {**recipe.files, **source.files}
    if weights.input_shape is not None and not isinstance(data, Dataset):
        channels, height, width = weights.input_shape
        if recipe.data.image_size == "auto" and height == width:
            values["data.image_size"] = height
            choices.append(AutoChoice("data.image_size", height, f"as {weights.name} was trained"))
        if recipe.data.color == "auto" and channels in (1, 3):
            values["data.color"] = "rgb" if channels == 3 else "grey"
            choices.append(AutoChoice("data.color", values["data.color"], f"as {weights.name} was trained"))
    if recipe.preprocessing == "auto" and weights.preprocessing is not None:
        chosen = weights.preprocessing
        values["preprocessing"] = {"name": chosen.name, **chosen.options}
        choices.append(AutoChoice("preprocessing", str(chosen), f"{weights.name} was trained with it"))
    return recipe.with_values({**values, "transfer.sha256": weights.sha256})


def fill(model: nn.Module, source: Source, recipe: Recipe, prepared: Prepared, *, front: nn.Module | None) -> str:
    """Copy the weights of a source into a network in place; return what is to be said.

    The head is kept where it is built alike and the source tells the same classes apart by name, and is fresh else;
    numbers, yes and no are no names, since they mean something else in every data set.

    Args:
        model: the whole network; `front`: the layer of the preprocessing in front of it, or None.
        source: what it begins from.
        recipe: its preprocessing decides whether that layer is the source's own.
        prepared: the data, for their classes.

    Raises:
        ModelInvalid: the weights are not those of such a network.
        DataInvalid: the features are not those that it was trained on, or in another order.
    """
    weights = source.weights
    if source.columns and prepared.columns and source.columns != prepared.columns:
        raise DataInvalid(
            f"the columns of the table are {', '.join(prepared.columns)}, and {weights.name} was trained on"
            f" {', '.join(source.columns)}: bring them into the same order, under the same names"
        )
    network = model if front is None else model.get_submodule("1")
    is_same = prepared.task.name == "classes" and weights.classes == prepared.classes
    is_same = is_same and not recipe.transfer.is_solved and not all(map(_says_nothing, prepared.classes))
    kept = network.state_dict()
    unkept = {name for name, _ in network.named_buffers() if name not in kept}  # they follow from the architecture
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name not in unkept}
    is_same = is_same and _fits(network, tensors)
    loaded = load_into(network, tensors, head="keep" if is_same else "fresh", name=weights.name)
    if front is not None and source.layer and recipe.preprocessing == weights.preprocessing:
        load_into(model.get_submodule("0"), source.layer, head="keep", name=weights.name)
    same = "; it tells the same classes apart, so its head is kept" if is_same else ""
    return f"weights   {loaded.summary}{same}"


def _says_nothing(name: str) -> bool:
    """Whether a class may mean anything: a number, or a yes or no.

    >>> _says_nothing("-1"), _says_nothing("True"), _says_nothing("cat")
    (True, True, False)
    """
    return name.lower() in ANSWERS or name.lstrip("+-").replace(".", "", 1).isdigit()


def _fits(network: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the head of a network is built like that of the source."""
    name, head = head_of(network)
    own = {f"{name}.{key}": value.shape for key, value in head.state_dict().items()}
    stored = {key: value.shape for key, value in tensors.items() if key.startswith(f"{name}.")}
    return own == stored


def _keep(path: Path, source: Source) -> None:
    """Store a source in the run, so that the run can go on wherever it is."""
    weights = source.weights
    tensors = {f"weights/{name}": tensor for name, tensor in weights.tensors.items()}
    tensors |= {f"preprocessing/{name}": tensor for name, tensor in weights.preprocessing_state.items()}
    separate = {name: tensor.detach().clone() for name, tensor in tensors.items()}  # safetensors shares no memory
    plain = {
        "name": weights.name,
        "location": weights.location,
        "sha256": weights.sha256,
        "model": weights.model and weights.model.model_dump(mode="json"),
        "input_shape": weights.input_shape,
        "preprocessing": weights.preprocessing and weights.preprocessing.model_dump(mode="json"),
        "classes": weights.classes,
        "files": dict(source.files),
        "resize": source.resize,
        "columns": source.columns,
        "digest": _digest(separate),
    }
    write_tensors(path, separate, {"source": json.dumps(plain)})


def _read(path: Path) -> Source:
    """Return the source that a run has kept.

    Raises:
        RunDamaged: the file was altered or cut short.
    """
    try:
        with safe_open(path, "pt") as file:
            plain = json.loads(file.metadata()["source"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunDamaged(
            f"{path} cannot be read: {error}: it was altered or cut short: restore it from a copy, or start a new run"
        ) from None
    if _digest(tensors) != plain["digest"]:
        raise RunDamaged(f"{path} was altered after it was written: restore it from a copy, or start a new run")
    weights = Pretrained(
        name=plain["name"],
        location=plain["location"],
        sha256=plain["sha256"],
        tensors=_below(tensors, "weights/"),
        model=plain["model"] and Choice.model_validate(plain["model"]),
        input_shape=plain["input_shape"] and tuple(plain["input_shape"]),
        preprocessing=plain["preprocessing"] and Choice.model_validate(plain["preprocessing"]),
        preprocessing_state=_below(tensors, "preprocessing/"),
        classes=tuple(plain["classes"]),
    )
    return Source(weights, plain["files"], plain["resize"], tuple(plain["columns"]))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
