"""Geometric augmentation against index arithmetic in NumPy, SciPy's interpolation and moved landmarks."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from trainwell.data.augmentation.geometry import Affine, HorizontalFlip, Shift, VerticalFlip, compose, translation
from trainwell.data.augmentation.warp import Warp, WholePixels, resample
from trainwell.errors import OptionInvalid, ShapeError

PADDINGS = ["zero", "edge", "reflect"]
NUMPY: dict[str, Any] = {"zero": "constant", "edge": "edge", "reflect": "reflect"}


def images(
    count: int, channels: int = 3, height: int = 12, width: int = 15, dtype: torch.dtype = torch.uint8
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 256, (count, height, width, channels), generator=generator, dtype=torch.uint8)
    return drawn.to(dtype).permute(0, 3, 1, 2)


def whole_matrices(flip: torch.Tensor, move: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Flip where (N, 2) says so in x and y, then move by (N, 2) whole pixels."""
    matrices = torch.eye(3).repeat(len(flip), 1, 1)
    for axis, length in enumerate((width, height)):
        matrices[:, axis, axis] = torch.where(flip[:, axis], -1.0, 1.0)
        matrices[:, axis, 2] = torch.where(flip[:, axis], float(length), 0.0)
    return compose(translation(move[:, 0].float(), move[:, 1].float()), matrices)


def every_whole_change(pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    grid = torch.cartesian_prod(
        torch.arange(2), torch.arange(2), torch.arange(-pad, pad + 1), torch.arange(-pad, pad + 1)
    )
    return grid[:, :2].bool(), grid[:, 2:]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_flips_and_shifts_equal_numpy_pad_and_slice(padding, channels, dtype):
    flip, move = every_whole_change(2)
    given = images(len(flip), channels, dtype=dtype)
    copy = WholePixels(2, padding, mirrors=True)
    got = copy(given, copy.plan(whole_matrices(flip, move, 12, 15), 12, 15))
    for n, (turned, (right, down)) in enumerate(zip(flip.tolist(), move.tolist(), strict=True)):
        image = given[n].numpy()
        image = image[:, :, ::-1] if turned[0] else image
        image = image[:, ::-1] if turned[1] else image
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode=NUMPY[padding])
        expected = padded[:, 2 - down : 14 - down, 2 - right : 17 - right]
        assert np.array_equal(got[n].numpy(), expected), (turned, right, down)


@pytest.mark.parametrize("padding", PADDINGS)
def test_the_copy_equals_the_resample_exactly_on_whole_pixel_matrices(padding):
    flip, move = every_whole_change(3)
    given = images(len(flip))
    matrices = whole_matrices(flip, move, 12, 15)
    copy = WholePixels(3, padding, mirrors=True)
    assert torch.equal(copy(given, copy.plan(matrices, 12, 15)), resample(given, matrices, padding))
    floats = resample(given.float(), matrices, padding)
    assert torch.allclose(floats, copy(given, copy.plan(matrices, 12, 15)).float(), atol=1e-3)


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_buffer_smaller_than_the_batch_gives_the_same(padding, monkeypatch):
    flip, move = every_whole_change(2)
    given, matrices = images(len(flip)), whole_matrices(flip, move, 12, 15)
    copy = WholePixels(2, padding, mirrors=True)
    whole = copy(given, copy.plan(matrices, 12, 15))
    monkeypatch.setattr("trainwell.data.augmentation.warp.BUFFER_BYTES", 7 * 2 * 16 * 19 * 3)
    small = WholePixels(2, padding, mirrors=True)
    assert torch.equal(small(given, small.plan(matrices, 12, 15)), whole)


@pytest.mark.parametrize(("padding", "mode"), [("zero", "grid-constant"), ("edge", "nearest"), ("reflect", "mirror")])
def test_an_affine_resample_equals_scipy(padding, mode):
    given = images(6).double()
    matrices = Affine(rotation=40, smallest=0.6, largest=1.5, shear=20, translation=0.3).matrices(
        torch.rand(6, 5, generator=torch.Generator().manual_seed(1)), 12, 15
    )
    got = resample(given, matrices, padding)
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])  # SciPy's points are (y, x), ours (x, y)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # its pixel centres are whole numbers
    for n in range(6):
        back = np.linalg.inv(half) @ np.linalg.inv(matrices[n].double().numpy()) @ half
        back = swap @ back @ swap
        for channel in range(3):
            move: Any = back[:2, 2]
            expected = ndimage.affine_transform(given[n, channel].numpy(), back[:2, :2], move, order=1, mode=mode)
            assert np.allclose(got[n, channel].numpy(), expected, atol=2e-3)


def test_a_bright_spot_goes_where_the_matrix_sends_its_centre():
    row, column = 20, 13
    y, x = torch.meshgrid(torch.arange(48.0) + 0.5, torch.arange(40.0) + 0.5, indexing="ij")
    spot = torch.exp(-((x - column - 0.5) ** 2 + (y - row - 0.5) ** 2) / 18).expand(8, 1, 48, 40)
    matrices = Affine(rotation=30, smallest=0.8, largest=1.2, shear=10, translation=0.1).matrices(
        torch.rand(8, 5, generator=torch.Generator().manual_seed(2)), 48, 40
    )
    moved = resample(spot, matrices, "zero")
    expected = matrices @ torch.tensor([column + 0.5, row + 0.5, 1.0])
    mass = moved.sum((1, 2, 3))
    centre = torch.stack([(moved[:, 0] * x).sum((1, 2)) / mass, (moved[:, 0] * y).sum((1, 2)) / mass], dim=1)
    assert (centre - expected[:, :2]).abs().max() < 0.1


def test_a_half_turn_equals_both_flips():
    centred = images(1)
    turn = torch.tensor([[[-1.0, 0, 15], [0, -1, 12], [0, 0, 1]]])
    assert torch.equal(resample(centred, turn, "zero"), centred.flip(2, 3))


def test_ops_act_in_the_order_of_the_list():
    index = torch.arange(200)
    warp = Warp([Shift(pixels=3), HorizontalFlip(probability=1.0)], seed=0)
    moves = Warp([Shift(pixels=3)], seed=0).matrices(index, 0, 12, 15)[:, 0, 2]
    both = warp.matrices(index, 0, 12, 15)
    assert torch.equal(both[:, 0, 2], 15 - moves)
    assert set(moves.tolist()) == {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}


@pytest.mark.parametrize(
    "ops", [[HorizontalFlip(), Shift(pixels=3)], [HorizontalFlip(), Shift(pixels=1), Affine(shear=5)]]
)
def test_a_sample_gets_the_same_change_in_any_batch_and_order(ops):
    given, index = images(40), torch.arange(100, 140)
    together = Warp(ops, seed=3)(given, index, 5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    apart = torch.cat([Warp(ops, seed=3, samples=200)(given[part], index[part], 5) for part in order.split(7)])
    assert torch.equal(apart, together[order])
    assert not torch.equal(Warp(ops, seed=3)(given, index, 6), together)
    assert not torch.equal(Warp(ops, seed=4)(given, index, 5), together)


def test_results_keep_their_values_when_the_buffer_is_used_again():
    warp, given = Warp([HorizontalFlip(), Shift(pixels=3, padding="reflect")], seed=0), images(32)
    before = given.clone()
    first = warp(given, torch.arange(32), 0)
    kept = first.clone()
    warp(images(32).flip(0), torch.arange(32), 1)
    warp(images(7), torch.arange(7), 1)
    assert torch.equal(first, kept)
    assert torch.equal(given, before)


def test_zero_padding_stays_black_after_other_images_went_through_the_buffer():
    warp = Warp([Shift(pixels=4)], seed=0)
    warp(torch.full((16, 3, 12, 15), 255, dtype=torch.uint8), torch.arange(16), 0)
    assert not warp(torch.zeros(16, 3, 12, 15, dtype=torch.uint8), torch.arange(16), 1).any()


def test_the_share_of_flips_is_the_probability():
    flipped = Warp([HorizontalFlip(probability=0.3)], seed=0).matrices(torch.arange(20000), 0, 4, 4)[:, 0, 0] < 0
    assert abs(flipped.float().mean() - 0.3) < 4 * (0.3 * 0.7 / 20000) ** 0.5


def test_affine_draws_stay_in_their_ranges():
    op = Affine(rotation=20, smallest=0.5, largest=2.0)
    linear = Warp([op], seed=0).matrices(torch.arange(5000), 0, 10, 10)[:, :2, :2]
    scale = torch.linalg.det(linear.double()).sqrt()
    angle = torch.rad2deg(torch.atan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert 0.5 <= scale.min() < 0.51
    assert 1.96 < scale.max() <= 2.0001
    assert abs(scale.log().mean()) < 0.03
    assert 19.8 < angle.abs().max() <= 20.001


@pytest.mark.parametrize(
    ("ops", "shape", "words"),
    [
        ([HorizontalFlip()], (8, 20), r"HorizontalFlip needs images \(C, H, W\), but each sample here is \(20,\)"),
        ([Shift(pixels=8), Shift(pixels=4)], (8, 3, 12, 15), "by up to 12 pixels, which must be less .* side, 12"),
    ],
)
def test_samples_that_cannot_be_changed_are_refused_in_words(ops, shape, words):
    with pytest.raises(OptionInvalid, match=words):
        Warp(ops, seed=0)(torch.zeros(shape), torch.arange(8), 0)


def test_two_paddings_in_one_list_are_refused():
    with pytest.raises(OptionInvalid, match="share one padding: Shift has 'edge' and Affine has 'zero'; give all"):
        Warp([Shift(padding="edge"), VerticalFlip(), Affine(padding="zero")], seed=0)


def test_a_scale_range_upside_down_is_refused():
    with pytest.raises(OptionInvalid, match=r"smallest must be at most largest = 0.8, got 1.2: swap the two"):
        Affine(smallest=1.2, largest=0.8)


def test_matrices_for_another_number_of_images_are_refused():
    with pytest.raises(ShapeError, match=r"must be \(N, 3, 3\) = \(2, 3, 3\), got \(1, 3, 3\)"):
        resample(images(2), torch.eye(3).unsqueeze(0), "zero")
