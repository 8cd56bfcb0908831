"""SQL that counts distinct values gives, in segments, what DuckDB gives for all rows at once."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from raypipe.core.window import Window
from raypipe.engine import distinct_segments
from raypipe.engine.aggregate import Aggregator
from raypipe.engine.distinct_sql import DistinctSql, distinct_sql
from raypipe.engine.output_sql import parse_select
from raypipe.engine.row_stream import RowStream
from raypipe.engine.sandbox import MEMORY_BYTES_MIN, Sandboxes
from raypipe.errors import TransformFailed
from raypipe.pipeline import SqlOutput

SHARD = Window(0, 3_600_000_000)
ROWS = 30_000
FULL_SEGMENT = distinct_segments.SEGMENT_ROWS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make segments of what tests can compute; a segment of 8,192 rows by one list, 4,096 by two."""
    monkeypatch.setattr(distinct_segments, "ROWS_MIN", 4_096)
    monkeypatch.setattr(distinct_segments, "PROBE_ROWS", 2_048)
    monkeypatch.setattr(distinct_segments, "SEGMENT_ROWS", 8_192)
    monkeypatch.setattr(distinct_segments, "GROUP_SHARE", 16)
    monkeypatch.setattr(distinct_segments, "PARTS_HELD", 3)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandboxes]:
    sandboxes = Sandboxes(256 * 1024**2, tmp_path / "spill")
    yield sandboxes
    sandboxes.close()
    assert not (tmp_path / "spill").exists() or list((tmp_path / "spill").iterdir()) == []


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the segments that are computed."""
    seen: list[int] = []
    part = distinct_segments._part

    def counted(*arguments: object) -> object:
        found = part(*arguments)  # type: ignore[arg-type]
        seen.append(len(found[0]))
        return found

    monkeypatch.setattr(distinct_segments, "_part", counted)
    return seen


def table(rows: int = ROWS, *, seed: int = 1, users: int = 9_000) -> pa.Table:
    chance = random.Random(seed)
    day = datetime(2026, 1, 1)

    def some(value: object) -> object:
        return None if chance.random() < 0.05 else value

    return pa.table(
        {
            "ts": pa.array([some(day + timedelta(seconds=chance.randrange(86_400))) for _ in range(rows)], pa.timestamp("us")),
            "day": pa.array([some(date(2026, 1, 1 + chance.randrange(28))) for _ in range(rows)], pa.date32()),
            "region": pa.array([some(chance.choice("abcde") * 20) for _ in range(rows)], pa.string_view()),
            "user": pa.array([some(chance.randrange(users)) for _ in range(rows)], pa.int64()),
            "device": pa.array([some(chance.randrange(-users, users)) for _ in range(rows)], pa.int32()),
            "amount": pa.array([some(chance.random() * 1000) for _ in range(rows)], pa.float64()),
            "price": pa.array([some(chance.randrange(10**6)) for _ in range(rows)], pa.int64()).cast(pa.decimal128(21, 2)),
            "ok": pa.array([some(chance.random() < 0.9) for _ in range(rows)], pa.bool_()),
            "name": pa.array([f"n{chance.randrange(users)}" for _ in range(rows)], pa.string_view()),
            "_shard": pa.array([0] * rows, pa.timestamp("us")),
        }
    )


def streamed(rows: pa.Table, batch_rows: int = 5_000) -> RowStream:
    return RowStream(rows.schema, iter(rows.to_batches(max_chunksize=batch_rows)))


def result(box: Sandboxes, sql: str, rows: pa.Table | RowStream, *, parts: bool = True) -> pa.Table:
    aggregator = pickle.loads(pickle.dumps(Aggregator([SqlOutput(table="t", sql=sql)], box)))
    if not parts:
        aggregator._selects["t"].segmented.distinct = None
    found = aggregator.contributions(rows, [SHARD])["t"]
    aggregator._sandboxes.close()
    assert found.stats[SHARD].rows == found.table.num_rows
    return found.table


def in_order(found: pa.Table) -> list[tuple[object, ...]]:
    return sorted(zip(*(column.to_pylist() for column in found.columns), strict=True), key=repr)


EXACT = [
    "SELECT hour(ts) AS hour, region, count(DISTINCT user) AS users FROM rows GROUP BY ALL",
    "SELECT region, day, count(DISTINCT user) AS u, count(*) AS n, min(name) AS first, max(ts) AS last FROM rows GROUP BY ALL",
    "SELECT region, day, count(amount) AS given, count(DISTINCT user) AS u FROM rows GROUP BY ALL",
    "SELECT region, ok, count(DISTINCT user) AS users, count(DISTINCT device) AS devices FROM rows GROUP BY ALL",
    "SELECT count(DISTINCT user) AS users, ok, region FROM rows WHERE ok OR amount > 10 GROUP BY ALL ORDER BY users DESC, region",
    "SELECT region, ok, count(DISTINCT user) FILTER (amount > 500) AS rich FROM rows GROUP BY region, ok",
    "SELECT region, count(DISTINCT rows.user) AS users, ok FROM rows GROUP BY 1, 3",
    "SELECT upper(region) AS shouted, count(DISTINCT user) AS users FROM rows GROUP BY upper(region), ok",
    "SELECT date_trunc('hour', ts) AS hour, region AS r, count(DISTINCT device) AS users FROM rows GROUP BY hour, r",
    "SELECT region, day, count(DISTINCT user), sum(price) AS total, sum(user) AS s FROM rows GROUP BY ALL",
    "SELECT region, day, count(DISTINCT user) AS users, bool_and(ok) AS good, bool_or(ok) AS some FROM rows GROUP BY ALL",
    "SELECT region, ok, count(DISTINCT ts) AS times, count(DISTINCT day) AS days, avg(user) AS mean FROM rows GROUP BY ALL",
    "SELECT region, ok, count(DISTINCT user) AS user, count(DISTINCT user) AS again FROM rows GROUP BY ALL",
    "SELECT 'x' AS kind, region, ok, count(DISTINCT user) FILTER (false) AS none FROM rows GROUP BY ALL",
]


@pytest.mark.parametrize("lists_in_memory", [True, False])
@pytest.mark.parametrize("sql", EXACT)
def test_segments_give_what_the_sql_gives(
    box: Sandboxes, in_parts: list[int], monkeypatch: pytest.MonkeyPatch, sql: str, lists_in_memory: bool
) -> None:
    monkeypatch.setattr("raypipe.engine.aggregate.LISTS_SHARE", 2 if lists_in_memory else 1 << 40)
    rows = table()
    expected = result(box, sql, streamed(rows), parts=False)
    assert in_parts == []
    found = result(box, sql, streamed(rows))
    assert len(in_parts) == (8 if sql.count("DISTINCT") == 2 else 4)  # for each of several lists fewer rows
    assert found.schema.equals(expected.schema)
    assert in_order(found) == in_order(expected)
    with duckdb.connect() as own:
        own.register("rows", rows)
        assert in_order(found.drop_columns(["_shard"])) == in_order(own.sql(sql).to_arrow_table())


def test_floats_have_the_same_bits_whatever_the_batches_and_wherever_the_rows_are(box: Sandboxes, in_parts: list[int]) -> None:
    sql = "SELECT region, ok, count(DISTINCT user) AS users, sum(amount) AS total, avg(amount) AS mean FROM rows GROUP BY ALL"
    rows = table()
    expected = in_order(result(box, sql, streamed(rows)))
    assert len(in_parts) == 4
    assert in_order(result(box, sql, streamed(rows, 777))) == expected
    assert in_order(result(box, sql, rows)) == expected
    two = Aggregator([SqlOutput(table="t", sql=sql), SqlOutput(table="other", sql="SELECT count(*) AS n FROM rows")], box)
    assert in_order(two.contributions(streamed(rows), [SHARD])["t"].table) == expected
    assert len(in_parts) == 16
    plain = result(box, sql, streamed(rows), parts=False)
    sums = dict(
        zip(zip(plain["region"].to_pylist(), plain["ok"].to_pylist(), strict=True), plain["total"].to_pylist(), strict=True)
    )
    assert [total for *_, total, _, _ in expected] == pytest.approx([sums[region, ok] for region, ok, *_ in expected], rel=1e-12)


@pytest.mark.parametrize("lists", [1, 2])
def test_sums_of_a_full_segment_have_the_same_bits_whatever_memory_an_engine_has(
    tmp_path: Path, in_parts: list[int], monkeypatch: pytest.MonkeyPatch, lists: int
) -> None:
    """DuckDB puts aggregates aside when their lists grow large, and goes on with new ones: where, must follow from the rows."""
    monkeypatch.setattr(distinct_segments, "SEGMENT_ROWS", FULL_SEGMENT)
    counts = ", ".join(f"count(DISTINCT u{number}) AS n{number}" for number in range(lists))
    sql = f"SELECT g, s, sum(v) AS total, {counts} FROM rows GROUP BY ALL"
    users = ", ".join(f"(hash(i + {number}) % 1000000)::BIGINT AS u{number}" for number in range(lists))
    made = f"SELECT i % 899 AS g, (hash(i) % 1000003) / 997.0 AS v, {users} FROM range({FULL_SEGMENT}) AS t(i)"
    rows = duckdb.sql(f"SELECT *, 'text of some length ' || g % 7 AS s, make_timestamp(0) AS _shard FROM ({made})").to_arrow_table()
    found = []
    for mebibytes, batch_rows in ((MEMORY_BYTES_MIN // 1024**2, 65_536), (128, 131_072), (1024, 50_000)):
        engines = Sandboxes(mebibytes * 1024**2, tmp_path / str(mebibytes))
        found.append(in_order(result(engines, sql, streamed(rows, batch_rows))))
    assert found[0] == found[1] == found[2]
    assert in_parts == [899] * lists * 3


@pytest.mark.parametrize(
    ("rows", "sql", "segments"),
    [
        (table(4_000), EXACT[0], 0),  # small enough for hash tables
        (table(ROWS, users=50), EXACT[0], 0),  # a column with few values
        (table(), "SELECT device, name, count(DISTINCT user) AS users FROM rows GROUP BY ALL", 1),  # as many groups as rows
        (table(), "SELECT region, ok, count(DISTINCT name) AS names FROM rows GROUP BY ALL", 0),  # texts
        (table(), "SELECT region, ok, count(DISTINCT first) AS f FROM rows AS r(first) GROUP BY ALL", 0),  # no column of rows
    ],
)
def test_where_segments_are_no_use_the_sql_sees_all_rows_at_once(
    box: Sandboxes, in_parts: list[int], rows: pa.Table, sql: str, segments: int
) -> None:
    found = result(box, sql, streamed(rows))
    assert len(in_parts) == segments
    assert in_order(found) == in_order(result(box, sql, streamed(rows), parts=False))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT region, count(DISTINCT user) AS users FROM rows GROUP BY ALL",  # one key: hash tables are small
        "SELECT region, ok, count(*) AS n FROM rows GROUP BY ALL",
        "SELECT region, ok, count(DISTINCT user + 1) AS users FROM rows GROUP BY ALL",
        "SELECT region, ok, count(DISTINCT user) + 1 AS users FROM rows GROUP BY ALL",
        "SELECT region, ok, count(DISTINCT user) AS users, median(amount) AS m FROM rows GROUP BY ALL",
        "SELECT region, ok, count(DISTINCT user) AS users, sum(DISTINCT device) AS m FROM rows GROUP BY ALL",
        "SELECT region, ok, count(DISTINCT user) AS users, min(amount, 2) AS m FROM rows GROUP BY ALL",
        "SELECT region, ok, count(DISTINCT user) AS users FROM rows GROUP BY ALL HAVING users > 1",
        "SELECT region, ok, count(DISTINCT user) AS users FROM rows GROUP BY ALL LIMIT 3",
        "SELECT region, ok, count(DISTINCT user) AS users FROM rows GROUP BY CUBE (region, ok)",
        "SELECT region, ok, count(DISTINCT user) AS users FROM (SELECT DISTINCT region, ok, user FROM rows) GROUP BY ALL",
        "SELECT * FROM (SELECT region, ok, count(DISTINCT user) AS users FROM rows GROUP BY ALL)",
        "SELECT a.region, a.ok, count(DISTINCT a.user) AS users FROM rows AS a, rows AS b GROUP BY ALL",
        "SELECT region, ok, count(DISTINCT user) OVER () AS users FROM rows",
    ],
)
def test_other_sql_is_not_taken_apart(sql: str) -> None:
    assert distinct_sql(parse_select(sql)[1]) is None


@pytest.mark.parametrize("lists_share", [2, 1 << 40])
@pytest.mark.parametrize("where", ["i < 5000", "i > 28000", "i BETWEEN 9000 AND 9100", "false"])
def test_segments_of_which_no_row_is_left_add_nothing(
    box: Sandboxes, in_parts: list[int], monkeypatch: pytest.MonkeyPatch, where: str, lists_share: int
) -> None:
    monkeypatch.setattr("raypipe.engine.aggregate.LISTS_SHARE", lists_share)
    rows = table().append_column("i", pa.array(range(ROWS)))
    sql = f"SELECT region, ok, count(DISTINCT user) AS users, avg(user) AS mean FROM rows WHERE {where} GROUP BY ALL"
    expected = result(box, sql, streamed(rows), parts=False)
    found = result(box, sql, streamed(rows))
    assert 0 in in_parts
    assert found.schema.equals(expected.schema)
    assert in_order(found) == in_order(expected)


@pytest.mark.parametrize("lists_share", [2, 1 << 40])
def test_one_sandbox_does_shard_after_shard(box: Sandboxes, monkeypatch: pytest.MonkeyPatch, lists_share: int) -> None:
    monkeypatch.setattr("raypipe.engine.aggregate.LISTS_SHARE", lists_share)
    aggregator = Aggregator([SqlOutput(table="t", sql=EXACT[0])], box)
    for seed in (1, 2):
        found = aggregator.contributions(streamed(table(seed=seed)), [SHARD])["t"].table
        assert in_order(found) == in_order(result(box, EXACT[0], streamed(table(seed=seed)), parts=False))


def test_lists_are_found_by_the_places_of_a_group(box: Sandboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    places = DistinctSql.places
    monkeypatch.setattr(DistinctSql, "places", lambda *arguments: f"{places(*arguments)} ORDER BY first DESC")
    rows = table()
    assert in_order(result(box, EXACT[0], streamed(rows))) == in_order(result(box, EXACT[0], streamed(rows), parts=False))


@pytest.mark.parametrize("more", ["users * 2 AS twice", "count(*) AS n, n > 2400 AS many"])
def test_a_name_of_an_aggregate_means_the_aggregate(box: Sandboxes, in_parts: list[int], more: str) -> None:
    sql = f"SELECT region, ok, count(DISTINCT user) AS users, {more} FROM rows GROUP BY ALL"
    rows = table()
    found = result(box, sql, streamed(rows))
    assert in_parts == []  # what is made of it is no key, and of a part it would be another
    assert in_order(found) == in_order(result(box, sql, streamed(rows), parts=False))


def test_what_fails_in_a_segment_is_said_of_the_output(box: Sandboxes) -> None:
    sql = "SELECT region, CAST(name AS INTEGER) AS number, count(DISTINCT user) AS users FROM rows GROUP BY ALL"
    with pytest.raises(TransformFailed, match=r"outputs\.t\.sql: .*Could not convert string 'n"):
        result(box, sql, streamed(table()))


def test_what_fails_in_a_row_is_raised_as_it_was(box: Sandboxes) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from table(20_000).to_batches(max_chunksize=5_000)
        raise ValueError("no more rows")

    with pytest.raises(ValueError, match="no more rows"):
        result(box, EXACT[0], RowStream(table(1).schema, broken()))
