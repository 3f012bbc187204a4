"""Learning rates of their own for parts of a network, as plain data: by depth, and by name.

Source: Howard & Ruder 2018, "Universal language model fine-tuning", arXiv:1801.06146, section 3.2 (per depth).
"""

from typing import Annotated

from annotated_types import Gt, Le
from pydantic import Field

from trainwell.core.sections import Frozen
from trainwell.core.units import Positive


class RatesSection(Frozen):
    """What the learning rate is multiplied by in parts of the network.

    `per_depth` is the factor from each block to the one before it, seen from the output, whose block has the common
    rate: 0.9 lets early blocks learn more slowly. `per_layer` maps the name of a parameter or of a module with all it
    holds, or a glob pattern of such names (`layer1*`, `*.bn?`), to a factor; where several match, the last one counts.
    Both factors multiply.

    >>> RatesSection(per_layer={"head": 10.0}).is_common
    False
    """

    per_depth: Annotated[float, Gt(0), Le(1)] = 1.0
    per_layer: dict[str, Positive] = Field(default_factory=dict)

    @property
    def is_common(self) -> bool:
        """Whether everything learns at the common rate."""
        return self.per_depth == 1 and all(factor == 1 for factor in self.per_layer.values())
