"""How long it takes to import trainwell beside torch, and until `trainwell --help` answers.

python bench/start.py
"""

import subprocess
import sys
import time

from harness import Figure, figure, interleave, machine, parser, write_result

TARGET = "import trainwell <= import torch + 0.15 s; trainwell --help <= 0.5 s without importing torch"
IMPORTS = {
    "import torch": "import torch",
    "import trainwell": "import trainwell",
    "import trainwell.surface (everything fit needs)": "import trainwell.surface",
    "trainwell --help": "import sys; sys.argv = ['trainwell', '--help']; from trainwell.cli import main; main()",
}


def seconds(code: str) -> float:
    """Return how long a fresh interpreter takes for some code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure in turn and write the result."""
    options = parser(__doc__ or "").parse_args()
    facts = machine()
    values = interleave({name: lambda code=code: seconds(code) for name, code in IMPORTS.items()}, options.pairs)
    figures = {name: figure(given, "s") for name, given in values.items()}
    names = list(IMPORTS)
    extra = [ours - theirs for ours, theirs in zip(values[names[2]], values[names[0]], strict=True)]
    figures["everything fit needs - import torch"] = figure(extra, "s")
    code = IMPORTS["trainwell --help"].replace(
        "main()", "\ntry: main()\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    without = float(done.stdout.strip().endswith("False"))
    figures["--help imports no torch"] = Figure(without, without, without, "1 is yes")
    reached = (
        figures["import trainwell"].median <= figures["import torch"].median + 0.15
        and figures["trainwell --help"].median <= 0.5
        and bool(without)
    )
    write_result("start", figures=figures, n=options.pairs, target=TARGET, reached=reached, facts=facts)


if __name__ == "__main__":
    main()
