"""What a step costs in a peer's loop, as a ratio to a raw loop in the same environment, in interleaved rounds."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from environments import interpreter
from harness import figure, interleave, ratio

HERE = Path(__file__).parent
SOURCES = Path(__file__).parents[2] / "src"


class Loop:
    """A training loop in a process of its own, so that its settings touch no other."""

    def __init__(self, python: Path, peer: str, net: str, way: str) -> None:
        command = [str(python), str(HERE / f"{peer}_peer.py"), "steps", net, "--way", way]
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONWARNINGS": "ignore"}
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self._answer()

    def _answer(self) -> str:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith("answer "):
                return line.removeprefix("answer ").strip()
        assert self._child.stderr is not None
        raise RuntimeError(self._child.stderr.read()[-1500:])

    def seconds(self, steps: int) -> float:
        """Train so many steps and return how long one took."""
        assert self._child.stdin is not None
        print(steps, file=self._child.stdin, flush=True)
        return float(self._answer())

    def end(self) -> None:
        """Let the process end."""
        self._child.communicate()


@contextmanager
def loops(peer: str, net: str) -> Iterator[dict[str, Loop]]:
    """Start a peer's loop and the raw one of its environment; both end with the block."""
    python = Path(sys.executable) if peer == "trainwell" else interpreter(peer)
    made = {way: Loop(python, peer, net, way) for way in ("peer", "raw")}
    try:
        yield made
    finally:
        for loop in made.values():
            loop.end()


def overhead(peer: str, net: str, *, steps: int, rounds: int) -> dict[str, Any]:
    """Return a step's time in both loops and their ratio, or why there is none."""
    print(f"{peer}, {net}", flush=True)
    try:
        with loops(peer, net) as made:
            for loop in made.values():
                loop.seconds(steps)  # to warm up
            values = interleave({way: lambda loop=loop: loop.seconds(steps) for way, loop in made.items()}, rounds)
    except (RuntimeError, BrokenPipeError, subprocess.SubprocessError) as error:
        return {"not_run": str(error)[-2000:]}
    return {
        "ratio": asdict(ratio(values["peer"], values["raw"])),
        **{way: asdict(figure([1e6 * value for value in given], "us a step")) for way, given in values.items()},
        "rounds": rounds,
        "steps": steps,
        "load": os.getloadavg()[0],
    }
