"""Every error that trainwell raises, as one tree.

    TrainwellError                    exit code 3 unless a branch says otherwise
    ├── UserError                     the user's input is wrong: exit code 2
    │   ├── NameUnknown               no such member, option, field or file of ours
    │   ├── OptionInvalid             a value outside its declared type or range
    │   ├── RecipeInvalid             all faults of a recipe at once
    │   ├── DataInvalid               a source, file, label or array cannot be used
    │   │   └── FilesInvalid          image files cannot be used, all of them at once
    │   ├── ShapeError                a tensor does not have the shape that was agreed
    │   ├── ModelInvalid              the user's network cannot be built or answers wrongly
    │   └── RunInvalid                a run folder is missing, taken, unreadable or not writable
    │       └── ClassifierMismatch    a classifier does not answer here as it did where it was made
    ├── NotExamined                   a probe cannot look at a network: said, and training goes on
    ├── RunDamaged                    stored files of a run fail their checksum: exit code 2
    └── RunFailed                     the run itself failed: exit code 3
        ├── NonFinite                 NaN or Inf appeared; the weights were rolled back
        ├── MemoryExhausted           not even the smallest piece of a batch fits
        └── Interrupted               the user stopped it; the run can be resumed

Each message is one paragraph: what, where, what is allowed, what was received, the usual cure.
"""

import difflib
from collections.abc import Iterable, Sequence


class TrainwellError(Exception):
    """Base of all our errors; `exit_code` is what the command line returns for it."""

    exit_code = 3


class UserError(TrainwellError, ValueError):
    """What the user gave cannot be used."""

    exit_code = 2


class NameUnknown(UserError):
    """A name that stands on no shelf, with the nearest names that do."""


class OptionInvalid(UserError):
    """An option has a value outside its declared type or range."""


class RecipeInvalid(UserError):
    """A recipe has faults; `faults` lists all of them, the message shows all of them."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        head = "the recipe has a fault: " if count == 1 else f"the recipe has {count} faults: "
        super().__init__(head + "; ".join(self.faults))


class DataInvalid(UserError):
    """A source, a file, a label or an array cannot be used."""


class FilesInvalid(DataInvalid):
    """Image files that cannot be used; `files` holds every one of them with its reason."""

    def __init__(self, message: str, files: Sequence[object]) -> None:
        self.files = tuple(files)
        super().__init__(message)


class ShapeError(UserError):
    """A tensor does not have the shape that was agreed."""


class ModelInvalid(UserError):
    """The user's network cannot be loaded, or answers with the wrong shape."""


class RunInvalid(UserError):
    """A run folder is missing, already taken, unreadable or not writable."""


class ClassifierMismatch(RunInvalid):
    """A classifier does not answer here as it did where it was made; `step` is the first step that differs."""

    def __init__(self, message: str, step: str) -> None:
        self.step = step
        super().__init__(message)


class NotExamined(TrainwellError):
    """A probe cannot look at this network or batch; whoever called it says so and goes on."""


class RunDamaged(TrainwellError):
    """Stored files of a run fail their checksum."""

    exit_code = 2


class RunFailed(TrainwellError):
    """The run started and could not be finished."""


class NonFinite(RunFailed):
    """NaN or Inf appeared in training; `report` says where first and why, as plain data."""

    def __init__(self, message: str, report: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.report = report or {}


class MemoryExhausted(RunFailed):
    """Not even the smallest piece of a batch fits into memory."""


class Interrupted(RunFailed):
    """The user stopped the run; it is stored and can be resumed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `": did you mean 'x'?"` for near names, or the list of what there is.

    >>> did_you_mean("resnet2O", ["resnet20", "mlp"])
    ": did you mean 'resnet20'?"
    >>> did_you_mean("zebra", ["mlp", "convnet"])
    ': there are convnet, mlp'
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return ": did you mean " + " or ".join(repr(match) for match in near) + "?"
    return ": there are " + ", ".join(known) if known else ": there are none"
