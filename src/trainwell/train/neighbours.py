"""Where a run with transfer puts the images of its sheet in the space of features: at first, and at its end.

What pages show of it are nearest neighbours: with weights that nobody has trained, with those of the source, and with
those that the run reports.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from trainwell.core.chance import derive
from trainwell.data.prepare import Prepared
from trainwell.data.stream import StreamStore
from trainwell.errors import ModelInvalid
from trainwell.models.codes import codes_of
from trainwell.train.build import Job
from trainwell.train.evaluate import evaluation_mode
from trainwell.train.folder import RunFolder
from trainwell.train.keep import read_kept, sheet, write_tensors

STAGES = ("random", "source", "end")  # of the weights, as the file names them


def keep_first_codes(folder: RunFolder, job: Job, prepared: Prepared) -> None:
    """Store the features of the sheet with random weights and with those of the source; nothing without transfer.

    Random ones are drawn as the layers themselves draw them, in a copy: looking changes nothing.

    Raises:
        RunInvalid: the disk is full or may not be written.
    """
    if not _has_sheet(job, prepared):
        return
    copy = deepcopy(job.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(job.recipe.seed, "neighbours", "weights"))
        for module in copy.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    found = {"random": codes_of_sheet(copy, job, prepared), "source": codes_of_sheet(job.model, job, prepared)}
    codes = {name: codes for name, codes in found.items() if codes is not None}
    if codes:
        write_tensors(folder.neighbours, codes, {})


def keep_last_codes(folder: RunFolder, model: nn.Module, job: Job, prepared: Prepared) -> None:
    """Add the features of the sheet with the weights that a run reports.

    Raises:
        RunInvalid: the disk is full or may not be written.
        RunDamaged: the file of the first ones was altered.
    """
    if not _has_sheet(job, prepared):
        return
    codes = codes_of_sheet(model, job, prepared)
    if codes is not None:
        kept = {name: torch.from_numpy(codes) for name, codes in read_kept(folder.neighbours, *STAGES).items()}
        write_tensors(folder.neighbours, {**kept, "end": codes}, {})


def _has_sheet(job: Job, prepared: Prepared) -> bool:
    """Whether there are images to look at, of a network that has begun from a source, by a task that has classes.

    Items of the user's own Dataset are not asked for again: it may draw them.
    """
    is_stream = isinstance(prepared.stores.train, StreamStore)
    is_classes = prepared.kind == "images" and prepared.task.name == "classes"
    return job.recipe.transfer.is_on and is_classes and not is_stream


@torch.no_grad()
def codes_of_sheet(model: nn.Module, job: Job, prepared: Prepared) -> Tensor | None:
    """Return what the head of a network is given for the images of the sheet, (N, D) float32.

    None where the network has no head that is called, or where random weights have made numbers too large for float32.
    """
    raw = prepared.stores.train.gather(sheet(prepared)).to(job.device)
    try:
        with evaluation_mode(model), job.autocast():
            codes = codes_of(model, job.evaluation_pipeline(raw, 0).inputs)[0].cpu()
    except ModelInvalid:
        return None
    return codes if bool(codes.isfinite().all()) else None
