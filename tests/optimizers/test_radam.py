"""RAdam: against a rewrite of algorithm 2, torch, optax's form by hand, and the numbers of rho and r."""

import numpy as np
import pytest
import torch
from problems import PROBLEMS, Move, Problem, path, rewritten

from trainwell.optimizers.radam import RAdam, rectification, sample_length

on_all = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def liu(
    *, lr: float, beta1: float, beta2: float, eps: float, decay: float, threshold: float = 4.0, optax: bool = False
) -> Move:
    """Algorithm 2; with `optax`, eps stands beside the corrected root, as in optax.radam(threshold=...)."""
    m = v = np.zeros(())

    def move(t: int, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        nonlocal m, v
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        x = x - lr * decay * x
        m_hat = m / (1 - beta1**t)
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho <= threshold:
            return x - lr * m_hat
        r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
        root = np.sqrt(v / (1 - beta2**t)) + eps if optax else (np.sqrt(v) + eps) / np.sqrt(1 - beta2**t)
        return x - lr * r * m_hat / root

    return move


@on_all
@pytest.mark.parametrize("beta2", [0.9, 0.999])
def test_it_equals_algorithm_2(problem: Problem, beta2: float) -> None:
    options = {"lr": 0.02, "beta1": 0.8, "beta2": beta2, "eps": 1e-4}
    ours = path(problem, lambda x: RAdam(x, **options, weight_decay=0.1))
    np.testing.assert_allclose(ours, rewritten(problem, liu(**options, decay=0.1)), rtol=1e-8, atol=1e-12)


@on_all
def test_at_threshold_5_it_is_torchs_with_decoupled_decay(problem: Problem) -> None:
    ours = path(problem, lambda x: RAdam(x, lr=0.02, eps=1e-4, threshold=5, weight_decay=0.1))
    theirs = path(
        problem,
        lambda x: torch.optim.RAdam(x, lr=0.02, eps=1e-4, weight_decay=0.1, decoupled_weight_decay=True, foreach=False),
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@on_all
def test_it_is_optaxs_where_eps_is_negligible(problem: Problem) -> None:
    options = {"lr": 0.02, "beta1": 0.9, "beta2": 0.99, "eps": 1e-15}
    ours = path(problem, lambda x: RAdam(x, **options))
    np.testing.assert_allclose(ours, rewritten(problem, liu(**options, decay=0, optax=True)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("beta2", "step", "rho", "r"),
    [
        (0.999, 4, 3.997499, None),
        (0.999, 5, 4.995998, 0.0173115),
        (0.999, 6, 5.994164, 0.0258211),
        (0.999, 10, 9.983492, 0.0489980),
        (0.99, 5, 4.9598, 0.0544710),
        (0.9, 5, 4.580572, 0.1561108),
    ],
)
def test_rho_and_r_are_the_printed_numbers(beta2: float, step: int, rho: float, r: float | None) -> None:
    length = sample_length(step, beta2)
    assert length == pytest.approx(rho, abs=5e-5 if beta2 == 0.99 else 5e-7)
    if r is not None:
        assert rectification(length, beta2) == pytest.approx(r, abs=5e-8)


def test_the_thresholds_of_the_paper_and_of_torch_differ_at_step_5_alone() -> None:
    problem = PROBLEMS[0]
    paper, popular = (path(problem, lambda x, at=at: RAdam(x, lr=0.02, threshold=at), 5) for at in (4, 5))
    np.testing.assert_array_equal(paper[:4], popular[:4])
    assert not np.allclose(paper[4], popular[4])


def test_the_first_steps_are_momentum_and_as_large_as_the_gradient() -> None:
    weight = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.tensor([50.0, -0.25], dtype=torch.float64)
    optimizer = RAdam([weight], lr=0.1)
    for _ in range(4):
        optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), 4 * np.array([-5.0, 0.025]), rtol=1e-12)


def test_a_mean_square_too_short_to_have_a_variance_never_adapts() -> None:
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = RAdam([weight], lr=0.1, beta2=0.5)
    for _ in range(50):
        weight.grad = torch.full_like(weight, 3.0)
        optimizer.step()
    assert weight.item() == pytest.approx(-50 * 0.3)


def test_a_layer_that_thaws_counts_its_own_steps() -> None:
    first, late, fresh = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(3))
    optimizer, reference = RAdam([first, late], lr=0.1), RAdam([fresh], lr=0.1)
    for step in range(20):
        first.grad = torch.ones_like(first)
        late.grad = torch.full_like(late, 1.0 + step) if step >= 8 else None
        optimizer.step()
        if step >= 8:
            fresh.grad = torch.full_like(fresh, 1.0 + step)
            reference.step()
    assert late.item() == fresh.item()


@pytest.mark.parametrize(
    "own", [{"beta1": 0.5}, {"beta2": 0.9}, {"threshold": 6.0}, {"eps": 0.1}, {"weight_decay": 0.3}]
)
def test_a_groups_own_values_act(own: dict[str, float]) -> None:
    problem = PROBLEMS[3]
    alone = path(problem, lambda x: RAdam(x, lr=0.02, **own), 20)
    np.testing.assert_array_equal(alone, path(problem, lambda x: RAdam([{"params": x, **own}], lr=0.02), 20))
