"""Named inputs: what SQL sees of each beside `rows`, as tables of the sandbox for as long as it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import duckdb
import polars as pl
import pyarrow as pa

from raypipe.core.digest import quote
from raypipe.engine.arrow_types import plain_schema
from raypipe.engine.batches import SHARD_INDEX, user_columns, with_series
from raypipe.engine.row_stream import RowStream
from raypipe.engine.sandbox import reason
from raypipe.engine.spool import FrameSpool
from raypipe.engine.text_types import polars_type
from raypipe.errors import OutOfMemory
from raypipe.pipeline import NamedInput
from raypipe.ports import IN_SHARD_COLUMN

_INPUT = "_raypipe_named_input"


def input_schemas(inputs: Iterable[NamedInput]) -> dict[str, pa.Schema]:
    """Return the columns that SQL sees of each input."""
    found = {}
    for one in inputs:
        columns = {name: polars_type(column.type) for name, column in one.source.columns.items()}
        mark = {IN_SHARD_COLUMN: pl.Boolean()} if looks_around(one) else {}
        frame = pl.DataFrame(schema={**columns, **mark})
        found[one.name] = plain_schema(frame.to_arrow(compat_level=pl.CompatLevel.newest()).schema)
    return found


def looks_around(one: NamedInput) -> bool:
    """Tell whether SQL sees rows of an input that are not of the shard, and a column that tells which are."""
    return one.lookback is not None or one.lookahead is not None


def as_seen(frame: pl.DataFrame, one: NamedInput) -> pl.DataFrame:
    """Return rows of an input as SQL sees them."""
    shown = frame[user_columns(frame)]
    return with_series(shown, (frame[SHARD_INDEX] == 0).alias(IN_SHARD_COLUMN)) if looks_around(one) else shown


@contextmanager
def named_tables(connection: duckdb.DuckDBPyConnection, inputs: Mapping[str, FrameSpool]) -> Iterator[None]:
    """Make each input a table of the sandbox, which spills, for the duration of the block; its rows keep their order.

    After an error they are left: the sandbox is thrown away. Raises OutOfMemory when even spilling did not help.
    """
    for name, spool in inputs.items():
        batches = (batch for frame in spool for batch in _arrow(frame).to_batches())
        schema = _arrow(next(iter(spool)).clear()).schema
        try:
            with RowStream(schema, batches).lent(schema.names) as reader:
                connection.register(_INPUT, reader)
                connection.execute(f"CREATE TEMP TABLE {quote(name)} AS SELECT * FROM {_INPUT}")
                connection.unregister(_INPUT)
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory(f"inputs.{name}: {reason(error)}; raise run.memory or make shards smaller") from error
    yield
    for name in inputs:
        connection.execute(f"DROP TABLE {quote(name)}")


def _arrow(frame: pl.DataFrame) -> pa.Table:
    table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    return table.cast(plain_schema(table.schema))
