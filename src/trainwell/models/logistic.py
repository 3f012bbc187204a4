"""The simplest classifier: one linear map from all input numbers to the class scores.

Source: Cox 1958, "The regression analysis of binary sequences"; with K classes, multinomial.
"""

from torch import Tensor, nn

from trainwell.core.shelves import models
from trainwell.models.inputs import require_features


class Logistic(nn.Module):
    """One dense layer on the flattened inputs; its training problem is convex.

    Weights and bias start at zero: a convex problem has no symmetry to break, and the first loss
    is then ln K exactly.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.fc = nn.Linear(in_features, num_classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of inputs (N, ...), whose samples are flattened."""
        require_features(inputs, in_features=self.in_features, network="logistic")
        scores: Tensor = self.fc(inputs.flatten(1))  # (N, ...) -> (N, D) -> (N, K)
        return scores


@models.card(source="Cox 1958, The regression analysis of binary sequences", has_hidden_layers=False)
def logistic(in_features: int, num_classes: int) -> Logistic:
    """Logistic regression: one linear layer, the baseline every other network must beat.

    Args:
        in_features: D, how many numbers a sample has.
        num_classes: K.

    Costs D·K + K parameters; cannot bend a boundary.

    >>> import torch
    >>> logistic(64, 10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    return Logistic(in_features, num_classes)
