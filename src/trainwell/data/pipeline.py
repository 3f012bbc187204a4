"""What happens to a batch between the store and the network: augmentation, then preprocessing.

Both run on the whole batch, on the batch's device, in channels-last memory. Validation, test and
deployment use the same class without augmentations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainwell.core.batch import Batch
from trainwell.data.augmentation.geometry import Geometric
from trainwell.data.augmentation.warp import Warp, require_images
from trainwell.data.preprocessing.fitting import Preprocessing


class Pipeline:
    """Raw batches in, network inputs out: `Pipeline([flip], standardize, seed=0, input_shape=(3, 32, 32))`.

    Args:
        augmentations: ops in the order in which they act; none for evaluation.
        preprocessing: fitted on the train split.
        seed: of the run; each op draws from it for itself.
        input_shape: (C, H, W) or (D,) of one sample.
        dtype: of the result: float32, or the run's lower precision.
        samples: size of the split, where known: all draws of an epoch are then made at once.

    Raises:
        OptionInvalid: an augmentation cannot work on samples of this shape.
    """

    def __init__(
        self,
        augmentations: Sequence[Geometric],
        preprocessing: Preprocessing,
        *,
        seed: int,
        input_shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        samples: int | None = None,
    ) -> None:
        if augmentations:
            require_images(input_shape, augmentations)
        self._warp = Warp(augmentations, seed=seed, samples=samples)
        self.preprocessing = preprocessing
        self._dtype = dtype

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """Return the batch with new inputs; `epoch` picks the draws of this pass over the data."""
        ready = self.preprocessing.apply(self.augment(batch, epoch), dtype=self._dtype)
        return Batch(ready, batch.targets, batch.index, batch.weight)

    def augment(self, batch: Batch, epoch: int) -> Tensor:
        """Return the raw inputs as the augmentations change them in this pass, before preprocessing."""
        return self._warp(batch.inputs, batch.index, epoch) if self._warp.ops else batch.inputs
