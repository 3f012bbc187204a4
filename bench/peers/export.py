"""The pixels and the split of a run of trainwell as one .npz file that every environment reads.

    python bench/peers/export.py RUN cifar10.npz

The data are prepared again from the run's resolved recipe, and must be what the run trained on. The networks of
`nets.py` are held against trainwell's own on the way.
"""

import json
import sys
from pathlib import Path

import nets
import numpy as np
import torch

from trainwell.core.recipe import Recipe
from trainwell.core.shelves import models
from trainwell.data.prepare import DataSpec, Prepared, prepare
from trainwell.models.building import model_facts


def prepared_of(run: Path) -> Prepared:
    """Prepare the data of a run again, and hold them against what it stored."""
    recipe = Recipe.from_file(run / "recipe.yaml")
    section = recipe.data
    rest = {name: getattr(section, name) for name in type(section).model_fields if name != "source"}
    spec = DataSpec(source=section.source.name, options=section.source.options, **rest)
    prepared = prepare(spec, seed=recipe.seed, threads=2, cache=run / "pack")
    stored = json.loads((run / "data.json").read_text())
    for part in ("membership", "decoder", "form"):
        assert stored[part] == prepared.summary[part], f"{run} trained on other data: {part} differs"
    return prepared


def export(run: Path, target: Path) -> str:
    """Write the file and return what is in it, in words."""
    prepared = prepared_of(run)
    arrays = {}
    for name, store in prepared.stores.items():
        arrays[f"{name}_images"] = store.inputs.permute(0, 2, 3, 1).numpy()
        arrays[f"{name}_labels"] = store.targets.numpy()
    part = target.with_suffix(".part.npz")
    np.savez(part, classes=np.array(prepared.classes), **arrays)
    part.replace(target)
    check_nets(prepared.input_shape, len(prepared.classes))
    counts = ", ".join(f"{len(store)} {name}" for name, store in prepared.stores.items())
    return f"{counts}, {prepared.input_shape}, split {prepared.summary['membership'][:12]}"


def check_nets(shape: tuple[int, ...], classes: int) -> None:
    """Hold the networks of `nets.py` against trainwell's: the same names, shapes and outputs."""
    facts = model_facts(shape, classes)
    for name in ("resnet20", "convnet"):
        copy, ours = nets.build(name, shape, classes), models.build(name, {}, **facts)
        copy.load_state_dict(ours.state_dict())
        inputs = torch.randn(4, *shape)
        assert torch.equal(copy(inputs), ours(inputs)), f"the {name} of nets.py is not trainwell's"


if __name__ == "__main__":
    print(export(Path(sys.argv[1]), Path(sys.argv[2])))
