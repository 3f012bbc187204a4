"""Train a network on handwritten digits, look at what it measured, and train it again to the same bits.

Run it with `python examples/first_net.py [EPOCHS]`; it takes a few seconds and writes below `runs/`.
"""

import sys

import trainwell as tw


def main(epochs: int = 8) -> None:
    """Train on digits, then say how it went."""
    run = tw.fit("digits", model="convnet:width=16", optimizer="adamw:lr=0.002", epochs=epochs, seed=0)

    # The test split was touched once, by the weights that the run reports. Few samples make a wide interval.
    assert run.test is not None
    sure = run.test.interval
    print(f"test accuracy {run.test.accuracy:.1%}, 95 % interval {sure.low:.1%} to {sure.high:.1%}")

    # Everything that was measured lies in the run folder, one Reading a line, and can be read by anyone.
    losses = [reading for reading in run.readings if reading.name == "epoch/loss"]
    for reading in losses:
        print(f"step {reading.step:4d}: mean loss of the epoch {reading.value:.4f} nats")

    # The recipe in the run is resolved: it repeats the run bit for bit on this machine.
    again = tw.fit(recipe=run.path)
    same = (again.path / "record.jsonl").read_bytes() == (run.path / "record.jsonl").read_bytes()
    print("the same recipe gave", "the same bits" if same else "other bits")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
