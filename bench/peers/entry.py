"""The command line of a peer's script: time its steps, or train for so many minutes.

python bench/peers/lightning_peer.py steps mlp --way peer       then a number of steps on each line of input
python bench/peers/lightning_peer.py accuracy --data cifar10.npz --minutes 3
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from steps import THREADS, Train, raw, serve
from task import Task
from torch import nn

NAME = Path(sys.argv[0]).stem


def run(
    steps: Callable[[nn.Module], Train],
    accuracy: Callable[[Task], None],
    *,
    nets: Sequence[str] = (),
    batch: int | None = None,
) -> None:
    """Do what the command line says.

    Args:
        steps: makes the peer's loop around a network: called with a DataLoader, it trains one epoch on it.
        accuracy: trains a classifier on the task until its time is up, and answers.
        nets: the networks of its own that it trains, the default first; none where it takes everybody's.
        batch: samples in a step, where it has a default of its own.
    """
    parser = argparse.ArgumentParser(description=f"{NAME}: see bench/peers/run.py")
    verbs = parser.add_subparsers(dest="verb", required=True)
    timed = verbs.add_parser("steps")
    timed.add_argument("net", choices=THREADS)
    timed.add_argument("--way", choices=("peer", "raw"), default="peer")
    trained = verbs.add_parser("accuracy")
    trained.add_argument("--data", type=Path, required=True, help="the file that export.py wrote")
    trained.add_argument("--minutes", type=float, default=1.0)
    trained.add_argument("--started", type=float, default=time.time(), help="when the time began, as time.time()")
    trained.add_argument("--epochs", type=int, help="train so long instead of asking the clock")
    if nets:
        trained.add_argument("--net", choices=nets, default=nets[0])
    else:
        trained.add_argument("--net", default="resnet20", help="resnet20, convnet, or trainwell:CHOICE")
    trained.add_argument("--batch", type=int, default=batch)
    trained.add_argument("--lr", type=float, help="largest rate of SGD")
    trained.add_argument("--seed", type=int, default=0)
    trained.add_argument("--threads", type=int, default=torch.get_num_threads())
    trained.add_argument("--limit", type=int, help="use only so many training samples, to try the script")
    options = parser.parse_args()
    if options.verb == "steps":
        serve(options.net, raw if options.way == "raw" else steps)
    else:
        torch.set_num_threads(options.threads)
        accuracy(Task(options))
