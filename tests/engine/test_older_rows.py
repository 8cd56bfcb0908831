"""Rows that are not the newest of their key: by keys in memory as by DuckDB on disk."""

from __future__ import annotations

import random

import polars as pl
import pytest

from raypipe.core.window import Window
from raypipe.engine import repeated_keys
from raypipe.engine.batches import SHARD_INDEX, Batch
from raypipe.engine.deduplicate import DeduplicateStep
from raypipe.engine.older_rows import OlderRowsByDuckDB, OlderRowsByKeys
from raypipe.engine.quality import Books
from raypipe.engine.quarantine import Quarantine
from raypipe.engine.tally import Tally
from raypipe.pipeline import Deduplicate
from raypipe.ports import POSITION_COLUMN, SOURCE_COLUMN, TIME_COLUMN

AMPLE = 1 << 30


def frames_of(seed, distinct, heights=(40, 0, 7, 153)):
    chance = random.Random(seed)

    def frame(height):
        return pl.DataFrame(
            {
                "n": [chance.choice([None, *range(distinct)]) for _ in range(height)],
                "text": [chance.choice([None, "a", "b"]) for _ in range(height)],
                "changed": [chance.choice([None, 1.0, 2.0]) for _ in range(height)],
                SHARD_INDEX: [chance.randrange(2) for _ in range(height)],
                TIME_COLUMN: [chance.randrange(3) for _ in range(height)],
                SOURCE_COLUMN: [0] * height,
                POSITION_COLUMN: [chance.randrange(5) for _ in range(height)],
            },
            schema={
                "n": pl.Int64, "text": pl.String, "changed": pl.Float64, SHARD_INDEX: pl.UInt32, TIME_COLUMN: pl.Int64,
                SOURCE_COLUMN: pl.UInt32, POSITION_COLUMN: pl.Int64,
            },
        )  # fmt: skip

    return [frame(height) for height in heights]


def found(older, frames):
    for frame in frames:
        older.add(frame)
    assert older.find(frames)
    places, first = [], 0
    for frame in frames:
        places.append(older.within(first, first + frame.height).to_list())
        first += frame.height
    older.close()
    return places


@pytest.mark.parametrize("together_rows", [repeated_keys.TOGETHER_ROWS, 45, 0])
@pytest.mark.parametrize("distinct", [2, 30, 10_000])
@pytest.mark.parametrize("key", [("n",), ("text",), ("n", "text")])
@pytest.mark.parametrize("seed", range(3))
def test_keys_in_memory_find_the_rows_that_duckdb_finds(tmp_path, monkeypatch, seed, key, distinct, together_rows):
    monkeypatch.setattr(repeated_keys, "TOGETHER_ROWS", together_rows)
    step, frames = Deduplicate(key=key, latest_by=("changed",)), frames_of(seed, distinct)
    in_memory = found(OlderRowsByKeys(step, AMPLE), frames)
    assert in_memory == found(OlderRowsByDuckDB(step, tmp_path, AMPLE), frames)
    assert any(in_memory) or distinct == 10_000
    assert not list(tmp_path.iterdir())


def test_keys_that_all_differ_are_told_without_a_look_at_the_rows():
    frames = [pl.DataFrame({"n": [1, 2, None]}), pl.DataFrame({"n": [3]})]
    older = OlderRowsByKeys(Deduplicate(key=("n",), latest_by=()), AMPLE)
    for frame in frames:
        older.add(frame)
    assert older.find(iter(()))
    assert older.within(0, 4).is_empty()


def test_too_many_rows_of_repeated_keys_are_left_to_duckdb(tmp_path):
    frames = frames_of(1, 1, heights=(1_000,))
    older = OlderRowsByKeys(Deduplicate(key=("n",), latest_by=()), 20_000)
    older.add(frames[0])
    assert not older.is_full
    assert not older.find(frames)


@pytest.mark.parametrize("memory_bytes", [1 << 8, 24 * 20_000, AMPLE])  # keys on disk at once, when rows are looked at, never
def test_a_step_hands_on_the_same_rows_wherever_they_and_their_keys_are(tmp_path, memory_bytes):
    step, frames = Deduplicate(key=("n",), latest_by=("changed",)), frames_of(5, 3, heights=(300, 400, 300))
    windows = [Window(0, 1), Window(1, 2)]
    books = Books(Tally(windows), Quarantine(windows, [], AMPLE))
    batches = DeduplicateStep(step).stream(map(Batch, frames), books, memory_bytes=memory_bytes, spill=tmp_path / "spill")
    left = pl.concat(batch.frame for batch in batches)
    lost = found(OlderRowsByDuckDB(step, tmp_path, AMPLE), frames)
    kept = [frame.filter(~pl.int_range(pl.len()).is_in(places)) for frame, places in zip(frames, lost, strict=True)]
    assert left.equals(pl.concat(kept))
    assert sum(books.tally.duplicate.values()) == sum(map(len, lost))
    assert not list((tmp_path / "spill").glob("*"))


@pytest.mark.parametrize(("rows", "parts"), [(40, 1), (41, repeated_keys.PARTITIONS)])
def test_many_integers_are_sorted_in_parts(monkeypatch, rows, parts):
    monkeypatch.setattr(repeated_keys, "TOGETHER_ROWS", 40)
    sorted_at_once = []
    repeated = repeated_keys._repeated_values
    monkeypatch.setattr(repeated_keys, "_repeated_values", lambda one: sorted_at_once.append(len(one)) or repeated(one))
    keys = repeated_keys.RepeatedIntegers()
    for start in range(0, rows, 20):
        keys.add(pl.DataFrame({"n": pl.int_range(start, min(start + 20, rows), eager=True)}))
    assert keys.size_bytes == 8 * rows
    assert keys.found() is None
    assert len(sorted_at_once) == parts
    assert sum(sorted_at_once) == rows
    assert max(sorted_at_once) <= -(-rows // parts)


@pytest.mark.parametrize(("key", "full"), [(["n"], False), (["n", "m"], True)])
def test_integers_may_take_nearly_all_that_keys_may_for_they_are_sorted_in_parts(key, full):
    frame = pl.DataFrame({"n": range(1000), "m": range(1000), SHARD_INDEX: pl.Series([0] * 1000, dtype=pl.UInt32)})
    keys = OlderRowsByKeys(Deduplicate(key=key), limit_bytes=1000 * 8 * len(key) * 9 // 8)
    keys.add(frame)
    assert keys.is_full == full
    keys.add(frame.head(1))
    assert keys.is_full
