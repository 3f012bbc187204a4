"""Are our networks torchvision's and timm's? Names, outputs, auxiliary scores and gradients, in float64.

Runs in an environment of its own (bench/requirements-vision.txt, with trainwell itself installed or on the path):

    PYTHONPATH=src python bench/architectures_equal.py [--only PART]

Their weights and running statistics, made random, are copied across by name (`load_state_dict`, strict). Then both nets
see the same images: of 224x224 in evaluation; of 97x97, where roundings of odd sizes differ if they can, in training,
with the same draws of dropout, after which the gradients of the cross entropy are compared, and the running statistics.
The names that tests/models/torchvision_names.py writes down are compared with torchvision's own too.
"""

import argparse
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# torchvision from PyPI belongs to another build of torch: its compiled part is not loaded, and these two names must
# exist. Nothing here calls them.
LIBRARY = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import plain_nets  # noqa: E402
import timm  # noqa: E402
from harness import Figure, machine, write_result  # noqa: E402
from torchvision import models as torchvisions  # noqa: E402

import trainwell.models.densenet  # noqa: E402
import trainwell.models.googlenet  # noqa: E402
import trainwell.models.resnet  # noqa: E402
import trainwell.models.vgg  # noqa: E402, F401 - they put their nets on the shelf
from trainwell.core.shelves import models  # noqa: E402

TOLERANCE = 1e-10  # of the largest number of each tensor
NAMES = Path(__file__).parents[1] / "tests" / "models" / "torchvision_names.py"
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2")
DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")
UNTRAINED = {"weights": None}


@dataclass(frozen=True)
class Pair:
    """Our net and theirs.

    Attributes:
        name: of ours on the shelf.
        theirs: builds the other one.
        options: of ours.
        side: of the images in evaluation.
        classes: K.
    """

    name: str
    theirs: Callable[[], nn.Module]
    options: dict[str, Any]
    side: int = 224
    classes: int = 1000


def pairs() -> Iterator[tuple[str, Pair]]:
    """Yield every pair with what the other net is called."""
    for name in (*RESNETS, *DENSENETS, "vgg16", "alexnet"):
        build = getattr(torchvisions, name)
        yield f"{name} beside torchvision's", Pair(name, partial(build, **UNTRAINED), {})
    build = partial(torchvisions.googlenet, **UNTRAINED, init_weights=True)
    yield "googlenet beside torchvision's", Pair("googlenet", partial(build, aux_logits=True), {})
    yield (
        "googlenet:auxiliary_weight=0 beside torchvision's without auxiliary classifiers",
        Pair("googlenet", partial(build, aux_logits=False), {"auxiliary_weight": 0.0}),
    )
    for name in (*RESNETS, *DENSENETS):
        yield f"{name} beside timm's", Pair(name, partial(timm.create_model, name), {})
    for shortcut in ("A", "B"):
        for depth in (20, 56):
            theirs = partial(plain_nets.ResNet, depth, shortcut)
            pair = Pair(f"resnet{depth}", theirs, {"shortcut": shortcut}, 32, 10)
            yield f"resnet{depth}:shortcut={shortcut} beside a plain one", pair
    theirs = partial(plain_nets.DenseNet, (16, 16, 16), 12)
    for options in ({}, {"checkpointing": True}):
        words = ":checkpointing=true" if options else ""
        yield f"densenet_bc100{words} beside a plain one", Pair("densenet_bc100", theirs, options, 32, 10)


def shaken(net: nn.Module) -> nn.Module:
    """Return a net in float64 whose norms have scales, shifts and statistics as a trained one has."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return net.double()


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference of two tensors, relative to the largest number of theirs."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-300)) if theirs.numel() else 0.0


def scores(net: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the scores of a net: the main ones, then the auxiliary ones from the deepest to the first."""
    torch.manual_seed(1)  # the draws of dropout
    given = net(images)
    if isinstance(given, tuple):  # torchvision's GoogLeNet in training: main, second, first
        return list(given)
    auxiliary = [part for _, part in getattr(net, "auxiliary_scores", ())]
    return [given, *reversed(auxiliary)]


def compare(pair: Pair) -> dict[str, float]:
    """Return the relative distances between two nets, after their names were found to be the same."""
    torch.manual_seed(0)
    theirs = shaken(pair.theirs())
    ours = models.build(pair.name, pair.options, in_channels=3, num_classes=pair.classes).double()
    names = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in ours.state_dict().items()} == names, "other names or shapes"
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, pair.side, pair.side, dtype=torch.float64)
    with torch.no_grad():
        found = {"evaluation": distance(ours.eval()(images), theirs.eval()(images))}
    side = 97 if pair.side > 97 else pair.side
    images, targets = torch.randn(4, 3, side, side, dtype=torch.float64), torch.arange(4)
    one, other = scores(ours.train(), images), scores(theirs.train(), images)
    assert len(one) == len(other), "other auxiliary scores"
    found["training"] = max(distance(a.detach(), b.detach()) for a, b in zip(one, other, strict=True))
    for parts in (one, other):
        torch.stack([functional.cross_entropy(part, targets) for part in parts]).sum().backward()
    gradients = dict(theirs.named_parameters())
    found["gradients"] = max(
        distance(parameter.grad, gradients[name].grad)  # type: ignore[arg-type]
        for name, parameter in ours.named_parameters()
    )
    buffers = dict(theirs.named_buffers())
    found["statistics"] = max((distance(value, buffers[name]) for name, value in ours.named_buffers()), default=0.0)
    return found


def written_down() -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the names and shapes that our tests have of torchvision's nets, from a file that needs only Python."""
    source: dict[str, Any] = runpy.run_path(str(NAMES))
    found = {f"resnet{depth}": source["resnet"](depth) for depth in source["RESNETS"]}
    found |= {f"wide_resnet{depth}_2": source["resnet"](depth, 128) for depth in (50, 101)}
    found |= {f"densenet{depth}": source["densenet"](depth) for depth in source["DENSENETS"]}
    return found | {name: source[name]() for name in ("googlenet", "vgg16", "alexnet")}


def wrong_names() -> list[str]:
    """Return the nets whose names or shapes in our tests are not torchvision's own."""
    wrong = []
    for name, shapes in written_down().items():
        with torch.device("meta"):
            net = getattr(torchvisions, name)(**UNTRAINED, **({"init_weights": False} if name == "googlenet" else {}))
        if {key: tuple(value.shape) for key, value in net.state_dict().items()} != shapes:
            wrong.append(name)
    return wrong


def main() -> None:
    """Compare every pair and store the distances."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="a part of a pair's name; then nothing is written")
    only = options.parse_args().only
    torch.set_num_threads(1)
    facts, figures = machine(), dict[str, Figure]()
    missed = {f"the names of {name} in {NAMES.name}": "not torchvision's" for name in wrong_names()}
    print(f"{NAMES.name}: {missed or 'as in torchvision'}", flush=True)
    for name, pair in pairs():
        if only not in name:
            continue
        try:
            found = compare(pair)
        except (AssertionError, RuntimeError) as error:
            missed[name] = f"{type(error).__name__}: {error}"[:2000]
            print(f"FAILED  {name}: {missed[name]}", flush=True)
            continue
        print(f"{max(found.values()):8.1e}  {name}  {found}", flush=True)
        figures |= {f"{name}: {what}": Figure(value, value, value, "largest distance") for what, value in found.items()}
        if max(found.values()) > TOLERANCE:
            missed[name] = "not within the tolerance"
    if only:
        return
    write_result(
        "architectures-equal",
        figures=figures,
        n=len(figures),
        target=f"same names; scores, auxiliary scores, gradients and running statistics within {TOLERANCE:g} of the"
        " other's, relative to the largest number of each tensor, in float64",
        reached=not missed,
        facts=facts,
        more={"missed": missed, "others": {name: metadata.version(name) for name in ("torchvision", "timm")}},
    )


if __name__ == "__main__":
    main()
