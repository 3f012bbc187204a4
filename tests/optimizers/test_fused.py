"""Where torch's fused kernels go wrong in silence, and that ours do not."""

from collections.abc import Callable

import pytest
import torch

from trainwell.core.shelves import optimizers
from trainwell.optimizers.fused import can_fuse
from trainwell.optimizers.parameters import listed

members = pytest.mark.parametrize(
    "build",
    [card.builder for card in optimizers if not card.traits.get("needs_closure")],
    ids=lambda build: build.__name__,
)
Build = Callable[..., torch.optim.Optimizer]


def kernels(memory_format: torch.memory_format) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(4, 3, 3, 3).contiguous(memory_format=memory_format).requires_grad_()


def contiguous(value: object) -> object:
    return value.clone(memory_format=torch.contiguous_format) if isinstance(value, torch.Tensor) else value


@members
def test_a_gradient_in_another_memory_order_moves_the_right_weights(build: Build) -> None:
    plain, turned = kernels(torch.contiguous_format), kernels(torch.channels_last)
    steppers = [build([plain]), build([turned])]
    for _ in range(3):
        plain.grad = torch.randn(4, 3, 3, 3)
        turned.grad = plain.grad.clone()
        for stepper in steppers:
            stepper.step()
    torch.testing.assert_close(turned, plain, rtol=0, atol=0)


@members
def test_state_stored_in_another_memory_order_is_restored_to_the_right_weights(build: Build) -> None:
    """A checkpoint stores contiguous tensors; the network trains in channels-last."""
    resumed, undisturbed = kernels(torch.channels_last), kernels(torch.channels_last)
    stepper, reference = build([resumed]), build([undisturbed])
    gradients = [torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last) for _ in range(4)]
    for count, gradient in enumerate(gradients):
        if count == 2:
            stored = stepper.state_dict()
            for state in stored["state"].values():
                state.update({name: contiguous(value) for name, value in state.items()})
            stepper = build([resumed])
            stepper.load_state_dict(stored)
        resumed.grad, undisturbed.grad = gradient.clone(), gradient.clone()
        stepper.step()
        reference.step()
    assert torch.equal(resumed, undisturbed)


@members
def test_state_put_in_place_by_hand_is_laid_out_too(build: Build) -> None:
    resumed, undisturbed = kernels(torch.channels_last), kernels(torch.channels_last)
    stepper, reference = build([resumed]), build([undisturbed])
    for gradient in torch.randn(4, 4, 3, 3, 3):
        for name, value in stepper.state[resumed].items():
            stepper.state[resumed][name] = contiguous(value)
        resumed.grad = gradient.contiguous(memory_format=torch.channels_last)
        undisturbed.grad = resumed.grad.clone()
        stepper.step()
        reference.step()
    assert torch.equal(resumed, undisturbed)


def test_params_may_be_tensors_pairs_groups_or_generators() -> None:
    net = torch.nn.Linear(2, 1)
    for params in (net.parameters(), net.named_parameters(), [{"params": net.parameters()}], [{"params": net.weight}]):
        groups = listed(params, torch.optim.SGD)
        assert can_fuse(groups)
        assert torch.optim.SGD(groups, lr=0.1).param_groups[0]["params"][0] is net.weight
