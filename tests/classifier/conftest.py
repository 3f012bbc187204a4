"""Small classifiers with random weights, saved and loaded without any training."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from trainwell.classifier import Classifier, Contract, load, save
from trainwell.core.shelves import preprocessings
from trainwell.data.preprocessing.fitting import Preprocessing
from trainwell.data.resize import ImageForm
from trainwell.models.building import build_network

CLASSES = ("cat", "dog", "fox")


@dataclass(frozen=True)
class Saved:
    """A classifier on disk with what it was made of."""

    path: Path
    model: nn.Module
    preprocessing: Preprocessing
    contract: Contract

    def load(self, **words: Any) -> Classifier:
        """Load it anew."""
        return load(self.path, **words)

    def logits(self, samples: Tensor) -> Tensor:
        """What the trained network itself says of samples before preprocessing."""
        with torch.no_grad():
            scores: Tensor = self.model.eval()(self.preprocessing.apply(samples))
        return scores


def liven(model: nn.Module) -> None:
    """Give a network's norms and head the values of a trained one, so that mistakes show."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        with torch.no_grad():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.3, generator=generator)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif "fc" in name or name.endswith("bias"):
                tensor.normal_(0, 0.5, generator=generator)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Saved]:
    """Make and save a classifier: `saved(model="convnet:width=8", form=ImageForm(16, 16, 3))`."""

    def make(
        *,
        model: str = "convnet:width=8",
        form: ImageForm | None = ImageForm(16, 12, 3),  # noqa: B008
        shape: tuple[int, ...] | None = None,
        preprocessing: str = "standardize",
        given: nn.Module | None = None,
        **words: Any,
    ) -> Saved:
        shape = shape or (form.channels, form.height, form.width) if form else shape
        assert shape is not None
        dtype = words.pop("dtype", "uint8" if form else "float32")
        contract = Contract(
            model=model,
            preprocessing=preprocessing,
            input_shape=shape,
            classes=CLASSES,
            form=form,
            dtype=dtype,
            **words,
        )
        fitted = preprocessings.build(contract.preprocessing.name, contract.preprocessing.options)
        torch.manual_seed(0)
        train = torch.randint(0, 256, (40, *shape)).to(getattr(torch, dtype))
        if len(shape) == 3:
            train[:, 0] //= 2  # channels of different scale: a mix-up of their order shows
        fitted.fit(train)
        front = fitted.layer(shape)
        network = build_network(
            contract.model, shape, len(CLASSES), seed=1, files=contract.files, given=given, front=front
        )
        liven(network)
        path = save(
            tmp_path / "classifier", model=network, preprocessing=fitted, contract=contract, code=tmp_path / "code"
        )
        return Saved(path, network, fitted, contract)

    return make


def photo(height: int = 20, width: int = 30) -> np.ndarray:
    """A smooth colour image, so that JPEG keeps it: (height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([200 * x / width, 220 * y / height, 255 - 200 * x / width], axis=2).astype(np.uint8)


def encoded(image: np.ndarray | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """The content of an image file."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()
