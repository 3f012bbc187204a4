"""RMSprop with eps outside and inside the root: against rewrites, torch, and the forms of Keras and optax."""

import numpy as np
import pytest
import torch
from problems import PROBLEMS, Move, Problem, path, rewritten

from trainwell.errors import OptionInvalid
from trainwell.optimizers.rmsprop import rmsprop

on_all = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def hinton(*, lr: float, beta: float, eps: float, inside: bool, decay: float = 0.0) -> Move:
    v = np.zeros(())

    def move(t: int, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        nonlocal v
        g = g + decay * x
        v = beta * v + (1 - beta) * g**2
        return x - lr * g / (np.sqrt(v + eps) if inside else np.sqrt(v) + eps)

    return move


@on_all
@pytest.mark.parametrize("inside", [False, True])
def test_it_equals_a_rewrite_where_eps_matters(problem: Problem, inside: bool) -> None:
    """With eps inside this is Keras's form, and optax's with its default eps_in_sqrt."""
    ours = path(problem, lambda x: rmsprop(x, lr=0.005, beta=0.8, eps=1e-2, eps_inside=inside, weight_decay=0.1))
    rewrite = hinton(lr=0.005, beta=0.8, eps=1e-2, inside=inside, decay=0.1)
    np.testing.assert_allclose(ours, rewritten(problem, rewrite), rtol=1e-8, atol=1e-12)


@on_all
def test_with_eps_outside_it_is_torchs_with_another_word_for_beta(problem: Problem) -> None:
    ours = path(problem, lambda x: rmsprop(x, lr=0.02, beta=0.8, eps=1e-2))
    theirs = path(problem, lambda x: torch.optim.RMSprop(x, lr=0.02, alpha=0.8, eps=1e-2, foreach=False))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("inside", [False, True])
def test_the_first_step_is_not_corrected_for_the_start_at_zero(inside: bool) -> None:
    weight = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.tensor([3.0, -0.02], dtype=torch.float64)
    rmsprop([weight], lr=0.1, eps=1e-14, eps_inside=inside).step()
    np.testing.assert_allclose(weight.detach().numpy(), [-0.1 / np.sqrt(0.1), 0.1 / np.sqrt(0.1)], rtol=1e-6)


def test_beta_is_the_lectures_and_not_torchs() -> None:
    assert rmsprop([torch.zeros(1, requires_grad=True)]).param_groups[0]["alpha"] == 0.9


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("own", [{"beta": 0.5}, {"eps": 0.1}, {"weight_decay": 0.3}])
def test_a_groups_own_values_act(inside: bool, own: dict[str, float]) -> None:
    problem = PROBLEMS[3]
    alone = path(problem, lambda x: rmsprop(x, lr=0.02, eps_inside=inside, **own), 20)
    grouped = path(problem, lambda x: rmsprop([{"params": x, **own}], lr=0.02, eps_inside=inside), 20)
    np.testing.assert_array_equal(alone, grouped)


def test_eps_on_both_sides_at_once_is_refused() -> None:
    weight = torch.ones(1, requires_grad=True)
    with pytest.raises(OptionInvalid, match="eps_inside holds for all groups: it is false, and a group says otherwise"):
        rmsprop([{"params": [weight], "eps_inside": True}])
