"""How fast augmented, normalized batches of 32 x 32 images come out of memory, against gathering them alone.

    python bench/batches.py

Ours is what training runs: whole epochs of `Loader` and `Pipeline` with horizontal flip, shift by 4 pixels and
standardize, every draw made from the counter hash, the result in channels-last memory. The yardstick is a bare
loop that only gathers uint8 images and targets by a permutation made before the clock starts: no pixel is worked on.
"""

import time
from functools import partial

import torch
from harness import figure, interleave, machine, parser, ratio, write_result
from torch import Tensor

from trainwell.core.shelves import augmentations, preprocessings
from trainwell.data.augmentation.geometry import Padding
from trainwell.data.loader import Loader
from trainwell.data.pipeline import Pipeline
from trainwell.data.store import Store

IMAGES = 50_000
THREADS = 2
TARGET = 250_000


def made_up_store() -> Store:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return Store.of_images(images, torch.randint(0, 10, (IMAGES,), generator=generator))


class Ours:
    """One epoch after another through the loader and the pipeline; each call gives images/s."""

    def __init__(self, store: Store, batch_size: int, padding: Padding, dtype: torch.dtype) -> None:
        standardize = preprocessings.build("standardize")
        standardize.fit(store.inputs[:5000])
        ops = [augmentations.build("horizontal_flip"), augmentations.build("shift", {"pixels": 4, "padding": padding})]
        self._pipeline = Pipeline(ops, standardize, seed=0, input_shape=(3, 32, 32), dtype=dtype, samples=len(store))
        self._loader = Loader(store, batch_size=batch_size, seed=0, shuffle=True)
        self._epoch = 0

    def __call__(self) -> float:
        self._epoch += 1
        start = time.perf_counter()
        for batch in self._loader.epoch(self._epoch):
            self._pipeline(batch, self._epoch)
        return IMAGES / (time.perf_counter() - start)


def bare_gather(rows: Tensor, targets: Tensor, order: Tensor) -> float:
    start = time.perf_counter()
    for chunk in order.split(512):
        rows.index_select(0, chunk)
        targets.index_select(0, chunk)
    return IMAGES / (time.perf_counter() - start)


def main() -> None:
    pairs = parser(__doc__ or "").parse_args().pairs
    torch.set_num_threads(THREADS)
    facts = machine()
    store = made_up_store()
    rows = store.inputs.permute(0, 2, 3, 1).reshape(IMAGES, -1)
    ways = {
        "float32, zero padding, batch 512": Ours(store, 512, "zero", torch.float32),
        "float32, zero padding, batch 128": Ours(store, 128, "zero", torch.float32),
        "float32, reflect padding, batch 512": Ours(store, 512, "reflect", torch.float32),
        "bfloat16, zero padding, batch 512": Ours(store, 512, "zero", torch.bfloat16),
        "bare index_select of uint8, batch 512": partial(
            bare_gather, rows, store.targets, torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))
        ),
    }
    for way in ways.values():
        way()
    rates = interleave(ways, pairs)
    first, *_, bare = rates
    figures = {name: figure(values, "images/s") for name, values in rates.items()}
    figures[f"{first}, to the bare gather"] = ratio(rates[first], rates[bare])
    write_result(
        "batches",
        figures=figures,
        n=pairs,
        target=f"at least {TARGET} images/s with flip + shift + normalize, chance included, on {THREADS} cores",
        reached=figures[first].low >= TARGET,
        facts=facts,
        more={"images": IMAGES, "threads": THREADS, "judged": first},
    )


if __name__ == "__main__":
    main()
