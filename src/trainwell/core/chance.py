"""Randomness as a function of what it is for, never of what was drawn before.

Two scopes. *Sample draws* hash (seed, purpose, epoch, sample index): a sample gets the same draw
whatever the batch size, the workers or the ranks. *Step draws* (dropout masks, a user's own noise)
come from torch's generators, reseeded from (seed, step, rank) at the start of each step.

Source: the mixing function is splitmix64's finalizer (Steele, Lea, Flood 2014, "Fast splittable
pseudorandom number generators", figure 14), used as a counter hash.
"""

import hashlib
import operator
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def derive(*parts: int | str) -> int:
    """Return a key in [0, 2**63) that depends on every part and on their order.

    A whole number counts by its value, whatever its type; 1 and "1" are different.

    >>> derive(0, "shuffle") == derive(0, "shuffle"), derive(0, "shuffle") == derive(1, "shuffle")
    (True, False)
    """
    texts = [part if isinstance(part, str) else str(operator.index(part)) for part in parts]
    kinds = ["text" if isinstance(part, str) else "int" for part in parts]
    text = "".join(f"{kind}:{len(part)}:{part}" for kind, part in zip(kinds, texts, strict=True))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift_right(bits: Tensor, count: int) -> Tensor:
    """Logical right shift: torch's int64 shift copies the sign, so the copied bits are masked away."""
    return (bits >> count).bitwise_and_((1 << (64 - count)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift_right(bits, 30)).mul_(_signed(_FIRST))
    bits.bitwise_xor_(_shift_right(bits, 27)).mul_(_signed(_SECOND))
    return bits.bitwise_xor_(_shift_right(bits, 31))


def hash_bits(key: int, counters: Tensor) -> Tensor:
    """Return 64 hashed bits for each int64 counter, on the counters' device.

    >>> hash_bits(7, torch.tensor([0, 1])).dtype
    torch.int64
    """
    return _mix(_mix(counters * _signed(_GOLDEN) + _signed(key)) + _signed(key * _GOLDEN + 1))


@dataclass(frozen=True)
class Chance:
    """Sample draws for one purpose: `Chance(seed, "flip").uniform(epoch, index)`.

    >>> index = torch.tensor([3, 8])
    >>> one, both = Chance(0, "flip").uniform(2, index[:1]), Chance(0, "flip").uniform(2, index)
    >>> bool(one[0] == both[0])
    True
    """

    seed: int
    purpose: str

    def uniform(self, epoch: int, index: Tensor, draws: int = 1) -> Tensor:
        """Return uniform draws in [0, 1), float32, multiples of 2**-24.

        Args:
            epoch: pass over the data, from 0.
            index: (N,) int64 positions of the samples in their split.
            draws: numbers per sample.

        Returns:
            (N, draws) on the device of `index`.
        """
        key = derive(self.seed, self.purpose, epoch)
        counters = index.unsqueeze(1) * draws + torch.arange(draws, device=index.device)  # (N,) -> (N, draws)
        return _shift_right(hash_bits(key, counters), 40).to(torch.float32).mul_(2.0**-24)

    def permutation(self, epoch: int, count: int) -> Tensor:
        """Return the order of an epoch: (count,) int64, a permutation of 0..count-1."""
        key = derive(self.seed, self.purpose, epoch)
        return torch.argsort(hash_bits(key, torch.arange(count)), stable=True)

    def generator(self, *where: int | str) -> np.random.Generator:
        """Return a NumPy generator for one place that is drawn from in order, such as building a data set."""
        return np.random.default_rng(derive(self.seed, self.purpose, *where))


class StepChance:
    """Reseeds torch's generators at the start of each step, from (seed, step, rank)."""

    def __init__(self, seed: int, *, rank: int = 0, device: torch.device | None = None) -> None:
        self._key = derive(seed, "step", rank)
        self._generators = list(_generators(device))

    def reseed(self, step: int) -> None:
        """Make all step draws of this step a function of (seed, step, rank)."""
        seed = (self._key + step * _GOLDEN) & (_MASK >> 1)
        for generator in self._generators:
            generator.manual_seed(seed)


def _generators(device: torch.device | None) -> Iterable[torch.Generator]:
    yield torch.default_generator
    if device is not None and device.type == "cuda":
        torch.cuda.init()
        yield torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
