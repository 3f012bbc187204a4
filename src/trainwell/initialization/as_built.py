"""The initialization that is none: the weights stay as the network was built with."""

import torch
from torch import Tensor, nn

from trainwell.core.shelves import initializations
from trainwell.initialization.report import Report
from trainwell.initialization.scheme import Initialization
from trainwell.initialization.sites import find_sites, in_order


@initializations.card()
def as_built() -> Initialization:
    """Leaves every weight as the network was built with.

    >>> as_built()(nn.Linear(2, 1)).changed
    ()
    """

    def leave(model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None) -> Report:
        sites, left = find_sites(model)
        kept = [site.entry("as built", is_set=False) for site in sites]
        return Report("as_built", in_order(model, kept + left))

    return leave
