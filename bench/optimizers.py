"""The step of our optimizers beside torch's, alone and as a part of a whole training step.

python bench/optimizers.py [--pairs 25] [--only PART]     one thread, on the CPU

Contenders of a row see the same gradients and run in turn in one process. `step` repeats the optimizer's step on
gradients that are there; `whole` is backward, step and the reset of gradients, with the forward pass before it. To add
a row, add a `Duel`.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from flat import Gathered, Views
from harness import Figure, figure, interleave, machine, parser, ratio, write_result
from torch import Tensor, nn

from trainwell.core.shelves import models
from trainwell.optimizers.adaptive import adamw
from trainwell.optimizers.sgd import sgd
from trainwell.optimizers.yellowfin import YellowFin

Build = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
SGD = {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
ADAMW = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05}
OURS_ADAMW = {"lr": 1e-4, "weight_decay": 0.05}
BLOCK_SECONDS = 0.02  # of one measurement of a step alone


@dataclass(frozen=True)
class Net:
    """A network with the inputs that it is trained on."""

    build: Callable[[], nn.Module]
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Duel:
    """One claim: ours beside theirs on a network, with the ratio of the steps that is promised.

    Attributes:
        at_most: promised ratio of the step alone; None where nothing is promised.
        is_equal: whether the weights must be bit-equal after `STEPS_COMPARED` steps.
    """

    net: str
    ours: Build
    theirs: Build
    at_most: float | None = None
    is_equal: bool = False


def small(width: int) -> Net:
    """200 tensors: a hundred layers of so many units."""
    return Net(lambda: nn.Sequential(*[nn.Linear(width, width) for _ in range(100)]), (32, width))


def resnet20() -> nn.Module:
    """Return the network of the shelf in the memory order that a fit takes."""
    net: nn.Module = models.build("resnet20", {}, in_channels=3, num_classes=10)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


STEPS_COMPARED = 20
NETS = {
    "200 small tensors": small(16),
    "200 tensors of width 8": small(8),
    "200 tensors of width 32": small(32),
    "resnet20": Net(resnet20, (8, 3, 32, 32)),
}


def torchs(kind: type[torch.optim.Optimizer], options: dict[str, object], **form: bool) -> Build:
    """Return a builder of torch's own optimizer in one of its forms."""
    return lambda params: kind(params, **options, **form)  # type: ignore[call-arg,arg-type]


def duels() -> dict[str, Duel]:
    """Return every contest by name."""
    found: dict[str, Duel] = {}
    for name, promised in (("200 small tensors", 0.3), ("resnet20", 0.8)):
        for kind, options, ours in (
            (torch.optim.SGD, SGD, lambda params: sgd(params, **SGD)),
            (torch.optim.AdamW, ADAMW, lambda params: adamw(params, **OURS_ADAMW)),
        ):
            label = f"{kind.__name__} on {name}"
            found[f"{label}, beside fused"] = Duel(name, ours, torchs(kind, options, fused=True), promised, True)
            found[f"{label}, beside foreach"] = Duel(name, ours, torchs(kind, options, foreach=True))
        momentum = {"lr": 1e-3, "momentum": 0.9}
        found[f"YellowFin on {name}, beside fused SGD with momentum"] = Duel(
            name, lambda params: YellowFin(params, lr=1e-3), torchs(torch.optim.SGD, momentum, fused=True), 1.3
        )
    for width in (8, 32):  # how the ratio depends on the size of the tensors; nothing is promised
        name = f"200 tensors of width {width}"
        found[f"SGD on {name}, beside fused"] = Duel(
            name, lambda params: sgd(params, **SGD), torchs(torch.optim.SGD, SGD, fused=True), None, True
        )
    for form in (Gathered, Views):  # the ways not taken: what one flat tensor would give
        label = f"SGD as one flat tensor ({form.__name__.lower()}) on 200 small tensors"
        found[f"{label}, beside ours"] = Duel("200 small tensors", form, lambda params: sgd(params, **SGD))
    return found


class Contender:
    """One optimizer on its own copy of a network."""

    def __init__(self, net: Net, build: Build) -> None:
        torch.manual_seed(0)
        self.model = net.build().train()
        self.inputs = torch.randn(net.inputs)
        if self.inputs.ndim == 4:
            self.inputs = self.inputs.contiguous(memory_format=torch.channels_last)
        self.parameters = list(self.model.parameters())
        self.optimizer = build(self.parameters)
        for _ in range(STEPS_COMPARED):
            self.train()

    def train(self) -> None:
        """Do one whole step of training."""
        self.model(self.inputs).square().mean().backward()
        self.optimizer.step()
        if isinstance(self.optimizer, Views):
            self.optimizer.zero_grad()
            return
        for parameter in self.parameters:
            parameter.grad = None

    def weights(self) -> list[Tensor]:
        """Return copies of the parameters."""
        return [parameter.detach().clone() for parameter in self.parameters]

    def whole(self, count: int) -> float:
        """Return microseconds of this thread for a whole step."""
        start = time.thread_time()
        for _ in range(count):
            self.train()
        return (time.thread_time() - start) / count * 1e6

    def step(self, count: int) -> float:
        """Return microseconds of this thread for the optimizer's step alone."""
        if self.parameters[0].grad is None:
            self.model(self.inputs).square().mean().backward()
            self.optimizer.step()
        start = time.thread_time()
        for _ in range(count):
            self.optimizer.step()
        return (time.thread_time() - start) / count * 1e6


def contest(duel: Duel, pairs: int) -> tuple[dict[str, Figure], bool]:
    """Measure one row; return its figures and whether its promise is kept."""
    ours, theirs = (Contender(NETS[duel.net], build) for build in (duel.ours, duel.theirs))
    kept = True
    if duel.is_equal:
        kept = all(torch.equal(a, b) for a, b in zip(ours.weights(), theirs.weights(), strict=True))
        print(f"bit-equal after {STEPS_COMPARED} steps: {kept}")
    found: dict[str, Figure] = {}
    for what, count in (("whole", 5), ("step", 0)):
        count = count or max(1, round(BLOCK_SECONDS * 1e6 / theirs.step(3)))
        ways = {"ours": lambda: getattr(ours, what)(count), "theirs": lambda: getattr(theirs, what)(count)}  # noqa: B023
        values = interleave(ways, pairs)
        found[f"{what}, ours / theirs"] = ratio(values["ours"], values["theirs"])
        found[f"{what}, ours"] = figure(values["ours"], "microseconds")
        found[f"{what}, theirs"] = figure(values["theirs"], "microseconds")
    if duel.at_most is not None:
        kept = kept and found["step, ours / theirs"].median <= duel.at_most
    return found, kept


def main() -> None:
    """Run all contests, or those whose name holds a word, and write the result."""
    options = parser(__doc__ or "")
    options.set_defaults(pairs=25)
    options.add_argument("--only", default="", help="a part of a contest's name; then nothing is written")
    given = options.parse_args()
    torch.set_num_threads(1)
    facts, figures, missed = machine(), dict[str, Figure](), list[str]()
    contests = {name: duel for name, duel in duels().items() if given.only in name}
    for name, duel in contests.items():
        print(name, flush=True)
        found, kept = contest(duel, given.pairs)
        figures |= {f"{name}: {key}": value for key, value in found.items()}
        missed += [] if kept else [name]
        step, whole = found["step, ours / theirs"], found["whole, ours / theirs"]
        print(
            f"{name}: step {step.median:.3f} ({step.low:.3f} to {step.high:.3f}), whole {whole.median:.3f}", flush=True
        )
    if not given.only:
        write_result(
            "optimizers",
            figures=figures,
            n=given.pairs,
            target="; ".join(f"{k}: step <= {d.at_most} times" for k, d in contests.items() if d.at_most is not None)
            + "; weights bit-equal to fused",
            reached=not missed,
            facts=facts,
            more={"missed": missed, "threads": 1, "clock": "time.thread_time: seconds of this thread, not of the wall"},
        )


if __name__ == "__main__":
    main()
