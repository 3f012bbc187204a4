"""Labels against scikit-learn's metrics on indicators; intervals where nothing is wrong; words."""

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from trainwell.errors import DataInvalid, ShapeError
from trainwell.metrics import measure_labels

NAMES = ("sun", "rain", "snow", "fog")


def some(count: int, size: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = (generator.random((count, size)) < np.linspace(0.2, 0.7, size)).astype(np.int64)
    truths[0], truths[1] = 0, 1
    return np.clip(0.3 * truths + 0.7 * generator.random((count, size)), 0, 1), truths


@pytest.mark.parametrize(("count", "size"), [(20, 1), (60, 2), (500, 4)])
def test_every_number_is_scikit_learns(count: int, size: int) -> None:
    probabilities, truths = some(count, size)
    found, said = measure_labels(probabilities, truths, NAMES[:size]), (probabilities >= 0.5).astype(int)

    def same(ours: float, theirs: float) -> None:
        assert ours == pytest.approx(theirs, abs=1e-12)

    same(found.exact_match.value, reference.accuracy_score(truths, said))
    same(found.hamming_loss.value, reference.hamming_loss(truths, said))
    if size > 1:
        same(found.micro_f1.value, reference.f1_score(truths, said, average="micro"))
        same(found.macro_f1.value, reference.f1_score(truths, said, average="macro"))
        same(found.roc_auc.value, reference.roc_auc_score(truths, probabilities, average="macro"))
    losses = [reference.log_loss(truths[:, k], probabilities[:, k], labels=[0, 1]) for k in range(size)]
    same(found.log_loss.value, float(np.mean(losses)))
    for k, one in enumerate(found.per_label):
        known = reference.precision_recall_fscore_support(truths[:, k], said[:, k], average="binary")
        np.testing.assert_allclose([one.precision.value, one.recall.value, one.f1.value], known[:3], atol=1e-12)
        same(one.roc_auc.value, reference.roc_auc_score(truths[:, k], probabilities[:, k]))
        assert (one.support, one.predicted) == (truths[:, k].sum(), said[:, k].sum())
    totals = (found.exact_match, found.hamming_loss, found.micro_f1, found.macro_f1, found.roc_auc, found.log_loss)
    assert all(each.low <= each.value <= each.high for each in totals)
    json.dumps(found.to_plain(), allow_nan=False)


def test_a_label_that_never_occurs_is_left_out_of_macro_f1_and_said() -> None:
    probabilities, truths = some(80, 3)
    truths[:, 2], probabilities[:, 2] = 0, 0.1
    found = measure_labels(probabilities, truths, NAMES[:3])
    known = reference.f1_score(truths, probabilities >= 0.5, average="macro", zero_division=np.nan)
    assert found.macro_f1.value == pytest.approx(known, abs=1e-12)
    assert not found.per_label[2].f1.is_defined
    assert found.notes == ("no sample here has snow",)


def test_without_a_mistake_the_intervals_still_have_a_width() -> None:
    truths = np.array([[1, 0], [0, 1]] * 20)
    found = measure_labels(0.8 * truths + 0.1, truths, NAMES[:2])
    assert found.exact_match.value == found.micro_f1.value == found.macro_f1.value == 1
    assert found.exact_match.low < 0.95
    assert found.micro_f1.low < 0.97
    assert found.macro_f1.low < 0.97
    assert found.hamming_loss.high > 0.05


def test_the_threshold_is_where_a_label_becomes_true() -> None:
    found = measure_labels([[0.4], [0.2]], [[1], [0]], ["sun"], threshold=0.3)
    assert found.exact_match.value == 1
    assert measure_labels([[0.5], [0.2]], [[1], [0]], ["sun"]).exact_match.value == 1


def test_the_text_names_every_label_and_escapes_pages() -> None:
    found = measure_labels(*some(30, 2), ("<b>", "rain"))
    assert [line.split()[0] for line in str(found).splitlines()[-2:]] == ["<b>", "rain"]
    assert "&lt;b&gt;" in found._repr_html_()


def test_what_is_no_label_is_refused_with_words() -> None:
    with pytest.raises(ShapeError, match=r"must both be \(N, 2\), one column a label, got \(1, 1\) and \(1, 1\)"):
        measure_labels([[0.5]], [[1]], ["a", "b"])
    with pytest.raises(DataInvalid, match="must be floats from 0 to 1: pass the sigmoid"):
        measure_labels([[1.5]], [[1]], ["a"])
    with pytest.raises(DataInvalid, match="targets of labels must be 0 or 1"):
        measure_labels([[0.5]], [[2]], ["a"])
