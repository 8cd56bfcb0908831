"""Made-up events, the same for the same shape: daily Parquet files with dirty and duplicate rows, and late ones beside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

COUNTRIES = 250
START = date(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the events are like. Shares are of all rows; late rows stand in files of their own, which come afterwards."""

    rows: int
    days: int = 30
    dirty_per_mille: int = 20
    duplicate_per_mille: int = 10
    late_per_mille: int = 1
    seed: int = 0

    @property
    def end(self) -> date:
        """The day after the last."""
        return START + timedelta(days=self.days)

    @property
    def folder_name(self) -> str:
        """A name that no other shape has."""
        parts = (self.rows, self.days, self.dirty_per_mille, self.duplicate_per_mille, self.late_per_mille, self.seed)
        return "events-" + "-".join(str(one) for one in parts)


@dataclass(frozen=True, slots=True)
class Events:
    """A folder with events-*.parquet, late-*.parquet and countries.csv."""

    folder: Path
    shape: Shape

    @property
    def files(self) -> list[Path]:
        """The daily files, without what comes late."""
        return sorted(self.folder.glob("events-*.parquet"))

    @property
    def size_bytes(self) -> int:
        """Bytes of the daily files."""
        return sum(path.stat().st_size for path in self.files)


def make_events(parent: Path, shape: Shape) -> Events:
    """Write the events and their dimension into a folder of their own, once."""
    folder = parent / shape.folder_name
    done = folder / "complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for day in range(shape.days):
                connection.execute(_copy(_day_sql(shape, day), folder / f"events-{day + 1:03}.parquet"))
            late = _late_sql(shape)
            connection.execute(_copy(late, folder / "late-001.parquet"))
            connection.execute(_DIMENSION.format(countries=COUNTRIES, target=folder / "countries.csv"))
        done.touch()
    return Events(folder, shape)


def _day_sql(shape: Shape, day: int) -> str:
    first, last = shape.rows * day // shape.days, shape.rows * (day + 1) // shape.days
    return _rows_sql(shape, first, last, day)


def _late_sql(shape: Shape) -> str:
    """Rows of one day in the middle of the history, with numbers that no daily file has."""
    rows = max(1, shape.rows * shape.late_per_mille // 1000)
    return _rows_sql(shape, shape.rows, shape.rows + rows, shape.days // 3)


def _rows_sql(shape: Shape, first: int, last: int, day: int) -> str:
    return _EVENTS.format(
        first=first, last=last, day=day, start=START, seed=shape.seed * 1000,
        dirty=shape.dirty_per_mille, duplicate=shape.duplicate_per_mille, back=DUPLICATE_BACK,
    )  # fmt: skip


def _copy(query: str, target: Path) -> str:
    return f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"


DUPLICATE_BACK = 97  # a duplicate repeats the event that many rows before it, as a sender that did not get its answer does

# hash() makes the events a function of their number alone. Users follow a skewed distribution over a million. Amounts are
# multiples of 1/64, so that their sums are exact in whatever order they are added.
_EVENTS = """
    SELECT
        n AS event_id,
        TIMESTAMP '{start}' + INTERVAL {day} DAY + to_microseconds((hash(n, {seed}) % 86400000000)::BIGINT) AS ts,
        floor(1000000 * pow((hash(n, {seed} + 1) % 1000000) / 1000000.0, 3))::BIGINT AS user_id,
        'C' || lpad((hash(n, {seed} + 2) % 250)::VARCHAR, 3, '0') AS country,
        ['view', 'click', 'cart', 'buy', 'leave'][1 + (hash(n, {seed} + 3) % 5)::INT] AS event_type,
        CASE WHEN hash(n, {seed} + 4) % 2000 < {dirty} THEN NULL WHEN hash(n, {seed} + 4) % 2000 < 2 * {dirty} THEN -1.0
            ELSE (hash(n, {seed} + 5) % 100000) / 64.0 END AS amount,
        'https://host' || (hash(n, {seed} + 6) % 40) || '.example/path/' || (hash(n, {seed} + 7) % 1000) AS url
    FROM (
        SELECT CASE WHEN hash(i, {seed} + 8) % 1000 < {duplicate} AND i - {back} >= {first} THEN i - {back} ELSE i END AS n
        FROM range({first}, {last}) numbers(i)
    )
"""

_DIMENSION = """
COPY (SELECT 'C' || lpad(i::VARCHAR, 3, '0') AS country, 'R' || (i % 7) AS region FROM range({countries}) numbers(i))
TO '{target}' (FORMAT csv, HEADER)
"""
