"""An anatomy for the terminal: stages in a table, or every layer, then the totals in words."""

import textwrap
from collections.abc import Iterator, Sequence

from trainwell.models.anatomy.counting import CONVENTIONS
from trainwell.models.anatomy.layer import Anatomy, Layer, Totals

LINE = 110  # letters of a line of words: about as wide as the table
LONGEST_NAME = 44  # letters of a name; the middle of a longer one is cut
UNITS = (("B", 1), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000))
ALIGNED_LEFT = {"stage", "layer", "kind", "output"}


def anatomy_table(found: Anatomy, *, every_layer: bool = False) -> str:
    """Return a table with one line a stage, or a layer, and the totals below it in words."""
    rows = layer_rows(found) if every_layer else stage_rows(found)
    title = f"{found.title} on {sizes(found.input_shape)}: {len(found.layers)} layers, for one sample"
    width = 2 + max(len(name) for name, _ in said(found))
    lines = [
        textwrap.fill(f"{name:<{width}}{words}", LINE, subsequent_indent=" " * width, break_long_words=False)
        for name, words in said(found)
    ]
    return "\n".join([title, "", *_aligned(rows), "", *lines])


def said(found: Anatomy) -> Iterator[tuple[str, str]]:
    """Yield (what, in words) of the totals and of what else a reader must know."""
    frozen = found.parameters - found.trainable
    yield "parameters", f"{found.parameters:,}" + (f", of which {found.trainable:,} are trained" if frozen else "")
    yield "operations", f"{found.operations:,} ({found.count}: {CONVENTIONS[found.count]})"
    yield "activations", f"{found.volume:,} numbers, {size(found.memory)} written at float32"
    yield "memory", f"{size(found.kept)} kept for the way back; on the way forward at least {size(found.peak)} at once"
    if found.paths is not None:
        units, (low, high) = found.paths.units, found.paths.central(0.95)
        share = 100 * found.paths.between(low, high)
        yield (
            "paths",
            (
                f"2^{units} through {units} residual unit{'s' if units > 1 else ''}, lengths Binomial({units}, 1/2):"
                f" {share:.1f} % have {low} to {high} branches"
            ),
        )
    for name, parameters in found.unused:
        yield "not run", f"{name} ({parameters:,} parameters) has no part in a pass in evaluation mode"
    for layer, operation in found.not_counted:
        yield "not counted", f"{operation} in {layer}: its cost is not known, and the operations are too few by it"
    for layer, operation in found.lost:
        yield "field", f"not known from {operation} in {layer} on: there is no rule for it"
    for note in found.notes:
        yield "note", note


def size(count: int) -> str:
    """Say bytes in the unit that suits them.

    >>> size(602_112), size(12)
    ('602.1 kB', '12 B')
    """
    unit, factor = next(each for each in reversed(UNITS) if count >= each[1] or each[1] == 1)
    return f"{count / factor:.1f} {unit}" if factor > 1 else f"{count} B"


def sizes(shape: Sequence[int]) -> str:
    """Say a shape.

    >>> sizes((64, 56, 56)), sizes(())
    ('64x56x56', '1')
    """
    return "x".join(map(str, shape)) or "1"


def stage_rows(found: Anatomy) -> Iterator[tuple[str, ...]]:
    """Yield the titles of the columns, then a row a stage."""
    yield ("stage", "layers", "output", "parameters", "share", "operations", "share", "written", "kept", "field")
    for stage in found.stages:
        yield (
            _cut(stage.name),
            str(stage.layers),
            sizes(stage.shape),
            f"{stage.parameters:,}",
            f"{100 * stage.parameter_share:.1f} %",
            f"{stage.operations:,}",
            f"{100 * stage.operation_share:.1f} %",
            size(stage.memory),
            size(stage.kept),
            _seen(stage),
        )


def layer_rows(found: Anatomy) -> Iterator[tuple[str, ...]]:
    """Yield the titles of the columns, then a row a layer."""
    yield ("layer", "kind", "output", "parameters", "operations", "written", "kept", "field", "jump", "start")
    for layer in found.layers:
        field = layer.field
        yield (
            _cut(layer.name),
            " ".join(filter(None, (layer.kind, layer.detail))),
            sizes(layer.shape),
            f"{layer.parameters:,}" if layer.parameters else "-",
            "?" if layer.not_counted and not layer.operations else f"{layer.operations:,}" if layer.operations else "-",
            size(layer.memory) if layer.memory else "-",
            size(layer.kept) if layer.kept else "-",
            _seen(layer),
            "-" if field is None or not any(field.jump) else _numbers(field.jump),
            "-" if field is None else _numbers(field.start),
        )


def _seen(one: Layer | Totals) -> str:
    """Say the receptive field; `all` stands beside it where there is one unit for the whole input."""
    if one.field is None:
        return "-"
    return f"{one.field}, all" if not any(one.field.jump) else str(one.field)


def _numbers(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "x".join(f"{value:g}" for value in values)


def _cut(name: str) -> str:
    tail = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - tail - 1]}…{name[-tail:]}"


def _aligned(rows: Iterator[tuple[str, ...]]) -> list[str]:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = ["<" if title in ALIGNED_LEFT else ">" for title in table[0]]
    shapes = [f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True)]
    return ["  ".join(shapes).format(*row).rstrip() for row in table]
