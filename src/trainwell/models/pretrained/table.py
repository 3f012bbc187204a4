"""The published weights there are for networks of this shelf: where they lie, and what they expect.

Those for photographs were trained on ImageNet by torchvision's authors; timm's repositories on the Hugging Face hub
hold the same tensors as safetensors. Those for small images were trained on CIFAR-10 by Yerlan Idelbayev
(BSD-2-Clause). The digits in a file's name are the beginning of its SHA-256.

Source: torchvision 0.28 (`torchvision/models`), timm 1.0 (`timm/models`, tags `tv_in1k`), and
https://github.com/akamaster/pytorch_resnet_cifar10, commit d5489e8.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trainwell.core.choice import Choice
from trainwell.data.preprocessing.elementwise import IMAGENET_MEAN, IMAGENET_STD

TORCHVISION = "https://download.pytorch.org/models"
IDELBAYEV = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def fixed(mean: tuple[float, ...], std: tuple[float, ...]) -> Choice:
    """Return the preprocessing of a mean and a deviation that are known beforehand.

    >>> print(fixed((0.5,), (0.25,)))
    fixed:mean=[0.5],std=[0.25]
    """
    return Choice(name="fixed", options={"mean": list(mean), "std": list(std)})


@dataclass(frozen=True)
class Entry:
    """Published weights of one network.

    Attributes:
        name: of the network on our shelf.
        file: its name, with the first digits of its SHA-256 behind the last hyphen.
        site: the address that the file lies below.
        repository: on the Hugging Face hub, with `model.safetensors`; empty where there is none.
        side: of the images that it was trained on.
        mean: that is subtracted from x / 255, for each channel.
        std: what the rest is divided by.
        classes: names of its scores.
    """

    name: str
    file: str
    site: str = TORCHVISION
    repository: str = ""
    side: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    classes: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The address of the file."""
        return f"{self.site}/{self.file}"

    @property
    def digits(self) -> str:
        """The first digits of the file's SHA-256."""
        return self.file.rpartition("-")[2].partition(".")[0]

    @property
    def model(self) -> Choice:
        """The network."""
        return Choice(name=self.name)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it was trained on."""
        return len(self.mean), self.side, self.side

    @property
    def preprocessing(self) -> Choice:
        """The preprocessing that it was trained with."""
        return fixed(self.mean, self.std)


def _imagenet(name: str, digits: str, *, is_on_hub: bool = True) -> Entry:
    return Entry(name, f"{name}-{digits}.pth", repository=f"timm/{name}.tv_in1k" if is_on_hub else "")


def _cifar(name: str, digits: str) -> Entry:
    return Entry(name, f"{name}-{digits}.th", IDELBAYEV, side=32, classes=CIFAR_CLASSES)


ENTRIES: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        _imagenet("resnet18", "f37072fd"),
        _imagenet("resnet34", "b627a593"),
        _imagenet("resnet50", "0676ba61"),
        _imagenet("resnet101", "63fe2227"),
        _imagenet("resnet152", "394f9c45"),
        _imagenet("wide_resnet50_2", "95faca4d"),
        _imagenet("wide_resnet101_2", "32ee1156"),
        _imagenet("densenet121", "a639ec97"),
        _imagenet("densenet161", "8d451a50"),
        _imagenet("densenet169", "b2777c0a"),
        _imagenet("densenet201", "c1103571"),
        _imagenet("vgg16", "397923af"),
        Entry("alexnet", "alexnet-owt-7be5be79.pth"),
        # Its weights came from TensorFlow, whose inputs lie in [-1, 1]; torchvision brings its own inputs back to that.
        Entry("googlenet", "googlenet-1378be20.pth", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        _cifar("resnet20", "12fca82f"),
        _cifar("resnet32", "d509ac18"),
        _cifar("resnet44", "014dd654"),
        _cifar("resnet56", "4bfd9763"),
    )
}


def entry_of(sha256: str) -> Entry | None:
    """Return what is published in a file with this SHA-256, if it is one of them.

    >>> entry_of("12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8").name
    'resnet20'
    """
    return next((entry for entry in ENTRIES.values() if sha256.startswith(entry.digits)), None)
