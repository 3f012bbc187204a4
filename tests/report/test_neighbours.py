"""The section on nearest neighbours: when there is one, and what it says."""

from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from trainwell.pictures.neighbours import alike
from trainwell.report.evidence import gather
from trainwell.report.neighbours import NEIGHBOURS, nearest_neighbours
from trainwell.report.page import render

Writer = Callable[..., Any]
RANDOM = np.random.default_rng(1)


def spaces(labels: np.ndarray, **apart: float) -> dict[str, np.ndarray]:
    """Features in which classes lie so far apart, by stage."""
    return {
        name: (RANDOM.normal(size=(len(labels), 3)) + far * np.eye(3)[labels]).astype(np.float32)
        for name, far in apart.items()
    }


def test_a_run_with_transfer_shows_its_neighbours_at_each_stage(finished: Any) -> None:
    labels = np.repeat(np.arange(3), 20)
    codes = spaces(labels, random=0.0, source=1.0, end=50.0)
    save_file(codes, finished.folder.neighbours)
    found = nearest_neighbours(gather(finished.folder))
    assert found is not None
    for stage in codes:
        assert f"{100 * alike(codes[stage], labels, NEIGHBOURS):.0f}\u00a0% with" in found.lead
    assert "100\u00a0% with weights of this run" in found.lead
    assert f"by chance {100 * 19 / 59:.0f}\u00a0% would be" in found.lead
    assert len(found.chart.figure["layout"]["images"]) == 6 * (1 + 3 * NEIGHBOURS)
    assert 'href="#neighbours"' in render(finished.folder)


def test_frozen_features_are_shown_once(finished: Any) -> None:
    codes = spaces(np.repeat(np.arange(3), 20), random=0.0, source=1.0)
    save_file({**codes, "end": codes["source"]}, finished.folder.neighbours)
    found = nearest_neighbours(gather(finished.folder))
    assert found is not None
    assert "weights of the source" in found.lead
    assert "weights of this run" not in found.lead


def test_without_features_of_the_end_there_is_no_section(finished: Any) -> None:
    assert nearest_neighbours(gather(finished.folder)) is None
    save_file(spaces(np.repeat(np.arange(3), 20), source=1.0), finished.folder.neighbours)
    assert nearest_neighbours(gather(finished.folder)) is None
    assert 'href="#neighbours"' not in render(finished.folder)


def test_features_of_other_images_are_passed_over(finished: Any) -> None:
    save_file(spaces(np.arange(3), source=1.0, end=1.0), finished.folder.neighbours)
    assert nearest_neighbours(gather(finished.folder)) is None


def test_a_damaged_file_is_said(finished: Any) -> None:
    finished.folder.neighbours.write_bytes(b"cut")
    evidence = gather(finished.folder)
    assert any("neighbours.safetensors is damaged" in words for words in evidence.troubles)
    assert nearest_neighbours(evidence) is None
