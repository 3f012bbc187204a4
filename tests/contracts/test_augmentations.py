"""What every member of the augmentation shelf must keep to; holds no member's name."""

import pytest
import torch

from trainwell.core.catalog import Card
from trainwell.core.shelves import augmentations
from trainwell.data.augmentation.geometry import Geometric
from trainwell.data.augmentation.warp import Warp
from trainwell.errors import OptionInvalid


@pytest.fixture(params=list(augmentations), ids=lambda card: card.name)
def card(request) -> Card:
    return request.param


def images(channels: int = 3, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    drawn = torch.randint(0, 256, (64, 12, 10, channels), generator=torch.Generator().manual_seed(0))
    return drawn.to(dtype).permute(0, 3, 1, 2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_it_changes_images_and_keeps_shape_dtype_and_layout(card, channels, dtype):
    given = images(channels, dtype)
    before = given.clone()
    result = Warp([card.build({})], seed=0)(given, torch.arange(64), 0)
    assert result.shape == given.shape
    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(given, before)
    assert not torch.equal(result, given)


def test_a_draw_depends_on_sample_epoch_and_seed_only(card):
    given, index, order = images(), torch.arange(64), torch.arange(63, -1, -1)
    whole = Warp([card.build({})], seed=0)(given, index, 1)
    backwards = torch.cat([Warp([card.build({})], seed=0, samples=64)(given[o], index[o], 1) for o in order.split(9)])
    assert torch.equal(backwards, whole[order])
    assert not torch.equal(Warp([card.build({})], seed=0)(given, index, 2), whole)
    assert not torch.equal(Warp([card.build({})], seed=1)(given, index, 1), whole)


def test_features_are_refused_in_words(card):
    with pytest.raises(OptionInvalid, match=r"needs images \(C, H, W\)"):
        Warp([card.build({})], seed=0)(torch.zeros(4, 9), torch.arange(4), 0)


def test_its_matrices_are_affine_and_can_be_undone(card):
    op = card.build({})
    assert isinstance(op, Geometric)
    matrices = op.matrices(torch.rand(50, op.draws, generator=torch.Generator().manual_seed(0)), 12, 10)
    assert matrices.shape == (50, 3, 3)
    assert matrices.dtype == torch.float32
    assert torch.equal(matrices[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(50, 3))
    assert torch.linalg.det(matrices.double()).abs().min() > 1e-3


def test_whole_pixel_ops_say_the_truth_about_themselves(card):
    op = card.build({})
    assert isinstance(op, Geometric)
    if op.reach is None:
        return
    matrices = op.matrices(torch.rand(500, op.draws, generator=torch.Generator().manual_seed(0)), 12, 10)
    assert torch.equal(matrices, matrices.round())
    corners = torch.tensor([[0.0, 0, 1], [10.0, 12, 1]])
    moved = (matrices @ corners.T)[:, :2]
    frame = torch.tensor([10.0, 12.0]).view(1, 2, 1)
    assert max(float(-moved.min()), float((moved - frame).max())) <= op.reach
    assert bool((matrices[:, 0, 0] < 0).any()) == op.mirrors
