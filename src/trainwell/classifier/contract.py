"""What a classifier is apart from its numbers: network, preprocessing, classes, and what its inputs are."""

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import BaseModel, ConfigDict

from trainwell.core.choice import Choice
from trainwell.data.resize import ImageForm
from trainwell.data.samples import Scale

Dtype = Literal["uint8", "float32"]


class Contract(BaseModel):
    """Everything about a classifier that is plain data.

    Attributes:
        model: member of the shelf, `FILE.py:NAME`, or `given`.
        preprocessing: member of the shelf.
        input_shape: (C, H, W) or (D,) of one sample.
        classes: names, in the order of the scores.
        form: what every image becomes; None where samples are features, or came in one form only.
        dtype: of the samples before preprocessing.
        scale: how arrays of images are brought to 0 to 255, as training arrays were; None where samples were files or
            features, and where arrays were kept as they were (dtype is float32 then).
        is_streamed: whether samples came from a Dataset that streams; they then have one form only.
        files: the user's own files with their SHA-256.
        temperature: that scores are divided by, so that confidences are honest; fitted on val.

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

    @property
    def takes_images(self) -> bool:
        """Whether a sample is an image (C, H, W)."""
        return len(self.input_shape) == 3

    @property
    def takes_files(self) -> bool:
        """Whether it is known how an image file becomes a sample."""
        return self.form is not None and self.dtype == "uint8"
