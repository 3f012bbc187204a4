"""The peer of decode.py, run by the interpreter of its own environment: ImageFolder and a DataLoader of two workers.

Answers each line on standard input (policy and side) with the images per second of one pass over the folder;
with a third word, a path, the tensors of that pass are written there too.
"""

import resource
import sys
import time

import numpy as np
import torch

# torchvision from PyPI is built for another torch: its compiled part is not loaded, and these two names must exist.
LIBRARY = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import PIL  # noqa: E402
import torchvision  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402


def processor_time() -> float:
    """Return the seconds that this process and its finished workers have computed."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main(folder: str) -> None:
    print(f"torchvision {torchvision.__version__}, torch {torch.__version__}, Pillow {PIL.__version__}", flush=True)
    for line in sys.stdin:
        policy, side, *where = line.split()
        size = int(side)
        resize = {
            "crop": [transforms.Resize(size), transforms.CenterCrop(size)],
            "stretch": [transforms.Resize((size, size))],
        }[policy]
        start, busy = time.perf_counter(), processor_time()
        data = datasets.ImageFolder(folder, transforms.Compose([*resize, transforms.PILToTensor()]))
        store = torch.empty(len(data), 3, size, size, dtype=torch.uint8)
        done = 0
        for images, _ in torch.utils.data.DataLoader(data, batch_size=32, num_workers=2):
            store[done : done + len(images)] = images
            done += len(images)
        rate, busy_after = done / (time.perf_counter() - start), processor_time()
        if where:
            np.save(where[0], store.permute(0, 2, 3, 1).numpy())
        print(rate, 1e3 * (busy_after - busy) / done, flush=True)


main(sys.argv[1])
