"""What is said about probabilities and targets that cannot be measured."""

import subprocess
import sys

import numpy as np
import pytest

from trainwell.errors import DataInvalid, ShapeError, UserError
from trainwell.metrics import calibration, coverage, least_certain, likely_label_errors, measure, most_wrong, shown

GOOD = np.array([[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("probabilities", "targets", "error", "words"),
    [
        (np.zeros((0, 2)), [], ShapeError, "at least one sample"),
        (np.array([0.1, 0.9]), [0], ShapeError, "probabilities must be (N, K)"),
        (np.ones((2, 1)), [0, 0], ShapeError, "at least two classes, got (2, 1)"),
        (np.array([[1, 0], [0, 1]]), [0, 1], DataInvalid, "must be floats in [0, 1], got int64"),
        (np.array([[0.9, 0.1], [np.nan, 0.8]]), [0, 1], DataInvalid, "row 1 holds NaN or Inf"),
        (np.array([[0.9, 0.1], [2.0, 3.5]]), [0, 1], DataInvalid, "row 1 has the smallest number 2 and the sum 5.5"),
        (np.array([[1.5, -0.5], [0.2, 0.8]]), [0, 1], DataInvalid, "smallest number -0.5"),
        (GOOD, [0], ShapeError, "targets must be (N,) = (2,), got (1,)"),
        (GOOD, [[0], [1]], ShapeError, "got (2, 1)"),
        (GOOD, [0.0, 1.0], DataInvalid, "targets must be integer class ids, got float64"),
        (GOOD, [0, 2], DataInvalid, "class ids in [0, 2), but target 1 is 2"),
        (GOOD, [-1, 1], DataInvalid, "target 0 is -1"),
    ],
)
def test_bad_answers_are_named(probabilities: object, targets: object, error: type[UserError], words: str) -> None:
    for function in (calibration, coverage, lambda p, t: measure(p, t, ["a", "b"]), lambda p, t: most_wrong(p, t, 3)):
        with pytest.raises(error) as caught:
            function(probabilities, targets)
        assert words in str(caught.value)


def test_every_function_refuses_scores_that_are_no_probabilities() -> None:
    scores = np.array([[3.0, -1.0], [0.5, 2.0]])
    for function in (likely_label_errors, most_wrong, shown):
        with pytest.raises(DataInvalid, match="take the softmax"):
            function(scores, [0, 1], 3)
    with pytest.raises(DataInvalid, match="take the softmax"):
        least_certain(scores, 3)


def test_names_that_do_not_fit_the_columns_are_counted() -> None:
    with pytest.raises(ShapeError, match="classes must be K = 2 names, one for each column of .*, got 3"):
        measure(GOOD, [0, 1], ["a", "b", "c"])


def test_float16_answers_are_taken() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(100), size=50).astype(np.float16)
    assert measure(rows, np.arange(50), [str(n) for n in range(100)]).count == 50


def test_measuring_needs_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, trainwell.metrics; print([name for name in ('torch', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
