"""What a classifier is apart from its numbers: network, preprocessing, classes, and what its inputs are."""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, MinLen
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from trainwell.core.choice import Choice
from trainwell.core.task import TaskName
from trainwell.data.resize import ImageForm
from trainwell.data.samples import Scale
from trainwell.data.targets import Scaling

Dtype = Literal["uint8", "float32"]


class Contract(BaseModel):
    """Everything about a classifier that is plain data.

    Attributes:
        model: member of the shelf, `FILE.py:NAME`, or `given`.
        preprocessing: member of the shelf.
        input_shape: (C, H, W) or (D,) of one sample.
        classes: names of the classes, the numbers or the labels, in the order of the scores.
        form: what every image becomes; None where samples are features, or came in one form only.
        dtype: of the samples before preprocessing.
        scale: how arrays of images are brought to 0 to 255, as training arrays were; None where samples were files or
            features, and where arrays were kept as they were (dtype is float32 then).
        is_streamed: whether samples came from a Dataset that streams; they then have one form only.
        files: the user's own files with their SHA-256.
        temperature: that scores of classes are divided by, so that confidences are honest; fitted on val.
        task: what is answered.
        scaling: mean and deviation that scores become numbers by; None for other tasks.
        columns: names of the features, where the source knew them.

    >>> contract = Contract(model="logistic", preprocessing="none", input_shape=(4,), classes=("a", "b"))
    >>> Contract.model_validate_json(contract.model_dump_json()) == contract
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Choice
    preprocessing: Choice
    input_shape: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)]
    classes: Annotated[tuple[str, ...], MinLen(1)]
    form: ImageForm | None = None
    dtype: Dtype = "float32"
    scale: Scale | None = None
    is_streamed: bool = False
    files: Mapping[str, str] = {}
    temperature: Annotated[float, Gt(0)] = 1.0
    task: TaskName = "classes"
    scaling: Scaling | None = None
    columns: tuple[str, ...] = ()

    def answers(self, scores: Tensor) -> np.ndarray:
        """Return what the scores (N, K) of the network say: probabilities (N, K) float32, or numbers (N, M) float64.

        >>> import torch
        >>> one = Contract(model="mlp", preprocessing="none", input_shape=(4,), classes=("y",), task="numbers",
        ...     scaling=Scaling((10.0,), (2.0,)))
        >>> one.answers(torch.tensor([[1.5]]))
        array([[13.]])
        """
        if self.scaling is not None:
            return self.scaling.restored(scores)
        shares = scores.sigmoid() if self.task == "labels" else (scores / self.temperature).softmax(1)
        answers: np.ndarray = shares.numpy()
        return answers

    @property
    def takes_images(self) -> bool:
        """Whether a sample is an image (C, H, W)."""
        return len(self.input_shape) == 3

    @property
    def takes_files(self) -> bool:
        """Whether it is known how an image file becomes a sample."""
        return self.form is not None and self.dtype == "uint8"
