"""The plain loop of experiments, against torch's own steps; what it draws depends on the seed alone."""

import pytest
import torch
from torch import nn

from trainwell.lab import plain_loop
from trainwell.lab.data import Images, digits
from trainwell.lab.plain_loop import Samples, accuracy, batches, descend, few_digits, few_images, seeded


def test_few_digits_are_digits_scaled_by_those_to_train_on_and_the_rest_is_held_out() -> None:
    samples = few_digits(3, count=900, held_out=500)
    assert (len(samples.labels), len(samples.held_out_labels), samples.features) == (900, 500, 64)
    assert samples.inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert samples.inputs.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    known = {tuple(image.flatten().tolist()) for image in digits().train}
    scaled = torch.cat([samples.inputs, samples.held_out]).flatten(1)
    pixels = ((scaled - scaled.min()) / (scaled.max() - scaled.min()) * 255).round().int()  # 0 and 255 both occur
    assert {tuple(image) for image in pixels.tolist()} <= known


def test_the_split_is_a_function_of_the_seed() -> None:
    assert torch.equal(few_digits(0).inputs, few_digits(0).inputs)
    assert not torch.equal(few_digits(0).inputs, few_digits(1).inputs)


def test_few_images_are_averaged_over_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(256, (20, 1, 4, 4), generator=generator, dtype=torch.uint8)
    images = Images(train, torch.arange(20), train[:1], torch.zeros(1, dtype=torch.int64))
    monkeypatch.setattr(plain_loop, "load", lambda name: images)
    samples = few_images("mnist", 0, count=12, held_out=8)
    labels = torch.cat([samples.labels, samples.held_out_labels])
    assert sorted(labels.tolist()) == list(range(20)), "each image once"
    means = train.double().reshape(20, 2, 2, 2, 2).mean(dim=(2, 4))[labels]  # (N, 1, 4, 4) -> (N, 2, 2)
    expected = (means - means[:12].mean()) / means[:12].std(correction=0)
    torch.testing.assert_close(
        torch.cat([samples.inputs, samples.held_out])[:, 0].double(), expected, rtol=0, atol=1e-5
    )


def toy() -> Samples:
    inputs = torch.randn(30, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return Samples(inputs, torch.arange(30) % 3, inputs[:5], torch.arange(5) % 3)


def test_each_epoch_takes_every_sample_once_in_another_order_and_leaves_a_short_rest_out() -> None:
    samples, found = toy(), []
    for _, (inputs, _) in zip(range(6), batches(samples, 10, 0), strict=False):
        found += [int(torch.nonzero((samples.inputs == image).flatten(1).all(dim=1))) for image in inputs]
    assert sorted(found[:30]) == sorted(found[30:]) == list(range(30))
    assert found[:30] != found[30:]
    sizes = [len(labels) for _, (_, labels) in zip(range(4), batches(samples, 20, 0), strict=False)]
    assert sizes == [20] * 4


def test_the_loop_takes_the_steps_of_torch_and_yields_the_losses_before_them() -> None:
    samples = toy()
    with seeded(0, "weights"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    weight, bias = (tensor.detach().double().clone() for tensor in network[1].parameters())
    losses = descend(network, samples, torch.optim.SGD(network.parameters(), lr=0.5), batch_size=10, seed=0)
    for loss, (inputs, labels), _ in zip(losses, batches(samples, 10, 0), range(5), strict=False):
        features = inputs.flatten(1).double()
        shares = torch.softmax(features @ weight.T + bias, dim=1)
        assert loss == pytest.approx(-shares[torch.arange(10), labels].log().mean().item(), rel=1e-5)
        wrong = (shares - nn.functional.one_hot(labels, 3)) / 10
        weight, bias = weight - 0.5 * wrong.T @ features, bias - 0.5 * wrong.sum(dim=0)


def test_the_loop_draws_the_same_whatever_else_is_drawn_and_leaves_no_trace() -> None:
    found = []
    for disturbance in (0, 5):
        with seeded(0, "weights"):
            network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3))
        losses = descend(network, toy(), torch.optim.SGD(network.parameters(), lr=0.1), batch_size=10, seed=0)
        state = torch.get_rng_state()
        first = next(losses)
        assert torch.equal(torch.get_rng_state(), state)
        torch.randn(disturbance)
        found.append([first, *(next(losses) for _ in range(4))])
    assert found[0] == found[1]


def test_accuracy_is_that_of_evaluation_mode_and_the_mode_is_given_back() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9))
    inputs = torch.eye(4).reshape(4, 1, 2, 2)
    assert accuracy(network.train(), inputs, torch.tensor([0, 1, 2, 0])) == 0.75
    assert network.training
