"""The verbs that use a finished run: what they print, the table, the JSON, and every bad input as one paragraph."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import trainwell as tw
from trainwell import cli
from trainwell.core.machine import AutoChoice
from trainwell.train.reporter import Silence

CLASSES = ("cat", "dog")


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line, which `--json` makes one JSON object."""
        plain = json.loads(self.out.splitlines()[-1])
        assert isinstance(plain, dict)
        return plain

    def is_refused(self, *words: str) -> bool:
        """Whether it is one paragraph on stderr with these words in it, and exit code 2."""
        return self.code == 2 and self.err.count("\n") == 1 and all(word in self.err for word in ("error: ", *words))


Command = Callable[..., Said]


@pytest.fixture
def trainwell(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], place: Path) -> Command:
    """Run the command line in this process, beside a run: `trainwell("predict", "run", "a.png")`."""
    monkeypatch.chdir(place)

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["trainwell", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return Said(left.value.code, printed.out, printed.err)

    return run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with `run`, trained on `photos/cat` (dark) and `photos/dog` (light), 20 of each."""
    generator = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "photos" / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 128, (6, 6, 3)) + 127 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02d}.png")
    tw.fit(
        tmp_path / "photos",
        out=tmp_path / "run",
        model="logistic",
        optimizer="adamw:lr=0.05",
        augmentation=[],
        epochs=5,
        reporter=Silence(),
        set={"machine.threads": 1},
    )
    return tmp_path


def test_predict_says_a_line_for_each_file(trainwell: Command) -> None:
    said = trainwell("predict", "run", "photos/cat/00.png", "photos/dog/01.png")
    assert (said.code, said.err) == (0, "")
    assert re.fullmatch(r"photos/cat/00.png: cat \(\d+\.\d %\)\nphotos/dog/01.png: dog \(\d+\.\d %\)\n", said.out)


def test_predict_takes_folders_and_writes_a_table(trainwell: Command) -> None:
    said = trainwell("predict", "run", "photos", "--csv", "out.csv")
    assert said.code == 0
    assert "and 20 more" in said.out
    assert said.out.splitlines()[-1] == "40 answers with all probabilities are in out.csv"
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    expected = tw.load("run").predict("photos")
    assert [row["input"] for row in rows] == list(expected.names)
    assert [row["label"] for row in rows] == expected.labels
    np.testing.assert_allclose([float(row["p(dog)"]) for row in rows], expected.probabilities[:, 1], rtol=1e-5)


def test_predict_answers_in_json(trainwell: Command) -> None:
    said = trainwell("predict", "run", "photos/cat/00.png", "--threshold", 0.1, "--json")
    plain = said.json
    assert plain.keys() == {"run", "classes", "threshold", "predictions", "skipped"}
    assert (plain["run"], plain["classes"], plain["threshold"], plain["skipped"]) == ("run", ["cat", "dog"], 0.1, [])
    (answer,) = plain["predictions"]
    assert (answer["input"], answer["label"]) == ("photos/cat/00.png", "cat")
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_below_the_threshold_the_answer_is_dont_know(trainwell: Command) -> None:
    said = trainwell("predict", "run", "photos/cat/00.png", "--threshold", 1, "--json", "--csv", "out.csv")
    assert said.out.startswith("photos/cat/00.png: don't know (perhaps cat, ")
    assert said.json["predictions"][0]["label"] is None
    assert next(csv.DictReader(Path("out.csv").read_text().splitlines()))["label"] == ""


def test_files_that_cannot_be_used_are_all_named_or_left_out(trainwell: Command) -> None:
    Path("bad.jpg").write_bytes(b"\xff\xd8 no picture")
    Path("empty.png").touch()
    Path("notes.txt").write_text("hello")
    files = ["bad.jpg", "photos/cat/00.png", "empty.png", "notes.txt"]
    said = trainwell("predict", "run", *files)
    assert said.is_refused("bad.jpg", "empty.png", "notes.txt")
    assert said.out == ""
    said = trainwell("predict", "run", *files, "--skip-bad", "--json")
    assert said.code == 0
    assert "3 files were left out, because they cannot be used: bad.jpg is no image: it begins with" in said.out
    assert "; empty.png is empty (0 bytes); notes.txt is no image" in said.out
    assert [bad["file"] for bad in said.json["skipped"]] == ["bad.jpg", "empty.png", "notes.txt"]
    assert trainwell("predict", "run", "bad.jpg", "--skip-bad").is_refused("bad.jpg")


def test_a_folder_without_images_and_a_file_that_is_not_there_are_refused(trainwell: Command) -> None:
    Path("empty").mkdir()
    assert trainwell("predict", "run", "empty").is_refused("the folder empty holds no images, no files at all")
    Path("empty/notes.txt").touch()
    assert trainwell("predict", "run", "empty").is_refused("only 1 other file (notes.txt)")
    assert trainwell("predict", "run", "nowhere.png").is_refused("nowhere.png")
    assert trainwell("predict", "run").is_refused("missing argument 'FILES")


@pytest.mark.parametrize("table", ["nowhere/out.csv", "photos", "photos/cat/00.png/out.csv"])
def test_a_table_that_cannot_be_written_is_refused_before_any_work(
    trainwell: Command, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it must not predict what cannot be kept")

    monkeypatch.setattr("trainwell.classifier.Classifier.predict", never)
    said = trainwell("predict", "run", "photos", "--csv", table)
    assert said.is_refused(f"the table cannot be written to {table}: ", "in a folder that exists and")
    assert not Path("nowhere").exists()


def test_a_table_that_is_there_stays_as_it_is_until_the_new_one_is_whole(trainwell: Command) -> None:
    Path("out.csv").write_text("mine")
    Path("bad.png").touch()
    assert trainwell("predict", "run", "bad.png", "--csv", "out.csv").is_refused("bad.png")
    assert Path("out.csv").read_text() == "mine"
    assert trainwell("predict", "run", "photos/cat/00.png", "--csv", "out.csv").code == 0
    assert Path("out.csv").read_text().startswith("input,label,confidence,p(cat),p(dog)")


def test_a_threshold_that_is_no_confidence_is_refused(trainwell: Command) -> None:
    assert trainwell("predict", "run", "photos", "--threshold", 1.5).is_refused("threshold", "from 0 to 1, got 1.5")
    assert trainwell("predict", "run", "photos", "--threshold", "high").is_refused("'--threshold'", "a number")
    assert trainwell("predict", "run", "photos", "--device", "gpu").is_refused("device", "gpu")


@pytest.mark.parametrize("words", [["predict", "run", "photos"], ["evaluate", "run", "photos"]])
def test_a_run_without_a_classifier_is_refused_with_how_to_go_on(trainwell: Command, words: list[str]) -> None:
    for file in Path("run/classifier").rglob("*"):
        if file.is_file():
            file.unlink()
    for folder in ("run/classifier/golden", "run/classifier"):
        Path(folder).rmdir()
    assert trainwell(*words).is_refused("run", "trainwell resume run")
    assert trainwell(words[0], "nowhere", words[2]).is_refused("nowhere does not exist")


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize("name", ["weights.safetensors", "classifier.json", "golden.safetensors"])
def test_a_tampered_classifier_is_refused_by_the_file(trainwell: Command, verb: str, name: str) -> None:
    path = Path("run/classifier", name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert trainwell(verb, "run", "photos").is_refused(name)


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_the_device_is_chosen_where_none_is_named(
    trainwell: Command, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    asked = []

    def choose(device: str) -> AutoChoice:
        asked.append(device)
        return AutoChoice("machine.device", "cpu", "for this test")

    monkeypatch.setattr("trainwell.classifier.loading.choose_device", choose)
    assert trainwell(verb, "run", "photos").code == 0
    assert asked == ["auto"]
    assert "auto is a GPU where there is one" in " ".join(trainwell(verb, "--help").out.split())


def test_the_page_is_written_without_torch(place: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom trainwell.cli.using import report\n"
        f"report(Path({str(place / 'run')!r}))\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"


def test_evaluate_prints_every_metric_and_each_note_once(trainwell: Command) -> None:
    said = trainwell("evaluate", "run", "photos")
    assert (said.code, said.err) == (0, "")
    for word in ("accuracy", "balanced accuracy", "macro F1", "log loss", "calibration error", "ROC-AUC", "precision"):
        assert word in said.out
    notes = [line for line in said.out.splitlines() if line.startswith("note: ")]
    assert len(notes) == len(set(notes))
    assert sum("were in the training split" in note for note in notes) == 1


def test_evaluate_answers_in_json_with_all_notes(trainwell: Command) -> None:
    plain = trainwell("evaluate", "run", "photos", "--split", "all", "--json").json
    assert (plain["run"], plain["source"], plain["count"]) == ("run", "photos", 40)
    assert plain["accuracy"].keys() == {"value", "low", "high"}
    assert [one["name"] for one in plain["classes"]] == ["cat", "dog"]
    assert any("were in the training split" in note for note in plain["notes"])
    assert np.array(plain["confusion"]).sum() == 40


def test_evaluate_refuses_sources_that_do_not_fit(trainwell: Command) -> None:
    Path("photos/cat").rename("photos/cta")
    assert trainwell("evaluate", "run", "photos").is_refused("does not know: cta: did you mean 'cat'?")
    assert trainwell("evaluate", "run", "photoz").is_refused("did you mean", "photos")
    assert trainwell("evaluate", "run", "photos", "--split", "tset").is_refused("split must be one of", "got 'tset'")
    assert trainwell("evaluate", "run", "photos", "--split", "test").is_refused("has no test split", "--split all")
    assert trainwell("evaluate", "run", "points:samples=20").is_refused("does not know: 0, 1")
    assert trainwell("evaluate", "run").is_refused("missing argument 'SOURCE'")


def test_report_writes_the_page_again(trainwell: Command) -> None:
    Path("run/report.html").unlink()
    said = trainwell("report", "run", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("the report is run/report.html: open it in any browser")
    assert said.json == {"run": "run", "report": "run/report.html"}
    assert Path("run/report.html").is_file()


def test_report_is_written_for_a_run_that_died_and_refused_where_there_is_none(trainwell: Command) -> None:
    for name in ("record.jsonl", "predictions.safetensors", "samples.safetensors", "timing.jsonl", "report.html"):
        Path("run", name).unlink()
    assert trainwell("report", "run").code == 0
    assert Path("run/report.html").is_file()
    assert trainwell("report", "nowhere").is_refused("nowhere does not exist")
    assert trainwell("report", "photos").is_refused("photos is not a run folder: it has no recipe.yaml")


def test_every_refusal_is_json_too(trainwell: Command) -> None:
    for words in (["predict", "run", "nowhere.png"], ["evaluate", "run", "nowhere"], ["report", "nowhere"]):
        said = trainwell(*words, "--json")
        assert said.json["exit_code"] == said.code == 2
        assert f"error: {said.json['error']}\n" == said.err
