"""Put trained weights, from a file or published, into a network of your own making."""

from pathlib import Path
from typing import Literal

from torch import nn

from trainwell.errors import NameUnknown
from trainwell.models.pretrained.mapping import Loaded, load_into
from trainwell.models.pretrained.published import published
from trainwell.models.pretrained.reading import from_file
from trainwell.models.pretrained.weights import Pretrained


def find(source: str | Path | Pretrained) -> Pretrained:
    """Return weights by path or by published name; a path that exists goes first.

    Raises:
        ModelInvalid: the file cannot be used, or the published weights cannot be had.
        NameUnknown: it is neither a path that exists nor a name.
    """
    if isinstance(source, Pretrained):
        return source
    path = Path(source).expanduser()
    is_path = isinstance(source, Path) or "/" in source or path.suffix in (".safetensors", ".pth", ".pt", ".th", ".bin")
    if path.exists() or (is_path and not str(source).startswith("timm:")):
        return from_file(path)
    try:
        return published(str(source))
    except NameUnknown as fault:
        raise NameUnknown(f"there is no file {str(source)!r}, and {fault}") from None


def load_weights(
    network: nn.Module, source: str | Path | Pretrained, *, head: Literal["keep", "fresh"] = "keep"
) -> Loaded:
    """Copy trained weights into any network, in place, and return which tensors came over.

    Args:
        network: ours, or any other with the same names and shapes; torchvision's, for instance.
        source: the path of a weights file or folder, a published name such as `resnet50`, or what `from_file` gave.
        head: keep, to take the head over too, or fresh, to leave it as it is.

    Raises:
        UserError: the source cannot be used, or does not fit; the network is as it was.

    >>> import tempfile
    >>> import torch
    >>> from trainwell.models.resnet import resnet20
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(resnet20(3, 10).state_dict(), Path(folder) / "mine.pt")
    ...     loaded = load_weights(resnet20(3, 2), Path(folder) / "mine.pt", head="fresh")
    >>> len(loaded.loaded), loaded.fresh
    (114, ('fc.weight', 'fc.bias'))
    """
    found = find(source)
    name = found.name if Path(found.location).exists() else f"{found.name} ({found.location})"
    return load_into(network, found.tensors, head=head, name=name)
