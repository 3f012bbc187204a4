"""The small ConvNet: its subsampling fits the image, and it classifies handwritten digits."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from trainwell.errors import ModelInvalid, ShapeError
from trainwell.models.convnet import ConvNet


def last_map_side(side: int, depth: int = 3) -> int:
    return ConvNet((1, side, side), 2, width=1, depth=depth).eval().body(torch.zeros(1, 1, side, side)).shape[-1]


def test_the_last_maps_keep_at_least_4x4_and_never_many_more() -> None:
    sides = {side: last_map_side(side) for side in (4, 5, 8, 12, 16, 28, 32, 48, 64, 96, 224)}
    assert sides == {4: 4, 5: 5, 8: 4, 12: 6, 16: 4, 28: 7, 32: 8, 48: 12, 64: 8, 96: 12, 224: 7}


def test_depth_counts_stages_of_two_convolutions_and_channels_double_up_to_eightfold() -> None:
    kernels = [m for m in ConvNet((3, 32, 32), 10, width=4, depth=6).modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in kernels[::2]] == [4, 8, 16, 32, 32, 32]
    assert len(kernels) == 12


def test_it_takes_other_sizes_than_it_was_built_for() -> None:
    net = ConvNet((1, 8, 8), 10, width=4).eval()
    assert net(torch.zeros(2, 1, 40, 9)).shape == (2, 10)


def test_dropout_acts_in_training_only() -> None:
    net = ConvNet((1, 8, 8), 10, width=8, dropout=0.5)
    images = torch.randn(4, 1, 8, 8)
    net.eval()
    assert torch.equal(net(images), net(images))
    net.dropout.train()
    assert not torch.equal(net(images), net(images))


def test_images_too_small_are_refused_when_it_is_built_and_when_it_is_used() -> None:
    with pytest.raises(ModelInvalid, match=r"convnet needs images of at least 4x4 pixels, got 3x8: enlarge them"):
        ConvNet((1, 3, 8), 10)
    with pytest.raises(ShapeError, match=r"convnet needs images of at least 4x4 pixels, got 3x3"):
        ConvNet((1, 28, 28), 10)(torch.zeros(1, 1, 3, 3))


def test_features_are_refused_when_it_is_built() -> None:
    with pytest.raises(ModelInvalid, match=r"convnet needs images, input_shape \(C, H, W\), got \(2,\): use mlp"):
        ConvNet((2,), 3)


@pytest.mark.slow
def test_it_reads_at_least_98_of_100_digits_after_a_few_seconds() -> None:
    """98 % is far below its usual 99.3 %: of 360 test digits, 8 wrong."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 0.6
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    test, train = order[:360], order[360:]
    net = ConvNet((1, 8, 8), 10)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10 * 23, cycle_momentum=False)
    for _ in range(10):
        for batch in train[torch.randperm(len(train))].split(64):
            functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
            falling.step()
    net.eval()
    with torch.no_grad():
        accuracy = (net(images[test]).argmax(1) == labels[test]).float().mean().item()
    assert accuracy >= 0.98
