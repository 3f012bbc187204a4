"""Where the head of any network is: the part that turns features into scores."""

from torch import nn

from trainwell.errors import ModelInvalid
from trainwell.models.vgg import DenseLayers

AUXILIARY = ("aux1.", "aux2.")  # what classifiers in the middle of a network are called


def head_of(network: nn.Module) -> tuple[str, nn.Module]:
    """Return the name of a network's head among its modules, and the head.

    It is what the network itself says it is: `head`, as on our shelf, or `get_classifier()`, as in timm. Of a network
    behind a layer of the preprocessing it is the network's; of any other it is the last module that owns a matrix of
    weights. Of published nets with several dense layers (VGG, AlexNet) it is the last of them alone, since the others
    were trained with the rest and belong to the features.

    Raises:
        ModelInvalid: no module has a matrix of weights.

    >>> from trainwell.models.resnet import cifar_resnet
    >>> head_of(cifar_resnet(3, 10, depth=8))
    ('fc', Linear(in_features=64, out_features=10, bias=True))
    >>> head_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.Softplus()))[0]
    '2'
    """
    own = _own_head(network)
    names = {id(module): name for name, module in network.named_modules()}
    if own is not None and id(own) in names:
        return names[id(own)], own
    found = [
        (name, module)
        for name, module in network.named_modules()
        if any(parameter.dim() >= 2 for parameter in module.parameters(recurse=False))
    ]
    if not found:
        raise ModelInvalid("the network has no head, since none of its modules owns a matrix of weights")
    name = found[-1][0].partition(".parametrizations")[0]
    return name, network.get_submodule(name)


def _own_head(network: nn.Module) -> nn.Module | None:
    """Return the head that a network says it has, if it says so."""
    get_classifier = getattr(network, "get_classifier", None)
    head = get_classifier() if callable(get_classifier) else getattr(network, "head", None)
    if isinstance(head, DenseLayers):
        return head[-1]
    if isinstance(head, nn.Module) and any(True for _ in head.parameters()):
        return head
    return _own_head(network[-1]) if isinstance(network, nn.Sequential) and len(network) else None
