"""`trainwell anatomy`: what it prints, its page, and which code it leaves with."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainwell import cli

Say = Callable[..., tuple[int, str, str]]
OWN = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, in_channels, num_classes, width=4):
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]
        super().__init__(nn.Conv2d(in_channels, width, 3), *head)
"""


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Say:
    """Run the verb in this process, in an empty folder, and return code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trainwell", "anatomy", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        return int(str(left.value.code)), printed.out, printed.err

    return run


def test_stages_totals_and_paths_are_printed_and_given_as_json(say: Say) -> None:
    code, out, err = say("resnet20", "--input", "3x32x32", "--classes", 10, "--json")
    assert (code, err) == (0, "")
    table = out.splitlines()[:-1]
    assert "resnet20 on 3x32x32" in table[0]
    assert sum(line.startswith("layer") for line in table) == 3
    assert any("9 residual units" in line and "Binomial(9, 1/2)" in line for line in table)
    plain = json.loads(out.splitlines()[-1])
    assert (plain["parameters"], plain["operations"], plain["count"]) == (269_722, 40_551_040, "macs")
    assert plain["paths"]["units"] == 9
    assert plain["layers"][0]["shape"] == [16, 32, 32]


def test_every_layer_is_shown_on_demand(say: Say) -> None:
    _, out, _ = say("resnet20", "--input", "3x32x32", "--layers")
    lines = out.splitlines()
    assert sum("Conv2d 3x3" in line for line in lines) == 19
    assert any(line.startswith("layer2.0.conv1") and "Conv2d 3x3/2" in line and "4,608" in line for line in lines)


def test_a_network_of_ones_own_with_options(say: Say, tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(OWN)
    code, out, _ = say("my_net.py:Net:width=6", "--input", "1x9x9", "--classes", 3, "--count", "folded", "--json")
    plain = json.loads(out.splitlines()[-1])
    assert code == 0
    conv, pool, dense, softmax = 60 * 49, 6 * 49, 21, 3
    assert (plain["parameters"], plain["operations"]) == (81, conv + pool + dense + softmax)


def test_the_page_holds_picture_and_tables_and_asks_no_network(say: Say, tmp_path: Path) -> None:
    code, out, _ = say("resnet20", "--input", "3x32x32", "--html", "net.html")
    page = (tmp_path / "net.html").read_text("utf-8")
    assert code == 0
    assert "the page is net.html" in out
    assert "default-src 'none'" in page
    assert 'data-chart="layers"' in page
    assert 'data-chart="paths"' in page
    assert "layer3.2.conv2" in page


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["resnet35"], "no model is called 'resnet35': did you mean"),
        (["resnet20", "--input", "3x32y32"], "--input is a shape of whole numbers >= 1 such as 3x224x224"),
        (["resnet20", "--input", "0x3x3"], "got '0x3x3'"),
        (["resnet20", "--input", "64"], "it works on images (C, H, W)"),
        (["resnet20", "--input", "3x2x2"], "images of at least 4x4 pixels, got 2x2"),
        (["resnet20", "--count", "flops"], "no count is called 'flops'"),
        (["resnet20:deep=3"], "no option 'deep'"),
        (["nowhere.py:Net"], "nowhere.py does not exist"),
        (["mlp", "--input", "4", "--html", "no/where.html"], "cannot be written"),
    ],
)
def test_bad_words_are_refused_in_a_paragraph(say: Say, words: list[str], expected: str) -> None:
    code, _, err = say(*words)
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1
