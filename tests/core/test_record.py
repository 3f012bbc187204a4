"""The record is append-only, checksummed, safe against torn tails, and read while it is written."""

import json
import math
import zlib
from pathlib import Path

import pytest

from trainwell.core.record import Journal, Measure, Reading, Record, read_lines, read_measures, read_readings
from trainwell.errors import RunDamaged, RunInvalid

LOSS = Measure("train/loss", "nats", "mean loss of a step")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A record with three readings."""
    made = Record(tmp_path / "record.jsonl")
    made.define([LOSS])
    made.append(Reading(step, "train/loss", 2.0 / (step + 1)) for step in range(3))
    return made


def path_of(record: Record) -> Path:
    """Where the record lies."""
    return record._journal.path


def test_readings_come_back_exactly_and_in_order(record: Record) -> None:
    values = [0.1, 1 / 3, 1e-300, 5e-324, math.pi, math.inf, -math.inf]
    record.append(Reading(3 + i, "train/loss", value, where=f'layer "{i}" é') for i, value in enumerate(values))
    found = read_readings(path_of(record))
    assert [reading.value for reading in found[3:]] == values
    assert [reading.step for reading in found] == list(range(10))
    assert found[5].where == 'layer "2" é'
    record.close()


def test_nan_is_kept_and_every_line_is_plain_json(record: Record) -> None:
    record.append([Reading(3, "train/loss", math.nan)])
    assert math.isnan(read_readings(path_of(record))[-1].value)
    for line in path_of(record).read_text("utf-8").splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    record.close()


def test_each_line_carries_the_crc_of_its_own_text(record: Record) -> None:
    for line in path_of(record).read_text("utf-8").splitlines():
        body = line[: line.index(',"crc"')]
        assert json.loads(line)["crc"] == f"{zlib.crc32(body.encode()):08x}"
    record.close()


def test_a_name_is_defined_once_before_its_first_use(record: Record) -> None:
    record.define([LOSS, Measure("lr", "per step", "rate")])
    lines = list(read_lines(path_of(record)))
    assert [line.get("define") for line in lines] == ["train/loss", None, None, None, "lr"]
    assert read_measures(path_of(record))["train/loss"] == LOSS
    record.close()


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_torn_tail_is_left_out_when_read_and_cut_when_opened(record: Record, cut: int) -> None:
    record.close()
    path = path_of(record)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert len(read_readings(path)) == 2
    again = Record(path)
    again.append([Reading(2, "train/loss", 2.0 / 3)])
    assert path.read_bytes() == whole
    again.close()


def test_an_altered_line_is_an_error_that_says_where(record: Record) -> None:
    record.close()
    path = path_of(record)
    lines = path.read_text("utf-8").splitlines(keepends=True)
    lines[1] = lines[1].replace("2.0", "1.0")
    path.write_text("".join(lines), "utf-8")
    for act in (lambda: list(read_lines(path)), lambda: Journal(path)):
        with pytest.raises(RunDamaged, match="is damaged at byte .*fails its checksum and more lines follow it"):
            act()


def test_it_is_read_while_it_is_written(record: Record) -> None:
    assert len(read_readings(path_of(record))) == 3
    record.append([Reading(3, "train/loss", 0.5)])
    assert len(read_readings(path_of(record))) == 4
    record.close()


def test_cutting_forgets_what_came_later(record: Record) -> None:
    length = record.length
    record.define([Measure("lr", "per step", "rate")])
    record.append([Reading(3, "lr", 0.5)])
    record.cut(length)
    record.define([Measure("lr", "per step", "rate")])
    record.append([Reading(3, "lr", 0.25)])
    assert [reading.value for reading in read_readings(path_of(record), name="lr")] == [0.25]
    record.close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match="cannot be written: Is a directory"):
        Journal(tmp_path)


def test_a_full_disk_leaves_no_half_written_line(record: Record) -> None:
    before = path_of(record).read_bytes()
    file = record._journal._file

    class Full:
        """Writes half and then has no space."""

        def __init__(self) -> None:
            self.calls = 0

        def write(self, data: bytes) -> int:
            self.calls += 1
            if self.calls > 1:
                raise OSError(28, "No space left on device")
            return file.write(data[: len(data) // 2])

        def fileno(self) -> int:
            return file.fileno()

    record._journal._file = Full()  # type: ignore[assignment]
    with pytest.raises(RunInvalid, match="No space left on device: free some space"):
        record.append([Reading(3, "train/loss", 0.5)])
    assert path_of(record).read_bytes() == before
    file.close()
