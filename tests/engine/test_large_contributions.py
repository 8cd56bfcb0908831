"""What a large shard contributes goes to a file as it comes, and is the same as what fits in memory."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from raypipe.core.datatype import parse_datatype
from raypipe.errors import RuleBroken
from raypipe.pipeline import Check, GroupByOutput, OutputColumn, Quality, RowsOutput, SqlOutput

COLUMNS = {"id": "int64", "k": "string", "f": "float64"}
OUTPUTS = [
    RowsOutput(table="every", columns={"id": OutputColumn(type=parse_datatype("int64"), required=True, unique=True)}),
    RowsOutput(table="keyed", key=("k",)),
    GroupByOutput(table="groups", group_by={"id": "id % 5000"}, measures={"n": "count(*)", "f": "sum(f)"}),
    SqlOutput(table="asked", sql="SELECT id, k || 'x' AS kx, f * 0.1 AS tenth FROM rows"),
]
ROWS = 20_000
LITTLE = 1 << 20  # 8 KiB of a contribution are held in memory


def rows():
    place = pl.int_range(ROWS, eager=True)
    texts = pl.DataFrame(
        {"id": place.cast(pl.String), "k": "k" + (place % 9_000).cast(pl.String), "f": (place / 7).cast(pl.String)}
    )
    return texts.with_columns(_time=place * 100_000)


def staged_files(staged):
    return {path.stem: pq.read_table(path) for path in Path(staged.folder).glob("*.parquet")}


@pytest.mark.parametrize("outputs", [OUTPUTS, OUTPUTS[:1], OUTPUTS[3:]], ids=["all", "rows alone", "sql alone"])
def test_files_and_memory_hold_the_same_contributions(make_pipeline, make_runner, make_task, memory_source, outputs):
    quality = Quality(checks=(Check(table=outputs[0].table, expect=f"count(*) = {ROWS}", otherwise="fail"),))
    pipeline = make_pipeline(COLUMNS, outputs=outputs, quality=quality)
    source = memory_source(rows(), batch_rows=3_000)
    expected = make_runner(pipeline, source, memory_bytes=1 << 30).run(make_task(1))
    large = make_runner(pipeline, source, stage=Never(), memory_bytes=LITTLE).run(make_task(1))
    assert not expected.failures
    assert not large.failures
    assert large.results[0].outputs == expected.results[0].outputs
    assert large.results[0].accounts == expected.results[0].accounts
    found = staged_files(large)
    assert found.keys() == expected.tables.keys()
    for name, table in expected.tables.items():
        assert found[name].schema.equals(table.schema)
        assert sorted(map(repr, found[name].to_pylist())) == sorted(map(repr, table.to_pylist()))
    assert found[outputs[0].table].num_rows == ROWS


class Never:
    """A policy that sees nothing worth a file."""

    def wants_files(self, *, seconds, size_bytes):
        return False


def test_a_contract_and_a_check_judge_what_is_in_a_file(make_pipeline, make_runner, make_task, memory_source):
    source = memory_source(rows().with_columns(id=pl.lit("1")), batch_rows=3_000)
    checked = Quality(checks=(Check(table="every", expect="max(id) > 1", otherwise="fail"),))
    for pipeline in (
        make_pipeline(COLUMNS, outputs=OUTPUTS[:1]),
        make_pipeline(COLUMNS, outputs=[RowsOutput(table="every")], quality=checked),
    ):
        staged = make_runner(pipeline, source, stage=Never(), memory_bytes=LITTLE).run(make_task(1))
        assert [one.code for one in staged.failures] == [RuleBroken.code]
        assert staged.results == ()
