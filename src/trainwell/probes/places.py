"""What the layers of a network are called, so that every probe writes the same place beside its numbers.

A *layer* is a module that owns weights; its place is its path in the network, such as `body.0`.
"""

from torch import Tensor, nn

ROOT = "(root)"  # the place of weights that the network itself owns: the empty place is the network as a whole


def underlying(model: nn.Module) -> nn.Module:
    """Return the network inside the wrappers of torch.compile and of data parallel training.

    >>> net = nn.Linear(2, 2)
    >>> underlying(nn.DataParallel(net)) is net
    True
    """
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def layer_of(parameter: str) -> str:
    """Return the place of the layer that a parameter belongs to, by the parameter's name.

    >>> layer_of("body.0.weight"), layer_of("fc.parametrizations.weight.original0"), layer_of("weight")
    ('body.0', 'fc', '(root)')
    """
    owner, mark, _ = f".{parameter}".partition(".parametrizations.")
    return (owner if mark else owner.rpartition(".")[0]).removeprefix(".") or ROOT


def by_layer(model: nn.Module, *, least_dims: int = 0) -> dict[str, list[Tensor]]:
    """Return the parameters that the step at hand changes, by layer, in the order of the network.

    A parameter that several layers share is listed with the first. Copies of weights that torch.compile or data
    parallel training wrap are the same parameters, under the names of the network inside.

    Args:
        model: after its backward pass; a parameter without a gradient is left out.
        least_dims: leave parameters of fewer dimensions out; 2 leaves biases and scales of norms out.
    """
    layers: dict[str, list[Tensor]] = {}
    for name, parameter in underlying(model).named_parameters():
        if parameter.grad is not None and parameter.ndim >= least_dims:
            layers.setdefault(layer_of(name), []).append(parameter)
    return layers
