"""Do our networks have the parameters and operations that were printed for them, row by row?

Nothing is trained: each network is built without numbers and looked at. Two conventions are counted:

    macs      multiply-adds of convolutions and dense layers, batch norm among the parameters
    folded    each convolution has a bias and its batch norm folded in; poolings and the softmax count too

Source: He et al. 2016, arXiv:1512.03385, table 1; Huang et al. 2017, arXiv:1608.06993, table 1; lecture tables of
ResNet-34 and ResNet-101 beside AlexNet in one column.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from trainwell.core.shelves import experiments, models
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import half_digit
from trainwell.models.anatomy import Anatomy, anatomy
from trainwell.models.anatomy.stand_in import without_numbers
from trainwell.pictures.style import CLASSES, SYMBOLS, figure

Row = tuple[str, int | None, int | None]  # what, its parameters, its operations; None where they were not printed

FOLDED_34, FOLDED_101, FOLDED_152 = "ResNet-34, folded", "ResNet-101, folded", "ResNet-152, folded"
ALEXNET = "AlexNet in one column, folded"
FIRST = {"stride_at": "first"}  # where bottlenecks subsample as published

ARMS: Mapping[str, Mapping[str, Any]] = {
    FOLDED_34: {"name": "resnet34", "count": "folded"},
    FOLDED_101: {"name": "resnet101", "options": FIRST, "count": "folded"},
    FOLDED_152: {"name": "resnet152", "options": FIRST, "count": "folded"},
    ALEXNET: {"name": "alexnet", "options": {"year": 2012}, "side": 227, "count": "folded"},
    "ResNet-18": {"name": "resnet18"},
    "ResNet-18, option A": {"name": "resnet18", "options": {"shortcut": "A"}},
    "plain, 18 layers": {"name": "plain18"},
    "ResNet-34": {"name": "resnet34"},
    "ResNet-34, option A": {"name": "resnet34", "options": {"shortcut": "A"}},
    "ResNet-34, option C": {"name": "resnet34", "options": {"shortcut": "C"}},
    "ResNet-50": {"name": "resnet50", "options": FIRST},
    "ResNet-101": {"name": "resnet101", "options": FIRST},
    "ResNet-152": {"name": "resnet152", "options": FIRST},
    "ResNet-50, v1.5": {"name": "resnet50"},
    "ResNet-101, v1.5": {"name": "resnet101"},
    "ResNet-152, v1.5": {"name": "resnet152"},
    "DenseNet-121": {"name": "densenet121"},
    "DenseNet-169": {"name": "densenet169"},
    "DenseNet-201": {"name": "densenet201"},
    "DenseNet-161": {"name": "densenet161"},
    "GoogLeNet with batch norm": {"name": "googlenet"},
    "VGG-16": {"name": "vgg16"},
    "AlexNet": {"name": "alexnet"},
    "CIFAR ResNet-20": {"name": "resnet20", "side": 32},
    "CIFAR ResNet-32": {"name": "resnet32", "side": 32},
    "CIFAR ResNet-44": {"name": "resnet44", "side": 32},
    "CIFAR ResNet-56": {"name": "resnet56", "side": 32},
    "CIFAR ResNet-110": {"name": "resnet110", "side": 32},
    "CIFAR pre-activation, 164 layers": {"name": "preact164", "side": 32},
    "CIFAR DenseNet, 40 layers, growth 12": {
        "name": "cifar_densenet",
        "options": {"depth": 40, "bottleneck": False, "compression": 1.0},
        "side": 32,
    },
    "CIFAR DenseNet-BC, 100 layers, growth 12": {"name": "densenet_bc100", "side": 32},
}

STAGES = {1: 56, 2: 28, 3: 14, 4: 7}  # of ResNet-34: pixels a side of their maps
PRINTED: Mapping[str, Sequence[Row]] = {  # "" is the whole network
    FOLDED_34: (
        ("conv1", 9_472, 118_816_768),
        ("layer1", 221_568, 221_568 * STAGES[1] ** 2),
        ("layer2.0", 229_760, 229_760 * STAGES[2] ** 2 + 64 * STAGES[2] ** 2),  # its skip is subsampled
        ("layer2, the others", 885_504, 885_504 * STAGES[2] ** 2),
        ("layer3.0", 918_272, 918_272 * STAGES[3] ** 2 + 128 * STAGES[3] ** 2),
        ("layer3, the others", 5_900_800, 5_900_800 * STAGES[3] ** 2),
        ("layer4.0", 3_671_552, 3_671_552 * STAGES[4] ** 2 + 256 * STAGES[4] ** 2),
        ("layer4, the others", 9_439_232, 9_439_232 * STAGES[4] ** 2),
        ("fc", 513_000, 513_000),
        ("", 21_789_160, 3_668_417_232),
    ),
    FOLDED_101: (
        ("conv1", 9_472, 118_816_768),
        ("fc", 2_049_000, 2_049_000),
        ("", 44_496_488, 7_587_155_920),
    ),
    ALEXNET: (("layers with weights", 62_378_344, 1_135_915_368),),  # the printed total leaves out pooling and softmax
    "ResNet-18": (("", 11_689_512, 1_814_073_344),),
    "ResNet-18, option A": (("", 11_515_688, 1_794_805_760),),
    "plain, 18 layers": (("", 11_515_688, 1_794_805_760),),
    "ResNet-34": (("", 21_797_672, 3_663_761_408),),
    "ResNet-34, option A": (("", 21_623_848, 3_644_493_824),),
    "ResNet-34, option C": (("", 22_716_840, 3_830_747_136),),
    "ResNet-50": (("", 25_557_032, 3_857_973_248),),
    "ResNet-101": (("", 44_549_160, 7_570_194_432),),
    "ResNet-152": (("", 60_192_808, 11_282_415_616),),
    "ResNet-50, v1.5": (("", 25_557_032, 4_089_184_256),),
    "ResNet-101, v1.5": (("", 44_549_160, 7_801_405_440),),
    "ResNet-152, v1.5": (("", 60_192_808, 11_513_626_624),),
    "DenseNet-121": (("", 7_978_856, 2_834_161_664),),
    "DenseNet-169": (("", 14_149_480, 3_359_843_328),),
    "DenseNet-201": (("", 20_013_928, 4_291_365_888),),
    "DenseNet-161": (("", 28_681_000, 7_727_907_072),),
    "GoogLeNet with batch norm": (
        ("", 13_004_888, 1_498_376_192),
        ("aux1", 3_188_968, None),
        ("aux2", 3_191_016, None),
    ),
    "VGG-16": (("", 138_357_544, 15_470_264_320),),
    "AlexNet": (("", 61_100_840, 714_188_480),),
    "CIFAR ResNet-20": (("", 269_722, 40_551_040),),
    "CIFAR ResNet-32": (("", 464_154, 68_862_592),),
    "CIFAR ResNet-44": (("", 658_586, 97_174_144),),
    "CIFAR ResNet-56": (("", 853_018, 125_485_696),),
    "CIFAR ResNet-110": (("", 1_727_962, 252_887_680),),
    "CIFAR pre-activation, 164 layers": (("", 1_703_258, None),),
    "CIFAR DenseNet, 40 layers, growth 12": (("", 1_019_722, None),),
    "CIFAR DenseNet-BC, 100 layers, growth 12": (("", 769_162, None),),
}
BILLIONS = {"ResNet-18": "1.8", "ResNet-34": "3.6", "ResNet-50": "3.8", "ResNet-101": "7.6", "ResNet-152": "11.3"}
NEAR = 0.1  # billion
# Against AlexNet in one column: times its operations, and by what its parameters are fewer.
AGAINST = {FOLDED_34: ("3.2", "2.9"), FOLDED_101: ("6.7", "1.4"), FOLDED_152: ("10", "")}


@experiments.card(source="He et al. 2016, arXiv:1512.03385, table 1; Huang et al. 2017, arXiv:1608.06993", claims=(20,))
def published_tables() -> Experiment:
    """Parameters and operations of the published networks are the printed ones, every row."""
    return Experiment(
        question="Do our networks have the parameters and operations that were printed for them, row by row?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=1,
        quick_seeds=1,
        note="For images of 224x224, 227x227 for AlexNet in one column, 32x32 for CIFAR. Operations are multiply-adds,"
        " or folded: one a weight and bias of each convolution at each place, one an input element of a pooling, the"
        " classes of the softmax, and the channels of a skip where it is subsampled. ResNets of 50 layers and more"
        " subsample in the first convolution of a unit, as published, and in the second in v1.5, as usual today. The"
        " printed total of AlexNet leaves out pooling and softmax. Counts of GoogLeNet include its auxiliary"
        " classifiers' parameters, which have no part in its operations.",
    )


def look(settings: Mapping[str, Any]) -> Anatomy:
    """Return the anatomy of a network of the shelf, built without numbers."""
    side = settings.get("side", 224)
    with without_numbers():
        network = models.build(
            settings["name"],
            dict(settings.get("options", {})),
            in_channels=3,
            num_classes=10 if side == 32 else 1_000,
            input_shape=(3, side, side),
            in_features=3 * side * side,
        )
    return anatomy(network, (3, side, side), count=settings.get("count", "macs"))


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return parameters and operations of the whole network and of the rows that are printed."""
    found = look(settings)
    arm = next(name for name, its in ARMS.items() if its == settings)
    values: dict[str, float] = {"parameters": found.parameters, "operations": found.operations}
    for row, *_ in PRINTED.get(arm, ()):
        if row:
            values[f"{row}: parameters"], values[f"{row}: operations"] = counts(found, row)
    return values


def counts(found: Anatomy, row: str) -> tuple[int, int]:
    """Return parameters and operations of a row of a table."""
    if row == "layers with weights":
        return found.parameters, sum(layer.operations for layer in found.layers if layer.parameters)
    unused = dict(found.unused)
    if row in unused:
        return unused[row], 0
    if row.endswith(", the others"):
        stage = row.partition(",")[0]
        whole, first = found.block(stage), found.block(f"{stage}.0")
        return whole.parameters - first.parameters, whole.operations - first.operations
    block = found.block(row)
    return block.parameters, block.operations


def judge(table: Table) -> Sequence[Check]:
    """Hold every row to what was printed."""
    return [*_rows(table), *_billions(table), *_against_alexnet(table)]


def _one(table: Table, arm: str, measure: str) -> int:
    return int(table.numbers(arm, measure)[0])


def _rows(table: Table) -> Iterator[Check]:
    for arm, rows in PRINTED.items():
        for row, *printed in rows:
            for word, expected in zip(("parameters", "operations"), printed, strict=True):
                if expected is not None:
                    found = _one(table, arm, f"{row}: {word}" if row else word)
                    claim = f"{arm}: {word}" + (f" of {row}" if row else "")
                    yield Check(claim, f"{expected:,}", f"{found:,}", "exact", found == expected)


def _billions(table: Table) -> Iterator[Check]:
    for arm, printed in BILLIONS.items():
        found = _one(table, arm, "operations") / 1e9
        holds = abs(found - float(printed)) <= NEAR
        yield Check(f"{arm}: billions of operations", printed, f"{found:.3f}", f"{NEAR:g} billion", holds)


def _against_alexnet(table: Table) -> Iterator[Check]:
    parameters = _one(table, ALEXNET, "layers with weights: parameters")
    operations = _one(table, ALEXNET, "layers with weights: operations")
    for arm, (times, fewer) in AGAINST.items():
        net = arm.partition(",")[0]
        ratios = {
            f"{net} against AlexNet: times its operations": (times, _one(table, arm, "operations") / operations),
            f"{net} against AlexNet: times fewer parameters": (fewer, parameters / _one(table, arm, "parameters")),
        }
        for claim, (printed, ratio) in ratios.items():
            if printed:
                holds = abs(ratio - float(printed)) <= half_digit(printed)
                yield Check(claim, printed, f"{ratio:.3f}", "half the last printed digit", holds)


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw operations against parameters, for photographs."""
    drawn = figure("parameters", "Multiply-adds for an image of 224x224", height=380)
    families = {"ResNet": 0, "DenseNet": 1, "GoogLeNet": 2, "VGG": 3, "AlexNet": 4, "plain": 5}
    for family, place in families.items():
        arms = [arm for arm in ARMS if arm.startswith(family) and "folded" not in arm and "," not in arm]
        if arms:
            x, y = ([_one(table, arm, word) for arm in arms] for word in ("parameters", "operations"))
            marker = {"color": CLASSES[place], "symbol": SYMBOLS[place], "size": 10}
            drawn.add_scatter(x=x, y=y, name=family, text=arms, mode="markers", marker=marker)
    drawn.update_xaxes(type="log")
    drawn.update_yaxes(type="log")
    caption = "As published; GoogLeNet's parameters include its auxiliary classifiers."
    return [drawn.update_layout(meta={"title": "What published networks cost", "caption": caption})]
