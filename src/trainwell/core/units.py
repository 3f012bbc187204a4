"""Numbers that carry their range and unit: `lr: Rate = 0.1` says all there is to say.

One annotation on a builder's signature feeds the error text, the contract suite, the listing and
every form that offers the option. Ranges are annotated-types, checked by pydantic.
"""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt


@dataclass(frozen=True)
class Unit:
    """What one of this number is, in words for people.

    >>> Unit("pixels").text
    'pixels'
    """

    text: str


@dataclass(frozen=True)
class Member:
    """This text names a member of a shelf, with its options: `NAME:key=value`.

    >>> Member("norm").shelf
    'norm'
    """

    shelf: str


Rate = Annotated[float, Gt(0), Unit("per step")]
Fraction = Annotated[float, Ge(0), Le(1), Unit("share of 1")]
ProperFraction = Annotated[float, Ge(0), Lt(1), Unit("share below 1")]
Amount = Annotated[float, Ge(0), Unit("")]
Positive = Annotated[float, Gt(0), Unit("")]
Count = Annotated[int, Ge(1), Unit("")]
Steps = Annotated[int, Ge(0), Unit("optimizer steps")]
Epochs = Annotated[int, Ge(1), Unit("passes over the training split")]
EpochShare = Annotated[float, Ge(0), Unit("epochs, fractions allowed")]
Minutes = Annotated[float, Gt(0), Unit("minutes")]
Pixels = Annotated[int, Ge(0), Unit("pixels")]
Side = Annotated[int, Ge(1), Le(4096), Unit("pixels")]
Degrees = Annotated[float, Ge(0), Le(180), Unit("degrees")]
Seed = Annotated[int, Ge(0), Lt(2**63), Unit("")]
