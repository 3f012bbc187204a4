"""Claim 12: what is measured of a path, against paths whose numbers are known, and judgement of others."""

import numpy as np
import pytest

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.ill_conditioned_bowl import (
    ADAM,
    ARMS,
    DESCENT,
    FORMS,
    MOMENTUM,
    NOISE,
    RMSPROP,
    SIZES,
    gradient_deviations,
    judge,
    measured,
    roughness,
)
from trainwell.lab.landscapes.paths import Path


def walked(positions: list[tuple[float, float]], sub_steps: int = 1) -> Path:
    """A path through some positions."""
    places = np.array(positions)
    moves = np.diff(places, axis=0)
    losses = np.arange(len(places), dtype=float)
    return Path("bowl", "nobody", places, losses, moves, moves, sub_steps, None)


def test_a_zig_zag_is_measured_as_one() -> None:
    found = measured(walked([(-2, 1), (-1.5, -1), (-1, 1), (-0.5, 0.5)]))
    assert found["crossings"] == 2
    assert found["zig-zag"] == 4.5
    assert found["way"] == 0.75
    assert found["first step, across over along"] == 4
    assert found["first step"] == pytest.approx(np.hypot(0.5, 2))


def test_losses_are_those_of_the_iterations() -> None:
    assert list(measured(walked([(-4, 1), (-3, 1), (-2, 1), (-1, 1), (0, 1)], sub_steps=2))["loss"]) == [0, 2, 4]


def test_roughness_tells_a_straight_path_from_independent_steps() -> None:
    steps = np.random.default_rng(0).standard_normal((20_000, 2))
    assert roughness(np.ones((9, 2))) == 0
    assert roughness(steps) == pytest.approx(np.sqrt(2), rel=0.02)


def test_deviations_of_mini_batches_fall_as_the_root_of_their_size() -> None:
    """300 draws of two coordinates know a deviation to 3 %: five times that is the tolerance."""
    found = np.array(gradient_deviations(0, 300))
    np.testing.assert_allclose(found * np.sqrt(SIZES), found[0], rtol=0.2)


def table() -> dict[str, list[Values]]:
    """What would bear out every word of the claim."""
    path = {"crossings": 10.0, "zig-zag": 16.0, "way": 0.2, "first step": 2.0, "first step, across over along": 28.0}
    cells: dict[str, list[Values]] = {name: [{**path, "roughness": 1.4}] for name in ARMS if name != NOISE}
    cells[f"{MOMENTUM}, batch"] = [{**path, "crossings": 5.0, "zig-zag": 9.0, "way": 0.9}]
    cells[f"{MOMENTUM}, (1 - β) form, batch"] = [{**path, "first step": 0.2, "way": 0.1}]
    for name in (RMSPROP, ADAM):
        cells[f"{name}, batch"] = [{**path, "first step, across over along": 1.0}]
    cells[f"{ADAM}, stochastic"] = [{**path, "roughness": 0.3}]
    return {**cells, NOISE: [{"deviation": [size**-0.5 for size in SIZES]}]}


@pytest.mark.parametrize(
    ("arm", "change", "words"),
    [
        (f"{DESCENT}, batch", {"crossings": 8.0}, ["changes sides"]),
        (f"{MOMENTUM}, batch", {"zig-zag": 17.0}, ["crossings and zig-zag"]),
        (f"{MOMENTUM}, batch", {"way": 0.3}, ["way along the valley"]),
        (f"{MOMENTUM}, (1 - β) form, batch", {"first step": 2.0}, ["first step, and way"]),
        (f"{RMSPROP}, batch", {"first step, across over along": 1.1}, ["where the gradients"]),
        (f"{ADAM}, stochastic", {"roughness": 1.0}, ["smooth where", "roughness against"]),
        (NOISE, {"deviation": [1.0 / size for size in SIZES]}, ["gradient noise"]),
    ],
)
def test_each_word_of_the_claim_can_fail(arm: str, change: dict[str, float], words: list[str]) -> None:
    cells = table()
    assert all(check.holds for check in judge(Table(cells)))
    cells[arm] = [{**cells[arm][0], **change}]
    failing = [check.claim for check in judge(Table(cells)) if not check.holds]
    assert len(failing) == len(words)
    assert all(word in claim for word, claim in zip(words, failing, strict=True))


def test_every_arm_says_its_rate() -> None:
    assert len(ARMS) == 2 * len(FORMS) + 1
    for name, settings in ARMS.items():
        if name != NOISE:
            rate = 0.14 if name.endswith("batch") else 0.07
            share = 0.1 if "(1 - β) form," in name and "corrected" not in name else 1
            assert float(settings["optimizer"].rpartition("lr=")[2]) == pytest.approx(share * rate)
