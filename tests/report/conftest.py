"""Run folders as training leaves them, written by hand: small, quick and without torch."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from trainwell.core.record import Journal, Measure, Reading, Record
from trainwell.train.folder import RunFolder

EPOCHS, STEPS = 3, 10
MEASURES = (
    Measure("train/loss", "nats", "mean loss of one step"),
    Measure("epoch/loss", "nats", "mean loss of an epoch"),
    Measure("epoch/train_accuracy", "share of 1", "share right in an epoch"),
    Measure("val/loss", "nats", "mean loss on val"),
    Measure("val/accuracy", "share of 1", "share right on val"),
    Measure("lr", "per step", "learning rate of the last step"),
    Measure("layer/dead", "share of 1", "share of units that never fire"),
)
LOOKED_AT = {
    "activation/mean": "units of the activation",
    "activation/std": "units of the activation",
    "activation/quantile": "units of the activation",
    "activation/dead": "share of 1",
    "activation/saturated": "share of 1",
    "gradient/norm": "nats per unit of weight",
    "update/ratio": "share of 1 per step",
}


class Writer:
    """Writes the parts of a run folder one by one; a dead run is one in which the later parts are missing."""

    def __init__(self, path: Path, classes: Sequence[str], *, kind: str = "images") -> None:
        path.mkdir()
        self.folder, self.classes, self.kind = RunFolder(path), list(classes), kind
        self.random = np.random.default_rng(0)

    def begin(self, **changes: Any) -> "Writer":
        """Write the recipe, the data and the machine."""
        folder, size = self.folder, len(self.classes)
        recipe = {"data": {"source": "folder", "location": "/data/animals"}, "model": {"name": "convnet", "width": 8}}
        recipe |= {"augmentation": ["shift"], "loss": {"name": "cross_entropy", "smoothing": 0.1}}
        folder.write_text(folder.recipe, json.dumps(recipe))  # JSON is YAML
        is_images = self.kind == "images"
        data = {
            "kind": self.kind,
            "classes": self.classes,
            "input_shape": [3, 8, 8] if is_images else [2],
            "samples": {"train": 40 * size, "val": 6 * size, "test": 8 * size},
            "counts": {
                split: dict.fromkeys(self.classes, each) for split, each in (("train", 40), ("val", 6), ("test", 8))
            },
            "form": {"height": 8, "width": 8, "channels": 3, "resize": "crop"} if is_images else None,
            "notes": ["grey images became colour"],
            "problems": [],
            "bad_files": [{"file": f"bad{n}.jpg", "reason": "is cut off"} for n in range(14)],
            "left_out": [{"sample": "a.jpg", "same_as": "b.jpg", "split": "test"}],
            "duplicates": [],
            "conflicts": [[{"sample": "c.jpg", "class": "cat"}, {"sample": "d.jpg", "class": "dog"}]],
        }
        folder.write_json(folder.data, data | changes)
        choices = [{"field": "machine.device", "value": "cpu", "reason": "this torch sees no GPU"}]
        machine = {"versions": {"torch": "2.13.0"}, "processor": "AMD", "cores": 2, "memory_gib": 8.0, "gpus": []}
        folder.write_json(folder.machine, {**machine, "system": "Linux", "choices": choices})
        return self

    def learn(self, *, epochs: int = EPOCHS, steps: int = STEPS, extra: Sequence[Reading] = ()) -> "Writer":
        """Write the record and the clock of some epochs, each of so many steps."""
        record, timing = Record(self.folder.record), Journal(self.folder.timing)
        record.define(MEASURES)
        for epoch in range(epochs):
            losses = 2.0 * 0.8 ** np.arange(epoch * steps, (epoch + 1) * steps)
            record.append_series("train/loss", epoch * steps, losses.tolist())
            end, share = (epoch + 1) * steps, 1 - 0.5 ** (epoch + 1)
            values = {"epoch/loss": losses.mean(), "epoch/train_accuracy": share, "lr": 0.1}
            values |= {"val/loss": losses.mean(), "val/accuracy": share, "layer/dead": 0.1 * epoch}
            record.append(Reading(end, name, float(value)) for name, value in values.items())
            line = {"epoch": epoch + 1, "step": end, "seconds": 1.5 * (epoch + 1), "images_per_second": 900.0}
            timing.append([{**line, "peak_memory_mib": 512.0}])
        record.append(extra)
        record.close()
        timing.close()
        return self

    def look(self, layers: Sequence[str], *, steps: Sequence[int] = (0, 1, 2, 4, 8, 16), dead: float = 0.1) -> "Writer":
        """Write what probes read off some layers; the last one hands on scores."""
        record = Record(self.folder.record)
        record.define(Measure(name, unit, f"{name} of a layer") for name, unit in LOOKED_AT.items())
        for step in steps:
            record.append([Reading(step, "gradient/norm", 1.0)])
            for number, layer in enumerate(layers):
                numbers = {"mean": 0.4, "std": 1.0 + number}
                numbers |= {"dead": dead, "saturated": 0.02 * step / 16} if layer != layers[-1] else {}
                record.append(Reading(step, f"activation/{name}", value, layer) for name, value in numbers.items())
                shares = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
                record.append(Reading(step, "activation/quantile", 3 * s, f"{layer}@{s:g}") for s in shares)
                record.append([Reading(step, "gradient/norm", 0.5**number, layer)])
                record.append([Reading(step, "update/ratio", 1e-3 * (step + 1) / (number + 1), layer)])
        record.close()
        return self

    def keep_samples(self) -> "Writer":
        """Write pictures of the train split, or points."""
        size = len(self.classes)
        tensors: dict[str, np.ndarray] = {"train_digests": np.arange(5)}
        if self.kind == "images":
            each = max(1, 60 // size)
            labels = np.repeat(np.arange(min(size, 60)), each)
            tensors |= {"sheet/images": self.pixels(len(labels), 8), "sheet/labels": labels}
            tensors |= {"augmented/before": self.pixels(2, 8), "augmented/after": self.pixels(2 * 6, 8, (2, 6))}
            names = [f"train/{n}.jpg" for n in range(len(labels))]
        else:
            names = []
            tensors |= {"points/inputs": self.random.normal(size=(50, 2)).astype(np.float32)}
            tensors |= {"points/labels": np.arange(50) % size}
        save_file(tensors, self.folder.samples, metadata={"names": json.dumps(names)})
        return self

    def finish(
        self,
        *,
        splits: Sequence[str] = ("val", "test"),
        each: int = 8,
        side: int = 8,
        about: Mapping[str, str] = MappingProxyType({}),
    ) -> "Writer":
        """Write what was answered to some splits, `each` samples a class, and that the run ended."""
        tensors: dict[str, np.ndarray] = {}
        names = dict(about)
        for split in splits:
            targets = np.tile(np.arange(len(self.classes)), each)
            scores = self.random.normal(size=(len(targets), len(self.classes))) + 2 * np.eye(len(self.classes))[targets]
            powers = np.exp(scores)
            tensors[f"{split}/probabilities"] = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
            tensors[f"{split}/targets"] = targets
            names[f"{split}_names"] = json.dumps([f"{split}/{n}.jpg" for n in range(len(targets))])
        if "val" in splits and self.kind == "images":
            from trainwell.metrics import shown

            places = shown(tensors["val/probabilities"], tensors["val/targets"])
            tensors |= {"val/shown_index": places, "val/shown_images": self.pixels(len(places), side)}
        save_file(tensors, self.folder.predictions, metadata=names)
        self.folder.classifier.mkdir()
        (self.folder.classifier / "classifier.json").write_text("{}")
        timing = Journal(self.folder.timing)
        timing.append([{"finished": EPOCHS * STEPS, "seconds": 8.0}])
        timing.close()
        return self

    def event(self, step: int, kind: str, **values: Any) -> "Writer":
        """Write an event."""
        journal = Journal(self.folder.events)
        journal.append([{"step": step, "kind": kind, "values": values}])
        journal.close()
        return self

    def pixels(self, count: int, side: int, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Return random pictures (count or shape, side, side, 3)."""
        return self.random.integers(0, 256, size=(*(shape or (count,)), side, side, 3), dtype=np.uint8)


@pytest.fixture
def writer(tmp_path: Path) -> Callable[..., Writer]:
    def make(name: str = "run", classes: Sequence[str] = ("cat", "dog", "eel"), kind: str = "images") -> Writer:
        return Writer(tmp_path / name, classes, kind=kind)

    return make


@pytest.fixture
def finished(writer: Callable[..., Writer]) -> Writer:
    """A run of three classes of images that reached its end."""
    return writer().begin().learn().keep_samples().finish()
