"""What the head of a network is given for some inputs: their codes, the place of each in the space of features."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.errors import ModelInvalid
from trainwell.models.heads import last_layer
from trainwell.models.pretrained.head import head_of


@torch.no_grad()
def codes_of(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes (N, D) float32 and scores (N, K), in the mode that the network is in, without a graph.

    Maps (N, C, h, w) in front of the head are averaged over their pixels.

    Args:
        network: any; its head is found by `head_of`.
        inputs: as it takes them.

    Raises:
        ModelInvalid: the part that seems to be the head is not called once for these inputs.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 5))
    >>> codes, scores = codes_of(net, torch.ones(4, 2))
    >>> codes.shape, scores.shape
    (torch.Size([4, 3]), torch.Size([4, 5]))
    """
    name, head = head_of(network)
    caught: list[Tensor] = []

    def catch(module: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        caught.append((*given, *named.values())[0])

    hook = head.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        scores: Tensor = network(inputs)
    finally:
        hook.remove()
    if len(caught) != 1 or len(caught[0]) != len(inputs):
        raise ModelInvalid(
            f"{name}, the last part of the network that has a matrix of weights, seems to be its head, and it is called"
            f" {len(caught)} times for a batch of {len(inputs)}: features are taken of networks whose head is called"
            " once; train with --transfer full, or end the network in one dense layer"
        )
    codes = caught[0].mean((2, 3)) if caught[0].dim() == 4 else caught[0].flatten(1)
    return codes.float(), scores


def linear_head(network: nn.Module) -> nn.Linear | nn.Conv2d:
    """Return the head of a network, where it is a dense layer or a 1x1 convolution.

    Raises:
        ModelInvalid: it is something else.
    """
    name, head = head_of(network)
    last = last_layer(head) if isinstance(head, nn.Sequential) and len(head) == 1 else head
    if isinstance(last, nn.Linear) or (isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1) and last.groups == 1):
        return last
    raise ModelInvalid(
        f"transfer.method: features solves for a head that is one linear layer, and {name} is {type(head).__name__}:"
        " take --transfer head, or a network with head=linear"
    )


@torch.no_grad()
def factor_behind(network: nn.Module, codes: Tensor, scores: Tensor) -> float:
    """Return what a network multiplies the outputs of its linear head by: 1, or a constant.

    Raises:
        ModelInvalid: it does more to them than that, so that a head that is solved for would answer otherwise.
    """
    head = linear_head(network)
    bias = None if head.bias is None else head.bias.double()
    own = functional.linear(codes.double().to(head.weight.device), head.weight.flatten(1).double(), bias)
    scores = scores.double()
    if scores.shape == own.shape and bool(own.any()):
        factor = float((scores * own).sum() / own.square().sum())
        tolerance = 1e-3 * float(scores.abs().max())  # sums of float32 in another order differ by far less
        if factor and bool(torch.isclose(scores, factor * own, rtol=0, atol=tolerance).all()):
            return 1.0 if abs(factor - 1) < 1e-4 else factor
    raise ModelInvalid(
        f"transfer.method: features solves for the head {head_of(network)[0]}, and this network does more to its scores"
        " behind it, or has several heads, so that a solved one would answer otherwise: take --transfer head"
    )
