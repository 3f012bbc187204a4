"""Get published files onto this machine: from a cache, the Hugging Face hub, or the address of the file itself.

A file is written under another name first and takes its own when it is whole and its SHA-256 is right, so that nothing
half-written is ever found. `HF_HOME` and `TORCH_HOME` say where files are kept, as for those libraries themselves, and
`HF_HUB_OFFLINE=1` that nothing is to be downloaded.
"""

import errno
import hashlib
import http.client
import importlib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainwell.core.files import sync
from trainwell.errors import ModelInvalid
from trainwell.models.pretrained.table import Entry

INSTALL = 'pip install "trainwell[pretrained]"'
ON_HUB = "model.safetensors"
PIECE = 2**20
READABLE = 0o644  # a temporary file is its owner's alone, and a cache may be shared
PATIENCE = 30  # seconds that a server may be silent

Say = Callable[[str], object]


def to_stderr(text: str) -> None:
    """Say something where it disturbs no output."""
    print(text, file=sys.stderr)


class _Unavailable(Exception):
    """A place does not have the file now; the text says why."""


def fetch(entry: Entry, say: Say) -> tuple[Path, str]:
    """Return the path of published weights on this machine, and where they came from.

    Raises:
        ModelInvalid: they lie in no cache and no place gives them.
    """
    places = [(_hub, entry.repository)] if entry.repository else []
    places.append((_site, entry.url))
    for place, location in places:  # caches first: what lies there needs no network
        try:
            return place(entry, say, is_cached=True), location
        except _Unavailable:
            continue
    reasons = []
    for number, (place, location) in enumerate(places):
        try:
            if _is_offline():
                raise _Unavailable("HF_HUB_OFFLINE is set")
            return place(entry, say, is_cached=False), location
        except _Unavailable as reason:
            reasons.append(f"{location}: {reason}")
            if number + 1 < len(places) and not _is_offline():
                say(f"{reasons[-1]}; taking {places[number + 1][1]} instead")
    raise ModelInvalid(
        f"the published weights of {entry.name} are not on this machine and cannot be had ({'; '.join(reasons)}):"
        f" try again with a network, or get {entry.url} elsewhere and put it into {_folder()}"
    )


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _hub(entry: Entry, say: Say, *, is_cached: bool) -> Path:
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise _Unavailable(f"huggingface_hub is not installed ({error}): {INSTALL}") from None
    if not is_cached:
        say(f"downloading {entry.repository} from the Hugging Face hub")
    try:
        return Path(hub.hf_hub_download(entry.repository, ON_HUB, local_files_only=is_cached))
    except Exception as error:  # it has dozens of errors, of four libraries, between versions
        raise _Unavailable(_why(error)) from None


def _folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _site(entry: Entry, say: Say, *, is_cached: bool) -> Path:
    path = _folder() / entry.file
    if is_cached:
        if not path.is_file():
            raise _Unavailable("it is not in the cache")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if not found.startswith(entry.digits):
            say(f"{path} is damaged, its SHA-256 begins with {found[:8]}: downloading it again")
            raise _Unavailable("what is in the cache is damaged")
        return path
    say(f"downloading {entry.url} to {path}")
    try:
        _download(entry, path)
    except (OSError, http.client.HTTPException) as error:
        damaged = f", and {path} is damaged" if path.is_file() else ""
        raise _Unavailable(_why(error, path.parent) + damaged) from None
    return path


def _download(entry: Entry, path: Path) -> None:
    """Write a file aside, look at its SHA-256, and only then give it its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    request = urllib.request.Request(entry.url, headers={"User-Agent": "trainwell"})
    # Opened first, so that a server that does not answer leaves no trace at all.
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{entry.file}.")
        try:
            with open(handle, "wb") as target:
                digest = _copy(answer, target)
            if not digest.startswith(entry.digits):
                raise _Unavailable(
                    f"what came has a SHA-256 that begins with {digest[: len(entry.digits)]}, and not with"
                    f" {entry.digits} as its name says: cut short, or answered by something in between"
                )
            os.chmod(aside, READABLE)
            sync(Path(aside))
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


def _copy(answer: Any, target: Any) -> str:
    """Copy all that comes, and return its SHA-256."""
    digest = hashlib.sha256()
    while piece := answer.read(PIECE):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()


def _why(error: BaseException, folder: Path | None = None) -> str:
    """Say in a few words why a download failed."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    number = getattr(inner, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder or 'the cache'} is full: free some room, or point TORCH_HOME and HF_HOME elsewhere"
    if number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{folder or 'the cache'} cannot be written: point TORCH_HOME and HF_HOME elsewhere"
    if isinstance(inner, TimeoutError):
        return f"no answer for {PATIENCE} seconds"
    first = str(inner).strip().partition("\n")[0].rstrip(".")
    return f"{type(inner).__name__}: {first}" if first else type(inner).__name__
