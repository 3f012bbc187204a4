"""From a folder of images to a classifier that can be deployed, and the confidence above which to trust it.

Run it with `python examples/own_folder.py FOLDER NEW_IMAGES [EPOCHS]`: FOLDER has one sub-folder of images a class,
NEW_IMAGES are pictures without labels. It writes below `runs/`, and `deployed/` and `answers.csv` where it runs.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

import trainwell as tw
from trainwell.metrics import coverage

WANTED = 0.9  # share of the answers that should be right


def trusted_confidence(run: Path) -> float:
    """Return the lowest confidence from which the answers on the val split are right often enough; 1 if none is."""
    with safe_open(run / "predictions.safetensors", "np") as file:
        found = coverage(file.get_tensor("val/probabilities"), file.get_tensor("val/targets"))
    return float(min(found.threshold[found.accuracy >= WANTED], default=1.0))


def main(folder: str, images: str, epochs: int | None = None) -> None:
    """Train, look at how good it is, deploy, and answer for new images."""
    # Network, image size, augmentation, rate and length are chosen from the data; machine.json has the reasons.
    run = tw.fit(folder, epochs=epochs)

    # How good, and how sure that is: on the test split, which took no part in training or in choosing anything.
    metrics = run.metrics
    assert metrics is not None
    print(f"accuracy {metrics.accuracy}, macro F1 {metrics.macro_f1} on {metrics.count} images")
    worst = min((each for each in metrics.per_class if each.support), key=lambda each: each.recall.value)
    print(f"found least often: {worst.name}, {worst.recall.value:.0%} of {worst.support}")
    print(f"curves, confusion and the worst mistakes as pictures: {run.report()}")

    # This folder is all that a server needs: weights, preprocessing, classes, and samples to check itself with.
    shutil.copytree(run.path / "classifier", "deployed", dirs_exist_ok=True)
    classifier = tw.load("deployed")

    # Where it is less sure than this, "don't know" is the better answer. The val split says what the threshold is.
    threshold = trusted_confidence(run.path)
    answers = classifier.predict(images, threshold=threshold)
    unsure = answers.labels.count(None)
    print(f"{len(answers)} images, {unsure} of them below a confidence of {threshold:.2f}: don't know")
    print(f"most frequent answer: {answers.classes[int(np.bincount(answers.indices).argmax())]}")
    print(f"all answers are in {answers.to_csv('answers.csv')}")


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:4]))
