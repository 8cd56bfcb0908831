"""Copies: parts of a table as Parquet files, each in an order that its rows alone decide."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute

from raypipe.core.digest import quote
from raypipe.core.upstream import TablePart
from raypipe.errors import RetryableError
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import SHARD_COLUMN

pc: Any = compute  # its stubs lack functions

ROW_GROUP_ROWS = 65_536  # a fixed number, so that a copy that is made again has the same row groups
SORT_BYTES = 256 * 1024**2  # beyond, the order is made on disk
_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",
}


@dataclass
class Copies:
    """Parts that are fetched together, as they come, and then put in order and written, each into its own file."""

    files: Mapping[TablePart, Path]
    """Where each part goes, all in one folder; parts are in the order of time."""
    first: str
    """The column, or path into one, by which rows are ordered first."""
    _folder: Path = field(init=False)

    def __post_init__(self) -> None:
        parent = next(iter(self.files.values())).parent
        parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=".copying-", dir=parent))

    def fetch(self, rows: pa.RecordBatchReader) -> None:
        """Write the rows down as they come: all that is done while the database is held."""
        with self._cleared_on_error(), pq.ParquetWriter(self._fetched, rows.schema, compression="none") as writer:
            for batch in rows:
                writer.write_batch(batch)

    def finish(self) -> None:
        """Put the rows in order, and the copies in their places."""
        with self._cleared_on_error():
            for part, rows in groupby(self._rows_of_parts(), key=lambda one: one[0]):
                self._write(part, (batch for _, batch in rows))
        shutil.rmtree(self._folder)

    @property
    def _fetched(self) -> Path:
        return self._folder / "fetched.parquet"

    @contextlib.contextmanager
    def _cleared_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            if isinstance(error, OSError | duckdb.Error | pa.ArrowException):
                raise RetryableError(f"a table cannot be copied into {self._folder.parent}: {error}") from error
            raise

    def _write(self, part: TablePart, batches: Iterator[pa.RecordBatch]) -> None:
        path = self._folder / "copy.parquet"
        groups = _of_rows(batches, ROW_GROUP_ROWS)
        group = next(groups)
        with pq.ParquetWriter(path, group.schema, compression="zstd") as writer:
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            for group in groups:
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        path.replace(self.files[part])

    def _rows_of_parts(self) -> Iterator[tuple[TablePart, pa.RecordBatch]]:
        """Yield the rows in order, those of one part behind each other, without the column that tells their part."""
        parts = list(self.files)
        starts = [part.window.start_us for part in parts if part.window is not None]
        for batch in self._ordered():
            if not starts:
                yield parts[0], batch
                continue
            encoded = pc.run_end_encode(batch.column(SHARD_COLUMN).cast(pa.int64()))
            rows, start = batch.drop_columns([SHARD_COLUMN]), 0
            for shard_us, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
                yield parts[bisect_right(starts, shard_us) - 1], rows.slice(start, end - start)
                start = end

    def _ordered(self) -> Iterator[pa.RecordBatch]:
        schema = pq.read_schema(self._fetched)
        order = ", ".join(_order(schema.names, self.first))
        with contextlib.closing(duckdb.connect(":memory:", config=_OPTIONS)) as connection:
            connection.execute(f"SET temp_directory = {_text(self._folder)}")
            connection.execute(f"SET memory_limit = '{SORT_BYTES} bytes'")
            if "tz=" in str(schema):
                connection.execute("SET TimeZone = 'UTC'")  # else the type of a column would depend on the machine
            found = connection.sql(f"SELECT * FROM read_parquet({_text(self._fetched)}) ORDER BY {order}")
            yield from found.to_arrow_reader(ROW_GROUP_ROWS)


def _order(names: Sequence[str], first: str) -> Iterator[str]:
    """Yield by what rows are ordered: their part, the column or path that comes first, and all columns by name."""
    if SHARD_COLUMN in names:
        yield quote(SHARD_COLUMN)
    if first in names:
        yield quote(first)
    elif first.partition(".")[0] in names:
        yield ".".join(map(quote, first.split(".")))
    yield from map(quote, sorted(names))


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _of_rows(batches: Iterator[pa.RecordBatch], count: int) -> Iterator[pa.Table]:
    """Yield the rows in tables of so many each, the last of fewer."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while rows + batch.num_rows >= count:
            yield pa.Table.from_batches([*held, batch.slice(0, count - rows)])
            batch, held, rows = batch.slice(count - rows), [], 0
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows
    if held:
        yield pa.Table.from_batches(held)
