"""Held: what a destination holds, as far as it may not depend on what happened on the way, and how two of them differ."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from raypipe.core.digest import quote
from raypipe.core.window import iso
from raypipe.destinations.duckdb_file import reading
from raypipe.destinations.duckdb_verify import verify
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline
from raypipe.ports import SHARD_COLUMN, Clock
from raypipe.testing.row_differences import row_differences

SHOWN_MAX = 5  # of one kind of difference: enough to see a pattern

Facts = Mapping[str, Counter[tuple[Any, ...]]]

_FACTS = {
    "accounts of shard": """
        SELECT DISTINCT epoch_us(lo), read, expanded, loaded, filtered, duplicate, quarantined
        FROM _raypipe.shards SEMI JOIN _raypipe.live USING (pipeline, seq, lo, hi)
        WHERE pipeline = $pipeline AND outcome IN ('loaded', 'empty')""",
    "rule of shard": """
        SELECT epoch_us(lo), kind, rule, rows FROM _raypipe.filtered SEMI JOIN _raypipe.live USING (pipeline, seq, lo)
        WHERE pipeline = $pipeline""",
    "quarantined row of shard": """
        SELECT epoch_us(shard), source, position, rule, error, raw, truncated FROM _raypipe.quarantine
        WHERE pipeline = $pipeline""",
    "contribution of shard": """
        SELECT epoch_us(lo), output, epoch_us(hi) - epoch_us(lo), rows, output_fp FROM _raypipe.live
        WHERE pipeline = $pipeline""",
    "covered range from": "SELECT epoch_us(lo), output, epoch_us(hi) FROM _raypipe.coverage WHERE pipeline = $pipeline",
    "failed shard": "SELECT epoch_us(lo), code, error FROM _raypipe.failed WHERE pipeline = $pipeline",
    "low watermark": "SELECT epoch_us(watermark) FROM _raypipe.pipeline WHERE pipeline = $pipeline",
}
"""What must be equal, by how a difference is told; the first column is an instant."""


_TIMES = re.compile(r'"(?:seconds":[^,}]*|(?:started|heartbeat|ended|committed|seen)":"[^"]*")')
"""What clocks said, in the JSON of rows."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a destination holds."""

    facts: Facts
    tables: Facts
    """By table: its rows as JSON text, with their shard."""
    rows: Mapping[str, pa.Table]
    """By table: its rows, to name the one that differs."""
    wrong: tuple[str, ...] = ()
    """Laws of the ledger that do not hold, and digests that do not match."""


def content(pipeline: Pipeline, clock: Clock, tables: Sequence[str]) -> bytes | None:
    """Return a hash of all that tables hold but what clocks said: what is the same need not be judged again.

    None where a table is not there.
    """
    texts = [
        f"SELECT {place} AS place, CAST(to_json(held) AS VARCHAR) AS row FROM {one} AS held" for place, one in enumerate(tables)
    ]
    with contextlib.suppress(duckdb.CatalogException), reading(pipeline.destination.path, clock) as connection:
        rows = sorted(connection.execute(" UNION ALL ".join(texts)).fetchall())
        schemas = [connection.execute(f"DESCRIBE {one}").fetchall() for one in tables if one.startswith('"main"')]
        return hashlib.blake2b(_TIMES.sub("", f"{schemas} {rows}").encode()).digest()
    return None


def table_names(pipeline: Pipeline, clock: Clock) -> tuple[str, ...]:
    """Return all tables of a destination, raypipe's own too; the catalogue takes 20 ms to ask."""
    with reading(pipeline.destination.path, clock) as connection:
        found = connection.execute("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
    return tuple(f"{quote(schema)}.{quote(name)}" for schema, name in found)


def held(pipeline: Pipeline, clock: Clock) -> Held:
    """Read a destination. Raises what reading it raises."""
    with reading(pipeline.destination.path, clock) as connection:
        checks = verify(connection, pipeline.name)
        wrong = tuple(f"verify: {one.name}: {one.detail}" for one in checks if not one.ok)
        values = {"pipeline": pipeline.name}
        facts = {name: Counter(connection.execute(sql, values).fetchall()) for name, sql in _FACTS.items()}
        rows = {
            name: connection.sql(f"SELECT * FROM main.{quote(name)}").to_arrow_table()
            for name in _tables(connection, pipeline.name)
        }
        tables = {name: _texts(connection, name, found) for name, found in rows.items()}
    return Held(facts, tables, rows, wrong)


def _tables(connection: duckdb.DuckDBPyConnection, pipeline: str) -> list[str]:
    """Return the output tables that are there."""
    sql = "SELECT output FROM _raypipe.tables WHERE pipeline = ? AND created ORDER BY output"
    return [output for (output,) in connection.execute(sql, [pipeline]).fetchall()]


def _texts(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> Counter[tuple[Any, ...]]:
    names = ", ".join(quote(name) for name in rows.column_names if name != SHARD_COLUMN)
    start = f"epoch_us({SHARD_COLUMN})" if SHARD_COLUMN in rows.column_names else "NULL"  # rows of a merged table are of no shard
    sql = f"SELECT {start}, CAST(json_array({names}) AS VARCHAR) FROM main.{quote(table)}"
    return Counter(connection.execute(sql).fetchall())


# ---- differences ------------------------------------------------------------------------------------------


def differences(clean: Held, pipeline: Pipeline, clock: Clock) -> list[str]:
    """Return how a destination differs from a clean run's, rows first; empty where it does not."""
    found = held(pipeline, clock)
    return [*_row_differences(clean, found, pipeline, clock), *_fact_differences(clean.facts, found.facts), *found.wrong]


def _row_differences(clean: Held, found: Held, pipeline: Pipeline, clock: Clock) -> Iterator[str]:
    missing = [name for name in clean.tables if name not in found.tables]
    yield from (f"table {name} is not there, expected {clean.rows[name].num_rows} rows" for name in missing)
    differing = [name for name in found.tables if clean.tables.get(name) != found.tables[name]]
    for name in differing:
        with reading(pipeline.destination.path, clock) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            rows = row_differences(connection, name, clean.rows.get(name, []))
        yield from map(str, rows[:SHOWN_MAX])
        if len(rows) > SHOWN_MAX:
            yield f"table {name}: and {len(rows) - SHOWN_MAX} more rows"
        if not rows:
            yield f"table {name} holds the same rows, but not in the same shards"
    for name in clean.rows.keys() & found.rows.keys():
        schemas = [str(one.rows[name].schema) for one in (found, clean)]
        if name not in differing and schemas[0] != schemas[1]:
            yield f"table {name} has other columns: {schemas[0]!r}, expected {schemas[1]!r}"


def _fact_differences(clean: Facts, found: Facts) -> Iterator[str]:
    for name, expected in clean.items():
        lost, extra = expected - found[name], found[name] - expected
        told = [f"{name} {_told(one)} is not there" for one in lost] + [f"{name} {_told(one)} should not be there" for one in extra]
        yield from told[:SHOWN_MAX]
        if len(told) > SHOWN_MAX:
            yield f"{name}: and {len(told) - SHOWN_MAX} more"


def _told(fact: tuple[Any, ...]) -> str:
    start, *rest = fact
    moment = "none" if start is None else iso(start)
    return f"{moment}: {', '.join(map(str, rest))}" if rest else moment
