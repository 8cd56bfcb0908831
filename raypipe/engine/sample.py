"""Sample: the rows of one shard after the source, after each stage and in each output; nothing that it writes stays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

from raypipe.core.shard import Shard
from raypipe.engine.attempt import Attempt
from raypipe.engine.batches import ROW_COLUMN, SHARD_INDEX, Batch, as_frame, user_columns
from raypipe.engine.budget import Budget
from raypipe.engine.outputs import Outputs
from raypipe.engine.table_spool import in_memory
from raypipe.engine.tally import AllShardsFailed
from raypipe.engine.transform import Resources, Transform
from raypipe.engine.views import view_rows, view_selects
from raypipe.errors import ShardError
from raypipe.pipeline import Pipeline
from raypipe.ports import QUARANTINE_TABLE, SHARD_COLUMN, Source

SAMPLE_MEMORY_BYTES = 256 * 1024 * 1024
SAMPLED_ROWS = 10_000  # of the shard's first: enough that filters leave something, few enough to answer at once


def sample(pipeline: Pipeline, source: Source, shard: Shard, rows: int) -> list[tuple[str, pl.DataFrame]]:
    """Return (title, rows) for the source, each stage, each output and the quarantine, at most `rows` rows of each.

    Stages and outputs see the shard's first SAMPLED_ROWS rows. Raises ShardError when these cannot be loaded as the
    pipeline says, ConfigurationError when the pipeline does not fit the source.
    """
    with tempfile.TemporaryDirectory(prefix="raypipe-sample-") as folder:
        attempt = Attempt(pipeline, source, [shard], SAMPLE_MEMORY_BYTES, Path(folder))
        outputs = Outputs(pipeline, budget=Budget.lean(SAMPLE_MEMORY_BYTES), spill_folder=Path(folder))
        try:
            shown = list(_shown(pipeline, attempt, outputs))
        except AllShardsFailed:
            shown = []
        finally:
            outputs.close()
    for _, error in attempt.books.tally.failed.values():
        raise ShardError(error)
    return [(title, frame.select(user_columns(frame)).head(rows)) for title, frame in shown]


def _shown(pipeline: Pipeline, attempt: Attempt, outputs: Outputs) -> Iterator[tuple[str, pl.DataFrame]]:
    resources = Resources(attempt.books, attempt.memory_bytes, attempt.spill)
    batch = _first_rows(attempt)
    if batch is not None:
        assert batch.source is not None
        yield "source", as_frame(batch.source)[batch.frame[ROW_COLUMN]]
        for stage in Transform(pipeline).stages:
            pieces = list(stage.stream(iter([batch]), resources))
            batch = pieces[0].with_frame(pl.concat([piece.frame for piece in pieces]))
            yield stage.title, batch.frame
        with attempt.inputs() as inputs:
            yield from ((f"input {name}", pl.concat(list(spool))) for name, spool in inputs.items())
            rows = iter([attempt.marked(batch.frame)])
            contributions = outputs.contributions(rows, attempt.books.tally.windows, attempt.books.quarantine.uris, inputs=inputs)
        merged = {one.table: one for one in outputs.merged.outputs}
        tables = {
            table: outputs.merged.alone(merged[table], found).drop_columns([SHARD_COLUMN]) if table in merged else in_memory(found)
            for table, found in contributions.of_shards([0]).items()
        }
        yield from ((f"output {table}", _frame(shown)) for table, shown in tables.items())
        yield from ((f"view {name}", _frame(shown)) for name, shown in view_rows(view_selects(pipeline), tables, attempt.spill))
    quarantined = attempt.books.quarantine.table([0])
    yield QUARANTINE_TABLE, _frame(quarantined)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _first_rows(attempt: Attempt) -> Batch | None:
    """Return the first rows of the shard, with the last ones of the lookback that were read with them."""
    for batch in attempt.read(attempt.pipeline):
        own = pl.col(SHARD_INDEX) == 0
        rows = batch.frame.filter((own & (own.cum_sum() <= SAMPLED_ROWS)) | (~own & ((~own).cum_sum(reverse=True) <= SAMPLED_ROWS)))
        if not attempt.pipeline.time.looks_around or not rows.filter(own).is_empty():
            return batch.with_frame(rows)
    return None
