"""Attempt: one pass over the input of some shards, from the source to their contributions and accounts."""

from __future__ import annotations

import bisect
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

import polars as pl

from raypipe import failpoints
from raypipe.core.accounts import Accounts
from raypipe.core.shard import Shard, ShardFailure, ShardResult
from raypipe.core.window import Window
from raypipe.engine.batches import SHARD_INDEX, Batch, empty_batch, placed_batches, with_series
from raypipe.engine.contract import Contract
from raypipe.engine.liveness import Wanted, wanted_columns
from raypipe.engine.named_inputs import as_seen
from raypipe.engine.outputs import Contributions, Outputs
from raypipe.engine.quality import Books, check_quarantined
from raypipe.engine.quarantine import Quarantine
from raypipe.engine.seen import Seen
from raypipe.engine.spool import FrameSpool
from raypipe.engine.table_spool import Rows
from raypipe.engine.tally import AllShardsFailed, Tally
from raypipe.engine.text_types import polars_type, source_schema
from raypipe.engine.transform import Resources, Transform
from raypipe.errors import AccountsDontBalance
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import ROWS, NamedInput, Pipeline
from raypipe.ports import IN_SHARD_COLUMN, QUARANTINE_TABLE, SOURCE_COLUMN, Listing, Reject, Source

QUARANTINE_BYTES_MIN = 1024 * 1024  # a task with hardly any memory can still set some rows aside
INPUT_SHARE = 16  # of the task's memory: rows of a named input that are held before they go to disk
QUARANTINE_SHARE = 8  # of the task's memory: rows set aside are held until the end, with their raw text


@dataclass(frozen=True, slots=True)
class Done:
    """What came of some shards of a task, before it is staged."""

    results: tuple[ShardResult, ...]
    failures: tuple[ShardFailure, ...]
    tables: dict[str, Rows] = field(default_factory=dict)


@dataclass(slots=True)
class Attempt:
    """One pass over the input of some shards, with the books of what became of its rows."""

    pipeline: Pipeline
    source: Source
    shards: Sequence[Shard]
    memory_bytes: int
    """For rows on their way."""
    spill: Path
    spills_contributions: bool = False
    """What is contributed may become files in `spill`, where it is too large for memory."""
    pieces: int = 1
    """In how many pieces of its time the one shard is read and computed, one after the other."""
    books: Books = field(init=False)
    _seen: Seen = field(init=False)
    """What is read of the rows, beside those of the shards."""
    _starts: list[int] = field(init=False)
    _started_s: float = field(default_factory=time.monotonic, init=False)
    _untimed: dict[str, int] = field(init=False)
    """The place of the shard that takes the rows of a file that have no event time."""

    def __post_init__(self) -> None:
        windows = [one.window for one in self.shards]
        assert not self.pipeline.looks_around or len(windows) == 1, "shards that look around are run one by one"
        self._seen = Seen.of(self.pipeline.time, windows)
        uris = sorted({one.file.uri for shard in self.shards for one in shard.slices})
        limit_bytes = max(self.memory_bytes // QUARANTINE_SHARE, QUARANTINE_BYTES_MIN)
        self.books = Books(Tally(windows, self.pipeline.looks_around), Quarantine(windows, uris, limit_bytes))
        self._starts = [one.start_us for one in windows]
        self._untimed = {one.file.uri: place for place, shard in enumerate(self.shards) for one in shard.slices if one.untimed}

    def run(self, transform: Transform, outputs: Outputs) -> Done:
        """Read, transform and aggregate the shards."""
        with contextlib.suppress(AllShardsFailed):
            return self._run(transform, outputs)
        return self._done(Contributions(self.books.tally.windows, {}), (), ())  # all have failed: none has accounts

    def _run(self, transform: Transform, outputs: Outputs) -> Done:
        rows_expected = sum([shard.rows for shard in self.shards]) // self.pieces
        resources = Resources(self.books, self.memory_bytes, self.spill, rows_expected)
        tally, uris = self.books.tally, self.books.quarantine.uris
        alone = self.shards[0].outputs  # the same for all shards of a task
        spill = self.spill if self.spills_contributions else None
        if self.pieces == 1:
            rows = self._counted(transform.stream(self.read(transform.pipeline), resources))
            with self.inputs() as inputs:
                contributions = outputs.contributions(rows, tally.windows, uris, alone, spill, inputs)
        else:
            (shard,) = tally.windows
            passes = (
                (one, self._counted(transform.stream(self.read(transform.pipeline, one), resources)))
                for one in shard.pieces(self.pieces)
            )
            contributions = outputs.contributions_of_pieces(passes, shard, uris, alone, spill)
        check_quarantined(self.pipeline.quality.max_quarantined, tally)
        for place, (code, error) in contributions.failed.items():
            tally.fail(place, code, error)
        for place, warnings in contributions.warnings.items():
            tally.warnings[place].extend(warnings)
        return self._done(contributions, alone or outputs.names, self._balanced())

    def read(self, computed: Pipeline, piece: Window | None = None) -> Iterator[Batch]:
        """Read the source, or a piece of the one shard, place the rows, and count what comes, rejects too, as it comes.

        `computed` is what of the pipeline is done with them.
        """
        failpoints.hit("task.after_open")
        empty = True
        seen = self._seen if piece is None else Seen.of(self.pipeline.time, [piece])
        for batch in self._placed(ROWS, seen, lambda: self._columns(computed), piece):
            empty = False
            yield batch
            del batch  # not held while the next is read
        if empty and (schema := self._known_schema()):
            yield empty_batch(schema)  # SQL may have something to say of no rows, and tables want their columns

    @contextlib.contextmanager
    def inputs(self) -> Iterator[dict[str, FrameSpool]]:
        """Read the named inputs to their end: what SQL sees of each, for the block; what is the shard's own is in the books."""
        found = {one.name: FrameSpool(self.spill, self.memory_bytes // INPUT_SHARE) for one in self.pipeline.inputs}
        with contextlib.ExitStack() as held:
            for one in self.pipeline.inputs:
                held.callback(found[one.name].close)
                for _ in found[one.name].passing(self._typed(one)):
                    pass
            yield found

    def _typed(self, one: NamedInput) -> Iterator[pl.DataFrame]:
        """Yield the rows of an input by its contract, the first time none, which tell the columns."""
        time, tally = one.event_time(self.pipeline.time), self.books.tally
        streams = self.pipeline.streams
        contracts = {origin: Contract(streams[origin].source, time.zone) for origin in self.pipeline.origins(one.name)}
        columns = tuple(one.source.columns) if one.source.extra_columns == "ignore" else None
        yield as_seen(empty_batch({name: polars_type(column.type) for name, column in one.source.columns.items()}).frame, one)
        for batch in self._placed(one.name, Seen.of(time, tally.windows), lambda: Wanted(columns)):
            frame = tally.alive(contracts[batch.origin].apply(batch, self.books).frame)
            tally.loaded.update(tally.counts(frame))
            yield as_seen(frame, one)

    def _placed(self, table: str, seen: Seen, columns: Callable[[], Wanted], piece: Window | None = None) -> Iterator[Batch]:
        """Read what is seen of an input, and count what comes, rejects too, before anything is done with it."""
        origins = self.pipeline.origins(table)
        slices = [one for shard in self.shards for one in shard.slices if one.file.origin in origins]
        if not slices:
            return
        if piece is not None:
            slices = [replace(one, exact=False, untimed=one.untimed and self._is_first(piece)) for one in slices]
        uris = self.books.quarantine.uris
        numbers = pl.Series([bisect.bisect_left(uris, uri) for uri in sorted({one.file.uri for one in slices})], dtype=pl.UInt32)
        wanted = columns()
        batches = self.source.read(seen.ordered, slices, wanted.read)
        for read in placed_batches(batches, seen.windows, self.memory_bytes, wanted.only_for_text):
            failpoints.hit("task.mid_read")
            frame = seen.placed(read.batch.frame)
            if len(numbers) < len(uris):  # the files are numbered among those of all inputs
                frame = with_series(frame, numbers[frame[SOURCE_COLUMN]].alias(SOURCE_COLUMN))
            batch = read.batch.with_frame(frame)
            self._count_read(batch, read.rejects, piece)
            if not frame.is_empty():  # rejects may come without rows, and then without columns
                yield batch
            del read, frame, batch

    def _known_schema(self) -> Mapping[str, pl.DataType]:
        """Return the columns of the source without reading it: the contract's, else those of a sample of its files."""
        contract = self.pipeline.source.columns
        if contract:
            return {name: polars_type(column.type) for name, column in contract.items()}
        return source_schema(self.source.columns(self._listing()))

    def _listing(self) -> Listing:
        origins = self.pipeline.origins(ROWS)
        found = {one.file for shard in self.shards for one in shard.slices if one.file.origin in origins}
        files = sorted(found, key=lambda one: (one.uri, one.origin))
        return Listing(tuple(files)) if files else self.source.list()

    def _is_first(self, piece: Window) -> bool:
        """Tell whether a piece is the one that takes what has no event time."""
        return piece.start_us == self.shards[0].window.start_us

    def _columns(self, computed: Pipeline) -> Wanted:
        """Return the columns to read of the rows."""
        contract = self.pipeline.source.columns
        return wanted_columns(self.pipeline, computed, tuple(contract or self.source.columns(self._listing())))

    def _count_read(self, batch: Batch, rejects: Sequence[Reject], piece: Window | None) -> None:
        tally = self.books.tally
        tally.add_read(batch.frame)
        placed = [(place, one) for one in rejects if (place := self._shard_of(one, piece)) is not None]
        if not placed:
            return
        for place, one in placed:
            tally.read[place] += 1
            tally.quarantined[place] += 1
            tally.broken[one.rule][place] += 1
        self.books.quarantine.add_rejects(placed)

    def _shard_of(self, reject: Reject, piece: Window | None) -> int | None:
        """Return the place of the shard that a reject counts to; None when that shard, or piece of it, is not being read."""
        if reject.time_us is None:
            return None if piece and not self._is_first(piece) else self._untimed.get(reject.uri)
        if piece:
            return 0 if piece.start_us <= reject.time_us < piece.end_us else None
        place = bisect.bisect_right(self._starts, reject.time_us) - 1
        return place if place >= 0 and reject.time_us < self.shards[place].window.end_us else None

    def _counted(self, batches: Iterator[Batch]) -> Iterator[pl.DataFrame]:
        def counted(batch: Batch) -> pl.DataFrame:
            self.books.tally.loaded.update(self.books.tally.counts(batch.frame))
            return self.marked(batch.frame)

        return map(counted, batches)

    def marked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows as the outputs see them: all that is seen is of the one shard, and a column tells what truly is."""
        if not self.pipeline.time.looks_around:
            return frame
        return frame.with_columns((pl.col(SHARD_INDEX) == 0).alias(IN_SHARD_COLUMN), pl.lit(0, dtype=pl.UInt32).alias(SHARD_INDEX))

    def _balanced(self) -> list[Accounts]:
        """Return the accounts of all shards; one whose rows do not add up has failed."""
        tally = self.books.tally
        found = tally.accounts()
        for place, accounts in enumerate(found):
            if place in tally.failed:
                continue
            window, known = self.shards[place].window, _known_rows(self.shards[place])
            if not accounts.balanced:
                tally.fail(place, AccountsDontBalance.code, f"{window}: the rows do not add up: {accounts.as_json()}")
            elif known is not None and known != accounts.read:
                text = f"{window}: the index says that the files hold {known} rows for it, {accounts.read} were read"
                tally.fail(place, AccountsDontBalance.code, text)
        return found

    def _done(self, contributions: Contributions, outputs: Sequence[str], accounts: Sequence[Accounts]) -> Done:
        tally = self.books.tally
        good = [place for place in range(len(self.shards)) if place not in tally.failed]
        tables = contributions.of_shards(good)
        quarantined = self.books.quarantine.table(good)
        if quarantined.num_rows:
            tables[QUARANTINE_TABLE] = quarantined
        results = tuple(self._results(good, accounts, contributions, outputs))
        failures = tuple(ShardFailure(self.shards[place].window, *tally.failed[place]) for place in sorted(tally.failed))
        return Done(results, failures, tables)

    def _results(
        self, good: Sequence[int], accounts: Sequence[Accounts], contributions: Contributions, outputs: Sequence[str]
    ) -> Iterator[ShardResult]:
        """Yield the manifests of the shards at these places."""
        if not good:
            return
        tally = self.books.tally
        stats, filtered, broken = [*contributions.stats(outputs)], tally.named(tally.filtered), tally.named(tally.broken)
        seconds = (time.monotonic() - self._started_s) / len(self.shards)
        for place in good:
            shard = self.shards[place]
            yield ShardResult(
                window=shard.window,
                observed=shard.observed,
                slices=shard.slices,
                accounts=accounts[place],
                outputs=stats[place],
                filtered=filtered[place],
                broken=broken[place],
                warnings=tuple(tally.warnings.get(place, ())),
                event_start_us=tally.first_us.get(place),
                event_end_us=tally.last_us.get(place),
                seconds=seconds,
            )


def _known_rows(shard: Shard) -> int | None:
    """Return the rows that the index counted for a shard, from footers and routed lines; None where it can only estimate."""
    return shard.rows if all(one.exact or not one.own for one in shard.slices) else None
