"""Runs experiments: every arm with every seed, over the cores, and what was measured before is read instead.

The numbers do not depend on the order, on how many processes share the work, or on what was in the cache: a pair is
measured alone, in a process with one thread, and told nothing but its names and its seed.
"""

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from trainwell.core.catalog import Card
from trainwell.core.machine import available_cores, facts
from trainwell.core.shelves import experiments
from trainwell.errors import OptionInvalid
from trainwell.lab import data
from trainwell.lab.experiment import Check, Experiment, Table
from trainwell.lab.measuring import Measured, Pair, experiment_of, load_files, measure, read, start_worker
from trainwell.lab.result import Result

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # read when a process starts


class Watcher(Protocol):
    """Whoever shows how far the lab is."""

    def pair(self, pair: Pair, done: int, total: int) -> None:
        """Show that a pair was measured."""
        ...

    def say(self, text: str) -> None:
        """Show one sentence that should stay."""
        ...

    def result(self, result: Result) -> None:
        """Show what came of an experiment."""
        ...


class Nobody:
    """A watcher that shows nothing."""

    def pair(self, pair: Pair, done: int, total: int) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def result(self, result: Result) -> None:
        """Show nothing."""


def named(names: Sequence[str]) -> list[Card]:
    """Return the cards of experiments by name, each once; `all` is every one. They come in the order of the claims.

    Raises:
        NameUnknown: there is no such experiment.
    """
    asked = [experiments[name] for name in dict.fromkeys(names) if name != "all"]
    cards = list(experiments) if "all" in names else asked
    return sorted(cards, key=lambda card: (claims_of(card) or (10_000,), card.name))


def claims_of(card: Card) -> tuple[int, ...]:
    """Return the numbers of the claims that an experiment is about."""
    return tuple(card.traits.get("claims", ()))


def run(
    names: Sequence[str],
    *,
    is_quick: bool = False,
    jobs: int | None = None,
    files: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> list[Result]:
    """Run experiments and return what came of each, in the order of the claims.

    Args:
        names: of experiments; `all` is every one.
        is_quick: less of the same, in seconds.
        jobs: processes that measure; None for one a core.
        files: the user's own files of experiments.
        watcher: who shows it.

    Raises:
        NameUnknown: there is no such experiment.
        OptionInvalid: jobs is not a positive number.
        RunInvalid: the cache cannot be written.
    """
    if jobs is not None and jobs < 1:
        raise OptionInvalid(f"jobs must be a whole number >= 1, got {jobs}")
    load_files(files)
    cards, shown, machine = named(names), watcher or Nobody(), facts()
    examined = [card.name for card in cards if not data.missing(experiment_of(card.name).needs)]
    for need in sorted({need for name in examined for need in experiment_of(name).needs}):
        data.fingerprint(need)  # decoded now, once, and not by every process
    pairs = [pair for name in examined for pair in pairs_of(name, is_quick=is_quick)]
    found: dict[Pair, Measured] = {}
    results: dict[str, Result] = {}

    def conclude(name: str) -> None:
        mine = pairs_of(name, is_quick=is_quick) if name in examined else []
        if name not in results and all(pair in found for pair in mine):
            results[name] = judge(experiments[name], {pair: found[pair] for pair in mine}, machine, is_quick=is_quick)
            shown.result(results[name])

    for pair in pairs:
        stored = read(pair)
        for remark in stored.remarks if stored is not None else ():
            shown.say(remark)
        if stored is not None and stored.is_cached:
            found[pair] = stored
    for card in cards:
        conclude(card.name)
    todo = [pair for pair in pairs if pair not in found]
    for done, (pair, measured) in enumerate(_measure_all(todo, jobs or available_cores(), files), start=1):
        found[pair] = measured
        shown.pair(pair, done, len(todo))
        for remark in (f"failed: {measured.fault}",) if measured.fault else measured.remarks:
            shown.say(remark)
        conclude(pair.experiment)
    return [results[card.name] for card in cards]


def pairs_of(name: str, *, is_quick: bool) -> list[Pair]:
    """Return every arm of an experiment with every seed."""
    experiment = experiment_of(name)
    seeds = experiment.quick_seeds if is_quick else experiment.seeds
    return [Pair(name, arm, seed, is_quick) for arm in experiment.arms for seed in range(seeds)]


def _measure_all(pairs: Sequence[Pair], jobs: int, files: Sequence[str]) -> Iterator[tuple[Pair, Measured]]:
    """Measure pairs in as many processes as jobs, and yield each as it ends; a single one is measured right here."""
    if min(jobs, len(pairs)) <= 1:
        yield from ((pair, measure(pair)) for pair in pairs)
        return
    spawn = multiprocessing.get_context("spawn")
    count = min(jobs, len(pairs))
    with _environment(dict.fromkeys(ONE_THREAD, "1")):
        pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=start_worker, initargs=(tuple(files),))
        try:
            running = {pool.submit(measure, pair): pair for pair in pairs}
            for future in as_completed(running):
                yield running[future], _outcome(future, running[future])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _outcome(future: "Future[Measured]", pair: Pair) -> Measured:
    """Return what a process answered; one that was killed answers nothing."""
    error = future.exception()
    return future.result() if error is None else Measured(fault=f"{pair}: the process that measured it ended: {error}")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for processes that start meanwhile, and give back the old values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def judge(card: Card, found: Mapping[Pair, Measured], machine: Mapping[str, Any], *, is_quick: bool) -> Result:
    """Return the result of an experiment from all of its pairs; with a failed one it is not examined."""
    experiment = experiment_of(card.name)
    faults = [measured.fault for measured in found.values() if measured.fault]
    why, table, checks = data.missing(experiment.needs), None, tuple[Check, ...]()
    if faults:
        why = f"{len(faults)} of {len(found)} measurements failed, the first: {faults[0]}"
    elif not why:
        try:
            table = _table(experiment, found)
            checks = tuple(experiment.judge(table))
            why = "" if checks else "it has no checks"
        except Exception as error:  # the other experiments still have their results
            why, table = f"its judgement failed: {type(error).__name__}: {error}", None
            faults.append(f"{card.name}: {why}")
    return Result(
        name=card.name,
        claims=claims_of(card),
        source=card.source,
        question=experiment.question,
        note=experiment.note,
        checks=checks,
        table=table,
        why=why,
        faults=tuple(faults),
        seeds=experiment.quick_seeds if is_quick else experiment.seeds,
        is_quick=is_quick,
        seconds=sum(measured.seconds for measured in found.values()),
        measured=sum(not measured.is_cached for measured in found.values()),
        cached=sum(measured.is_cached for measured in found.values()),
        machine=machine,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _table(experiment: Experiment, found: Mapping[Pair, Measured]) -> Table:
    """Put the values of all pairs in the order of arms and seeds.

    Raises:
        ValueError: the seeds of an arm measured different things.
    """
    cells: dict[str, list[Any]] = {arm: [] for arm in experiment.arms}
    for pair, measured in sorted(found.items(), key=lambda item: item[0].seed):
        cells[pair.arm].append(measured.values)
    for arm, rows in cells.items():
        forms = {tuple((name, len(v) if isinstance(v, list) else 0) for name, v in row.items()) for row in rows}
        if len(forms) > 1:
            raise ValueError(f"the seeds of arm {arm} measured different things: {sorted(forms)}")
    return Table(cells)
