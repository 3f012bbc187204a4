"""Which parts of a network learn, where it begins from weights that were learned elsewhere.

What is frozen has no gradients, and its modules stay in evaluation mode: batch norms keep their statistics, dropout and
stochastic depth do nothing. So a frozen part gives the same features for the same image throughout.

Source: Howard & Ruder 2018, "Universal language model fine-tuning", arXiv:1801.06146, section 3.3 (gradual thaw).
"""

from collections.abc import Iterable, Sequence

from torch import nn

from trainwell.core.state import State
from trainwell.core.transfer import TransferSection
from trainwell.errors import OptionInvalid
from trainwell.models.pretrained import head_of
from trainwell.models.pretrained.head import AUXILIARY
from trainwell.optimizers.depth import blocks

AUXILIARY_NAMES = tuple(name.rstrip(".") for name in AUXILIARY)
THAWED_AT = 0.5  # share of the run after which nothing is frozen any more, where blocks thaw one after another


class Freezing:
    """Freezes the parts of a network that do not learn, and thaws them when their time comes.

    A hook: what is frozen is a function of the step alone, so resume needs no state.

    Args:
        model: the whole network, changed in place.
        transfer: which method.
        total_steps: of the run as it is begun; a longer resume does not freeze again what has thawed.

    Raises:
        OptionInvalid: the network has fewer blocks than shall learn.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 3))
    >>> Freezing(net, TransferSection(source="x", method="head"), total_steps=10).words
    'the head learns; 1 block before it is frozen'
    >>> [name for name, weight in net.named_parameters() if weight.requires_grad], net.train()[1].training
    (['3.weight', '3.bias'], True)
    """

    def __init__(self, model: nn.Module, transfer: TransferSection, *, total_steps: int) -> None:
        self._model = model
        self._parts = _parts(model)
        self._wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        below = len(self._parts) - 1
        if transfer.last is not None and transfer.last > below:
            raise OptionInvalid(
                f"transfer.method: {transfer.method} asks for more blocks than the network has before its head, which"
                f" are {below}: take last:{below} or fewer, or full"
            )
        self._method, self._last, self._total = transfer.method, transfer.last, total_steps
        self._learning = -1
        self._frozen: list[nn.Module] = []
        self._apply(self.learning(0))

    def learning(self, step: int) -> int:
        """Return how many blocks before the head learn at a step."""
        below = len(self._parts) - 1
        if self._method == "full":
            return below
        if self._method == "gradual":
            thawed = THAWED_AT * self._total
            return below if step >= thawed else int(below * step / thawed)
        return self._last or 0

    @property
    def words(self) -> str:
        """What learns at the start, and what does not."""
        below = len(self._parts) - 1
        frozen = below - self.learning(0)
        if not frozen:
            return "everything learns"
        count = f"{frozen} block{' before it is' if frozen == 1 else 's before it are'} frozen"
        if self._method == "gradual":
            return f"the head learns; {count} and thaw one after another, all by the middle of the run"
        return f"the head learns; {count}" if not self._last else f"the head and {self._last} before it learn; {count}"

    def quiet(self) -> None:
        """Put what is frozen into evaluation mode, whatever mode the network was put into."""
        for module in self._frozen:
            module.training = False

    def release(self) -> None:
        """Give every parameter back to whoever goes on with the network, as it was before it was frozen."""
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name in self._wanted)

    def before_step(self, state: State) -> None:
        """Thaw what learns from this step on."""
        learning = self.learning(state.step)
        if learning != self._learning:
            self._apply(learning)
            state.model.train()
        self.quiet()

    def _apply(self, learning: int) -> None:
        self._learning = learning
        free = {name for part in self._parts[len(self._parts) - 1 - learning :] for name in part}
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name in free and name in self._wanted)
        self._frozen = list(_frozen_modules(self._model, free)) if learning < len(self._parts) - 1 else []
        self.quiet()


def _parts(model: nn.Module) -> list[list[str]]:
    """Return the names of the parameters, block by block, the last of them the head's and auxiliary heads'."""
    name, _ = head_of(model)
    auxiliary = tuple(f"{place}." for place, _ in model.named_modules() if place.endswith(AUXILIARY_NAMES))
    head = [each for each, _ in model.named_parameters() if each.startswith((f"{name}.", *auxiliary))]
    rest = [[each for each in block if each not in set(head)] for block in blocks(model)]
    return [*(block for block in rest if block), head]


def _frozen_modules(model: nn.Module, free: Iterable[str]) -> Iterable[nn.Module]:
    """Yield the modules that hold nothing that learns, and stand in no part that does.

    A module without parameters goes with what stands around it; straight below the network itself it belongs to nobody
    and stays in training mode, unless it keeps statistics.
    """
    open_places = {place for name in free for place in _places_of(name)}
    for name, module in model.named_modules():
        if not name or name in open_places:
            continue
        has_parameters = any(True for _ in module.parameters())
        around = name.rpartition(".")[0]
        keeps_statistics = any(True for _ in module.buffers(recurse=False))
        if has_parameters or keeps_statistics or (around and around not in open_places):
            yield module


def _places_of(parameter: str) -> Sequence[str]:
    """Return the modules around a parameter, from the inside outwards."""
    parts = parameter.split(".")[:-1]
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
