"""The penalties against their sums and finite differences, the network's parts against their words."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.batch_norm_removals import (
    ARMS,
    NORMED,
    NOT_HERE,
    WIDTH,
    WITHOUT,
    Network,
    jittered,
    judge,
    loss,
)


def batch() -> tuple[Tensor, Tensor]:
    images = torch.randn(6, 1, 14, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return images, torch.arange(6)


def build(settings: dict[str, float]) -> Network:
    torch.manual_seed(0)
    return Network(settings).double()


def test_penalties_are_mean_squared_lengths_of_scores_and_of_what_the_final_layer_reads() -> None:
    images, labels = batch()
    network = build({})
    hidden = network.embed(images)
    scores = hidden @ network.final.weight.T + network.final.bias
    plain = cross_entropy(scores, labels).item()
    functional = sum(float(value) ** 2 for value in scores.detach().flatten()) / 6
    embedding = sum(float(value) ** 2 for value in hidden.detach().flatten()) / 6
    assert loss(network, images, labels, {}).item() == pytest.approx(plain, rel=1e-12)
    assert loss(network, images, labels, {"functional": 0.3}).item() == pytest.approx(
        plain + 0.3 * functional, rel=1e-9
    )
    assert loss(network, images, labels, {"embedding": 0.2}).item() == pytest.approx(plain + 0.2 * embedding, rel=1e-9)


def test_the_gradient_of_the_penalties_is_that_of_finite_differences() -> None:
    images, labels = batch()
    network, settings = build({}), {"functional": 0.3, "embedding": 0.2}
    loss(network, images, labels, settings).backward()
    weight, step = network.final.weight, 1e-6
    assert weight.grad is not None
    for place in ((0, 0), (3, 7), (9, WIDTH - 1)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
                values.append(loss(network, images, labels, settings).item())
                weight[place] -= sign * step
        assert weight.grad[place].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_dropout_before_a_linear_layer_adds_the_variance_of_the_closed_form() -> None:
    """E (w . m x / (1 - p))^2 over masks is (w . x)^2 + p / (1 - p) sum w^2 x^2: a penalty on what is read."""
    network = build({"dropout": 0.5}).train()
    hidden = torch.rand(1, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        network.final.bias.zero_()
        scores = network.read(hidden.expand(40_000, -1))
        expected = (hidden @ network.final.weight.T).square() + hidden.square() @ network.final.weight.T.square()
    torch.testing.assert_close(scores.square().mean(dim=0), expected[0], rtol=0.06, atol=0)  # 0.7 % is one sigma


def test_standardized_hidden_units_have_mean_zero_and_variance_one_in_each_sample() -> None:
    hidden = build({"standardized": True}).embed(batch()[0])
    torch.testing.assert_close(hidden.mean(dim=1), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(hidden.var(dim=1, correction=0), torch.ones(6, dtype=torch.float64), rtol=0.1, atol=0)


def test_jitter_changes_contrast_around_the_mean_and_brightness_of_each_image() -> None:
    images = batch()[0]
    torch.manual_seed(0)
    changed = jittered(images, 0.4)
    means, deviations = images.mean(dim=(1, 2, 3)), images.std(dim=(1, 2, 3))
    bright, contrast = changed.mean(dim=(1, 2, 3)) - means, changed.std(dim=(1, 2, 3)) / deviations
    assert bright.abs().max() <= 0.4
    assert ((contrast >= 0.6) & (contrast <= 1.4)).all()
    assert len(set(contrast.tolist())) == 6
    assert jittered(images, 0.0) is images


def test_an_arm_has_the_parts_that_it_names() -> None:
    for arm, settings in ARMS.items():
        kinds = [type(module).__name__ for module in Network(settings).modules()]
        assert any("BatchNorm" in kind for kind in kinds) is arm.startswith(NORMED)
        assert ("LocalResponseNorm" in kinds) is ("local response norm" in arm)


def test_what_cannot_go_and_what_recovers_nothing_is_judged_so() -> None:
    def holds(changes: dict[str, float]) -> set[str]:
        base = {arm: 0.9 if arm.startswith(NORMED) else 0.8 for arm in ARMS} | changes
        cells = {arm: [{"accuracy": value, "held-out loss": 1 - value}] * 3 for arm, value in base.items()}
        return {check.claim for check in judge(Table(cells)) if not check.holds}

    better = {arm: 0.85 for arm in ARMS if arm.startswith(WITHOUT + ",")}  # half of what batch norm gains
    assert holds(better) == set()
    assert holds(better | {f"{NORMED}, dropout": 0.95}) == {"with batch norm, dropout can go"}
    assert holds(better | {f"{WITHOUT}, dropout": 0.95}) == {"batch norm does as well as dropout does without it"}
    lost = holds(better | {f"{WITHOUT}, functional L2": 0.82})
    assert len(lost) == 2
    assert all("functional L2 recovers" in claim for claim in lost)


def test_the_claims_that_the_card_says_fail_are_claims_of_it() -> None:
    cells = {arm: [{"accuracy": 0.9, "held-out loss": 0.1}] for arm in ARMS}
    assert set(NOT_HERE) <= {check.claim for check in judge(Table(cells))}
