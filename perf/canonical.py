"""The canonical job by raypipe, and the comparison of its answer with that of a peer."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from perf.events import Events

TABLE = "hourly"


class WrongAnswer(Exception):
    """A contender's table differs from raypipe's: its figures count for nothing."""


def pipeline_text(
    events: Events, destination: Path, *, name: str = "canonical", output: str = "sql", files: str = "events-*"
) -> str:
    """Return the canonical pipeline over such events; the output is of kind `sql` or `group_by`."""
    return _PIPELINE.format(
        name=name, folder=events.folder, files=files, destination=destination, output=_OUTPUTS[output], end=events.shape.end
    )


def run_command(config: Path, *options: str) -> list[str]:
    """Return the command that runs a pipeline as a user would."""
    return [sys.executable, "-m", "raypipe", "run", str(config), "-q", *options]


def require_equal(destinations: Mapping[str, Path]) -> None:
    """Compare every table with the first, rows and all, however they are ordered. Raises WrongAnswer."""
    (first, expected), *others = destinations.items()
    for name, found in others:
        if (missing := _rows_apart(expected, found)) != (0, 0):
            raise WrongAnswer(f"{name} answers otherwise than {first}: {missing[0]} rows of {first} missing, {missing[1]} others")


def _rows_apart(expected: Path, found: Path) -> tuple[int, int]:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{expected}' AS expected (READ_ONLY); ATTACH '{found}' AS found (READ_ONLY)")
        ours, theirs = f"SELECT {_COLUMNS} FROM expected.{TABLE}", f"SELECT {_COLUMNS} FROM found.{TABLE}"
        query = f"SELECT (SELECT count(*) FROM ({ours} EXCEPT ALL {theirs})), (SELECT count(*) FROM ({theirs} EXCEPT ALL {ours}))"
        return connection.execute(query).fetchone() or (-1, -1)


_COLUMNS = "hour::TIMESTAMP, region::VARCHAR, event_type::VARCHAR, events::BIGINT, amount::DOUBLE, users::BIGINT"

_PIPELINE = """
name: {name}
description: Events an hour, region and type, with distinct users
time: {{column: ts, start: 2026-01-01, end: "{end}", shard: 1d}}
source: {{kind: files, path: "{folder}/{files}.parquet"}}
quality:
  max_quarantined: {{share: 5%, at_least: 10}}
  rules:
    - {{name: valid_amount, expect: "amount >= 0", nulls: fail, otherwise: drop}}
transform:
  - deduplicate: {{key: [event_id]}}
  - derive: {{hour: "date_trunc('hour', ts)", host: "split_part(url, '/', 3)"}}
  - lookup: {{path: "{folder}/countries.csv", on: country, columns: [region]}}
outputs:
{output}
destination: {{kind: duckdb, path: "{destination}"}}
"""

_OUTPUTS: Mapping[str, str] = {
    "sql": """\
  - table: hourly
    sql: >-
      SELECT hour, region, event_type, count(*) AS events, sum(amount) AS amount, count(DISTINCT user_id) AS users
      FROM rows GROUP BY ALL
""",
    "group_by": """\
  - table: hourly
    group_by: [hour, region, event_type]
    measures: {events: count(*), amount: sum(amount), users: count(DISTINCT user_id)}
""",
}


def table_options(overrides: Mapping[str, str]) -> Sequence[str]:
    """Return the options of the command line that set keys of a pipeline."""
    return [word for key, value in overrides.items() for word in ("--set", f"{key}={value}")]
