"""What an initialization did to each layer of a network, and what it left alone and why: data that print well."""

from dataclasses import dataclass
from itertools import groupby

MOST_REASONS = 3  # in the one line of a summary; the whole report has all


@dataclass(frozen=True)
class Entry:
    """One module that owns parameters.

    Attributes:
        name: its path in the network; empty for the network itself.
        kind: the name of its class.
        is_set: whether any of its weights were written.
        words: what was written; or why it was left alone.
    """

    name: str
    kind: str
    is_set: bool
    words: str


@dataclass(frozen=True)
class Report:
    """What an initialization did: one entry for each module that owns parameters, in the network's order.

    >>> entries = Entry("fc", "Linear", True, "std 0.5"), Entry("bn", "BatchNorm1d", False, "a norm keeps its scale")
    >>> report = Report("he", entries)
    >>> report.changed, report.left
    (('fc',), {'bn': 'a norm keeps its scale'})
    >>> print(report)
    he: 1 layer set, 1 left alone
      fc (Linear): std 0.5
      left alone, a norm keeps its scale: bn (BatchNorm1d)
    """

    choice: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the modules whose weights were written."""
        return tuple(entry.name for entry in self.entries if entry.is_set)

    @property
    def left(self) -> dict[str, str]:
        """Why each other module was left alone, by name."""
        return {entry.name: entry.words for entry in self.entries if not entry.is_set}

    @property
    def summary(self) -> str:
        """One line: how many layers were set, how many were not and why, and what else is to be known.

        >>> entries = Entry("fc", "Linear", True, "std 0.5"), Entry("bn", "BatchNorm1d", False, "a norm")
        >>> Report("he", entries, ("a note",)).summary
        'he: 1 layer set, 1 left alone (1: a norm); a note'
        """
        words = list(self.left.values())
        ordered = sorted(set(words), key=lambda word: (-words.count(word), word))
        said = [f"{words.count(word)}: {word}" for word in ordered[:MOST_REASONS]]
        said += [f"and {len(ordered) - MOST_REASONS} more reasons"] if len(ordered) > MOST_REASONS else []
        return "; ".join([self._counts() + (f" ({', '.join(said)})" if said else ""), *self.notes])

    def _counts(self) -> str:
        count, rest = len(self.changed), len(self.left)
        return f"{self.choice}: {count} layer{'' if count == 1 else 's'} set, {rest or 'none'} left alone"

    def __str__(self) -> str:
        lines = [self._counts(), *(f"  {note}" for note in self.notes)]
        lines += [f"  {_called(entry)}: {entry.words}" for entry in self.entries if entry.is_set]
        rest = sorted((entry for entry in self.entries if not entry.is_set), key=lambda entry: entry.words)
        for words, entries in groupby(rest, key=lambda entry: entry.words):
            lines.append(f"  left alone, {words}: {', '.join(map(_called, entries))}")
        return "\n".join(lines)


def _called(entry: Entry) -> str:
    return f"{entry.name or 'the network itself'} ({entry.kind})"
