"""The losses of auxiliary classifiers, which stand in the middle of a network and are there in training only.

A network that has some leaves, after each pass in training, its `auxiliary_scores`: pairs of a weight w and scores
(N, K). The loss to be lowered is then

    loss(scores) + the sum of w loss(auxiliary scores)

Source: Szegedy et al. 2015, arXiv:1409.4842, section 5.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Criterion = Callable[[Tensor, Tensor], Tensor]


def with_auxiliaries(criterion: Criterion, model: nn.Module) -> Criterion:
    """Return a criterion (scores, targets) -> losses that adds those of a network's auxiliary classifiers, by weight.

    Ask it right behind the pass through the network. Where no gradient is wanted, as in evaluation, nothing is added;
    of a network without auxiliary classifiers it is the given criterion itself.

    Args:
        criterion: of scores (N, K) and targets.
        model: the network, or a module around it.

    >>> from trainwell.models.googlenet import googlenet
    >>> net, images, labels = googlenet(3, 10, width=8), torch.randn(2, 3, 32, 32), torch.tensor([1, 7])
    >>> loss = with_auxiliaries(nn.functional.cross_entropy, net)(net(images), labels)
    >>> loss.backward(), bool(net.aux1.fc2.weight.grad.any())
    (None, True)
    """
    # Those that have it of their own: a compiled module passes on what the one inside it has.
    parts: list[Any] = [part for part in model.modules() if "auxiliary_scores" in vars(part)]

    def with_those_of_the_last_pass(scores: Tensor, targets: Tensor) -> Tensor:
        losses = criterion(scores, targets)
        if torch.is_grad_enabled():
            for part in parts:
                for weight, others in part.auxiliary_scores:
                    losses = losses + weight * criterion(others.float(), targets)
        return losses

    return with_those_of_the_last_pass if parts else criterion
