"""The backward passes of batch norm and weight normalization, written out as their papers derive them.

Nothing trains with these: autograd does the same, faster. They are here to be read beside the papers, and the tests
hold autograd and formula to each other.

Source: Ioffe & Szegedy 2015, arXiv:1502.03167, section 3; Salimans & Kingma 2016, arXiv:1602.07868, equation 3.
"""

from typing import NamedTuple

from torch import Tensor


class BatchNormPass(NamedTuple):
    """What a forward pass of batch norm leaves for its backward pass."""

    outputs: Tensor
    normalized: Tensor
    deviation: Tensor
    gamma: Tensor


def batch_norm_forward(x: Tensor, gamma: Tensor, beta: Tensor, *, epsilon: float = 1e-5) -> BatchNormPass:
    """Normalize each channel over the batch, as in training.

        mu = mean(x)    var = mean((x - mu)^2)    xhat = (x - mu) / sqrt(var + epsilon)    y = gamma xhat + beta

    Args:
        x: (M, C), one row for each sample, or for each sample and pixel.
        gamma: (C,) scale.
        beta: (C,) shift.
        epsilon: added to the variance, which is the biased one.

    >>> import torch
    >>> batch_norm_forward(torch.tensor([[1.0], [3.0]]), torch.ones(1), torch.zeros(1), epsilon=0.0).outputs.flatten()
    tensor([-1.,  1.])
    """
    mu = x.mean(0)
    deviation = ((x - mu).square().mean(0) + epsilon).sqrt()
    xhat = (x - mu) / deviation
    return BatchNormPass(gamma * xhat + beta, xhat, deviation, gamma)


def batch_norm_backward(dy: Tensor, kept: BatchNormPass) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the loss for x, gamma and beta.

        dgamma = sum dy xhat        dbeta = sum dy
        dx = gamma / (M sqrt(var + epsilon)) (M dy - dbeta - xhat dgamma)

    The gradient for x has no part along 1 and none along xhat: shifting or stretching a channel changes nothing.

    Args:
        dy: (M, C) gradient for the outputs.
        kept: what the forward pass returned.

    >>> import torch
    >>> kept = batch_norm_forward(torch.tensor([[1.0], [3.0]]), torch.ones(1), torch.zeros(1))
    >>> [tuple(gradient.shape) for gradient in batch_norm_backward(torch.ones(2, 1), kept)]
    [(2, 1), (1,), (1,)]
    """
    rows, xhat = len(dy), kept.normalized
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    dx = kept.gamma / (rows * kept.deviation) * (rows * dy - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta


def weight_norm_forward(g: Tensor, v: Tensor) -> Tensor:
    """Return the weights w = g v / |v| of each unit.

    Args:
        g: (C,) lengths.
        v: (C, D) directions, of any length.

    >>> import torch
    >>> weight_norm_forward(torch.tensor([2.0]), torch.tensor([[3.0, 4.0]]))
    tensor([[1.2000, 1.6000]])
    """
    return g[:, None] * v / v.square().sum(1, keepdim=True).sqrt()


def weight_norm_backward(dw: Tensor, g: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the loss for g and v.

        dg = dw . v / |v|        dv = (g / |v|) dw - (g dg / |v|^2) v

    The second is orthogonal to v: a step of plain gradient descent can only lengthen v,
    |v - lr dv|^2 = |v|^2 + lr^2 |dv|^2.

    Args:
        dw: (C, D) gradient for the weights.
        g: (C,) lengths.
        v: (C, D) directions.

    >>> import torch
    >>> dg, dv = weight_norm_backward(torch.tensor([[1.0, 0.0]]), torch.tensor([2.0]), torch.tensor([[0.0, 4.0]]))
    >>> dg, dv
    (tensor([0.]), tensor([[0.5000, 0.0000]]))
    """
    length = v.square().sum(1).sqrt()
    dg = (dw * v).sum(1) / length
    dv = (g / length)[:, None] * dw - (g * dg / length.square())[:, None] * v
    return dg, dv
