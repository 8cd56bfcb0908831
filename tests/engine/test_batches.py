"""Batches: rows of a source in Polars, and what of them stays as it was read."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from raypipe.core.window import Window
from raypipe.engine.batches import as_frame, placed_batches, shard_indexes, user_columns
from raypipe.engine.quarantine import raw_rows
from raypipe.errors import AccountsDontBalance
from raypipe.pipeline import Derive, Quality, Rule, SqlOutput
from raypipe.ports import SourceBatch

RESERVED = {"_time": pa.array([0, 1, 2]), "_source": pa.array([0, 0, 0], pa.uint32()), "_position": pa.array([0, 1, 2])}


def coded(*texts, kind=None):
    return pa.array(texts, kind or pa.string()).dictionary_encode()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_dictionaries_of_texts_are_texts_whatever_dictionary_each_chunk_has(kind):
    chunks = [coded("b", None, "a", kind=kind), coded(kind=kind), coded("c", "a", kind=kind), coded(None, kind=kind)]
    frame = as_frame(pa.table({"n": range(6), "s": pa.chunked_array(chunks), "m": range(6)}))
    assert frame.schema == {"n": pl.Int64, "s": pl.String, "m": pl.Int64}
    assert frame["s"].to_list() == ["b", None, "a", "c", "a", None]


def test_rows_of_dictionaries_alone_are_as_many_as_they_were():
    assert as_frame(pa.table({"s": coded("a", "b"), "t": coded("c", "c")})).rows() == [("a", "c"), ("b", "c")]
    assert as_frame(pa.table({"s": coded()})).schema == {"s": pl.String}


def test_dictionaries_of_other_values_are_their_values():
    assert as_frame(pa.table({"n": pa.array([7, 8, 7]).dictionary_encode()}))["n"].to_list() == [7, 8, 7]


def test_columns_that_nothing_uses_go_nowhere_but_into_the_text_of_rows_set_aside():
    rows = pa.RecordBatch.from_pydict({"a": [1, 2, 3], "url": coded("x", "y", "x"), **RESERVED})
    (read,) = placed_batches([SourceBatch(rows)], [Window(0, 10)], 1 << 20, ["url"])
    assert user_columns(read.batch.frame) == ["a"]
    assert raw_rows(read.batch, pl.Series([1, 2])).to_pylist() == ['{"a": 2, "url": "y"}', '{"a": 3, "url": "x"}']


def test_a_row_set_aside_has_what_an_unused_column_was_to_be_made_of(make_pipeline, make_runner, make_task, memory_source):
    pipeline = make_pipeline(
        format="parquet",
        quality=Quality(rules=(Rule(name="low", expect="a < 2"),)),
        steps=[Derive(columns={"host": "upper(url)"})],
        outputs=[SqlOutput(table="t", sql="SELECT sum(a) AS a FROM rows")],
    )
    source = memory_source(pl.DataFrame({"url": ["x", "y"], "a": [1, 2], "_time": [1, 1]}), words={"url": "string", "a": "int64"})
    staged = make_runner(pipeline, source).run(make_task())
    assert staged.tables["_quarantine"]["raw"].to_pylist() == ['{"url": "y", "a": 2}']
    assert staged.tables["t"]["a"].to_pylist() == [1]


def test_categories_of_a_file_are_texts_in_every_table(make_pipeline, run):
    staged = run(make_pipeline(format="parquet"), {"c": pl.Series(["b", None, "a"], dtype=pl.Categorical)})
    assert staged.failures == ()
    assert staged.tables["out"]["c"].to_pylist() == ["b", None, "a"]
    assert not pa.types.is_dictionary(staged.tables["out"].schema.field("c").type)


WINDOWS = [Window(10, 20), Window(20, 30), Window(40, 50)]


def test_each_row_has_the_place_of_its_window_whose_end_is_not_in_it():
    assert shard_indexes(pl.Series([49, 10, 19, 20, 29, 40]), WINDOWS).to_list() == [2, 0, 0, 1, 1, 2]
    assert shard_indexes(pl.Series([], dtype=pl.Int64), WINDOWS).to_list() == []


@pytest.mark.parametrize("stray", [-62_135_510_400_000_000, 9, 30, 39, 50, 253_370_764_799_999_999], ids=str)
@pytest.mark.parametrize("windows", [WINDOWS, WINDOWS[:1]], ids=len)
def test_a_row_in_no_window_is_refused(windows, stray):
    with pytest.raises(AccountsDontBalance, match="none of the windows"):
        shard_indexes(pl.Series([10, stray]), windows)
