"""The oracle: proves that a pipeline's tables hold what its source says, each row once, and names every row for which they do not.

    from raypipe.testing import oracle

    oracle.check("pipeline.yaml")
    oracle.check(pipeline, expected={"clean": rows}, key={"clean": "event_id"})

It rests on four proofs. The laws of the ledger and the digests of the tables, as `raypipe verify`. All that is live, computed
again from the source, as `raypipe verify --source`. The records of the source, counted from the outside. And where `expected`
is given, the tables against rows that were made without raypipe.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import launch
from raypipe.core.window import Window
from raypipe.destinations.duckdb_file import reading
from raypipe.destinations.stored import Stored
from raypipe.launch.recompute_verb import ComputedAgain, recomputation
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline
from raypipe.ports import SHARD_COLUMN, Check
from raypipe.runtime.system_clock import SystemClock
from raypipe.testing.row_differences import RowDifference, row_differences

SHOWN_MAX = 20  # rows that a failure names

Rows = Iterable[Mapping[str, Any]] | pa.Table
Keys = Mapping[str, str | Sequence[str]]


class NotExact(AssertionError):
    """The tables are not what the source says; `checks` and `rows` tell what is wrong, one entry each."""

    def __init__(self, pipeline: str, checks: Sequence[Check], rows: Sequence[RowDifference]) -> None:
        self.checks = tuple(checks)
        self.rows = tuple(rows)
        named = [f"{one.name}: {one.detail}" for one in checks] + [str(one) for one in rows[:SHOWN_MAX]]
        more = [f"and {len(rows) - SHOWN_MAX} more rows"] if len(rows) > SHOWN_MAX else []
        lines = "".join(f"\n  {line}" for line in [*named, *more])
        super().__init__(f"pipeline {pipeline} is not exact:{lines}")


@dataclass(frozen=True, slots=True)
class OracleReport:
    """What the oracle proved."""

    checks: tuple[Check, ...]
    """The lines of `verify --source`, all of which hold."""
    tables: Mapping[str, int]
    """Rows of each output table."""


def check(
    pipeline: Pipeline | str | Path,
    *,
    expected: Mapping[str, Rows] | None = None,
    key: Keys | None = None,
    finished: bool = True,
) -> OracleReport:
    """Prove a pipeline's destination, and raise NotExact with every law, shard and row for which the proof fails.

    `expected` maps tables to all of their rows, as dicts or as an Arrow table; values are cast to the table's types, and
    rows count. `key` names the columns by which a row of a table is known, so that a changed row is told from a lost one.
    With `finished`, it is also wrong that anything is left to do: a shard that is new, late or failed.
    """
    made = pipeline if isinstance(pipeline, Pipeline) else launch.load(str(pipeline))
    checks = [*launch.verify(made)]
    if not checks:
        nothing = f"{made.destination.path} holds nothing of pipeline {made.name}: run it first"
        raise NotExact(made.name, [Check("destination", False, nothing)], [])
    if finished:
        checks.append(_nothing_is_left(made))
    keys = {table: (one,) if isinstance(one, str) else tuple(one) for table, one in (key or {}).items()}
    rows: list[RowDifference] = []
    if checks[0].ok:  # what cannot be read cannot be compared either
        rows += _unexpected(made, expected or {}, keys)
        doubtful = {one.name.removeprefix("table ") for one in checks if not one.ok} - set(expected or {})
        rows += _computed_again(made, checks, doubtful, keys)
    wrong = [one for one in checks if not one.ok]
    if wrong or rows:
        raise NotExact(made.name, wrong, rows)
    return OracleReport(tuple(checks), launch.status(made).tables)


def _nothing_is_left(pipeline: Pipeline) -> Check:
    made = launch.plan(pipeline, launch.Ask()).plan
    left = [f"{one.window} ({one.reason})" for one in made.shards] + [f"{one.window}: {one.error}" for one in made.failures]
    return Check(
        "finished", not left, f"{len(left)} shards are left to do: {', '.join(left[:5])}" if left else "nothing is left to do"
    )


@contextlib.contextmanager
def _looking(pipeline: Pipeline) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(pipeline.destination.path, SystemClock()) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def _unexpected(pipeline: Pipeline, expected: Mapping[str, Rows], keys: Mapping[str, Sequence[str]]) -> list[RowDifference]:
    """Compare tables with the rows that the caller expects."""
    if not expected:
        return []
    with _looking(pipeline) as connection:
        return [
            one for table, rows in expected.items() for one in row_differences(connection, table, rows, key=keys.get(table, ()))
        ]


def _computed_again(
    pipeline: Pipeline, checks: list[Check], doubtful: set[str], keys: Mapping[str, Sequence[str]]
) -> list[RowDifference]:
    """Compute all that is live again; name the rows of tables that are in doubt, or to which a shard now gives others."""
    stored = {output.table: Stored(output.table, output.merge).relation for output in pipeline.outputs}
    computed: list[ComputedAgain] = []
    found: list[RowDifference] = []
    with recomputation(pipeline) as again:
        for one in again.computed():
            computed.append(replace(one, tables={}))
            named = [table for table in one.tables if table in doubtful or table in one.differing]
            if named:
                with _looking(pipeline) as connection:
                    for table in named:
                        rows = _of_shard(one.tables[table], one.window)
                        found += row_differences(
                            connection, table, rows, relation=stored[table], window=one.window, key=keys.get(table, ())
                        )
        checks += again.checks(computed)
    return found


def _of_shard(rows: pa.Table, window: Window) -> pa.Table:
    start = pa.scalar(window.start_us, pa.int64()).cast(pa.timestamp("us"))
    return rows.filter(pc.equal(rows[SHARD_COLUMN], start))
