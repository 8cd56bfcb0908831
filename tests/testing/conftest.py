"""A small pipeline over made-up events, as a user may have one, with rows that know where they belong."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raypipe import (
    Column,
    DuckDBDestination,
    EventTime,
    FilesSource,
    Filter,
    Pipeline,
    Quality,
    RowsOutput,
    Rule,
    SqlOutput,
    parse_datatype,
    parse_width,
    to_us,
)

START = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
DAYS = 4


@pytest.fixture
def events() -> list[dict[str, Any]]:
    """Twelve events, one in each eight hours, with a number of its own in each."""
    return [
        {"ts": (START + timedelta(hours=8 * place)).replace(tzinfo=None), "n": place, "kind": "ab"[place % 2]}
        for place in range(3 * DAYS)
    ]


@pytest.fixture
def counted(tmp_path: Path) -> Pipeline:
    """Counts events by the hour, with a rule and a filter; neither its source nor its destination is there."""
    types = {"ts": "timestamp", "n": "int64", "kind": "string"}
    return Pipeline(
        name="counted",
        time=EventTime(column="ts", start_us=to_us(START), end_us=to_us(START + timedelta(days=DAYS)), shard=parse_width("1d")),
        source=FilesSource(
            paths=(f"{tmp_path}/nowhere/*.csv",),
            format="csv",
            columns={name: Column(type=parse_datatype(word)) for name, word in types.items()},
        ),
        quality=Quality(rules=(Rule(name="not_four", expect="n <> 4"),)),
        transform=(Filter(condition="n <> 7", name="not_seven"),),
        outputs=(
            RowsOutput(table="clean"),
            SqlOutput(table="hourly", sql="SELECT date_trunc('hour', ts) AS hour, count(*) AS events FROM rows GROUP BY ALL"),
        ),
        destination=DuckDBDestination(path=str(tmp_path / "untouched.duckdb")),
        folder=tmp_path,
    )
