"""YellowFin: against a rewrite of the paper in NumPy, its closed loop in closed form, and what its state survives."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from problems import PROBLEMS, Build, Problem, path
from torch import Tensor

from trainwell.errors import NonFinite, OptionInvalid
from trainwell.optimizers.yellowfin import YellowFin, shown_momentum

on_all = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


class Rewrite:
    """Algorithms 1-3 and 5 on one vector, as printed, with numpy.roots for the cubic; eps as in the official code."""

    def __init__(
        self,
        *,
        lr: float = 1.0,
        beta: float = 0.999,
        window: int = 20,
        is_log: bool = False,
        clip: bool = False,
        eps: float = 1e-6,
        decay: float = 0.0,
    ) -> None:
        self.lr, self.beta, self.window, self.is_log, self.clip = lr, beta, window, is_log, clip
        self.eps, self.decay = eps, decay
        self.h: list[float] = []
        self.means: dict[str, Any] = {}
        self.h_max = 0.0

    def mean(self, name: str, value: Any) -> Any:
        """The zero-debiased running average of that name after one more value."""
        self.means[name] = self.beta * self.means.get(name, 0.0) + (1 - self.beta) * value
        return self.means[name] / (1 - self.beta ** len(self.h))

    def tune(self, g: np.ndarray) -> tuple[float, float, np.ndarray]:
        beta, eps = self.beta, self.eps
        if self.clip and self.h and g @ g > 100 * (self.h_max + eps):
            g = g * np.sqrt(100 * (self.h_max + eps) / (g @ g))
        self.h.append(g @ g)
        recent = self.h[-self.window :]
        to, back = (lambda h: np.log(h + eps), np.exp) if self.is_log else (lambda h: h, lambda h: h)
        self.h_max, h_min = back(self.mean("max", to(max(recent)))), back(self.mean("min", to(min(recent))))
        average, square = self.mean("g", g), self.mean("g^2", g**2)
        c = max((square - average**2).sum(), 0.0)
        share = 1 - beta ** len(self.h)
        norm, h = self.mean("norm", np.sqrt(g @ g)), self.mean("h", g @ g)
        d = self.mean("d", norm * share / (h * share + eps))
        p = (d + eps) ** 2 * (h_min + eps) ** 2 / (2 * (c + eps))
        roots = np.roots([-1, 3, -(3 + p), 1])
        x = roots[np.abs(roots.imag) < 1e-5 * np.abs(roots)].real[0]
        k = max((self.h_max + eps) / (h_min + eps), 1.0)
        mu = max(x, (np.sqrt(k) - 1) / (np.sqrt(k) + 1)) ** 2
        alpha = (1 - np.sqrt(mu)) ** 2 / (h_min + eps) * min(1, len(self.h) / (10 * self.window))
        if self.clip and g @ g > self.h_max + eps:
            g = g * np.sqrt((self.h_max + eps) / (g @ g))
        return mu, alpha, g

    def path(self, start: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        x, move, visited = start.copy(), np.zeros_like(start), []
        for gradient in gradients:
            mu, alpha, g = self.tune(gradient)
            move = mu * move - alpha * (g + self.decay * x)
            x = x + self.lr * move
            visited.append(x)
        return np.stack(visited)

    def closed_path(self, start: np.ndarray, gradients: np.ndarray, gain: float) -> np.ndarray:
        """Algorithm 5 with staleness 0."""
        mu, alpha, x, before, visited = 0.0, 1e-4, start.copy(), start.copy(), []
        for g in gradients:
            after = x + mu * (x - before) - alpha * g
            aim, next_alpha, _ = self.tune(g)
            moved = x != before
            if moved.any():
                ratios = np.sort((after - x + alpha * g)[moved] / (x - before)[moved])
                mu += gain * (aim - ratios[(len(ratios) - 1) // 2])
            before, x, alpha = x, after, next_alpha
            visited.append(x)
        return np.stack(visited)


def followed(problem: Problem, build: Build) -> tuple[np.ndarray, np.ndarray]:
    """Return 200 steps of ours and the gradients on the way.

    A rewrite takes the same gradients: alpha = 1 / h makes some of these paths chaotic, and two roundings of one path
    part after fifty steps.
    """
    visited = path(problem, build)
    before = np.vstack([problem.start.numpy(), visited[:-1]])
    return visited, np.stack([problem.gradient(x) for x in before])


VARIANTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"smoothing": "log"}, {"is_log": True}),
    ({"beta": 0.9, "window": 5, "lr": 0.5}, {"beta": 0.9, "window": 5, "lr": 0.5}),
    ({"beta": 0.95, "window": 3, "adapt_clip": True}, {"beta": 0.95, "window": 3, "clip": True}),
    ({"weight_decay": 0.1, "eps": 1e-3}, {"decay": 0.1, "eps": 1e-3}),
]


@on_all
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: ",".join(variant[0]) or "default")
def test_it_equals_a_rewrite(problem: Problem, variant: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = variant
    visited, gradients = followed(problem, lambda x: YellowFin(x, **ours))
    expected = Rewrite(**theirs).path(problem.start.numpy(), gradients)
    np.testing.assert_allclose(visited, expected, rtol=1e-6, atol=1e-9)


def test_clipping_acts_where_the_gradient_explodes() -> None:
    """A gradient 1000 times as long enters as sqrt(100 h_max) and moves no further than sqrt(h_max) would."""
    moves = {}
    for clip in (False, True):
        weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer, rewrite = YellowFin([weight], adapt_clip=clip), Rewrite(clip=clip)
        for step in range(60):
            g = 1000.0 if step == 50 else np.cos(step)
            weight.grad = torch.full_like(weight, g)
            optimizer.step()
            mu, alpha, _ = rewrite.tune(np.array([g]))
            assert optimizer.tuned.momentum == pytest.approx(mu, rel=1e-6)
            assert optimizer.tuned.rate == pytest.approx(alpha, rel=1e-6)
        moves[clip] = abs(weight.item())
    assert moves[True] < moves[False]


@pytest.mark.parametrize("problem", [PROBLEMS[0], *PROBLEMS[2:]], ids=lambda problem: problem.name)
def test_the_closed_loop_equals_a_rewrite(problem: Problem) -> None:
    visited, gradients = followed(problem, lambda x: YellowFin(x, closed_loop=True, gain=0.05))
    expected = Rewrite().closed_path(problem.start.numpy(), gradients, gain=0.05)
    np.testing.assert_allclose(visited, expected, rtol=1e-6, atol=1e-9)


def test_the_measured_momentum_of_synchronous_moves_is_exactly_the_one_in_use() -> None:
    """So the closed loop is mu <- mu + gain (aim - mu): whatever the gradients, the difference to that is rounding."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(n, generator=generator, dtype=torch.float64).requires_grad_() for n in (5, 3)]
    groups = [{"params": weights[0], "weight_decay": 0.1}, {"params": weights[1], "maximize": True}]
    optimizer = YellowFin(groups, closed_loop=True, gain=0.1, adapt_clip=True)
    before = None
    for step in range(100):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 10 ** (step % 3)
        optimizer.step()
        if before is not None and step >= 2:
            expected = before.momentum + 0.1 * (before.aim - before.momentum)
            assert optimizer.tuned.momentum == pytest.approx(expected, abs=1e-9)
        before = optimizer.tuned
    assert before is not None
    assert before.momentum > 0.05


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_stale_gradients_are_compared_with_the_weights_they_were_taken_at(staleness: int) -> None:
    """From the recorded path: after step s, x_(k+1) - x_k + push over x_k - x_(k-1) with k = s - staleness."""
    weight = torch.linspace(1, 3, 41, dtype=torch.float64).requires_grad_()
    optimizer = YellowFin([weight], closed_loop=True, staleness=staleness, gain=0.02)
    visited, pushes, tuned = [weight.detach().numpy().copy()], [], []
    for step in range(60):
        taken_at = visited[max(step - staleness, 0)]
        gradient = np.linspace(0.5, 2, 41) * taken_at
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        visited.append(weight.detach().numpy().copy())
        tuned.append(optimizer.tuned)
        pushes.append(optimizer.tuned.last_rate * gradient)
    for step in range(staleness + 2, 60):
        k = step - 1 - staleness
        shown = np.median((visited[k + 1] - visited[k] + pushes[step - 1]) / (visited[k] - visited[k - 1]))
        before, after = tuned[step - 1], tuned[step]
        assert after.momentum == pytest.approx(before.momentum + 0.02 * (before.aim - shown), abs=1e-9)


def test_a_gradient_that_is_one_step_late_adds_the_rate_times_the_curvature_to_the_momentum() -> None:
    """On a bowl x_(k+1) = x_k + mu (x_k - x_(k-1)) - alpha h x_(k-1) shows mu + alpha h, and asks for less mu."""
    mu, alpha, curvature = 0.3, 0.1, 2.0
    x = [torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)] * 2
    for _ in range(5):
        x.append(x[-1] + mu * (x[-1] - x[-2]) - alpha * curvature * x[-2])
    shown = shown_momentum(x[-1], x[-2], x[-3], push=alpha * curvature * x[-2])
    assert shown == pytest.approx(mu + alpha * curvature, rel=1e-9)


def test_the_shown_momentum_is_that_of_the_recursion_and_nan_where_nothing_moved() -> None:
    generator = torch.Generator().manual_seed(0)
    before, at, push = torch.randn(3, 101, generator=generator, dtype=torch.float64)
    after = at + 0.7 * (at - before) - push
    assert shown_momentum(after, at, before, push=push) == pytest.approx(0.7, rel=1e-12)
    assert np.isnan(shown_momentum(after, at, at, push=push))


def noisy(weights: list[Tensor], generator: torch.Generator) -> None:
    for weight in weights:
        weight.grad = weight.detach() + torch.randn(weight.shape, generator=generator)


def net() -> list[Tensor]:
    """Small and large tensors, one in channels-last order."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((3, 4), (5,), (2, 3, 4, 4), (130, 130))
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    weights[2] = weights[2].contiguous(memory_format=torch.channels_last)
    return [weight.requires_grad_() for weight in weights]


@pytest.mark.parametrize("options", [{}, {"closed_loop": True, "staleness": 1}, {"adapt_clip": True}])
def test_state_in_a_dict_goes_on_to_the_same_bits(options: dict[str, Any]) -> None:
    ends = []
    for is_stored in (False, True):
        weights, generator = net(), torch.Generator().manual_seed(2)
        optimizer = YellowFin(weights, **options)
        for step in range(30):
            if is_stored and step == 17:
                stored = copy.deepcopy(optimizer.state_dict())
                optimizer = YellowFin(weights, **options)
                optimizer.load_state_dict(stored)
            noisy(weights, generator)
            optimizer.step()
        ends.append([weight.detach() for weight in weights])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_one_vector_or_many_tensors_give_the_same_path() -> None:
    torch.manual_seed(0)
    whole = torch.randn(60, dtype=torch.float64)
    parts = [part.clone().requires_grad_() for part in whole.split([7, 33, 20])]
    whole = whole.clone().requires_grad_()
    one, many = YellowFin([whole]), YellowFin([{"params": parts[:1]}, {"params": parts[1:]}])
    for _ in range(100):
        whole.grad = whole.detach() + torch.randn(60, dtype=torch.float64)
        for part, gradient in zip(parts, whole.grad.split([7, 33, 20]), strict=True):
            part.grad = gradient.clone()
        one.step()
        many.step()
    torch.testing.assert_close(torch.cat([part.detach() for part in parts]), whole.detach(), rtol=1e-9, atol=1e-12)


def test_a_layer_that_thaws_joins_and_one_that_freezes_keeps_its_state() -> None:
    weights, generator = net(), torch.Generator().manual_seed(2)
    optimizer = YellowFin(weights)
    kept = weights[3].detach().clone()
    for step in range(12):
        noisy(weights, generator)
        if step < 4 or step >= 8:
            weights[3].grad = None
        if step == 4:
            assert torch.equal(weights[3], kept)
            assert weights[3] not in optimizer.state
        if step == 8:
            kept, velocity = weights[3].detach().clone(), optimizer.state[weights[3]]["velocity"].clone()
        optimizer.step()
    assert torch.equal(weights[3], kept)
    assert torch.equal(optimizer.state[weights[3]]["velocity"], velocity)


THAW = 500


@pytest.mark.parametrize("options", [{}, {"smoothing": "log"}, {"adapt_clip": True}, {"closed_loop": True}])
@pytest.mark.parametrize("is_stored", [False, True])
@pytest.mark.parametrize("is_refused", [False, True])
def test_a_thaw_among_constant_gradients_adds_no_variance(
    options: dict[str, Any], is_stored: bool, is_refused: bool
) -> None:
    """Without noise C = 0, and momentum and rate are those of a run in which nothing was ever frozen."""
    gradients = [torch.tensor([3.0, -1.0], dtype=torch.float64), torch.tensor([[2.0], [4.0]], dtype=torch.float64)]
    thawed, whole = ([torch.zeros_like(g).requires_grad_() for g in gradients] for _ in range(2))
    optimizer, reference = YellowFin(thawed, **options), YellowFin(whole, **options)
    for step in range(THAW + 30):
        for weights in (thawed, whole):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
        if step < THAW:
            thawed[1].grad = None
        if step == THAW and is_refused:
            thawed[1].grad = torch.full_like(gradients[1], torch.nan)
            with pytest.raises(NonFinite):
                optimizer.step()
            assert thawed[1] not in optimizer.state
            thawed[1].grad = gradients[1].clone()
        if is_stored and step in (THAW, THAW + 3):
            stored = copy.deepcopy(optimizer.state_dict())
            optimizer = YellowFin(thawed, **options)
            optimizer.load_state_dict(stored)
        optimizer.step()
        reference.step()
        if step > THAW:
            np.testing.assert_allclose(optimizer.tuned, reference.tuned, rtol=1e-5, atol=1e-9)


def halves(weights: list[Tensor]) -> list[Tensor]:
    """The same numbers in tensors below the size from which one is measured alone."""
    return [half.detach().clone().requires_grad_() for weight in weights for half in weight.view(-1).split(9_000)]


@pytest.mark.parametrize("shapes", [[(128, 128)], [(128, 128), (130, 140)], [(128, 128), (7,)], [(200, 200), (200,)]])
@pytest.mark.parametrize("is_last_frozen", [False, True])
def test_large_tensors_move_as_their_parts_do_with_and_without_small_ones(
    shapes: list[tuple[int, ...]], is_last_frozen: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    moving = weights[:-1] if is_last_frozen and len(weights) > 1 else weights
    parts = halves(moving)
    optimizer, reference = YellowFin(weights), YellowFin(parts)
    for _ in range(5):
        for weight in moving:
            weight.grad = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        gradients = [half for weight in moving for half in weight.grad.view(-1).split(9_000)]
        for part, gradient in zip(parts, gradients, strict=True):
            part.grad = gradient.clone()
        optimizer.step()
        reference.step()
    ours, theirs = (torch.cat([one.detach().view(-1) for one in many]) for many in (moving, parts))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_weights_that_were_given_other_memory_still_move() -> None:
    """`module.to(memory_format=...)` replaces the memory below a parameter."""
    moved, reference = net(), net()
    optimizers = [YellowFin(moved), YellowFin(reference)]
    for step in range(6):
        if step == 3:
            moved[2].data = moved[2].data.contiguous()
        for weights, optimizer in zip((moved, reference), optimizers, strict=True):
            noisy(weights, torch.Generator().manual_seed(step))
            optimizer.step()
    for one, other in zip(moved, reference, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_gradients_in_any_memory_order_and_the_groups_lr_act() -> None:
    plain, turned = net(), net()
    optimizers = [YellowFin(plain), YellowFin(turned)]
    for step in range(4):
        for weights, optimizer in zip((plain, turned), optimizers, strict=True):
            noisy(weights, torch.Generator().manual_seed(step))
            if weights is turned:
                weights[0].grad = weights[0].grad.t().contiguous().t()
                weights[2].grad = weights[2].grad.contiguous()
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(plain, turned, strict=True))
    before = [weight.detach().clone() for weight in plain]
    optimizers[0].param_groups[0]["lr"] = 0.0
    noisy(plain, torch.Generator().manual_seed(9))
    optimizers[0].step()
    assert all(torch.equal(one, other) for one, other in zip(plain, before, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_are_refused_by_name_before_anything_is_measured(value: float) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    optimizer = YellowFin(module.named_parameters())
    for step in range(3):
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 1.0 + step)
        optimizer.step()
    before = copy.deepcopy((module.state_dict(), optimizer.state_dict()))
    module[1].weight.grad[0, 0] = value
    with pytest.raises(NonFinite, match=r"the gradient of 1\.weight holds NaN or Inf"):
        optimizer.step()
    for now, old in zip(
        (module.state_dict(), optimizer.state_dict()["state"]), (before[0], before[1]["state"]), strict=True
    ):
        for key in old:
            pairs = (
                zip(now[key].values(), old[key].values(), strict=True)
                if isinstance(old[key], dict)
                else [(now[key], old[key])]
            )
            assert all(torch.equal(one, other) for one, other in pairs)
    assert optimizer.state_dict()["param_groups"] == before[1]["param_groups"]


def test_a_norm_that_overflows_is_refused_too() -> None:
    weight = torch.ones(4, requires_grad=True)
    weight.grad = torch.full((4,), 3e38)
    with pytest.raises(NonFinite, match=r"overflows torch.float32, and yellowfin measures by it"):
        YellowFin([weight]).step()


@pytest.mark.parametrize(
    ("groups", "options", "words"),
    [
        ([{}, {"beta": 0.5}], {}, r"beta holds for all groups, .* it is 0.999, and group 1 says 0.5"),
        ([{}], {"staleness": 2}, "staleness=2 is heeded by the closed loop alone: set closed_loop=true too"),
        ([{}, {"dtype": torch.float64}], {}, "must be of one type, got torch.float32 and torch.float64"),
        ([{"dtype": torch.bfloat16}], {}, "must be torch.float32 or torch.float64, got torch.bfloat16"),
        ([{"device": "meta"}], {}, "must be on one of cpu, cuda, mps, xpu, got meta"),
    ],
)
def test_what_cannot_be_tuned_together_is_refused(
    groups: list[dict[str, Any]], options: dict[str, Any], words: str
) -> None:
    parts = []
    for group in groups:
        made = {key: group.pop(key) for key in ("dtype", "device") if key in group}
        parts.append({"params": [torch.ones(2, requires_grad=True, **made)], **group})
    with pytest.raises(OptionInvalid, match=words):
        YellowFin(parts, **options)


def test_a_group_that_is_refused_later_is_not_kept() -> None:
    optimizer = YellowFin([torch.ones(2, requires_grad=True)])
    with pytest.raises(OptionInvalid, match="must be of one type"):
        optimizer.add_param_group({"params": [torch.ones(2, dtype=torch.float64, requires_grad=True)]})
    assert len(optimizer.param_groups) == 1
