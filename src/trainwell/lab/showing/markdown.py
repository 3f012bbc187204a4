"""Results in a folder: each as JSON, and all of them as one table of claims in README.md.

The table is made from every result in the folder, so that running one experiment again renews its lines and keeps
the others.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainwell.errors import RunInvalid
from trainwell.lab.cache import write_aside
from trainwell.lab.result import NOT_EXAMINED, NOT_SHOWN, SHOWN, Result
from trainwell.report.numbers import counted, duration

Plain = Mapping[str, Any]


def write_results(folder: Path, results: Sequence[Result]) -> Path:
    """Write NAME.json for each result and README.md for all that the folder holds; return its path.

    Raises:
        RunInvalid: the folder cannot be written, or a file of it that should be a result is none.
    """
    for result in results:
        text = json.dumps(result.to_plain(), indent=1, ensure_ascii=False, allow_nan=False)
        write_aside(folder / f"{result.name}.json", (_on_one_line(text) + "\n").encode())
    path = folder / "README.md"
    write_aside(path, readme(list(_stored(folder))).encode())
    return path


def _stored(folder: Path) -> Iterator[Plain]:
    for path in sorted(folder.glob("*.json")):
        try:
            plain = json.loads(path.read_text("utf-8"))
            yield {**plain, "claims": list(plain["claims"]), "checks": list(plain["checks"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunInvalid(
                f"{path} is not a result of the lab: {error}: remove it, or choose another --out"
            ) from None


def _on_one_line(text: str) -> str:
    """Put lists of numbers on one line: a curve is easier to read there, and to compare.

    >>> _on_one_line('{"mean": [\\n  1.0,\\n  null\\n ]}')
    '{"mean": [1.0, null]}'
    """
    lines, gathered = [], ""
    for line in text.split("\n"):
        bare = line.strip().rstrip(",")
        is_number = bare == "null" or bare.lstrip("-")[:1].isdigit()
        if gathered and is_number:
            gathered += line.strip() + (" " if line.endswith(",") else "")
        elif gathered:
            lines.append(gathered + (line.strip() if line.strip().startswith("]") else "\n" + line))
            gathered = ""
        elif line.endswith("["):
            gathered = line
        else:
            lines.append(line)
    return "\n".join([*lines, gathered] if gathered else lines)


def readme(results: Sequence[Plain]) -> str:
    """Return the table of all claims: number, claim, printed, measured, verdict."""
    ordered = sorted(results, key=lambda plain: (plain["claims"] or [10_000], plain["name"]))
    verdicts = [plain["verdict"] for plain in ordered]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in (SHOWN, NOT_SHOWN, NOT_EXAMINED))
    checks = [check for plain in ordered for check in plain["checks"]]
    holding = sum(check["holds"] for check in checks)
    parts = [
        "# What the lab shows\n",
        "Every claim about training is an experiment: a file in `src/trainwell/lab/experiments` that measures it and"
        " compares what it finds with what was printed elsewhere. This page is written by"
        " `trainwell lab run all --out docs/lab`; beside it lies each result with all of its numbers as JSON. A check"
        " that fails stays.\n",
        f"{counted(len(ordered), 'experiment')}: {counts}; {holding} of {counted(len(checks), 'check')} hold.\n",
        *_table(["claim", "experiment", "question", "verdict", "seeds", "work", "date"], map(_overview, ordered)),
        *(line for plain in ordered for line in _section(plain)),
        "\n## Machines\n",
        *_machines(ordered),
    ]
    return "\n".join(parts) + "\n"


def _overview(plain: Plain) -> list[str]:
    quick = ", quick form" if plain["is_quick"] else ""
    return [
        _claims(plain),
        f"[{plain['name']}](#{_anchor(plain)})",
        plain["question"],
        f"{_strong(plain['verdict'])}{quick}",
        str(plain["seeds"]),
        duration(plain["seconds"]).replace("\u00a0", " "),
        plain["date"][:10],
    ]


def _section(plain: Plain) -> Iterator[str]:
    yield f"\n## {_title(plain)}\n"
    yield f"{plain['question']} Source: {plain['source'] or 'none'}.\n"
    if plain["why"]:
        yield f"**{plain['verdict']}**: {plain['why']}\n"
    if plain["note"]:
        yield f"{plain['note']}\n"
    rows = (
        [check["claim"], check["printed"], check["measured"], check["tolerance"], _strong(check["verdict"])]
        for check in plain["checks"]
    )
    if plain["checks"]:
        yield from _table(["claim", "printed", "measured", "within", "verdict"], rows)


def _title(plain: Plain) -> str:
    claims = _claims(plain)
    return f"{plain['name']} (claim {claims})" if claims else str(plain["name"])


def _anchor(plain: Plain) -> str:
    """Return the name by which a heading is linked: small letters, no signs, dashes for spaces.

    >>> _anchor({"name": "ten_layers", "claims": [3, 4]})
    'ten_layers-claim-3-4'
    """
    kept = (letter for letter in _title(plain).lower() if letter.isalnum() or letter in " -_")
    return "".join(kept).replace(" ", "-")


def _claims(plain: Plain) -> str:
    return ", ".join(map(str, plain["claims"]))


def _machines(results: Sequence[Plain]) -> Iterator[str]:
    """Say once for each machine and its versions which experiments ran there."""
    names: dict[str, list[str]] = {}
    for plain in results:
        machine = plain["machine"]
        versions = machine.get("versions", {})
        words = ", ".join(f"{name} {versions[name]}" for name in ("trainwell", "torch", "numpy") if name in versions)
        about = f"{machine.get('processor', '?')}, {counted(int(machine.get('cores', 0)), 'core')}; {words}"
        names.setdefault(about, []).append(plain["name"])
    for about, ran in names.items():
        yield f"- {about}: {', '.join(ran)}"


def _strong(verdict: str) -> str:
    return verdict if verdict == SHOWN else f"**{verdict}**"


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    """Yield a Markdown table; what would break it is escaped."""
    yield _row(head)
    yield _row(["---"] * len(head))
    for row in rows:
        yield _row(row)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"
