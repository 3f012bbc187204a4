"""A finished run as what another network begins from: its weights, and what they were trained to see."""

from pathlib import Path

from trainwell.classifier.contract import Contract
from trainwell.classifier.layout import CODE, WEIGHTS, below, find, read_head, read_tensors
from trainwell.core.choice import Choice
from trainwell.core.own_code import sha256
from trainwell.core.shelves import preprocessings
from trainwell.models.pretrained.weights import Pretrained

FRONT, BEHIND = "0.", "1."  # where a layer of the preprocessing stands in front of the network
LAYER = "layer/"  # what the statistics of that layer are called beside those of the preprocessing itself


def from_run(path: Path) -> tuple[Pretrained, dict[str, str], str | None, tuple[str, ...]]:
    """Return the weights of a run, the user's own files that its network needs, and how it brought images to size.

    Args:
        path: a run folder, or the folder of a classifier.

    Returns:
        The weights, named as the bare network names them; what a layer of the preprocessing holds stands among
        `preprocessing_state` as `layer/NAME`. Then path -> SHA-256 of the files, and crop, pad, stretch or None, and
        the names of the features of a table.

    Raises:
        RunInvalid: there is no run or classifier, or the run has none yet.
        RunDamaged: a file of it is missing, was altered or cut short.
    """
    folder = find(path)
    contract, _, _ = read_head(folder)
    stored = read_tensors(folder / WEIGHTS)
    tensors, state = below(stored, "model/"), below(stored, "preprocessing/")
    choice = contract.preprocessing
    if preprocessings.build(choice.name, choice.options).layer(contract.input_shape) is not None:
        state |= {LAYER + name: tensor for name, tensor in below(tensors, FRONT).items()}
        tensors = below(tensors, BEHIND)
    form = contract.form
    weights = Pretrained(
        name=path.resolve().name if path.resolve().name != "classifier" else path.resolve().parent.name,
        location=str(folder.absolute()),
        sha256=sha256(folder / WEIGHTS),
        tensors=tensors,
        model=_located(contract, folder),
        input_shape=contract.input_shape if len(contract.input_shape) == 3 else None,
        preprocessing=contract.preprocessing,
        preprocessing_state=state,
        classes=contract.classes if contract.task == "classes" else (),
    )
    files = {str((folder / CODE / name).absolute()): digest for name, digest in contract.files.items()}
    return weights, files, form.policy if form is not None else None, contract.columns


def _located(contract: Contract, folder: Path) -> Choice | None:
    """Return the network by a name that works from anywhere; None where it was handed over in Python."""
    model = contract.model
    if model.name == "given":
        return None
    file, colon, attribute = model.name.rpartition(":")
    if not colon:
        return model
    return model.model_copy(update={"name": f"{(folder / CODE / file).absolute()}:{attribute}"})
