"""The penalty of the scores: its closed form and its gradient."""

import torch

from trainwell.regularization.scores import functional_l2


def test_it_is_the_squared_size_of_each_sample_and_pulls_in_proportion() -> None:
    torch.manual_seed(0)
    scores = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    terms = functional_l2(strength=0.2)(scores)
    torch.testing.assert_close(terms, 0.2 * (scores**2).sum(1))
    terms.sum().backward()
    torch.testing.assert_close(scores.grad, 0.4 * scores.detach())
    assert torch.autograd.gradcheck(functional_l2(strength=0.2), torch.randn(3, 2).double().requires_grad_())
