"""How good ResNet-20 gets on the CIFAR-10 copy in equal time: `trainwell fit --model resnet20` beside a plain script.

    TRAINWELL_PEERS=FOLDER TRAINWELL_DATA=FOLDER python bench/resnet20_accuracy.py --minutes 12 --seeds 3

The plain script trains its own ResNet-20 (bench/peers/nets.py), in torch alone, on the very pixels and split that
trainwell trained on. Each way runs in a process of its own, in turn.
"""

import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent / "peers"))

from contest import folder_of, guarded, of_peer, of_trainwell
from environments import ROOT
from export import export
from harness import DATA, Figure, machine, not_run, parser, write_result

from trainwell.core.stats import share

TARGET = "stated for three seeds with minutes: test accuracy of trainwell's auto and of the plain script"


def pair(seed: int, minutes: float, work: Path) -> dict[str, Any]:
    """Train both with one seed; trainwell first, from whose run the plain script's pixels are made."""
    run, data = work / f"run-{seed}", work / f"data-{seed}.npz"
    folder = folder_of("cifar10", ROOT / "work")
    ours = guarded(lambda: of_trainwell(folder, run, minutes, seed, more=("--model", "resnet20")))
    if not data.exists():
        export(run, data)
    words = ["--net", "resnet20", "--minutes", str(minutes), "--seed", str(seed)]
    plain = guarded(lambda: of_peer("plain", data, minutes, words))
    data.unlink()
    found = {"seed": seed, "trainwell": ours, "plain": plain}
    print(found, flush=True)
    return found


def accuracy(runs: list[dict[str, Any]], who: str) -> Figure:
    """Return the mean accuracy of the seeds, with the 95 % interval of all their answers taken together."""
    right, count = sum(run[who]["correct"] for run in runs), sum(run[who]["count"] for run in runs)
    sure = share(right, count)
    mean = statistics.mean(run[who]["correct"] / run[who]["count"] for run in runs)
    return Figure(mean, sure.low, sure.high, "share")


def main() -> None:
    """Train all pairs and write the result."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--minutes", type=float, default=12.0)
    arguments.add_argument("--seeds", type=int, default=3)
    asked = arguments.parse_args()
    if not DATA.exists():
        not_run(f"there are no data sets in {DATA}: set TRAINWELL_DATA")
    facts, work = machine(), ROOT / "work" / "resnet20"
    work.mkdir(parents=True, exist_ok=True)
    runs = [pair(seed, asked.minutes, work) for seed in range(asked.seeds)]
    shutil.rmtree(work, ignore_errors=True)
    figures = {who: accuracy(runs, who) for who in ("trainwell", "plain")}
    better = sum(run["trainwell"]["correct"] for run in runs) >= sum(run["plain"]["correct"] for run in runs)
    write_result(
        f"resnet20-accuracy-{asked.minutes:g}-minutes",
        figures=figures,
        n=len(runs),
        target=TARGET,
        reached=better,
        facts={**facts, "runs": runs},
    )


if __name__ == "__main__":
    main()
