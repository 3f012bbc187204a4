"""What our loop costs beside a hand-tuned one on the same batches, and its probes, on a tiny MLP and on ResNet-20.

python bench/loop_overhead.py
"""

from harness import figure, interleave, machine, parser, ratio, write_result
from loops import processes

TARGET = (
    "ours, with all default probes, <= 1.03 times the hand-tuned loop (upper end of 95 %), and below the default loop;"
    " probes <= 1.03 times the loop without them"
)


def main() -> None:
    """Measure both nets and write the result."""
    options = parser(__doc__ or "").parse_args()
    facts = machine()
    names = ("ours", "ours, no probes", "hand-tuned", "default")
    small = interleave(processes("mlp", names, steps=2 * 938), options.pairs)  # whole epochs
    large = interleave(processes("resnet20", names, steps=2 * 32), options.pairs)
    figures = {}
    for net, seconds in (("mlp", small), ("resnet20", large)):
        figures[f"{net}: ours / hand-tuned"] = ratio(seconds["ours"], seconds["hand-tuned"])
        figures[f"{net}: ours / default"] = ratio(seconds["ours"], seconds["default"])
        figures[f"{net}: ours / ours without probes"] = ratio(seconds["ours"], seconds["ours, no probes"])
        for way, values in seconds.items():
            figures[f"{net}: {way}"] = figure([value * 1e6 for value in values], "us a step")
    reached = all(
        figures[f"{net}: ours / hand-tuned"].high <= 1.03
        and figures[f"{net}: ours / default"].high < 1
        and figures[f"{net}: ours / ours without probes"].high <= 1.03
        for net in ("mlp", "resnet20")
    )
    write_result("loop_overhead", figures=figures, n=options.pairs, target=TARGET, reached=reached, facts=facts)


if __name__ == "__main__":
    main()
