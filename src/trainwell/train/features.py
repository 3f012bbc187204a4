"""Transfer by frozen features: every image goes through the network once, and the head is solved for on these codes.

The codes are kept in the run, so that whoever goes on with it, or looks at neighbours in feature space, need not
compute them again. The strength of the penalty is chosen on the val split, or, where that is too small to choose by, by
cross-validation of the train split.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainwell.core.batch import Batch
from trainwell.core.chance import Chance
from trainwell.core.recipe import decided
from trainwell.core.record import Measure, Reading
from trainwell.core.shelves import losses
from trainwell.core.task import Task
from trainwell.data.loader import Loader
from trainwell.errors import ModelInvalid
from trainwell.models.heads import last_layer
from trainwell.models.linear_path import Linear, linear_path
from trainwell.models.pretrained import head_of
from trainwell.train.build import Job
from trainwell.train.evaluate import evaluation_mode
from trainwell.train.keep import read_kept, write_tensors
from trainwell.train.scoring import Scoring

LEAST_TO_CHOOSE_BY = 200  # samples of val; with fewer the choice would follow their chance more than the penalty
FOLDS = 5


@dataclass(frozen=True)
class Codes:
    """What the head is given of one split: codes (N, D) float32, targets (N, ...), and the samples' weights or None."""

    codes: Tensor
    targets: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Tensor) -> "Codes":
        """Return some samples."""
        return Codes(self.codes[rows], self.targets[rows], None if self.weight is None else self.weight[rows])


@dataclass(frozen=True)
class Solved:
    """The head at each strength, and which was chosen.

    Attributes:
        path: from the strongest penalty to the weakest.
        losses: what each was judged by.
        place: of the chosen one; `by_val`: whether it was chosen on the val split.
        words: what was done, in a sentence.
    """

    path: tuple[Linear, ...]
    losses: tuple[float, ...]
    place: int
    words: str
    by_val: bool

    @property
    def chosen(self) -> Linear:
        """The head that is taken."""
        return self.path[self.place]


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


def collect_codes(
    job: Job, path: Path, *, is_stopped: Callable[[], bool], progress: Callable[[int, int], object]
) -> dict[str, Codes] | None:
    """Return what the head is given of each split, computed once without augmentation and kept in a file.

    None where somebody asked to stop: nothing is kept then.

    Raises:
        ModelInvalid: the head is no single linear layer.
        RunDamaged: the file was altered or cut short.
    """
    _linear_head(job.model)
    loaders = dict(job.loaders.items())
    names = [f"{split}/{part}" for split in loaders for part in ("codes", "targets", "weight")]
    kept = {name: torch.from_numpy(array) for name, array in read_kept(path, *names).items()}
    if not kept:
        done, total = 0, sum(loader.count for loader in loaders.values())
        for split, loader in loaders.items():
            codes, seen = list[Tensor](), list[Batch]()
            for batch, given in _given_to_the_head(job, loader):
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


@torch.no_grad()
def _given_to_the_head(job: Job, loader: Loader) -> Iterator[tuple[Batch, Tensor]]:
    """Yield each batch as it lies in the store, with what the head is given of it, (n, D)."""
    _, head = head_of(job.model)
    caught: list[Tensor] = []

    def catch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0])

    hook = head.register_forward_pre_hook(catch)
    try:
        with evaluation_mode(job.model):
            for raw in loader.epoch(0):
                with job.autocast():
                    job.model(job.evaluation_pipeline(raw, 0).inputs)
                yield raw, _pooled(caught.pop()).float().cpu()
    finally:
        hook.remove()


def _in_order(codes: list[Tensor], seen: list[Batch]) -> Iterator[tuple[str, Tensor]]:
    """Yield codes, targets and weights in the order of the store, so that a loader's shuffle does not matter."""
    order = torch.cat([batch.index for batch in seen]).cpu().argsort()
    yield "codes", torch.cat(codes)[order]
    yield "targets", torch.cat([batch.targets for batch in seen]).cpu()[order]
    weights = [batch.weight for batch in seen if batch.weight is not None]
    if weights:
        yield "weight", torch.cat(weights).cpu()[order]


def _pooled(inputs: Tensor) -> Tensor:
    """Return (N, D) of what stands in front of a dense layer, or of a 1x1 convolution before its mean."""
    return inputs.mean((2, 3)) if inputs.dim() == 4 else inputs


def _linear_head(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """Return the head, a dense layer or a 1x1 convolution.

    Raises:
        ModelInvalid: it is something else.
    """
    name, head = head_of(model)
    last = last_layer(head) if isinstance(head, nn.Sequential) and len(head) == 1 else head
    is_linear = isinstance(last, nn.Linear) or (isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1))
    if is_linear and last.bias is not None:
        return last  # type: ignore[return-value]
    what = f"{type(head).__name__} without bias" if is_linear else type(head).__name__
    raise ModelInvalid(
        f"transfer.method: features solves for a head that is one linear layer with a bias, and {name} is {what}: take"
        " --transfer head, or a network with head=linear"
    )


def solve(job: Job, codes: dict[str, Codes]) -> Solved:
    """Return the heads along the path, and the best of them."""
    train, val, outputs = codes["train"], codes.get("val"), len(job.classes)
    loss = decided(job.recipe.loss)
    criterion = losses.build(loss.name, loss.options)  # the job's own may ask auxiliary classifiers too

    def path_of(part: Codes) -> tuple[Linear, ...]:
        return tuple(linear_path(part.codes, part.targets, criterion, outputs, weight=part.weight))

    def losses_of(path: tuple[Linear, ...], part: Codes) -> list[float]:
        return [float(criterion(point.scores(part.codes), _double(part.targets)).mean()) for point in path]

    path = path_of(train)
    by_val = val is not None and len(val) >= LEAST_TO_CHOOSE_BY
    if val is not None and by_val:
        judged, how = losses_of(path, val), f"chosen by the loss of {len(val):,} val samples"
    else:
        sums = [0.0] * len(path)
        for rows, rest in _folds(len(train), job.recipe.seed):
            left_out = train.take(rows)
            found = losses_of(path_of(train.take(rest)), left_out)
            sums = [total + loss * len(left_out) for total, loss in zip(sums, found, strict=True)]
        judged = [total / len(train) for total in sums]
        why = "there is no val split" if val is None else f"val has only {len(val)} samples"
        how = f"chosen by {FOLDS}-fold cross-validation of train, since {why}"
    place = min(range(len(path)), key=lambda each: judged[each] if math.isfinite(judged[each]) else math.inf)
    words = f"head      solved for at {len(path)} strengths of the penalty; {path[place].strength:.2g} {how}"
    return Solved(path, tuple(judged), place, words, by_val)


def _double(targets: Tensor) -> Tensor:
    return targets.double() if targets.is_floating_point() else targets


def _folds(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the left-out rows and the rest, for each fold."""
    order = Chance(seed, "folds").permutation(0, count)
    folds = min(FOLDS, count)
    for fold in range(folds):
        is_out = torch.zeros(count, dtype=torch.bool)
        is_out[order[fold::folds]] = True
        yield is_out.nonzero().flatten(), (~is_out).nonzero().flatten()


@torch.no_grad()
def put_head(model: nn.Module, point: Linear) -> None:
    """Write a solved head into a network, in place."""
    head = _linear_head(model)
    head.weight.copy_(point.weight.view_as(head.weight))
    assert head.bias is not None
    head.bias.copy_(point.bias)
