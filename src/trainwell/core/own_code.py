"""The user's own files: a network written `my_net.py:Net`, and files of new shelf members (`--with`)."""

import hashlib
import importlib.util
import inspect
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainwell.core.shelves import SHELVES
from trainwell.errors import ModelInvalid, UserError, did_you_mean


def settle_files(files: Mapping[str, str], folder: Path, *, networks: Sequence[str] = ()) -> dict[str, str]:
    """Import the user's own files and keep a copy of each in the run.

    Args:
        files: path -> SHA-256, or the empty string where it is read for the first time.
        folder: where the copies lie; a copy with the right SHA-256 is used before the path.
        networks: the paths that hold a network; every other file must put something on a shelf.

    Returns:
        path -> SHA-256.

    Raises:
        ModelInvalid: a file is missing, cannot be imported, or is not the one that the recipe names.
    """
    settled = {}
    for name, wanted in files.items():
        path = Path(name)
        kept = next((copy for copy in folder.glob("*.py") if sha256(copy) == wanted), None)
        source = kept or path
        if not source.is_file():
            what = "is a folder" if source.is_dir() else "does not exist"
            raise ModelInvalid(f"{path} {what}: a file of your own is given by its path, such as my_file.py")
        settled[name] = sha256(source)
        if wanted and settled[name] != wanted:
            raise ModelInvalid(
                f"{path} is not the file that this recipe was run with: its SHA-256 begins with {settled[name][:12]},"
                f" the recipe says {wanted[:12]}: restore it, or take its line out of the recipe's files"
            )
        before = sum(shelf.registered for shelf in SHELVES.values())
        is_new = _load(source, settled[name])
        after = sum(shelf.registered for shelf in SHELVES.values())
        if is_new and name not in networks and after == before:
            raise ModelInvalid(f"{path} puts nothing on any shelf: decorate a builder as docs/adding.md shows")
        if kept is None:
            folder.mkdir(exist_ok=True)
            copy = folder / path.name
            shutil.copyfile(source, folder / f"{settled[name][:12]}-{path.name}" if copy.exists() else copy)
    return settled


def build_own(name: str, options: Mapping[str, Any], facts: Mapping[str, Any], files: Mapping[str, str]) -> Any:
    """Build the network `FILE.py:NAME`: arguments named after facts are supplied, the rest are options.

    Raises:
        ModelInvalid: there is no such name or option, or an argument without default is not given.
    """
    file, _, attribute = name.rpartition(":")
    module = sys.modules[_module_name(files[file])]
    if not hasattr(module, attribute):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelInvalid(f"{file} has no network {attribute!r}{did_you_mean(attribute, public)}")
    builder = getattr(module, attribute)
    parameters = inspect.signature(builder).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {key: p for key, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    unknown = [key for key in options if key not in named and not takes_any]
    values = {key: facts[key] for key in named if key in facts} | dict(options)
    missing = [key for key, p in named.items() if p.default is p.empty and key not in values]
    if unknown:
        raise ModelInvalid(f"{name} has no option {unknown[0]!r}{did_you_mean(unknown[0], named)}")
    if missing:
        raise ModelInvalid(
            f"{name} needs {', '.join(missing)}: write {name}:{missing[0]}=...; supplied by themselves are"
            f" {', '.join(facts)}"
        )
    return builder(**values)


def _load(path: Path, digest: str) -> bool:
    """Import a Python file under a name made of its content, so that its shelf members register themselves.

    Returns:
        Whether it was imported now, and not before.
    """
    name = _module_name(digest)
    if name in sys.modules:
        return False
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelInvalid(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelInvalid(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return True


def _module_name(digest: str) -> str:
    return f"trainwell_own_{digest[:12]}"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
