"""All peers beside trainwell: what a step costs, and how good a classifier gets in equal time.

    TRAINWELL_PEERS=FOLDER TRAINWELL_DATA=FOLDER python bench/peers/run.py
    python bench/peers/run.py --parts steps --rounds 7
    python bench/peers/run.py --parts images,photos --minutes 2.5 --photo-minutes 1

Each measurement is kept in the work folder as it is made, and the newest of each stands in the result, so that
parts and peers can be measured one at a time: `--parts images --peers plain`.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from contest import play
from environments import PEERS, ROOT, interpreter
from harness import Figure, machine, write_result
from overhead import overhead

from trainwell.core.stats import share

PARTS = ("steps", "images", "photos")
ALL = ("trainwell", *PEERS)
CONTESTS = {"images": ("cifar10", ALL), "photos": ("photos", ("trainwell", "plain"))}
RIVALS = {"images": ("fastai", "keras", "plain"), "photos": ("plain",)}
MOST_OVER = 1.1  # times the budget that trainwell's whole process may take, the evaluation included
TARGET = (
    "at equal wall-clock trainwell's test accuracy is above fastai's, Keras' and the tuned script's, and its whole"
    f" process ends within {MOST_OVER} times the budget"
)

Kept = dict[str, dict[str, Any]]


def steps_table(kept: Kept) -> list[str]:
    """Return the table of what a step costs."""
    lines = ["| a step, beside the raw loop | " + " | ".join(kept) + " |", "|---|" + "---|" * len(kept)]
    for peer in ALL:
        cells = [_ratio_cell(found.get(peer)) for found in kept.values()]
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return lines


def _ratio_cell(found: dict[str, Any] | None) -> str:
    if found is None or "not_run" in found:
        return "not run"
    ratio = found["ratio"]
    return f"{ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}); raw {found['raw']['median']:.0f} us"


def contest_table(found: dict[str, Any]) -> list[str]:
    """Return the table of accuracies, the best first, with the errors as a ratio to the tuned script's."""
    minutes = found["trainwell"]["minutes"]
    lines = [
        f"| {minutes:g} minutes each | network | test accuracy (95 %) | errors / tuned script's | epochs | seconds |",
        "|---|---|---|---|---|---|",
    ]
    ran = {name: one for name, one in found.items() if "not_run" not in one}
    plain = ran.get("plain")
    for name, one in sorted(ran.items(), key=lambda item: -item[1]["correct"] / item[1]["count"]):
        sure = share(one["correct"], one["count"])
        errors = "" if plain is None else f"{_errors(one) / max(_errors(plain), 1):.2f}"
        lines.append(
            f"| {name} | {one['net'].removeprefix('trainwell:')} | {sure.value:.2%} ({sure.low:.2%} to {sure.high:.2%})"
            f" | {errors} | {one['epochs']:g} | {one['seconds']:.0f} |"
        )
    return [*lines, *(f"| {name} | not run | | | | |" for name in found if name not in ran)]


def _errors(one: dict[str, Any]) -> int:
    return int(one["count"] - one["correct"])


def pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the runs of all seeds as one: the counts added, what describes a run from the first."""
    failed = [one for one in runs if "not_run" in one]
    if failed or len(runs) == 1:
        return [*failed, *runs][0]
    sums = {key: sum(one[key] for one in runs) for key in ("correct", "count")}
    means = {key: sum(one[key] for one in runs) / len(runs) for key in ("seconds", "epochs")}
    return {**runs[0], **sums, **means, "accuracies": [one["correct"] / one["count"] for one in runs]}


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Return what had the data and the minutes of trainwell's last run."""
    ours = found.get("trainwell", {})
    alike = ("minutes", "data")
    return {name: one for name, one in found.items() if [one.get(k) for k in alike] == [ours.get(k) for k in alike]}


def figures_of(kept: dict[str, Kept]) -> tuple[dict[str, Figure], bool]:
    """Return all figures, and whether trainwell was above its rivals."""
    figures: dict[str, Figure] = {}
    reached = True
    for net, peers in kept["steps"].items():
        figures |= {f"{net}: {p} / raw": Figure(**one["ratio"]) for p, one in peers.items() if "ratio" in one}
    for part, rivals in RIVALS.items():
        shares = {}
        for name, one in kept[part].items():
            if "correct" in one:
                shares[name] = share(one["correct"], one["count"])
                values = [100 * value for value in (shares[name].value, shares[name].low, shares[name].high)]
                figures[f"{part}: {name}"] = Figure(*values, "% of test (Wilson)")
        for name in rivals:
            if name not in shares or "trainwell" not in shares:
                reached = False
                continue
            difference = _difference(shares["trainwell"], shares[name])
            figures[f"{part}: trainwell - {name}"] = difference
            ours = kept[part]["trainwell"]
            is_in_time = ours["seconds"] <= MOST_OVER * 60 * ours["minutes"]
            reached = reached and difference.median > 0 and is_in_time
    return figures, reached


def _difference(ours: Any, theirs: Any) -> Figure:
    """Return the difference of two shares in points (Newcombe 1998, Statistics in Medicine 17, method 10)."""
    value = ours.value - theirs.value
    low = value - math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    high = value + math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return Figure(100 * value, 100 * low, 100 * high, "points (Newcombe)")


def measure_steps(given: argparse.Namespace, peers: list[str], kept: Kept, keep: Callable[[], None]) -> None:
    """Time the loops of some peers on both networks."""
    for net, count in (("mlp", given.mlp_steps), ("resnet20", given.resnet_steps)):
        for peer in peers:
            kept.setdefault(net, {})[peer] = overhead(peer, net, steps=count, rounds=given.rounds)
            keep()


def measure_contest(
    part: str, given: argparse.Namespace, peers: list[str], kept: dict[str, Any], keep: Callable[[], None]
) -> None:
    """Let some peers train on one source."""
    source, allowed = CONTESTS[part]
    minutes = given.minutes if part == "images" else given.photo_minutes
    seeds = range(given.photo_seeds if part == "photos" else 1)
    for name in [peer for peer in peers if peer in allowed]:
        kept[name] = pooled([play(part, source, minutes, name, given.work, seed=seed, options=given) for seed in seeds])
        keep()


def options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--peers", default=",".join(ALL), help=f"some of {', '.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds of steps")
    parser.add_argument("--mlp-steps", type=int, default=938, help="in a round")
    parser.add_argument("--resnet-steps", type=int, default=10, help="in a round")
    parser.add_argument("--minutes", type=float, default=2.5, help="for each on CIFAR-10")
    parser.add_argument("--photo-minutes", type=float, default=1.0, help="for each on the photographs")
    parser.add_argument("--lr", type=float, help="largest rate of those that train trainwell's network")
    parser.add_argument("--photo-seeds", type=int, default=1, help="of split, weights and order; the tests are pooled")
    parser.add_argument("--limit", type=int, help="of training samples for the peers, to try the scripts: no result")
    parser.add_argument("--work", type=Path, default=ROOT / "work", help="where data, runs and measurements lie")
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for, keep it, and write the result of all that is kept."""
    given = options()
    facts = machine()
    peers = [name for name in ALL if name in given.peers.split(",")]
    for name in peers:
        if name != "trainwell":
            with suppress(subprocess.CalledProcessError):  # each measurement will say so
                interpreter(name)  # installed now, so that it falls on nobody's time
    files = {part: given.work / f"{part}.json" for part in PARTS}
    kept: dict[str, Kept] = {part: json.loads(f.read_text()) if f.exists() else {} for part, f in files.items()}
    for part in [part for part in PARTS if part in given.parts.split(",")]:
        (given.work / part).mkdir(parents=True, exist_ok=True)

        def keep(part: str = part) -> None:
            if not given.limit:
                files[part].write_text(json.dumps(kept[part], indent=2))

        if part == "steps":
            measure_steps(given, peers, kept[part], keep)
        else:
            measure_contest(part, given, peers, kept[part], keep)
    for part in CONTESTS:
        kept[part] = comparable(kept[part])
    if not given.limit:  # what was only tried is no result
        figures, reached = figures_of(kept)
        more = {"peers": kept}
        write_result("peers", figures=figures, n=given.rounds, target=TARGET, reached=reached, facts=facts, more=more)
    if kept["steps"]:
        print("\n" + "\n".join(steps_table(kept["steps"])))
    for part in CONTESTS:
        if "data" in kept[part].get("trainwell", {}):
            print(f"\n{part}: {kept[part]['trainwell']['data']}\n" + "\n".join(contest_table(kept[part])))


if __name__ == "__main__":
    main()
