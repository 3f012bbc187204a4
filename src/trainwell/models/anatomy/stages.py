"""The stages of a network: the blocks at its top, in which its layers stand."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from trainwell.models.anatomy.layer import Layer

NEARLY_ALL = 0.9  # of the layers in one block: then that block is a mere wrapper, and its own blocks are the stages


def with_stages(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers with their stages: blocks at the top; layers there that stand side by side share one.

    A block that holds nearly all layers is taken apart. Of a network that is only a row of layers, each is a stage.
    """
    names = [layer.name for layer in layers]
    stages = _blocks(names, 0)
    blocks = {stage for stage, name in zip(stages, names, strict=True) if stage != name}
    if not blocks:
        return [replace(layer, stage=stage) for layer, stage in zip(layers, stages, strict=True)]
    staged: list[Layer] = []
    pairs = list(zip(layers, stages, strict=True))
    for is_alone, group in groupby(pairs, key=lambda pair: pair[1] not in blocks):
        members = list(group)
        ends = f"{members[0][1]} … {members[-1][1]}" if len(members) > 1 else members[0][1]
        staged += [replace(layer, stage=ends if is_alone else stage) for layer, stage in members]
    return staged


def _blocks(names: Sequence[str], depth: int) -> list[str]:
    """Return the block of each layer by the first parts of its path."""
    heads = [".".join(name.split(".")[: depth + 1]) for name in names]
    largest = max(set(heads), key=heads.count, default="")
    inside = [place for place, head in enumerate(heads) if head == largest]
    is_deep = any(names[place] != largest for place in inside)
    if len(inside) > 1 and is_deep and len(inside) >= NEARLY_ALL * len(names):
        deeper = _blocks([names[place] for place in inside], depth + 1)
        for place, stage in zip(inside, deeper, strict=True):
            heads[place] = stage
    return heads
