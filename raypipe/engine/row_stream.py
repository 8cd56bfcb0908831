"""RowStream: transformed rows that are too many to be held, lent to an engine that reads them once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from raypipe.lazy_dataclass import dataclass

VECTOR_ROWS = 2_048  # rows that DuckDB works on at once: it takes Arrow batches apart at multiples of it


@dataclass(frozen=True, slots=True)
class RowStream:
    """A schema and batches of it, read once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]

    @contextmanager
    def lent(self, columns: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        """Lend some columns to an engine, and read afterwards what it left: every row is counted on its way.

        What goes wrong on the way is raised as it was: an engine would make a text of it.
        """
        broken: list[BaseException] = []

        def kept() -> Iterator[pa.RecordBatch]:
            try:
                for batch in aligned(self.batches):
                    yield batch.select(list(columns))
                    del batch
            except BaseException as error:
                broken.append(error)
                raise

        batches = kept()
        fields = pa.schema([self.schema.field(name) for name in columns])
        try:
            yield pa.RecordBatchReader.from_batches(fields, batches)
            for _ in batches:
                pass
        except BaseException as error:
            if broken and error is not broken[0]:
                raise broken[0] from None
            raise


def cut(rows: RowStream, count: int) -> Iterator[RowStream]:
    """Yield a stream as streams of so many rows, the last of fewer; one without rows as it is. Each is read before the next."""
    batches = (batch for batch in rows.batches if batch.num_rows)
    ahead = next(batches, None)

    def taken() -> Iterator[pa.RecordBatch]:
        nonlocal ahead
        missing = count
        while ahead is not None and missing:
            part = ahead.slice(0, missing)
            missing -= part.num_rows
            ahead = ahead.slice(part.num_rows) if part.num_rows < ahead.num_rows else None
            yield part
            del part  # not held while the next is made
            ahead = ahead or next(batches, None)

    yield RowStream(rows.schema, taken())
    while (ahead := ahead or next(batches, None)) is not None:
        yield RowStream(rows.schema, taken())


def aligned(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches at multiples of VECTOR_ROWS, counted over all of them.

    DuckDB decides between vectors when to rearrange its hash tables, and with them the order in which floating numbers are
    added. So the vectors must be the same ones, whatever the batches were.
    """
    rest: pa.RecordBatch | None = None
    for batch in batches:
        if rest is not None:
            missing = VECTOR_ROWS - rest.num_rows
            rest, batch = _joined(rest, batch.slice(0, missing)), batch.slice(missing)
            if rest.num_rows < VECTOR_ROWS:
                continue
            yield rest
        whole = batch.num_rows - batch.num_rows % VECTOR_ROWS
        if whole:
            yield batch.slice(0, whole)
        rest = _rest(batch, whole) if batch.num_rows > whole else None
        del batch
    if rest is not None:
        yield rest


def _rest(batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
    return _joined(batch.slice(0, 0), batch.slice(start)) if start else batch  # a slice would hold all of a large batch


def _joined(one: pa.RecordBatch, other: pa.RecordBatch) -> pa.RecordBatch:
    joined: pa.RecordBatch = pa.concat_batches([one, other])  # type: ignore[attr-defined]
    return joined
