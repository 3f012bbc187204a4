"""What keeps training in bounds beside weight decay: clipped gradients, stopping in time, and penalties.

A penalty is a term that is added to the data loss, so its gradient is added to that of the data, before any clipping.
Those of the weights are built around a model and called without arguments; those of the scores are called with them.
"""

from trainwell.regularization.clipping import clip_gradient_norm
from trainwell.regularization.stopping import EarlyStopping

__all__ = ["EarlyStopping", "clip_gradient_norm"]
