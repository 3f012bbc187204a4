"""The training loops that are compared: ours, a hand-tuned one on the same batches, and the usual default one."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as torch users write it
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trainwell.core.recipe import Recipe
from trainwell.core.record import Record
from trainwell.data.prepare import DataSpec, prepare
from trainwell.optimizers.groups import parameter_groups
from trainwell.train.build import Job, build, fit_preprocessing
from trainwell.train.events import Events
from trainwell.train.folder import RunFolder
from trainwell.train.loop import Loop
from trainwell.train.progress import Progress
from trainwell.train.reporter import Silence
from trainwell.train.resolve import count_multiply_adds, probe_interval
from trainwell.train.tuning import choose_memory

SGD = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
OPTIMIZER = "sgd:lr=0.05,momentum=0.9,nesterov=true,weight_decay=0.0005"


def make_job(samples: tuple[Tensor, Tensor], values: dict[str, Any], model: nn.Module | None = None) -> Job:
    """Build a job on samples that are all used for training, whose probes look as often as in a run of this length."""
    given = {"train": samples, "val": (samples[0][:20], samples[1][:20])}
    plain = {
        "data.source": "given",
        "machine.device": "cpu",
        "machine.threads": torch.get_num_threads(),
        "machine.probe_every": 1,
        "augmentation": [],
        "initialization": "as_built",
        "loss": "cross_entropy",
        "optimizer": OPTIMIZER,
        "length.epochs": 10_000,
        "schedule": "constant",
        **values,
    }
    if model is not None:
        plain["model"] = "given"
    recipe = Recipe().with_values(plain).validate_shelves()
    prepared = prepare(DataSpec(source="given"), seed=0, threads=2, given=given)
    job = build(recipe, prepared, fit_preprocessing(recipe, prepared), given=model)
    work = count_multiply_adds(job, next(iter(job.loaders.train.epoch(0))))
    job.probe_every = int(probe_interval(recipe, job, work).value)
    return job


class Ours:
    """Our loop with record, guard and probes, on disk, resumable from call to call."""

    def __init__(self, job: Job) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = RunFolder.create(Path(self._folder.name) / "run")
        choose_memory(job.recipe)
        self._record = Record(folder.record)
        self._loop = Loop(job, Progress(job.epochs), record=self._record, events=Events(folder), reporter=Silence())

    def seconds(self, steps: int) -> float:
        """Train so many steps and return how long one took."""
        loop = self._loop
        end = loop.progress.step + steps
        loop.wants_stop = lambda: loop.progress.step >= end
        start = time.perf_counter()
        loop.run()
        return (time.perf_counter() - start) / steps


class Tuned:
    """A loop that a careful engineer writes: fused optimizer, no read-backs, the same batches as ours."""

    def __init__(self, job: Job) -> None:
        self._job = job
        groups = parameter_groups(job.model, SGD["weight_decay"])
        self._optimizer = torch.optim.SGD(groups, fused=True, **SGD)
        self._epoch, self._batches = -1, iter(())

    def seconds(self, steps: int) -> float:
        """Train so many steps and return how long one took."""
        job, optimizer = self._job, self._optimizer
        job.model.train()
        start = time.perf_counter()
        for _ in range(steps):
            batch = next(self._batches, None)
            if batch is None:
                self._epoch += 1
                self._batches = job.loaders.train.epoch(self._epoch)
                batch = next(self._batches)
            batch = job.train_pipeline(batch, self._epoch)
            with job.autocast():
                loss = F.cross_entropy(job.model(batch.inputs), batch.targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return (time.perf_counter() - start) / steps


class OwnInput(Tuned):
    """The hand-tuned loop with an input of its own: gather, flip and shift a batch of uint8 images, normalize."""

    def __init__(self, job: Job, samples: tuple[Tensor, Tensor], batch_size: int) -> None:
        super().__init__(job)
        self._images = samples[0].contiguous(memory_format=torch.channels_last)
        self._labels, self._size = samples[1], batch_size
        flat = samples[0].float()
        self._mean = flat.mean((0, 2, 3)).view(1, 3, 1, 1)
        self._std = flat.std((0, 2, 3)).view(1, 3, 1, 1)
        self._order: Sequence[Tensor] = ()

    def seconds(self, steps: int) -> float:
        """Train so many steps and return how long one took."""
        model, optimizer = self._job.model.train(), self._optimizer
        start = time.perf_counter()
        for _ in range(steps):
            if not self._order:
                self._order = list(torch.randperm(len(self._labels)).split(self._size))[:-1]
            take = self._order.pop()
            inputs = self._augmented(self._images.index_select(0, take))
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(inputs), self._labels.index_select(0, take))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return (time.perf_counter() - start) / steps

    def _augmented(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        big = F.pad(images, (4, 4, 4, 4))
        y, x = (int(v) for v in torch.randint(0, 9, (2,)))
        floats = (big[:, :, y : y + height, x : x + width].float() - self._mean) / self._std
        flipped = torch.where(torch.rand(len(floats), 1, 1, 1) < 0.5, floats.flip(3), floats)
        return flipped.contiguous(memory_format=torch.channels_last)


class Default:
    """The loop of the tutorials: a DataLoader, a plain optimizer in float32, the loss read back each step."""

    def __init__(self, model: nn.Module, inputs: Tensor, targets: Tensor, batch_size: int) -> None:
        self._model = model
        self._loader = DataLoader(TensorDataset(inputs, targets), batch_size, shuffle=True)
        self._batches = iter(self._loader)
        self._optimizer = torch.optim.SGD(model.parameters(), **SGD)
        self._criterion = nn.CrossEntropyLoss()

    def seconds(self, steps: int) -> float:
        """Train so many steps and return how long one took."""
        start = time.perf_counter()
        for _ in range(steps):
            batch = next(self._batches, None)
            if batch is None:
                self._batches = iter(self._loader)
                batch = next(self._batches)
            inputs, targets = batch
            self._optimizer.zero_grad()
            loss = self._criterion(self._model(inputs), targets)
            loss.backward()
            self._optimizer.step()
            loss.item()
        return (time.perf_counter() - start) / steps


class Transformed(Default):
    """The default loop with what its users write for augmentation: transforms of each sample in the Dataset."""

    def __init__(self, model: nn.Module, images: Tensor, targets: Tensor, batch_size: int) -> None:
        super().__init__(model, images, targets, batch_size)
        flat = images.float()
        self._loader = DataLoader(
            Augmented(images, targets, flat.mean((0, 2, 3)), flat.std((0, 2, 3))), batch_size, shuffle=True
        )
        self._batches = iter(self._loader)


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Samples that are padded, cropped, flipped and normalized one by one, as the usual transforms do."""

    def __init__(self, images: Tensor, targets: Tensor, mean: Tensor, std: Tensor) -> None:
        self._images, self._targets = images, targets
        self._mean, self._std = mean.view(3, 1, 1), std.view(3, 1, 1)

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = F.pad(self._images[index], (4, 4, 4, 4))
        y, x = (int(v) for v in torch.randint(0, 9, (2,)))
        image = image[:, y : y + 32, x : x + 32]
        image = image.flip(2) if torch.rand(()) < 0.5 else image
        return (image.float() - self._mean) / self._std, self._targets[index]


class Process:
    """A way to train in a process of its own."""

    def __init__(self, net: str, way: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), net, way]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n", f"{net} {way} did not start"

    def seconds(self, steps: int) -> float:
        """Train so many steps and return how long one took."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(steps, file=self._child.stdin, flush=True)
        return float(self._child.stdout.readline())


def processes(net: str, names: Sequence[str], *, steps: int) -> dict[str, Callable[[], float]]:
    """Start each way in its process and return what times it over so many steps, after as many to warm up."""
    ways = {name: Process(net, name) for name in names}
    for way in ways.values():
        way.seconds(steps)
    return {name: lambda way=way: way.seconds(steps) for name, way in ways.items()}


def random_images(count: int = 4096) -> tuple[Tensor, Tensor]:
    """Random uint8 images (N, 3, 32, 32) and labels of ten classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (count,), generator=generator)


def random_features(count: int = 60_000) -> tuple[Tensor, Tensor]:
    """Random features (N, 64) and labels of ten classes, as many as MNIST has."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 64, generator=generator), torch.randint(0, 10, (count,), generator=generator)


def tiny_mlp() -> nn.Module:
    """64-64-64-10 with ReLU."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
