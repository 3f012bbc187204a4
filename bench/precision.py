"""Final accuracy of ResNet-20 in bfloat16 beside float32: the same recipe and seeds, on a part of CIFAR-10.

python bench/precision.py [--seeds 4]        needs the data folder; resumable: finished runs are kept in --work
"""

import tarfile
from pathlib import Path

import numpy as np
from harness import DATA, Figure, figure, machine, not_run, parser, write_result
from scipy import stats

import trainwell as tw
from trainwell.train.reporter import Silence

TARGET = "paired difference of test accuracy bfloat16 - float32 contains 0, or lies within 0.3 points"
PER_CLASS = 500


def unpacked(work: Path) -> Path:
    """Unpack a part of CIFAR-10: so many images of each class for training, the first fifth as many for test."""
    target = work / "cifar"
    if not (target / "done").exists():
        with tarfile.open(DATA / "cifar10.tar.xz") as archive:
            for member in archive:
                parts = Path(member.name).parts
                most = PER_CLASS if "train" in parts else 200
                if member.isfile() and int(Path(member.name).stem) < most:
                    archive.extract(member, target, filter="data")
        (target / "done").touch()
    return target / "cifar10"


def main() -> None:
    """Train each seed in both precisions and write the result."""
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=4)
    options.add_argument("--work", type=Path, default=Path("/tmp/trainwell-precision"))
    given = options.parse_args()
    if not (DATA / "cifar10.tar.xz").exists():
        not_run(f"{DATA} holds no cifar10.tar.xz")
    facts = machine()
    folder = unpacked(given.work)
    accuracies: dict[str, list[float]] = {"bfloat16": [], "float32": []}
    for seed in range(given.seeds):
        for precision, values in accuracies.items():
            path = given.work / f"{precision}-{seed}"
            words = {"set": {"machine.precision": precision, "schedule": "one_cycle", "optimizer": "sgd:lr=0.1"}}
            augmentation = ["horizontal_flip", "shift:pixels=4"]
            if path.exists():
                run = tw.resume(path, reporter=Silence())
            else:
                run = tw.fit(
                    folder, out=path, model="resnet20", epochs=10, seed=seed, augmentation=augmentation,
                    reporter=Silence(), **words
                )  # fmt: skip
            values.append(100 * (run.test_accuracy or 0.0))
            print(f"seed {seed} {precision}: {values[-1]:.2f} %", flush=True)
    differences = np.subtract(accuracies["bfloat16"], accuracies["float32"])
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    low, high = differences.mean() - half, differences.mean() + half
    figures = {name: figure(values, "% test accuracy") for name, values in accuracies.items()}
    figures["bfloat16 - float32, mean of pairs (t interval)"] = Figure(differences.mean(), low, high, "points")
    reached = bool(low <= 0 <= high or max(abs(low), abs(high)) <= 0.3)
    write_result("precision", figures=figures, n=given.seeds, target=TARGET, reached=reached, facts=facts)


if __name__ == "__main__":
    main()
