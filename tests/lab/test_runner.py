"""The runner: the same numbers whatever the order and the processes, and what goes wrong is named."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from trainwell.errors import NameUnknown, OptionInvalid
from trainwell.lab import measuring
from trainwell.lab.measuring import Pair, as_plain, load_files, measure
from trainwell.lab.result import NOT_EXAMINED, NOT_SHOWN, SHOWN, Result
from trainwell.lab.runner import named, pairs_of, run

EVERYTHING = ["0 0", "0 1", "0 2", "20 0", "20 1", "20 2"]


class Heard:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.pairs: list[str] = []
        self.said: list[str] = []
        self.results: list[str] = []

    def pair(self, pair: Pair, done: int, total: int) -> None:
        self.pairs.append(f"{pair}: {done} of {total}")

    def say(self, text: str) -> None:
        self.said.append(text)

    def result(self, result: Result) -> None:
        self.results.append(result.name)


def numbers(result: Result) -> dict[str, list[object]]:
    assert result.table is not None
    return {f"{arm}/{name}": values.tolist() for arm, name, values in result.table.rows()}


def only(results: list[Result]) -> Result:
    (result,) = results
    return result


def test_an_experiment_is_measured_judged_and_said(toys: list[str]) -> None:
    heard = Heard()
    result = only(run(["toy_shown"], files=toys, jobs=1, watcher=heard))
    assert (result.verdict, result.holding, result.words) == (SHOWN, 2, "shown (2 of 2 checks hold)")
    assert (result.seeds, result.measured, result.cached, result.claims) == (3, 6, 0, (77,))
    assert result.table is not None
    assert result.table.arms == ("low", "high")
    assert result.table.numbers("high", "curve").shape == (3, 3)
    assert heard.pairs[-1] == "toy_shown, arm high, seed 2: 6 of 6"
    assert (heard.results, heard.said) == (["toy_shown"], [])
    assert result.machine["versions"]["torch"] == torch.__version__


def test_quick_has_fewer_seeds_and_tells_the_measure(toys: list[str]) -> None:
    result = only(run(["toy_shown"], files=toys, jobs=1, is_quick=True))
    assert (result.seeds, result.is_quick) == (2, True)
    assert numbers(result)["low/quick"] == [1.0, 1.0]


def test_a_pair_gives_the_same_numbers_whatever_was_measured_before(toys: list[str]) -> None:
    load_files(toys)
    pairs = pairs_of("toy_shown", is_quick=False)
    forward = {pair: measure(pair).values for pair in pairs}
    torch.manual_seed(1)
    random.seed(1)
    assert {pair: measure(pair).values for pair in reversed(pairs)} == forward
    assert forward[pairs[0]]["curve"] != forward[pairs[1]]["curve"], "seeds differ"


def test_measuring_leaves_no_trace_in_the_process(toys: list[str]) -> None:
    load_files(toys)
    torch.manual_seed(5)
    torch.set_num_threads(2)
    before = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    measure(Pair("toy_shown", "low", 0))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    assert torch.get_num_threads() == 2


def test_a_second_run_reads_every_bit_and_measures_nothing(toys: list[str], log: Callable[[], list[str]]) -> None:
    first = only(run(["toy_shown"], files=toys, jobs=1))
    assert log() == EVERYTHING
    second = only(run(["toy_shown"], files=toys, jobs=1))
    assert log() == EVERYTHING
    assert (second.measured, second.cached) == (0, 6)
    assert numbers(second) == numbers(first)
    assert second.seconds == first.seconds


@pytest.mark.slow
def test_other_processes_give_the_same_bits_and_share_the_cache(
    toys: list[str], log: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spread = only(run(["toy_shown"], files=toys, jobs=2))
    assert log() == EVERYTHING
    again = only(run(["toy_shown"], files=toys, jobs=2))
    assert (log(), again.cached) == (EVERYTHING, 6)
    monkeypatch.setenv("TRAINWELL_CACHE", str(tmp_path / "elsewhere"))
    here = only(run(["toy_shown"], files=toys, jobs=1))
    assert here.measured == 6
    assert numbers(spread) == numbers(here) == numbers(again)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"values": 1}', b"\xff\xfe", None])
def test_a_damaged_entry_is_measured_again_and_that_is_said(
    toys: list[str], cache: Path, log: Callable[[], list[str]], damage: bytes | None
) -> None:
    first = only(run(["toy_shown"], files=toys, jobs=1))
    path = sorted((cache / "pairs" / "toy_shown").iterdir())[0]
    whole = path.read_bytes()
    altered = whole.replace(b'"quick": 0.0', b'"quick": 1.0')
    assert altered != whole
    path.write_bytes(altered if damage is None else damage)
    heard = Heard()
    second = only(run(["toy_shown"], files=toys, jobs=1, watcher=heard))
    assert (second.measured, second.cached, len(log())) == (1, 5, 7)
    assert numbers(second) == numbers(first)
    (said,) = heard.said
    assert said.startswith("the stored numbers of toy_shown, arm ")
    assert str(path) in said
    assert json.loads(path.read_bytes())["content"] == json.loads(whole)["content"] | {
        "seconds": json.loads(path.read_bytes())["content"]["seconds"]
    }


def test_nothing_is_reused_once_the_experiment_or_our_code_is_another(
    write_toys: Callable[..., str],
    own_shelf: Callable[[], None],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [write_toys()]
    assert only(run(["toy_shown"], files=files, jobs=1)).verdict == SHOWN
    assert only(run(["toy_shown"], files=files, jobs=1, is_quick=True)).measured == 4, "quick is another measurement"
    own_shelf()
    files = [write_toys(threshold=30)]
    result = only(run(["toy_shown"], files=files, jobs=1))
    assert (result.measured, result.verdict, result.words) == (6, NOT_SHOWN, "not shown (1 of 2 checks hold)")
    monkeypatch.setattr(measuring, "code_identity", lambda: "trainwell 9.9, torch 9.9")
    assert only(run(["toy_shown"], files=files, jobs=1)).measured == 6


def test_a_failing_measure_is_named_and_does_not_lose_the_others(toys: list[str], log: Callable[[], list[str]]) -> None:
    heard = Heard()
    shown, failing = run(["toy_failing", "toy_shown"], files=toys, jobs=1, watcher=heard)
    assert (shown.name, shown.verdict) == ("toy_shown", SHOWN)
    assert failing.verdict == NOT_EXAMINED
    fault = "toy_failing, arm high, seed 1: ValueError: this seed is bad"
    assert failing.faults == (fault,)
    assert failing.why == f"1 of 6 measurements failed, the first: {fault}"
    assert heard.said == [f"failed: {fault}"]
    assert only(run(["toy_failing"], files=toys, jobs=1)).cached == 5, "what was measured is kept"


@pytest.mark.slow
def test_a_process_that_dies_is_named(toys: list[str]) -> None:
    result = only(run(["toy_dying"], files=toys, jobs=2))
    assert result.verdict == NOT_EXAMINED
    assert any(fault.startswith("toy_dying, arm high, seed 1: the process that measured it") for fault in result.faults)


def test_a_judgement_that_fails_is_said(toys: list[str]) -> None:
    result = only(run(["toy_unjudged"], files=toys, jobs=1, is_quick=True))
    assert (result.verdict, result.why) == (NOT_EXAMINED, "its judgement failed: KeyError: 'no such arm'")
    assert len(result.faults) == 1


def test_what_needs_absent_data_is_not_examined(toys: list[str], log: Callable[[], list[str]]) -> None:
    result = only(run(["toy_needy"], files=toys, jobs=1))
    assert (result.verdict, result.table, result.checks, result.faults) == (NOT_EXAMINED, None, (), ())
    assert result.why == "mnist is not here: name the folder that holds it in TRAINWELL_DATA"
    assert log() == []


def test_an_unknown_name_is_met_with_the_nearest(toys: list[str]) -> None:
    with pytest.raises(NameUnknown, match="no experiment is called 'toy_shwon': did you mean 'toy_shown'?"):
        run(["toy_shwon"], files=toys)


def test_jobs_are_a_positive_number() -> None:
    with pytest.raises(OptionInvalid, match="jobs must be a whole number >= 1, got 0"):
        run([], jobs=0)


def test_all_are_in_the_order_of_the_claims_and_each_is_there_once(toys: list[str]) -> None:
    load_files(toys)
    cards = named(["all"])
    claims = [card.traits["claims"] for card in cards]
    assert claims == sorted(claims)
    assert [card.name for card in named(["toy_failing", "toy_shown", "toy_failing"])] == ["toy_shown", "toy_failing"]


def test_results_are_strict_json_even_where_a_number_is_not_finite(toys: list[str]) -> None:
    result = only(run(["toy_shown"], files=toys, jobs=1, is_quick=True))
    assert result.table is not None
    result.table._cells["low"][0]["number"] = float("inf")  # type: ignore[index]
    plain = json.loads(json.dumps(result.to_plain(), allow_nan=False))
    assert plain["verdict"] == "shown"
    (number,) = [row for row in plain["measures"] if (row["arm"], row["measure"]) == ("low", "number")]
    assert (number["mean"], number["n"]) == (None, 2)
    (curve,) = [row for row in plain["measures"] if (row["arm"], row["measure"]) == ("low", "curve")]
    expected = result.table.numbers("low", "curve").mean(axis=0)
    assert curve["mean"] == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize("wrong", [{}, 3.0, {"a": np.zeros((2, 2))}, {"a": "many"}])
def test_a_measure_that_returns_something_else_is_refused(wrong: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        as_plain(wrong)  # type: ignore[arg-type]
