"""Quarantine: rows set aside leave in the order of their shards, files and positions, cut where they are too long."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from raypipe.core.window import Window
from raypipe.engine.batches import RAW_COLUMN, ROW_COLUMN, SHARD_INDEX, Batch
from raypipe.engine.quarantine import ERROR_CHARS_MAX, SCHEMA, Quarantine
from raypipe.errors import AccountsDontBalance, TooManyQuarantined
from raypipe.ports import POSITION_COLUMN, RAW_CHARS_MAX, SOURCE_COLUMN, Reject

WINDOWS = [Window(0, 10), Window(10, 20)]
TYPES = {SHARD_INDEX: pl.UInt32, SOURCE_COLUMN: pl.UInt32, POSITION_COLUMN: pl.Int64, ROW_COLUMN: pl.UInt32}


def quarantine(limit_bytes=10**9):
    return Quarantine(WINDOWS, ["a.csv", "b.csv"], limit_bytes)


def batch_of(*rows, raws=None):
    """Rows as (shard, source, position); each as read has its position as `v`."""
    frame = pl.DataFrame([(*row, place) for place, row in enumerate(rows)], schema=TYPES, orient="row")
    if raws:
        frame = frame.with_columns(pl.Series(RAW_COLUMN, raws, dtype=pl.String))
    return Batch(frame, pa.table({"v": [row[2] for row in rows]}))


def test_rows_leave_in_the_order_of_shard_source_and_position():
    aside = quarantine()
    aside.add(batch_of((1, 0, 9), (0, 1, 5), (0, 1, 4)), pl.Series([0, 1, 2]), "low", ["x", "y", "z"])
    aside.add(batch_of((0, 0, 7), (0, 0, 6)), pl.Series([1]), "high", ["w"])
    aside.add_rejects([(0, Reject("a.csv", 2, "malformed", "got 1", "text"))])
    found = aside.table([0, 1])
    assert found.schema == SCHEMA
    assert found.select(["source", "position", "rule", "error", "raw", "truncated"]).to_pylist() == [
        {"source": source, "position": position, "rule": rule, "error": error, "raw": raw, "truncated": False}
        for source, position, rule, error, raw in [
            ("a.csv", 2, "malformed", "got 1", "text"),
            ("a.csv", 6, "high", "w", '{"v": 6}'),
            ("b.csv", 4, "low", "z", '{"v": 4}'),
            ("b.csv", 5, "low", "y", '{"v": 5}'),
            ("a.csv", 9, "low", "x", '{"v": 9}'),
        ]
    ]
    assert found["_shard"].cast(pa.int64()).to_pylist() == [0, 0, 0, 0, 10]


def test_only_the_shards_that_are_asked_for_are_given():
    aside = quarantine()
    aside.add(batch_of((1, 0, 9), (0, 1, 5)), pl.Series([0, 1]), "low", ["x", "y"])
    assert aside.table([1])["position"].to_pylist() == [9]
    assert aside.table([]).num_rows == 0


@pytest.mark.parametrize("more", [0, 1, 500])
def test_long_texts_are_cut_after_characters_and_it_is_told(more):
    aside = quarantine()
    raw, error = "é" * (RAW_CHARS_MAX + more), "ü" * (ERROR_CHARS_MAX + more)
    aside.add(batch_of((0, 0, 0), (0, 0, 1), raws=[raw, None]), pl.Series([0, 1]), "low", [error, "short"])
    found = aside.table([0, 1])
    assert found["raw"].to_pylist() == ["é" * RAW_CHARS_MAX, "{}"]
    assert found["error"].to_pylist() == ["ü" * ERROR_CHARS_MAX, "short"]
    assert found["truncated"].to_pylist() == [more > 0, False]


def test_more_than_its_part_of_the_memory_is_refused_with_what_broke():
    aside = quarantine(limit_bytes=400)
    aside.add(batch_of((0, 0, 0)), pl.Series([0]), "low", ["x"])
    with pytest.raises(TooManyQuarantined, match=r"\(high: 9, low: 1\)"):
        aside.add(batch_of(*[(0, 0, place) for place in range(9)]), pl.Series(range(9)), "high", ["x" * 50] * 9)


def test_a_line_of_a_file_that_nobody_asked_for_is_refused():
    with pytest.raises(AccountsDontBalance, match=r"c\.csv"):
        quarantine().add_rejects([(0, Reject("c.csv", 2, "malformed", "got 1", "text"))])
