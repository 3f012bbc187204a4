"""Images of any size from a network's least to 512x512; below the least, an error that says it."""

from typing import Any

import pytest
import torch
from torch import nn

from trainwell.core.shelves import models
from trainwell.errors import ShapeError

# The least side of the published form, and of the form for small images: the halvings leave one place.
LEAST: list[tuple[str, dict[str, Any], int]] = [
    ("resnet", {"width": 2}, 32),
    ("resnet", {"width": 2, "stem": "small"}, 8),
    ("resnet", {"width": 2, "depth": 50}, 32),
    ("cifar_resnet", {"depth": 8, "width": 4}, 4),
    ("plain", {"depth": 8, "width": 4}, 4),
    ("plain", {"depth": 10, "width": 2, "stem": "large"}, 32),
    ("preact", {"depth": 8}, 4),
    ("preact_resnet", {"width": 2}, 32),
    ("preact_resnet", {"width": 2, "stem": "small"}, 8),
    ("wide_resnet", {"depth": 10, "widening": 1}, 4),
    ("densenet", {"growth": 2, "layers": (1, 1, 1, 1)}, 32),
    ("densenet", {"growth": 2, "layers": (1, 1, 1, 1), "stem": "small"}, 8),
    ("cifar_densenet", {"depth": 10, "growth": 2}, 4),
    ("googlenet", {"width": 2}, 32),
    ("googlenet", {"width": 2, "stem": "small"}, 4),
    ("vgg", {"depth": 11, "width": 1}, 32),
    ("alexnet", {"width": 2}, 63),
    ("alexnet", {"width": 2, "year": 2012}, 67),
    ("mobilenet", {"width": 2}, 32),
    ("mobilenet", {"width": 2, "stem": "small"}, 16),
]


def build(name: str, options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, options, in_channels=1, num_classes=4).eval()


@pytest.mark.parametrize(("name", "options", "least"), LEAST)
@torch.no_grad()
def test_every_size_from_the_least_to_512_gives_scores(name: str, options: dict[str, Any], least: int) -> None:
    net = build(name, options)
    for height, width in {(least, least), (least, least + 5), (max(least, 75), 67), (224, 224), (512, 512)}:
        assert net(torch.zeros(1, 1, height, width)).shape == (1, 4)
    assert min(net.maps(torch.zeros(1, 1, least, least)).shape) == 1


@pytest.mark.parametrize(("name", "options", "least"), LEAST)
def test_a_smaller_image_is_refused_with_the_least_side(name: str, options: dict[str, Any], least: int) -> None:
    words = f"needs images of at least {least}x{least} pixels, got {least - 1}x{least + 9}: enlarge them"
    with pytest.raises(ShapeError, match=words):
        build(name, options)(torch.zeros(1, 1, least - 1, least + 9))
