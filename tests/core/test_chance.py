"""Chance: exact against plain Python integers, and statistical, each with its chance of a false alarm.

The draws are functions of fixed seeds, so every test below passes or fails for good; the stated rates
say how likely a sound generator was to fail when the seeds were chosen.
"""

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from trainwell.core.chance import Chance, StepChance, derive, hash_bits

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
COUNT = 20_000
ALARM = 1e-6  # false failures of each statistical test


def finalizer(z: int) -> int:
    """splitmix64's, in Python's unbounded integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_rewrite_gives_the_published_first_outputs_of_splitmix64() -> None:
    """Seed 1234567, the reference vector of the Java and C implementations."""
    outputs = [finalizer((1234567 + GOLDEN * i) & MASK) for i in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("key", [0, 7, 2**62 + 12345, 2**63 - 1])
def test_the_hash_equals_a_rewrite_in_python_integers(key: int) -> None:
    counters = [0, 1, 2, 1000, 2**31, 2**40 + 3, 2**63 - 1, -1, -(2**63)]
    expected = [finalizer((finalizer((c * GOLDEN + key) & MASK) + key * GOLDEN + 1) & MASK) for c in counters]
    hashed = hash_bits(key, torch.tensor(counters))
    assert [bits & MASK for bits in hashed.tolist()] == expected


def test_uniform_is_the_upper_24_bits_of_the_hash() -> None:
    index = torch.tensor([5, 0, 99])
    draws = Chance(3, "flip").uniform(2, index, draws=2)
    bits = hash_bits(derive(3, "flip", 2), torch.tensor([[10, 11], [0, 1], [198, 199]]))
    assert draws.tolist() == [[((b & MASK) >> 40) / 2**24 for b in row] for row in bits.tolist()]
    assert draws.dtype == torch.float32


def test_a_key_depends_on_every_part_its_kind_and_the_order() -> None:
    parts = [
        (0, "a"),
        ("a", 0),
        (0, "a", 0),
        (1, "a"),
        (0, "b"),
        ("0", "a"),
        (0, "a", ""),
        ("0a",),
        ("a\x1ftext:b",),
        ("a", "b"),
    ]
    assert len({derive(*part) for part in parts}) == len(parts)
    assert all(0 <= derive(*part) < 2**63 for part in parts)


def test_a_whole_number_counts_by_value_also_when_numpy_holds_it() -> None:
    assert derive(np.int64(5), "a") == derive(5, "a")
    with pytest.raises(TypeError):
        derive(0.5)  # type: ignore[arg-type]


def test_keys_do_not_depend_on_the_process() -> None:
    digest = hashlib.blake2b(b"int:1:0text:7:shuffle", digest_size=8).digest()
    assert derive(0, "shuffle") == int.from_bytes(digest, "little") >> 1


def draw(seed: int = 0, purpose: str = "flip", epoch: int = 0, draws: int = 1) -> np.ndarray:
    return Chance(seed, purpose).uniform(epoch, torch.arange(COUNT), draws).double().numpy()


def correlation_p(one: np.ndarray, other: np.ndarray) -> float:
    """How likely a correlation as large as this one is between independent draws (normal, N large)."""
    z = np.corrcoef(one, other)[0, 1] * math.sqrt(len(one))
    return math.erfc(abs(z) / math.sqrt(2))


@pytest.mark.parametrize("seed", range(5))
def test_draws_are_uniform(seed: int) -> None:
    """Kolmogorov-Smirnov: fails a sound generator with probability 1e-6 a seed."""
    assert stats.kstest(draw(seed)[:, 0], "uniform").pvalue > ALARM


def test_draws_are_uniform_in_their_low_bits_too() -> None:
    """Chi-square over the lowest 6 of 24 bits: fails a sound generator with probability 1e-6."""
    low = (draw()[:, 0] * 2**24).astype(np.int64) % 64
    assert stats.chisquare(np.bincount(low, minlength=64)).pvalue > ALARM


def test_draws_lie_in_0_to_1_without_1() -> None:
    draws = draw(draws=8)
    assert draws.min() >= 0
    assert draws.max() < 1


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"purpose": "shift"}, {"epoch": 1}, {"seed": 2**62}, {"purpose": "flip2"}, {"epoch": 2}],
    ids=str,
)
def test_draws_of_other_seeds_purposes_and_epochs_are_independent(other: dict[str, int]) -> None:
    """Correlation, and a chi-square of the joint 8x8 table: each fails with probability 1e-6."""
    one, two = draw()[:, 0], draw(**other)[:, 0]  # type: ignore[arg-type]
    assert correlation_p(one, two) > ALARM
    table, _, _ = np.histogram2d(one, two, bins=8, range=((0, 1), (0, 1)))
    assert stats.chisquare(table.ravel()).pvalue > ALARM


def test_the_draws_of_one_sample_and_of_neighbours_are_independent() -> None:
    """10 pairs, each failing with probability 1e-6: 1e-5 in all."""
    draws = draw(draws=4)
    pairs = [(draws[:, i], draws[:, j]) for i in range(4) for j in range(i)]
    pairs += [(draws[:-lag, 0], draws[lag:, 0]) for lag in (1, 2, 7, 64)]
    assert all(correlation_p(one, other) > ALARM for one, other in pairs)


def test_a_change_of_one_bit_of_the_counter_changes_half_of_the_bits() -> None:
    """64,000 flips a counter bit: the share lies within 5 standard deviations of 1/2, 99.9999 % of times."""
    counters = torch.arange(1000)
    for bit in (0, 1, 5, 20, 40, 62):
        changed = hash_bits(1, counters) ^ hash_bits(1, counters ^ (1 << bit))
        flips = sum((value & MASK).bit_count() for value in changed.tolist())
        assert abs(flips / 64_000 - 0.5) < 5 * 0.5 / math.sqrt(64_000)


def test_a_sample_gets_the_same_draw_in_any_batch_and_any_order() -> None:
    chance, index = Chance(4, "crop"), torch.randperm(100)
    whole = chance.uniform(3, index, draws=3)
    pieces = torch.cat([chance.uniform(3, piece, draws=3) for piece in index.split(7)])
    assert torch.equal(whole, pieces)
    assert torch.equal(chance.uniform(3, index.flip(0), draws=3), whole.flip(0))


def test_drawing_neither_reads_nor_moves_torchs_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = Chance(0, "a").uniform(0, torch.arange(4))
    Chance(0, "a").permutation(0, 4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(Chance(0, "a").uniform(0, torch.arange(4)), first)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_a_permutation_holds_every_index_once(count: int) -> None:
    order = Chance(0, "shuffle").permutation(5, count)
    assert order.sort().values.tolist() == list(range(count))


def test_permutations_are_uniform_over_all_orders_of_four() -> None:
    """Chi-square over 24 orders in 4,800 epochs: fails a sound shuffle with probability 1e-6."""
    chance = Chance(0, "shuffle")
    orders = [tuple(chance.permutation(epoch, 4).tolist()) for epoch in range(4800)]
    _, counts = np.unique(np.array(orders), axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > ALARM


def test_a_place_has_its_own_numpy_generator_each_time_from_its_start() -> None:
    chance = Chance(0, "points")
    assert chance.generator("moons").random() == chance.generator("moons").random()
    assert chance.generator("moons").random() != chance.generator("rings").random()


def test_a_step_draws_the_same_whatever_was_drawn_before() -> None:
    chance, draws = StepChance(0), []
    for history in (0, 5):
        torch.rand(history)
        chance.reseed(17)
        draws.append(torch.rand(8))
    assert torch.equal(draws[0], draws[1])


def test_steps_seeds_and_ranks_draw_differently() -> None:
    draws = []
    for seed, rank, step in ((0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0), (0, 1, 0)):
        StepChance(seed, rank=rank).reseed(step)
        draws.append(tuple(torch.rand(4).tolist()))
    assert len(set(draws)) == 5


def test_the_first_draws_of_consecutive_steps_are_uniform_and_uncorrelated() -> None:
    """Two tests, each failing a sound generator with probability 1e-6."""
    chance, draws = StepChance(3), []
    for step in range(2000):
        chance.reseed(step)
        draws.append(torch.rand(1).item())
    assert stats.kstest(draws, "uniform").pvalue > ALARM
    assert correlation_p(np.array(draws[:-1]), np.array(draws[1:])) > ALARM
