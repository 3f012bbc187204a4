"""The landscapes: eight that an optimizer meets in small, and a slope without end, where it reaches its last velocity.

Source: Rosenbrock 1960, "An automatic method for finding the greatest or least value of a function"; Beale 1958,
"On an iterative method for finding a local minimum of a function of more than one variable".
"""

import numpy as np
import torch
from torch import Tensor

from trainwell.core.chance import Chance
from trainwell.core.units import Positive, Seed
from trainwell.lab.landscapes.landscape import Landscape, Point, landscapes

TERMS = 10


def _rows(*entries: Tensor) -> Tensor:
    """Stack coordinates (...) into points (..., 2), or entries (xx, xy, yy) into symmetric matrices (..., 2, 2)."""
    stacked = torch.stack(torch.broadcast_tensors(*entries), dim=-1)
    return stacked if len(entries) == 2 else stacked[..., [0, 1, 1, 2]].unflatten(-1, (2, 2))


def _quadratic(matrix: Tensor, centre: Tensor, *, start: Point, window: tuple[Point, Point], lr: float) -> Landscape:
    """Return half of (p - c)' A (p - c)."""
    return Landscape(
        value=lambda points: ((points - centre) @ matrix * (points - centre)).sum(-1) / 2,
        gradient=lambda points: (points - centre) @ matrix,
        hessian=lambda points: matrix.expand(*points.shape[:-1], 2, 2),
        start=start,
        minima=((float(centre[0]), float(centre[1])),),
        window=window,
        lr=lr,
    )


@landscapes.card(source="Goodfellow, Bengio, Courville 2016, Deep learning, section 4.3")
def ill_conditioned_bowl(*, shallow: Positive = 0.2, steep: Positive = 14.0) -> Landscape:
    """One rate for two curvatures: what is short enough across the valley crawls along it.

        f = (shallow x^2 + steep y^2) / 2

    Gradient descent is stable below lr = 2 / steep, and oscillates across the valley above 1 / steep.
    """
    matrix = torch.diag(torch.tensor([shallow, steep], dtype=torch.float64))
    window = ((-3.0, 1.5), (-1.35, 1.35))
    return _quadratic(
        matrix, torch.zeros(2).double(), start=(-2.5, 1.0), window=window, lr=float(f"{1.96 / steep:.4g}")
    )


@landscapes.card()
def ravine(*, shallow: Positive = 0.2, steep: Positive = 14.0) -> Landscape:
    """A valley across both axes: a rate for each coordinate cannot straighten it, momentum can.

        f = (shallow (x + y)^2 + steep (x - y)^2) / 4

    The ill-conditioned bowl, turned by 45 degrees.
    """
    along, across = (shallow + steep) / 2, (shallow - steep) / 2
    matrix = torch.tensor([[along, across], [across, along]], dtype=torch.float64)
    window = ((-2.6, 1.2), (-1.9, 1.2))
    return _quadratic(
        matrix, torch.zeros(2).double(), start=(-2.3, -0.9), window=window, lr=float(f"{1.96 / steep:.4g}")
    )


@landscapes.card()
def saddle(*, down: Positive = 0.1) -> Landscape:
    """Flat, and no minimum: the gradient shrinks on the way in, and the way out must grow from next to nothing.

        f = x^2 / 2 + down (y^4 / 4 - y^2 / 2)

    The saddle is at (0, 0), its way out falls off with curvature -down, and the minima are at (0, -1) and (0, 1).
    """

    def value(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return x**2 / 2 + down * (y**4 / 4 - y**2 / 2)

    def gradient(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return _rows(x, down * (y**3 - y))

    def hessian(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return _rows(torch.ones_like(x), torch.zeros_like(x), down * (3 * y**2 - 1))

    return Landscape(
        value=value,
        gradient=gradient,
        hessian=hessian,
        start=(-1.8, 0.01),
        minima=((0.0, -1.0), (0.0, 1.0)),
        window=((-2.0, 1.0), (-1.5, 1.5)),
        lr=0.14,
        deviation=0.05,
    )


@landscapes.card()
def plateau() -> Landscape:
    """Far from the minimum there is hardly any slope: whoever steps by the gradient alone stands still.

    f = r^2 / (1 + r^2)        r^2 = x^2 + y^2
    """

    def value(points: Tensor) -> Tensor:
        square = (points**2).sum(-1)
        return square / (1 + square)

    def gradient(points: Tensor) -> Tensor:
        square = (points**2).sum(-1, keepdim=True)
        return 2 * points / (1 + square) ** 2

    def hessian(points: Tensor) -> Tensor:
        square = (points**2).sum(-1)[..., None, None]
        outer = points[..., :, None] * points[..., None, :]
        return 2 * torch.eye(2, dtype=points.dtype) / (1 + square) ** 2 - 8 * outer / (1 + square) ** 3

    return Landscape(
        value=value,
        gradient=gradient,
        hessian=hessian,
        start=(-4.0, 1.0),
        minima=((0.0, 0.0),),
        window=((-5.0, 2.0), (-2.1, 2.1)),
        lr=0.14,
        deviation=0.1,
    )


@landscapes.card(source="Rosenbrock 1960")
def rosenbrock(*, steep: Positive = 100.0) -> Landscape:
    """A bent valley: finding its floor is easy, following it is not.

    f = (1 - x)^2 + steep (y - x^2)^2
    """

    def value(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return (1 - x) ** 2 + steep * (y - x**2) ** 2

    def gradient(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        off = y - x**2
        return _rows(-2 * (1 - x) - 4 * steep * x * off, 2 * steep * off)

    def hessian(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return _rows(2 + steep * (12 * x**2 - 4 * y), -4 * steep * x, torch.full_like(x, 2 * steep))

    return Landscape(
        value=value,
        gradient=gradient,
        hessian=hessian,
        start=(-1.2, 1.0),
        minima=((1.0, 1.0),),
        window=((-1.8, 1.8), (-0.7, 2.3)),
        lr=0.12 / steep,
        stride=0.05,
    )


@landscapes.card(source="Beale 1958")
def beale() -> Landscape:
    """Walls, a flat floor and a far minimum: one rate is too large here and too small there.

    f = sum over k = 1, 2, 3 of (c_k - x (1 - y^k))^2        c = 1.5, 2.25, 2.625
    """
    powers = torch.tensor([1, 2, 3])
    aims = torch.tensor([1.5, 2.25, 2.625], dtype=torch.float64)

    def parts(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x, the residuals, and what they change by with x and with y: all (..., 3) but x (..., 1)."""
        x, y = points[..., :1], points[..., 1:]
        return x, aims - x * (1 - y**powers), y**powers - 1, x * powers * y ** (powers - 1)

    def value(points: Tensor) -> Tensor:
        return (parts(points)[1] ** 2).sum(-1)

    def gradient(points: Tensor) -> Tensor:
        _, residual, by_x, by_y = parts(points)
        return _rows(*(2 * (residual * slope).sum(-1) for slope in (by_x, by_y)))

    def hessian(points: Tensor) -> Tensor:
        x, residual, by_x, by_y = parts(points)
        y = points[..., 1:]
        both = powers * y ** (powers - 1)
        twice = x * powers * (powers - 1) * y ** (powers - 2).clamp(min=0)
        entries = (by_x**2, by_x * by_y + residual * both, by_y**2 + residual * twice)
        return _rows(*(2 * entry.sum(-1) for entry in entries))

    return Landscape(
        value=value,
        gradient=gradient,
        hessian=hessian,
        start=(1.0, 1.4),
        minima=((3.0, 0.5),),
        window=((0.0, 4.2), (-0.9, 1.6)),
        lr=0.01,
        stride=0.1,
    )


@landscapes.card()
def two_minima(*, tilt: Positive = 0.1) -> Landscape:
    """Where one ends depends on where one starts and on the speed: momentum may roll over the hill in between.

        f = x^4 / 4 - x^2 / 2 + tilt x + y^2 / 2        two minima for tilt < 2 / sqrt(27) = 0.385

    The left minimum is the lower one.
    """
    turns = np.roots([1.0, 0.0, -1.0, tilt])  # of the derivative x^3 - x + tilt
    real = sorted(float(root.real) for root in turns if abs(root.imag) < 1e-9)

    def value(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return x**4 / 4 - x**2 / 2 + tilt * x + y**2 / 2

    def gradient(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return _rows(x**3 - x + tilt, y)

    def hessian(points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        return _rows(3 * x**2 - 1, torch.zeros_like(x), torch.ones_like(y))

    return Landscape(
        value=value,
        gradient=gradient,
        hessian=hessian,
        start=(1.6, 1.0),
        minima=((real[0], 0.0), *(((real[-1], 0.0),) if len(real) == 3 else ())),
        window=((-1.8, 1.8), (-1.2, 1.2)),
        lr=0.1,
        deviation=0.3,
    )


@landscapes.card()
def ten_terms(*, seed: Seed = 0) -> Landscape:
    """A mean of ten bowls, each with its own minimum: a mini-batch of them has a gradient with real noise.

        f = 1/10 sum of (p - c_i)' A_i (p - c_i) / 2

    The smaller the mini-batch, the noisier its gradient: m terms, drawn with replacement, are off by
    1 / sqrt(m) of what one is. Shaped around (-0.5, 0), with curvatures near 0.5 and 4.
    """
    generator = Chance(seed, "ten terms").generator()
    centres = torch.from_numpy(generator.normal((-0.5, 0.0), (1.0, 0.4), (TERMS, 2)))
    angles = torch.from_numpy(generator.normal(0.0, 0.3, TERMS))
    turn = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=-1).unflatten(-1, (2, 2))
    curvatures = torch.from_numpy(np.array([0.5, 4.0]) * np.exp(generator.normal(0.0, 0.4, (TERMS, 2))))
    matrices = turn @ torch.diag_embed(curvatures) @ turn.mT
    return _mean_of(matrices, centres)


def _mean_of(matrices: Tensor, centres: Tensor) -> Landscape:
    """Return the mean of quadratic terms, of which mini-batches can be drawn.

    Args:
        matrices: (N, 2, 2).
        centres: (N, 2).
    """

    def value(points: Tensor) -> Tensor:
        off = points[..., None, :] - centres  # (..., N, 2)
        return torch.einsum("...ni,nij,...nj->...n", off, matrices, off).mean(-1) / 2

    def gradient(points: Tensor) -> Tensor:
        return torch.einsum("...ni,nij->...j", points[..., None, :] - centres, matrices) / len(matrices)

    def draw(size: int, generator: np.random.Generator) -> Landscape:
        picked = torch.from_numpy(generator.integers(0, len(matrices), size))
        return _mean_of(matrices[picked], centres[picked])

    lowest = torch.linalg.solve(matrices.sum(0), torch.einsum("nij,nj->i", matrices, centres))
    return Landscape(
        value=value,
        gradient=gradient,
        hessian=lambda points: matrices.mean(0).expand(*points.shape[:-1], 2, 2),
        start=(-3.0, 1.2),
        minima=((float(lowest[0]), float(lowest[1])),),
        window=((-3.5, 1.5), (-1.5, 1.5)),
        lr=0.14,
        draw=draw,
    )


@landscapes.card()
def slope(*, gradient: Positive = 1.0) -> Landscape:
    """A plane that falls for ever: under a constant gradient, each optimizer reaches its terminal velocity.

    f = gradient x
    """
    steepness = torch.tensor([gradient, 0.0], dtype=torch.float64)
    return Landscape(
        value=lambda points: (points * steepness).sum(-1),
        gradient=lambda points: steepness.expand(points.shape).clone(),
        hessian=lambda points: torch.zeros(*points.shape, 2, dtype=points.dtype),
        start=(0.0, 0.0),
        minima=(),
        window=((-20.0, 2.0), (-6.6, 6.6)),
        lr=0.14,
        deviation=0.3,
    )
