"""Batch norm's statistics measured anew: against those of the whole set, and torch's own pass."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from trainwell.errors import OptionInvalid
from trainwell.optimizers.averaging import SWA
from trainwell.optimizers.statistics import recompute_batch_norm


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    ).double()


def images(count: int) -> Tensor:
    return torch.randn(count, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_uneven_batches_give_the_statistics_of_the_whole_set_in_the_first_norm() -> None:
    net, inputs = network(), images(23)
    recompute_batch_norm(net, inputs.split(5))
    with torch.no_grad():
        whole = net[0](inputs).transpose(0, 1).flatten(1)
    torch.testing.assert_close(net[1].running_mean, whole.mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net[1].running_var, whole.var(1), rtol=1e-12, atol=1e-12)


def test_one_batch_gives_those_of_the_whole_set_in_every_norm() -> None:
    net, inputs = network(), images(23)
    recompute_batch_norm(net, [inputs])
    with torch.no_grad():
        hidden = net[0](inputs)
        hidden = (hidden - hidden.mean((0, 2, 3), keepdim=True)) / (
            hidden.var((0, 2, 3), correction=0, keepdim=True) + 1e-5
        ).sqrt()
        deep = net[4](hidden.relu()).transpose(0, 1).flatten(1)
    torch.testing.assert_close(net[5].running_mean, deep.mean(1), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(net[5].running_var, deep.var(1), rtol=1e-9, atol=1e-12)


def test_batches_of_one_size_give_the_means_of_torchs_update_bn() -> None:
    """torch averages the variances within batches and leaves out that between them, which is why only means agree."""
    net, inputs = network(), images(20)
    net[3].p = 0.0  # torch's pass drops units
    torchs = copy.deepcopy(net)
    recompute_batch_norm(net, inputs.split(5))
    update_bn(inputs.split(5), torchs)
    for place in (1, 5):
        torch.testing.assert_close(net[place].running_mean, torchs[place].running_mean)
        assert (net[place].running_var - torchs[place].running_var).abs().max() < 0.1


def test_nothing_else_of_the_network_changes() -> None:
    net = network().train()
    net[4].eval()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    recompute_batch_norm(net, images(10).split(5), names={"1"})
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"1.running_mean", "1.running_var"}
    assert modes == [module.training for module in net.modules()]
    assert net[1].momentum == 0.1


def test_without_batches_it_says_so() -> None:
    with pytest.raises(OptionInvalid, match="pass batches of inputs"):
        recompute_batch_norm(network(), [])


def test_swa_is_the_mean_of_the_weights_that_it_was_given() -> None:
    net, seen = network(), []
    swa = SWA(net)
    for _ in range(7):
        for parameter in net.parameters():
            parameter.data += torch.randn_like(parameter)
        swa.update()
        seen.append([parameter.detach().clone() for parameter in net.parameters()])
    for average, values in zip(swa.model.parameters(), zip(*seen, strict=True), strict=True):
        torch.testing.assert_close(average, torch.stack(values).mean(0), rtol=1e-12, atol=1e-12)


def test_a_stored_swa_goes_on_to_the_same_bits() -> None:
    nets = [network(), network()]
    first, second = (SWA(net) for net in nets)
    for turn in range(4):
        for net in nets:
            torch.manual_seed(turn)
            for parameter in net.parameters():
                parameter.data += torch.randn_like(parameter)
        first.update()
        second.update()
        again = SWA(nets[1])
        again.load_state_dict(second.state_dict())
        second = again
    for one, other in zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert second.updates == 4
