"""trainwell among its peers: its loop with record, guard and probes on disk, on the same data in memory.

Only its steps are timed here, by `bench/loops.py`; its accuracy is that of `trainwell fit`.
"""

import sys
from pathlib import Path

import torch
from steps import BATCH, THREADS, answer, network, raw, samples, serve

sys.path.append(str(Path(__file__).parents[1]))

from loops import Ours, make_job


def ours(net: str) -> Ours:
    """Return trainwell's loop around the network that the others train too."""
    torch.set_num_threads(THREADS[net])
    inputs, targets = samples(net)
    values = {"batch.size": BATCH[net], "preprocessing": "none", "machine.precision": "float32"}
    if inputs.ndim == 4:
        inputs, values["machine.memory_format"] = inputs.permute(0, 3, 1, 2), "channels_last"
    return Ours(make_job((inputs, targets), values, network(net)))


def main() -> None:
    """Answer each number of steps on standard input with the seconds that one took."""
    net, _, way = sys.argv[2:5]
    if way == "raw":
        serve(net, raw)
        return
    trained = ours(net)
    answer("ready")
    for line in sys.stdin:
        answer(str(trained.seconds(int(line))))


if __name__ == "__main__":
    main()
