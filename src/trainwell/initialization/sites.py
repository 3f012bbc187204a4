"""The layers of any network whose weights can be set, and of every other module why it is left alone.

A weight is seen as one matrix a group: each row makes one output, each column takes one input of it.

    dense layer          W (M, D)                  fan_in = D                fan_out = M
    convolution          W (M, C / g, r, r)        fan_in = r² C / g         fan_out = r² M / g
    its transpose        W (C, M / g, r, r)        the same; strides are not counted, as in the papers

`torch.nn.init` does not divide fan_out by the groups g, and swaps the two fans of a transposed convolution.

Source: He et al. 2015, arXiv:1502.01852, section 2.2 (fan = r² k of a convolution, forward and backward).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from trainwell.errors import ModelInvalid
from trainwell.initialization.report import Entry

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d

LAZY = "lazy: its shapes are not known yet, run the network once on a sample first"
NORM = "a norm keeps its scale and shift"


@dataclass(frozen=True)
class Site:
    """A layer whose weight can be written.

    >>> site = Site("conv", nn.Conv2d(4, 6, 3, groups=2))
    >>> site.fan_in, site.fan_out, site.rows().shape
    (18, 27, torch.Size([2, 3, 18]))
    """

    name: str
    module: Layer
    tied: tuple[str, ...] = ()  # other modules that own the same weight

    @property
    def weight(self) -> Tensor:
        """The weight as the layer holds it."""
        return self.module.weight

    @property
    def bias(self) -> Tensor | None:
        """The bias, where there is one."""
        return self.module.bias

    @property
    def groups(self) -> int:
        """Into how many parts inputs and outputs are divided."""
        return 1 if isinstance(self.module, nn.Linear) else self.module.groups

    @property
    def is_transposed(self) -> bool:
        """Whether this is a transposed convolution."""
        return isinstance(self.module, TRANSPOSED)

    @property
    def spatial(self) -> int:
        """How many dimensions a convolution moves along; 0 for a dense layer."""
        return 0 if isinstance(self.module, nn.Linear) else len(self.module.kernel_size)

    @property
    def has_own_forward(self) -> bool:
        """Whether the layer is a subclass that answers otherwise than torch's own."""
        return all(type(self.module).forward is not kind.forward for kind in (nn.Linear, *CONVOLUTIONS, *TRANSPOSED))

    @property
    def fan_in(self) -> int:
        """How many products are summed to one output."""
        return int(self.rows().shape[2])

    @property
    def fan_out(self) -> int:
        """Into how many sums one input goes."""
        rows = self.rows()
        kernel = self.weight[0, 0].numel() if self.spatial else 1
        return int(rows.shape[1]) * kernel

    def rows(self) -> Tensor:
        """Return the weight as (groups, outputs of a group, fan_in); a view or a copy."""
        weight, groups = self.weight.detach(), self.groups
        if self.is_transposed:  # (C, M / g, r, r) -> (g, C / g, M / g, r²) -> (g, M / g, C / g * r²)
            parts = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
            return parts.transpose(1, 2).flatten(2)
        return weight.reshape(groups, weight.shape[0] // groups, -1)

    def put(self, rows: Tensor) -> None:
        """Write a matrix of the shape that `rows` returns; device, precision and memory format of the weight stay."""
        weight = self.weight.detach()
        if self.is_transposed:
            inputs = weight.shape[0] // self.groups
            rows = rows.reshape(self.groups, weight.shape[1], inputs, *weight.shape[2:]).transpose(1, 2)
        weight.copy_(rows.reshape(weight.shape))

    def put_bias(self, value: Tensor | float) -> None:
        """Write the bias, where there is one."""
        if self.bias is not None:
            self.bias.detach().copy_(value) if isinstance(value, Tensor) else self.bias.detach().fill_(value)

    def entry(self, words: str, *, is_set: bool = True) -> Entry:
        """Return what the report says of this layer."""
        return Entry(self.name, type(self.module).__name__, is_set, words)


def find_sites(model: nn.Module) -> tuple[list[Site], list[Entry]]:
    """Return the layers whose weights can be written, and why each other module with parameters is left alone.

    Raises:
        ModelInvalid: not a module, or the network has no weights at all.

    >>> sites, left = find_sites(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Embedding(2, 2)))
    >>> [site.name for site in sites], [entry.kind for entry in left]
    (['0'], ['BatchNorm1d', 'Embedding'])
    """
    if not isinstance(model, nn.Module):
        raise ModelInvalid(f"initialization needs a torch.nn.Module, got {type(model).__name__}")
    if next(model.parameters(), None) is None:
        raise ModelInvalid(f"{type(model).__name__} has no weights: there is nothing to initialize")
    owners: dict[int, list[str]] = {}
    for name, module in _owners(model):
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    sites: list[Site] = []
    left: list[Entry] = []
    taken: dict[int, str] = {}
    for name, module in _owners(model):
        reason = _reason(module)
        weight = module._parameters.get("weight")
        if not reason and id(weight) in taken:
            reason = f"tied to {taken[id(weight)] or 'the network itself'}, which holds the same weight"
        if reason:
            left.append(Entry(name, _kind(module), False, reason))
            continue
        assert isinstance(module, Layer)
        taken[id(weight)] = name
        sites.append(Site(name, module, tuple(other for other in owners[id(weight)] if other != name)))
    return sites, left


def require_sites(model: nn.Module, *, choice: str) -> tuple[list[Site], list[Entry]]:
    """Return what `find_sites` does, where at least one layer can be written.

    Raises:
        ModelInvalid: all layers are to be left alone; the message says why each.
    """
    sites, left = find_sites(model)
    if not sites:
        words = "; ".join(f"{entry.name or 'itself'} ({entry.kind}): {entry.words}" for entry in left[:5])
        more = f"; and {len(left) - 5} more" if len(left) > 5 else ""
        raise ModelInvalid(f"{choice} can set no layer of {type(model).__name__}: {words}{more}")
    return sites, left


def in_order(model: nn.Module, entries: list[Entry]) -> tuple[Entry, ...]:
    """Return entries in the order of the network's modules."""
    place = {name: position for position, (name, _) in enumerate(model.named_modules())}
    return tuple(sorted(entries, key=lambda entry: place[entry.name]))


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalization layer, torch's or anyone's, by the name of its class.

    >>> is_norm(nn.GroupNorm(1, 2)), is_norm(nn.Linear(1, 1))
    (True, False)
    """
    return "norm" in type(module).__name__.lower()


def _owners(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that own parameters, a parametrized one as a whole."""
    inner: set[int] = set()
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            inner |= {id(part) for part in module.parametrizations.modules()}
            yield name, module
        elif id(module) not in inner and next(module.parameters(recurse=False), None) is not None:
            yield name, module


def _reason(module: nn.Module) -> str:
    """Say why a module is left alone, or nothing."""
    if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
        return LAZY
    if parametrize.is_parametrized(module):
        return "parametrized: its weight is computed from other parameters"
    if is_norm(module):
        return NORM
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "an embedding: its rows are looked up, so there is no fan to scale by"
    if not isinstance(module, Layer):
        names = ", ".join(name for name, _ in module.named_parameters(recurse=False))
        return f"no rule for this type of layer, whose {names} stay as built"
    weight = module._parameters.get("weight")
    if weight is None:  # torch.nn.utils.weight_norm, the old form
        return "its weight is computed from other parameters"
    if not weight.is_floating_point():
        return f"its weight is {str(weight.dtype).removeprefix('torch.')}, not a floating-point number"
    if not weight.requires_grad:
        return "frozen: its weight does not train"
    if module.bias is not None and not module.bias.requires_grad:
        return "frozen: its bias does not train"
    return ""


def _kind(module: nn.Module) -> str:
    return type(module).__name__
