"""A multi-layer perceptron: dense layers with an activation between them, on the flattened inputs.

Source: Rumelhart, Hinton, Williams 1986; He et al. 2015, arXiv:1502.01852, equation 10 (initial weights).
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, ProperFraction
from trainwell.layers.dropout import dropout_for
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.inputs import require_features
from trainwell.models.weights import start_weights, starter


class MLP(nn.Module):
    """Hidden layers dense -> (norm) -> activation -> (dropout), then one dense layer to K scores."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        norm: str = "none",
        norm_order: NormOrder = "before",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.hidden = Hidden(activation, norm, norm_order)
        layers: list[nn.Module] = []
        width = in_features
        for next_width in hidden:
            layers.append(nn.Linear(width, next_width * self.hidden.widening, bias=self.hidden.needs_bias))
            layers += self.hidden.behind(next_width, 0)
            if dropout > 0:
                layers.append(dropout_for(activation, dropout, 0))
            width = next_width
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(width, num_classes)
        start_weights(self, head=self.fc, hidden=self.hidden)

    @property
    def start_on(self) -> Callable[[Tensor], object] | None:
        """What takes first weights from training inputs, where the norm needs some."""
        return starter(self, self.hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of inputs (N, ...), whose samples are flattened."""
        require_features(inputs, in_features=self.in_features, network="mlp")
        scores: Tensor = self.fc(self.body(inputs.flatten(1)))  # (N, ...) -> (N, D) -> (N, K)
        return scores


@models.card(
    source="Rumelhart et al. 1986; He et al. 2015, arXiv:1502.01852 (initial weights)",
    former_options={"batch_norm": ((False, {"norm": "none"}), (True, {"norm": "batch"}))},  # of stored runs
)
def mlp(
    in_features: int,
    num_classes: int,
    *,
    hidden: tuple[Count, ...] = (128, 128),
    activation: Activation = "relu",
    norm: Norm = "none",
    norm_order: NormOrder = "before",
    dropout: ProperFraction = 0.0,
) -> MLP:
    """Multi-layer perceptron; for features, points and very small images.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores,
    biases zero.

    Args:
        in_features: D, how many numbers a sample has.
        num_classes: K.
        hidden: width of each hidden layer, first to last; none makes it a linear classifier.
        activation: of every hidden layer.
        norm: of every hidden layer.
        norm_order: the norm before or after the activation.
        dropout: share of hidden units zeroed in training.

    Knows nothing of neighbouring pixels: on images a convnet of the same cost does better.

    >>> import torch
    >>> mlp(2, 3, hidden=(16,))(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """
    return MLP(
        in_features,
        num_classes,
        hidden=hidden,
        activation=activation,
        norm=norm,
        norm_order=norm_order,
        dropout=dropout,
    )
