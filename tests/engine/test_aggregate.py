from __future__ import annotations

import pickle
import random
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.core.fingerprint import combine_digests
from raypipe.core.window import Window
from raypipe.engine import batched_sql
from raypipe.engine.aggregate import NO_ROWS, Aggregator, RowStream
from raypipe.engine.arrow_types import plain_table
from raypipe.engine.sandbox import Sandboxes
from raypipe.errors import ConfigurationError, OutOfMemory, TransformFailed
from raypipe.pipeline import RowsOutput, SqlOutput

HOUR_US = 3_600_000_000
MEMORY_BYTES = 256 * 1024**2


def hours(count: int) -> list[Window]:
    return [Window(hour * HOUR_US, (hour + 1) * HOUR_US) for hour in range(count)]


def table(rows: list[tuple[int, int | None, float | None, str | None]]) -> pa.Table:
    shards, keys, numbers, texts = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "k": pa.array(keys, pa.int64()),
            "v": pa.array(numbers, pa.float64()),
            "s": pa.array(texts, pa.string_view()),
            "i": pa.array(range(len(rows)), pa.int64()),
            "_shard": pa.array([shard * HOUR_US for shard in shards], pa.timestamp("us")),
        }
    )


ROWS = table([(0, 1, 0.5, "a"), (2, 1, 1.5, None), (0, 2, 2.5, "b"), (2, 1, 3.5, "a")])


@pytest.fixture
def make(tmp_path: Path) -> Iterator[object]:
    sandboxes = Sandboxes(MEMORY_BYTES, tmp_path / "spill")

    def make(**sql: str | None) -> Aggregator:
        outputs = [RowsOutput(table=name) if text is None else SqlOutput(table=name, sql=text) for name, text in sql.items()]
        return Aggregator(outputs, sandboxes)

    yield make
    sandboxes.close()
    assert not (tmp_path / "spill").exists() or list((tmp_path / "spill").iterdir()) == []


def test_every_shard_has_its_rows_and_a_stat(make) -> None:
    sql = "SELECT k, count(*) AS n, sum(k) AS total, avg(v) AS mean FROM rows GROUP BY k ORDER BY k"
    found = make(t=sql).contributions(ROWS, hours(3))["t"]
    assert found.table.sort_by([("_shard", "ascending"), ("k", "ascending")]).to_pylist() == [
        {"k": 1, "n": 1, "total": Decimal(1), "mean": 0.5, "_shard": datetime(1970, 1, 1, 0)},
        {"k": 2, "n": 1, "total": Decimal(2), "mean": 2.5, "_shard": datetime(1970, 1, 1, 0)},
        {"k": 1, "n": 2, "total": Decimal(2), "mean": 2.5, "_shard": datetime(1970, 1, 1, 2)},
    ]
    assert [found.stats[shard].rows for shard in hours(3)] == [2, 0, 1]
    assert found.stats[hours(3)[1]] == NO_ROWS
    assert NO_ROWS.digest == "0" * 32


def test_an_ungrouped_aggregate_yields_one_row_for_an_empty_shard_too(make) -> None:
    found = make(t="SELECT count(*) AS n, sum(v) AS total FROM rows").contributions(ROWS, hours(3))["t"]
    assert found.table.select(["n", "total"]).to_pylist() == [
        {"n": 2, "total": 3.0}, {"n": 0, "total": None}, {"n": 2, "total": 5.0},
    ]  # fmt: skip


def test_rows_keep_their_order_and_get_plain_types(make) -> None:
    rows = ROWS.append_column("c", ROWS["s"].cast(pa.string()).dictionary_encode())
    found = make(t=None).contributions(rows, hours(3))["t"].table
    assert found["i"].to_pylist() == [0, 1, 2, 3]
    assert found.schema.field("s").type == pa.string()
    assert found.schema.field("c").type == pa.string()


def test_outputs_are_described_without_rows(make) -> None:
    found = make(
        t="SELECT count(*) AS n, sum(k) AS total, sum(v) AS v, avg(k) AS mean, any_value(s ORDER BY i) AS s FROM rows", r=None
    ).describe_outputs(ROWS.schema)
    assert found["t"] == pa.schema(
        [("n", pa.int64()), ("total", pa.decimal128(38, 0)), ("v", pa.float64()), ("mean", pa.float64()), ("s", pa.string())]
    )
    assert found["r"].names == ["k", "v", "s", "i"]


def test_sql_that_does_not_fit_the_rows_is_named_at_check(make) -> None:
    aggregator = make(
        one="SELECT nope FROM rows", two="SELECT _shard FROM rows", three="SELECT 1 AS _shard", four="SELECT k FROM rows"
    )
    with pytest.raises(ConfigurationError) as caught:
        aggregator.describe_outputs(ROWS.schema)
    assert [one.split(": ")[0] for one in caught.value.problems] == ["outputs.one.sql", "outputs.two.sql", "outputs.three.sql"]
    assert '"nope" not found' in caught.value.problems[0]
    assert "keeps for itself" in caught.value.problems[2]


def test_sql_that_is_no_select_is_refused_when_the_aggregator_is_made(make) -> None:
    with pytest.raises(ConfigurationError, match=r"outputs\.t\.sql: expected one SELECT statement, got COPY"):
        make(t="COPY rows TO '/tmp/stolen.csv'")


def test_sql_that_fails_on_the_rows_names_the_output_and_the_reason(make) -> None:
    aggregator = make(t="SELECT CAST(s AS INT) AS n FROM rows")
    with pytest.raises(TransformFailed, match=r"outputs\.t\.sql: .*Could not convert string 'a'"):
        aggregator.contributions(ROWS, hours(3))
    assert aggregator.describe_outputs(ROWS.schema)["t"].names == ["n"]


def test_raypipes_columns_are_hidden_from_the_sql(make) -> None:
    rows = ROWS.append_column("_time", pa.array([1, 2, 3, 4])).append_column("_source", pa.array([0] * 4, pa.uint32()))
    found = make(t="SELECT * FROM rows", r=None).contributions(rows, hours(3))
    assert found["t"].table.schema.names == ["k", "v", "s", "i", "_shard"]
    assert found["r"].table.schema.names == ["k", "v", "s", "i", "_shard"]


def test_a_stream_gives_what_a_table_gives(make) -> None:
    aggregator = make(t="SELECT k, sum(v) AS v FROM rows GROUP BY k", w="SELECT i, sum(v) OVER (ORDER BY i) AS v FROM rows", r=None)
    whole = aggregator.contributions(ROWS, hours(3))
    streamed = aggregator.contributions(RowStream(ROWS.schema, iter(ROWS.to_batches(max_chunksize=1))), hours(3))
    for name in ("t", "w", "r"):
        assert streamed[name].stats == whole[name].stats


def test_the_digests_of_shards_add_up_to_that_of_the_table(make) -> None:
    aggregator = make(r=None)
    parts = aggregator.contributions(ROWS, hours(3))["r"]
    moved = ROWS.set_column(4, "_shard", pa.array([0] * 4, pa.timestamp("us")))
    whole = aggregator.contributions(moved, hours(1))["r"]
    assert combine_digests([stat.digest for stat in parts.stats.values()]) == whole.stats[hours(1)[0]].digest


def test_an_aggregator_travels_and_serves_several_threads(make) -> None:
    aggregator = pickle.loads(pickle.dumps(make(t="SELECT k, sum(v) AS v FROM rows GROUP BY k")))
    expected = aggregator.contributions(ROWS, hours(3))["t"].stats
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(aggregator.contributions(ROWS, hours(3))["t"].stats)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3


def test_long_lists_are_digested_within_little_memory(tmp_path: Path) -> None:
    lists = pa.array([list(range(3_000)) for _ in range(1_000)], pa.list_(pa.int64()))  # 24 MB, and 14 MB as texts
    window = Window(0, HOUR_US)
    table = pa.table({"group": range(1_000), "values": lists, "_shard": pa.repeat(pa.scalar(0, pa.timestamp("us")), 1_000)})
    sandboxes = Sandboxes(1, tmp_path)  # the least that a sandbox gets
    (whole,) = Aggregator((), sandboxes).stats(table, [window]).values()
    parts = [Aggregator((), sandboxes).stats(table.slice(at, 250), [window])[window] for at in range(0, 1_000, 250)]
    assert whole.rows == 1_000
    assert whole.digest == combine_digests([part.digest for part in parts])


def test_work_beyond_the_memory_spills_and_what_cannot_is_an_error(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "n": pa.array(range(400_000)),
            "s": [f"text {n}" for n in range(400_000)],
            "_shard": pa.array([0] * 400_000, pa.timestamp("us")),
        }
    )
    sandboxes = Sandboxes(1, tmp_path)
    small = Aggregator([SqlOutput(table="t", sql="SELECT s, count(*) AS n FROM rows GROUP BY s")], sandboxes)
    stream = RowStream(rows.schema, iter(rows.to_batches(max_chunksize=50_000)))
    assert small.contributions(stream, hours(1))["t"].stats[hours(1)[0]].rows == 400_000
    greedy = Aggregator([SqlOutput(table="t", sql="SELECT list(s || repeat('x', 300)) AS l FROM rows")], sandboxes)
    with pytest.raises(OutOfMemory, match=r"outputs\.t: .*raise run\.memory"):
        greedy.contributions(rows, hours(1))
    sandboxes.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '/tmp/raypipe-stolen.csv'",
        "ATTACH '/tmp/raypipe-stolen.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "SET TimeZone = 'Europe/Madrid'",
        "RESET lock_configuration",
        "SELECT * FROM python_variable",
        "SELECT getenv('HOME')",
    ],
)
def test_the_sandbox_itself_refuses_what_the_parser_would_have_caught(sql: str, tmp_path: Path) -> None:
    python_variable = ROWS  # would be read by its name
    assert python_variable is not None
    with pytest.raises(duckdb.Error), Sandboxes(MEMORY_BYTES, tmp_path).borrow() as connection:
        connection.execute(sql).fetchall()


SHAPES = {
    "group": "SELECT k, count(*) AS c, sum(v) AS s, avg(v) AS a, stddev(v) AS sd FROM rows GROUP BY k",
    "ungrouped": "SELECT count(*) AS c, sum(v) AS s, avg(v) AS a, min(v) AS lo, max(s) AS hi FROM rows",
    "where": "SELECT k, sum(v) AS s FROM rows WHERE i % 3 > 0 AND v > -500 GROUP BY k",
    "filter": "SELECT sum(v) FILTER (WHERE k = 1) AS s, count(*) FILTER (WHERE s = 'x') AS c FROM rows",
    "having": "SELECT k, sum(v) AS s FROM rows GROUP BY k HAVING count(*) > 2",
    "having_all": "SELECT sum(v) AS s FROM rows HAVING count(*) > 3",
    "nothing": "SELECT sum(v) AS s FROM rows WHERE false",
    "constant": "SELECT 1 AS one",
    "cte": "WITH a AS (SELECT v * 0.1 AS w, k FROM rows WHERE v > 0) SELECT k, sum(w) AS s FROM a GROUP BY k",
    "cte_rows": "WITH rows AS (SELECT * FROM rows WHERE k = 1) SELECT count(*) AS c, sum(v) AS s FROM rows",
    "ratio": "SELECT k, s / c AS r FROM (SELECT k, sum(v) AS s, count(*) AS c FROM rows GROUP BY k)",
    "union_all": "SELECT k, sum(v) AS s FROM rows GROUP BY k UNION ALL SELECT NULL, sum(v) FROM rows",
    "union_sum": "SELECT sum(v) AS s FROM (SELECT v FROM rows UNION ALL SELECT v * 0.1 FROM rows)",
    "union": "SELECT k FROM rows UNION SELECT i % 3 FROM rows",
    "distinct": "SELECT DISTINCT k, s FROM rows",
    "distinct_sum": "SELECT s, count(DISTINCT k) AS c, sum(DISTINCT v) AS d FROM rows GROUP BY s",
    "lists": "SELECT k, list(v) AS l, string_agg(s, ',') AS j, first(v) AS f, list(v ORDER BY i DESC) AS o FROM rows GROUP BY k",
    "list_all": "SELECT list(v) AS l, last(i) AS i FROM rows",
    "quantiles": "SELECT k, median(v) AS m, quantile_cont(v, 0.3) AS q, "
    "approx_quantile(v, 0.5) AS a, mode(s) AS o FROM rows GROUP BY k",
    "statistics": "SELECT corr(v, i) AS c, kurtosis(v) AS ku, regr_slope(v, i) AS r, approx_count_distinct(i) AS d FROM rows",
    "ties": "SELECT k, mode(s) AS m, entropy(s) AS e FROM rows GROUP BY k",
    "arg_max": "SELECT k, arg_max(i, v) AS a, max(v, 2) AS two FROM rows GROUP BY k",
    "star": "SELECT * FROM rows WHERE v > 0 ORDER BY v",
    "unnest": "SELECT k, unnest([i, i + 1]) AS u FROM rows",
    "nested": "SELECT max(c) AS m, sum(s) AS s FROM (SELECT k, count(*) AS c, sum(v) AS s FROM rows GROUP BY k)",
    "self_join": "SELECT a.k, count(*) AS c, sum(a.v * b.v) AS s FROM rows a JOIN rows b ON a.k = b.k AND a.i < b.i GROUP BY a.k",
    "values_join": "SELECT n, sum(v) AS s FROM rows JOIN (VALUES (0, 'zero'), (1, 'one')) AS x(k, n) USING (k) GROUP BY n",
    "window": "SELECT k, i, sum(v) OVER (PARTITION BY k ORDER BY i) AS s, row_number() OVER (ORDER BY i) AS r FROM rows",
    "window_all": "SELECT i, sum(v) OVER () AS s, lag(v) OVER (ORDER BY i) AS l FROM rows",
    "qualify": "SELECT k, v, i FROM rows QUALIFY row_number() OVER (PARTITION BY k ORDER BY v DESC, i) = 1",
    "limit": "SELECT k, v, i FROM rows ORDER BY v, i LIMIT 3",
    "scalar": "SELECT i, v - (SELECT avg(v) FROM rows) AS d FROM rows",
    "exists": "SELECT k, v FROM rows a WHERE EXISTS (SELECT 1 FROM rows b WHERE b.k = a.k AND b.i > a.i)",
    "rollup": "SELECT k, s, sum(v) AS t FROM rows GROUP BY ROLLUP (k, s)",
    "pivot": "SELECT * FROM (SELECT k, s, v FROM rows) PIVOT (sum(v) FOR s IN ('x', 'y'))",
    "recursive": "WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 3) "
    "SELECT n, count(k) AS d FROM c, rows GROUP BY 1",
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aggregator]:
    outputs = [SqlOutput(table=name, sql=sql) for name, sql in SHAPES.items()]
    sandboxes = Sandboxes(MEMORY_BYTES, tmp_path_factory.mktemp("spill"))
    yield Aggregator(outputs, sandboxes)
    sandboxes.close()


def bits(value: object) -> object:
    if isinstance(value, float):
        return struct.pack("<d", value)
    return tuple(map(bits, value)) if isinstance(value, list) else value


def multiset(rows: pa.Table) -> Counter[tuple[object, ...]]:
    return Counter(tuple(bits(value) for value in row.values()) for row in rows.to_pylist())


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), size=st.sampled_from([0, 1, 30, 400]), width=st.sampled_from([1, 4]), mixed=st.booleans())
def test_a_shard_among_others_has_bit_for_bit_its_contribution_alone(
    shapes: Aggregator, seed: int, size: int, width: int, mixed: bool
) -> None:
    chance = random.Random(seed)
    places = [chance.randrange(width) for _ in range(size)]
    numbers = [None, 0.1, -0.0]
    rows = table(
        [
            (
                place,
                chance.choice([0, 1, 2, None]),
                chance.choice([*numbers, chance.uniform(-1e6, 1e6), chance.uniform(-1, 1)]),
                chance.choice("xyz"),
            )
            for place in (places if mixed else sorted(places))
        ]
    )
    together = shapes.contributions(rows, hours(width + 1))
    alone: dict[str, list[pa.Table]] = {name: [] for name in SHAPES}
    for shard in hours(width + 1):
        part = plain_table(rows).filter(
            pa.array([start == shard.start_us for start in rows["_shard"].cast(pa.int64()).to_pylist()], pa.bool_())
        )
        batches = part.to_batches(max_chunksize=chance.choice([1, 7, 1000]))
        source = RowStream(part.schema, iter(batches)) if chance.random() < 0.3 else pa.Table.from_batches(batches, part.schema)
        for name, contribution in shapes.contributions(source, [shard]).items():
            assert contribution.stats[shard] == together[name].stats[shard], (name, shard)
            alone[name].append(contribution.table)
    for name, parts in alone.items():
        assert multiset(pa.concat_tables(parts)) == multiset(together[name].table), name


def test_aggregates_see_the_rows_in_order_also_behind_a_filter(make) -> None:
    rows = table([(0, 0, 0.5, "a")] * 6000)
    aggregator = make(t="SELECT k, list(i) AS l FROM rows WHERE i % 40 = 0 OR i > 3000 GROUP BY k")
    (seen,) = aggregator.contributions(rows, hours(1))["t"].table["l"].to_pylist()
    assert seen == [index for index in range(6000) if index % 40 == 0 or index > 3000]


def test_groups_are_cut_without_a_trace(make, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table([(n % 9, n % 3, n / 7, "a") for n in range(200)])
    aggregator = make(t=SHAPES["group"], u=SHAPES["ungrouped"])
    expected = {name: one.stats for name, one in aggregator.contributions(rows, hours(10)).items()}
    monkeypatch.setattr(batched_sql, "GROUPED_ROWS_MAX", 50)
    monkeypatch.setattr(batched_sql, "GROUPED_SHARDS_MAX", 2)
    assert {name: one.stats for name, one in aggregator.contributions(rows, hours(10)).items()} == expected
