"""Signs and paths of a sigmoid unit: gradients against autograd, signs and detours against cases worked out by hand."""

import pytest
import torch

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.sigmoid_saturation import (
    SATURATION,
    SIGNS,
    detour,
    judge,
    measure,
    one_sign,
    path,
    per_sample_gradients,
)


def test_a_samples_gradient_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    weights, inputs = torch.randn(3, generator=generator).double(), torch.randn(6, 3, generator=generator).double()
    labels = torch.tensor([0.0, 1, 0, 1, 1, 0]).double()
    for gradient, x, y in zip(per_sample_gradients(weights, inputs, labels), inputs, labels, strict=True):
        leaf = weights.clone().requires_grad_()
        torch.nn.functional.binary_cross_entropy_with_logits(x @ leaf, y).backward()
        torch.testing.assert_close(gradient, leaf.grad, rtol=1e-12, atol=1e-14)


def test_one_sign_is_counted() -> None:
    assert one_sign(torch.tensor([[1.0, 2], [-1, -2], [1, -1], [0, 1]])) == 0.5


def test_a_detour_is_length_over_distance() -> None:
    assert detour(torch.tensor([[0.0, 0], [1, 0], [1, 1], [2, 1], [2, 2]])) == pytest.approx(2**0.5)
    assert detour(torch.tensor([[0.0, 0], [1, 1], [3, 3]])) == pytest.approx(1)


def test_both_paths_go_to_the_same_weights() -> None:
    ends = [path(is_centred, 256, 0)[-1] for is_centred in (False, True)]
    for end in ends:
        assert end[0] > 1.5
        assert end[1] < -1.5
        assert abs(end.sum()) < 0.3


def test_gradients_far_out_are_the_closed_form() -> None:
    found = measure({"what": "saturation"}, 0, True)
    for x in (0, 2, 5, 10):
        y = torch.sigmoid(torch.tensor(float(x)).double())
        assert found[f"gradient at {x}"] == pytest.approx(float(y * (1 - y)), rel=1e-10)


def test_inputs_that_make_no_difference_are_judged_so() -> None:
    cells = {arm: [dict(measure(settings, 0, True))] for arm, settings in SIGNS.items()}
    cells[SATURATION] = [dict(measure({"what": "saturation"}, 0, True))]
    assert all(check.holds for check in judge(Table(cells)))
    cells["centred inputs"] = cells["positive inputs"]
    assert sum(not check.holds for check in judge(Table(cells))) == 3
