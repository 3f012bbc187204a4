"""Paths on landscapes, against closed forms and rewrites in plain NumPy, and what is refused."""

import json
from pathlib import Path as File

import numpy as np
import pytest
import torch

from trainwell.core.shelves import optimizers
from trainwell.errors import NameUnknown, OptionInvalid
from trainwell.lab.landscapes.landscape import landscape
from trainwell.lab.landscapes.paths import Path, on_landscape, path
from trainwell.lab.landscapes.physics import mobility_of, motion, terminal_velocity
from trainwell.lab.landscapes.walking import table, walk_all

PLAIN = "sgd:momentum=0,nesterov=false"
CURVATURES = np.array([0.2, 14.0])


def test_gradient_descent_on_a_bowl_is_a_geometric_sequence() -> None:
    walked = path("ill_conditioned_bowl", f"{PLAIN},lr=0.14", steps=30)
    wanted = np.array([-2.5, 1.0]) * (1 - 0.14 * CURVATURES) ** np.arange(31)[:, None]
    np.testing.assert_allclose(walked.positions, wanted, rtol=1e-10)
    np.testing.assert_allclose(walked.losses, (CURVATURES * wanted**2).sum(1) / 2, rtol=1e-10)
    np.testing.assert_allclose(walked.gradients, CURVATURES * wanted[:-1], rtol=1e-10)
    np.testing.assert_allclose(walked.velocities, np.diff(wanted, axis=0), rtol=1e-8)


def test_momentum_on_a_bowl_is_the_recurrence_of_a_damped_swing() -> None:
    walked = path("ill_conditioned_bowl", "sgd:momentum=0.9,nesterov=false,lr=0.1", steps=30)
    place, speed, wanted = np.array([-2.5, 1.0]), np.zeros(2), []
    for _ in range(30):
        speed = 0.9 * speed - 0.1 * CURVATURES * place
        place = place + speed
        wanted.append(place)
    np.testing.assert_allclose(walked.positions[1:], wanted, rtol=1e-10)


def test_a_stochastic_path_is_that_of_its_own_noisy_gradients() -> None:
    ground = landscape("ten_terms")
    walked = path(ground, f"{PLAIN},lr=0.05", steps=4, sub_steps=10, batch=2, seed=3)
    assert walked.positions.shape == (41, 2)
    assert walked.iterations.shape == (5, 2)
    np.testing.assert_allclose(walked.velocities, -0.05 * walked.gradients, rtol=1e-9, atol=1e-15)
    exact = ground.gradient(torch.from_numpy(walked.positions[:-1])).numpy()
    assert 0.1 < np.abs(walked.gradients - exact).mean() < 10
    np.testing.assert_allclose(walked.losses, ground.value(torch.from_numpy(walked.positions)).numpy())


def test_noise_is_a_function_of_seed_and_step_alone() -> None:

    def walk(steps: int, seed: int) -> Path:
        return path("beale", f"{PLAIN},lr=1e-3", steps=steps, sub_steps=5, batch=4, seed=seed)

    long, short = walk(6, 1), walk(3, 1)
    torch.manual_seed(5)
    again, other = walk(6, 1), walk(6, 2)
    np.testing.assert_array_equal(long.positions[:16], short.positions)
    np.testing.assert_array_equal(long.positions, again.positions)
    assert (long.positions[1:] != other.positions[1:]).all()
    bowl = {one: path("ill_conditioned_bowl", f"{one}", steps=1, batch=4, noise=2.0) for one in (PLAIN, "adamw")}
    noise = [walked.gradients[0] - CURVATURES * [-2.5, 1.0] for walked in bowl.values()]
    np.testing.assert_array_equal(*noise)  # every optimizer goes through the same noise


def test_walking_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    path("ten_terms", "adamw", steps=3, batch=2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [card.name for card in optimizers])
def test_every_optimizer_of_the_shelf_walks_on_the_bowl(name: str) -> None:
    exact = path("ill_conditioned_bowl", name, steps=15)
    noisy = path("ill_conditioned_bowl", name, steps=3, sub_steps=5, batch=10)
    for walked, count in ((exact, 16), (noisy, 16)):
        assert walked.positions.shape == (count, 2)
        assert not walked.ended
        assert json.loads(walked.to_json())["losses"][0] == 7.625
    assert abs(exact.positions[-1, 0]) < 2.5, "it came nearer along the valley"


@pytest.mark.parametrize("name", ["gradient_descent", "momentum", "adam"])
def test_noise_of_deviation_zero_is_the_exact_gradient(name: str) -> None:
    noisy = path("ill_conditioned_bowl", f"{name}:lr=0.1", steps=5, batch=1, noise=0.0)
    exact = path("ill_conditioned_bowl", f"{name}:lr=0.1", steps=5)
    np.testing.assert_array_equal(noisy.positions, exact.positions)


def test_what_is_not_said_is_the_landscapes() -> None:
    bowl = landscape("ill_conditioned_bowl")
    assert on_landscape("sgd", bowl).options == {"lr": 0.14, "weight_decay": 0.0}
    assert on_landscape("sgd", bowl, is_noisy=True).options["lr"] == 0.07
    assert on_landscape("sgd:lr=1,weight_decay=0.1", bowl).options == {"lr": 1, "weight_decay": 0.1}
    steep = landscape("rosenbrock")
    assert [on_landscape(name, steep).options["lr"] for name in ("sgd", "adamw")] == [steep.lr, steep.stride]


def test_a_path_that_leaves_the_numbers_is_cut_and_says_so() -> None:
    walked = path("beale", f"{PLAIN},lr=1", steps=50)
    assert len(walked.velocities) < 10
    assert np.isfinite(walked.losses).all()
    assert "of 50 steps" in walked.ended
    assert "the rate is too large here" in walked.ended
    json.loads(walked.to_json())


def test_json_holds_all_of_a_path() -> None:
    plain = json.loads(path("saddle", PLAIN, steps=2).to_json())
    assert plain.keys() == {
        "landscape", "optimizer", "steps", "sub_steps", "batch", "ended", "positions", "losses", "gradients",
        "velocities",
    }  # fmt: skip
    assert [len(plain[name]) for name in ("positions", "losses", "gradients", "velocities")] == [3, 3, 2, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps must be a whole number >= 1, got 0"),
        ({"sub_steps": 0}, "sub_steps must be a whole number >= 1, got 0"),
        ({"batch": 0}, "batch must be a whole number >= 1, got 0"),
        ({"steps": 2.5}, "steps must be a whole number >= 1, got 2.5"),
        ({"start": (0.0, float("nan"))}, "start must be two finite numbers"),
        ({"start": (0.0,)}, "start must be two finite numbers"),
        ({"noise": 1.0}, "say how many samples"),
        ({"noise": -1.0, "batch": 1}, "noise must be a number >= 0, got -1"),
    ],
)
def test_what_no_optimizer_can_walk_by_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(OptionInvalid, match=words):
        path("saddle", PLAIN, **{"steps": 3, **change})  # type: ignore[arg-type]


def test_real_samples_take_no_other_noise() -> None:
    with pytest.raises(OptionInvalid, match="ten_terms is a mean of samples, whose own noise it has"):
        path("ten_terms", PLAIN, batch=1, noise=1.0)


def test_terminal_velocities_are_the_closed_forms() -> None:
    assert terminal_velocity(f"{PLAIN},lr=0.1", gradient=3.0) == pytest.approx(-0.3)
    for nesterov in ("true", "false"):
        found = terminal_velocity(f"sgd:nesterov={nesterov},momentum=0.99,lr=0.1")
        assert found == pytest.approx(-10, rel=1e-6)
    assert terminal_velocity("adamw:lr=0.1", gradient=5.0) == pytest.approx(-0.1)


def test_the_physical_view_knows_what_is_proportional_to_the_gradient() -> None:
    rolls = motion(path("beale", "sgd:nesterov=false,momentum=0.9,lr=1e-4", steps=5))
    assert rolls.mobility == pytest.approx(1e-3)
    assert rolls.terminal is not None
    walked = path("beale", "sgd:nesterov=false,momentum=0.9,lr=1e-4", steps=5)
    np.testing.assert_allclose(rolls.terminal, -1e-3 * walked.gradients, rtol=1e-6)
    np.testing.assert_allclose(rolls.speeds, np.linalg.norm(walked.velocities, axis=1))
    assert mobility_of("adamw:lr=0.1") is None
    assert motion(path("beale", "adamw", steps=2)).to_plain()["terminal"] is None


def test_several_optimizers_walk_side_by_side() -> None:
    walked = walk_all("saddle", [PLAIN, "adamw"], steps=3, batch=2, sub_steps=2)
    assert [list(pair) for pair in walked.paths.values()] == [["batch", "stochastic"]] * 2
    assert [row[1] for row in table(walked)] == ["gradient", "exact", "of 2", "exact", "of 2"]
    plain = walked.to_plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert [len(one["positions"]) for one in plain["paths"]] == [4, 7, 4, 7]
    assert len(walked.figures()) == 6


def test_a_path_that_climbs_is_said_to() -> None:
    walked = walk_all("ill_conditioned_bowl", [f"{PLAIN},lr=0.2"], steps=3)
    assert table(walked)[1][-1] == "it ends higher than it began"


def test_names_are_refused_in_words() -> None:
    with pytest.raises(NameUnknown, match="no optimizer is called 'zgd'"):
        walk_all("saddle", ["zgd"])
    with pytest.raises(OptionInvalid, match="sgd is named twice"):
        walk_all("saddle", ["sgd", "sgd"])


def test_a_page_that_cannot_be_written_is_refused(tmp_path: File) -> None:
    walked = walk_all("slope", [PLAIN], steps=1)
    with pytest.raises(OptionInvalid, match="cannot be written"):
        walked.write(tmp_path)
