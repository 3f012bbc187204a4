"""Numbers, times and file names as the page writes them."""

import math
import re

from trainwell.core.stats import Interval

MINUTE, HOUR = 60, 3_600


def percent(share: float, digits: int = 1) -> str:
    """Say a share in percent, with a space that does not break.

    >>> percent(0.98886).replace(chr(160), " "), percent(1.0).replace(chr(160), " ")
    ('98.9 %', '100 %')
    """
    return f"{_hundredths(share, digits)}\u00a0%"


def _hundredths(share: float, digits: int) -> str:
    """Return a share times 100; a whole 100 without decimals."""
    text = f"{100 * share:.{digits}f}"
    return "100" if share == 1 else text


def span(interval: Interval, digits: int = 1) -> str:
    """Say the two ends of an interval of a share in percent.

    >>> span(Interval(0.9, 0.855, 0.932)).replace(chr(160), " ")
    '85.5 to 93.2 %'
    """
    return f"{_hundredths(interval.low, digits)} to {_hundredths(interval.high, digits)}\u00a0%"


def duration(seconds: float) -> str:
    """Say a time in the two units that matter.

    >>> [duration(s).replace(chr(160), " ") for s in (8.34, 142.3, 7_500)]
    ['8.3 s', '2 min 22 s', '2 h 5 min']
    """
    if seconds < MINUTE:
        return f"{seconds:.1f}\u00a0s"
    if seconds < HOUR:
        minutes, rest = divmod(round(seconds), MINUTE)
        return f"{minutes}\u00a0min {rest}\u00a0s"
    hours, rest = divmod(round(seconds / MINUTE), 60)
    return f"{hours}\u00a0h {rest}\u00a0min"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Say how many.

    >>> counted(1, "image"), counted(1_258, "image"), counted(0, "class", "classes")
    ('1 image', '1,258 images', '0 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """Return a text in which what is no character, such as a byte of a file name that is no UTF-8, is U+FFFD.

    >>> printable("caf\\udce9.png")
    'caf\ufffd.png'
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def brief(value: object) -> str:
    """Say a recipe's value on one line.

    >>> brief({"name": "sgd", "lr": 0.1}), brief([]), brief(None), brief(0.0005)
    ('sgd: lr 0.1', 'none', '-', '0.0005')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and "name" in value:
        options = ", ".join(f"{key} {brief(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']}: {options}" if options else str(value["name"])
    if isinstance(value, dict):
        return ", ".join(f"{key} {brief(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(brief(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
