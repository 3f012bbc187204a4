"""Initial weights of the networks on this shelf: He before a ReLU, small Gaussian before the scores.

He's scale keeps activations the same from layer to layer at the start, so that none begins faint or
saturated. The head starts small, so that the first scores are nearly equal and the first loss is
nearly ln K whatever the scale of the features (a residual network's grows with its depth). All
draws come from torch's global generator: seed it to repeat a network.

Source: He et al. 2015, arXiv:1502.01852, equation 10; Krizhevsky et al. 2012, "ImageNet classification
with deep convolutional neural networks", section 5 (0.01).
"""

from torch import nn

HEAD_STD = 0.01


def start_for_relu(network: nn.Module, *, head: nn.Linear) -> None:
    """Draw all weights of a network with ReLUs, in place; biases become zero.

        layers:  W ~ N(0, 2 / fan_in)     He, forward form
        head:    W ~ N(0, 0.01^2)

    Norm layers keep scale 1 and shift 0, which torch gives them.

    Args:
        network: convolutions and dense layers whose outputs reach a ReLU, directly or through a norm.
        head: the last layer, whose outputs are the scores.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if module is head:
            nn.init.normal_(module.weight, std=HEAD_STD)
        else:
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
