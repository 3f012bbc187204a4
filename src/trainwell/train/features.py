"""Transfer by frozen features: every image goes through the network once, and the head is solved for on these codes.

The codes are kept in the run, so that whoever goes on with it need not compute them again.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from trainwell.core.batch import Batch
from trainwell.core.recipe import decided
from trainwell.core.record import Measure, Reading
from trainwell.core.shelves import losses
from trainwell.core.task import Task
from trainwell.data.loader import Loader
from trainwell.errors import DataInvalid
from trainwell.models.codes import codes_of, factor_behind, linear_head
from trainwell.models.head_path import FOLDS, Codes, Solved, solve_head
from trainwell.models.linear_path import Linear
from trainwell.train.build import Job
from trainwell.train.evaluate import evaluation_mode
from trainwell.train.keep import read_kept, write_tensors
from trainwell.train.scoring import Scoring

Show = Callable[[str, int, int], None]


def path_measures(task: Task, unit: str, *, by_val: bool) -> tuple[Measure, ...]:
    """Return what the readings of a path mean; their step is the place on it, from the strongest penalty on.

    Args:
        task: what is answered; `unit`: of the loss.
        by_val: whether the strength was chosen on the val split.
    """
    judges = "the val samples" if by_val else "left-out parts of the train split"
    return (
        Measure("path/strength", "", "strength of the penalty on the weights of the head"),
        Measure("path/train_loss", unit, "mean loss over the train split, without the penalty"),
        Measure("path/choice_loss", unit, f"mean loss that the strength was chosen by: of {judges}"),
        task.score.measure("path/val_score", "the val split"),
    )


def readings(solved: Solved, val: Codes | None, task: Task) -> Iterator[Reading]:
    """Yield what was measured along the path."""
    scoring = None if val is None else Scoring(task, val.targets)
    for place, (point, loss) in enumerate(zip(solved.path, solved.losses, strict=True)):
        yield Reading(place, "path/strength", point.strength)
        yield Reading(place, "path/train_loss", point.loss)
        yield Reading(place, "path/choice_loss", loss)
        if scoring is not None and val is not None:
            yield Reading(place, "path/val_score", float(scoring(point.scores(val.codes), val.targets).double().mean()))


def words_of(solved: Solved, codes: dict[str, Codes]) -> str:
    """Say what was done."""
    strength, val = f"{solved.chosen.strength:.2g}", codes.get("val")
    if solved.by_val and val is not None:
        how = f"chosen by the loss of {len(val):,} val samples"
    else:
        why = "there is no val split" if val is None else f"val has only {len(val)} samples"
        how = f"chosen by {FOLDS}-fold cross-validation of train, since {why}"
    return f"head      solved for at {len(solved.path)} strengths of the penalty; {strength} {how}"


def solve(
    job: Job, path: Path, *, is_stopped: Callable[[], bool], show: Show
) -> tuple[Solved, dict[str, Codes]] | None:
    """Solve for the head of a job's network and write it there; None where somebody asked to stop.

    Args:
        job: built.
        path: of the file that keeps the codes.
        is_stopped: asked between batches and between strengths.
        show: called with what is done, and how far that is.

    Raises:
        ModelInvalid: the head is no single linear layer, or not the last thing that happens.
        DataInvalid: the features are NaN or Inf, or so small that no head in float32 can tell them apart.
        RunDamaged: the file was altered or cut short.
    """
    factor = _factor(job)
    codes = _codes(job, path, is_stopped=is_stopped, progress=partial(show, "features"))
    if codes is None:
        return None
    loss = decided(job.recipe.loss)
    solved = solve_head(
        codes["train"],
        codes.get("val"),
        losses.build(loss.name, loss.options),  # the job's own may ask auxiliary classifiers too
        len(job.classes),
        seed=job.recipe.seed,
        has_bias=linear_head(job.model).bias is not None,
        is_stopped=is_stopped,
        progress=partial(show, "head"),
    )
    if solved is None:
        return None
    put_head(job.model, solved.chosen, factor=factor)
    return solved, codes


def _factor(job: Job) -> float:
    """Return what the network multiplies the outputs of its head by.

    Raises:
        ModelInvalid: it does more to them than that.
    """
    raw = next(iter(job.loaders.train.epoch(0)))
    with evaluation_mode(job.model):
        inputs = job.evaluation_pipeline.preprocessing.apply(raw.inputs, dtype=torch.float32)
        return factor_behind(job.model, *codes_of(job.model, inputs))


def _codes(
    job: Job, path: Path, *, is_stopped: Callable[[], bool], progress: Callable[[int, int], object]
) -> dict[str, Codes] | None:
    """Return what the head is given of each split, computed once without augmentation, in float32, and kept."""
    loaders = dict(job.loaders.items())
    names = [f"{split}/{part}" for split in loaders for part in ("codes", "targets", "weight")]
    kept = {name: torch.from_numpy(array) for name, array in read_kept(path, *names).items()}
    if not kept:
        done, total = 0, sum(loader.count for loader in loaders.values())
        for split, loader in loaders.items():
            codes, seen = list[Tensor](), list[Batch]()
            for batch, given in _of_batches(job, loader):
                if is_stopped():
                    return None
                codes.append(given)
                seen.append(batch)
                done += len(batch)
                progress(done, total)
            kept |= {f"{split}/{name}": tensor for name, tensor in _in_order(codes, seen)}
        write_tensors(path, kept, {})
    return {
        split: Codes(kept[f"{split}/codes"], kept[f"{split}/targets"], kept.get(f"{split}/weight")) for split in loaders
    }


def _of_batches(job: Job, loader: Loader) -> Iterator[tuple[Batch, Tensor]]:
    """Yield each batch as it lies in the store, with its codes."""
    preprocessing = job.evaluation_pipeline.preprocessing
    with evaluation_mode(job.model):
        for raw in loader.epoch(0):
            codes, _ = codes_of(job.model, preprocessing.apply(raw.inputs, dtype=torch.float32))
            yield raw, codes.cpu()


def _in_order(codes: list[Tensor], seen: list[Batch]) -> Iterator[tuple[str, Tensor]]:
    """Yield codes, targets and weights in the order of the store, so that a loader's shuffle does not matter."""
    order = torch.cat([batch.index for batch in seen]).cpu().argsort()
    yield "codes", torch.cat(codes)[order]
    yield "targets", torch.cat([batch.targets for batch in seen]).cpu()[order]
    weights = [batch.weight for batch in seen if batch.weight is not None]
    if weights:
        yield "weight", torch.cat(weights).cpu()[order]


@torch.no_grad()
def put_head(model: nn.Module, point: Linear, *, factor: float = 1.0) -> None:
    """Write a solved head into a network, in place.

    Args:
        model: its head is a linear layer.
        point: the head.
        factor: that the network multiplies the outputs of its head by.

    Raises:
        DataInvalid: its weights are too large for the network's numbers; nothing is written.
    """
    head = linear_head(model)
    weight = (point.weight / factor).view_as(head.weight).to(head.weight)
    if not bool(weight.isfinite().all()):
        raise DataInvalid(
            "the features of the frozen network are so small that a head in float32 cannot tell them apart: take"
            " --transfer full, or a source that was trained on such images"
        )
    head.weight.copy_(weight)
    if head.bias is not None:
        head.bias.copy_(point.bias / factor)
