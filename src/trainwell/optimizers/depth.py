"""Learning rates by depth and by name: which factor each parameter of a network gets."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from torch import nn

from trainwell.core.rates import RatesSection
from trainwell.errors import OptionInvalid, did_you_mean

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def rate_factors(model: nn.Module, rates: RatesSection) -> dict[str, float]:
    """Return the factors of the learning rate that differ from 1, by the name of the parameter.

    Raises:
        OptionInvalid: a pattern of `per_layer` matches no parameter and no module that has one.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> rate_factors(net, RatesSection(per_depth=0.5, per_layer={"0.bias": 10.0}))
    {'0.weight': 0.5, '0.bias': 5.0}
    """
    if rates.is_common:
        return {}
    factors = {
        name: rates.per_depth**distance for distance, names in enumerate(reversed(blocks(model))) for name in names
    }
    for name, factor in _by_name(list(factors), rates.per_layer).items():
        factors[name] *= factor
    return {name: factors[name] for name, _ in model.named_parameters() if factors[name] != 1}


def blocks(model: nn.Module) -> list[list[str]]:
    """Return the names of all parameters, block by block, in the order in which the model holds its modules.

    A block is a child of the network that has parameters; a `Sequential` or a list is taken apart into its own
    children, and what has vectors only, such as a norm, belongs to the block before it. In a network whose modules are
    held in another order than they are called, this order is not that of the signal.

    >>> blocks(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)))
    [['0.weight', '0.bias', '1.weight', '1.bias'], ['2.weight', '2.bias']]
    """
    parameters = dict(model.named_parameters())
    found: list[list[str]] = []
    taken: set[str] = set()
    for place in _places(model, ""):
        names = [name for name in parameters if name not in taken and _is_below(name, place)]
        taken |= set(names)
        is_map = any(parameters[name].ndim > 1 for name in names)
        starts_with_vectors = len(found) == 1 and all(parameters[name].ndim <= 1 for name in found[0])
        if found and (starts_with_vectors or not is_map):
            found[-1] += names
        elif names:
            found.append(names)
    return found


def _places(module: nn.Module, prefix: str, *, is_outer: bool = True) -> Iterator[str]:
    """Yield the names of the parameters that a module owns itself, and of its blocks.

    What is around a whole network is no block: a wrapper, or a `Sequential` of a layer of the preprocessing and the
    network. A stage that has a single block is none either.
    """
    for name, _ in module.named_parameters(recurse=False):
        yield prefix + name
    children = [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
    with_maps = [child for _, child in children if any(parameter.ndim > 1 for parameter in child.parameters())]
    is_wrapper = is_outer and len(with_maps) == 1
    for name, child in children:
        if isinstance(child, CONTAINERS) or (is_wrapper and child is with_maps[0]):
            yield from _places(child, f"{prefix}{name}.", is_outer=is_wrapper)
        else:
            yield prefix + name


def _is_below(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def _by_name(names: list[str], per_layer: dict[str, float]) -> dict[str, float]:
    """Return the factor of each name that a pattern matches; the last one counts."""
    factors: dict[str, float] = {}
    for pattern, factor in per_layer.items():
        matched = [name for name in names if any(fnmatchcase(part, pattern) for part in _parts(name))]
        if not matched:
            known = {part for name in names for part in _parts(name)}
            near = did_you_mean(pattern, known)
            words = (
                near if "did you mean" in near else did_you_mean(pattern, {name.partition(".")[0] for name in known})
            )
            raise OptionInvalid(
                f"rates.per_layer: {pattern!r} matches no parameter of the network and no module that has one{words}"
            )
        factors |= dict.fromkeys(matched, factor)
    return factors


def _parts(name: str) -> Iterator[str]:
    """Yield the name of a parameter and those of the modules around it."""
    while name:
        yield name
        name = name.rpartition(".")[0]
