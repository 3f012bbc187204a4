"""A small network learns from labels, or from a large one's probabilities as well: in which of its layers does it show?

Two students start from the same weights and see the same batches, one of them with a teacher. How alike their layers
are at the end is compared, layer by layer. Any two runs drift apart, and the more the deeper the layer: two students
without a teacher that see their batches in another order say by how much.

Source: Hinton et al. 2015, arXiv:1503.02531, section 2 (the loss); Gotmare et al. 2019, arXiv:1810.13243, section 5:
what the teacher knows is found in the deeper layers of the student.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

from trainwell.core.shelves import experiments
from trainwell.core.stats import Interval, student_interval
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.plain_loop import Samples, accuracy, batches, descend, few_digits, seeded
from trainwell.models.mlp import MLP
from trainwell.pictures.style import CLASSES, SYMBOLS, figure, translucent
from trainwell.probes.similarity import layer_activations, layer_similarities, linear_cka, svcca

TEACHER, STUDENT = (128, 128), (32,) * 5
BATCH, RATE, MOMENTUM = 50, 0.02, 0.9
STEPS, QUICK_STEPS = 2_000, 600
TEMPERATURE, SHARE = 4.0, 0.9  # the teacher's share of the loss
MEASURES = {"CCA": svcca, "CKA": linear_cka}
TAUGHT, REORDERED = "with a teacher", "another order of batches"
DEEPER = "with and without a teacher the deeper layers differ most, by {}"
BEYOND = "a teacher moves the deeper layers by more than another order of batches does, by {}"

ARMS: Mapping[str, Mapping[str, Any]] = {TAUGHT: {"share": SHARE}, REORDERED: {"share": 0.0, "order": 1}}


@experiments.card(
    source="Hinton et al. 2015, arXiv:1503.02531; Gotmare et al. 2019, arXiv:1810.13243, section 5",
    claims=(25,),
    # Every student's last layers come to lie in the few directions of the classes: by CCA, which counts each direction
    # alike, these are more alike than the layers below, whoever taught. By CKA the quick form has too few seeds.
    fails=(DEEPER.format("CCA"), BEYOND.format("CCA"), BEYOND.format("CKA")),
)
def what_distillation_changes() -> Experiment:
    """Two students, one of them taught by a larger network, differ most in their deeper layers."""
    return Experiment(
        question="In which layers of a student does it show that it had a teacher?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=10,
        quick_seeds=4,
        note=f"Students with {len(STUDENT)} hidden layers of {STUDENT[0]}, a teacher with {len(TEACHER)} of"
        f" {TEACHER[0]}, on 1,000 digits of 8x8; batches of {BATCH}, rate {RATE:g} with momentum {MOMENTUM:g},"
        f" {STEPS:,} steps ({QUICK_STEPS} in the quick form). The teacher's share of the loss is {SHARE:g}, at a"
        f" temperature of {TEMPERATURE:g} and times its square. Each arm is compared with a student of the same first"
        " weights that has no teacher, on the 1,000 digits: CCA is the mean canonical correlation over directions with"
        " 99 % of the variance, CKA the linear one. A slope is that of a line through the similarities over the number"
        " of the layer, the scores being the last.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return how alike each layer of two students is, and what they get right."""
    samples, steps = few_digits(seed), QUICK_STEPS if is_quick else STEPS
    with seeded(seed, "teacher"):
        teacher = MLP(samples.features, 10, hidden=TEACHER)
    _run(teacher, samples, steps, seed)
    reference, other = (_student(samples, seed) for _ in range(2))
    _run(reference, samples, steps, seed)
    order = seed + 1_000_003 * settings.get("order", 0)
    if settings["share"]:
        _learn_from(other, teacher, samples, settings["share"], steps, order)
    else:
        _run(other, samples, steps, order)
    ours, theirs = (layer_activations(network, samples.inputs) for network in (other, reference))
    alike = {name: list(layer_similarities(ours, theirs, measured).values()) for name, measured in MEASURES.items()}
    networks = {"teacher": teacher, "without": reference, "accuracy": other}
    held_out = samples.held_out, samples.held_out_labels
    return {name: accuracy(network, *held_out) for name, network in networks.items()} | alike


def _student(samples: Samples, seed: int) -> MLP:
    with seeded(seed, "student"):
        return MLP(samples.features, 10, hidden=STUDENT)


def _run(network: nn.Module, samples: Samples, steps: int, order: int) -> None:
    """Train on the labels."""
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    for _ in zip(range(steps), descend(network, samples, optimizer, batch_size=BATCH, seed=order), strict=False):
        pass


def _learn_from(student: nn.Module, teacher: nn.Module, samples: Samples, share: float, steps: int, order: int) -> None:
    """Train on labels and a teacher's probabilities, on the same batches as without."""
    optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=MOMENTUM)
    teacher.eval()
    for _, (inputs, labels) in zip(range(steps), batches(samples, BATCH, order), strict=False):
        with torch.no_grad():
            theirs = teacher(inputs)
        optimizer.zero_grad()
        distillation_loss(student(inputs), theirs, labels, share=share).backward()
        optimizer.step()


def distillation_loss(scores: Tensor, theirs: Tensor, labels: Tensor, *, share: float) -> Tensor:
    """Return (1 - share) CE(labels) + share T^2 CE(softmax(theirs / T)), the mean over the samples.

    >>> distillation_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), share=0.0)
    tensor(0.6931)
    """
    soft = -(softmax(theirs / TEMPERATURE, dim=1) * log_softmax(scores / TEMPERATURE, dim=1)).sum(dim=1).mean()
    return (1 - share) * cross_entropy(scores, labels) + share * TEMPERATURE**2 * soft


def judge(table: Table) -> Sequence[Check]:
    """Ask whether similarity falls with depth, and by more than without a teacher."""
    return [check for name in MEASURES for check in _depth(table, name)]


def slope(similarities: NDArray[np.float64]) -> Interval:
    """Return the slope over the layers of lines through the rows (n, L), with its interval over them.

    >>> round(slope(np.array([[1.0, 0.9, 0.8], [1.0, 0.9, 0.8]])).value, 6)
    -0.1
    """
    places = np.arange(similarities.shape[1]) - (similarities.shape[1] - 1) / 2
    return student_interval(similarities @ places / (places @ places))


def _depth(table: Table, name: str) -> Iterator[Check]:
    taught, reordered = table.numbers(TAUGHT, name), table.numbers(REORDERED, name)
    found = slope(taught)
    means = ", ".join(f"{value:.2f}" for value in taught.mean(axis=0))
    yield Check(
        DEEPER.format(name),
        "deeper layers",
        f"similarity {means}, layer by layer; slope {found}",
        "interval of the slope below 0",
        found.high < 0,
    )
    beyond = slope(reordered - taught)
    means = ", ".join(f"{value:+.2f}" for value in (reordered - taught).mean(axis=0))
    yield Check(
        BEYOND.format(name),
        "what the teacher knows is in the deeper layers",
        f"less alike by {means}, layer by layer; slope {beyond}",
        "interval of the slope above 0",
        beyond.low > 0,
    )


def figures(table: Table) -> Sequence[Any]:
    """Draw the similarity over the layers."""
    shapes = []
    for name in MEASURES:
        shape = figure("layer", f"{name} with a student that had no teacher", height=340)
        for place, arm in enumerate(ARMS):
            rows = table.numbers(arm, name)
            layers = [*(f"hidden {number + 1}" for number in range(rows.shape[1] - 1)), "scores"]
            for row in rows:
                faint = {"color": translucent(CLASSES[place], 0.3), "width": 1}
                shape.add_scatter(x=layers, y=row, line=faint, mode="lines", showlegend=False, hoverinfo="skip")
            marker = {"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 8}
            shape.add_scatter(x=layers, y=rows.mean(axis=0), name=arm, mode="lines+markers", marker=marker)
        shape.update_yaxes(range=[0, 1.02])
        caption = "Thick: mean over the seeds. Thin: each seed. Both students start from the same weights."
        shapes.append(shape.update_layout(meta={"title": f"Where a teacher shows, by {name}", "caption": caption}))
    return shapes
