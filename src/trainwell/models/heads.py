"""What turns the last feature maps of a network into scores: the same choice for every network of images.

    linear   scores = W mean(maps) + b             a mean over all pixels, then one dense layer
    conv     scores = W * mean(maps) + b           a 1x1 convolution: fully convolutional
    mlp      scores = W2 act(W1 mean(maps) + b1) + b2
    cosine   scores = s cos(w_k, mean(maps))       directions only; s is learned

`linear` and `conv` are the same function of the same weights, since a mean and a linear map may change places.
`dense_scores` asks any of them at every place of a larger image.

Source: Lin et al. 2014, "Network in network", arXiv:1312.4400, section 3.2 (the mean over all pixels); Long et al.
2015, arXiv:1411.4038, section 3.1 (dense layers as convolutions); Gidaris & Komodakis 2018, arXiv:1804.09458, section
3.2 (cosine).
"""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.errors import ModelInvalid
from trainwell.layers.hidden import Hidden

Head = Literal["linear", "conv", "mlp", "cosine"]
FIRST_SCALE = 16.0  # cosines lie in [-1, 1], from which a softmax over K classes could never become sure
SPREAD = 0.05  # of the first class directions around a common one, so that first scores are nearly equal


class HasMaps(Protocol):
    """A network that shows its last feature maps, and the head that reads them."""

    @property
    def head(self) -> nn.Module:
        """Features (N, C) to scores (N, K), or, where it is a convolution, maps to maps of scores."""
        ...

    def maps(self, inputs: Tensor) -> Tensor:
        """Return the last feature maps (N, C, h, w)."""
        ...


class CosineHead(nn.Module):
    """Scores s cos(w_k, x): the length of the features says nothing, and no class is louder than another.

    The class directions begin close around one random direction, so that the first loss is nearly ln K.

    >>> CosineHead(4, 3)(torch.randn(2, 4)).abs().max() <= 16
    tensor(True)
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        common = functional.normalize(torch.randn(1, in_features))
        self.weight = nn.Parameter(common + SPREAD * in_features**-0.5 * torch.randn(num_classes, in_features))
        self.scale = nn.Parameter(torch.tensor(FIRST_SCALE))

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, K) scores of features (N, C)."""
        cosines = functional.linear(functional.normalize(features), functional.normalize(self.weight))
        return self.scale * cosines

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"in_features={self.weight.shape[1]}, num_classes={self.weight.shape[0]}"


def make_head(kind: Head, channels: int, num_classes: int, hidden: Hidden) -> nn.Module:
    """Return a head with fresh weights.

    Args:
        kind: linear, conv, mlp or cosine.
        channels: C of the last maps; also the width of the hidden layer of `mlp`.
        num_classes: K.
        hidden: the activation of the hidden layer of `mlp`.

    >>> make_head("conv", 8, 3, Hidden("relu", "batch"))
    Conv2d(8, 3, kernel_size=(1, 1), stride=(1, 1))
    """
    if kind == "conv":
        return nn.Conv2d(channels, num_classes, 1)
    if kind == "cosine":
        return CosineHead(channels, num_classes)
    if kind == "mlp":
        first = nn.Linear(channels, channels * hidden.widening)
        return nn.Sequential(first, hidden.make_activation(channels), nn.Linear(channels, num_classes))
    return nn.Linear(channels, num_classes)


def last_layer(head: nn.Module) -> nn.Module:
    """Return the layer of a head whose outputs are the scores."""
    return head[-1] if isinstance(head, nn.Sequential) else head


def pooled_scores(head: nn.Module, maps: Tensor, dropout: nn.Module | None = None) -> Tensor:
    """Return (N, K) scores of maps (N, C, h, w).

    Args:
        head: of `make_head`.
        maps: (N, C, h, w).
        dropout: acts on the pooled features.
    """
    features = maps.mean((2, 3))  # (N, C, h, w) -> (N, C)
    if isinstance(head, nn.Conv2d):  # once on the mean, not at each place: the same scores, and far fewer operations
        features = features[:, :, None, None]
        convolved: Tensor = head(features if dropout is None else dropout(features))
        return convolved.flatten(1)  # (N, K, 1, 1) -> (N, K)
    scores: Tensor = head(features if dropout is None else dropout(features))
    return scores


def dense_scores(network: HasMaps, inputs: Tensor) -> Tensor:
    """Return the scores (N, K, h, w) at each place of the last maps, as if the network stood there.

    The mean over places of those of a `linear` or `conv` head is what the network itself answers.

    Args:
        network: one of the shelf with `maps` and `head`.
        inputs: images (N, C, H, W), as large as memory allows.

    Raises:
        ModelInvalid: the network does not show its last maps, or its head reads all places at once (VGG, AlexNet).

    >>> from trainwell.models.resnet import cifar_resnet
    >>> dense_scores(cifar_resnet(3, 10, depth=8).eval(), torch.zeros(1, 3, 64, 96)).shape
    torch.Size([1, 10, 16, 24])
    """
    head = getattr(network, "head", None)
    reads_places = isinstance(head, nn.Linear | nn.Conv2d | CosineHead | nn.Sequential)
    if not hasattr(network, "maps") or not reads_places or getattr(head, "reads_all_places", False):
        raise ModelInvalid(
            f"{type(network).__name__} cannot be asked at each place: it needs `maps` and a `head` that reads one place"
            " at a time, as networks of the shelf with head=linear, conv, mlp or cosine have; VGG and AlexNet read all"
            " places at once"
        )
    maps = network.maps(inputs)
    if isinstance(network.head, nn.Conv2d):
        dense: Tensor = network.head(maps)
        return dense
    places = maps.permute(0, 2, 3, 1)  # (N, C, h, w) -> (N, h, w, C)
    scores: Tensor = network.head(places.flatten(0, 2)).unflatten(0, places.shape[:3])
    return scores.permute(0, 3, 1, 2)
