"""Draw docs/tradeoff.png: the error of networks over their operations, published ones and ours.

    python bench/tradeoff.py [--docs docs]     the picture needs chromium

Errors of others are those that their authors published, each with its source beside it. What a network costs is
counted by `anatomy` on our network of that name, which is theirs to the parameter. Our errors are read from
`bench/results` and `docs/lab`; what was not measured there is left out.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from browser import screenshot
from plotly.offline import get_plotlyjs

from trainwell.core.shelves import models
from trainwell.models.anatomy import anatomy
from trainwell.models.building import model_facts
from trainwell.pictures.tradeoff import Point, tradeoff

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 900, 470

HE = "He et al. 2016, arXiv:1512.03385, table 6"
PREACT = "He et al. 2016, arXiv:1603.05027, table 4"
STOCHASTIC = "Huang et al. 2016, github.com/yueatsprograms/Stochastic_Depth"
DENSE = "Huang et al. 2017, arXiv:1608.06993, table 2, and github.com/liuzhuang13/DenseNet"
DENSE_IMAGENET = "github.com/liuzhuang13/DenseNet, one crop of 224x224"
FACEBOOK = "github.com/facebookarchive/fb.resnet.torch, one crop of 224x224"
TORCHVISION = "torchvision, IMAGENET1K_V1, one crop of 224x224"
HOWARD = "Howard et al. 2017, arXiv:1704.04861, table 4"


@dataclass(frozen=True)
class Published:
    """A network whose error others published.

    Attributes:
        name: as it is written in the picture.
        error: in percent.
        source: of the error.
        model, options: ours that costs the same.
        family: whose points are joined.
    """

    name: str
    error: float
    source: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    family: str = ""


CIFAR = (
    *(
        Published(f"ResNet-{depth}", error, HE, "cifar_resnet", {"depth": depth}, "ResNet")
        for depth, error in ((20, 8.75), (32, 7.51), (44, 7.17), (56, 6.97), (110, 6.43), (1202, 7.93))
    ),
    Published("ResNet-110, stochastic depth", 5.23, STOCHASTIC, "cifar_resnet", {"depth": 110}),
    *(
        Published(f"pre-activation {depth}", error, PREACT, f"preact{depth}", {}, "pre-activation")
        for depth, error in ((164, 5.46), (1001, 4.92))
    ),
    *(
        Published(
            f"DenseNet {depth}, k={growth}",
            error,
            DENSE,
            "cifar_densenet",
            {"depth": depth, "growth": growth, "bottleneck": False, "compression": 1.0},
            "DenseNet",
        )
        for depth, growth, error in ((40, 12, 5.24), (100, 12, 4.10), (100, 24, 3.74))
    ),
    *(
        Published(
            f"DenseNet-BC {depth}, k={growth}",
            error,
            DENSE,
            "cifar_densenet",
            {"depth": depth, "growth": growth},
            "DenseNet-BC",
        )
        for depth, growth, error in ((100, 12, 4.51), (250, 24, 3.62), (190, 40, 3.46))
    ),
)
IMAGENET = (
    *(
        Published(f"ResNet-{depth}", error, FACEBOOK, f"resnet{depth}", {}, "ResNet")
        for depth, error in ((18, 30.41), (34, 26.73), (50, 24.01), (101, 22.44))
    ),
    *(
        Published(f"DenseNet-{depth}", error, DENSE_IMAGENET, f"densenet{depth}", {}, "DenseNet")
        for depth, error in ((121, 25.0), (169, 23.6), (201, 22.5), (161, 22.2))
    ),
    Published("AlexNet", 100 - 56.522, TORCHVISION, "alexnet"),
    Published("VGG-16", 100 - 71.592, TORCHVISION, "vgg16"),
    Published("GoogLeNet", 100 - 69.778, TORCHVISION, "googlenet", {"auxiliary_weight": 0.0}),
    Published("MobileNet", 100 - 70.6, HOWARD, "mobilenet", {"head": "linear"}),  # pooled before its last layer
)


def cost(model: str, options: dict[str, Any], side: int, classes: int) -> tuple[float, float]:
    """Return operations for an image and parameters of one of our networks."""
    network = models.build(model, options, **model_facts((3, side, side), classes))
    found = anatomy(network, (3, side, side))
    print(f"{model} {options}: {found.operations:,} multiply-adds, {found.parameters:,} parameters", flush=True)
    return float(found.operations), float(found.parameters)


def published(rows: tuple[Published, ...], side: int, classes: int) -> Iterator[Point]:
    """Yield the points of others."""
    for row in rows:
        operations, parameters = cost(row.model, row.options, side, classes)
        yield Point(row.name, row.error / 100, operations, parameters, False, row.family, row.source)


def ours_on_cifar(results: Path) -> Iterator[Point]:
    """Yield our runs on all of CIFAR-10, the newest result of each kind."""
    for path in sorted(results.glob("product-cifar-*.json"))[-1:]:
        found = json.loads(path.read_text("utf-8"))
        error = 1 - found["figures"]["test accuracy"]["median"] / 100
        operations, parameters = cost("whitened", {"width": 32}, 32, 10)
        name = f"fit --minutes {found['command'][-1]}: whitened"
        yield Point(name, error, operations, parameters, True, source=path.name)
    for path in sorted(results.glob("resnet20-accuracy-*.json")):
        found = json.loads(path.read_text("utf-8"))
        minutes = path.name.removeprefix("resnet20-accuracy-").partition("-minutes")[0]
        operations, parameters = cost("resnet20", {}, 32, 10)
        error = 1 - found["figures"]["trainwell"]["median"]
        yield Point(f"ResNet-20, {minutes} minutes", error, operations, parameters, True, source=path.name)


def ours_of_the_lab(lab: Path) -> Iterator[Point]:
    """Yield the networks of an experiment."""
    path = lab / "dense_against_residual.json"
    if not path.exists():
        return
    found: dict[str, dict[str, float]] = {}
    for row in json.loads(path.read_text("utf-8"))["measures"]:
        if not isinstance(row["mean"], list):
            found.setdefault(row["arm"], {})[row["measure"]] = row["mean"]
    for arm, values in found.items():
        family = arm.partition("-")[0]
        yield Point(arm, values["error"], values["operations"], values["parameters"], True, family, path.name)


def page(panels: list[tuple[str, list[Point]]]) -> str:
    """Return a page of its own with a figure for each panel that has points."""
    parts = [f"<script>{get_plotlyjs()}</script>"]
    for number, (title, points) in enumerate(panels):
        drawn = tradeoff(points, width=WIDTH, height=HEIGHT).update_layout(width=WIDTH)
        parts.append(f"<h2>{title}</h2><div id=p{number}></div>")
        shown = f"{{...{drawn.to_json()}, config: {{staticPlot: true}}}}"
        parts.append(f"<script>Plotly.newPlot('p{number}', {shown})</script>")
    style = "body{margin:18px 20px;font-family:system-ui,sans-serif;color:#3c434a;background:#fff;width:900px}"
    style += "h2{font-size:16px;font-weight:600;margin:16px 0 2px}"
    return f"<!doctype html><meta charset=utf-8><style>{style}</style><body>{''.join(parts)}"


def main() -> None:
    """Gather the points and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--page", type=Path, help="where to keep the page as well")
    asked = parser.parse_args()
    cifar = [*published(CIFAR, 32, 10), *ours_on_cifar(ROOT / "bench" / "results")]
    lab = list(ours_of_the_lab(asked.docs / "lab"))
    panels = [
        ("ImageNet, published: top-1 error on the validation images", list(published(IMAGENET, 224, 1000))),
        ("CIFAR-10, test error; ours on a copy that lost detail to compression, in minutes on two cores", cifar),
        ("CIFAR-10 at 16x16 pixels, 2,500 images to learn from: what the lab trained", lab),
    ]
    panels = [(title, points) for title, points in panels if points]
    text = page(panels)
    if asked.page:
        asked.page.write_text(text, "utf-8")
    height = 18 * 2 + len(panels) * (HEIGHT + 42)
    screenshot(text, asked.docs / "tradeoff.png", width=WIDTH + 40, height=height)


if __name__ == "__main__":
    main()
