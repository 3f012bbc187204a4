"""Fixup: residual networks without norms, whose branches begin at 0 and whose steps do not grow with depth.

Source: Zhang, Dauphin, Ma 2019, "Fixup initialization: residual learning without normalization", arXiv:1901.09321,
section 3; their code for what the paper leaves open.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainwell.core.shelves import initializations
from trainwell.errors import ModelInvalid
from trainwell.initialization.looking import own_generator
from trainwell.initialization.report import Entry, Report
from trainwell.initialization.residual import Branch, require_branches
from trainwell.initialization.scheme import Initialization, drawn, normal
from trainwell.initialization.schemes import Mode
from trainwell.initialization.sites import Site, in_order, require_sites

RATE_OF_SCALARS = 0.1  # of the learning rate, for the scalar biases and multipliers, as in the authors' code


def fixup_(model: nn.Module, *, mode: Mode = "fan_out", generator: torch.Generator | None = None) -> Report:
    """Start a residual network without norms so that a step changes its answers alike at any depth.

        1. the last layer of the network and the last of each branch: 0
        2. the other layers: He normal; those in branches times L^(-1 / (2m - 2))
        3. scalars of the branches (`FixupUnit` has them): multipliers 1, biases 0

    for L branches of m layers each; m is counted for each branch. All biases become 0, so the first scores are 0 and
    the first loss is ln K. A branch of one layer is 0 by the first rule.

    Args:
        model: changed in place. Its residual units are modules with an attribute `downsample`, `shortcut` or `skip`,
            with their layers in the order of the branch, and without norms in them.
        mode: of He's scheme; the authors' code takes fan_out, the paper "a standard method".
        generator: of the draws; by default torch's own.

    Returns:
        What was set; and that the scalars are missing, where units have none: the paper's third rule, without which
        the weights are right and training is somewhat worse.

    Raises:
        ModelInvalid: no residual unit, a norm in a branch, or a branch whose last layer cannot be set.

    >>> net = nn.Sequential(FixupUnit(3, 3), nn.Flatten(), nn.Linear(48, 10))
    >>> _ = fixup_(net)
    >>> net(torch.randn(2, 3, 4, 4)).abs().max().item()
    0.0
    """
    branches = require_branches(model, choice="fixup")
    _refuse_norms(branches)
    sites, left = require_sites(model, choice="fixup")
    source, by_name = own_generator(generator), {site.name: site for site in sites}
    last = {branch.layers[-1][0]: f"0: the last layer of branch {branch.name}" for branch in branches}
    _require_settable(last, by_name)
    inside = {name: branch for branch in branches for name, _ in branch.layers}
    behind = max((place for place, site in enumerate(sites) if site.name in inside), default=-1)
    head = next((site for site in reversed(sites[behind + 1 :]) if not site.spatial), None)
    if head is not None:
        last[head.name] = "0: the last layer, so that the first loss is ln K"
    entries = []
    for site in sites:
        branch = inside.get(site.name)
        words = last.get(site.name)
        factor = 1.0 if branch is None else len(branches) ** (-1 / max(1, 2 * len(branch.layers) - 2))
        if words is None:
            rows = drawn(site, normal(lambda fans: (2 / getattr(fans, mode)) ** 0.5), source) * factor
            words = f"He normal ({mode})" + ("" if branch is None else f" times {factor:.4g}")
            site.put(rows)
        else:
            site.put(torch.zeros_like(site.rows()))
        site.put_bias(0.0)
        entries.append(site.entry(words))
    notes = [] if head is not None else ["no dense layer behind the units: the first scores are not 0"]
    units, said = _set_scalars(branches)
    rest = [entry for entry in left if entry.name not in {unit.name for unit in units}]
    return Report("fixup", in_order(model, [*entries, *units, *rest]), (*notes, *said))


def _refuse_norms(branches: Sequence[Branch]) -> None:
    normed = [branch for branch in branches if branch.norms]
    if normed:
        names = ", ".join(name for name, _ in normed[0].norms)
        raise ModelInvalid(
            f"fixup is for residual units without norms, and {normed[0].name} has {names}"
            + (f" ({len(normed)} of {len(branches)} units have some)" if len(normed) > 1 else "")
            + ": build the network without norms, or use zero_gamma, which is for those with norms"
        )


def _require_settable(last: dict[str, str], sites: dict[str, Site]) -> None:
    missing = [name for name in last if name not in sites]
    if missing:
        raise ModelInvalid(
            f"fixup needs the last layer of each branch, and {missing[0]} cannot be set: it is frozen, parametrized,"
            " tied or lazy"
        )


def _set_scalars(branches: Sequence[Branch]) -> tuple[list[Entry], list[str]]:
    """Set multipliers to 1 and biases to 0, by their names; say which units have none."""
    entries = []
    for branch in branches:
        scalars = [(name, held) for name, held in branch.unit.named_parameters(recurse=False) if held.numel() == 1]
        for name, held in scalars:
            held.detach().fill_(0.0 if "bias" in name else 1.0)
        if scalars:
            words = "scalar biases 0 and multipliers 1"
            entries.append(Entry(branch.name, type(branch.unit).__name__, True, words))
    count = len(branches) - len(entries)
    missing = (
        f"{count} of {len(branches)} units have no scalar biases and multiplier, which Fixup trains with: build them of"
        " trainwell.initialization.FixupUnit"
    )
    return entries, [missing] if count else []


class FixupUnit(nn.Module):
    """A basic residual unit without norms, with the scalars that Fixup puts in their place.

        y = relu(m · conv2(relu(conv1(x + b1a) + b1b) + b2a) + b2b + skip)

    The skip is x itself; where the shape changes, it is every `stride`-th pixel of x + b1a, and channels of zeros
    behind. The scalars learn at a tenth of the rate, which `lr_factors` tells our optimizers' groups.

    Source: Zhang et al. 2019, figure 1, and their network for CIFAR-10.

    >>> FixupUnit(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        if out_channels < in_channels or stride < 1:
            raise ModelInvalid(
                f"FixupUnit needs out_channels >= in_channels and stride >= 1, got {in_channels} to {out_channels} with"
                f" stride {stride}: its skip can append channels, not take them away"
            )
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        is_other = stride > 1 or out_channels > in_channels
        self.downsample = nn.AvgPool2d(1, stride) if is_other else None
        self.bias1a, self.bias1b, self.bias2a, self.bias2b = (nn.Parameter(torch.zeros(1)) for _ in range(4))
        self.multiplier = nn.Parameter(torch.ones(1))
        self.more = out_channels - in_channels
        self.lr_factors = {name: RATE_OF_SCALARS for name, _ in self.named_parameters(recurse=False)}

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride)."""
        moved = inputs + self.bias1a
        skip = inputs
        branch = nn.functional.relu(self.conv1(moved) + self.bias1b)
        branch = self.conv2(branch + self.bias2a) * self.multiplier + self.bias2b
        if self.downsample is not None:
            skip = nn.functional.pad(self.downsample(moved), (0, 0, 0, 0, 0, self.more))  # zero channels behind
        return nn.functional.relu(branch + skip)


@initializations.card(source="Zhang, Dauphin, Ma 2019, arXiv:1901.09321, section 3")
def fixup(*, mode: Mode = "fan_out") -> Initialization:
    """Branches of a residual network without norms begin at 0, its other weights scaled down with depth.

    Cures the growth of signals and steps with depth where there is no norm: thousands of layers train at usual rates.
    Needs residual units without norms, best with scalar biases and multipliers; refuses others. Costs nothing.

    Args:
        mode: of He's scheme for all layers that do not begin at 0.

    >>> fixup()(nn.Sequential(FixupUnit(2, 2), nn.Flatten(), nn.Linear(8, 2))).changed
    ('0', '0.conv1', '0.conv2', '2')
    """

    def start(model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None) -> Report:
        return fixup_(model, mode=mode, generator=generator)

    return start
