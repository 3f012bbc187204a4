"""What our loop costs beside a hand-tuned one on the same batches, on a tiny MLP and on ResNet-20.

    python bench/loop_overhead.py
"""

from harness import figure, interleave, machine, parser, ratio, write_result
from loops import Default, Ours, Tuned, make_job, random_features, random_images, tiny_mlp, warmed

TARGET = "ours <= 1.03 times the hand-tuned loop (upper end of 95 %), and below the default loop"


def main() -> None:
    """Measure both nets and write the result."""
    options = parser(__doc__ or "").parse_args()
    facts = machine()
    features, images = random_features(), random_images()
    mlp = {"batch.size": 64, "preprocessing": "none", "machine.precision": "float32"}
    resnet = {
        "batch.size": 128,
        "model": "resnet20",
        "preprocessing": "standardize",
        "augmentation": ["shift:pixels=4", "horizontal_flip"],
        "machine.precision": "bfloat16",
        "machine.memory_format": "channels_last",
    }
    ways = warmed(
        {
            "ours": Ours(make_job(features, mlp, tiny_mlp())),
            "hand-tuned": Tuned(make_job(features, mlp, tiny_mlp())),
            "default": Default(tiny_mlp(), *features, batch_size=64),
        },
        steps=2 * 938,  # whole epochs, so that both begin one as often
    )
    small = interleave(ways, options.pairs)
    plain = (images[0].float() / 255, images[1])
    ways = warmed(
        {
            "ours": Ours(make_job(images, resnet)),
            "hand-tuned": Tuned(make_job(images, resnet)),
            "default": Default(make_job(images, resnet | {"machine.memory_format": "contiguous"}).model, *plain, 128),
        },
        steps=12,
    )
    large = interleave(ways, options.pairs)
    figures = {}
    for net, seconds in (("mlp", small), ("resnet20", large)):
        figures[f"{net}: ours / hand-tuned"] = ratio(seconds["ours"], seconds["hand-tuned"])
        figures[f"{net}: ours / default"] = ratio(seconds["ours"], seconds["default"])
        for way, values in seconds.items():
            figures[f"{net}: {way}"] = figure([value * 1e6 for value in values], "us a step")
    reached = all(
        figures[f"{net}: ours / hand-tuned"].high <= 1.03 and figures[f"{net}: ours / default"].high < 1
        for net in ("mlp", "resnet20")
    )
    write_result("loop_overhead", figures=figures, n=options.pairs, target=TARGET, reached=reached, facts=facts)


if __name__ == "__main__":
    main()
