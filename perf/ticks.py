"""Ticks: many small files of whole hours, for what grows with files and shards instead of rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2000, 1, 1, tzinfo=UTC)
HOURS_A_FILE = 10
TICKS_AN_HOUR = 2
HOUR_US = 3_600_000_000


def make_ticks(parent: Path, files: int, *, hours_a_file: int = HOURS_A_FILE) -> Path:
    """Write so many files, once, and one more beside them in `new/`; return the folder."""
    folder = parent / f"ticks-{files}-{hours_a_file}"
    done = folder / "complete"
    if not done.exists():
        (folder / "new").mkdir(parents=True, exist_ok=True)
        for number in range(files):
            _write(folder / f"ticks-{number:06}.parquet", number * hours_a_file, hours_a_file)
        _write(folder / "new" / "ticks.parquet", files * hours_a_file, 1)
        done.touch()
    return folder


def pipeline_text(folder: Path, destination: Path, *, hours: int, new: bool = False) -> str:
    """Return the pipeline over so many hours; with `new`, also over the file beside."""
    paths = [f"{folder}/ticks-*.parquet", *([f"{folder}/new/ticks.parquet"] if new else [])]
    return _PIPELINE.format(paths=paths, destination=destination, end=hour_text(hours))


def hour_text(hours: int) -> str:
    """Return the instant so many hours after the start, as a command line takes it."""
    return f"{START + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def _write(path: Path, first_hour: int, hours: int) -> None:
    start_us = int(START.timestamp()) * 1_000_000 + first_hour * HOUR_US
    times = [start_us + place * (HOUR_US // TICKS_AN_HOUR) for place in range(hours * TICKS_AN_HOUR)]
    table = pa.table({"ts": pa.array(times, pa.timestamp("us")), "value": pa.array(range(len(times)), pa.int64())})
    pq.write_table(table, path)


_PIPELINE = """
name: ticks
time: {{column: ts, start: 2000-01-01, end: "{end}", shard: 1h}}
source: {{kind: files, path: {paths}}}
outputs:
  - table: hourly
    sql: SELECT date_trunc('hour', ts) AS hour, count(*) AS ticks, sum(value) AS total FROM rows GROUP BY ALL
destination: {{kind: duckdb, path: "{destination}"}}
"""
