"""How fast a folder of images is answered, against the same network's own batched inference on decoded images.

    python bench/predict.py --cifar FOLDER --photos FOLDER

Ours is `Classifier.predict(folder)`: listing, reading, decoding, resizing, preprocessing, network and softmax. The
yardstick has every image decoded and resized in memory before the clock starts, and runs preprocessing and the
trained network, as training left it, in evaluation mode on batches of 256. The network's weights are random: speed
does not depend on them. A third way runs the yardstick on the network with its batch norms folded.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import DATA, figure, interleave, machine, not_run, parser, ratio, write_result
from torch import Tensor, nn

from trainwell.classifier import Classifier, Contract, load, save
from trainwell.classifier.inputs import read_inputs_of
from trainwell.classifier.reading import decode_batches
from trainwell.core.shelves import preprocessings
from trainwell.data.resize import ImageForm
from trainwell.models.building import build_network

BATCH = 256
THREADS = 2
TARGET = 0.8
SETS = {"cifar": ImageForm(32, 32, 3), "photos": ImageForm(128, 128, 3)}
NETWORKS = ("resnet20", "convnet")


def decoded(folder: Path, contract: Contract) -> Tensor:
    """Return all images of a folder as samples (N, C, H, W) in memory."""
    assert contract.form is not None
    sources = read_inputs_of(folder, contract)
    assert isinstance(sources, list)
    pixels = [batch.pixels for batch in decode_batches(sources, contract.form, batch_size=BATCH)]
    return torch.from_numpy(np.concatenate(pixels)).permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)


@torch.no_grad()
def answer_decoded(network: nn.Module, clf: Classifier, samples: Tensor) -> float:
    """Return the images per second of a network on decoded images."""
    start = time.perf_counter()
    for piece in samples.split(BATCH):
        network(clf.preprocessing.apply(piece)).softmax(1)
    return len(samples) / (time.perf_counter() - start)


def answer_folder(clf: Classifier, folder: Path) -> float:
    """Return the images per second of predicting a folder."""
    start = time.perf_counter()
    count = len(clf.predict(folder, batch_size=BATCH))
    return count / (time.perf_counter() - start)


def ways(name: str, folder: Path, form: ImageForm) -> dict[str, Callable[[], float]]:
    """Return the ways to answer for the images of a folder with one network."""
    shape = (form.channels, form.height, form.width)
    contract = Contract(
        model=name,
        preprocessing="standardize",
        input_shape=shape,
        classes=tuple("abcdefghij"),
        form=form,
        dtype="uint8",
    )
    samples = decoded(folder, contract)
    preprocessing = preprocessings.build("standardize")
    preprocessing.fit(samples[:1000])
    network = build_network(contract.model, shape, 10, seed=0, files={}).eval()
    with tempfile.TemporaryDirectory() as place:
        save(Path(place) / "classifier", model=network, preprocessing=preprocessing, contract=contract)
        clf = load(place)
    network = network.to(memory_format=torch.channels_last)
    return {
        "folder": partial(answer_folder, clf, folder),
        "in memory": partial(answer_decoded, network, clf, samples),
        "in memory, folded": partial(answer_decoded, clf.model, clf, samples),
    }


def main() -> None:
    options = parser(__doc__ or "")
    for name in SETS:
        options.add_argument(f"--{name}", type=Path, default=DATA / name, help="folder of images")
    given = options.parse_args()
    torch.set_num_threads(THREADS)
    facts, figures, lowest, counts = machine(), {}, [], {}
    for name, form in SETS.items():
        folder = getattr(given, name)
        if not folder.is_dir():
            not_run(f"{folder} is not there: give the folder as --{name}")
        for network in NETWORKS:
            made = ways(network, folder, form)
            for way in made.values():
                way()
            label = f"{network}, {name} {form.height}x{form.width}"
            print(label)
            rates = interleave(made, given.pairs)
            figures |= {f"{label}: {way}": figure(values, "images/s") for way, values in rates.items()}
            share = ratio(rates["folder"], rates["in memory"])
            figures[f"{label}: folder to in memory"] = share
            figures[f"{label}: folder to in memory, folded"] = ratio(rates["folder"], rates["in memory, folded"])
            lowest.append(share.low)
        counts[name] = len([path for path in folder.rglob("*") if path.is_file()])
    write_result(
        "predict",
        figures=figures,
        n=given.pairs,
        target=f"a folder is answered at >= {TARGET}x the network's own batched inference (low end)",
        reached=min(lowest) >= TARGET,
        facts=facts,
        more={"images": counts, "threads": THREADS, "batch": BATCH},
    )


if __name__ == "__main__":
    main()
