"""Read a classifier back, and prove that it answers as it did where it was made."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from trainwell.classifier import golden
from trainwell.classifier.classifier import Classifier
from trainwell.classifier.contract import Contract
from trainwell.classifier.layout import (
    CODE,
    CURE,
    GOLDEN,
    IMAGES,
    WEIGHTS,
    answering_tensors,
    below,
    find,
    read_head,
    read_tensors,
    versions,
)
from trainwell.classifier.modules import copied
from trainwell.core.machine import choose_device
from trainwell.core.own_code import settle_files
from trainwell.core.shelves import preprocessings
from trainwell.data.preprocessing.fitting import Preprocessing
from trainwell.errors import ClassifierMismatch, ModelInvalid, OptionInvalid, RunDamaged
from trainwell.models.building import build_network
from trainwell.models.fold import fold

FOLDED_ON = 2  # golden samples that folding is watched and proved on


def load(path: str | Path, *, model: nn.Module | None = None, device: str | torch.device = "cpu") -> Classifier:
    """Return the classifier of a run, or of a classifier folder.

    Every file is compared with its SHA-256, weights are copied into a network that is built anew, batch norms are
    folded, and the golden inputs run through.

    A classifier whose network is in a file of the user's own carries that file in its folder `code`, and loading it
    runs that code, with all that it may do on this machine: load such a classifier only from people whom you trust. A
    SHA-256 finds damage and not malice, since whoever alters a file can write a new one beside it. No file outside the
    folder is ever run.

    Args:
        path: a run folder, or the folder `classifier` itself, which may have been copied anywhere.
        model: the network that was handed over in Python when the run was started; its weights do not matter
            and it stays as it is.
        device: where it computes: "cpu", "cuda:0", or "auto".

    Raises:
        RunInvalid: there is no classifier at this path, or not yet.
        RunDamaged: a file is missing, was altered or cut short, or code outside its folder is named.
        ClassifierMismatch: it does not answer here as it did where it was made; names the first step that differs.
        ModelInvalid: the network was handed over in Python and is not given, or is another one.
    """
    folder = find(Path(path))
    contract, made_with, files = read_head(folder)
    place = _device(str(device))
    tensors, once = read_tensors(folder / WEIGHTS), read_tensors(folder / GOLDEN)
    settle_files(contract.files, folder / CODE, networks=(contract.model.name.rpartition(":")[0],))
    preprocessing: Preprocessing = preprocessings.build(contract.preprocessing.name, contract.preprocessing.options)
    preprocessing.load_state(below(tensors, "preprocessing/"))
    network = _network(folder, contract, preprocessing, given=model)
    _fill(network, below(tensors, "model/"), folder / WEIGHTS, contract)
    try:
        if contract.form is not None and contract.takes_files:
            images = {Path(name).name: (folder / name).read_bytes() for name in files if name.startswith(f"{IMAGES}/")}
            golden.check_decoding(images, contract.form, once)
        if contract.takes_images:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network = network.to(place).eval()
        golden.check_computing(once, preprocessing, network, place)
        network, _ = fold(network, once[golden.PREPROCESSING][:FOLDED_ON].to(place))
        golden.check_computing(once, preprocessing, network, place)
    except golden.Differs as fault:
        raise ClassifierMismatch(_mismatch(folder, fault, made_with), fault.step) from None
    return Classifier(contract, preprocessing, network, place)


def _device(asked: str) -> torch.device:
    try:
        return torch.device(str(choose_device(asked).value))
    except OptionInvalid as error:
        raise OptionInvalid(str(error).replace("machine.device", "device")) from None


def _network(folder: Path, contract: Contract, preprocessing: Preprocessing, *, given: nn.Module | None) -> nn.Module:
    if contract.model.name == "given":
        if given is None:
            raise ModelInvalid(
                f"the network of {folder} was handed over in Python, so only its weights are stored: pass the network"
                " as load(..., model=net)"
            )
        given = copied(given).cpu()
        for parameter in given.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(True)  # a frozen network is as good as any other here
    elif given is not None:
        raise ModelInvalid(
            f"the classifier {folder} holds its own network, {contract.model}: leave model= out, it is for networks"
            " that were handed over in Python"
        )
    return build_network(
        contract.model,
        contract.input_shape,
        len(contract.classes),
        seed=0,
        files=contract.files,
        given=given,
        front=preprocessing.layer(contract.input_shape),
    )


@torch.no_grad()
def _fill(network: nn.Module, stored: Mapping[str, Tensor], path: Path, contract: Contract) -> None:
    """Copy the stored values into a network."""
    own = answering_tensors(network)
    odd = sorted(own.keys() ^ stored.keys()) or [name for name in own if own[name].shape != stored[name].shape]
    if odd and contract.model.name == "given":
        raise ModelInvalid(
            f"the network given as model= is not the one that {path} was stored from: they differ in"
            f" {', '.join(odd[:3])}: build it as in training"
        )
    if odd:
        raise RunDamaged(
            f"{path} does not fit the network {contract.model} that it names, they differ in {', '.join(odd[:3])}:"
            f" {CURE}"
        )
    for name, tensor in own.items():
        tensor.copy_(stored[name])


def _mismatch(folder: Path, fault: golden.Differs, made_with: Mapping[str, str]) -> str:
    """Say which step differs, by how much, and what may be the cause."""
    here = versions()
    changed = [
        f"{name} {made_with.get(name)} (here {here[name]})" for name in here if here[name] != made_with.get(name)
    ]
    cure = (
        f"it was made with {'; '.join(changed)}: install those versions, or train again with these"
        if changed
        else "the versions are the same, so the code of this step or the processor is not: load it where it was made,"
        " or train again here"
    )
    return (
        f"the classifier {folder} does not answer here as it did where it was made; the first step that differs is the"
        f" {fault.step}: {fault}; {cure}"
    )
