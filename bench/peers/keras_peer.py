"""The peer Keras 3 with its torch backend: `compile` and `fit`, silent.

Its accuracy is that of its own ConvNet for CIFAR-10 (the `cifar10_cnn` of its examples, 32-32-64-64 channels and a
dense layer of 512, with dropout), with `adam` at its default rate and batches of 128 as in its "Simple MNIST convnet".
Its steps are timed around the same torch network as everybody's, in its wrapper for torch modules.
Keras takes no torch optimizer: its own SGD does the same work, all tensors at once.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("KERAS_TORCH_DEVICE", "cpu")

import keras
import numpy as np
from entry import run
from steps import SGD, Train
from task import Split, Task, versions
from torch import Tensor, nn

NETS = ("cifar10_cnn",)


class Around(keras.Model):
    """A torch network as a Keras model."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = keras.layers.TorchModuleWrapper(net)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        return self.net(inputs, training=training)


def steps(net: nn.Module) -> Train:
    """Return Keras' loop around a network."""
    model = Around(net)
    optimizer = keras.optimizers.SGD(SGD["lr"], momentum=0.9, nesterov=True, weight_decay=SGD["weight_decay"])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda loader: model.fit(loader, epochs=1, verbose=0)


def model_of(task: Task) -> keras.Model:
    """Return the ConvNet of Keras' CIFAR-10 example."""
    layers = keras.layers
    channels, height, width = task.shape
    model = keras.Sequential(
        [
            keras.Input((height, width, channels)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(task.classes, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return images in [0, 1], (N, H, W, C), and labels."""
    return split.images.permute(0, 2, 3, 1).numpy().astype("float32") / 255, split.labels.numpy()


def accuracy(task: Task) -> None:
    """Train until the time is up, then answer."""
    keras.utils.set_random_seed(task.seed)

    def fit(epochs: int, train: Split) -> keras.Model:
        model = model_of(task)
        model.fit(*arrays(train), batch_size=task.batch, epochs=epochs, verbose=0)
        return model

    epochs = task.whole_epochs(lambda steps: fit(1, task.few(steps)))
    model = fit(epochs, task.train)

    def correct() -> int:
        images, labels = arrays(task.test)
        return int((model.predict(images, batch_size=500, verbose=0).argmax(1) == labels).sum())

    facts = {"epochs": epochs, "precision": "float32", "parameters": model.count_params()}
    task.answer(None, correct, **facts, versions=versions("keras", "torch", "numpy"))


if __name__ == "__main__":
    run(steps, accuracy, nets=NETS)
