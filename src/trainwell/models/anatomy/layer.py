"""What is known of a network before any training: its layers, its stages, and their totals."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trainwell.models.anatomy.fields import Field
from trainwell.models.anatomy.paths import PathLengths


@dataclass(frozen=True)
class Layer:
    """A call of a module that holds no others, or an operation that a larger module does itself; for one sample.

    Attributes:
        name: path of the module; of an operation with its name behind it; a second call has `#2` behind it.
        kind: class of the module, or name of the operation.
        detail: windows and strides in a few signs; may be empty.
        stage: the block at the top of the network that it stands in.
        shape: of what it gives, without the batch.
        parameters: that it is the first to use, by the convention of the count.
        trainable: of these, those that are trained.
        operations: by the convention of the count; of what is not counted, nothing.
        volume: entries of what it gives.
        memory: bytes that it writes, at float32; 0 where it works in place or only views.
        kept: of these, the bytes that stay until the way back.
        field: the receptive field; None where the input has no spatial axes or an operation has no rule.
        not_counted: operations in it whose cost is not known.
    """

    name: str
    kind: str
    detail: str
    stage: str
    shape: tuple[int, ...]
    parameters: int
    trainable: int
    operations: int
    volume: int
    memory: int
    kept: int
    field: Field | None
    not_counted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Totals:
    """Sums over layers, and the shares that they have in the whole network.

    Attributes:
        name: of the stage or block.
        layers: how many.
        shape: of what the last one gives.
        field: of the last one.
    """

    name: str
    layers: int
    shape: tuple[int, ...]
    parameters: int
    operations: int
    volume: int
    memory: int
    kept: int
    field: Field | None
    parameter_share: float
    operation_share: float


@dataclass(frozen=True)
class Anatomy:
    """A network's layers before any training, for one sample.

    Attributes:
        title: what the network is.
        input_shape: of one sample.
        count: the convention: `macs`, `folded` or `keras`.
        layers: in the order in which they ran.
        parameters, trainable, operations: of the whole network; parameters that no layer used are among them, but in
            the `folded` count, which knows only those that a product was made with.
        memory: bytes that all layers write, at float32.
        kept: bytes that stay until the way back, the input's among them.
        peak: the least bytes that must be there at once on the way forward, without weights.
        paths: through its residual units; None where it has none.
        unused: (name, parameters) of parts that did not run.
        not_counted: (layer, operation) whose cost is not known, so that the totals are too small by it.
        lost: (layer, operation) that has no rule for receptive fields.
        notes: in words, what else a reader must know.
    """

    title: str
    input_shape: tuple[int, ...]
    count: str
    layers: tuple[Layer, ...]
    parameters: int
    trainable: int
    operations: int
    memory: int
    kept: int
    peak: int
    paths: PathLengths | None
    unused: tuple[tuple[str, int], ...] = ()
    not_counted: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def volume(self) -> int:
        """Entries of what the layers give that write anything, for one sample."""
        return sum(layer.volume for layer in self.layers if layer.memory)

    @property
    def stages(self) -> tuple[Totals, ...]:
        """The blocks at the top of the network, in the order in which they first ran."""
        names = dict.fromkeys(layer.stage for layer in self.layers)
        return tuple(self._totals(name, [one for one in self.layers if one.stage == name]) for name in names)

    def block(self, path: str) -> Totals:
        """Return the totals of one module and all below it.

        Raises:
            KeyError: no layer stands there.
        """
        inside = [one for one in self.layers if f"{one.name}.".startswith(f"{path}.")]
        if not inside:
            raise KeyError(path)
        return self._totals(path, inside)

    def _totals(self, name: str, layers: Iterable[Layer]) -> Totals:
        inside = list(layers)
        parameters, operations = (sum(getattr(one, word) for one in inside) for word in ("parameters", "operations"))
        return Totals(
            name=name,
            layers=len(inside),
            shape=inside[-1].shape,
            parameters=parameters,
            operations=operations,
            volume=sum(one.volume for one in inside if one.memory),
            memory=sum(one.memory for one in inside),
            kept=sum(one.kept for one in inside),
            field=inside[-1].field,
            parameter_share=parameters / max(1, self.parameters),
            operation_share=operations / max(1, self.operations),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as plain data for JSON."""
        plain = {name: value for name, value in vars(self).items() if name not in ("layers", "paths")}
        plain["paths"] = None if self.paths is None else self.paths.to_plain()
        for name, each in (("layers", self.layers), ("stages", self.stages)):
            plain[name] = [{**vars(one), "field": None if one.field is None else vars(one.field)} for one in each]
        return plain | {"volume": self.volume}

    def __str__(self) -> str:
        """Return its stages as a table for the terminal."""
        from trainwell.models.anatomy.table import anatomy_table

        return anatomy_table(self)
