"""What `trainwell fit` delivers as a user meets it: accuracy on test, and seconds from process start to the page.

    python bench/product.py --cases digits,mnist,cifar,photos

Seeds are those of digits; the photographs take five of them, every other case one.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from defaults import average, unpacked
from harness import DATA, Figure, figure, machine, not_run, parser, write_result

CASES: dict[str, tuple[str, tuple[str, ...], int, str]] = {
    "digits": ("digits", (), 20, "mean >= 99.2 %, each >= 98.3 %, <= 20 s"),
    "mnist": ("mnist", (), 1, ">= 99.6 % in <= 180 s"),
    "cifar": ("cifar10", ("--minutes", "6"), 1, ">= 88.0 % in <= 360 s"),
    "photos": ("photos", (), 5, "stated with interval and minutes"),
}


def fit(source: str, words: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Run the command line in a fresh process; seconds count from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "trainwell", "fit", source, *words, "--seed", str(seed), "--json"]
        start = time.perf_counter()
        done = subprocess.run([*line, "--out", f"{folder}/run"], capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - start
        page = Path(folder, "run", "report.html").stat().st_size
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    accuracy = said["metrics"]["accuracy"]
    opening = [text for text in done.stdout.splitlines() if text.startswith(("data", "network", "changes", "training"))]
    found = {"seed": seed, "test": said["test_accuracy"], "interval": accuracy, "seconds": seconds, "page_bytes": page}
    print(source, found, flush=True)
    return {**found, "epochs": said["epochs"], "opening": opening}


def reached(name: str, runs: list[dict[str, Any]]) -> bool:
    """Return whether a case keeps its promise."""
    tests, slowest = [run["test"] for run in runs], max(run["seconds"] for run in runs)
    if name == "digits":
        return sum(tests) / len(tests) >= 0.992 and min(tests) >= 0.983 and slowest <= 20
    least, most = {"mnist": (0.996, 180), "cifar": (0.88, 360)}.get(name, (0.0, float("inf")))
    return min(tests) >= least and slowest <= most


def main() -> None:
    """Measure the cases asked for, one result each."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--cases", default=",".join(CASES))
    arguments.add_argument("--seeds", type=int, default=None, help="fewer runs than a case asks for")
    asked = arguments.parse_args()
    if not DATA.exists():
        not_run(f"there are no data sets in {DATA}: set TRAINWELL_DATA")
    for name in asked.cases.split(","):
        source, words, count, target = CASES[name]
        facts = machine()
        place = source if source == "digits" else str(unpacked(source))
        runs = [fit(place, words, seed) for seed in range(min(count, asked.seeds or count))]
        tests = [run["test"] for run in runs]
        figures = {"seconds from process start": figure([run["seconds"] for run in runs], "s")}
        if len(runs) > 1:
            figures["test accuracy"] = average(tests)
            figures["lowest and highest"] = Figure(
                100 * sum(tests) / len(tests), 100 * min(tests), 100 * max(tests), "%"
            )
        else:
            found = runs[0]["interval"]
            figures["test accuracy"] = Figure(
                *(100 * found[key] for key in ("value", "low", "high")), "% (interval of one run)"
            )
        write_result(
            f"product-{name}",
            figures=figures,
            n=len(runs),
            target=target,
            reached=reached(name, runs),
            facts=facts,
            more={"runs": runs, "command": ["trainwell", "fit", source, *words]},
        )


if __name__ == "__main__":
    main()
