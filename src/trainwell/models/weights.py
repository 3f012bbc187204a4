"""Initial weights of the networks on this shelf: as wide as their activation asks, small Gaussian before the scores.

The activation's gain keeps a signal the same size from layer to layer at the start, so that none begins faint or
saturated; before a ReLU it is He's sqrt 2. The head starts small, so that the first scores are nearly equal and the
first loss is nearly ln K whatever the scale of the features (a residual network's grows with its depth). All draws
come from torch's global generator: seed it to repeat a network.

Source: He et al. 2015, arXiv:1502.01852, equation 10; Krizhevsky et al. 2012, "ImageNet classification
with deep convolutional neural networks", section 5 (0.01).
"""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from trainwell.layers.choosing import norm_traits
from trainwell.layers.hidden import Hidden
from trainwell.models.heads import last_layer

HEAD_STD = 0.01


def start_weights(network: nn.Module, *, head: nn.Module, hidden: Hidden) -> None:
    """Draw all weights of a network in place; biases become zero.

        layers:  W ~ N(0, gain^2 / fan_in)     He's forward form where the activation is a ReLU
        head:    W ~ N(0, 0.01^2)

    Norm layers keep scale 1 and shift 0, which torch gives them. Where the norm is one of the weights, the layers are
    reparametrized then.

    Args:
        network: convolutions and dense layers whose outputs reach an activation, directly or through a norm.
        head: the last part, whose outputs are the scores; of several layers, the last one starts small.
        hidden: activation and norm of all layers but the last.
    """
    gain, last = hidden.gain, last_layer(head)
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        std = HEAD_STD if module is last else gain / math.sqrt(module.weight[0].numel())
        nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    reparametrize(network, head=head, hidden=hidden)


def reparametrize(network: nn.Module, *, head: nn.Module, hidden: Hidden) -> None:
    """Let a norm of the weights change every trained layer of a network but the last of its head, in place."""
    last = last_layer(head)
    change: Callable[[nn.Module], None] | None = norm_traits(hidden.norm).get("reparametrize")
    if change is None:
        return
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear) and module is not last and module.weight.requires_grad:
            change(module)


def starter(network: nn.Module, hidden: Hidden) -> Callable[[Tensor], object] | None:
    """Return what takes first weights from a batch of inputs, where the norm needs one, as the network's `start_on`."""
    start: Callable[[nn.Module, Tensor], object] | None = norm_traits(hidden.norm).get("start_on")
    return None if start is None else partial(start, network)
