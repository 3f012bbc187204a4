"""What does the size of the batch do to batch norm, and what happens when evaluation mode is forgotten?

Batch norm's statistics are those of the batch: the fewer samples, the noisier. The noise regularizes, and with two
samples it destroys: each normalized number is then +1 or -1. Layer and group norm look at one sample at a time.

To change nothing but the statistics, they can be taken over parts of a batch ("ghost batches", as on several devices):
the gradient is still that of the whole batch.

Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.4; Wu and He 2018, arXiv:1803.08494, section 4.1; Hoffer et
al. 2017, arXiv:1705.08741, section 4 (ghost batches).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainwell.core.shelves import experiments
from trainwell.core.stats import student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, descend, few_images, seeded
from trainwell.models.mlp import MLP
from trainwell.pictures.style import CLASSES, NEUTRAL, SYMBOLS, figure

HIDDEN, COUNT, HELD_OUT, LR = (100, 100), 500, 2_000, 0.1
WHOLE, STEPS, QUICK_STEPS = 128, 400, 200  # of training with statistics over parts of a batch
STATISTICS, GROWING = (2, 4, 16, 128), (4, 16, 128)  # over 2 samples it hardly learns
COMPANY = (2, 8, 32)  # samples in an evaluation whose mode was forgotten
SIZES, EPOCHS, QUICK_EPOCHS = (2, 8, 32), 12, 6  # batches of gradient descent; the rate is that of the largest
NOISE_OVER, DRAWS, SLOPE = (8, 16, 32, 64, 128), 400, 0.1
BREAKS, SAME, ALONE = 0.05, 0.03, 1e-5  # of accuracy, of accuracy, and of scores
NORMS: Mapping[str, str] = {"batch norm": "batch", "layer norm": "layer", "group norm": "group:groups=4"}

ARMS: Mapping[str, Mapping[str, Any]] = {
    **{f"statistics over {count}": {"statistics": count} for count in STATISTICS},
    **{f"{name}, batches of {size}": {"norm": norm, "size": size} for name, norm in NORMS.items() for size in SIZES},
}


@experiments.card(
    source="Ioffe and Szegedy 2015, arXiv:1502.03167; Wu and He 2018, arXiv:1803.08494, section 4.1", claims=(16,)
)
def batch_norm_batches() -> Experiment:
    """Batch norm needs larger batches and evaluation mode, and regularizes less as batches grow; others do not mind."""
    return Experiment(
        question="What does the size of the batch do to batch norm, and what if evaluation mode is forgotten?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=6,
        quick_seeds=3,
        needs=("mnist",),
        note=f"Two hidden layers of {HIDDEN[0]} ReLU units on {COUNT} images of MNIST averaged to 14x14, {HELD_OUT:,}"
        f" held out. Statistics over parts: gradient descent at {LR:g} in batches of {WHOLE} in all of these arms,"
        f" {STEPS} steps ({QUICK_STEPS} in the quick form), only the statistics are those of parts. Batches of other"
        f" sizes: {EPOCHS} epochs ({QUICK_EPOCHS}), the rate in proportion to the batch, {LR:g} for {SIZES[-1]}. Where"
        " evaluation mode is forgotten, held-out images come in batches of the size named, mixed or all of one class"
        " but for the few where one class ends. Wu and He print 34.7 % errors of ResNet-50 with batch norm over 2"
        " images, 24.1 % with group norm, and 23.6 % with batch norm over 32.",
    )


class PartsNorm(nn.Module):
    """Batch norm on (N, C) whose statistics are those of parts of the batch; evaluation by the running ones.

    The running statistics move by the mean over the parts once a step, so that they are as steady for small parts.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, part: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.part, self.momentum, self.epsilon = part, momentum, epsilon
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the normalized inputs (N, C), N a multiple of the size of a part in training."""
        if not self.training:
            scaled = (inputs - self.running_mean) / (self.running_var + self.epsilon).sqrt()
            return self.weight * scaled + self.bias
        parts = inputs.reshape(-1, self.part, inputs.shape[1])  # (N, C) -> (parts, part, C)
        mean, variance = parts.mean(dim=1, keepdim=True), parts.var(dim=1, keepdim=True, correction=0)
        unbiased = variance.detach().mean(dim=(0, 1)) * self.part / (self.part - 1)
        self.running_mean.lerp_(mean.detach().mean(dim=(0, 1)), self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)
        scaled = ((parts - mean) / (variance + self.epsilon).sqrt()).reshape_as(inputs)
        return self.weight * scaled + self.bias


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Train one arm and return losses and accuracies in both modes."""
    samples = few_images("mnist", seed, count=COUNT, held_out=HELD_OUT)
    if "statistics" in settings:
        return _over_parts(samples, settings["statistics"], seed, QUICK_STEPS if is_quick else STEPS)
    size = settings["size"]
    steps = (QUICK_EPOCHS if is_quick else EPOCHS) * (COUNT // size)
    network = _trained(samples, settings["norm"], seed, batch_size=size, rate=LR * size / SIZES[-1], steps=steps)
    return {
        "accuracy": accuracy(network, samples.held_out, samples.held_out_labels),
        "change by company": change_by_company(network, samples.held_out[:32]),
    }


def _network(samples: Samples, norm: str, seed: int, part: int = 0) -> MLP:
    with seeded(seed, "weights"):
        network = MLP(samples.features, 10, hidden=HIDDEN, norm=norm)
    if part:
        for place, layer in enumerate(network.body):
            if isinstance(layer, nn.BatchNorm1d):
                network.body[place] = PartsNorm(layer.num_features, part)
    return network


def _trained(samples: Samples, norm: str, seed: int, *, batch_size: int, rate: float, steps: int, part: int = 0) -> MLP:
    network = _network(samples, norm, seed, part)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for _ in islice(descend(network, samples, optimizer, batch_size=batch_size, seed=seed), steps):
        pass
    return network


def _over_parts(samples: Samples, part: int, seed: int, steps: int) -> Values:
    network = _trained(samples, "batch", seed, batch_size=WHOLE, rate=LR, steps=steps, part=part)
    values: dict[str, Any] = {
        "training loss": _loss(network, samples.inputs, samples.labels),
        "held-out loss": _loss(network, samples.held_out, samples.held_out_labels),
        "accuracy": accuracy(network, samples.held_out, samples.held_out_labels),
    }
    if part == WHOLE:
        values["forgotten"] = [_forgotten(network, samples, company) for company in COMPANY]
        values["forgotten, one class"] = [_forgotten(network, samples, company, is_sorted=True) for company in COMPANY]
        values["noise"] = [noise(samples.inputs.flatten(1), count, seed) for count in NOISE_OVER]
    return values


def _loss(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    network.eval()
    with torch.no_grad():
        return float(cross_entropy(network(inputs), labels))


def _forgotten(network: MLP, samples: Samples, company: int, *, is_sorted: bool = False) -> float:
    """Return the accuracy in training mode, the held-out images in batches of `company`, mixed or of one class each."""
    order = torch.argsort(samples.held_out_labels, stable=True) if is_sorted else torch.arange(HELD_OUT)
    for layer in network.modules():
        if isinstance(layer, PartsNorm):
            layer.part = company
    network.train()
    whole = order[: HELD_OUT // company * company]
    with torch.no_grad():
        right = network(samples.held_out[whole]).argmax(dim=1) == samples.held_out_labels[whole]
    return float(right.float().mean())


def noise(features: Tensor, count: int, seed: int) -> float:
    """Return how much a normalized number varies with who else is in the batch, as a deviation.

    One sample at a time is normalized in the company of `count` - 1 others, again and again, through a random layer.

    Args:
        features: (N, D) that the layer reads.
        count: samples over which the statistics are taken.
        seed: of the layer and of the company.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(features.shape[1], 50, generator=generator) / features.shape[1] ** 0.5
    outputs = features @ weight  # (N, 50)
    sample, others = outputs[0], outputs[1:]
    found = []
    for _ in range(DRAWS):
        chosen = others[torch.randperm(len(others), generator=generator)[: count - 1]]
        batch = torch.cat([sample[None], chosen])
        found.append((sample - batch.mean(dim=0)) / batch.var(dim=0, correction=0).sqrt())
    return float(torch.stack(found).var(dim=0).mean().sqrt())


def change_by_company(network: nn.Module, inputs: Tensor) -> float:
    """Return the largest change of a sample's scores in training mode when it comes with one other, not with all."""
    network.train()
    with torch.no_grad():
        together = network(inputs)
        by_two = torch.cat([network(pair) for pair in inputs.split(2)])
    return float((together - by_two).abs().max())


def judge(table: Table) -> Sequence[Check]:
    """Compare batch sizes, modes and amounts of noise, seed by seed."""
    return [*_tiny(table), *_by_mode(table), *_regularizing(table)]


def _tiny(table: Table) -> Iterator[Check]:
    for name in NORMS:
        few, many = (table.numbers(f"{name}, batches of {size}", "accuracy") for size in (SIZES[0], SIZES[-1]))
        lost = student_interval(many - few)
        words = f"accuracy {lost} lower than with {SIZES[-1]}, {few.mean():.3f} instead of {many.mean():.3f}"
        if name == "batch norm":
            claim, printed, tolerance = "breaks", "10.6 points worse", f"at least {100 * BREAKS:g} points on average"
            yield Check(f"{name} breaks in batches of {SIZES[0]}", printed, words, tolerance, lost.value >= BREAKS)
        else:
            claim = f"{name} does not mind batches of {SIZES[0]}"
            yield Check(claim, "same", words, f"within {100 * SAME:g} points on average", abs(lost.value) <= SAME)


def _by_mode(table: Table) -> Iterator[Check]:
    arm = f"statistics over {WHOLE}"
    right = table.numbers(arm, "accuracy")
    for name, place in (("forgotten", 0), ("forgotten, one class", -1)):
        lost = student_interval(right - table.numbers(arm, name)[:, place])
        how = f"batches of {COMPANY[place]}, {'mixed' if place == 0 else 'each of one class'}"
        yield Check(
            f"forgetting evaluation mode breaks batch norm, {how}",
            "breaks",
            f"accuracy {lost} lower than {right.mean():.3f}",
            f"at least {100 * BREAKS:g} points on average",
            lost.value >= BREAKS,
        )
    for name in ("layer norm", "group norm"):
        worst = max(float(table.numbers(f"{name}, batches of {size}", "change by company").max()) for size in SIZES)
        yield Check(
            f"{name} gives a sample the same scores in any company, in training mode too",
            "the same",
            f"at most {worst:.1e} off",
            f"{ALONE:g}",
            worst <= ALONE,
        )


def _regularizing(table: Table) -> Iterator[Check]:
    noises = table.numbers(f"statistics over {WHOLE}", "noise")
    slopes = np.array([np.polyfit(np.log(NOISE_OVER), np.log(row), 1)[0] for row in noises])
    slope = student_interval(slopes)
    yield Check(
        "the noise of batch norm falls with the root of the batch",
        "as the power -1/2",
        f"as the power {slope}, over {NOISE_OVER[0]} to {NOISE_OVER[-1]} samples",
        f"within {SLOPE:g}",
        abs(slope.value + 0.5) <= SLOPE,
    )
    gaps = np.stack([_gap(table, count) for count in GROWING], axis=1)  # (seeds, sizes)
    growth = student_interval(np.array([np.polyfit(np.log2(GROWING), row, 1)[0] for row in gaps]))
    means, over = ", ".join(f"{gap:.3f}" for gap in gaps.mean(axis=0)), ", ".join(map(str, GROWING))
    yield Check(
        "batch norm regularizes less as its batch grows",
        "less",
        f"held-out minus training loss is {means} over {over} samples: {growth} for each doubling",
        "grows: interval above 0",
        growth.low > 0,
    )


def _gap(table: Table, count: int) -> NDArray[np.float64]:
    arm = f"statistics over {count}"
    return table.numbers(arm, "held-out loss") - table.numbers(arm, "training loss")


def figures(table: Table) -> Sequence[Any]:
    """Draw accuracy by batch size, losses by the samples of the statistics, and accuracy in the forgotten mode."""
    return [_by_size(table), _by_statistics(table), _by_company(table)]


def _marks(shape: Any, x: Sequence[float], rows: NDArray[np.float64], place: int, name: str) -> None:
    """Draw the seeds as faint marks and their mean as a line."""
    look = {"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 6, "opacity": 0.35}
    for row in rows:
        shape.add_scatter(x=x, y=row, mode="markers", marker=look, showlegend=False, hoverinfo="skip")
    shape.add_scatter(x=x, y=rows.mean(axis=0), mode="lines", name=name, line={"color": CLASSES[place], "width": 2})


def _by_size(table: Table) -> Any:
    shape = figure("samples in a batch", "Accuracy on images that were held out", height=340)
    for place, name in enumerate(NORMS):
        rows = [table.numbers(f"{name}, batches of {size}", "accuracy") for size in SIZES]
        _marks(shape, SIZES, np.array(rows).T, place, name)
    shape.update_xaxes(type="log", tickvals=SIZES).update_yaxes(tickformat=".0%")
    return shape.update_layout(
        meta={"title": "Accuracy by the size of the batch", "caption": "Lines: mean over seeds."}
    )


def _by_statistics(table: Table) -> Any:
    shape = figure("samples over which batch norm takes its statistics", "Loss in evaluation mode", height=340)
    for place, name in enumerate(("training loss", "held-out loss")):
        rows = [table.numbers(f"statistics over {count}", name) for count in STATISTICS]
        _marks(shape, STATISTICS, np.array(rows).T, place, name)
    shape.update_xaxes(type="log", tickvals=STATISTICS).update_yaxes(
        type="log", tickvals=[0.02, 0.05, 0.1, 0.2, 0.5, 1]
    )
    caption = "The gap between the two is what regularization narrows: it widens as the noise goes."
    return shape.update_layout(meta={"title": "How batch norm's noise regularizes", "caption": caption})


def _by_company(table: Table) -> Any:
    shape = figure("samples that are evaluated together", "Accuracy when evaluation mode was forgotten", height=340)
    arm = f"statistics over {WHOLE}"
    for place, (name, words) in enumerate((("forgotten", "mixed"), ("forgotten, one class", "all of one class"))):
        _marks(shape, COMPANY, table.numbers(arm, name), place, words)
    right = float(table.numbers(arm, "accuracy").mean())
    shape.add_hline(y=right, line={"dash": "dot", "width": 1, "color": NEUTRAL}, annotation_text="evaluation mode")
    shape.update_xaxes(type="log", tickvals=COMPANY).update_yaxes(range=[0, 1.05], tickformat=".0%")
    return shape.update_layout(meta={"title": "Forgotten evaluation mode", "caption": "Lines: mean over the seeds."})
