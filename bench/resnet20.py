"""Images a second of ResNet-20 training beside a hand-tuned bf16 loop and the default float32 loop.

    python bench/resnet20.py

Each way runs in a process of its own. The hand-tuned loop gathers, flips, shifts and normalizes whole batches;
the default loop is measured without any augmentation, and with the per-sample transforms that its users write.
"""

from harness import figure, interleave, machine, parser, ratio, write_result
from loops import processes

BATCH = 128
NAMES = ("ours", "hand-tuned, own input", "default", "default, transforms")
TARGET = (
    "ours >= 1.10 times the hand-tuned bf16 channels-last loop and >= 2.8 times the default float32 loop"
    " (lower ends of 95 %)"
)


def main() -> None:
    """Measure the loops in turn and write the result."""
    options = parser(__doc__ or "").parse_args()
    facts = machine()
    seconds = interleave(processes("resnet20", NAMES, steps=32), options.pairs)
    figures = {f"ours over {name}": ratio(seconds[name], seconds["ours"]) for name in NAMES[1:]}
    figures |= {name: figure([BATCH / value for value in values], "images/s") for name, values in seconds.items()}
    reached = figures["ours over hand-tuned, own input"].low >= 1.10 and figures["ours over default"].low >= 2.8
    write_result("resnet20", figures=figures, n=options.pairs, target=TARGET, reached=reached, facts=facts)


if __name__ == "__main__":
    main()
