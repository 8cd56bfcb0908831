"""Rows that are lent to an engine and read once."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.engine.row_stream import VECTOR_ROWS, RowStream, aligned, cut

SCHEMA = pa.schema([("n", pa.int64()), ("other", pa.string())])


def batch(first: int, rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": range(first, first + rows), "other": ["x"] * rows}, SCHEMA)


def batches(sizes: list[int]) -> list[pa.RecordBatch]:
    return [batch(sum(sizes[:place]), size) for place, size in enumerate(sizes)]


@given(st.lists(st.sampled_from([0, 1, 5, 2047, 2048, 2049, 5000]), max_size=8))
def test_batches_are_cut_at_the_same_rows_whatever_they_were(sizes: list[int]) -> None:
    found = list(aligned(iter(batches(sizes))))
    assert [n for one in found for n in one["n"].to_pylist()] == list(range(sum(sizes)))
    assert all(one.num_rows % VECTOR_ROWS == 0 for one in found[:-1])
    assert all(one.num_rows for one in found)


@given(st.lists(st.sampled_from([0, 1, 5, 7, 10, 11, 30]), max_size=8))
def test_a_stream_is_cut_into_streams_of_the_same_rows_whatever_the_batches_were(sizes: list[int]) -> None:
    parts = [[n for one in part.batches for n in one["n"].to_pylist()] for part in cut(RowStream(SCHEMA, iter(batches(sizes))), 10)]
    assert [n for part in parts for n in part] == list(range(sum(sizes)))
    assert all(len(part) == 10 for part in parts[:-1])
    assert len(parts) == max(1, -(-sum(sizes) // 10))


def ask(stream: RowStream, column: str, sql: str) -> object:
    with duckdb.connect() as connection, stream.lent([column]) as reader:
        connection.register("rows", reader)
        return connection.sql(sql).fetchall()


def test_what_fails_on_the_way_is_raised_as_it_was() -> None:
    def failing():
        yield batch(0, 5000)
        raise LookupError("the file is gone")

    with pytest.raises(LookupError, match="the file is gone"):
        ask(RowStream(SCHEMA, failing()), "n", "SELECT sum(n) FROM rows")


def test_an_error_of_the_engine_stays_its_own() -> None:
    with pytest.raises(duckdb.Error, match="Conversion"):
        ask(RowStream(SCHEMA, iter(batches([5000]))), "other", "SELECT sum(other::INT) FROM rows")


def test_what_the_engine_left_is_read_all_the_same() -> None:
    left = iter(batches([5000, 10]))
    assert ask(RowStream(SCHEMA, left), "n", "SELECT n FROM rows WHERE false") == []
    assert list(left) == []
