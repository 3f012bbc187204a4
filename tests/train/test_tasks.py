"""Runs that answer numbers and labels, from the data to the classifier; and penalties in the step."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

import trainwell as tw
from trainwell.classifier import LabelPredictions, NumberPredictions
from trainwell.core.record import read_measures
from trainwell.errors import DataInvalid, OptionInvalid, RecipeInvalid
from trainwell.metrics import LabelMetrics, NumberMetrics
from trainwell.train.run import Run

Train = Callable[..., Run]
PLAIN = {"regularization.ema_decay": None, "regularization.patience": None, "regularization.clip_norm": None}
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(120, 3)).astype(np.float32)
NUMBERS = 1e4 + 500 * X @ [1.0, -2.0, 0.5] + 20 * GENERATOR.normal(size=120)
LABELS = np.stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0.5], axis=1)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = "".join(f"{a},{b},{c},{y!r}\n" for (a, b, c), y in zip(X.tolist(), NUMBERS.tolist(), strict=True))
    (tmp_path / "houses.csv").write_text("a,b,c,price\n" + rows)
    return tmp_path / "houses.csv"


def values(run: Run, name: str) -> list[float]:
    return [reading.value for reading in run.readings if reading.name == name]


def test_a_table_of_numbers_goes_from_fit_to_predict(train: Train, table: Path, tmp_path: Path) -> None:
    run = train("run", f"{table}:label=price", model="mlp:hidden=[]", epochs=25, optimizer="adamw:lr=0.1", set=PLAIN)
    assert run.task == run.recipe.data.task == "numbers"
    assert str(run.recipe.loss) == "squared_error"
    assert run.accuracy is None
    assert run.score is not None
    assert run.score > 0.99
    found = run.metrics
    assert isinstance(found, NumberMetrics)
    assert found.r2.value == pytest.approx(run.score, abs=1e-6)
    classifier = tw.load(run.path)
    answers = classifier.predict(X)
    assert isinstance(answers, NumberPredictions)
    best = LinearRegression().fit(X, NUMBERS)
    assert np.abs(answers.numbers[:, 0] - best.predict(X)).max() < 60, "near least squares, on the user's scale"
    (tmp_path / "new.csv").write_text("c,a,b\n" + "".join(f"{c},{a},{b}\n" for a, b, c in X[:4].tolist()))
    named = classifier.predict(tmp_path / "new.csv")
    np.testing.assert_allclose(named.numbers, answers.numbers[:4], rtol=1e-6)
    written = named.to_csv(tmp_path / "out.csv").read_text().splitlines()
    assert run.report().exists()
    assert written[0] == "input,price"
    assert float(written[1].split(",")[1]) == named[0].value


def test_its_readings_are_r2_of_each_split_and_say_so(train: Train) -> None:
    run = train("run", (X, NUMBERS), epochs=3, set=PLAIN)
    measures = read_measures(run.path / "record.jsonl")
    assert measures["train/loss"].unit == "squared deviations"
    assert "0 is always saying the mean" in measures["val/r2"].definition
    assert len(values(run, "val/r2")) == len(values(run, "epoch/train_r2")) == 3
    kept = tw.evaluate(run.path, (X, NUMBERS))
    assert isinstance(kept.metrics, NumberMetrics)
    assert kept.metrics.r2.value == pytest.approx(r2_score(NUMBERS, kept.predictions.numbers[:, 0]), abs=1e-12)
    final = values(run, "final/test/r2")
    assert final == [run.test_score]
    assert not values(run, "val/accuracy")


def test_the_score_of_an_epoch_does_not_depend_on_when_losses_were_drained(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = train("one", (X, NUMBERS), epochs=2)
    monkeypatch.setattr("trainwell.train.loop.DRAIN_STEPS", 1)
    other = train("other", (X, NUMBERS), epochs=2)
    assert values(one, "epoch/train_r2") == values(other, "epoch/train_r2")
    assert (one.path / "record.jsonl").read_bytes() == (other.path / "record.jsonl").read_bytes()


def test_a_rerun_and_a_resumed_run_of_numbers_are_bit_identical(train: Train, assert_same: Any, tmp_path: Path) -> None:
    whole = train("whole", (X, NUMBERS), epochs=4)
    again = tw.fit((X, NUMBERS), recipe=whole.path / "recipe.yaml", out=tmp_path / "again")
    assert_same(whole.path, again.path)


def test_several_numbers_are_scored_together(train: Train) -> None:
    both = np.stack([NUMBERS, X[:, 0] * 1e-3], axis=1)
    run = train("run", (X, both), epochs=30, model="mlp:hidden=[]", optimizer="adamw:lr=0.05", set=PLAIN)
    assert run.classes == ("0", "1")
    assert isinstance(run.metrics, NumberMetrics)
    assert [one.r2.value > 0.95 for one in run.metrics.per_number] == [True, True]


def test_labels_go_from_fit_to_predict(train: Train, tmp_path: Path) -> None:
    run = train("run", (X, LABELS), epochs=30, optimizer="adamw:lr=0.02", set=PLAIN)
    assert run.task == "labels"
    assert str(run.recipe.loss.name) == "binary_cross_entropy"
    assert isinstance(run.metrics, LabelMetrics)
    assert run.metrics.exact_match.value == run.score
    assert run.score is not None
    assert run.score > 0.7
    answers = tw.load(run.path).predict(X)
    assert isinstance(answers, LabelPredictions)
    assert answers.threshold == 0.5
    assert run.report().exists()
    assert (((answers.probabilities >= 0.5) == LABELS).mean()) > 0.9
    lines = answers.to_csv(tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "input,labels,p(0),p(1)"
    assert [line.split(",")[1] for line in lines[1:5]] == [";".join(one.labels) for one in list(answers)[:4]]
    everything = tw.load(run.path).predict(X, threshold=0.0)
    assert all(one.labels == ("0", "1") for one in everything)


def test_images_may_have_numbers(train: Train) -> None:
    images = GENERATOR.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    run = train("run", (images, images.mean((1, 2)) / 3), epochs=1, set=PLAIN)
    assert run.task == "numbers"
    assert run.report().exists()
    assert not run.recipe.augmentation
    assert "sheet/labels" not in tw.train.keep.read_kept(run.path / "samples.safetensors", "sheet/labels")


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "hinge", "squared_hinge"])
def test_classes_are_learned_with_every_loss_for_them(train: Train, loss: str) -> None:
    words = {"model": "mlp:hidden=[32]", "optimizer": "adamw:lr=0.02", "epochs": 12, "set": PLAIN}
    run = train("run", "points:kind=circles,samples=300,noise=0.02", loss=loss, **words)
    assert run.task == "classes"
    assert run.accuracy is not None
    assert run.accuracy > 0.9


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ({"loss": "hinge"}, RecipeInvalid, "hinge is for classes, and these data have numbers: choose squared_error"),
        ({"task": "classes"}, DataInvalid, "say task=numbers to learn numbers"),
        ({"set": {"regularization.class_weights": "balanced"}}, OptionInvalid, "balanced weighs classes, and these"),
    ],
)
def test_contradictions_are_refused_before_training(
    train: Train, words: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        train("run", (X, NUMBERS), **words)
    assert not (tmp_path / "run" / "record.jsonl").exists()


def test_an_evaluation_finds_columns_by_name(train: Train, table: Path, tmp_path: Path) -> None:
    run = train("run", f"{table}:label=price", epochs=2, set=PLAIN)
    rows = table.read_text().splitlines()
    other = tmp_path / "turned.csv"
    other.write_text("\n".join(",".join(reversed(row.split(","))) for row in rows))
    one, two = (tw.evaluate(run.path, f"{path}:label=price").metrics for path in (table, other))
    assert str(one) == str(two)
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(",".join(row.split(",")[:1] + row.split(",")[2:]) for row in rows))
    with pytest.raises(DataInvalid, match="has no column 'b' among its features"):
        tw.evaluate(run.path, f"{fewer}:label=price")


def test_columns_of_other_names_are_taken_by_place_only_where_that_is_safe(
    train: Train, table: Path, tmp_path: Path
) -> None:
    run = train("run", f"{table}:label=[price,a]", epochs=1, set=PLAIN)
    both = np.stack([NUMBERS, X[:, 0]], axis=1)
    found = tw.evaluate(run.path, (X[:, 1:], both))
    assert "0, 1 of the source is taken for price, a of the network" in found.notes
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("a,b,c,price", "size,b,c,rent"))
    with pytest.raises(DataInvalid, match="the source has the numbers rent, size, and this network answers price, a"):
        tw.evaluate(run.path, f"{other}:label=[rent,size]")


def test_a_threshold_for_numbers_is_refused(train: Train) -> None:
    run = train("run", (X, NUMBERS), epochs=1, set=PLAIN)
    with pytest.raises(OptionInvalid, match="this network answers numbers, which have no probabilities"):
        tw.load(run.path).predict(X, threshold=0.5)


SGD = "sgd:lr=0.05,momentum=0.9"


def trained_weights(run: Run) -> torch.Tensor:
    assert run.model is not None
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_the_l2_penalty_is_coupled_weight_decay_over_50_steps(train: Train) -> None:
    same = {"model": "mlp:hidden=[8]", "epochs": 5, "batch_size": 28, "set": {**PLAIN, "length.steps": 50}}
    decay = train("decay", optimizer=f"{SGD},weight_decay=0.01", **same)
    penalty = train("penalty", optimizer=f"{SGD},weight_decay=0", penalties="l2:strength=0.01", **same)
    none = train("none", optimizer=f"{SGD},weight_decay=0", **same)
    assert (trained_weights(decay) - trained_weights(penalty)).abs().max() < 1e-6
    assert (trained_weights(decay) - trained_weights(none)).abs().max() > 1e-3


def test_penalties_are_curves_of_their_own_and_the_loss_stays_that_of_the_data(train: Train) -> None:
    run = train("run", penalties=["l2:strength=0.5", "functional_l2:strength=0.1"], epochs=2, set=PLAIN)
    plain = train("plain", epochs=2, set=PLAIN)
    for name in ("penalty/l2", "penalty/functional_l2"):
        found = values(run, name)
        assert len(found) == len(values(run, "train/loss"))
        assert all(value > 0 for value in found)
    assert values(run, "train/loss")[0] == values(plain, "train/loss")[0]
    assert values(run, "penalty/l2")[-1] < values(run, "penalty/l2")[0]
    assert [str(choice) for choice in run.recipe.penalties] == [
        "l2:strength=0.5,biases=false",
        "functional_l2:strength=0.1",
    ]


def test_pieces_of_a_batch_give_the_gradient_of_the_whole(train: Train) -> None:
    words = {"penalties": ["l1:strength=0.01", "functional_l2"], "epochs": 1, "model": "mlp:hidden=[8]"}
    whole = train("whole", set=PLAIN, **words)
    pieces = train("pieces", set={**PLAIN, "batch.accumulate": 3}, **words)
    torch.testing.assert_close(trained_weights(whole), trained_weights(pieces), rtol=1e-4, atol=1e-6)
    for name in ("penalty/l1", "penalty/functional_l2"):
        np.testing.assert_allclose(values(whole, name), values(pieces, name), rtol=1e-4)


def test_machine_json_says_why_the_task_is_what_it_is(train: Train) -> None:
    run = train("run", (X, NUMBERS), epochs=1, set=PLAIN)
    choices = {one["field"]: one for one in json.loads((run.path / "machine.json").read_text())["choices"]}
    assert "y holds fractions" in choices["data.task"]["reason"]
    assert choices["loss"]["value"] == "squared_error"
