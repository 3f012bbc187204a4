"""Claim 6: singular values of the products, and the exact rates of Gaussian ones."""

import math

import numpy as np
import pytest
import torch

from trainwell.lab.experiments.products_of_matrices import ARMS, FACTORS, SIZE, measure, rate


def test_singular_values_are_those_of_the_multiplied_matrices() -> None:
    found = measure(ARMS["Gaussian"], 1, True)
    generator = torch.Generator().manual_seed(1)
    product = np.eye(SIZE)
    for _ in range(4):
        product = torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64).numpy() / 10 @ product
    values = np.linalg.svd(product, compute_uv=False)
    assert found["singular values of 4"] == pytest.approx(values.tolist(), rel=1e-9, abs=1e-12)
    assert found["mean logarithm"][FACTORS.index(4)] == pytest.approx(np.log(values).mean(), rel=1e-6)


def test_orthogonal_products_keep_every_length() -> None:
    found = measure(ARMS["orthogonal"], 0, True)
    for count in FACTORS:
        assert found[f"singular values of {count}"] == pytest.approx([1.0] * SIZE, abs=1e-12)


def test_rates_are_the_mean_logarithms_of_chi_distributed_lengths() -> None:
    # a Gaussian vector of d entries of deviation 1/√N has ln |v|² with mean ln(2/N) + digamma(d/2)
    draws = np.random.default_rng(0).normal(size=(20_000, SIZE)) / math.sqrt(SIZE)
    for place in (1, SIZE // 2, SIZE):
        lengths = np.log(np.linalg.norm(draws[:, : SIZE - place + 1], axis=1))
        error = lengths.std() / math.sqrt(len(lengths))
        assert rate(place) == pytest.approx(lengths.mean(), abs=5 * error)  # fails once in 1.7 million seeds
