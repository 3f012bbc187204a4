"""Scale the last layer of a network so that its scores begin at a size of one's choice.

Source: after Dauphin & Cubuk 2021, "Deconstructing the regularization of BatchNorm".
"""

import math

import torch
from torch import Tensor, nn

from trainwell.core.shelves import initializations
from trainwell.core.units import Positive
from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.initialization.data_dependent import spread
from trainwell.initialization.looking import Visits, answer, check_batch, is_still, require_batch, undisturbed
from trainwell.initialization.report import Report
from trainwell.initialization.scheme import Initialization
from trainwell.initialization.sites import in_order, require_sites

SCALED_TO = 1e-2  # relative difference of the scores' deviation; bfloat16 rounds to half of it


def scale_last_layer_(model: nn.Module, batch: Tensor, *, std: float = 1.0) -> Report:
    """Scale the last layer so that the network's scores on a batch have a given standard deviation.

        W <- W std / s,   b <- b std / s

    with the standard deviation s of all outputs of the layer that is executed last. In a network without norms the
    scores grow with depth, and with them the first loss and gradients: keeping the last layer from that, at the start
    and in training, is a large part of what batch norm does for generalization. Here it is done at the start alone;
    other layers stay as they are.

    Args:
        model: changed in place, its last layer.
        batch: (N, ...) inputs, preprocessed as in training.
        std: of the scores afterwards; well below 1, the first loss is ln K.

    Raises:
        DataInvalid: the batch is no tensor of at least two samples, or holds NaN or Inf.
        ModelInvalid: the last layer cannot be set, or its outputs do not vary.
        OptionInvalid: std is not above 0.

    Source: after Dauphin & Cubuk 2021, "Deconstructing the regularization of BatchNorm", which has no code; the form
    as one factor, measured on one batch, is ours.

    >>> net = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 5))
    >>> inputs = torch.randn(64, 20)
    >>> _ = scale_last_layer_(net, inputs, std=0.5)
    >>> round(net(inputs).std(correction=0).item(), 4)
    0.5
    """
    if not 0 < std < math.inf:
        raise OptionInvalid(f"scale_last_layer needs std > 0, got {std!r}")
    sites, left = require_sites(model, choice="scale_last_layer")
    inputs = check_batch(model, batch)
    visits = Visits(sites, act=lambda site, given, output: None)
    with undisturbed(model, sites):
        before = _deviation(visits.run(model, inputs))
        if not visits.order or visits.order[-1].tied or not before:
            why = "its scores do not vary on this batch" if visits.order else "the batch reaches none of its layers"
            tied = visits.order and visits.order[-1].tied
            raise ModelInvalid(
                "scale_last_layer can scale nothing: "
                + (f"{visits.order[-1].name} is tied to {', '.join(tied)}" if tied else why)
            )
        last = visits.order[-1]
        for held in (last.weight, last.bias):
            if held is not None:
                held.detach().mul_(std / before)
        after = _deviation(answer(model, inputs))
        if abs(after / std - 1) > SCALED_TO:
            raise ModelInvalid(
                f"scale_last_layer: the scores do not follow the scale of {last.name or 'the network'}, the last layer"
                f" that can be set (standard deviation {after:.3g} instead of {std:.3g}): a norm, an activation or"
                " another layer stands behind it"
            )
    words = f"scaled by {std / before:.4g}: the scores had standard deviation {before:.4g}, now {std:.4g}"
    rest = [other.entry("not the last layer", is_set=False) for other in sites if other is not last]
    return Report("scale_last_layer", in_order(model, [last.entry(words), *rest, *left]))


def _deviation(scores: Tensor) -> float:
    if not bool(scores.isfinite().all()):
        raise ModelInvalid("the network answers with NaN or Inf, though the batch is finite")
    mean, variance = spread(scores)
    return 0.0 if bool(is_still(variance, mean)) else math.sqrt(float(variance))


@initializations.card(
    source="after Dauphin & Cubuk 2021, Deconstructing the regularization of BatchNorm", needs_batch=True
)
def scale_last_layer(*, std: Positive = 1.0) -> Initialization:
    """Leaves the weights as built, and scales the last layer so that scores on a batch have a standard deviation.

    Cures scores, and a first loss, that grow with depth in networks without norms. Costs two forward passes, once.

    Args:
        std: of all scores.

    >>> scale_last_layer(std=0.1)(nn.Linear(5, 5), batch=torch.randn(9, 5)).changed
    ('',)
    """

    def start(model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None) -> Report:
        return scale_last_layer_(model, require_batch(batch, choice="scale_last_layer"), std=std)

    return start
