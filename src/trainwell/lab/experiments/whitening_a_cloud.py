"""What does each step of preprocessing do to a cloud of points, and how many samples does it need to know the mean?

Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", section 4.3; Kessy, Lewin, Strimmer 2018,
"Optimal whitening and decorrelation", arXiv:1512.00809.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from trainwell.core.chance import Chance
from trainwell.core.choice import Choice
from trainwell.core.shelves import experiments, preprocessings
from trainwell.lab.data import digits
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.pictures.style import CLASSES, TRAIN, figure

POINTS, DRAWN = 2000, 400
MEAN, SPREAD, CORRELATION = (4.0, 2.0), (2.0, 0.5), 0.8
EXACT = 1e-6
STEPS = {
    "raw": "none",
    "centred": "channel_mean",
    "standardized": "standardize",
    "decorrelated": "pca",
    "whitened": "pca_whiten:epsilon=0",
    "whitened and rotated back": "zca:epsilon=0",
}
MEAN_ARM = "mean of the first M digits"
SIZES = (10, 30, 100, 300, 1000)
DRAWS = 200  # of M samples, for each M
WITHIN = 0.1  # of the power -1/2: 200 draws know each distance to 4 %


@experiments.card(source='LeCun et al. 1998, "Efficient BackProp", section 4.3', claims=(28,))
def whitening_a_cloud() -> Experiment:
    """Centring, scaling, decorrelation and whitening give mean 0, variance 1 and covariance I."""
    return Experiment(
        question="What do centring, standardizing, decorrelating and whitening leave of the shape of a cloud?",
        arms={name: {"preprocessing": choice} for name, choice in STEPS.items()} | {MEAN_ARM: {}},
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=5,
        quick_seeds=2,
        note=(
            f"{POINTS} points, correlated by {CORRELATION:g}, deviations {SPREAD[0]:g} and {SPREAD[1]:g}, around "
            f"{MEAN}. The library's own preprocessing does each step; its numbers are taken in float64 from the points "
            "that it was fitted on. Deviations are of the sample: the standardizing one divides by N, the "
            "whitening one by N - 1, which shows as 0.0005. The mean image of M of the digits is "
            "compared with that of all of them; the M are drawn with replacement."
        ),
    )


def draw_cloud(seed: int) -> Tensor:
    """Return the raw points (N, 2), float32."""
    normal = Chance(seed, "cloud").generator().standard_normal((POINTS, 2))
    normal[:, 1] = CORRELATION * normal[:, 0] + math.sqrt(1 - CORRELATION**2) * normal[:, 1]
    return torch.from_numpy(normal * SPREAD + MEAN).float()


def preprocessed(points: Tensor, choice: str) -> Tensor:
    """Return the points (N, 2) in float64 after a preprocessing that was fitted on them."""
    chosen = Choice.parse(choice)
    steps = preprocessings.build(chosen.name, chosen.options)
    steps.fit(points)
    done: Tensor = steps.apply(points, dtype=torch.float64)
    return done


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Take mean, variances and covariance of the cloud after a step; or how far the means of M images are off."""
    if "preprocessing" not in settings:
        return {"distance": mean_distances(digits().train.flatten(1).double() / 255, seed)}
    points = preprocessed(draw_cloud(seed), settings["preprocessing"])
    centred = points - points.mean(dim=0)
    by_n = centred.T @ centred / len(points)
    by_one_less = centred.T @ centred / (len(points) - 1)
    return {
        "mean": float(points.mean(dim=0).abs().max()),
        "variance": float((by_n.diagonal() - 1).abs().max()),
        "covariance": float(by_one_less[0, 1].abs()),
        "identity": float((by_one_less - torch.eye(2, dtype=torch.float64)).abs().max()),
    }


def mean_distances(samples: Tensor, seed: int) -> list[float]:
    """Return, for each size M, the root mean square distance between the mean of M of the samples and that of all.

    Args:
        samples: (N, D); the M are drawn from them with replacement.
        seed: of the draws.
    """
    full, distances = samples.mean(dim=0), []
    for size in SIZES:
        generator = Chance(seed, "mean").generator(size)
        picks = torch.from_numpy(generator.integers(0, len(samples), (DRAWS, size)))
        squares = [float((samples[pick].mean(dim=0) - full).square().sum()) for pick in picks]
        distances.append(math.sqrt(sum(squares) / DRAWS))
    return distances


def judge(table: Table) -> list[Check]:
    """Hold the mean, the variances and the covariance of each step to what it promises."""
    promises = [
        ("centred", "mean", "mean 0"),
        ("standardized", "mean", "mean 0"),
        ("standardized", "variance", "variance 1 (of N) in each feature"),
        ("decorrelated", "mean", "mean 0"),
        ("decorrelated", "covariance", "covariance 0"),
        ("whitened", "mean", "mean 0"),
        ("whitened", "identity", "covariance I"),
        ("whitened and rotated back", "identity", "covariance I"),
    ]
    checks = []
    for arm, measured, words in promises:
        worst = float(table.numbers(arm, measured).max())
        off = f"at most {worst:.1e} off in {table.seeds} clouds"
        checks.append(Check(f"{arm}: {words}", words, off, f"{EXACT:g}", worst <= EXACT))
    return [*checks, _root_of_samples(table)]


def _root_of_samples(table: Table) -> Check:
    distances = table.numbers(MEAN_ARM, "distance")
    powers = np.array([np.polyfit(np.log(SIZES), np.log(row), 1)[0] for row in distances])
    return Check(
        f"the mean of M samples tends to the full mean, M = {SIZES[0]} to {SIZES[-1]}",
        "as M to the power -0.5",
        f"as M to the power {powers.mean():.3f}, {powers.min():.3f} to {powers.max():.3f} over {len(powers)} seeds",
        f"each within {WITHIN:g}",
        bool(np.abs(powers + 0.5).max() <= WITHIN),
    )


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the cloud after each step, and how the mean of M samples nears the full mean."""
    raw = draw_cloud(0)
    return [*(_cloud(name, preprocessed(raw, choice)[:DRAWN]) for name, choice in STEPS.items()), _distances(table)]


def _cloud(name: str, points: Tensor) -> go.Figure:
    shown = figure("first coordinate", f"Second coordinate, {name}", height=320)
    marker = {"color": TRAIN, "size": 4, "opacity": 0.6}
    x, y = (column.round(decimals=3).tolist() for column in points.T)
    shown.add_scatter(x=x, y=y, mode="markers", marker=marker, showlegend=False)
    shown.update_xaxes(range=[-8, 12], zeroline=True)
    shown.update_yaxes(range=[-4, 4], scaleanchor="x", zeroline=True)
    return shown


def _distances(table: Table) -> go.Figure:
    shown = figure("samples M", "Distance of their mean image from that of all", height=320)
    distances = table.numbers(MEAN_ARM, "distance").mean(axis=0)
    exact = distances[0] * np.sqrt(SIZES[0] / np.array(SIZES))
    shown.add_scatter(x=SIZES, y=exact.tolist(), mode="lines", name="1/√M", line={"color": CLASSES[6], "dash": "dot"})
    shown.add_scatter(
        x=SIZES, y=distances.tolist(), mode="markers", name="measured", marker={"color": TRAIN, "size": 9}
    )
    shown.update_xaxes(type="log")
    shown.update_yaxes(type="log")
    return shown
