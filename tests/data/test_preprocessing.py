"""Preprocessing against scikit-learn, NumPy in float64 and the property in each name."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch.utils.data import Dataset

from trainwell.core.shelves import preprocessings
from trainwell.data.preprocessing import fitting
from trainwell.data.preprocessing.fitting import fit_on
from trainwell.data.store import Store
from trainwell.data.stream import StreamStore
from trainwell.errors import DataInvalid, RunDamaged, ShapeError


def fitted(name: str, train: torch.Tensor, **options: object):
    preprocessing = preprocessings.build(name, options)
    preprocessing.fit(train)
    return preprocessing


def photos(count: int = 300, channels: int = 3, side: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scale = torch.rand(1, side, side, channels, generator=generator) * 150 + 40
    drawn = torch.rand(count, side, side, channels, generator=generator) * scale + torch.arange(channels) * 20
    return drawn.to(torch.uint8).permute(0, 3, 1, 2)


def features(count: int = 400, width: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(width, width, generator=generator)
    return torch.randn(count, width, generator=generator) @ mix * 3 + torch.arange(width) * 10


def test_standardized_channels_equal_numpy_in_float64():
    train = photos()
    exact = train.numpy().astype(np.float64)
    expected = (exact - exact.mean((0, 2, 3), keepdims=True)) / exact.std((0, 2, 3), keepdims=True)
    got = fitted("standardize", train).apply(train)
    assert got.dtype == torch.float32
    assert np.abs(got.numpy() - expected).max() < 2e-7 * np.abs(expected).max() * 2


@pytest.mark.parametrize("name", ["standardize", "standardize_features"])
def test_standardized_features_equal_scikit_learn(name):
    train, other = features(), features(50) + 1
    expected = StandardScaler().fit(train.double().numpy()).transform(other.double().numpy())
    got = fitted(name, train).apply(other, dtype=torch.float64)
    assert np.allclose(got.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_features_far_from_zero_keep_their_digits():
    train = torch.arange(100.0).unsqueeze(1) + 1e6
    expected = StandardScaler().fit_transform(train.double().numpy())
    assert np.abs(fitted("standardize", train).apply(train).numpy() - expected).max() < 2e-3
    assert np.abs(fitted("standardize", train).apply(train, dtype=torch.float64).numpy() - expected).max() < 1e-12


def test_standardized_pixels_have_mean_zero_and_deviation_one_at_every_place():
    train = photos()
    result = fitted("standardize_features", train).apply(train, dtype=torch.float64)
    assert result.mean(0).abs().max() < 1e-12
    assert (result.std(0, unbiased=False) - 1).abs().max() < 1e-12


def test_mean_image_and_channel_mean_only_subtract():
    train = photos()
    exact = train.double() / 255
    image = fitted("mean_image", train).apply(train, dtype=torch.float64)
    channel = fitted("channel_mean", train).apply(train, dtype=torch.float64)
    assert torch.allclose(image, exact - exact.mean(0), atol=1e-14)
    assert torch.allclose(channel, exact - exact.mean((0, 2, 3), keepdim=True), atol=1e-14)


def test_minmax_of_features_equals_scikit_learn_and_of_images_spans_each_channel():
    train = features()
    expected = MinMaxScaler((-1, 1)).fit_transform(train.double().numpy())
    assert np.allclose(fitted("minmax", train).apply(train, dtype=torch.float64).numpy(), expected, atol=1e-12)
    result = fitted("minmax", photos()).apply(photos())
    assert torch.allclose(result.amin((0, 2, 3)), torch.tensor(-1.0))
    assert torch.allclose(result.amax((0, 2, 3)), torch.tensor(1.0))


def test_scale_only_divides_images_by_255_and_leaves_features():
    assert torch.allclose(fitted("none", photos()).apply(photos()), photos() / 255, rtol=2e-7, atol=0)
    assert torch.equal(fitted("none", features()).apply(features()), features())


def test_batch_norm_scales_only_and_puts_its_layer_in_front():
    images, rows = fitted("batch_norm", photos()), fitted("batch_norm", features())
    assert torch.allclose(images.apply(photos()), photos() / 255, rtol=2e-7, atol=0)
    normal = images.layer((3, 6, 6))(images.apply(photos()))
    assert normal.mean((0, 2, 3)).abs().max() < 1e-4
    assert (normal.std((0, 2, 3), unbiased=False) - 1).abs().max() < 1e-3
    assert isinstance(rows.layer((5,)), torch.nn.BatchNorm1d)


def test_pca_equals_scikit_learn_up_to_the_sign_of_each_axis():
    train = features()
    for name, whiten in (("pca", False), ("pca_whiten", True)):
        options = {"epsilon": 0.0} if whiten else {}
        got = fitted(name, train, **options).apply(train, dtype=torch.float64).numpy()
        expected = PCA(whiten=whiten, svd_solver="full").fit_transform(train.double().numpy())
        signs = np.sign((got * expected).sum(0))
        assert np.allclose(got, expected * signs, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["pca_whiten", "zca"])
@pytest.mark.parametrize("train", [features(), photos(500)], ids=["features", "images"])
def test_whitened_inputs_have_the_identity_as_covariance(name, train):
    result = fitted(name, train, epsilon=0.0).apply(train, dtype=torch.float64).flatten(1)
    covariance = torch.cov(result.T)
    assert (covariance - torch.eye(len(covariance))).abs().max() < 1e-6
    assert result.mean(0).abs().max() < 1e-9


def test_pca_leaves_no_correlation_and_rising_order_is_reversed():
    covariance = torch.cov(fitted("pca", features()).apply(features(), dtype=torch.float64).T)
    variance = covariance.diagonal()
    assert (covariance - torch.diag(variance)).abs().max() < 1e-9 * variance[0]
    assert bool((variance[:-1] >= variance[1:]).all())


def test_zca_is_the_symmetric_square_root_of_the_inverse_covariance():
    train = features()
    covariance = torch.cov(train.double().T)
    matrix = fitted("zca", train, epsilon=0.0).state()["matrix"]
    assert torch.allclose(matrix @ covariance @ matrix, torch.eye(5, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(matrix, matrix.T, atol=1e-12)


def test_whitening_epsilon_bounds_the_gain_of_quiet_directions():
    train = features() * torch.tensor([1.0, 1.0, 1.0, 1.0, 1e-3])
    assert torch.linalg.matrix_norm(fitted("zca", train, epsilon=0.01).state()["matrix"], 2) <= 10.0


def test_values_that_never_change_are_centred_and_never_divided_by():
    train = features()
    train[:, 2] = 0.1
    kept = fitted("standardize", train)
    assert torch.equal(kept.apply(train)[:, 2], torch.zeros(400))
    assert kept.notes == ("1 of 5 features never change in the train split: they are left centred",)
    white = fitted("pca_whiten", train, epsilon=0.0)
    assert bool(white.apply(train).isfinite().all())
    assert white.notes == ("training samples do not vary in 1 of 5 directions: those become 0",)
    black = photos()
    black[:, 1] = 7
    for name in ("standardize", "standardize_features", "minmax", "zca"):
        result = fitted(name, black).apply(black)
        assert bool(result.isfinite().all())
        assert result[:, 1].abs().max() < 1e-5


def test_bfloat16_is_the_rounded_float32_result():
    made = fitted("standardize", photos())
    assert torch.equal(made.apply(photos(), dtype=torch.bfloat16), made.apply(photos()).bfloat16())


def test_the_result_is_channels_last_and_new_memory():
    for name in ("standardize", "zca"):
        result = fitted(name, photos()).apply(photos())
        assert result.is_contiguous(memory_format=torch.channels_last)
    train = features()
    assert fitted("none", train).apply(train).data_ptr() != train.data_ptr()


def test_images_too_large_for_a_covariance_are_refused_with_the_limit():
    with pytest.raises(DataInvalid, match=r"at most 4096, but samples of shape \(3, 224, 224\) have 150528"):
        fitted("pca_whiten", torch.zeros(2, 3, 224, 224, dtype=torch.uint8))


def test_training_inputs_that_are_not_finite_are_named():
    train = features(900)
    train[700, 1] = float("nan")
    with pytest.raises(DataInvalid, match="must be finite, but sample 700 holds NaN or Inf"):
        fitted("standardize", train)


def test_another_shape_than_that_of_training_is_refused():
    with pytest.raises(ShapeError, match=r"of shape \(3, 1, 1\) \(1 = any\), got samples of shape \(4, 6, 6\)"):
        fitted("standardize", photos()).apply(torch.zeros(2, 4, 6, 6, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"fitted on samples of 5 values, got samples of shape \(6,\)"):
        fitted("zca", features()).apply(torch.zeros(2, 6))


@pytest.mark.parametrize("name", ["standardize", "zca"])
def test_applying_before_fitting_and_a_foreign_state_are_refused(name):
    with pytest.raises(DataInvalid, match="used before it was fitted"):
        preprocessings.build(name).apply(features())
    with pytest.raises(RunDamaged, match=r"must hold .*, found other: the file is from another preprocessing"):
        preprocessings.build(name).load_state({"other": torch.zeros(1)})


def test_a_fit_on_a_store_reads_all_or_a_seeded_sample_and_says_which(monkeypatch):
    store = Store.of_features(features(), torch.zeros(400, dtype=torch.int64))
    whole, part, again = (preprocessings.build("standardize") for _ in range(3))
    assert fit_on(whole, store, seed=0) == ""
    monkeypatch.setattr(fitting, "FIT_VALUES", 5 * 100)
    assert "fitted on 100 of 400 training samples, drawn by seed 0" in fit_on(part, store, seed=0)
    fit_on(again, store, seed=0)
    assert torch.equal(part.state()["centre"], again.state()["centre"])
    assert not torch.equal(part.state()["centre"], whole.state()["centre"])


class Counting(Dataset):
    """Features that are their own row number."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.tensor([float(row)]), 0


def test_a_stream_is_fitted_on_samples_that_are_asked_for(monkeypatch):
    stream = StreamStore(Counting(), torch.zeros(9, dtype=torch.int64), torch.arange(9), seed=0)
    made = preprocessings.build("standardize")
    assert fit_on(made, stream, seed=0) == ""
    assert made.state()["centre"].tolist() == [4.0]
    monkeypatch.setattr(fitting, "STREAM_SAMPLES", 3)
    assert "fitted on 3 of 9 training samples" in fit_on(made, stream, seed=0)
