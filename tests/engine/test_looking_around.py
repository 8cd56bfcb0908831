"""What of the rows of a lookback is whose: SQL has to ask, and nothing of them is held for the shard's quarantine."""

from __future__ import annotations

import polars as pl
import pytest

from raypipe.core.window import Window
from raypipe.engine.batches import SHARD_INDEX, Batch
from raypipe.engine.looking_around import require_in_shard
from raypipe.engine.output_sql import SqlRefused, parse_select
from raypipe.engine.quarantine import Quarantine
from raypipe.ports import POSITION_COLUMN, SOURCE_COLUMN


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n FROM rows WHERE _in_shard",
        "SELECT sum(n) OVER () FROM rows QUALIFY _in_shard",
        "SELECT count(*) FILTER (r._IN_SHARD) FROM rows AS r",
        "WITH own AS (SELECT * FROM rows WHERE _in_shard) SELECT n FROM own",
    ],
)
def test_sql_that_means_the_mark_anywhere_is_allowed(sql):
    require_in_shard(parse_select(sql)[1])


@pytest.mark.parametrize("sql", ["SELECT n FROM rows", "SELECT '_in_shard' FROM rows", "SELECT 1 AS _in_shard FROM rows"])
def test_sql_that_only_looks_as_if_it_meant_the_mark_is_refused(sql):
    with pytest.raises(SqlRefused, match="QUALIFY _in_shard"):
        require_in_shard(parse_select(sql)[1])


def test_rows_of_a_lookback_take_nothing_of_the_room_for_quarantined_rows():
    aside = Quarantine([Window(0, 1)], ["file"], limit_bytes=500)
    columns = {SHARD_INDEX: pl.UInt32, SOURCE_COLUMN: pl.UInt32, POSITION_COLUMN: pl.Int64}
    frame = pl.DataFrame({SHARD_INDEX: [1] * 100 + [0], SOURCE_COLUMN: [0] * 101, POSITION_COLUMN: range(101)}, schema=columns)
    aside.add(Batch(frame), pl.Series(range(101)), "rule", ["broken"] * 101)
    assert aside.table([0])["position"].to_pylist() == [100]
