"""Outputs: a task's transformed rows become each shard's contribution to every table, and the checks judge them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import chain, count, repeat
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.fingerprint import combine_digests
from raypipe.core.shard import OutputStat
from raypipe.core.window import Window
from raypipe.engine.aggregate import NO_ROWS, Aggregator, Contribution, RowsInput
from raypipe.engine.batched_sql import marked
from raypipe.engine.batches import SHARD_INDEX, shard_column, shard_starts, user_columns
from raypipe.engine.budget import Budget
from raypipe.engine.checks import Checks
from raypipe.engine.column_names import refuse_unfit
from raypipe.engine.columns import columns_of_outputs
from raypipe.engine.merged import MergedOutput, MergedOutputs, merged_outputs, union_outputs
from raypipe.engine.named_inputs import input_schemas
from raypipe.engine.output_contract import OutputContracts
from raypipe.engine.row_stream import RowStream
from raypipe.engine.sandbox import Sandboxes
from raypipe.engine.spool import FrameSpool
from raypipe.engine.table_spool import IN_MEMORY, Rows, SpoolSpace, chained, require_same_columns
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline
from raypipe.ports import SHARD_COLUMN

HELD_SHARE = 8  # of the task's memory: rows held as one table; more are streamed to the aggregation, which spills


@dataclass(frozen=True, slots=True)
class Contributions:
    """The contributions of some shards to all outputs, and what the checks said of each, by the shard's place."""

    windows: Sequence[Window]
    found: Mapping[str, Contribution]
    failed: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    warnings: Mapping[int, Sequence[str]] = field(default_factory=dict)

    def of_shards(self, places: Sequence[int]) -> dict[str, Rows]:
        """Return the rows of these shards only, by table."""
        tables = {name: one.table for name, one in self.found.items()}
        if len(places) == len(self.windows):
            return tables
        starts = pa.array([self.windows[place].start_us for place in places], pa.int64()).cast(pa.timestamp("us"))
        return {
            name: rows.filter(pc.is_in(rows[SHARD_COLUMN], starts)) if isinstance(rows, pa.Table) else rows.schema.empty_table()
            for name, rows in tables.items()  # in a file stands one shard alone, and it is not wanted
        }

    def stats(self, outputs: Sequence[str]) -> Iterator[dict[str, OutputStat]]:
        """Yield rows and digest of every shard's contribution to each output, in order."""
        columns = [
            map(self.found[name].stats.__getitem__, self.windows) if name in self.found else repeat(NO_ROWS, len(self.windows))
            for name in outputs
        ]
        return (dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True))


class Outputs:
    """All outputs of a pipeline, within a budget. Several threads may use it."""

    def __init__(self, pipeline: Pipeline, *, budget: Budget, spill_folder: Path) -> None:
        self.names = tuple(one.table for one in pipeline.outputs)
        self._outputs = union_outputs(pipeline.outputs)
        engine_bytes = budget.engine_bytes
        around = pipeline.time.looks_around
        self._sandboxes = sandboxes = Sandboxes(engine_bytes, spill_folder)
        inputs = input_schemas(pipeline.inputs)
        self.aggregator = Aggregator(self._outputs, sandboxes, looks_around=around, inputs=inputs)
        merged = merged_outputs(pipeline.outputs)
        self._held_bytes = budget.rows_bytes // HELD_SHARE
        self.merged = MergedOutputs(
            merged, sandboxes, memory_bytes=engine_bytes, held_bytes=self._held_bytes, spill_folder=spill_folder
        )
        self.checks = Checks(pipeline.quality.checks, sandboxes)
        self.contracts = OutputContracts(pipeline.outputs, sandboxes)

    def contributions(
        self,
        frames: Iterator[pl.DataFrame],
        windows: Sequence[Window],
        uris: Sequence[str],
        alone: Sequence[str] = (),
        spill: Path | None = None,
        inputs: Mapping[str, FrameSpool] | None = None,
    ) -> Contributions:
        """Aggregate the rows of shards, given batch by batch; no batch at all means that no columns are known, nor any row.

        `uris` are the task's files, as SOURCE_COLUMN numbers them. With `alone`, only these outputs are computed, and
        judged by their checks. With `spill`, what is too large for memory becomes files of that folder. `inputs` are the
        rows of the named inputs, which SQL sees beside these.
        """
        space = self._space(windows, spill)
        return self._judged(Contributions(windows, self._computed(frames, windows, uris, alone, space, inputs)))

    def _space(self, windows: Sequence[Window], spill: Path | None) -> SpoolSpace:
        return SpoolSpace(spill, self._held_bytes) if len(windows) == 1 else IN_MEMORY

    def contributions_of_pieces(
        self,
        pieces: Iterable[tuple[Window, Iterator[pl.DataFrame]]],
        shard: Window,
        uris: Sequence[str],
        alone: Sequence[str] = (),
        spill: Path | None = None,
    ) -> Contributions:
        """Return what one shard contributes, whose rows come in pieces of its time; each is computed before the next is read.

        For outputs that may be computed so (Pipeline.divisible_outputs).
        """
        space = self._space([shard], spill)
        parts: dict[str, list[Contribution]] = {}
        for piece, frames in pieces:
            for table, part in self._computed(frames, [piece], uris, alone, space).items():
                parts.setdefault(table, []).append(part)
        found = {table: self._whole(table, those, shard, space) for table, those in parts.items()}
        return self._judged(Contributions([shard], found))

    def _whole(self, table: str, parts: Sequence[Contribution], shard: Window, space: SpoolSpace) -> Contribution:
        """Return the one contribution of a shard that those of its pieces make."""
        rows = chained([part.table for part in parts])
        merged = next((one for one in self.merged.outputs if one.table == table), None)
        if merged is not None:
            return self._shown(merged, self.merged.united(merged, rows, shard, space), [shard])
        stats = [stat for part in parts for stat in part.stats.values()]
        whole = OutputStat(sum(one.rows for one in stats), combine_digests([one.digest for one in stats]))
        return Contribution(space.gathered(*marked(rows, shard)), {shard: whole})

    def _computed(
        self,
        frames: Iterator[pl.DataFrame],
        windows: Sequence[Window],
        uris: Sequence[str],
        alone: Sequence[str],
        space: SpoolSpace,
        inputs: Mapping[str, FrameSpool] | None = None,
    ) -> dict[str, Contribution]:
        merged, united = self.merged.wanted(alone), [one for one in self._outputs if not alone or one.table in alone]
        if not merged:
            return self._united(frames, windows, alone, space, inputs)
        if len(merged) == 1 and not united:
            return dict(self._merged(frames, windows, uris, alone, space))
        spool = self.merged.spool()
        try:
            passing = spool.passing(frames)
            found = self._united(passing, windows, alone, space, inputs)
            for _ in passing:  # what no other output has read
                pass
            found.update(self._merged(spool, windows, uris, alone, space))
        finally:
            spool.close()
        return found

    def _judged(self, contributions: Contributions) -> Contributions:
        """Return the contributions with what contracts and checks say of them."""
        return self.checks.judge(self.contracts.judge(contributions))

    def _united(
        self,
        frames: Iterator[pl.DataFrame],
        windows: Sequence[Window],
        alone: Sequence[str],
        space: SpoolSpace,
        inputs: Mapping[str, FrameSpool] | None,
    ) -> dict[str, Contribution]:
        """Return what the shards contribute to tables that are the union of contributions."""
        if not any(not alone or one.table in alone for one in self._outputs):
            return {}
        rows = self._rows(frames, windows, alone)
        return {} if rows is None else self.aggregator.contributions(rows, windows, alone, space, inputs)

    def _merged(
        self, rows: Iterable[pl.DataFrame], windows: Sequence[Window], uris: Sequence[str], alone: Sequence[str], space: SpoolSpace
    ) -> Iterator[tuple[str, Contribution]]:
        """Yield what the shards contribute to keyed and combined tables."""
        for output, table in self.merged.contributions(rows, windows, uris, alone, space):
            yield output.table, self._shown(output, table, windows)

    def _shown(self, output: MergedOutput, table: Rows, windows: Sequence[Window]) -> Contribution:
        """Return a contribution to a keyed or combined table with its digests, and with what is shown to a check of it."""
        checked = {*self.contracts.columns, *(check.table for check in self.checks.checks)}
        shown = self.merged.alone(output, table) if output.table in checked else None
        return Contribution(table, self.aggregator.stats(table, windows), shown)

    def make_ready(self, tasks: int) -> None:
        """Open what so many tasks at once will need."""
        self._sandboxes.make_ready(tasks)

    def close(self) -> None:
        """Close what was opened and remove the spill folders."""
        self._sandboxes.close()

    def _narrowed(self, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Keep only columns that an output can mean: a wide row is not held, nor streamed, for two of its columns."""
        return map(self._narrow, count(), frames)

    def _narrow(self, place: int, frame: pl.DataFrame) -> pl.DataFrame:
        columns = user_columns(frame)
        if place == 0:
            refuse_unfit("the rows", columns)
        kept = columns_of_outputs(self._outputs, columns)
        return frame if len(kept) == len(columns) else frame[[*kept, SHARD_INDEX]]

    def _rows(self, frames: Iterator[pl.DataFrame], windows: Sequence[Window], alone: Sequence[str]) -> RowsInput | None:
        """Return the rows of the frames: held as one table where that is possible and needed, else as a stream."""
        frames = _without_empty_ones(self._narrowed(frames))
        held, rest = ([], frames) if self.aggregator.reads_once(windows, alone) else self._held(frames)
        starts = shard_starts(windows)
        frames = _drained(held, rest or iter(()))
        tables = _same_columns(map(_as_arrow, frames, repeat(starts)))
        if rest is None:
            return pa.concat_tables(found) if (found := list(tables)) else None
        if (first := next(tables, None)) is None:
            return None
        return RowStream(first.schema, chain.from_iterable(map(pa.Table.to_batches, chain([first], tables))))

    def _held(self, frames: Iterator[pl.DataFrame]) -> tuple[list[pl.DataFrame], Iterator[pl.DataFrame] | None]:
        """Take frames until they end, or are more than may be held: then the rest is to be streamed behind them."""
        held: list[pl.DataFrame] = []
        size_bytes = 0
        for frame in frames:
            held.append(frame)
            size_bytes += int(frame.estimated_size())
            if size_bytes > self._held_bytes:
                return held, frames
        return held, None


def _drained(held: list[pl.DataFrame], rest: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield held frames, each let go of before the next, and then the rest."""
    held.reverse()
    while held:
        yield held.pop()
    yield from rest


def _without_empty_ones(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Pass on the frames that have rows; where none has, the last one, which tells the columns."""
    last, any_rows = None, False
    for frame in frames:
        if frame.is_empty():
            last = frame
        else:
            any_rows = True
            yield frame
            del frame
    if last is not None and not any_rows:
        yield last


def _as_arrow(frame: pl.DataFrame, starts: pl.Series) -> pa.Table:
    columns = [*frame[user_columns(frame)].get_columns(), shard_column(starts, frame[SHARD_INDEX])]
    return pl.DataFrame(columns).to_arrow(compat_level=pl.CompatLevel.newest())


def _same_columns(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Pass tables on as long as they have the columns of the first; files without a contract may differ."""
    expected: pa.Schema | None = None
    for table in tables:
        expected = expected or table.schema
        require_same_columns(expected, [table.schema])
        yield table
        del table
