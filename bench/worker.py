"""One way to train in a process of its own, so that its settings touch no other: reads steps, prints seconds a step.

echo 100 | python bench/worker.py mlp ours
"""

import sys
from typing import Any

import torch
from loops import Default, Ours, OwnInput, Transformed, Tuned, make_job, random_features, random_images, tiny_mlp

THREADS = {"mlp": 1, "resnet20": 2}  # what trainwell chooses for them on two cores; every way gets the same
MLP = {"batch.size": 64, "preprocessing": "none", "machine.precision": "float32"}
RESNET = {
    "batch.size": 128,
    "model": "resnet20",
    "preprocessing": "standardize",
    "augmentation": ["shift:pixels=4", "horizontal_flip"],
    "machine.precision": "bfloat16",
    "machine.memory_format": "channels_last",
}
NO_PROBES: dict[str, Any] = {"probes": []}


def way(net: str, name: str) -> Any:
    """Return one way to train one net."""
    torch.set_num_threads(THREADS[net])
    if net == "mlp":
        features = random_features()
        made = {
            "ours": lambda: Ours(make_job(features, MLP, tiny_mlp())),
            "ours, no probes": lambda: Ours(make_job(features, MLP | NO_PROBES, tiny_mlp())),
            "hand-tuned": lambda: Tuned(make_job(features, MLP, tiny_mlp())),
            "default": lambda: Default(tiny_mlp(), *features, batch_size=64),
        }
    else:
        images = random_images()
        plain = RESNET | {"machine.memory_format": "contiguous", "machine.precision": "float32"}
        made = {
            "ours": lambda: Ours(make_job(images, RESNET)),
            "ours, no probes": lambda: Ours(make_job(images, RESNET | NO_PROBES)),
            "hand-tuned": lambda: Tuned(make_job(images, RESNET)),
            "hand-tuned, own input": lambda: OwnInput(make_job(images, RESNET), images, 128),
            "default": lambda: Default(make_job(images, plain).model, images[0].float() / 255, images[1], 128),
            "default, transforms": lambda: Transformed(make_job(images, plain).model, *images, batch_size=128),
        }
    return made[name]()


def main() -> None:
    """Serve measurements until the input ends."""
    trained = way(*sys.argv[1:3])
    print("ready", flush=True)
    for line in sys.stdin:
        print(trained.seconds(int(line)), flush=True)


if __name__ == "__main__":
    main()
