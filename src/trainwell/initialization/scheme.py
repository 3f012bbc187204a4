"""What an initialization is: something that sets the weights of a network in place and reports; and the plain form."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from trainwell.core.choice import Choice
from trainwell.core.shelves import initializations
from trainwell.initialization.looking import own_generator, require_batch
from trainwell.initialization.report import Report
from trainwell.initialization.sites import Site, in_order, require_sites


class Initialization(Protocol):
    """What a builder of the shelf returns. One that needs a batch says so on its card: `needs_batch=True`."""

    def __call__(
        self, model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None
    ) -> Report:
        """Set the weights of a network in place and say which, and which not and why.

        Args:
            model: any network.
            generator: of all draws; by default torch's own.
            batch: inputs of the network (N, ...), for those that measure activations.
        """
        ...


@dataclass(frozen=True)
class Fans:
    """How many products are summed to an output of a layer (`fan_in`), and into how many an input goes (`fan_out`)."""

    fan_in: int
    fan_out: int


Fill = Callable[[Tensor, Fans, torch.Generator], None]


@dataclass(frozen=True)
class Scheme:
    """An initialization that asks nothing but the shape of each layer; biases become one number.

    `fill` gets a matrix (outputs, fan_in) of a layer, or of one group of it, to fill in place; it lies on the
    generator's device, in float32 unless the layer is in float64.
    """

    name: str
    fill: Fill
    bias: float = 0.0

    def __call__(
        self, model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None
    ) -> Report:
        """Set the weights of every layer; see `Initialization`.

        Raises:
            ModelInvalid: no layer can be set.
        """
        sites, left = require_sites(model, choice=self.name)
        source = own_generator(generator)
        entries = [site.entry(self.set(site, source)) for site in sites]
        return Report(self.name, in_order(model, entries + left))

    def set(self, site: Site, generator: torch.Generator) -> str:
        """Set one layer, and return what was written."""
        rows = drawn(site, self.fill, generator)
        site.put(rows)
        site.put_bias(self.bias)
        std = 0.0 if rows.numel() < 2 else float(rows.std(correction=0))
        bias = "" if site.bias is None else f", bias {self.bias:g}"
        return f"fan_in {site.fan_in:,}, fan_out {site.fan_out:,}, std {std:.3g}{bias}"


def drawn(site: Site, fill: Fill, generator: torch.Generator) -> Tensor:
    """Return a new matrix (groups, outputs, fan_in) for a layer; each group is filled by itself."""
    dtype = torch.float64 if site.weight.dtype == torch.float64 else torch.float32
    rows = torch.zeros(site.rows().shape, dtype=dtype, device=generator.device)
    fans = Fans(site.fan_in, site.fan_out)
    for group in rows:
        fill(group, fans, generator)
    return rows


def normal(std: Callable[[Fans], float]) -> Fill:
    """Return what fills with N(0, std²), the standard deviation from the fans."""

    def fill(values: Tensor, fans: Fans, generator: torch.Generator) -> None:
        values.normal_(0.0, std(fans), generator=generator)

    return fill


def uniform_of(std: Callable[[Fans], float]) -> Fill:
    """Return what fills with U(-a, a) of a standard deviation, a = sqrt(3) std."""

    def fill(values: Tensor, fans: Fans, generator: torch.Generator) -> None:
        bound = math.sqrt(3.0) * std(fans)
        values.uniform_(-bound, bound, generator=generator)

    return fill


def initialize(
    model: nn.Module,
    choice: str | Choice,
    *,
    generator: torch.Generator | None = None,
    batch: Tensor | None = None,
) -> Report:
    """Set the weights of any network in place by a member of the shelf: `initialize(net, "he:mode=fan_out")`.

    Frozen and parametrized weights, norms, embeddings and layers of unknown types are left alone, and the report says
    so. Weights are drawn in float32 (float64 for those), so one seed gives the same ones in any memory format.

    Args:
        model: any network.
        choice: `NAME:key=value`; the names are in `trainwell list initialization`.
        generator: of all draws; by default torch's own, which moves on.
        batch: inputs (N, ...) of the network, preprocessed as in training, for members that measure activations.

    Raises:
        NameUnknown: there is no such initialization.
        OptionInvalid: an option is outside its range, or the batch is missing.
        ModelInvalid: nothing of this network can be set.
        DataInvalid: the batch cannot be used.

    >>> report = initialize(nn.Linear(100, 10), "lecun:distribution=uniform")
    >>> print(report.summary)
    lecun: 1 layer set, none left alone
    """
    parsed = Choice.model_validate(choice)
    card = initializations[parsed.name]
    if card.traits.get("needs_batch"):
        require_batch(batch, choice=parsed.name)
    member: Initialization = card.build(parsed.options)
    return member(model, generator=generator, batch=batch)
