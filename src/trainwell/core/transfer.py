"""What a network learned elsewhere, and how much of it may still learn, as plain data.

Source: Donahue et al. 2014, "DeCAF", arXiv:1310.1531 (frozen features); Yosinski et al. 2014, "How transferable are
features in deep neural networks?", arXiv:1411.1792 (how many layers are kept); Howard & Ruder 2018, arXiv:1801.06146,
section 3.3 (gradual thaw).
"""

import re
from typing import Annotated

from pydantic import AfterValidator

from trainwell.core.sections import Frozen

METHODS = {
    "features": "everything but the head stays as it is; each sample goes through once, then the head is solved for",
    "head": "everything but the head stays as it is; the head is trained step by step",
    "last:K": "the head and the last K blocks are trained",
    "full": "everything is trained",
    "gradual": "first the head alone, then one block after another thaws, all by the middle of the run",
}
_LAST = re.compile(r"last:([1-9]\d*)")


def _checked(method: str) -> str:
    if method in ("auto", "none") or (method in METHODS and method != "last:K") or _LAST.fullmatch(method):
        return method
    raise ValueError(f"must be auto, {', '.join(METHODS)} (such as last:2)")


class TransferSection(Frozen):
    """Where the first weights come from, and which of them learn.

    `source` is a run, a file or a folder of weights, or the name of published ones (`resnet50:pretrained`); empty for a
    network that begins anew. `method` is one of `METHODS`; `auto` decides by the amount of data, and becomes `none`
    where there is no source. `sha256` is that of the weights, so that a rerun begins from the same ones (empty until
    they are read for the first time).

    >>> TransferSection(source="runs/cifar", method="last:2").last
    2
    """

    source: str = ""
    method: Annotated[str, AfterValidator(_checked)] = "auto"
    sha256: str = ""

    @property
    def is_on(self) -> bool:
        """Whether the network begins from weights that were learned elsewhere."""
        return bool(self.source)

    @property
    def last(self) -> int | None:
        """K of `last:K`; None for the other methods."""
        found = _LAST.fullmatch(self.method)
        return int(found[1]) if found else None

    @property
    def is_solved(self) -> bool:
        """Whether nothing is trained step by step: the head is solved for."""
        return self.is_on and self.method == "features"
