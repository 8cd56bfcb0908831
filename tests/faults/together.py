"""Ten runs of one pipeline at once, over overlapping windows of one DuckDB file: what each is asked for, and what must be true."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random

import duckdb

from raypipe.testing import oracle
from tests.faults.contents import contents
from tests.faults.forks import Ended, Server

RUNS = 10
DAYS = 12
START = date(2026, 1, 1)
ROWS = 2_000
CONFIG = """
name: together
time: {column: ts, start: 2026-01-01, end: 2026-01-13, shard: 6h}
source: {kind: files, path: "in*.csv", format: csv, columns: {id: {type: int64, required: true}, ts: timestamp, amount: float64}}
outputs:
  - {table: clean, rows: all}
  - {table: daily, sql: "SELECT date_trunc('day', ts) AS day, count(*) AS events, sum(amount) AS amount FROM rows GROUP BY ALL"}
destination: {kind: duckdb, path: "NAME.duckdb"}
run: {memory: 256MiB}
"""
MANY_TASKS = "from raypipe.core import grouping\ngrouping.ROWS_MIN = 1\n"
NEVER_SHOWN = ("error", "Traceback", "trying again", "lock")
"""Nothing of this may be told to a person whose run only shares a destination with others."""


def write(folder: Path) -> None:
    """Write the source, in three files that all reach over the whole time."""
    for number in range(3):
        lines = []
        for one in range(number, ROWS, 3):
            at = START + timedelta(days=one % DAYS)
            lines.append(f"{one},{at}T{one % 24:02}:{one % 60:02}:00,{one % 97 / 64}\n")
        path = folder / f"in{number}.csv"
        path.write_text("id,ts,amount\n" + "".join(lines))
        os.utime(path, (10**9, 10**9))


def windows(rng: Random) -> Sequence[tuple[date, date]]:
    """Return a window for each run; the first is all of history, so that nothing is left over."""
    found = [(START, START + timedelta(days=DAYS))]
    for _ in range(RUNS - 1):
        first, last = sorted(rng.sample(range(DAYS + 1), 2))
        found.append((START + timedelta(days=first), START + timedelta(days=last)))
    return found


def run_all(server: Server, folder: Path, name: str, asked: Sequence[tuple[date, date]]) -> list[Ended]:
    """Start a run for each window at once and wait for all of them."""
    (folder / f"{name}.yaml").write_text(CONFIG.replace("NAME", name))
    started = [
        server.cli(
            "run", f"{name}.yaml", "--executor", "inline", "--start", str(start), "--end", str(end), cwd=folder, before=MANY_TASKS
        )
        for start, end in asked
    ]
    return [process.wait() for process in started]


def check(folder: Path, name: str, serial: str, ended: Sequence[Ended]) -> None:
    """Raise AssertionError unless every run ended well and quietly, nothing was done twice, and all is as after one run."""
    for one in ended:
        assert one.code == 0, one.err
        assert not [word for word in NEVER_SHOWN if word in one.err], one.err
    for verb in (name, serial):
        oracle.check(folder / f"{verb}.yaml")
    assert contents(folder / f"{name}.duckdb", "clean", "daily") == contents(folder / f"{serial}.duckdb", "clean", "daily")
    with contextlib.closing(duckdb.connect(str(folder / f"{name}.duckdb"), read_only=True)) as connection:
        query = "SELECT lo, count(*) FROM _raypipe.shards WHERE outcome IN ('loaded', 'empty') GROUP BY lo HAVING count(*) > 1"
        assert connection.execute(query).fetchall() == [], "a shard was done twice"
        states = connection.execute("SELECT DISTINCT state FROM _raypipe.runs").fetchall()
        assert states == [("done",)]
