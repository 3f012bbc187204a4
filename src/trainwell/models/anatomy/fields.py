"""Which input pixels a value depends on: the receptive field, followed through shapes, step by step.

For a step whose windows are k wide (k_eff = d (k - 1) + 1 with dilation d), s apart and padded by p, along each axis

    size' = size + (k_eff - 1) jump        jump' = jump s        start' = start - p jump

Unit i sees the input's pixels start + i jump, ..., start + i jump + size - 1; a negative start lies in the padding.
Where branches meet, the largest size counts. What a norm learns of the whole map in its statistics is left aside.

Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural networks", Distill.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """The receptive field of the units of a layer, one entry for each spatial axis of the input.

    Attributes:
        size: pixels that a unit depends on, those in the padding among them.
        jump: pixels between the fields of neighbouring units; 0 where there is one unit for the whole axis.
        start: first pixel of the first unit's field; negative in the padding.
    """

    size: tuple[int, ...]
    jump: tuple[float, ...]
    start: tuple[float, ...]

    def __str__(self) -> str:
        """Return the size, as one number where it is the same along all axes."""
        return str(self.size[0]) if len(set(self.size)) == 1 else "x".join(map(str, self.size))


@dataclass(frozen=True)
class Span:
    """Units along one axis of the input: `count` fields of `size` pixels, `jump` apart, the first from `start` on."""

    axis: int
    size: Fraction
    jump: Fraction
    start: Fraction
    count: int

    def whole(self) -> "Span":
        """Return what all of them see together."""
        return replace(self, size=self.size + (self.count - 1) * self.jump, jump=Fraction(0), count=1)

    def windowed(self, width: int, stride: Fraction, padding: Fraction, count: int) -> "Span":
        """Return the fields of windows of `width` neighbours, `stride` apart, the first `padding` before the first."""
        size, start = self.size + (width - 1) * self.jump, self.start - padding * self.jump
        return Span(self.axis, size, self.jump * stride, start, count)


@dataclass(frozen=True)
class Reach:
    """What the entries of one tensor depend on.

    Attributes:
        dims: for each dimension of the tensor the spans that run along it, outer ones first.
        rest: of the axes that run along no dimension any more, what every entry sees.
        lost: the operation at which no rule was known; empty where all is known.
    """

    dims: tuple[tuple[Span, ...], ...]
    rest: tuple[Span, ...] = ()
    lost: str = ""

    def field(self) -> Field | None:
        """Return the receptive field; None where the input has no spatial axes, or the reach is lost."""
        spans = {span.axis: span for span in (*self.rest, *(span for dim in self.dims for span in dim))}
        if self.lost or not spans:
            return None
        ordered = [spans[axis] for axis in sorted(spans)]
        jumps, starts = (tuple(_number(getattr(span, name)) for span in ordered) for name in ("jump", "start"))
        return Field(tuple(math.ceil(span.size) for span in ordered), jumps, starts)

    def collapsed(self, places: Iterable[int], *, keep: bool = True) -> "Reach":
        """Return the reach after all entries along some dimensions were mixed into one; `keep` keeps them as size 1."""
        gone = {place % len(self.dims) for place in places}
        rest = joined((*self.rest, *(span.whole() for place in gone for span in self.dims[place])))
        dims = [() if place in gone else dim for place, dim in enumerate(self.dims) if keep or place not in gone]
        return Reach(tuple(dims), rest, self.lost)

    def mixed(self, places: Iterable[int]) -> "Reach":
        """Return the reach after each entry along some dimensions came to depend on all others there."""
        along = {place % len(self.dims) for place in places}
        dims = list(self.dims)
        for place in along:
            dims[place] = tuple(
                replace(span, size=span.whole().size, start=span.start) if span.count > 1 else span
                for span in dims[place]
            )
        return Reach(tuple(dims), self.rest, self.lost)

    def with_dim(self, place: int, spans: tuple[Span, ...]) -> "Reach":
        """Return the reach with other spans along one dimension."""
        place %= len(self.dims)
        return replace(self, dims=(*self.dims[:place], spans, *self.dims[place + 1 :]))


def of_input(shape: Sequence[int]) -> Reach:
    """Return the reach of a batch of inputs (N, C, ...): each pixel sees itself.

    >>> of_input((2, 3, 8, 8)).field()
    Field(size=(1, 1), jump=(1, 1), start=(0, 0))
    """
    one = Fraction(1)
    spans = [(Span(axis, one, one, Fraction(0), count),) for axis, count in enumerate(shape[2:])]
    return Reach((*[()] * min(2, len(shape)), *spans))


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return one span for each axis: the largest size, the earliest start, the places of the most units."""
    by_axis: dict[int, Span] = {}
    for span in spans:
        other = by_axis.setdefault(span.axis, span)
        more = max(other, span, key=lambda each: (each.count, each.jump))
        by_axis[span.axis] = replace(more, size=max(other.size, span.size), start=min(other.start, span.start))
    return tuple(by_axis[axis] for axis in sorted(by_axis))


def meeting(reaches: Sequence[tuple[Reach, Shape]], shape: Sequence[int]) -> Reach:
    """Return the reach of a result whose entries meet those of several tensors, aligned as in broadcasting."""
    everywhere = [span for reach, _ in reaches for span in reach.rest]
    dims: list[list[Span]] = [[] for _ in shape]
    for reach, _ in reaches:
        shift = len(shape) - len(reach.dims)
        for place, spans in enumerate(reach.dims):
            if place + shift >= 0:
                dims[place + shift] += spans
    placed = [joined(spans) for spans in dims]
    along = {span.axis for spans in placed for span in spans}
    for place, spans in enumerate(placed):
        wider = [each for each in everywhere for span in spans if each.axis == span.axis]
        placed[place] = joined((*spans, *wider))
    rest = joined(span for span in everywhere if span.axis not in along)
    return Reach(tuple(placed), rest, next((reach.lost for reach, _ in reaches if reach.lost), ""))


def reshaped(reach: Reach, old: Sequence[int], new: Sequence[int]) -> Reach:
    """Return the reach after the same entries were given another shape.

    >>> tokens = reshaped(of_input((2, 3, 8, 8)), (2, 3, 8, 8), (2, 3, 64))
    >>> [len(spans) for spans in tokens.dims], tokens.field().size
    ([0, 0, 2], (1, 1))
    """
    if math.prod(old) == 0:
        return replace(reach.collapsed(range(len(old))), dims=((),) * len(new))
    dims: list[tuple[Span, ...]] = [()] * len(new)
    rest = list(reach.rest)
    for before, after in _groups(old, new):
        spans = tuple(span for place in before for span in reach.dims[place])
        wide = [place for place in after if new[place] > 1]
        placed = _spread(spans, [old[place] for place in before], [new[place] for place in wide])
        if placed is None:
            rest += [span.whole() for span in spans]
            continue
        for place, there in zip(wide or after[:1], placed, strict=False):
            dims[place] = there
    return Reach(tuple(dims), joined(rest), reach.lost)


def _spread(spans: tuple[Span, ...], old: Sequence[int], new: Sequence[int]) -> list[tuple[Span, ...]] | None:
    """Return which spans run along which of the new dimensions; None where they do not fit."""
    if len(new) <= 1:
        wide = [count for count in old if count > 1]
        if len(wide) == 2 and len(spans) == 1 and spans[0].count == wide[0] != wide[1]:  # each unit becomes several
            return [(replace(spans[0], jump=spans[0].jump / wide[1], count=wide[0] * wide[1]),)]
        return [spans]
    several = [span for span in spans if span.count > 1]
    free = len(new) - len(several)
    if free >= 0 and [span.count for span in several] == list(new[free:]):
        return [()] * free + [(span,) for span in several]
    return None if several else [spans, *[()] * (len(new) - 1)]


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return the smallest runs of dimensions that hold the same number of entries in both shapes."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        before, after = list(range(i, min(i + 1, len(old)))), list(range(j, min(j + 1, len(new))))
        i, j = i + 1, j + 1
        left = math.prod(old[place] for place in before)
        right = math.prod(new[place] for place in after)
        while left != right:
            if left < right:
                left *= old[i]
                before.append(i)
                i += 1
            else:
                right *= new[j]
                after.append(j)
                j += 1
        groups.append((before, after))
    return groups


def _number(value: Fraction) -> float:
    """Return a whole number as one."""
    return value.numerator if value.denominator == 1 else float(value)
