"""The page as a whole: what stands on it for every kind of run, and that it is sealed."""

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from trainwell.core.record import Journal, Reading
from trainwell.errors import RunInvalid
from trainwell.report import write_report

ADDRESSES = ("src", "href", "action", "data", "poster", "srcset", "background")
EVIL = "<script>alert('x')</script>"


class Elements(HTMLParser):
    """Collects every element with its attributes, and the words outside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._is_code = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._is_code = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False

    def handle_data(self, data: str) -> None:
        self.words += "" if self._is_code else data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def page_of(writer: Any) -> Elements:
    return Elements(write_report(writer.folder.path).read_text("utf-8"))


def test_a_finished_run_shows_every_section(finished: Any) -> None:
    page = page_of(finished)
    sections = [attributes["id"] for attributes in page.of("section")]
    assert sections == ["quality", "cases", "learning", "data", "making", "again"]
    assert "finished" in page.words
    assert "of 24 test images, never trained or chosen on, are classified correctly" in page.words
    assert "this torch sees no GPU" in page.words
    assert "trainwell fit --recipe" in page.words


def test_every_chart_is_drawn_once_and_has_words_for_those_who_cannot_see_it(finished: Any) -> None:
    page = page_of(finished)
    charts = [attributes for attributes in page.of("div") if "data-chart" in attributes]
    keys = [attributes["data-chart"] for attributes in charts]
    assert len(keys) == len(set(keys))
    assert {"confusion", "calibration", "threshold", "loss", "accuracy", "counts", "speed"} < set(keys)
    assert all(attributes["role"] == "img" and len(attributes["aria-label"] or "") > 20 for attributes in charts)
    captions = page.of("figcaption")
    assert len(captions) == len(charts)
    assert all(attributes.get("alt") for attributes in page.of("img"))


def test_a_measure_that_nobody_knows_gets_a_chart_with_its_definition(finished: Any) -> None:
    assert "Share of units that never fire." in page_of(finished).words


def test_the_page_asks_no_other_machine_for_anything(finished: Any) -> None:
    page = page_of(finished)
    for tag, attributes in page.found:
        for name in ADDRESSES:
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_plotly_is_embedded_once_and_the_page_is_small(finished: Any) -> None:
    text = write_report(finished.folder.path).read_text("utf-8")
    assert len(re.findall(r"plotly\.js v\d", text)) == 1
    assert len(text) < 6_000_000


def test_words_of_the_user_are_escaped_everywhere(writer: Callable[..., Any]) -> None:
    made = writer(classes=(EVIL, "a&b", "$x$")).begin(notes=[EVIL], problems=[EVIL]).learn().keep_samples().finish()
    made.event(5, "set", lr=0.1, why=EVIL)
    text = write_report(made.folder.path).read_text("utf-8")
    assert EVIL not in text
    assert "<script>alert" not in text


def test_writing_a_page_needs_no_torch(finished: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from trainwell.report import write_report;"
        f"write_report(Path({str(finished.folder.path)!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_importing_the_report_imports_no_plotly() -> None:
    code = "import sys, trainwell.report; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_a_run_that_died_says_what_is_missing_and_how_to_go_on(writer: Callable[..., Any]) -> None:
    page = page_of(writer().begin().learn(epochs=2).keep_samples())
    assert "ended without saying why, after 2 epochs and 20 steps" in page.words
    assert "Missing, because they are made at the end of a run" in page.words
    assert "trainwell resume" in page.words
    assert "of 18 val images were classified correctly after epoch 2" in page.words
    assert "trainwell predict" not in page.words


def test_a_run_that_died_before_its_first_step_has_a_page(writer: Callable[..., Any]) -> None:
    made = writer()
    made.folder.write_text(made.folder.recipe, "model: mlp\n")
    page = page_of(made)
    assert "after not a single step" in page.words
    assert "No accuracy was measured yet." in page.words
    assert [a["id"] for a in page.of("section")] == ["making", "again"]


def test_a_run_that_met_nan_says_where_and_why(writer: Callable[..., Any]) -> None:
    made = writer().begin().learn(extra=[Reading(31, "train/loss", float("nan"))])
    made.event(31, "non-finite", op="aten.log", layer="head", cause="the learning rate is too high")
    page = page_of(made)
    assert "NaN or Inf appeared after 3 epochs" in page.words
    assert "First at step 31, in aten.log in layer head. Cause: the learning rate is too high" in page.words
    assert "1 value that was not finite is left out" in page.words


def test_a_stopped_run_says_that_a_person_stopped_it(writer: Callable[..., Any]) -> None:
    assert "was stopped by a person after 3 epochs" in page_of(writer().begin().learn().event(30, "stopped")).words


def test_a_running_run_is_not_called_dead(writer: Callable[..., Any]) -> None:
    made = writer().begin().learn()
    with made.folder.owned():
        assert "This run is still going on" in page_of(made).words


def test_a_damaged_file_is_named_and_the_rest_is_shown(finished: Any) -> None:
    finished.folder.samples.write_bytes(b"torn")
    finished.folder.machine.write_text("{")
    page = page_of(finished)
    assert f"{finished.folder.samples} is damaged" in page.words
    assert f"{finished.folder.machine} is not JSON" in page.words
    assert "are classified correctly" in page.words


def test_an_altered_record_is_named(finished: Any) -> None:
    record = finished.folder.record
    record.write_text(record.read_text("utf-8").replace('"step":3', '"step":4', 1), "utf-8")
    assert "a line fails its checksum" in page_of(finished).words


def test_features_are_drawn_as_points_and_have_no_pictures(writer: Callable[..., Any]) -> None:
    page = page_of(writer(kind="features").begin().learn().keep_samples().finish())
    assert "points" in [attributes.get("data-chart") for attributes in page.of("div")]
    assert not page.of("img")
    assert "of 24 test samples" in page.words


def test_without_val_no_single_mistakes_are_shown(writer: Callable[..., Any]) -> None:
    page = page_of(writer().begin().learn().keep_samples().finish(splits=("test",)))
    assert "cases" not in [attributes["id"] for attributes in page.of("section")]


def test_without_test_the_headline_says_that_val_is_too_good(writer: Callable[..., Any]) -> None:
    page = page_of(writer().begin().learn().keep_samples().finish(splits=("val",)))
    assert "val also chose the weights, so this is a little too good" in page.words


def test_with_many_classes_the_page_stays_small(writer: Callable[..., Any]) -> None:
    made = writer(classes=[f"class {n}" for n in range(300)]).begin().learn().keep_samples().finish(each=2)
    path = write_report(made.folder.path)
    assert path.stat().st_size < 6_000_000
    words = Elements(path.read_text("utf-8")).words
    assert "Of 300 classes, the 20 with the most frequent mistakes are drawn." in words
    assert "The classes with the lowest F1 stand first." in words


def test_the_page_is_replaced_whole(finished: Any) -> None:
    finished.folder.report.write_text("old")
    assert write_report(finished.folder.path) == finished.folder.report
    assert finished.folder.report.read_text("utf-8").startswith("<!doctype html>")
    assert not list(finished.folder.path.glob(".report*"))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Any) -> None:
    with pytest.raises(RunInvalid, match="is not a run folder"):
        write_report(tmp_path)


def test_probabilities_that_are_none_are_named_and_left_out(finished: Any) -> None:
    path = finished.folder.predictions
    save_file({"test/probabilities": np.full((4, 3), np.nan), "test/targets": np.zeros(4, dtype=np.int64)}, path)
    page = page_of(finished)
    assert "probabilities must be finite" in page.words
    assert "quality" not in [attributes["id"] for attributes in page.of("section")]


def test_names_that_are_no_utf8_do_not_lose_the_page(writer: Callable[..., Any]) -> None:
    made = writer(classes=("caf\udce9", "dog", "eel")).begin(notes=["im\udcff.png is small"]).learn().keep_samples()
    page = page_of(made.finish())
    assert "caf\ufffd" in page.words
    assert "m\ufffd.png is small" in page.words  # the page begins a sentence with a capital letter
    assert not list(made.folder.path.glob(".report*"))


def test_a_page_says_how_often_test_was_looked_at(finished: Any) -> None:
    assert "24 test images, which were looked at once, for this page." in page_of(finished).words
    timing = Journal(finished.folder.timing)
    timing.append([{"finished": 60, "seconds": 9.0}])
    timing.close()
    assert "24 test images, which were looked at 2 times, each time that this run reached an end." in (
        page_of(finished).words
    )


def test_confidences_fitted_on_the_samples_that_judge_them_are_called_so(writer: Callable[..., Any]) -> None:
    made = writer().begin().learn().keep_samples().finish(splits=("val",), about={"temperature": "1.25"})
    words = page_of(made).words
    assert "Confidences were fitted on these very samples, for want of a test split, so the calibration error" in words
    both = writer("both").begin().learn().keep_samples().finish(about={"temperature": "1.25"})
    assert "these very samples" not in page_of(both).words


def test_killed_before_its_end_was_noted_the_answers_are_those_of_its_end(writer: Callable[..., Any]) -> None:
    made = writer().begin().learn().keep_samples().finish(about={"step": "30"})
    cut_finished(made)
    words = page_of(made).words
    assert "mistakes below are those of its last step: all was stored, and only the end was not noted" in words
    assert "earlier end" not in words


def test_killed_on_the_way_to_a_second_end_answers_and_classifier_are_of_the_first(writer: Callable[..., Any]) -> None:
    made = writer().begin().learn(epochs=4).keep_samples().finish(about={"step": "30"})
    words = page_of(made).words
    assert "ended without saying why, after 4 epochs" in words
    assert "mistakes below, and the classifier, are from an earlier end of this run" in words


def test_killed_between_predictions_and_classifier_nothing_is_said_that_is_not_so(writer: Callable[..., Any]) -> None:
    made = writer().begin().learn(epochs=4).keep_samples().finish()
    made.folder.predictions.unlink()
    words = page_of(made).words
    assert "Missing, because they are made at the end of a run" in words
    assert "Its classifier may be the one of an earlier end" in words
    assert "mistakes below" not in words


def test_a_finished_run_whose_answers_are_gone_says_how_to_make_them_again(finished: Any) -> None:
    finished.folder.predictions.unlink()
    words = page_of(finished).words
    assert "reached its end, but its answers to val and test are not there any more" in words
    assert "Make them again with: trainwell resume" in words
    assert "has not reached its end" not in words


def test_scores_that_are_not_finite_are_named_with_their_samples(writer: Callable[..., Any]) -> None:
    made = writer().begin().learn()
    made.event(30, "non-finite", split="test", count=2, samples=["a.png", "b.png"])
    words = page_of(made).words
    assert "All weights are finite, but scores of 2 test samples are not: a.png, b.png." in words
    assert "trainwell set" in words


def cut_finished(made: Any) -> None:
    """Take the line that says that a run ended off its clock, as a kill before it does."""
    lines = made.folder.timing.read_bytes().splitlines(keepends=True)
    made.folder.timing.write_bytes(b"".join(lines[:-1]))
