"""How wide the first weights behind an activation must be drawn for a signal to keep its size through it.

Weights of a layer whose inputs went through the activation f are drawn with

    W ~ N(0, gain^2 / fan_in)        gain = 1 / sqrt(E f(z)^2), z ~ N(0, 1)

so that sums z of unit Gaussian size give sums of the same size one layer on.

Source: He et al. 2015, arXiv:1502.01852, section 2.2 (for ReLU); Klambauer et al. 2017, arXiv:1706.02515.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# Each half line is integrated by itself, because most activations bend at 0 and are smooth on either side. With so
# many points up to so far out a second moment is right to the rounding of float64.
POINTS, FARTHEST = 128, 14.0


def gaussian_mean(function: Callable[[Tensor], Tensor], *, of_largest: int = 1) -> float:
    """Return E function(z) for z ~ N(0, 1), by Gauss-Legendre quadrature on both half lines.

    Args:
        function: elementwise, on float64 (M,); smooth but at 0.
        of_largest: z is the largest of so many independent draws.

    >>> round(gaussian_mean(torch.relu) * math.sqrt(2 * math.pi), 12)
    1.0
    """
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    half, share = torch.from_numpy(nodes + 1) * FARTHEST / 2, torch.from_numpy(weights) * FARTHEST / 2
    z, share = torch.cat([-half.flip(0), half]), torch.cat([share.flip(0), share])
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    density *= of_largest * torch.special.ndtr(z) ** (of_largest - 1)
    with torch.no_grad():
        return float((function(z) * density * share).sum())


def keeping_gain(function: Callable[[Tensor], Tensor], *, of_largest: int = 1) -> float:
    """Return 1 / sqrt(E function(z)^2), the gain that keeps the second moment of a unit Gaussian signal.

    >>> round(keeping_gain(torch.relu), 12) == round(math.sqrt(2), 12)
    True
    """
    return 1 / math.sqrt(gaussian_mean(lambda z: function(z).square(), of_largest=of_largest))
