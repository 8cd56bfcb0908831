"""Contents: all that a destination says of a pipeline, as values that two destinations can be compared by."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import duckdb

LEDGER = (
    """SELECT live.output, live.lo, live.hi, live.rows, live.output_fp, live.input_fp, read, expanded, loaded, filtered, duplicate,
              quarantined
       FROM _raypipe.live JOIN _raypipe.shards USING (pipeline, seq, lo, hi) ORDER BY ALL""",
    "SELECT shard, source, position, rule, error, raw FROM _raypipe.quarantine ORDER BY ALL",
    "SELECT output, lo, hi FROM _raypipe.coverage ORDER BY ALL",
    "SELECT watermark FROM _raypipe.pipeline",
    "SELECT lo, hi, code FROM _raypipe.failed ORDER BY ALL",
)
"""Without what differs from run to run: sequence numbers, run ids, attempts and times."""


def contents(path: Path, *tables: str) -> list[list[tuple[Any, ...]]]:
    """Return the rows of the tables and of the ledger, sorted."""
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        queries = [*(f'SELECT * FROM "{table}" ORDER BY ALL' for table in tables), *LEDGER]
        return [connection.execute(query).fetchall() for query in queries]
