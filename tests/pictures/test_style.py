"""Colours stand out on white and on near-black, for everyone, and words of users stay words."""

import itertools

import numpy as np
import pytest

from trainwell.pictures.style import CLASSES, NEUTRAL, SPLITS, WRONG, figure, label, template, translucent

PAGES = {"light": "#fcfcfb", "dark": "#15181b"}
# Machado et al. 2009: linear RGB as people without one kind of cone see it.
DICHROMATS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(color: str) -> np.ndarray:
    """The colour in linear RGB, by the definition of sRGB."""
    srgb = np.array([int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """The contrast of WCAG 2.2."""
    a, b = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) + 0.05 for color in (one, other))
    return b / a


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB under D65."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ rgb.clip(0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("color", sorted({*SPLITS.values(), *CLASSES, NEUTRAL, WRONG}))
def test_data_stand_out_three_to_one_from_the_page(color: str, page: str) -> None:
    assert contrast(color, page) >= 3


@pytest.mark.parametrize("theme", PAGES)
def test_text_stands_out_seven_to_one_from_the_page(theme: str) -> None:
    assert contrast(template(theme).layout.font.color, PAGES[theme]) >= 7


@pytest.mark.parametrize("kind", DICHROMATS)
def test_the_splits_can_be_told_apart_by_the_colour_blind(kind: str) -> None:
    seen = [lab(np.array(DICHROMATS[kind]) @ linear(color)) for color in (*SPLITS.values(),)]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) >= 10


def test_backgrounds_are_transparent_so_that_the_page_shows_through() -> None:
    assert template("dark").layout.paper_bgcolor == template("light").layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_both_axes_of_a_figure_are_named() -> None:
    shown = figure("epoch", "Loss in nats")
    assert shown.layout.xaxis.title.text == "epoch"
    assert shown.layout.title.text == "Loss in nats"


def test_a_label_is_escaped_cut_and_on_one_line() -> None:
    assert label("<a href='x'>") == "&lt;a href='x'&gt;"
    assert label("a\nb") == "a?b"
    assert len(label("x" * 100)) == 16


def test_translucent_keeps_the_colour() -> None:
    assert translucent("#ff8000", 0.25) == "rgba(255,128,0,0.25)"
