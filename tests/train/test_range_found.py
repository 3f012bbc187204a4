"""What a range test says of curves whose answer is known, and that it says nothing where there is none."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from trainwell.train.range_found import BELL, DIVIDER, FLOOR, FoundRate, judge, smooth
from trainwell.train.range_test import COARSE_STEPS, EXPLODED, HIGHEST, LOWEST, Sweep, spread

Curve = Callable[[float], float]


def swept(curve: Curve, *, noise: float = 0.0, seed: int = 0, top: float = 10.0, count: int = 100) -> list[Sweep]:
    """Sweeps of a curve of the logarithm of the rate, ended where it is three times what it was at first."""
    generator = np.random.default_rng(seed)

    def one(rates: tuple[float, ...]) -> Sweep:
        losses: list[float] = []
        for rate in rates:
            value = curve(math.log10(rate)) + noise * generator.standard_normal()
            if value > EXPLODED * curve(-7):
                return Sweep(rates, tuple(losses), f"the loss was {value:.2g}")
            losses.append(value)
        return Sweep(rates, tuple(losses))

    fine = spread(top / 10**4.5, top, count)
    return [one(spread(LOWEST, HIGHEST, COARSE_STEPS)), one(fine), one(fine)]


def found(sweeps: list[Sweep], total_steps: int = 500) -> FoundRate:
    return judge(sweeps, optimizer="sgd", schedule="one_cycle", total_steps=total_steps)


def valley(place: float) -> float:
    """Falls from 2.3 between 1e-3 and 1e-1, stays at 0.3 to 1, and explodes above."""
    fall = 2.0 / (1 + math.exp(-5 * (place + 2)))
    return 2.3 - fall + (math.exp(min(8 * (place - 0.3), 50)) if place > -1 else 0.0)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_a_valley_is_good_between_half_of_its_fall_and_a_tenth_of_rise(noise: float, seed: int) -> None:
    answer = found(swept(valley, noise=noise, seed=seed))
    assert answer.good is not None
    low, high = answer.good
    assert low == pytest.approx(1e-2, rel=0.4), "half of the fall"
    assert high == pytest.approx(10 ** (0.3 + math.log(0.2) / 8), rel=0.35), "the exponential is a tenth of the fall"
    best = answer.rates[int(np.argmin(answer.smoothed))]
    assert answer.suggestion == pytest.approx(max(math.sqrt(best * high) / DIVIDER, FLOOR * low), rel=0.06)
    assert low <= answer.suggestion <= high
    assert answer.zones["good"] == answer.good
    assert f"above {high:.2g} the loss has risen again by a tenth of it" in answer.reason


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_gives_no_suggestion(seed: int) -> None:
    def flat(place: float) -> float:
        return 2.3 if place < 0 else 2.3 * 10 ** (3 * place)

    answer = found(swept(flat, noise=0.15, seed=seed))
    assert answer.suggestion is None
    assert answer.good is None
    assert answer.zones == {}
    assert answer.reason.startswith("the loss never falls: from 2.")


def test_a_loss_that_explodes_at_once_has_no_answer() -> None:
    rates = spread(LOWEST, HIGHEST, COARSE_STEPS)
    broken = Sweep(rates, (2.0,), "the loss was nan behind a step at 1.5e-07")
    empty = Sweep(spread(1e-9, 1e-5, 100), (), "the loss was nan behind a step at 1e-09")
    answer = found([broken, empty, empty])
    assert answer.suggestion is None
    assert answer.reason.startswith("training explodes at once: the loss was nan behind a step at 1.5e-07; look at")
    nothing = found([Sweep(rates, (), "the loss was nan"), empty, empty])
    assert nothing.suggestion is None
    json.dumps(nothing.to_plain())
    assert len(nothing.picture().data) >= 1


def test_a_rate_that_is_not_followed_has_no_answer() -> None:
    falls = Sweep(spread(LOWEST, HIGHEST, COARSE_STEPS), tuple(np.linspace(2, 1.9, COARSE_STEPS).tolist()))
    fine = Sweep(spread(10**-2.5, 100, 100), tuple(np.linspace(1, 0.5, 100).tolist()))
    assert "has fallen by half at 3.2e-03 already" in found([falls, fine, fine]).reason
    slow = Sweep(fine.rates, tuple(np.linspace(2, 0.5, 100).tolist()))
    answer = found([falls, slow, slow])
    assert answer.suggestion is None
    assert answer.reason.startswith("the loss does not rise again up to a rate of 1e+02")


def test_a_run_of_a_few_steps_has_no_answer() -> None:
    answer = found(swept(valley), total_steps=19)
    assert answer.suggestion is None
    assert answer.reason.startswith("the run has 19 steps, fewer than 20: train longer or take smaller batches")


def test_the_smoothed_curve_is_a_normalized_bell_over_the_mean_of_the_sweeps() -> None:
    """Written out, one rate after another, in plain loops."""
    rates = np.geomspace(1e-4, 1, 40)
    generator = np.random.default_rng(1)
    sweeps = [generator.uniform(0.5, 4, 40).tolist(), generator.uniform(0.5, 4, 33).tolist()]
    smoothed, shrunk = smooth(rates, sweeps, most=3.0)
    for here in range(40):
        above = below = squares = 0.0
        for there in range(40):
            weight = math.exp(-((math.log10(rates[here] / rates[there]) / BELL) ** 2) / 2)
            values = [min(sweep[there], 3.0) if there < len(sweep) else 3.0 for sweep in sweeps]
            above, below, squares = above + weight * sum(values) / 2, below + weight, squares + weight**2
        assert smoothed[here] == pytest.approx(above / below, rel=1e-12)
    assert shrunk < 0.5


def test_smoothing_neither_lags_nor_bends_the_ends() -> None:
    rates = np.geomspace(1e-4, 1, 101)
    constant, _ = smooth(rates, [[2.0] * 101], most=3.0)
    assert constant == pytest.approx(np.full(101, 2.0), rel=1e-12)
    dip = (np.log10(rates) + 2) ** 2
    assert smooth(rates, [dip.tolist()], most=9.0)[0].argmin() == 50


def test_the_answer_is_plain_data_and_a_picture() -> None:
    answer = found(swept(valley, noise=0.02))
    plain = json.loads(json.dumps(answer.to_plain()))
    assert plain["suggestion"] == answer.suggestion
    assert plain["zones"].keys() == {"too low", "good", "too high"}
    figure = answer.picture().to_plotly_json()
    assert "smoothed" in str(figure["data"])
    words = str(figure["layout"])
    assert all(word in words for word in ("too low", "good", "too high", f"{answer.suggestion:.2g}"))
