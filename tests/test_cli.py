"""The command line: every verb, what it prints, and which code it leaves with."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from trainwell import cli
from trainwell.core.shelves import SHELVES

QUICK = ["points:kind=moons,samples=200", "--model", "mlp:hidden=[8]", "--set", "machine.threads=1"]
EPOCH = re.compile(
    r"^epoch (\d+)/(\d+): loss \d+\.\d{3}, train [01]\.\d{3}, val [01]\.\d{3}, lr \d\.\de[-+]\d\d$", re.MULTILINE
)


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """The last line, which `--json` makes one JSON object."""
        plain = json.loads(self.out.splitlines()[-1])
        assert isinstance(plain, dict)
        return plain


Command = Callable[..., Said]


@pytest.fixture
def trainwell(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the command line in this process, in an empty folder: `trainwell("fit", "digits")`."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["trainwell", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return Said(left.value.code, printed.out, printed.err)

    return run


def test_fit_prints_choices_epochs_and_accuracies(trainwell: Command) -> None:
    said = trainwell("fit", *QUICK, "--epochs", 2, "--out", "run")
    assert (said.code, said.err) == (0, "")
    assert EPOCH.findall(said.out) == [("1", "2"), ("2", "2")]
    lines = said.out.splitlines()
    words = ["data", "network", "augment", "training", "machine", "reasons"]
    assert [line.split()[0] for line in lines[:6]] == words
    assert "200 samples of 2 features in 2 classes: 140 train, 20 val, 40 test" in lines[0]
    assert "batches of 16, 2 epochs = 18 steps" in lines[3]
    assert re.search(r"^test +\d+\.\d\d % right \(95 % interval .* to .*\), 40 samples never trained", said.out, re.M)
    assert re.search(r"^report +run/report.html$", said.out, re.M)
    assert lines[-1].startswith("next ")


def test_fit_answers_in_json(trainwell: Command) -> None:
    said = trainwell("fit", *QUICK, "--epochs", 1, "--out", "run", "--json")
    assert said.json.keys() == {
        "run", "task", "val_score", "test_score", "val_accuracy", "test_accuracy", "seconds", "epochs", "recipe",
        "report", "metrics",
    }  # fmt: skip
    assert said.json["run"] == "run"
    assert said.json["epochs"] == 1


def test_fit_without_out_makes_a_folder_below_runs(trainwell: Command) -> None:
    trainwell("fit", *QUICK, "--epochs", 1)
    (run,) = Path("runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-points-mlp", run.name)


def test_every_word_of_fit_reaches_the_recipe(trainwell: Command) -> None:
    said = trainwell(
        "fit", *QUICK, "--optimizer", "sgd:lr=0.05", "--schedule", "cosine:warmup=0.5", "--loss",
        "cross_entropy:smoothing=0.1", "--preprocessing", "minmax", "--batch-size", 20, "--epochs", 1, "--seed", 5,
        "--device", "cpu", "--deterministic", "--skip-bad", "--set", "regularization.clip_norm=1", "--out", "run",
    )  # fmt: skip
    assert said.code == 0
    text = Path("run/recipe.yaml").read_text("utf-8")
    for line in ("lr: 0.05", "warmup: 0.5", "smoothing: 0.1", "preprocessing: minmax", "size: 20", "clip_norm: 1.0"):
        assert line in text
    for line in ("seed: 5", "device: cpu", "deterministic: true", "skip_bad: true", "epochs: 1"):
        assert line in text


def test_minutes_become_epochs(trainwell: Command) -> None:
    said = trainwell("fit", *QUICK, "--minutes", 0.02, "--batch-size", 70, "--out", "run")
    assert said.code == 0
    assert "0.02 minutes hold" in said.out
    assert "length.epochs" in Path("run/machine.json").read_text("utf-8")


def test_fit_begins_from_the_recipe_of_a_run(trainwell: Command) -> None:
    first = trainwell("fit", *QUICK, "--epochs", 1, "--out", "first", "--json")
    second = trainwell("fit", "--recipe", "first", "--out", "second", "--json")
    assert second.json["recipe"] == first.json["recipe"]
    assert Path("first/record.jsonl").read_bytes() == Path("second/record.jsonl").read_bytes()


def test_resume_goes_on_and_further(trainwell: Command) -> None:
    first = trainwell("fit", *QUICK, "--epochs", 1, "--out", "run", "--json")
    again = trainwell("resume", "run", "--json")
    assert again.code == 0
    assert again.json["test_accuracy"] == first.json["test_accuracy"]
    further = trainwell("resume", "run", "--epochs", 2)
    assert EPOCH.findall(further.out) == [("2", "2")]


def test_set_says_when_it_holds(trainwell: Command) -> None:
    trainwell("fit", *QUICK, "--epochs", 1, "--out", "run")
    said = trainwell("set", "run", "lr=0.02", "weight_decay=0")
    assert (
        said.out == "run trains with lr=0.02, weight_decay=0 as soon as it goes on"
        " (`trainwell resume`, with --epochs where it is finished)\n"
    )
    said = trainwell("set", "run", "lr=0.03", "--json")
    assert said.json == {"run": "run", "set": {"lr": 0.03}, "is_running": False}
    trainwell("resume", "run", "--epochs", 2)
    events = [json.loads(line) for line in Path("run/events.jsonl").read_text().splitlines()]
    assert [event["values"] for event in events if event["kind"] == "set"] == [
        {"lr": 0.02, "weight_decay": 0},
        {"lr": 0.03},
    ]


def test_list_shows_every_member_of_every_shelf(trainwell: Command) -> None:
    said = trainwell("list")
    for kind, shelf in SHELVES.items():
        assert f"{kind}: {shelf.member}\n" in said.out
        assert all(f"  {card.name} " in said.out and card.summary in said.out for card in shelf)
    assert trainwell("list", "--json").json.keys() == SHELVES.keys()


def test_list_shows_one_shelf(trainwell: Command) -> None:
    said = trainwell("list", "optimizers")
    assert said.out.startswith("optimizer: ")
    assert "model:" not in said.out
    plain = trainwell("list", "optimizer", "--json").json
    assert list(plain) == ["optimizer"]


@pytest.mark.parametrize("kind", SHELVES)
def test_show_says_all_about_every_member(trainwell: Command, kind: str) -> None:
    for card in SHELVES[kind]:
        said = trainwell("show", kind, card.name)
        assert said.out.startswith(card.summary)
        assert ">>>" not in said.out
        assert "Args:" not in said.out
        for option in card.options.values():
            assert f"  {option.name} = " in said.out
            assert option.allowed in said.out
        plain = trainwell("show", kind, card.name, "--json").json
        assert (plain["shelf"], plain["name"], plain["summary"]) == (kind, card.name, card.summary)
        assert plain["options"].keys() == card.options.keys()  # type: ignore[attr-defined]


def test_env_shows_versions_and_choices(trainwell: Command) -> None:
    said = trainwell("env")
    assert re.search(r"^torch +\d", said.out, re.M)
    assert re.search(r"^machine\.threads = \d+ \(", said.out, re.M)
    plain = trainwell("env", "--json").json
    assert plain.keys() >= {"versions", "processor", "cores", "memory_gib", "gpus", "choices"}


def test_no_words_at_all_show_the_help(trainwell: Command) -> None:
    said = trainwell()
    assert said.code == 0
    for verb in ("fit", "resume", "set", "list", "show", "env"):
        assert re.search(rf"^  {verb} +[A-Z].*[^.]\.$", said.out, re.M), "the verb and one whole sentence"


@pytest.mark.parametrize("verb", ["fit", "resume", "set", "list", "show", "env"])
def test_each_verb_has_help_json_and_debug(trainwell: Command, verb: str) -> None:
    said = trainwell(verb, "--help")
    assert said.code == 0
    assert "--json" in said.out
    assert "--debug" in said.out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fit --epoch 3", "there is no option '--epoch': did you mean '--epochs'?"),
        ("fit --zzz", "there is no option '--zzz': the options are in `--help`"),
        ("fit --epochs x", "invalid value for '--epochs': it must be a whole number, got 'x'"),
        ("fit --minutes=y", "invalid value for '--minutes': it must be a number"),
        ("fitt", "No such command 'fitt'. Did you mean 'fit'?"),
        ("fit digits --set epochs", "a value is set as name=value, got 'epochs'"),
        ("fit digitz", "there is no file, folder or built-in source called 'digitz': did you mean 'digits'?"),
        ("resume", "missing argument 'RUN'"),
        ("resume nowhere", "nowhere does not exist"),
        ("set nowhere lr=1", "nowhere does not exist"),
        ("list modle", "no shelf is called 'modle': did you mean 'model'?"),
        ("show optimizer sdg", "no optimizer is called 'sdg': did you mean 'sgd'?"),
    ],
)
def test_an_error_of_the_user_is_one_paragraph_and_exit_code_2(trainwell: Command, line: str, words: str) -> None:
    said = trainwell(*line.split())
    assert said.code == 2
    assert said.out == ""
    assert said.err.lower().startswith(f"error: {words}".lower())
    assert said.err.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_an_error_is_json_too(trainwell: Command) -> None:
    said = trainwell("fit", "digitz", "--json")
    assert said.json["exit_code"] == 2
    assert str(said.json["error"]).startswith("there is no file, folder or built-in source called 'digitz'")


def test_set_refuses_unknown_names_and_values(trainwell: Command) -> None:
    trainwell("fit", *QUICK, "--epochs", 1, "--out", "run")
    said = trainwell("set", "run", "lrr=1", "weight_decay=-1")
    assert said.code == 2
    assert "'lrr' cannot be set while a run goes on: did you mean 'lr'?" in said.err
    assert "weight_decay must be a number >= 0, got -1" in said.err
    assert not Path("run/requests").exists()


def test_a_fault_of_ours_is_exit_code_3_and_says_so(trainwell: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise LookupError("lost\n  and gone")

    monkeypatch.setattr("trainwell.core.machine.facts", broken)
    said = trainwell("env")
    assert said.code == 3
    assert said.err == (
        "error: this should not have happened (LookupError: lost and gone): run it with --debug to see where\n"
    )


def test_debug_shows_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainwell.errors import DataInvalid

    monkeypatch.setattr(sys, "argv", ["trainwell", "fit", "digitz", "--debug"])
    with pytest.raises(DataInvalid, match="digitz"):
        cli.main()


def test_python_m_trainwell_is_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trainwell", "fit", "nowhere", "--debug"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode not in (0, 2)  # a traceback leaves as Python leaves
    assert "Traceback" in done.stderr
    assert "DataInvalid" in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "trainwell", "list"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, at most a minute."""
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, "waited for a minute"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.usefixtures("trainwell")
def test_control_c_stores_the_run_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = [*QUICK, "--epochs", "100000", "--out", "run"]
    words = [sys.executable, "-m", "trainwell", "fit", *words]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        try:
            wait_for(lambda: (tmp_path / "run" / "timing.jsonl").exists() or child.poll() is not None)
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 3
    found = re.fullmatch(
        r"error: stopped at step (\d+) of \d+, everything is stored: go on with `trainwell resume run`\n", err
    )
    assert found
    assert (tmp_path / "run" / "checkpoints" / f"step-{int(found[1]):06d}").is_dir()


@pytest.mark.slow
def test_the_live_line_shows_loss_accuracy_speed_and_time_left(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = ["fit", "points:samples=2000", "--epochs", "60", "--batch-size", "10", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "trainwell", *words, "--set", "machine.threads=1"]
    child = subprocess.Popen(command, stdout=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"})
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux says so when the other side is closed
        pass
    assert child.wait(timeout=60) == 0
    text = shown.decode()
    assert re.search(r"epoch \d+/60 .* loss \d\.\d{3}, val \d\.\d{3}, [\d,]+ images/s, \d+:\d\d left", text)
    assert re.search(r"epoch 60/60: loss .*, train .*, val .*, lr .*, [\d,]+ images/s", text)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is given back"
