"""`trainwell graph`: what it prints, and which code it leaves with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainwell import cli

RECTANGLE = ("(x + y) * z", "x=-2", "y=5", "z=-4")
NEURAL = """
import torch
from torch import nn


class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class Net(nn.Linear):
    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes)

    def forward(self, x):
        return Wrong.apply(super().forward(x))
"""


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["trainwell", "graph", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    printed = capsys.readouterr()
    return int(str(left.value.code)), printed.out, printed.err


def test_an_expression_is_drawn_nudged_and_given_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run(capsys, monkeypatch, *RECTANGLE, "--nudge", "x=1", "--nudge", "z=1", "--json")
    assert code == 0
    assert "x + 1: predicted -16 = -12 + (-4) * 1, true -16" in out
    plain = json.loads(out.splitlines()[-1])
    assert (plain["value"], plain["gradients"]) == (-12, {"x": -4, "y": -4, "z": 3})
    assert [one["predicted"] for one in plain["nudges"]] == [-16, -9]


def test_an_expression_needs_no_torch() -> None:
    code = (
        f"import sys; sys.argv = ['trainwell', 'graph', *{RECTANGLE!r}]\n"
        "from trainwell.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip().endswith("False")


def test_a_picture_is_a_page_that_needs_no_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, _ = run(capsys, monkeypatch, *RECTANGLE, "--html", tmp_path / "x.html")
    assert code == 0
    assert f"the picture is {tmp_path / 'x.html'}" in out
    assert "<script src=" not in (tmp_path / "x.html").read_text("utf-8")


def test_a_network_of_the_shelf_is_shown_and_checked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run(capsys, monkeypatch, "--model", "mlp:hidden=[4]", "--input", "3", "--check", "--json")
    assert code == 0
    plain = json.loads(out.splitlines()[-1])
    assert [node["operation"] for node in plain["nodes"]] == ["input", "linear", "relu", "linear", "cross_entropy"]
    assert plain["check"]["grade"] == "right"


def test_a_wrong_network_of_the_users_own_leaves_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "my_net.py").write_text(NEURAL)
    code, out, _ = run(capsys, monkeypatch, "--model", f"{tmp_path}/my_net.py:Net", "--check")
    assert code == 1
    assert "wrong: the gradient of weight, bias is wrong" in out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("(x + y) * z", "x=-2"), "the expression needs a value for y, z"),
        (("x * w", "x=1", "v=2"), "the expression has no input 'v'"),
        (("x +", "x=1"), "is not an expression"),
        (("1 / x", "x=0"), "1 / 0 has no value: it divides by zero"),
        (("exp(x)", "x=1e4"), "is larger than a float64 can hold"),
        (("x", "x=cat"), "x must be a finite number, got 'cat'"),
        (("x", "x"), "a value is set as name=value"),
        (("x", "x=1", "--nudge", "y=1"), "the graph has no node 'y'"),
        (("x", "x=1", "--nudge", "x=cat"), "the nudge of x must be a finite number"),
        (("x", "x=1", "--check"), "--check is for networks"),
        ((), "give either an expression"),
        (("x", "--model", "mlp"), "give either an expression"),
        (("--model", "mlp", "--nudge", "x=1"), "leave them out beside --model"),
        (("--model", "mlp", "--input", "3y"), "--input is a shape"),
        (("--model", "mpl"), "mlp"),
        (("x", "x=1", "--html", "no/such/folder.html"), "cannot be written"),
    ],
)
def test_what_is_wrong_is_one_paragraph_and_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], error: str
) -> None:
    code, out, err = run(capsys, monkeypatch, *words)
    assert code == 2
    assert out == "" or "--html" in words
    assert err.startswith("error: ")
    assert error in err
    assert err.count("\n") == 1
