"""A batch is let go of before the next is read: what each stage would hold of it adds up to the peak of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest

from raypipe.core.shard import Slice
from raypipe.core.window import Window
from raypipe.engine.batches import BATCH_ROWS
from raypipe.pipeline import Deduplicate, Derive, Filter, Quality, RowsOutput, Rule, SqlOutput
from raypipe.ports import SourceBatch

BATCHES = 6
COLUMN_BYTES = 8 * BATCH_ROWS
STEPS = [Filter(condition="a >= 0", name="f"), Derive(columns={"b": "a + 1"})]
RULES = Quality(rules=(Rule(name="low", expect="a <> 7"),))  # a row of each batch: what is left is a copy
TOTAL = SqlOutput(table="t", sql="SELECT sum(b) AS b, sum(a) AS a FROM rows")


class Watching:
    """Rows of one column, and whenever more of them are asked for, what Arrow holds then."""

    def __init__(self) -> None:
        self.held_bytes: list[int] = []

    def columns(self, listing: object) -> dict[str, str]:
        return {"a": "int64"}

    def read(self, windows: Sequence[Window], slices: Sequence[Slice], columns: Sequence[str] | None) -> Iterator[SourceBatch]:
        before = pa.total_allocated_bytes()
        for first in range(0, BATCHES * BATCH_ROWS, BATCH_ROWS):
            self.held_bytes.append(pa.total_allocated_bytes() - before)
            yield SourceBatch(self._rows(first))

    def _rows(self, first: int) -> pa.RecordBatch:
        positions = pa.array(range(first, first + BATCH_ROWS), pa.int64())
        values = pa.array([place % 1_000 for place in range(BATCH_ROWS)], pa.int64())
        constants = {
            "_time": pa.repeat(pa.scalar(1, pa.int64()), BATCH_ROWS),
            "_source": pa.repeat(pa.scalar(0, pa.uint32()), BATCH_ROWS),
        }
        return pa.RecordBatch.from_pydict({"a": values, "_position": positions, **constants})


@pytest.mark.parametrize(
    ("steps", "output", "columns_kept"),
    [(STEPS, TOTAL, 0), ([Deduplicate(key=("a",)), *STEPS], TOTAL, 1.1), (STEPS, RowsOutput(table="r"), 1.1)],
)
def test_of_what_was_read_no_more_than_a_batch_is_held_when_the_next_is_read(
    make_pipeline, make_runner, make_task, steps, output, columns_kept
):
    """Beside it there is what is kept of all: keys, or contributions."""
    pipeline = make_pipeline(format="parquet", steps=steps, quality=RULES, outputs=[output])
    source = Watching()
    staged = make_runner(pipeline, source, memory_bytes=1 << 24).run(make_task())
    assert not staged.failures
    assert staged.results[0].accounts.read == BATCHES * BATCH_ROWS
    batch_bytes, *later_bytes = source.held_bytes[1:]
    kept_bytes = [columns_kept * COLUMN_BYTES * place for place, _ in enumerate(later_bytes, 1)]
    assert len(later_bytes) == BATCHES - 2
    assert all(held - kept < batch_bytes * 1.1 for held, kept in zip(later_bytes, kept_bytes, strict=True)), source.held_bytes
