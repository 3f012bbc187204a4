"""What the tests of the lab share: an empty cache, and small experiments of a user's own."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainwell.core.shelves import experiments
from trainwell.lab.measuring import _source, experiment_of

TOYS = '''"""Experiments that are measured in no time."""

import os
import random

import numpy as np
import torch

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Check, Experiment
from trainwell.pictures.style import figure


def measure(settings, seed, is_quick):
    if "LAB_LOG" in os.environ:
        with open(os.environ["LAB_LOG"], "a") as log:
            log.write(f"{settings['offset']} {seed}\\n")
    if settings.get("fails_at") == seed:
        raise ValueError("this seed is bad")
    if settings.get("dies_at") == seed:
        os._exit(7)
    chance = [float(torch.randn(())), random.random(), np.random.rand()]
    return {"number": settings["offset"] + chance[0], "curve": torch.tensor(chance), "quick": float(is_quick)}


def judge(table):
    mean = table.mean("low", "number").value
    return [
        Check("low | is low", "< 10", f"{mean:.3f}", "exact", mean < 10),
        Check("high is <b>high</b>", "> 10", "20", "exact", bool(table.mean("high", "number").value > %s)),
    ]


def figures(table):
    shape = figure("Draw", "Number")
    shape.add_scatter(x=[0, 1, 2], y=table.numbers("low", "curve").mean(axis=0))
    return [shape]


def build(**changes):
    arms = {"low": {"offset": 0}, "high": {"offset": 20, **changes.pop("high", {})}}
    words = {"question": "Is high higher than low?", "measure": measure, "judge": judge, "figures": figures}
    return Experiment(**{**words, "arms": arms, "seeds": 3, "quick_seeds": 2, **changes})


@experiments.card(source="nobody 1999", claims=(77,))
def toy_shown():
    """Is high higher than low?"""
    return build()


@experiments.card(claims=(78,))
def toy_failing():
    """Is a measure that fails named?"""
    return build(high={"fails_at": 1})


@experiments.card(claims=(79,))
def toy_dying():
    """Is a process that dies named?"""
    return build(high={"dies_at": 1})


@experiments.card(claims=(80,))
def toy_needy():
    """Is what needs data examined?"""
    return build(needs=("mnist",))


def bad_judge(table):
    raise KeyError("no such arm")


@experiments.card(claims=(81,))
def toy_unjudged():
    """Is a judgement that fails said?"""
    return build(judge=bad_judge)


def bad_figures(table):
    raise RuntimeError("no ink")


@experiments.card(claims=(82,))
def toy_undrawn():
    """Does a figure that fails cost the numbers?"""
    return build(figures=bad_figures)
'''


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no data but what a test brings."""
    monkeypatch.setenv("TRAINWELL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TRAINWELL_DATA", raising=False)
    return tmp_path / "cache" / "lab"


@pytest.fixture
def write_toys(tmp_path: Path) -> Callable[..., str]:
    """Write the file of experiments: `write_toys(threshold=10)`; another threshold is another file."""

    def write(*, threshold: float = 10, name: str = "toys.py") -> str:
        path = tmp_path / name
        path.write_text(TOYS % threshold, "utf-8")
        return str(path)

    return write


@pytest.fixture
def own_shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Take what a test puts on the shelf of experiments down again; calling it does so at once."""
    before = {card.name: card for card in experiments}

    def clear() -> None:
        monkeypatch.setattr(experiments, "_cards", dict(before))
        for module in [name for name in sys.modules if name.startswith("trainwell_own_")]:
            del sys.modules[module]
        experiment_of.cache_clear()
        _source.cache_clear()

    clear()
    yield clear
    clear()


@pytest.fixture
def toys(write_toys: Callable[..., str], own_shelf: Callable[[], None]) -> list[str]:
    """The file of experiments, as `files=` takes it."""
    return [write_toys()]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What was really measured: one line a measurement."""
    path = tmp_path / "log.txt"
    monkeypatch.setenv("LAB_LOG", str(path))
    return lambda: sorted(path.read_text().splitlines()) if path.exists() else []
