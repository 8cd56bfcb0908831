"""Keyed and combined tables in a DuckDB file: `verify` proves them, and names what another program changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from raypipe.core.merge import Combined, Keyed, parse_measure
from raypipe.destinations import duckdb_commit, duckdb_merged
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.errors import ShardError

pytestmark = pytest.mark.slow  # a real file is opened a dozen times a test
MERGES = {"newest": Keyed(("k",)), "sums": Combined(("k",), (parse_measure("total", "sum(x)"),))}
TYPES = {
    "k": pa.int64(), "_time": pa.timestamp("us"), "_source": pa.string(), "_position": pa.int64(), "_raypipe_deleted": pa.bool_(),
}  # fmt: skip
Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def filled(file: DuckDBFile, work: Any) -> Any:
    """Commit hours of one keyed and one combined table; returns what commits more hours."""
    opened = file.open_run(work.opening(merges=MERGES, fingerprints=dict.fromkeys(MERGES, "f")))

    def commit(hour: int, *numbers: int) -> Any:
        window = work.hours(hour)
        ties = {"_time": window.start_us, "_source": "a", "_position": hour, "_raypipe_deleted": False}
        keyed, keyed_left = work.group(
            opened, {window: {"newest": [{"k": k, **ties} for k in numbers]}}, types=TYPES, snapshot=file.snapshot()
        )
        _, sums_left = work.group(
            opened,
            {window: {"sums": [{"k": k, "total.sum": k} for k in numbers]}},
            types={"k": pa.int64(), "total.sum": pa.int64()},
        )
        return file.commit(*joined(keyed, keyed_left[0], sums_left[0]))

    commit(0, 1, 2)
    commit(1, 2, 3)
    return commit


def joined(request: Any, keyed: Any, sums: Any) -> Any:
    """One task that contributes to both tables."""
    (result,), (other,) = keyed.results, sums.results
    both = replace(result, outputs={"newest": result.outputs["newest"], "sums": other.outputs["sums"]})
    tables = {"newest": keyed.tables["newest"], "sums": sums.tables["sums"]}
    shards = (replace(request.shards[0], result=both),)
    return replace(request, shards=shards), [replace(keyed, results=(both,), tables=tables)]


def wrong(file: DuckDBFile) -> dict[str, str]:
    return {one.name: one.detail for one in file.verify() if not one.ok}


def test_verify_proves_the_contributions_and_their_merge(file: DuckDBFile, filled: Any, sql: Sql) -> None:
    assert wrong(file) == {}
    assert {one.name for one in file.verify()} >= {"table newest", "table sums", "merge newest", "merge sums"}
    assert sql("FROM newest ORDER BY k") == [(1,), (2,), (3,)]
    assert sql("FROM sums ORDER BY k") == [(1, 1), (2, 4), (3, 3)]
    assert file.table_rows() == {"newest": 3, "sums": 3}


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("DELETE FROM newest WHERE k = 1", "merge newest"),
        ("INSERT INTO newest VALUES (2)", "merge newest"),
        ("UPDATE sums SET total = 5 WHERE k = 2", "merge sums"),
        ("UPDATE sums SET total = NULL WHERE k = 2", "merge sums"),
        ('UPDATE _raypipe.contributions_sums SET "total.sum" = 7 WHERE k = 1', "table sums"),
        ("UPDATE _raypipe.contributions_newest SET _raypipe_deleted = true WHERE k = 1", "table newest"),
        ("DELETE FROM _raypipe.contributions_newest WHERE k = 2 AND _position = 0", "table newest"),
        ("DROP TABLE sums", "table sums"),
        ("UPDATE _raypipe.tables SET merge = '{}' WHERE output = 'sums'", "readable"),
    ],
)
def test_verify_finds_what_another_program_changed(file: DuckDBFile, filled: Any, sql: Sql, statement: str, check: str) -> None:
    sql(statement)
    assert check in wrong(file)


def test_a_commit_over_changed_contributions_is_refused_and_changes_nothing(file: DuckDBFile, filled: Any, sql: Sql) -> None:
    sql("DELETE FROM _raypipe.contributions_sums WHERE k = 3")
    with pytest.raises(ShardError, match=r"table sums: the ledger says that .* holds 2 rows, the table holds 1"):
        filled(1, 9)
    assert sql("FROM newest ORDER BY k") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("point", ["commit.after_delete", "commit.mid_insert", "commit.after_insert", "commit.before_commit"])
def test_a_commit_that_dies_half_way_leaves_the_tables_as_they_were(
    file: DuckDBFile, filled: Any, sql: Sql, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    class Crash(BaseException):
        pass

    def hit(name: str) -> None:
        if name == point:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(duckdb_commit, "hit", hit)
        with pytest.raises(Crash):
            filled(1, 7)
    assert wrong(file) == {}
    assert sql("FROM sums ORDER BY k") == [(1, 1), (2, 4), (3, 3)]
    filled(1, 7)
    assert sql("FROM sums ORDER BY k") == [(1, 1), (2, 2), (7, 7)]
    assert sql("FROM newest ORDER BY k") == [(1,), (2,), (7,)]
    assert wrong(file) == {}


@pytest.mark.slow
def test_more_keys_than_a_row_group_of_the_engine_holds_are_all_merged(file: DuckDBFile, work: Any, sql: Sql) -> None:
    """DuckDB 2.0.0 reads nothing from some tables that were filled with more than 122,880 rows in the same transaction."""
    keys = range(130_000)
    merge = {"sums": MERGES["sums"]}
    opened = file.open_run(work.opening(merges=merge, fingerprints={"sums": "f"}))
    for hour in (0, 1, 0):
        rows = [{"k": k, "total.sum": hour + 1} for k in keys]
        types = {"k": pa.int64(), "total.sum": pa.int64()}
        file.commit(*work.group(opened, {work.hours(hour): {"sums": rows}}, types=types, snapshot=file.snapshot()))
    assert sql("SELECT count(*), min(total), max(total) FROM sums") == [(len(keys), 3, 3)]
    file.commit(*work.group(opened, {work.hours(1): {"sums": []}}, types=types, snapshot=file.snapshot()))
    assert sql("SELECT count(*), min(total), max(total) FROM sums") == [(len(keys), 1, 1)]
    assert wrong(file) == {}


def test_an_engine_that_loses_keys_on_the_way_changes_nothing(
    file: DuckDBFile, filled: Any, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(connection: Any, statement: str, values: Any = None) -> Any:
        if statement.startswith("CREATE TEMP TABLE touched_once"):
            statement += " LIMIT 0"
        return query(connection, statement, values)

    query = duckdb_merged.query
    with monkeypatch.context() as patch:
        patch.setattr(duckdb_merged, "query", lossy)
        with pytest.raises(ShardError, match="this is a bug of raypipe or of DuckDB"):
            filled(2, 3)
    assert sql("FROM sums ORDER BY k") == [(1, 1), (2, 4), (3, 3)]
    assert wrong(file) == {}
