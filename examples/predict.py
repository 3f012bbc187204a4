"""Load the classifier of a run and say what image files show, with a confidence below which it says "don't know".

Run it with `python examples/predict.py RUN FILES… [--threshold 0.8] [--csv answers.csv]`, where FILES are images or
folders of images. It does what `trainwell predict` does, as a start for a program of your own.
"""

import argparse
from collections.abc import Sequence

import trainwell as tw


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, load once, answer for everything."""
    parser = argparse.ArgumentParser(description="Say what image files show.")
    parser.add_argument("run", help="a run folder, or a copy of its classifier/")
    parser.add_argument("files", nargs="+", help="images, or folders of images")
    parser.add_argument("--threshold", type=float, default=0.0, help="confidence below which it says don't know")
    parser.add_argument("--csv", help="where to write a table with all probabilities")
    asked = parser.parse_args(words)

    # Loading runs a few stored samples through and compares, so a changed decoder or weight file is noticed here.
    classifier = tw.load(asked.run)
    print(classifier)

    # Files are decoded and resized as they were for training, in threads beside the network.
    answers = classifier.predict(asked.files, threshold=asked.threshold, skip_bad=True)
    for answer in answers:
        second = f", then {answer.top(2)[1][0]}" if len(answer.classes) > 1 else ""
        label = answer.label or "don't know"
        print(f"{answer.name}: {label} ({answer.confidence:.0%}{second})")
    for bad in answers.skipped:
        print(f"left out: {bad}")
    if asked.csv is not None:
        print(f"the table is {answers.to_csv(asked.csv)}")


if __name__ == "__main__":
    main()
