"""Output tables in a DuckDB file: columns that come, go and widen, and tables that others changed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from raypipe.destinations.contributions import READ_ROWS, Contribution, Part
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.duckdb_tables import fit_table, insert_rows, typed
from raypipe.destinations.duckdb_types import widened
from raypipe.destinations.stored import Stored
from raypipe.errors import ShardError
from raypipe.ports import SHARD_COLUMN, Check

pytestmark = pytest.mark.slow  # a real file is opened several times a test


def wrong(file: DuckDBFile) -> list[Check]:
    return [check for check in file.verify() if not check.ok]


def test_a_new_column_is_added_and_one_that_is_missing_is_null(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1, "gone": "x"}]}}))
    file.commit(*work.group(opened, {work.hours(1): {"hourly": [{"new": 2.5, "n": 2}]}}))
    assert sql("SELECT n, gone, new FROM hourly ORDER BY n") == [(1, "x", None), (2, None, 2.5)]
    assert wrong(file) == []


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (pa.int32(), pa.int64(), "BIGINT"), (pa.int64(), pa.int32(), "BIGINT"), (pa.int8(), pa.uint8(), "SMALLINT"),
        (pa.int32(), pa.float64(), "DOUBLE"), (pa.float32(), pa.float64(), "DOUBLE"),
        (pa.decimal128(5, 2), pa.decimal128(9, 4), "DECIMAL(9,4)"),
    ],
    ids=str,
)  # fmt: skip
def test_a_column_widens_where_no_value_can_be_lost(
    file: DuckDBFile, work: Any, sql: Any, first: Any, second: Any, kind: str
) -> None:
    opened = file.open_run(work.opening())
    for hour, type_of in enumerate((first, second)):
        rows = [Decimal(1), Decimal(2)] if pa.types.is_decimal(type_of) else [1, 2]
        file.commit(*work.group(opened, {work.hours(hour): {"hourly": [{"n": row} for row in rows]}}, types={"n": type_of}))
    assert sql("SELECT data_type FROM duckdb_columns() WHERE table_name = 'hourly' AND column_name = 'n'") == [(kind,)]
    assert sql("SELECT count(*), sum(n) FROM hourly") == [(4, 6)]
    assert wrong(file) == []


def test_a_type_that_no_type_holds_with_the_old_one_is_refused_with_the_ways_out(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1}]}}))
    with pytest.raises(
        ShardError,
        match=r"table hourly, column n: the table has BIGINT, this contribution brings VARCHAR.*Cast the column.*drop the table",
    ):
        file.commit(*work.group(opened, {work.hours(1): {"hourly": [{"n": "x"}]}}))
    assert sql("SELECT n FROM hourly") == [(1,)]
    assert file.snapshot().commit_seq == 1


def test_a_column_of_nulls_only_waits_for_its_type(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1, "later": None}]}}))
    file.commit(*work.group(opened, {work.hours(1): {"hourly": [{"n": 2, "later": "x"}]}}))
    assert sql("SELECT n, later FROM hourly ORDER BY n") == [(1, None), (2, "x")]
    assert wrong(file) == []


def test_tasks_of_one_group_may_bring_different_columns(file: DuckDBFile, work: Any, sql: Any) -> None:
    from dataclasses import replace

    opened = file.open_run(work.opening())
    one, left = work.group(opened, {work.hours(0): {"hourly": [{"n": 1}]}}, types={"n": pa.int32()})
    other, also = work.group(opened, {work.hours(1): {"hourly": [{"n": 2**40, "extra": "x"}]}})
    file.commit(replace(one, shards=(*one.shards, *other.shards)), [*left, *also])
    assert sql("SELECT n, extra FROM hourly ORDER BY n") == [(1, None), (2**40, "x")]
    assert wrong(file) == []


def test_many_rows_stay_in_their_order_whichever_threads_insert_them() -> None:
    numbers = pa.chunked_array([pa.arange(at, min(at + 50_000, 2 * READ_ROWS + 7)) for at in range(0, 2 * READ_ROWS + 7, 50_000)])
    starts = pa.repeat(pa.scalar(0, pa.timestamp("us")), len(numbers))
    rows = pa.table({"n": numbers, "text": numbers.cast(pa.string()), SHARD_COLUMN: starts})
    contribution = Contribution(rows.schema, (Part(rows, rows.schema, "1", None),))
    with duckdb.connect(config={"threads": 1}) as connection:
        stored = Stored("t", created=False)
        piece = typed(connection, contribution)
        fit_table(connection, stored, [piece])
        assert insert_rows(connection, stored, piece) == len(numbers)
        found = connection.sql("SELECT n, text FROM t").to_arrow_table()
        threads = [connection.execute("SELECT current_setting('threads')").fetchall()]
        few = Contribution(rows.schema, (Part(rows.slice(0, 10), rows.schema, "1", None),))
        insert_rows(connection, stored, typed(connection, few))
        threads.append(connection.execute("SELECT current_setting('threads')").fetchall())
    assert found.to_pylist() == rows.select(["n", "text"]).to_pylist()
    assert threads == [[(2,)], [(1,)]]


def test_names_that_need_quotes_are_only_names(file: DuckDBFile, work: Any, sql: Any) -> None:
    wild = 'a"; DROP TABLE x; --'
    opened = file.open_run(work.opening(fingerprints={wild: "f"}))
    for hour in (0, 1):
        file.commit(*work.group(opened, {work.hours(hour): {wild: [{"select": 1, 'q"uote': 2}]}}))
    file.commit(*work.group(opened, {work.hours(0): {wild: []}}, snapshot=file.snapshot()))
    assert file.table_rows() == {wild: 1}
    assert wrong(file) == []


def test_a_table_is_described_by_its_shard_column(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(3): {"hourly": [{"n": 1}]}}))
    assert sql("SELECT * FROM hourly")[0][1].isoformat() == "1970-01-01T03:00:00"


def test_a_table_that_another_program_changed_is_noticed_before_it_is_overwritten(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1}, {"n": 2}]}}))
    sql("DELETE FROM hourly WHERE n = 2")
    with pytest.raises(ShardError, match="holds 2 rows, the table holds 1: another program changed it"):
        file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 3}]}}, snapshot=file.snapshot()))
    assert sql("SELECT n FROM hourly") == [(1,)]


def test_a_table_that_a_person_dropped_is_computed_again_by_the_next_run(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1}], "clean": [{"n": 5}]}}))
    sql("DROP TABLE hourly")
    with pytest.raises(ShardError, match="hourly was dropped"):
        file.commit(*work.group(opened, {work.hours(1): {"hourly": [{"n": 1}]}}))
    again = file.open_run(work.opening("run2"))
    snapshot = file.snapshot()
    assert ("hourly" in snapshot.coverage, "clean" in snapshot.coverage, snapshot.watermark_us) == (False, True, None)
    file.commit(*work.group(again, {work.hours(0): {"hourly": [{"n": 1}], "clean": [{"n": 5}]}}, snapshot=snapshot))
    assert (file.table_rows(), file.snapshot().watermark_us) == ({"clean": 1, "hourly": 1}, 3_600_000_000)
    assert wrong(file) == []


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("INTEGER", "INTEGER", "INTEGER"), ("UBIGINT", "BIGINT", "HUGEINT"), ("UINTEGER", "TINYINT", "BIGINT"),
        ("USMALLINT", "UTINYINT", "USMALLINT"),
        ("SMALLINT", "FLOAT", "FLOAT"), ("INTEGER", "FLOAT", "DOUBLE"), ("BIGINT", "DOUBLE", None),
        ("DECIMAL(18,3)", "DOUBLE", None),
        ("DECIMAL(5,2)", "INTEGER", "DECIMAL(12,2)"), ("DECIMAL(38,0)", "DECIMAL(10,5)", None), ("VARCHAR", "DATE", None),
        ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", None), ("BOOLEAN", "TINYINT", None),
    ],
)  # fmt: skip
def test_the_wider_of_two_types_holds_both_or_there_is_none(left: str, right: str, expected: str | None) -> None:
    assert widened(left, right) == expected
    assert widened(right, left) == expected
