"""Several optimizers on one landscape: by the exact gradient and, where asked, by noisy mini-batches too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path as File
from typing import Any

import numpy as np
import plotly.graph_objects as go

from trainwell.core.shelves import optimizers
from trainwell.errors import OptionInvalid, UserError
from trainwell.lab.landscapes.landscape import Landscape, Point, landscape
from trainwell.lab.landscapes.paths import Path, check, path
from trainwell.lab.landscapes.physics import motion
from trainwell.pictures.landscape import losses, panels, speeds, walks
from trainwell.pictures.style import FONT

FEW = 8  # optimizers that one picture can tell apart
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ max-width: 1400px; margin: 16px auto; padding: 0 16px; background: #fff; color: #3c434a; font-family: {font}; }}
h1 {{ font-size: 18px; margin: 0 0 4px }} p {{ margin: 0 0 16px; font-size: 14px }}
main {{ display: grid; grid-template-columns: {columns}; gap: 16px 24px }}
main > div:nth-child(3n) {{ grid-column: 1 / -1 }}
</style></head><body><h1>{title}</h1><p>{lesson}</p><main>
{figures}
</main></body></html>
"""


@dataclass(frozen=True, eq=False)
class Walks:
    """What optimizers did on a landscape.

    Attributes:
        ground: the landscape.
        paths: optimizer as it was asked for -> `batch` and `stochastic` -> its path.
        left_out: optimizer -> why it could not walk here, in words.
    """

    ground: Landscape
    paths: Mapping[str, Mapping[str, Path]]
    left_out: Mapping[str, str]

    def to_plain(self) -> dict[str, Any]:
        """Return landscape and paths as plain data, for a page that draws them."""
        plain = [
            {"asked": asked, "kind": kind, **one.to_plain(), "motion": motion(one).to_plain()}
            for asked, pair in self.paths.items()
            for kind, one in pair.items()
        ]
        return {"landscape": self.ground.to_plain(), "paths": plain, "left_out": dict(self.left_out)}

    def figures(self) -> list[go.Figure]:
        """Return the pictures: paths, losses and speeds; or for many optimizers a small picture each, in one."""
        if len(self.paths) > FEW:
            return [panels(self.ground, self.paths, columns=6, words=self._words())]
        drawn = []
        for kind in ("batch", "stochastic"):
            some = {pair[kind].optimizer: pair[kind] for pair in self.paths.values() if kind in pair}
            if some:
                terminal = {name: motion(one).terminal for name, one in some.items()}
                drawn += [walks(self.ground, some), losses(self.ground, some), speeds(some, terminal)]
        return drawn

    def _words(self) -> str:
        """Say what a reader of many small pictures must know."""
        pair = next(iter(self.paths.values()))
        noisy = pair.get("stochastic")
        sub_steps = "" if noisy is None else f", {noisy.sub_steps} noisy steps in each of the stochastic ones"
        return f"{len(pair['batch'].velocities)} iterations{sub_steps}; beside each name the loss at the end"

    def write(self, file: File) -> None:
        """Write the pictures as one page that needs no network.

        Raises:
            OptionInvalid: the file cannot be written.
        """
        figures = self.figures()
        parts = [
            figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displayModeBar": False})
            for number, figure in enumerate(figures)
        ]
        page = PAGE.format(
            font=FONT,
            title=escape(self.ground.name),
            lesson=escape(self.ground.lesson),
            columns="1fr" if len(figures) == 1 else "3fr 2fr",
            figures="\n".join(f"<div>{part}</div>" for part in parts),
        )
        try:
            file.write_text(page, "utf-8")
        except OSError as error:
            raise OptionInvalid(f"{file} cannot be written ({error.strerror}): choose another place for it") from None


def walk_all(
    where: str,
    chosen: Sequence[str],
    *,
    steps: int = 20,
    sub_steps: int = 10,
    batch: int | None = None,
    noise: float | None = None,
    start: Point | None = None,
    seed: int = 0,
) -> Walks:
    """Let optimizers walk on a landscape, each from the same start and through the same noise.

    Args:
        where: a choice of landscape.
        chosen: optimizers; none of them is every one of the shelf, and those that cannot walk here are left out.
        steps: iterations.
        sub_steps: steps an iteration of the walk by mini-batches.
        batch: let each walk by mini-batches of so many samples too; None for the exact gradient alone.
        noise: see `path`.
        start: see `path`.
        seed: see `path`.

    Raises:
        NameUnknown: there is no such landscape or optimizer.
        OptionInvalid: see `path`; an optimizer is named twice.
    """
    ground = landscape(where)
    check(ground, steps=steps, sub_steps=sub_steps, batch=batch, noise=noise, start=start)
    doubled = sorted({name for name in chosen if list(chosen).count(name) > 1})
    if doubled:
        raise OptionInvalid(f"optimizer {doubled[0]} is named twice: name each once")
    paths: dict[str, dict[str, Path]] = {}
    left_out: dict[str, str] = {}
    for name in chosen or [card.name for card in optimizers]:
        try:
            paths[name] = {"batch": path(ground, name, steps=steps, start=start, seed=seed)}
            if batch is not None:
                paths[name]["stochastic"] = path(
                    ground, name, steps=steps, sub_steps=sub_steps, batch=batch, noise=noise, start=start, seed=seed
                )
        except UserError as error:
            if chosen:
                raise
            paths.pop(name, None)
            left_out[name] = str(error)
    return Walks(ground, paths, left_out)


def table(walked: Walks) -> list[tuple[str, ...]]:
    """Return a line for each path, after a head: optimizer, kind, steps, loss at both ends, distance, fastest step."""
    rows: list[tuple[str, ...]] = [("optimizer", "gradient", "steps", "loss", "minimum", "fastest step", "note")]
    for pair in walked.paths.values():
        for kind, one in pair.items():
            losses = f"{one.losses[0]:.3g} → {one.losses[-1]:.3g}"
            fastest = f"{one.speeds.max():.3g}" if len(one.speeds) else "-"
            said = "exact" if kind == "batch" else f"of {one.batch}"
            steps = str(len(one.velocities))
            rows.append((one.optimizer, said, steps, losses, _distance(walked.ground, one), fastest, _note(one)))
    return rows


def _note(one: Path) -> str:
    """Say why a path is short, or that it climbed."""
    return one.ended or ("it ends higher than it began" if one.losses[-1] > one.losses[0] else "")


def _distance(ground: Landscape, one: Path) -> str:
    """Say how far from the nearest minimum a path ends."""
    if not ground.minima:
        return "none"
    away = np.hypot(*(np.array(ground.minima) - one.positions[-1]).T)
    return f"{away.min():.3g} away"
