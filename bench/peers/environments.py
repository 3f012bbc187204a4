"""The environments of the peers, made once, outside the repository: one folder a peer with what its file pins."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(os.environ.get("TRAINWELL_PEERS", Path.home() / ".cache" / "trainwell" / "peers"))
BENCH = Path(__file__).parents[1]
PEERS = ("plain", "lightning", "skorch", "fastai", "keras")
LOOK = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def pins(peer: str) -> dict[str, str]:
    """Return the packages that a peer's file names, with their versions."""
    lines = (BENCH / f"requirements-{peer}.txt").read_text().splitlines()
    stripped = [line.partition("#")[0].strip() for line in lines]
    return dict(line.split("==") for line in stripped if line)


def interpreter(peer: str) -> Path:
    """Return the interpreter of a peer's environment, which is made where it is missing or holds other versions.

    Raises:
        CalledProcessError: it cannot be installed here; pip has said why.
    """
    python = ROOT / peer / "bin" / "python"
    wanted = pins(peer)
    if not python.exists():
        print(f"making {ROOT / peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", ROOT / peer], check=True)
    if _installed(python, wanted) != wanted:
        words = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        subprocess.run([python, *words, "-r", BENCH / f"requirements-{peer}.txt"], check=True)
    return python


def _installed(python: Path, names: dict[str, str]) -> dict[str, str]:
    done = subprocess.run([python, "-c", LOOK, *names], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: version.partition("+")[0] for name, version in found.items()}


if __name__ == "__main__":
    for name in sys.argv[1:] or PEERS:
        print(interpreter(name))
