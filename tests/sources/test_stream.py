from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest

from raypipe.core.calendar import parse_width
from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.pipeline import EventTime
from raypipe.ports import Reject, SourceBatch
from raypipe.sources import stream
from raypipe.sources.stream import stream_rows

TIME = EventTime(column="ts", start_us=0, shard=parse_width("1d"))


class Routed:
    """Slices of a file as they come: batches of these sizes, and so many rejects."""

    def __init__(self, sizes: Sequence[int], rejects: int = 0, column: str = "x") -> None:
        self.sizes, self.count, self.column = sizes, rejects, column

    def read(self, ranges: Sequence[Window], windows: Sequence[Window]) -> Iterator[pa.RecordBatch]:
        for size in self.sizes:
            yield pa.RecordBatch.from_pydict(
                {name: pa.array(range(size), pa.int64()) for name in (self.column, "_position", "_time")}
            )

    def rejects(self) -> Iterator[tuple[Reject, ...]]:
        for place in range(self.count):
            yield (Reject("f", place, "rule", "why", "raw"),)


def batches(*files: Routed, columns: Sequence[str] | None = None, untimed: bool = True) -> list[SourceBatch]:
    slices = [[Slice(InputFile(str(number), 1, "v"), digest="d", untimed=untimed)] for number in range(len(files))]
    by_uri = {str(number): file for number, file in enumerate(files)}
    return list(stream_rows(slices, [Window(0, 1)], columns, TIME, lambda file: by_uri[file.uri]))  # type: ignore[arg-type,return-value]


def test_small_pieces_of_many_files_come_as_one_batch() -> None:
    (only,) = batches(Routed([2, 1]), Routed([1]), Routed([]), Routed([1]))
    assert only.rows["_source"].to_pylist() == [0, 0, 0, 1, 3]
    assert only.rows["x"].to_pylist() == [0, 1, 0, 0, 0]


def test_pieces_are_joined_up_to_a_bound_and_large_ones_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "JOINED_ROWS", 10)
    monkeypatch.setattr(stream, "BATCH_ROWS", 8)
    assert [one.rows.num_rows for one in batches(Routed([4, 5, 3]), Routed([20]))] == [8, 1, 3, 8, 8, 4]


def test_batches_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BATCH_BYTES", 300)
    assert max(one.rows.nbytes for one in batches(Routed([100]))) <= 300


def test_files_of_other_columns_are_not_joined() -> None:
    assert [one.rows.schema.names[0] for one in batches(Routed([1]), Routed([1], column="y"))] == ["x", "y"]


def test_only_wanted_columns_come_with_the_reserved_ones() -> None:
    (only,) = batches(Routed([1]), columns=[])
    assert only.rows.schema.names == ["_position", "_time", "_source"]


def test_rejects_come_once_beside_the_rows_and_only_where_they_are_wanted() -> None:
    found = batches(Routed([1], rejects=2), Routed([1], rejects=1))
    assert [len(one.rejects) for one in found] == [3]
    assert batches(Routed([1], rejects=2), untimed=False)[0].rejects == ()


def test_rejects_without_rows_come_beside_an_empty_batch() -> None:
    (only,) = batches(Routed([], rejects=1))
    assert (only.rows.num_rows, len(only.rejects)) == (0, 1)


def test_many_rejects_come_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "REJECTS_HELD", 2)
    assert [(one.rows.num_rows, len(one.rejects)) for one in batches(Routed([1], rejects=5))] == [(0, 2), (0, 2), (1, 1)]


def test_no_files_give_no_batches() -> None:
    assert batches() == []
