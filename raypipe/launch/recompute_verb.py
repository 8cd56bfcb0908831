"""`verify --source`: computes what is live again from the source as it is now, and compares it with what was committed.

Nothing is written: the index is a copy, and contributions stay in memory. A shard whose input or definition is another
one now cannot be computed again; `status` says of it that it is late or stale.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

from raypipe.core.calendar import LAST_US
from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.grouping import TaskLimits, group_shards
from raypipe.core.shard import Reason, Shard, ShardResult, Task
from raypipe.core.state import LiveRange, Snapshot
from raypipe.core.window import Window, iso, to_us
from raypipe.launch.parts import Parts, current_versions, scratch_index
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import FilesSource, Pipeline, TableSource
from raypipe.ports import QUARANTINE_TABLE, SHARD_COLUMN, Check, Listing, Staged

if TYPE_CHECKING:
    from raypipe.engine.shard_run import ShardRunner

SHOWN_MAX = 5  # a check names the first few of what is wrong
INPUT_SHARE = 8  # of run.memory: the input of one task, as in a run with one slot
_ALL = 2**62  # rows of the ledger or the quarantine
_COUNTS = ("read", "expanded", "loaded", "filtered", "duplicate", "quarantined")
_ASIDE = ("source", "position", "rule", "error", "raw", "truncated")
_ERROR, _RAW = _ASIDE.index("error"), _ASIDE.index("raw")


@dataclass(frozen=True, slots=True)
class ComputedAgain:
    """One live shard, computed again: what it says else than when it was committed, and its contributions as they are now."""

    window: Window
    differences: tuple[str, ...]
    tables: Mapping[str, Any]
    """The contributions of the task that computed it, as Arrow, by output."""
    differing: tuple[str, ...] = ()
    """The outputs to which it contributes something else."""


@dataclass(frozen=True, slots=True)
class Recomputation:
    """The live shards of a destination as the source would make them now. Made by `recomputation`, valid inside its block."""

    parts: Parts
    snapshot: Snapshot
    listing: Listing
    shards: tuple[Shard, ...]
    """Live shards whose input and definitions are those of now."""
    left_out: int
    """Live shards of which one is another now, or which were compacted."""

    def computed(self) -> Iterator[ComputedAgain]:
        """Compute the shards again, task by task; a task's rows are let go of with its last shard."""
        live = _by_window(self.snapshot)
        destination = self.parts.destination
        ledger = {(one["seq"], one["start"]): one for one in destination.ledger(limit=_ALL)}
        aside = _by_shard(destination.quarantine_rows(rule=None, window=None, limit=_ALL))
        for staged in _run(self.parts, self.shards):
            tables = {name: rows for name, rows in staged.tables.items() if name != QUARANTINE_TABLE}
            again = _quarantined(staged)
            for failure in staged.failures:
                yield ComputedAgain(failure.window, (failure.error,), tables)
            for result in staged.results:
                ranges, start = live[result.window], iso(result.window.start_us)
                texts = [*_counts_differ(ledger.get((ranges[0].seq, start), {}), result)]
                if not _same_aside(aside.get(start), again.get(start)):
                    texts.append("other rows are in quarantine")
                differing = [one for one in ranges if (one.rows, one.output_fp) != _stat(result, one.output)]
                texts += [f"{one.output}: committed {one.rows} rows, now it is others" for one in differing]
                yield ComputedAgain(result.window, tuple(texts), tables, tuple(one.output for one in differing))

    def checks(self, computed: Iterable[ComputedAgain]) -> list[Check]:
        """Return the lines of `verify`."""
        return [_check_shards(self, computed), _check_records(self)]


@contextlib.contextmanager
def recomputation(pipeline: Pipeline) -> Iterator[Recomputation]:
    """Observe the destination, then list the source, as a run does, and find what of it can be computed again."""
    with scratch_index(pipeline) as parts:
        snapshot = parts.destination.snapshot()
        listing = parts.source.list()
        parts.source.record([parts.source.scan(file) for file in parts.source.unindexed(listing)])
        live, current = _by_window(snapshot), current_versions(parts, snapshot)
        windows = sorted(live)
        shards = [
            Shard(parts.ready.index_of(window), window, Reason.FORCED, frozenset(), slices)
            for window, slices in zip(windows, parts.source.slices(listing, windows), strict=True)
            if _is_current(live[window], input_fingerprint(slices), current)
        ]
        yield Recomputation(parts, snapshot, listing, tuple(shards), len(windows) - len(shards))


def recompute(pipeline: Pipeline) -> Sequence[Check]:
    """Compute what is live again, and count the source's records from the outside."""
    with recomputation(pipeline) as found:
        return found.checks(found.computed())


# ---- checks -----------------------------------------------------------------------------------------------


def _check_shards(found: Recomputation, computed: Iterable[ComputedAgain]) -> Check:
    wrong = [f"{one.window}: {', '.join(one.differences)}" for one in computed if one.differences]
    more = f" (and {len(wrong) - SHOWN_MAX} more)" if len(wrong) > SHOWN_MAX else ""
    late = (
        f"; {found.left_out} were left out, which were compacted, or whose input or definition is another one now"
        if found.left_out
        else ""
    )
    good = f"{len(found.shards)} live shards say the same when they are computed again{late}"
    return Check("recomputed", not wrong, "; ".join(wrong[:SHOWN_MAX]) + more if wrong else good)


def _check_records(found: Recomputation) -> Check:
    """Compare the rows read, over all shards, with the lines and footers of the files."""
    parts, listing, name = found.parts, found.listing, "records"
    mark_us, ready = found.snapshot.watermark_us, parts.ready.window
    if found.left_out or ready is None or mark_us != ready.end_us:
        return Check(name, True, "not compared: not all of history is live as the source is now")
    counts = _counts(parts, listing)
    if None in counts:
        return Check(name, True, "not compared: line ends do not tell the records of these files")
    records, outside = sum(one for one in counts if one is not None), _not_ready(parts, listing) + parts.source.outside(listing)
    read = found.snapshot.accounts.read
    text = f"{records} records in {len(counts)} files, {read} rows read and {outside} in no shard"
    return Check(name, records == read + outside, text)


def _counts(parts: Parts, listing: Listing) -> list[int | None]:
    """Return the records of each file, or of each part of a table as its pipeline's ledger has them; None where nothing tells."""
    from raypipe.sources.records import count_records

    source = parts.pipeline.source
    if isinstance(source, TableSource):
        table = parts.upstream(source).table()
        return [part.rows for part in table.parts] if table else []
    sources = [stream.source for stream in parts.pipeline.streams if isinstance(stream.source, FilesSource)]
    return [count_records(sources[file.origin], file.uri) for file in listing.files]


def _not_ready(parts: Parts, listing: Listing) -> int:
    """Return the rows of shards that are not ready yet, by what the index knows of the files."""
    ready, end_us = parts.ready.window, parts.pipeline.time.end_us or LAST_US
    if ready is None or ready.end_us >= end_us:
        return 0
    (slices,) = parts.source.slices(listing, [Window(ready.end_us, end_us)])
    return sum(one.rows for one in slices if one.own)


# ---- computing again --------------------------------------------------------------------------------------


def _by_window(snapshot: Snapshot) -> Mapping[Window, list[LiveRange]]:
    live: dict[Window, list[LiveRange]] = {}
    for one in snapshot.live:
        live.setdefault(one.window, []).append(one)
    return live


def _is_current(ranges: Sequence[LiveRange], input_fp: str, versions: Mapping[str, int]) -> bool:
    """Tell whether a shard can be computed again: a compacted range was not read as one, and floats would have other last bits."""
    return (
        all(one.input_fp == input_fp and not one.parts for one in ranges)
        and {one.output: one.definition for one in ranges} == versions
    )


def _run(parts: Parts, shards: Sequence[Shard]) -> Iterator[Staged]:
    memory_bytes = parts.pipeline.run.memory_bytes
    worker = _worker(parts, memory_bytes)
    try:
        for number, group in enumerate(group_shards(shards, TaskLimits(1, max(1, memory_bytes // INPUT_SHARE)))):
            yield worker.run(Task("recompute", 1, number, 1, group))
    finally:
        worker.close()


def _worker(parts: Parts, memory_bytes: int) -> ShardRunner:
    from raypipe.engine.shard_run import ShardRunner

    return ShardRunner(
        parts.pipeline, parts.source, stage_folder=f"{parts.scratch}/stage", memory_bytes=memory_bytes, stage="never"
    )


def _stat(result: ShardResult, output: str) -> tuple[int, str]:
    stat = result.outputs[output]
    return stat.rows, stat.digest


def _counts_differ(entry: Mapping[str, Any], result: ShardResult) -> Iterator[str]:
    again = result.accounts.as_json()
    for name in _COUNTS:
        if entry.get(name) != again[name]:
            yield f"the ledger says {entry.get(name)} rows {name}, computing it again gives {again[name]}"


def _by_shard(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Counter[tuple[Any, ...]]]:
    """Return what is in quarantine, by the start of its shard."""
    found: dict[str, Counter[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault(row["shard"], Counter())[tuple(row[name] for name in _ASIDE)] += 1
    return found


def _same_aside(have: Counter[tuple[Any, ...]] | None, again: Counter[tuple[Any, ...]] | None) -> bool:
    """Tell whether the same rows are in quarantine; those whose texts are kept no longer are known by place and rule."""
    if have is None or again is None or all(row[_RAW] is not None for row in have):
        return have == again
    return Counter(row[:_ERROR] for row in have.elements()) == Counter(row[:_ERROR] for row in again.elements())


def _quarantined(staged: Staged) -> Mapping[str, Counter[tuple[Any, ...]]]:
    if QUARANTINE_TABLE not in staged.tables:
        return {}
    rows = staged.tables[QUARANTINE_TABLE].to_pylist()
    return _by_shard({**row, "shard": iso(to_us(row[SHARD_COLUMN].replace(tzinfo=UTC)))} for row in rows)
