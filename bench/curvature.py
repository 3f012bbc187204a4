"""Muon's step beside torch's, and what curvature costs: Gauss-Newton products and Hessian-free steps, in gradients.

python bench/curvature.py [--pairs 9] [--only PART]     one thread, on the CPU

Muon and torch.optim.Muon move the same matrices with the same gradients: the kernels of a network, (out, in * k * k). A
gradient is a forward and a backward pass of the same batch. A Hessian-free step is held to two gradients and 1.1
products an iteration, from the median gradient and product of the same run.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from harness import Figure, figure, interleave, machine, parser, ratio, write_result
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.shelves import models
from trainwell.optimizers.gauss_newton import GaussNewton
from trainwell.optimizers.hessian_free import HessianFree
from trainwell.optimizers.muon import Muon

MUON_AT_MOST, PRODUCT_AT_MOST, BUDGET_AT_MOST = 0.5, 2.0, 1.0
PRODUCT_AIM = 1.5
NETS = {"convnet": (64, 3, 32, 32), "resnet20": (64, 3, 32, 32), "convnet on digits": (256, 1, 8, 8)}


def thread_seconds(work: Callable[[], object]) -> float:
    """Return how long this thread computed for a call."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


@dataclass
class Task:
    """A network of the shelf in the memory order that a fit takes, and one batch."""

    net: nn.Module
    inputs: Tensor
    labels: Tensor

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters, in order."""
        return list(self.net.parameters())

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return loss and outputs."""
        outputs = self.net(self.inputs)
        return functional.cross_entropy(outputs, self.labels), outputs

    def gradient(self) -> tuple[Tensor, ...]:
        """Return the gradient of the loss."""
        return torch.autograd.grad(self.forward()[0], self.parameters)


def task(name: str) -> Task:
    """Return a network by name with random inputs."""
    torch.manual_seed(0)
    count, *shape = NETS[name]
    facts = {"input_shape": tuple(shape), "in_channels": shape[0], "num_classes": 10}
    net: nn.Module = models.build(name.split()[0], {}, **facts).to(memory_format=torch.channels_last).train()
    inputs = torch.randn(count, *shape).contiguous(memory_format=torch.channels_last)
    return Task(net, inputs, torch.randint(10, (count,)))


def muon(name: str, pairs: int) -> Iterator[tuple[str, Figure, float | None]]:
    """Time the step on the matrices of a network but the last."""
    given = task(name)
    gradients = given.gradient()
    kernels = [(p, g) for p, g in zip(given.parameters, gradients, strict=True) if p.ndim == 4]

    def ready(build: Callable[[list[Tensor]], torch.optim.Optimizer]) -> torch.optim.Optimizer:
        matrices = [kernel.detach().flatten(1).contiguous().requires_grad_() for kernel, _ in kernels]
        for matrix, (_, gradient) in zip(matrices, kernels, strict=True):
            matrix.grad = gradient.flatten(1).contiguous()
        return build(matrices)

    ours = ready(lambda params: Muon(params, lr=1e-3, last_layer="muon", weight_decay=0.1))
    theirs = ready(lambda params: torch.optim.Muon(params, lr=1e-3, weight_decay=0.1))
    for optimizer in (ours, theirs):
        optimizer.step()
    values = interleave(
        {"ours": lambda: thread_seconds(ours.step), "theirs": lambda: thread_seconds(theirs.step)}, pairs
    )
    yield f"muon on {name}: step, ours / torch's", ratio(values["ours"], values["theirs"]), MUON_AT_MOST
    for who in ("ours", "theirs"):
        yield f"muon on {name}: step, {who}", figure([1000 * value for value in values[who]], "milliseconds"), None


def curvature(name: str, pairs: int) -> Iterator[tuple[str, Figure, float | None]]:
    """Time gradients, products and whole steps in turn."""
    given = task(name)
    loss, outputs = given.forward()
    operator = GaussNewton(given.parameters, loss, outputs)
    vector = torch.randn(sum(parameter.numel() for parameter in given.parameters))
    given.gradient()
    operator(vector)
    ways = {"gradient": given.gradient, "product": partial(operator, vector)}
    values = interleave({way: partial(thread_seconds, work) for way, work in ways.items()}, pairs)
    yield f"gauss-newton on {name}: product / gradient", ratio(values["product"], values["gradient"]), PRODUCT_AT_MOST
    del operator, loss, outputs, ways
    optimizer = HessianFree(given.parameters)
    optimizer.step(given.forward)
    gradient, product = (figure(values[what], "seconds").median for what in ("gradient", "product"))
    shares = []
    for _ in range(3):
        seconds = thread_seconds(lambda: optimizer.step(given.forward))
        account = optimizer.account
        assert account is not None
        shares.append(seconds / (2 * gradient + 1.1 * account.iterations * product))
        print(f"step of {account.iterations} iterations, {account.evaluations} evaluations: {shares[-1]:.3f} of budget")
    yield f"hessian-free on {name}: step / budget", figure(shares, "times"), BUDGET_AT_MOST


def main() -> None:
    """Measure all, or what is named, and write the result."""
    options = parser(__doc__ or "")
    options.add_argument("--only", default="", help="muon or curvature; then nothing is written")
    given = options.parse_args()
    torch.set_num_threads(1)
    facts, figures, missed = machine(), dict[str, Figure](), list[str]()
    for what, measure in {"muon": muon, "curvature": curvature}.items():
        for name in NETS if given.only in ("", what) else ():
            for key, value, at_most in measure(name, given.pairs):
                figures[key] = value
                print(f"{key}: {value.median:.3f} ({value.low:.3f} to {value.high:.3f}) {value.unit}", flush=True)
                missed += [key] if at_most is not None and value.median > at_most else []
    if not given.only:
        write_result(
            "curvature",
            figures=figures,
            n=given.pairs,
            target=f"Muon <= {MUON_AT_MOST} of torch.optim.Muon; a Gauss-Newton product <= {PRODUCT_AT_MOST} gradients,"
            f" aim {PRODUCT_AIM}; a Hessian-free step <= 2 gradients and 1.1 products an iteration",
            reached=not missed,
            facts=facts,
            more={"missed": missed, "threads": 1, "clock": "time.thread_time: seconds of this thread, not of the wall"},
        )


if __name__ == "__main__":
    main()
