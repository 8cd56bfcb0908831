"""The contract of an output: the types of its columns, no nulls, no value twice; judged before anything of it is visible."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow as pa

from raypipe.core.digest import quote
from raypipe.engine.lookup import datatype_of
from raypipe.engine.quality import SHOWN_CHARS_MAX
from raypipe.engine.sandbox import Sandboxes
from raypipe.engine.table_spool import Rows, scannable
from raypipe.engine.text_types import polars_type
from raypipe.errors import RuleBroken
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import ROWS, Output, OutputColumn
from raypipe.ports import SHARD_COLUMN

if TYPE_CHECKING:
    from raypipe.engine.outputs import Contributions


class OutputContracts:
    """The contracts of a pipeline's outputs. Several threads may use it.

    What a keyed or combined table would hold of the shard alone is judged; there a unique column is the key, which is unique
    over all of the table. In other tables a unique column is so among the rows of each shard.
    """

    def __init__(self, outputs: Sequence[Output], sandboxes: Sandboxes) -> None:
        self.columns = {output.table: output.columns for output in outputs if output.columns}
        """The contract of each table that has one."""
        self._sandboxes = sandboxes

    def problems(self, table: str, schema: pa.Schema) -> list[str]:
        """Return what of the contract a table of these columns can never keep."""
        return [f"outputs.{table}.columns: {one}" for one in _misfits(self.columns.get(table, {}), schema)]

    def judge(self, contributions: Contributions) -> Contributions:
        """Return the contributions with the shards that break a contract among the failed ones."""
        failed = dict(contributions.failed)
        places = {window.start_us: place for place, window in enumerate(contributions.windows)}
        for table, columns in self.columns.items():
            if table not in contributions.found:
                continue
            found = contributions.found[table]
            rows = found.table if found.shown is None else found.shown
            misfits = list(_misfits(columns, rows.schema))
            for place in range(len(places)) if misfits else ():
                failed.setdefault(place, (RuleBroken.code, f"table {table}: {misfits[0]}"))
            for start_us, text in () if misfits else self._broken(columns, rows):
                failed.setdefault(places[start_us], (RuleBroken.code, f"table {table}: {text}"))
        return replace(contributions, failed=failed)

    def _broken(self, columns: Mapping[str, OutputColumn], rows: Rows) -> Iterator[tuple[int, str]]:
        """Yield the start of each shard whose rows break the contract, and how."""
        promises = list(_promises(columns))
        if not promises or not rows.num_rows:
            return
        counts = ", ".join(promise.counted for promise in promises)
        with self._sandboxes.borrow() as connection:
            connection.register(ROWS, scannable(rows))
            sql = f"SELECT epoch_us({SHARD_COLUMN}), count(*), {counts} FROM {ROWS} GROUP BY {SHARD_COLUMN} ORDER BY {SHARD_COLUMN}"
            for start_us, of, *broken in connection.execute(sql).fetchall():
                for promise, number in zip(promises, broken, strict=True):
                    if number:
                        connection.register(ROWS, scannable(rows))
                        rows_shown = f"{number} of {of} rows of the shard; for example {_example(connection, promise, start_us)}"
                        yield start_us, f"{promise.says} {rows_shown}"
            connection.unregister(ROWS)


@dataclass(frozen=True, slots=True)
class _Promise:
    """One promise of a column, as SQL over the rows of a shard."""

    says: str
    counted: str
    """How many rows break it."""
    example: str
    """What leaves the rows that break it."""


def _promises(columns: Mapping[str, OutputColumn]) -> Iterator[_Promise]:
    for name, column in columns.items():
        it = quote(name)
        if column.required:
            yield _Promise(f"column {name} is required, but has no value in", f"count(*) - count({it})", f"WHERE {it} IS NULL")
        if column.unique:
            repeated = f"QUALIFY {it} IS NOT NULL AND count(*) OVER (PARTITION BY {it}) > 1"
            yield _Promise(f"column {name} is unique, but repeats a value in", f"count({it}) - count(DISTINCT {it})", repeated)


def _example(connection: duckdb.DuckDBPyConnection, promise: _Promise, start_us: int) -> str:
    of_shard = f"(SELECT * FROM {ROWS} WHERE {SHARD_COLUMN} = make_timestamp({start_us}))"
    sql = f"SELECT * EXCLUDE ({SHARD_COLUMN}) FROM {of_shard} {promise.example} ORDER BY ALL LIMIT 1"
    (row,) = connection.sql(sql).to_arrow_table().to_pylist()
    return json.dumps(row, default=str, ensure_ascii=False)[:SHOWN_CHARS_MAX]


def _misfits(columns: Mapping[str, OutputColumn], schema: pa.Schema) -> Iterator[str]:
    if not columns:
        return
    empty = pl.from_arrow(schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    have = {name: dtype for name, dtype in empty.schema.items() if name != SHARD_COLUMN}
    for name, column in columns.items():
        if name not in have:
            yield f"there is no column {name}; the table has {', '.join(have)}"
        elif have[name] not in (polars_type(column.type), pl.Null()):  # of nulls alone no type is known
            found = datatype_of(have[name]) or have[name]
            yield f"column {name} is {found}, expected {column.type}: cast it, as in CAST({name} AS ...), or change the contract"
