"""GoogLeNet: its auxiliary classifiers are there in training only, and its skips add what went in."""

import copy
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import trainwell as tw
from trainwell.core.shelves import models
from trainwell.models.auxiliary import with_auxiliaries
from trainwell.train.reporter import Silence

from .rewrites import images


def build(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    given = {"width": 8, "stem": "small", **options}
    return models.build("googlenet", given, in_channels=3, num_classes=10).double()


def test_auxiliary_scores_are_there_after_a_pass_in_training_and_gone_after_one_in_evaluation() -> None:
    net, batch = build(auxiliary_weight=0.5), images(4, 3, 16, 16)
    assert net(batch).shape == (4, 10)
    assert [(weight, tuple(scores.shape)) for weight, scores in net.auxiliary_scores] == [(0.5, (4, 10))] * 2
    net.eval()
    assert net(batch).shape == (4, 10)
    assert net.auxiliary_scores == ()


def test_their_loss_reaches_what_stands_before_them_and_nothing_behind() -> None:
    net, batch = build(), images(4, 3, 16, 16)
    net(batch)
    (_, first), _ = net.auxiliary_scores
    functional.cross_entropy(first, torch.arange(4)).backward()
    reached = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"conv1", "conv2", "conv3", "inception3a", "inception3b", "inception4a", "aux1"}


def test_a_copy_of_a_network_in_training_leaves_the_graph_behind() -> None:
    net = build()
    net(images(4, 3, 16, 16))
    twin = copy.deepcopy(net)
    assert twin.auxiliary_scores == ()
    assert len(net.auxiliary_scores) == 2
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


def test_without_a_weight_there_are_no_auxiliary_classifiers() -> None:
    net = build(auxiliary_weight=0.0)
    net(images(2, 3, 16, 16))
    assert net.auxiliary_scores == ()
    assert not [name for name, _ in net.named_parameters() if name.startswith("aux")]


@torch.no_grad()
def test_in_evaluation_what_only_training_reads_may_be_anything() -> None:
    net, batch = build().eval(), images(2, 3, 16, 16)
    expected, fresh = net(batch), {name for name, _ in build(auxiliary_weight=0.0).named_parameters()}
    for name, value in net.state_dict().items():
        assert name.startswith(net.training_only) or name in fresh or "running" in name or "num_batches" in name
        if name.startswith(net.training_only) and value.is_floating_point():
            value.fill_(float("nan"))
    assert torch.equal(net(batch), expected)


def test_the_weight_stands_in_the_recipe_and_a_run_takes_the_losses_by_it(tmp_path: Path) -> None:
    """After one step from scores that are nearly equal each last bias is the rate times weight (share of k - 1/K)."""
    rng = torch.Generator().manual_seed(0)
    samples = torch.randint(256, (40, 8, 8), generator=rng, dtype=torch.uint8).numpy()
    run = tw.fit(
        (samples, [0] * 30 + [1] * 10),
        out=tmp_path / "run",
        model="googlenet:width=4,stem=small,auxiliary_weight=0.6",
        optimizer="sgd:lr=0.01,momentum=0,weight_decay=0,nesterov=false",
        schedule="constant",
        batch_size=16,
        epochs=1,
        reporter=Silence(),
        set={"length.steps": 1, "machine.threads": 1},
    )
    recipe = yaml.safe_load((run.path / "recipe.yaml").read_text("utf-8"))
    assert recipe["model"]["auxiliary_weight"] == 0.6
    (stored,) = run.path.glob("checkpoints/*/tensors.safetensors")
    biases = {key: value for key, value in load_file(stored).items() if key.endswith(("fc.bias", "fc2.bias"))}
    main = next(value for key, value in biases.items() if key.endswith("fc.bias"))
    others = [value for key, value in biases.items() if key.endswith("fc2.bias")]
    assert main[0] > 0.001
    assert len(others) == 2
    for other in others:
        torch.testing.assert_close(other, 0.6 * main, rtol=0.1, atol=0)


@torch.no_grad()
def test_a_skip_adds_the_input_between_zero_channels() -> None:
    with_skips, without = (build(skips=skips).eval() for skips in (True, False))
    with_skips.load_state_dict(without.state_dict())
    one, other = with_skips.inception3a, without.inception3a
    maps = images(2, 24, 6, 6)
    added = (one(maps) - other(maps))[:, :]
    front = (added.shape[1] - 24) // 2
    torch.testing.assert_close(added[:, front : front + 24], maps, rtol=1e-10, atol=1e-10)
    assert added[:, :front].abs().max() < 1e-10
    assert added[:, front + 24 :].abs().max() < 1e-10


def test_the_larger_kernels_are_those_of_the_third_branch() -> None:
    sides = {5: set(), 3: set()}
    for kernel, found in sides.items():
        net = build(large_kernel=kernel)
        found |= {name for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (5, 5)}
    assert sides[3] == set()
    assert sides[5] == {f"inception{name}.branch3.1.conv" for name in "3a 3b 4a 4b 4c 4d 4e 5a 5b".split()}


def test_the_loss_to_be_lowered_has_those_of_the_auxiliary_classifiers_on_top() -> None:
    net, batch, labels = build(), images(4, 3, 16, 16), torch.arange(4)

    def criterion(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(scores, targets, reduction="none")

    scores = net(batch)
    of_main, first, second = (criterion(s.float(), labels) for s in (scores, *(s for _, s in net.auxiliary_scores)))
    for model in (net, nn.Sequential(nn.Identity(), net), torch.compile(net, backend="eager")):
        total = with_auxiliaries(criterion, model)
        torch.testing.assert_close(total(scores.float(), labels), of_main + 0.3 * first + 0.3 * second)
        with torch.no_grad():
            assert torch.equal(total(scores.float(), labels), of_main)
    net.eval()
    assert torch.equal(total(net(batch).float(), labels), criterion(net(batch).float(), labels))
    assert with_auxiliaries(criterion, nn.Linear(1, 1)) is criterion
