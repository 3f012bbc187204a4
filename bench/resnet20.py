"""Images a second of ResNet-20 training beside a hand-tuned bf16 loop and the default float32 loop.

    python bench/resnet20.py
"""

from harness import figure, interleave, machine, parser, ratio, write_result
from loops import Default, Ours, OwnInput, make_job, random_images, warmed

BATCH = 128
TARGET = "ours >= 1.10 times the hand-tuned bf16 channels-last loop and >= 2.8 times the default float32 loop"


def main() -> None:
    """Measure the three loops in turn and write the result."""
    options = parser(__doc__ or "").parse_args()
    facts = machine()
    images = random_images()
    values = {
        "batch.size": BATCH,
        "model": "resnet20",
        "preprocessing": "standardize",
        "augmentation": ["shift:pixels=4", "horizontal_flip"],
        "machine.precision": "bfloat16",
        "machine.memory_format": "channels_last",
    }
    plain = (images[0].float() / 255, images[1])
    ways = warmed(
        {
            "ours": Ours(make_job(images, values)),
            "hand-tuned bf16": OwnInput(make_job(images, values), images, BATCH),
            "default float32": Default(
                make_job(images, values | {"machine.memory_format": "contiguous"}).model, *plain, BATCH
            ),
        },
        steps=12,
    )
    seconds = interleave(ways, options.pairs)
    figures = {
        "ours over hand-tuned bf16": ratio(seconds["hand-tuned bf16"], seconds["ours"]),
        "ours over default float32": ratio(seconds["default float32"], seconds["ours"]),
        **{name: figure([BATCH / value for value in values], "images/s") for name, values in seconds.items()},
    }
    reached = figures["ours over hand-tuned bf16"].median >= 1.10 and figures["ours over default float32"].median >= 2.8
    write_result("resnet20", figures=figures, n=options.pairs, target=TARGET, reached=reached, facts=facts)


if __name__ == "__main__":
    main()
