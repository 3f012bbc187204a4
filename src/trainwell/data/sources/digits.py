"""1,797 handwritten digits of 8x8 pixels that scikit-learn carries: the data set that needs no files."""

from typing import Any

import numpy as np
import torch

from trainwell.core.shelves import sources
from trainwell.data.samples import Samples, Scale


@sources.card(source="Alpaydin and Kaynak 1998, UCI Machine Learning Repository, doi:10.24432/C50P49")
def digits() -> Samples:
    """Handwritten digits, 1,797 grey images of 8x8 pixels in 10 classes; needs no files.

    The 17 grey levels 0 to 16 become round(level * 255 / 16), from which each level can be had back.
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    levels = np.asarray(bunch["images"])  # (N, 8, 8) floats that hold whole numbers 0..16
    images = torch.from_numpy(np.rint(levels * (255 / 16)).astype(np.uint8)[..., None])  # (N, H, W) -> (N, H, W, 1)
    return Samples(
        classes=tuple(str(digit) for digit in range(10)),
        labels=np.asarray(bunch["target"]).astype(np.int64),
        splits=np.full(len(images), "", dtype="<U5"),
        arrays=images,
        scale=Scale(255 / 16, is_float=True),
        notes=("the 17 grey levels 0 to 16 of digits became 0 to 255, each level its own value",),
    )
