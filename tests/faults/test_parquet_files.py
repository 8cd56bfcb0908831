"""Damaged Parquet: a file that is not whole fails by name, a bad page fails the shards that need it, the others go on."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from raypipe.core import events as ev
from raypipe.engine import stage

PAGES = {"row_group_size": 500, "write_page_checksum": True, "compression": "none", "use_dictionary": False}
DAY = timedelta(days=1)
ROWS_A_DAY = 500


def events(first_day: int = 0, days: int = 3) -> pa.Table:
    """Rows of some days, in order of time: with one row group a day, a shard needs one row group."""
    numbers = range(first_day * ROWS_A_DAY, (first_day + days) * ROWS_A_DAY)
    times = [datetime(2026, 1, 1) + DAY * (number // ROWS_A_DAY) + timedelta(seconds=number % ROWS_A_DAY) for number in numbers]
    return pa.table({
        "id": pa.array(numbers, pa.int64()),
        "ts": pa.array(times, pa.timestamp("us")),
        "amount": pa.array([number / 8 for number in numbers], pa.float64()),
        "note": pa.array([f"note {number}" for number in numbers]),
    })  # fmt: skip


def replace_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.utime(path, (10**9, 10**9))


DAMAGES = {
    "half": lambda data: data[: len(data) // 2],
    "no-magic": lambda data: data[:-4],  # the footer's last bytes
    "empty": lambda data: b"",
    "zeros": lambda data: b"PAR1" + b"\0" * 100 + b"PAR1",
    "not-parquet": lambda data: b"id,ts\n1,2026-01-01T00:00:00\n",
}


def every_shard_fails_by_name(failures: list[tuple[str, str]], path: Path) -> None:
    assert len(failures) == 3  # where its rows belong cannot be known
    assert {code for code, _ in failures} == {"source_unreadable"}
    assert all(error.startswith(f"{path}: is not a whole Parquet file") for _, error in failures)


@pytest.mark.fault(22)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_whole_fails_the_plan_by_name(bench, damage):
    bench.parquet("a.parquet", events(0, 1))
    path = bench.parquet("b.parquet", events(1, 2))
    replace_bytes(path, DAMAGES[damage](path.read_bytes()))
    bench.config("*.parquet")
    every_shard_fails_by_name(bench.planned_failures(), path)


@pytest.mark.fault(22)
def test_a_file_that_is_not_whole_fails_the_run_by_name_and_is_read_whole_once_mended(bench):
    bench.parquet("a.parquet", events(0, 1))
    path = bench.parquet("b.parquet", events(1, 2))
    whole = path.read_bytes()
    replace_bytes(path, DAMAGES["half"](whole))
    bench.config("*.parquet")
    every_shard_fails_by_name(bench.failed(), path)
    assert bench.query("SELECT * FROM _raypipe.live") == []
    replace_bytes(path, whole)
    report = bench.done()
    assert report.closed.rows.read == 3 * ROWS_A_DAY
    assert bench.query("SELECT count(*), count(DISTINCT id) FROM clean") == [(3 * ROWS_A_DAY, 3 * ROWS_A_DAY)]
    assert bench.query("SELECT * FROM _raypipe.failed") == []


@pytest.mark.fault(23)
def test_a_flipped_bit_fails_the_shards_that_read_the_page_and_no_other(bench):
    table = events()
    path = bench.parquet(
        "in.parquet", table, row_group_size=ROWS_A_DAY, write_page_checksum=True, compression="none", use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    at = data.index(b"note 700")  # in the second day's row group
    data[at + 5] ^= 1
    replace_bytes(path, bytes(data))
    bench.config("in.parquet")
    ((code, error),) = bench.failed()
    assert code == "source_unreadable"
    assert error.startswith(f"{path}: ")
    assert "crc" in error.lower() or "checksum" in error.lower()
    assert bench.query("SELECT DISTINCT _shard::DATE::VARCHAR FROM clean ORDER BY ALL") == [("2026-01-01",), ("2026-01-03",)]
    assert bench.query("SELECT count(*), count(DISTINCT id) FROM clean") == [(2 * ROWS_A_DAY, 2 * ROWS_A_DAY)]


class BreaksStagedFiles:
    """Flips a byte of the first file that a task leaves, before it is committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: list[Path] = []

    def on(self, event: ev.RunEvent) -> None:
        if isinstance(event, ev.TaskEnded) and not self.broken:
            path = sorted(self.folder.rglob("clean.parquet"))[0]
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(bytes(data))
            self.broken.append(path)


@pytest.mark.fault(23)
def test_a_staged_file_that_was_damaged_is_not_committed_and_the_work_is_done_again(bench, monkeypatch):
    monkeypatch.setattr(stage.StageWhenDear, "wants_files", lambda self, **figures: True)
    bench.parquet("in.parquet", events())
    bench.config("in.parquet")
    observer = BreaksStagedFiles(bench.folder)
    bench.done(observer=observer)
    assert len(observer.broken) == 1
    assert bench.query("SELECT count(*), count(DISTINCT id), sum(amount) FROM clean") == [
        (3 * ROWS_A_DAY, 3 * ROWS_A_DAY, sum(range(3 * ROWS_A_DAY)) / 8)
    ]
