"""The parts alone, in a plain PyTorch loop: network, optimizer, schedule, loss, augmentation, average, metrics.

Run it with `python examples/own_loop.py [EPOCHS]`. Nothing here knows of runs or recipes: each part is a function, a
module or an optimizer like any other, and leaves the rest to you.
"""

import sys

import torch
from sklearn.datasets import load_digits

from trainwell.core.batch import Batch
from trainwell.data.augmentation.geometry import Affine
from trainwell.data.pipeline import Pipeline
from trainwell.data.preprocessing.elementwise import standardize
from trainwell.losses import smooth_cross_entropy
from trainwell.metrics import measure
from trainwell.models.convnet import convnet
from trainwell.optimizers.averaging import EMA
from trainwell.optimizers.groups import parameter_groups
from trainwell.optimizers.sgd import sgd
from trainwell.schedules import one_cycle

BATCH, TEST = 64, 359


def main(epochs: int = 12) -> None:
    """Train on digits and say how good the averaged network is."""
    pixels, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    images = (pixels / 16 * 255).round().to(torch.uint8).view(-1, 1, 8, 8)
    generator = torch.manual_seed(0)
    test, train = torch.randperm(len(images), generator=generator).split([TEST, len(images) - TEST])

    # Preprocessing is fitted on the training images alone, and the same object serves both pipelines.
    scale = standardize()
    scale.fit(images[train])
    change = Pipeline([Affine(rotation=10, translation=0.1)], scale, seed=0, input_shape=(1, 8, 8))
    keep = Pipeline([], scale, seed=0, input_shape=(1, 8, 8))

    model = convnet((1, 8, 8), 10, width=16)
    optimizer = sgd(parameter_groups(model, 5e-4), lr=0.1)  # biases and norms are spared the decay
    steps = -(-len(train) // BATCH)
    multiplier = torch.optim.lr_scheduler.LambdaLR(optimizer, one_cycle(epochs * steps, steps))
    average = EMA(model, decay=0.98)
    for epoch in range(epochs):
        for chosen in train[torch.randperm(len(train), generator=generator)].split(BATCH):
            batch = change(Batch(images[chosen], labels[chosen], chosen), epoch)
            loss = smooth_cross_entropy(model(batch.inputs), batch.targets, smoothing=0.1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            multiplier.step()
            average.update()
    with torch.no_grad():
        scores = average.model(keep(Batch(images[test], labels[test], test), 0).inputs)
    print(measure(scores.softmax(1).numpy(), labels[test].numpy(), [str(digit) for digit in range(10)]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
