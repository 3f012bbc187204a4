"""The verb of the lab: list the experiments, and run them."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trainwell.cli.words import Debug, Json, print_json
from trainwell.errors import NameUnknown, OptionInvalid, did_you_mean

ACTIONS = ("list", "run")


def lab(
    action: Annotated[str, typer.Argument(metavar="[list|run]", help="What to do.")] = "list",
    names: Annotated[
        Optional[list[str]], typer.Argument(metavar="[NAME…|all]", help="The experiments, as the list names them.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of the same: seconds for each.")] = False,
    jobs: Annotated[Optional[int], typer.Option(metavar="N", help="Processes that measure; else one a core.")] = None,
    out: Annotated[
        Optional[Path], typer.Option(metavar="FOLDER", help="Where page, tables and numbers go; else below runs/.")
    ] = None,
    with_files: Annotated[
        Optional[list[Path]],
        typer.Option("--with", metavar="FILE.py", help="Experiments of your own; may be repeated."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the claims about training that can be measured, or measure them.

    What was measured before is read again where nothing changed. The exit code is 1 where a claim is not shown.
    """
    if action not in ACTIONS:
        raise NameUnknown(f"the lab knows no {action!r}{did_you_mean(action, ACTIONS)}")
    files = [str(path) for path in with_files or ()]
    if action == "list":
        _list(names or ["all"], files, as_json)
        return
    if not names:
        raise OptionInvalid("name the experiments to run, or all: `trainwell lab list` shows them")
    _run(names, {"is_quick": quick, "jobs": jobs, "files": files}, out, as_json)


def _list(names: list[str], files: list[str], as_json: bool) -> None:
    from trainwell.lab.data import missing
    from trainwell.lab.measuring import experiment_of, load_files
    from trainwell.lab.runner import claims_of, named

    load_files(files)
    cards = named(names)
    if as_json:
        print_json({card.name: _about(card, experiment_of(card.name)) for card in cards})
        return
    width = max((len(card.name) for card in cards), default=0)
    claims = {card.name: ", ".join(map(str, claims_of(card))) for card in cards}
    across = max([len("claim"), *map(len, claims.values())])
    print(f"{'claim':<{across}}  {'name':<{width}}  question")
    for card in cards:
        absent = missing(experiment_of(card.name).needs)
        note = f" (cannot be examined: {absent})" if absent else ""
        print(f"{claims[card.name]:<{across}}  {card.name:<{width}}  {card.summary}{note}")


def _about(card: Any, experiment: Any) -> dict[str, Any]:
    return {
        "summary": card.summary,
        "question": experiment.question,
        "claims": list(card.traits.get("claims", ())),
        "source": card.source,
        "needs": list(experiment.needs),
        "arms": list(experiment.arms),
        "seeds": experiment.seeds,
        "quick_seeds": experiment.quick_seeds,
    }


def _run(names: list[str], how: dict[str, Any], out: Path | None, as_json: bool) -> None:
    from trainwell.lab.result import NOT_EXAMINED, NOT_SHOWN, SHOWN
    from trainwell.lab.runner import run
    from trainwell.lab.showing.markdown import write_results
    from trainwell.lab.showing.page import write_page
    from trainwell.lab.showing.terminal import watching
    from trainwell.train.folder import default_path

    with watching() as watcher:
        results = run(names, watcher=watcher, **how)
    folder = out or default_path(Path("runs"), "lab", names[0] if len(names) == 1 else "")
    table, page = write_results(folder, results), write_page(folder, results)
    verdicts = [result.verdict for result in results]
    counts = {verdict: verdicts.count(verdict) for verdict in (SHOWN, NOT_SHOWN, NOT_EXAMINED)}
    print(f"experiments  {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}")
    print(f"page         {page}: open it in any browser; it needs no network\ntable        {table}")
    if as_json:
        totals = {verdict.replace(" ", "_"): count for verdict, count in counts.items()}
        plain = [result.to_plain() for result in results]
        print_json({**totals, "out": str(folder), "page": str(page), "experiments": plain})
    if any(result.faults for result in results):
        raise typer.Exit(3)
    if counts[NOT_SHOWN]:
        raise typer.Exit(1)
