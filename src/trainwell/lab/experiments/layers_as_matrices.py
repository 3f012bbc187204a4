"""What are layers as matrices: how many weights, which of them are equal, what is left of them without activations?

Source: LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition", on local and shared weights;
Goodfellow, Bengio, Courville 2016, "Deep learning", section 9.1, on convolution as a Toeplitz matrix.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.chance import derive
from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.pictures.style import CLASSES, figure

COUNTS, SHIFTS, LINEAR = "a 4-3-1 net", "convolution and translation", "five layers without activation"
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "convolution 3x3, 3 to 4": {"side": 3, "channels": (3, 4), "stride": 1, "padding": 0},
    "convolution 3x3, 2 to 5, padded": {"side": 3, "channels": (2, 5), "stride": 1, "padding": 1},
    "convolution 5x5, 1 to 2, stride 2": {"side": 5, "channels": (1, 2), "stride": 2, "padding": 2},
}
HEIGHT, WIDTH = 8, 9
WIDTHS = (20, 30, 10, 40, 25, 5)
EXACT, COLLAPSE = 1e-12, 1e-6
NINTH = "#9C5B4C"  # colour, beside the eight of the classes


@experiments.card(source="LeCun et al. 1989; Goodfellow et al. 2016, section 9.1", claims=(2,))
def layers_as_matrices() -> Experiment:
    """A convolution is a sparse matrix with r²kk' free weights; layers without activation are one matrix."""
    return Experiment(
        question="Which matrices are dense layers, convolutions and stacks of linear layers?",
        arms={COUNTS: {"what": "counts"}}
        | {name: {"what": "convolution", **settings} for name, settings in CONVOLUTIONS.items()}
        | {SHIFTS: {"what": "translation"}, LINEAR: {"what": "linear"}},
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=2,
        note=(
            f"Images of {HEIGHT} x {WIDTH}. The matrix is filled from the indices alone, never by a convolution. "
            "Shifts wrap around, and weights and pixels are whole numbers, so that sums are exact in any order. "
            "Everything in float64, but the collapse in float32 too."
        ),
    )


def toeplitz(weight: Tensor, height: int, width: int, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Return the matrix of a convolution of images (C, H, W): rows are output numbers, columns input numbers.

    Args:
        weight: (C', C, r, s) kernels.
        height, width: of the images.
        stride, padding: of the convolution.
    """
    out_channels, in_channels, rows, columns = weight.shape
    out_height = (height + 2 * padding - rows) // stride + 1
    out_width = (width + 2 * padding - columns) // stride + 1
    matrix = weight.new_zeros(out_channels, out_height, out_width, in_channels, height, width)
    for y, x, i, j in product(range(out_height), range(out_width), range(rows), range(columns)):
        row, column = y * stride + i - padding, x * stride + j - padding
        if 0 <= row < height and 0 <= column < width:
            matrix[:, y, x, :, row, column] = weight[:, :, i, j]
    return matrix.flatten(3).flatten(0, 2)  # (C' H' W', C H W)


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Count weights, or compare a layer with its matrix."""
    generator = torch.Generator().manual_seed(derive(seed, "matrices"))
    match settings["what"]:
        case "counts":
            net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
            first, second = (parameter.numel() for parameter in net.parameters())
            return {"first layer": first, "second layer": second}
        case "convolution":
            return _convolution(settings, generator)
        case "translation":
            return _translation(generator)
    return _collapse(generator)


def _convolution(settings: Mapping[str, Any], generator: torch.Generator) -> Values:
    before, after = settings["channels"]
    side, options = settings["side"], {"stride": settings["stride"], "padding": settings["padding"]}
    layer = nn.Conv2d(before, after, side, bias=False, dtype=torch.float64, **options)
    weight = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
    images = torch.randn(6, before, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    matrix = toeplitz(weight, HEIGHT, WIDTH, **options)
    convolved = functional.conv2d(images, weight, **options).flatten(1)
    multiplied = images.flatten(1) @ matrix.T
    return {
        "difference": float((convolved - multiplied).abs().max() / convolved.abs().max()),
        "weights": layer.weight.numel(),
        "different entries": len(matrix.unique()) - 1,  # without 0
        "largest row": int((matrix != 0).sum(dim=1).max()),
        "entries": matrix.numel(),
        "zeros": float((matrix == 0).double().mean()),
    }


def _translation(generator: torch.Generator) -> Values:
    def whole(*shape: int) -> Tensor:
        return torch.randint(-9, 10, shape, generator=generator).double()

    weight, image, dense = whole(2, 3, 3, 3), whole(1, 3, HEIGHT, WIDTH), whole(HEIGHT * WIDTH, HEIGHT * WIDTH)

    def convolve(pixels: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(pixels, (1, 1, 1, 1), mode="circular"), weight)

    def multiply(pixels: Tensor) -> Tensor:
        return (pixels.flatten(2) @ dense.T).reshape(pixels.shape)

    found = {}
    for name, layer in (("convolution", convolve), ("dense layer", multiply)):
        wrong = 0
        for shift in product(range(HEIGHT), range(WIDTH)):
            moved = layer(image.roll(shift, dims=(2, 3)))
            wrong += not torch.equal(moved, layer(image).roll(shift, dims=(2, 3)))
        found[f"shifts that do not commute, {name}"] = wrong
    return found


def _collapse(generator: torch.Generator) -> Values:
    weights = [torch.randn(after, before, generator=generator) / before**0.5 for before, after in pairwise(WIDTHS)]
    x = torch.randn(100, WIDTHS[0], generator=generator)
    found = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        together, layered = torch.eye(WIDTHS[0], dtype=dtype), x.to(dtype)
        for weight in weights:
            together, layered = weight.to(dtype) @ together, layered @ weight.to(dtype).T
        alone = x.to(dtype) @ together.T
        found[f"difference in {name}"] = float((layered - alone).abs().max() / layered.abs().max())
    return found


def judge(table: Table) -> list[Check]:
    """Hold counts and matrices to their formulas."""
    checks = [
        _equal("a 4-3-1 net: weights of the first layer", 12, table, COUNTS, "first layer"),
        _equal("a 4-3-1 net: weights of the second layer", 3, table, COUNTS, "second layer"),
    ]
    for arm, settings in CONVOLUTIONS.items():
        (before, after), side = settings["channels"], settings["side"]
        free = side * side * before * after
        off = float(table.numbers(arm, "difference").max())
        checks += [
            Check(f"{arm}: is its matrix", "equal", f"{off:.1e} apart", f"{EXACT:g}, relative", off <= EXACT),
            _equal(f"{arm}: weights, r²kk'", free, table, arm, "weights"),
            _equal(f"{arm}: different non-zero entries of its matrix", free, table, arm, "different entries"),
            _equal(f"{arm}: inputs that an output sees, r²k", side * side * before, table, arm, "largest row"),
        ]
    moved = table.numbers(SHIFTS, "shifts that do not commute, convolution")
    dense = table.numbers(SHIFTS, "shifts that do not commute, dense layer")
    count = HEIGHT * WIDTH
    for claim, printed, wrong, wanted in (
        ("a convolution commutes with translation", f"{count} of {count} shifts", moved, 0),
        ("a dense layer does not", f"1 of {count}: the shift by 0", dense, count - 1),
    ):
        found = f"{count - wrong.max():.0f} of {count}"
        checks.append(Check(claim, printed, found, "exact", bool((wrong == wanted).all())))
    for name in ("float32", "float64"):
        off = float(table.numbers(LINEAR, f"difference in {name}").max())
        claim = f"five linear layers are one matrix, {name}"
        checks.append(Check(claim, "equal", f"{off:.1e} apart", f"{COLLAPSE:g}, relative", off <= COLLAPSE))
    return checks


def _equal(claim: str, printed: int, table: Table, arm: str, name: str) -> Check:
    numbers = table.numbers(arm, name)
    return Check(claim, str(printed), f"{numbers[0]:.0f}", "exact", bool((numbers == printed).all()))


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the matrix of a 3x3 convolution of a small image, each of its nine weights in a colour of its own."""
    size = 6
    weight = torch.arange(1, 10, dtype=torch.float64).reshape(1, 1, 3, 3)
    matrix = toeplitz(weight, size, size)
    colors = ["rgba(0,0,0,0)", *CLASSES, NINTH]
    steps = [(place / 10, color) for number, color in enumerate(colors) for place in (number, number + 1)]
    drawn = figure("number of the image, 6x6, row by row", "Number of the output, 4x4, row by row", height=340)
    drawn.add_heatmap(
        z=matrix.tolist(),
        zmin=-0.5,
        zmax=9.5,
        colorscale=steps,
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="output %{y} reads input %{x} with weight %{z}<extra></extra>",
    )
    drawn.update_yaxes(autorange="reversed", showgrid=False)
    caption = "Each colour is one of the nine weights: few are not zero, and each stands 16 times."
    return [drawn.update_layout(meta={"title": "A 3x3 convolution as a matrix", "caption": caption})]
