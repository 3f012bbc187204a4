"""Our options in the words of torch's groups: `beta1` and `beta2` of a group become its `betas`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainwell.core.checked import options_of
from trainwell.errors import OptionInvalid

Words = Mapping[str, tuple[str, ...]]

BETAS: Words = {"betas": ("beta1", "beta2")}


def in_torch_words(
    parts: Sequence[Any], words: Words, given: Mapping[str, Any], builder: Callable[..., Any]
) -> list[Any]:
    """Return the parts that `listed` gave, with each group's own values under the names that torch reads.

    Args:
        parts: tensors, (name, tensor) pairs or groups.
        words: torch's name -> ours; several of ours become a tuple.
        given: what the optimizer itself was given for ours, for groups that say only some of them.
        builder: whose options they are.

    Raises:
        OptionInvalid: a group says the same in both words.

    >>> def member(*, beta1: float = 0.9, beta2: float = 0.999) -> None: ...
    >>> in_torch_words([{"params": [], "beta1": 0.5}], BETAS, {"beta1": 0.9, "beta2": 0.99}, member)
    [{'params': [], 'betas': (0.5, 0.99)}]
    """
    return [_translated(part, words, given, builder) if isinstance(part, dict) else part for part in parts]


def _translated(
    group: Mapping[str, Any], words: Words, given: Mapping[str, Any], builder: Callable[..., Any]
) -> dict[str, Any]:
    options, owner = options_of(builder), builder.__name__
    ours = {name for names in words.values() for name in names}
    translated = {key: value for key, value in group.items() if key not in ours}
    for torchs, names in words.items():
        own = [name for name in names if name in group]
        if own and torchs in group:
            raise OptionInvalid(f"{owner}:params: a group says {torchs} and {', '.join(own)}: say one of them")
        if torchs in group:  # torch looks at no group's values
            values = group[torchs] if len(names) > 1 else (group[torchs],)
            if not isinstance(values, Sequence) or len(values) != len(names):
                raise OptionInvalid(f"{owner}:{torchs} of a group must be {len(names)} numbers, got {values!r}")
        elif own:
            values = [group.get(name, given[name]) for name in names]
        else:
            continue
        parsed = [options[name].parse(value, owner=owner) for name, value in zip(names, values, strict=True)]
        translated[torchs] = tuple(parsed) if len(names) > 1 else parsed[0]
    return translated
