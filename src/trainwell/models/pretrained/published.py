"""Published weights by the name of their network, with the preprocessing that they expect."""

from trainwell.errors import NameUnknown, OptionInvalid, did_you_mean
from trainwell.models.pretrained.fetching import Say, fetch, to_stderr
from trainwell.models.pretrained.from_timm import from_timm
from trainwell.models.pretrained.reading import read_tensors
from trainwell.models.pretrained.table import ENTRIES
from trainwell.models.pretrained.weights import Pretrained

ENDING = "pretrained"  # `resnet50:pretrained`


def published(name: str, *, say: Say = to_stderr) -> Pretrained:
    """Return the published weights of a network.

    They come from a cache on this machine, else from the Hugging Face hub (with the extra `pretrained`), else from the
    address of the authors' own file, whose SHA-256 is compared with the one in its name.

    Args:
        name: of a network on our shelf, `resnet50` or `resnet50:pretrained`, or of timm, `timm:NAME`.
        say: is told where they are downloaded from, and why not from elsewhere; by default on stderr.

    Raises:
        NameUnknown: no weights are published under this name.
        OptionInvalid: something else than `pretrained` stands behind the name.
        ModelInvalid: they cannot be had now.
    """
    network, _, ending = name.partition(":")
    if network == "timm":
        return from_timm(ending)
    if ending not in ("", ENDING):
        raise OptionInvalid(
            f"{name!r}: published weights are of a network as it was published: write {network} or {network}:{ENDING}"
        )
    if network not in ENTRIES:
        raise NameUnknown(f"no weights are published for {network!r}{_near(network)}")
    entry = ENTRIES[network]
    path, location = fetch(entry, say)
    digest, tensors = read_tensors(path)
    return Pretrained(
        name=network,
        location=location,
        sha256=digest,
        tensors=tensors,
        model=entry.model,
        input_shape=entry.input_shape,
        preprocessing=entry.preprocessing,
        classes=entry.classes,
    )


def _near(network: str) -> str:
    near = did_you_mean(network, ENTRIES)
    there = f"there are {', '.join(ENTRIES)}, and timm:NAME for those of timm"
    return f"{near} {there}" if near.endswith("?") else f": {there}"
