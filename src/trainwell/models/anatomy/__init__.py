"""A network before any training: what each layer costs, keeps, and sees of the input.

>>> import torch
>>> found = anatomy(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()), (3, 8, 8))
>>> [(layer.kind, layer.shape, layer.parameters, layer.operations) for layer in found.layers]
[('Conv2d', (8, 6, 6), 224, 7776), ('ReLU', (8, 6, 6), 0, 0)]
"""

from trainwell.models.anatomy.fields import Field
from trainwell.models.anatomy.layer import Anatomy, Layer, Totals
from trainwell.models.anatomy.looking import anatomy
from trainwell.models.anatomy.paths import PathLengths

__all__ = ["Anatomy", "Field", "Layer", "PathLengths", "Totals", "anatomy"]
