"""A network of your own, as an object from Python or as a file on the command line, with a hook of your own.

Run it with `python examples/own_network.py [EPOCHS]`; on the command line the same network is
`trainwell fit points:kind=spirals,noise=0.05 --model examples/own_network.py:Net:width=64`.
"""

import sys

import torch
from torch import Tensor, nn

import trainwell as tw
from trainwell.core.state import State


class Net(nn.Module):
    """Sines of learnt frequencies, then one hidden layer; `in_features` and `num_classes` are supplied by name."""

    def __init__(self, in_features: int, num_classes: int, *, width: int = 64) -> None:
        super().__init__()
        self.frequencies = nn.Linear(in_features, width)
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) raw scores: no softmax, the loss has it."""
        return self.body(torch.sin(self.frequencies(inputs)))  # (N, D) -> (N, width) -> (N, K)


class KeepFrequenciesSmall:
    """A hook: after each step it bounds the frequencies, so that the border between the arms stays smooth."""

    def __init__(self, largest: float) -> None:
        self.largest = largest

    @torch.no_grad()
    def after_step(self, state: State) -> None:
        """Clamp in place; hooks may act, probes may only look."""
        state.model.get_parameter("frequencies.weight").clamp_(-self.largest, self.largest)


def main(epochs: int = 30) -> None:
    """Train the network on two spirals."""
    source = "points:kind=spirals,samples=2000,noise=0.05"
    run = tw.fit(source, model=Net(2, 2), epochs=epochs, hooks=[KeepFrequenciesSmall(8.0)])
    assert isinstance(run.model, Net)
    largest = float(run.model.frequencies.weight.detach().abs().max())
    print(f"test accuracy {run.test_accuracy:.1%}, largest frequency {largest:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
