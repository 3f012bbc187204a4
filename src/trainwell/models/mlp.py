"""A multi-layer perceptron: dense layers with ReLU between them, on the flattened inputs.

Source: Rumelhart, Hinton, Williams 1986; He et al. 2015, arXiv:1502.01852, equation 10 (initial weights).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from trainwell.core.shelves import models
from trainwell.core.units import Count, ProperFraction
from trainwell.models.inputs import require_features
from trainwell.models.weights import start_for_relu


class MLP(nn.Module):
    """Hidden layers dense -> (batch norm) -> ReLU -> (dropout), then one dense layer to K scores."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        hidden: Sequence[int] = (128, 128),
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        layers: list[nn.Module] = []
        width = in_features
        for next_width in hidden:
            layers.append(nn.Linear(width, next_width, bias=not batch_norm))  # the norm's own bias replaces it
            if batch_norm:
                layers.append(nn.BatchNorm1d(next_width))
            layers.append(nn.ReLU(inplace=True))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            width = next_width
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(width, num_classes)
        start_for_relu(self, head=self.fc)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of inputs (N, ...), whose samples are flattened."""
        require_features(inputs, in_features=self.in_features, network="mlp")
        scores: Tensor = self.fc(self.body(inputs.flatten(1)))  # (N, ...) -> (N, D) -> (N, K)
        return scores


@models.card(source="Rumelhart et al. 1986; He et al. 2015, arXiv:1502.01852 (initial weights)")
def mlp(
    in_features: int,
    num_classes: int,
    *,
    hidden: tuple[Count, ...] = (128, 128),
    batch_norm: bool = False,
    dropout: ProperFraction = 0.0,
) -> MLP:
    """Multi-layer perceptron with ReLU; for features, points and very small images.

    He normal initial weights (fan-in), small Gaussian (0.01) before the scores, biases zero.

    Args:
        in_features: D, how many numbers a sample has.
        num_classes: K.
        hidden: width of each hidden layer, first to last; none makes it a linear classifier.
        batch_norm: batch norm between each dense layer and its ReLU.
        dropout: share of hidden units zeroed in training.

    Knows nothing of neighbouring pixels: on images a convnet of the same cost does better.

    >>> import torch
    >>> mlp(2, 3, hidden=(16,))(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """
    return MLP(in_features, num_classes, hidden=hidden, batch_norm=batch_norm, dropout=dropout)
