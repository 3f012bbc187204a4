"""The options of every verb that begins from a source: what to train on, with what, and where."""

from pathlib import Path
from typing import Annotated, Optional

import typer

Source = Annotated[
    Optional[str],
    typer.Argument(metavar="SOURCE", help="A folder, a file, or a built-in set; else the recipe's, or digits."),
]
ModelChoice = Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Or my_net.py:Net, a network of your own.")]
InitChoice = Annotated[Optional[str], typer.Option(metavar="CHOICE", help="First weights, such as he or lsuv.")]
FromSource = Annotated[
    Optional[str],
    typer.Option("--from", metavar="RUN|FILE|NAME", help="Begin from weights: a run, a file, or resnet50:pretrained."),
]
TransferMethod = Annotated[
    Optional[str], typer.Option(metavar="HOW", help="What of them learns: features, head, last:K, full, gradual.")
]
LossChoice = Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as cross_entropy:smoothing=0.1.")]
PenaltyChoices = Annotated[
    Optional[list[str]],
    typer.Option(metavar="CHOICE", help="Added to the loss, such as l2:strength=1e-4; may be repeated."),
]
TaskName = Annotated[
    Optional[str], typer.Option(metavar="TASK", help="classes, numbers or labels; else what the targets hold says.")
]
PreprocessingChoice = Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as zca.")]
AugmentationChoices = Annotated[
    Optional[list[str]],
    typer.Option("--augmentation", "--augment", metavar="CHOICE", help="Such as shift:pixels=2; may be repeated."),
]
BatchSize = Annotated[Optional[int], typer.Option(metavar="N", help="Samples in an optimizer step.")]
ImageSize = Annotated[Optional[str], typer.Option(metavar="N", help="Side in pixels, or keep.")]
RunSeed = Annotated[Optional[int], typer.Option(metavar="N", help="Of all randomness.")]
DeviceName = Annotated[Optional[str], typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, …")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="The same bits on CUDA too.")]
Values = Annotated[
    Optional[list[str]],
    typer.Option("--set", metavar="PATH=VALUE", help="Any field of the recipe, such as seed=1; may be repeated."),
]
RecipePath = Annotated[Optional[Path], typer.Option(metavar="PATH", help="Begin from a recipe file or a run.")]
WithFiles = Annotated[
    Optional[list[Path]],
    typer.Option("--with", metavar="FILE.py", help="Shelf members of your own; may be repeated."),
]
