"""What shards contribute to `group_by` tables, whatever way their rows come."""

from __future__ import annotations

import polars as pl
import pytest

from raypipe.engine import combined
from raypipe.engine.row_stream import VECTOR_ROWS
from raypipe.pipeline import GroupByOutput

HOUR_US = 3_600_000_000
ROWS = 5 * VECTOR_ROWS
TOTALS = GroupByOutput(
    table="totals",
    group_by={"g": "n % 3"},
    measures={
        "rows_in": "count(*)", "total": "sum(n)", "spread": "variance(n)", "users": "count(DISTINCT n % 700)",
        "names": "count(DISTINCT name)", "prices": "count(DISTINCT price)", "first_n": "first(n)",
        "about": "approx_count_distinct(n)",
    },
)  # fmt: skip


@pytest.fixture
def staged(make_pipeline, make_runner, make_task, memory_source):
    """Run ROWS numbered rows of some hours; return what they contribute, and what the table would hold of each hour."""
    number = pl.int_range(ROWS, eager=True)
    rows = pl.DataFrame(
        {
            "n": number,
            "name": pl.Series(["a", "b", None])[(number % 3).to_list()],
            "price": (number % 11).cast(pl.Decimal(9, 2)),
        }
    )

    def run(hours=1, batch_rows=3_000):
        source = memory_source(rows.with_columns(_time=number * HOUR_US * hours // ROWS), batch_rows=batch_rows)
        runner = make_runner(make_pipeline(outputs=[TOTALS], format="parquet"), source)
        left = runner.run(make_task(hours))
        assert not left.failures
        shown = runner._outputs.merged.alone(TOTALS, left.tables["totals"])
        return left, sorted(shown.to_pylist(), key=repr)

    return run


def test_a_contribution_holds_each_distinct_value_once_and_in_order(staged):
    left, shown = staged()
    table = left.tables["totals"].to_pydict()
    for column in ("users.values", "names.values", "prices.values"):
        assert all(values is None or values == sorted(set(values)) for values in table[column])
    assert {row["users"] for row in shown} == {700}
    assert sorted(row["names"] for row in shown) == [0, 1, 1]
    assert {row["prices"] for row in shown} == {11}


def test_a_shard_of_several_segments_contributes_what_one_of_a_single_does(staged, monkeypatch):
    whole, shown = staged()
    monkeypatch.setattr(combined, "SEGMENT_ROWS", 2 * VECTOR_ROWS)
    cut, shown_of_cut = staged()
    assert cut.tables["totals"].schema == whole.tables["totals"].schema
    for one, other in zip(shown_of_cut, shown, strict=True):
        assert one.pop("spread") == pytest.approx(other.pop("spread"))
        assert one == other


def test_segments_do_not_depend_on_batches_nor_on_the_other_shards_of_a_task(staged, monkeypatch):
    monkeypatch.setattr(combined, "SEGMENT_ROWS", 2 * VECTOR_ROWS)
    digests = [staged(batch_rows=rows)[0].results[0].outputs for rows in (777, 3_000, ROWS)]
    assert digests[0] == digests[1] == digests[2]
    (together, _), (alone, _) = staged(hours=2), staged(hours=2, batch_rows=501)
    assert [one.outputs for one in together.results] == [one.outputs for one in alone.results]


def test_a_shard_too_large_for_one_query_is_taken_out_of_its_task(staged, monkeypatch):
    queries = []
    shared, single = combined.of_several_shards, combined.of_one_shard
    monkeypatch.setattr("raypipe.engine.merged.of_several_shards", lambda *given: queries.append("several") or shared(*given))
    monkeypatch.setattr("raypipe.engine.merged.of_one_shard", lambda *given: queries.append("one") or single(*given))
    monkeypatch.setattr(combined, "SEGMENT_ROWS", 2 * VECTOR_ROWS)
    left, shown = staged(hours=2)
    assert queries == ["several", "one", "one"]
    assert len(left.results) == 2
    assert sum(row["rows_in"] for row in shown) == ROWS
