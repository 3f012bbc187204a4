"""The sections of a recipe: the settings that are no member of a shelf, each field with its range and default."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, ConfigDict

from trainwell.core.choice import Choice
from trainwell.core.task import TaskWish
from trainwell.core.units import Amount, Count, Epochs, Fraction, Minutes, ProperFraction, Side

Auto = Literal["auto"]


class Frozen(BaseModel):
    """Plain data that cannot be changed, without fields that nobody declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSection(Frozen):
    """Where the samples come from, what is to be answered for each, and how each becomes a tensor.

    `task` is what the targets are: `classes`, `numbers` (regression) or `labels` (any number of them at once).
    `image_size` is the side of the square that images are brought to, `resize` how: `crop` fits the
    shorter side and cuts the centre, `pad` fits the longer side and pads, `stretch` ignores the aspect.
    """

    source: Choice = Choice(name="digits")
    location: str = ""
    task: TaskWish = "auto"
    image_size: Side | Auto | Literal["keep"] = "auto"
    resize: Literal["crop", "pad", "stretch"] = "crop"
    color: Literal["auto", "grey", "rgb"] = "auto"
    val_fraction: ProperFraction = 0.1
    test_fraction: ProperFraction = 0.2
    skip_bad: bool = False
    memory_gib: Annotated[float, Gt(0)] | Auto = "auto"


class RegularizationSection(Frozen):
    """What keeps the weights in check beside weight decay, which belongs to the optimizer.

    `clip_norm` bounds the global gradient norm; `ema_decay` averages the weights, and the average is what is evaluated;
    `swa_start` averages instead the weights at the ends of all epochs after that share of the run as it is begun, all
    alike, and those of epochs that a longer resume adds; `patience` stops after that many epochs without a better val
    loss and restores the best weights; `class_weights` = `balanced` makes every class count alike in the loss.
    """

    clip_norm: Annotated[float, Gt(0)] | None = None
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None = None
    swa_start: ProperFraction | None = None
    patience: Count | None = None
    class_weights: Literal["auto", "none", "balanced"] = "auto"


class BatchSection(Frozen):
    """`size` samples make one optimizer step, computed in `accumulate` pieces one after another."""

    size: Count | Auto = "auto"
    accumulate: Count = 1


class LengthSection(Frozen):
    """How long to train: a number of epochs, or of minutes; `steps` cuts the last epoch short."""

    epochs: Epochs | Auto = "auto"
    minutes: Minutes | None = None
    steps: Annotated[int, Ge(1)] | None = None


class MachineSection(Frozen):
    """How the work is laid on the machine; bits depend on these, so they belong to the recipe.

    `probe_every` is the step interval of the probes after steps 0, 1, 2, 4, 8, …; `probe_budget` is the
    share of training time that they may cost. `checkpoint_seconds` is the least time between two
    checkpoints within an epoch (it does not influence any result).
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    threads: Count | Auto = "auto"
    deterministic: bool = False
    probe_every: Count | Auto = "auto"
    probe_budget: Fraction = 0.03
    checkpoint_seconds: Amount = 60.0
