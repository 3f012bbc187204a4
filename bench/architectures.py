"""Our residual and densely connected nets beside plain ones (bench/plain_nets.py): time and memory of training.

python bench/architectures.py [--pairs 15] [--only PART]     one thread, on the CPU, float32

Both nets of a row start from the same weights and do the same steps in turn in one process: forward, backward, fused
SGD. Times are of this thread, not of the wall. Memory is counted, not sampled, so that it has no noise: `kept` is what
autograd holds between the forward and the backward pass, each storage once and parameters left out; `peak` the most
that the allocator gave out at once in both passes, above what was there before. To add a row, add a `Duel`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import plain_nets
import torch
from harness import Figure, figure, interleave, machine, parser, ratio, write_result
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.shelves import models
from trainwell.models.anatomy import anatomy

SGD = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
NOISE = 0.01  # a ratio whose median is above 1 by more than this, and its whole interval above 1, is a miss
STATED = 3  # pairs where nothing is promised


@dataclass(frozen=True)
class Duel:
    """One net of ours beside another one.

    Attributes:
        ours, theirs: build them.
        batch: samples.
        side: of the images.
        is_promised: whether ours must be neither slower nor larger; else the ratio is only stated.
    """

    ours: Callable[[], nn.Module]
    theirs: Callable[[], nn.Module]
    batch: int
    side: int = 32
    is_promised: bool = True


def shelf(name: str, **options: object) -> Callable[[], nn.Module]:
    """Return what builds a net of ours."""
    return lambda: models.build(name, options, in_channels=3, num_classes=10)


def duels() -> dict[str, Duel]:
    """Return every contest by name."""
    bc100 = shelf("densenet_bc100")
    return {
        "ResNet-20 A, batch 64": Duel(shelf("resnet20"), lambda: plain_nets.ResNet(20), 64),
        "ResNet-20 B, batch 64": Duel(shelf("resnet20", shortcut="B"), lambda: plain_nets.ResNet(20, "B"), 64),
        "ResNet-56 A, batch 32": Duel(shelf("resnet56"), lambda: plain_nets.ResNet(56), 32),
        "DenseNet-BC(40, 12), batch 16": Duel(
            shelf("cifar_densenet", depth=40, growth=12), lambda: plain_nets.DenseNet((6, 6, 6), 12), 16
        ),
        "DenseNet-BC(100, 12), batch 8": Duel(bc100, lambda: plain_nets.DenseNet((16, 16, 16), 12), 8),
        "checkpointed DenseNet-BC(100, 12), batch 64, beside kept": Duel(
            shelf("densenet_bc100", checkpointing=True), bc100, 64, is_promised=False
        ),
        "checkpointed DenseNet-121, 224x224, batch 8, beside kept": Duel(
            shelf("densenet121", checkpointing=True), shelf("densenet121"), 8, 224, is_promised=False
        ),
    }


class Contender:
    """One net with its optimizer and a batch."""

    def __init__(self, net: nn.Module, inputs: Tensor) -> None:
        self.net, self.inputs = net.train(), inputs
        self.targets = torch.arange(len(inputs)) % 10
        self.optimizer = torch.optim.SGD(net.parameters(), fused=True, **SGD)

    def step(self) -> Tensor:
        """Do one step of training and return its loss."""
        loss = functional.cross_entropy(self.net(self.inputs), self.targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def seconds(self) -> float:
        """Return the seconds of this thread for one step."""
        start = time.thread_time()
        self.step()
        return time.thread_time() - start

    def kept(self) -> int:
        """Return the bytes that autograd holds for the backward pass, without parameters."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self.net.parameters()}
        held: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = functional.cross_entropy(self.net(self.inputs), self.targets)
            total = sum(held.values())
        del loss
        return total

    def peak(self) -> int:
        """Return the most bytes that were allocated at once in a forward and a backward pass, gradients included."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
            functional.cross_entropy(self.net(self.inputs), self.targets).backward()
        assert seen.profiler is not None
        assert seen.profiler.kineto_results is not None
        events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
        here = most = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            here += event.nbytes()
            most = max(most, here)
        return most


def contest(duel: Duel, order: torch.memory_format, pairs: int) -> tuple[dict[str, Figure], bool]:
    """Measure one row; return its figures and whether its promise is kept."""
    torch.manual_seed(0)
    nets = duel.ours(), duel.theirs()
    nets[0].load_state_dict(nets[1].state_dict())
    inputs = torch.randn(duel.batch, 3, duel.side, duel.side).contiguous(memory_format=order)
    ours, theirs = (Contender(net.to(memory_format=order), inputs) for net in nets)  # type: ignore[call-overload]
    losses = [[float(one.step()) for _ in range(2)] for one in (ours, theirs)]
    print(f"losses: {losses}", flush=True)
    kept, peak = ([float(getattr(one, what)()) for one in (ours, theirs)] for what in ("kept", "peak"))
    ways = {"ours": lambda: ours.seconds(), "theirs": lambda: theirs.seconds()}
    seconds = interleave(ways, pairs if duel.is_promised else min(pairs, STATED))
    found = {"time, ours / theirs": ratio(seconds["ours"], seconds["theirs"])}
    found |= {f"time, {name}": figure(values, "seconds a step") for name, values in seconds.items()}
    for what, (one, other) in (("kept", kept), ("peak", peak)):
        found[f"{what}, ours / theirs"] = exact(one / other, "times")
        found |= {
            f"{what}, {name}": exact(value / 2**20, "MiB") for name, value in zip(ways, (one, other), strict=True)
        }
    found["kept, ours / what anatomy foresees"] = exact(kept[0] / foreseen(ours.net, duel), "times")
    is_as_fast = found["time, ours / theirs"].median <= 1 + NOISE or found["time, ours / theirs"].low <= 1
    is_kept = losses[0] == losses[1] and is_as_fast and kept[0] <= kept[1] and peak[0] <= peak[1]
    return found, is_kept or not duel.is_promised


def foreseen(net: nn.Module, duel: Duel) -> int:
    """Return the bytes that `trainwell anatomy` says a batch keeps for the backward pass."""
    return anatomy(net, (3, duel.side, duel.side)).kept * duel.batch


def exact(value: float, unit: str) -> Figure:
    """Return a number that is the same each time."""
    return Figure(value, value, value, unit)


def main() -> None:
    """Run all contests, or those whose name holds a word, and write the result."""
    options = parser(__doc__ or "")
    options.set_defaults(pairs=15)
    options.add_argument("--only", default="", help="a part of a contest's name; then nothing is written")
    given = options.parse_args()
    torch.set_num_threads(1)
    facts, figures, missed = machine(), dict[str, Figure](), list[str]()
    for what, duel in duels().items():
        for words, order in FORMATS.items() if duel.is_promised else [("channels_last", torch.channels_last)]:
            name = f"{what}, {words}"
            if given.only not in name:
                continue
            print(name, flush=True)
            found, is_kept = contest(duel, order, given.pairs)
            figures |= {f"{name}: {key}": value for key, value in found.items()}
            missed += [] if is_kept else [name]
            parts = (f"{key} {value.median:.4g} ({value.low:.4g} to {value.high:.4g})" for key, value in found.items())
            print("\n".join(parts), flush=True)
    if not given.only:
        write_result(
            "architectures",
            figures=figures,
            n=given.pairs,
            target="losses bit-equal; time at most that of the plain net within noise (the median at most 1.01, or the"
            " interval reaches below 1); memory at most the same; of checkpointing the ratios are stated",
            reached=not missed,
            facts=facts,
            more={
                "missed": missed,
                "threads": 1,
                "pairs where nothing is promised": min(given.pairs, STATED),
                "clock": "time.thread_time: seconds of this thread, not of the wall",
            },
        )


if __name__ == "__main__":
    main()
