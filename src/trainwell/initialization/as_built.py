"""The initialization that is none: the weights stay as the network was built with."""

from trainwell.core.shelves import initializations


@initializations.card()
def as_built() -> None:
    """Leaves every weight as the network was built with."""
