"""FrameSpool: what was kept comes back as it was, from memory and from disk."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest

from raypipe.engine import spool as spool_module
from raypipe.engine.frame_layout import ROWS_MIN, layout_of
from raypipe.engine.spool import FrameSpool

EVERYTHING = pl.DataFrame(
    {
        "category": pl.Series(["a", None, "b"], dtype=pl.Categorical),
        "choice": pl.Series(["a", None, "b"], dtype=pl.Enum(["a", "b"])),
        "money": pl.Series([Decimal("1.20"), None, Decimal(3)], dtype=pl.Decimal(38, 2)),
        "time": [dt.time(1, 2, 3), None, dt.time(0)],
        "instant": pl.Series([dt.datetime(2024, 1, 1), None, dt.datetime(1969, 1, 1)]).dt.replace_time_zone("Europe/Paris"),
        "nothing": pl.Series([None] * 3, dtype=pl.Null),
        "bytes": [b"x", None, b""],
        "texts": [["a", None], [], None],
        "pair": [{"a": 1, "b": "x"}, None, {"a": None, "b": "long enough to stand outside of its view"}],
        "number": [float("nan"), None, -0.0],
    }
)


@pytest.mark.parametrize("frame", [EVERYTHING, EVERYTHING.clear(), EVERYTHING.select(huge=pl.lit(2**100, dtype=pl.Int128))])
@pytest.mark.parametrize("limit_bytes", [0, 1 << 20])
def test_frames_come_back_as_they_were_and_may_be_read_again(tmp_path, frame, limit_bytes):
    spool = FrameSpool(tmp_path / "spill", limit_bytes)
    for _ in spool.passing(iter([frame, frame.head(1), frame])):
        pass
    assert spool.in_memory == (limit_bytes > 0 or frame.is_empty())
    kept = [frame] if frame.is_empty() else [frame, frame.head(1), frame]
    for _ in range(2):
        found = list(spool)
        assert len(found) == len(kept)
        assert all(one.equals(other) and one.schema == other.schema for one, other in zip(found, kept, strict=True))
    assert [one.height for one in spool.drained()] == [one.height for one in kept]
    assert not list(spool.drained())
    spool.close()
    assert not list((tmp_path / "spill").glob("*"))


@pytest.mark.parametrize("limit_bytes", [0, 1 << 20])
def test_some_columns_of_them_are_read_alone(tmp_path, limit_bytes):
    spool = FrameSpool(tmp_path, limit_bytes)
    huge = EVERYTHING.with_columns(huge=pl.lit(2**100, dtype=pl.Int128))
    for _ in spool.passing(iter([EVERYTHING, huge])):
        pass
    for frame, found in zip([EVERYTHING, huge], spool.of(lambda _: {"pair", "money", "huge", "choice"}), strict=True):
        assert found.equals(frame.select([name for name in ("choice", "money", "pair", "huge") if name in frame.columns]))
    spool.close()


def test_frames_that_went_to_disk_are_read_in_smaller_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "PART_ROWS", 2)
    spool = FrameSpool(tmp_path, 0)
    assert [one.height for one in spool.passing(iter([EVERYTHING, EVERYTHING.head(1)]))] == [3, 1]
    assert [one.height for one in spool] == [2, 1, 1]
    assert pl.concat(list(spool)).equals(pl.concat([EVERYTHING, EVERYTHING.head(1)]))
    spool.close()


@pytest.mark.parametrize(("rows_expected", "held"), [(0, [True, True, False]), (200, [True, True, False]), (300, [False] * 3)])
def test_where_more_rows_are_expected_than_may_be_held_none_is(tmp_path, rows_expected, held):
    one = pl.DataFrame({"n": pl.int_range(100, eager=True)})
    spool = FrameSpool(tmp_path, 2 * int(one.estimated_size()), rows_expected)
    assert [spool.in_memory for _ in spool.passing(iter([one] * 3))] == held
    assert pl.concat(list(spool)).equals(pl.concat([one] * 3))
    spool.close()


@pytest.mark.parametrize(("file_bytes", "files"), [(1 << 30, 1), (1, 3)])
def test_frames_share_a_file_until_it_is_long_enough(tmp_path, monkeypatch, file_bytes, files):
    monkeypatch.setattr(spool_module, "FILE_BYTES", file_bytes)
    spool = FrameSpool(tmp_path, 0)
    frames = [EVERYTHING, EVERYTHING.select("pair"), EVERYTHING.head(2)]
    assert len(list(spool.passing(iter(frames)))) == 3
    assert len(list(tmp_path.rglob("*.arrow"))) == files
    assert [one.equals(other) for one, other in zip(spool, frames, strict=True)] == [True] * 3
    left = [len(list(tmp_path.rglob("*.arrow"))) for _ in spool.drained()]
    assert left == ([1, 1, 1] if files == 1 else [3, 2, 1])
    assert not list(tmp_path.rglob("*.arrow"))
    spool.close()


def test_what_polars_alone_can_write_stands_between_the_others(tmp_path):
    spool = FrameSpool(tmp_path, 0)
    frames = [EVERYTHING, EVERYTHING.select(huge=pl.lit(2**100, dtype=pl.Int128)), EVERYTHING]
    assert len(list(spool.passing(iter(frames)))) == 3
    assert [one.equals(other) for one, other in zip(spool.drained(), frames, strict=True)] == [True] * 3
    assert not list(tmp_path.rglob("*.arrow"))
    spool.close()


def laid_out(height, *, file=7, late=0):
    """Rows as they come from a file, and beside them what only looks as if it followed from little."""
    times = pl.int_range(height, eager=True) * 1_000
    return pl.DataFrame(
        {
            "_time": times,
            "number": times.reverse(),
            "swapped": pl.concat([times[:1], times[1:-1].reverse(), times[-1:]]),
            "at": (times + late).cast(pl.Datetime("us")),
            "file": pl.Series([file], dtype=pl.UInt32).new_from_index(0, height),
            "gaps": pl.Series([1, None, *[1] * (height - 2)], dtype=pl.Int64),
            "most": pl.Series([1, *[2] * (height - 2), 1], dtype=pl.Int8),
            "text": ["same"] * height,
        }
    )


@pytest.mark.parametrize(
    ("frame", "stored"),
    [
        (laid_out(ROWS_MIN), ["number", "swapped", "at", "gaps", "most", "text"]),
        (laid_out(ROWS_MIN, late=1), ["_time", "number", "swapped", "at", "gaps", "most", "text"]),
        (laid_out(ROWS_MIN - 1), laid_out(2).columns),
        (laid_out(ROWS_MIN)[["file"]], ["file"]),
        (laid_out(ROWS_MIN)[["file", "at"]], ["at"]),
        (
            laid_out(ROWS_MIN, file=0).with_columns(at=pl.col("at").dt.replace_time_zone("UTC")),
            ["number", "swapped", "at", "gaps", "most", "text"],
        ),
    ],
)
def test_what_follows_from_little_is_not_written_and_comes_back_all_the_same(tmp_path, frame, stored):
    spool = FrameSpool(tmp_path, 0)
    assert len(list(spool.passing(iter([frame])))) == 1
    (path,) = tmp_path.rglob("*.arrow")
    with pa.memory_map(str(path)) as file:
        assert pa.ipc.open_stream(file).schema.names == stored
    for wanted in ([*frame.columns], ["file"], ["_time", "text"], ["number", "file"]):
        names = [name for name in frame.columns if name in wanted]
        if names:
            (found,) = spool.of(lambda _, names=names: names)
            assert found.equals(frame[names])
            assert found.schema == frame[names].schema
    assert [one.equals(frame) for one in spool.drained()] == [True]
    spool.close()


def test_what_is_remembered_of_a_column_does_not_hold_it():
    frame = laid_out(ROWS_MIN)
    held = [one["file"].to_arrow().buffers()[1].address for one in (frame, pl.DataFrame(layout_of(frame).constants))]
    assert held[0] != held[1]
