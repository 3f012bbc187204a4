"""Starts for residual networks: find the units by their structure, and let each branch begin at nothing.

A residual unit is a module with an attribute `downsample`, `shortcut` or `skip` (which may be None), as in torchvision
and on our shelf. What lies below that attribute is the skip; the rest of the unit is the branch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainwell.core.shelves import initializations
from trainwell.errors import ModelInvalid
from trainwell.initialization.report import Entry, Report
from trainwell.initialization.scheme import Initialization
from trainwell.initialization.sites import Layer, find_sites, in_order, is_norm

SKIPS = ("downsample", "shortcut", "skip")


@dataclass(frozen=True)
class Branch:
    """The branch of one residual unit: its weight layers and norms in the order in which they were built."""

    name: str
    unit: nn.Module
    layers: tuple[tuple[str, nn.Module], ...]
    norms: tuple[tuple[str, nn.Module], ...]


def branches_of(model: nn.Module) -> list[Branch]:
    """Return the branch of each residual unit that holds a weight layer, in the network's order.

    >>> class Unit(nn.Module):
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.conv1, self.bn1, self.downsample = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), None
    >>> [(branch.name, branch.layers[-1][0], branch.norms[-1][0]) for branch in branches_of(nn.Sequential(Unit()))]
    [('0', '0.conv1', '0.bn1')]
    """
    found: list[Branch] = []
    for name, unit in model.named_modules():
        if not any(hasattr(unit, skip) for skip in SKIPS):
            continue
        parts = list(_branch(name, unit))
        layers = tuple(part for part in parts if isinstance(part[1], Layer))
        norms = tuple(part for part in parts if is_norm(part[1]))
        if layers:
            found.append(Branch(name, unit, layers, norms))
    return found


def _branch(name: str, unit: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for child, module in unit.named_children():
        path = f"{name}.{child}" if name else child
        if child in SKIPS:
            continue
        if isinstance(module, Layer) or not any(True for _ in module.children()):
            yield path, module
        elif not any(hasattr(module, skip) for skip in SKIPS):  # a unit within a unit is found by itself
            yield from _branch(path, module)


def require_branches(model: nn.Module, *, choice: str) -> list[Branch]:
    """Return the branches of a residual network.

    Raises:
        ModelInvalid: not a module, or it has no residual units.
    """
    if not isinstance(model, nn.Module):
        raise ModelInvalid(f"initialization needs a torch.nn.Module, got {type(model).__name__}")
    branches = branches_of(model)
    if not branches:
        raise ModelInvalid(
            f"{choice} is for residual networks, and {type(model).__name__} has no residual unit: a module with an"
            f" attribute {', '.join(SKIPS[:-1])} or {SKIPS[-1]} (None where the skip is the identity) and weight layers"
        )
    return branches


def zero_gamma_(model: nn.Module) -> Report:
    """Set the scale of the last norm of each residual branch to 0, so that every unit begins as its skip.

        y = x + gamma · norm(...) + beta,   gamma = beta = 0

    Other weights stay. In units whose norm stands before the layer (pre-activation) the last layer then sees zeros, and
    the branch is 0 but for its bias.

    Args:
        model: changed in place; see the head of this file for what a residual unit is.

    Returns:
        What was set. Branches without norms, or whose last norm has no scale or a frozen one, are left and named.

    Raises:
        ModelInvalid: there is no residual unit, or none with a norm that can be set.

    Source: Goyal et al. 2017, "Accurate, large minibatch SGD", arXiv:1706.02677, section 5.1.
    """
    sites, left = find_sites(model)
    entries = {entry.name: entry for entry in [*(site.entry("as built", is_set=False) for site in sites), *left]}
    missing: list[str] = []
    with torch.no_grad():
        for branch in require_branches(model, choice="zero_gamma"):
            name, norm = branch.norms[-1] if branch.norms else (branch.name, None)
            scale = getattr(norm, "weight", None)
            if not isinstance(scale, Tensor) or not scale.requires_grad:
                missing.append(name)
                continue
            scale.zero_()
            shift = getattr(norm, "bias", None)
            if isinstance(shift, Tensor):
                shift.zero_()
            entries[name] = Entry(name, type(norm).__name__, True, f"scale 0: the branch of {branch.name} begins at 0")
    if not any(entry.is_set for entry in entries.values()):
        raise ModelInvalid(
            f"zero_gamma can set nothing: no residual branch of {type(model).__name__} ends in a norm with a scale that"
            " trains; for branches without norms there is fixup"
        )
    notes = (f"no norm with a scale that trains in the branches {', '.join(missing)}",) if missing else ()
    return Report("zero_gamma", in_order(model, list(entries.values())), notes)


@initializations.card(source="Goyal et al. 2017, arXiv:1706.02677, section 5.1")
def zero_gamma() -> Initialization:
    """Last norm scale of each residual branch 0: units begin as their skips; other weights stay as built.

    Cures signals that grow with the number of units, so that deep residual networks stand high rates from the first
    step. Costs nothing.

    >>> zero_gamma()(nn.Linear(1, 1))
    Traceback (most recent call last):
    trainwell.errors.ModelInvalid: zero_gamma is for residual networks, and Linear has no residual unit: a module with
    an attribute downsample, shortcut or skip (None where the skip is the identity) and weight layers
    """

    def start(model: nn.Module, *, generator: torch.Generator | None = None, batch: Tensor | None = None) -> Report:
        return zero_gamma_(model)

    return start
