"""What follows from the machine: every choice has its reason, and what cannot be had is refused in words."""

import json

import pytest
import torch

from trainwell.core import machine
from trainwell.core.machine import (
    check_threads,
    choose_device,
    choose_memory_format,
    choose_threads,
    facts,
    has_fast_bfloat16,
    propose_precision,
)
from trainwell.errors import OptionInvalid

CPU = torch.device("cpu")


def test_the_facts_are_plain_data() -> None:
    found = json.loads(json.dumps(facts()))
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0] or torch.__version__
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0


@pytest.mark.parametrize("asked", ["cuda:99", "tpu", "", "mps"])
def test_a_device_that_is_not_here_is_refused(asked: str) -> None:
    with pytest.raises(OptionInvalid, match="machine.device must be one of cpu.* on this machine, got"):
        choose_device(asked)


def test_a_device_asked_for_is_taken() -> None:
    assert choose_device("cpu").value == "cpu"
    assert choose_device("cpu").reason == "asked for"


@pytest.mark.parametrize(
    ("multiply_adds", "is_fast", "expected", "words"),
    [
        (1e10, True, "bfloat16", "has bfloat16 in hardware"),
        (1e10, False, "float32", "cpu has no bfloat16 in hardware"),
        (1e6, True, "float32", "too few for bfloat16 to pay"),
    ],
)
def test_lower_precision_is_proposed_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, multiply_adds: float, is_fast: bool, expected: str, words: str
) -> None:
    monkeypatch.setattr(machine, "has_fast_bfloat16", lambda device: is_fast)
    choice = propose_precision("auto", CPU, multiply_adds=multiply_adds)
    assert choice.value == expected
    assert words in choice.reason
    assert propose_precision("float32", CPU, multiply_adds=multiply_adds).reason == "asked for"


def test_bfloat16_hardware_is_read_from_the_processors_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: "sse avx512_bf16 avx2")
    assert has_fast_bfloat16(CPU)
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: "sse avx2 avx512f")
    assert not has_fast_bfloat16(CPU)


def test_tiny_work_is_not_shared_between_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    assert choose_threads(multiply_adds=1e5).value == 1
    assert choose_threads(multiply_adds=1e9).value == 8
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    assert choose_threads(multiply_adds=1e5).reason == "this process may use 1 core"


def test_threads_that_the_environment_names_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    chosen = choose_threads(multiply_adds=1e9)
    assert (chosen.value, chosen.reason) == (3, "OMP_NUM_THREADS is 3")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert choose_threads(multiply_adds=1e9).value == 8


def test_more_threads_than_make_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_cores", lambda: 2)
    check_threads(8)
    with pytest.raises(OptionInvalid, match="must be at most 4 times the 2 cores of this process, got 9"):
        check_threads(9)


def test_images_are_channels_last_and_features_are_not() -> None:
    assert choose_memory_format("auto", input_dims=4).value == "channels_last"
    assert choose_memory_format("auto", input_dims=2).value == "contiguous"
    assert choose_memory_format("contiguous", input_dims=4).value == "contiguous"
