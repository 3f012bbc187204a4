"""The whitened ConvNet: what its first layer does to patches, how it begins, and which images it takes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainwell.errors import ModelInvalid, ShapeError
from trainwell.models import whitened as module
from trainwell.models.whitened import WhitenedConvNet, whitened


def photos(count: int = 30, channels: int = 3, side: int = 12) -> Tensor:
    """Smooth, standardized images: neighbouring pixels and the channels are correlated, as in photographs."""
    noise = torch.randn(count, 1, side + 2, side + 2, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(noise, 3, stride=1).repeat(1, channels, 1, 1)
    smooth += 0.1 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(1))
    return (smooth - smooth.mean((0, 2, 3), keepdim=True)) / smooth.std((0, 2, 3), keepdim=True)


def patches(images: Tensor) -> np.ndarray:
    """Every patch of 2x2 pixels as a row (channels first), cut out one by one."""
    values = images.double().numpy()
    height, width = values.shape[2:]
    cut = [values[:, :, y : y + 2, x : x + 2] for y in range(height - 1) for x in range(width - 1)]
    return np.concatenate([part.reshape(len(values), -1) for part in cut])


def test_whitened_patches_are_uncorrelated_and_of_variance_one_up_to_the_floor() -> None:
    images = photos()
    network = whitened((3, 12, 12), 5, width=8)
    network.start_on(images)
    weight = network.whiten.weight.detach().double().numpy().reshape(24, 12)
    rows = patches(images)
    covariance = rows.T @ rows / len(rows)
    variances = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    expected = np.diag(variances / (variances + module.WHITENING_FLOOR))
    np.testing.assert_allclose(weight[:12] @ covariance @ weight[:12].T, expected, atol=1e-4)
    assert variances[0] > 50 * variances[-1], "the test has something to whiten"
    np.testing.assert_allclose(np.diag(expected), 1, atol=0.05)


def test_images_of_any_number_and_size_are_read_in_pieces_to_the_same_whitening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, cut = photos(31), []
    split = Tensor.split

    def watched(self: Tensor, size: int) -> object:
        cut.append(size)
        return split(self, size)

    monkeypatch.setattr(Tensor, "split", watched)
    whole, pieces = whitened((3, 12, 12), 5, width=8), whitened((3, 12, 12), 5, width=8)
    whole.start_on(images)
    monkeypatch.setattr(module, "PIECE_PIXELS", 12 * 12 * 4)
    pieces.start_on(images)
    assert cut[0] >= 31
    assert cut[1] == 4
    of_whole, of_pieces = (
        (rows := network.whiten.weight[:12].detach().double().flatten(1)).T @ rows for network in (whole, pieces)
    )  # W^T W, in which the sign of a direction does not show
    torch.testing.assert_close(of_pieces, of_whole, rtol=1e-5, atol=1e-5)


def test_each_direction_is_there_with_both_signs() -> None:
    network = whitened((3, 12, 12), 5, width=8)
    network.start_on(photos())
    weight = network.whiten.weight
    assert weight.shape == (24, 3, 2, 2)
    assert torch.equal(weight[:12], -weight[12:])


def test_the_first_layer_computes_what_the_equation_says() -> None:
    images = photos(4)
    network = whitened((3, 12, 12), 5, width=8)
    network.start_on(images)
    with torch.no_grad():
        maps = network.whiten(images)  # (N, 24, 11, 11)
    rows = patches(images) @ network.whiten.weight.detach().double().numpy().reshape(24, 12).T
    np.testing.assert_allclose(rows.reshape(11, 11, 4, 24).transpose(2, 3, 0, 1), maps.numpy(), atol=1e-4)


def test_constant_images_are_held_finite_by_the_floor() -> None:
    network = whitened((1, 9, 9), 2, width=4)
    network.start_on(torch.zeros(5, 1, 9, 9))
    lengths = network.whiten.weight.flatten(1).norm(dim=1)  # of rows of E^T / sqrt(floor)
    torch.testing.assert_close(lengths, torch.full((8,), module.WHITENING_FLOOR**-0.5))


def test_without_data_the_first_layer_hands_on_the_pixels_of_each_patch() -> None:
    network = whitened((2, 8, 8), 2, width=4)
    images = photos(3, channels=2, side=8)
    with torch.no_grad():
        maps = network.whiten(images)
    rows = patches(images).reshape(7, 7, 3, 8).transpose(2, 3, 0, 1)
    np.testing.assert_allclose(maps[:, :8].numpy(), rows, atol=1e-6)
    assert torch.equal(maps[:, 8:], -maps[:, :8])


def test_the_whitening_is_frozen_and_its_bias_is_trained() -> None:
    network = whitened((3, 12, 12), 5, width=8)
    before = network.whiten.weight.clone()
    assert not network.whiten.weight.requires_grad
    network.start_on(photos())
    started = network.whiten.weight.clone()
    assert not torch.equal(started, before)
    network(photos()).square().mean().backward()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    torch.optim.SGD(trained, lr=0.1).step()
    assert torch.equal(network.whiten.weight, started)
    assert network.whiten.bias is not None
    assert network.whiten.bias.abs().max() > 0


def test_every_convolution_begins_as_the_identity_on_the_channels_that_it_has() -> None:
    for convolution in whitened((3, 16, 16), 5, width=16).blocks.modules():
        if isinstance(convolution, nn.Conv2d):
            kept = min(convolution.in_channels, convolution.out_channels)
            maps = torch.randn(2, convolution.in_channels, 5, 5)
            with torch.no_grad():
                assert torch.equal(convolution(maps)[:, :kept], maps[:, :kept])


def test_the_scales_of_norms_are_frozen_at_one_and_exactly_their_shifts_move_faster() -> None:
    network = whitened((3, 16, 16), 5, width=8)
    norms = {name: part for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)}
    assert network.lr_factors == {f"{name}.bias": module.SHIFT_LR_FACTOR for name in norms}
    assert network.lr_factors.keys() <= dict(network.named_parameters()).keys()
    for norm in norms.values():
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert not norm.weight.requires_grad
        assert norm.bias.requires_grad


@pytest.mark.parametrize(
    ("side", "blocks"), [(8, 1), (9, 1), (12, 2), (16, 2), (24, 3), (32, 3), (64, 4)]
)  # maps of side - 1 are halved, rounded down, until they are at most 4
def test_the_number_of_blocks_follows_from_the_image_size(side: int, blocks: int) -> None:
    network = whitened((3, side, side + 3), 2, width=4)
    assert len(network.blocks) == blocks
    widths = [block[0].out_channels for block in network.blocks]  # type: ignore[index]
    assert widths == [4] + [12] * (blocks - 1)
    assert network(torch.zeros(2, 3, side, side + 3)).shape == (2, 2)


def test_with_maxout_the_first_layer_begins_as_a_relu_of_the_whitened_patches() -> None:
    images = photos(4)
    plain, wide = whitened((3, 12, 12), 5, width=4), whitened((3, 12, 12), 5, width=4, activation="maxout:pieces=2")
    for network in (plain, wide):
        network.start_on(images)
    with torch.no_grad():
        torch.testing.assert_close(wide.act(wide.whiten(images)), plain.whiten(images).relu())
    assert not wide.whiten.weight.requires_grad


def test_weight_norm_starts_behind_the_whitening_which_it_leaves_alone() -> None:
    network, seen = whitened((3, 12, 12), 5, width=4, norm="weight"), []
    network.start_on(photos())
    assert "whiten.weight" in dict(network.named_parameters())
    first = network.blocks[0][0]
    first.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    with torch.no_grad():
        network(photos())
    variance, mean = torch.var_mean(seen[0], (0, 2, 3), correction=0)
    torch.testing.assert_close(variance, torch.ones(4), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mean, torch.zeros(4), rtol=0, atol=1e-3)


def test_the_scores_are_scaled() -> None:
    images = photos()
    torch.manual_seed(0)
    one = whitened((3, 12, 12), 5, width=8, scale=1.0).eval()
    torch.manual_seed(0)
    ninth = whitened((3, 12, 12), 5, width=8).eval()
    with torch.no_grad():
        torch.testing.assert_close(ninth(images) * 9, one(images))


@pytest.mark.parametrize("shape", [(3, 7, 7), (1, 32, 6)])
def test_images_that_are_too_small_are_refused_in_words(shape: tuple[int, ...]) -> None:
    sides = f"{shape[1]}x{shape[2]}"
    with pytest.raises(ModelInvalid, match=f"whitened needs images of at least 8x8 pixels, got {sides}: enlarge them"):
        whitened(shape, 2)


def test_features_and_wrong_channels_are_refused() -> None:
    with pytest.raises(ModelInvalid, match="whitened"):
        WhitenedConvNet((5,), 2)
    with pytest.raises(ShapeError, match="whitened"):
        whitened((3, 12, 12), 2, width=4)(torch.zeros(2, 1, 12, 12))
