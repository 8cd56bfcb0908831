"""`verify --source`: computes what is live again from the source as it is now, and compares it with what was committed.

Nothing is written: the index is a copy, and contributions stay in memory. A shard whose input or definition is another
one now cannot be computed again; `status` says of it that it is late or stale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.grouping import TaskLimits, group_shards
from raypipe.core.shard import Reason, Shard, ShardResult, Task
from raypipe.core.state import LiveRange, Snapshot
from raypipe.core.window import Window, iso
from raypipe.launch.parts import Parts, scratch_index
from raypipe.pipeline import Pipeline
from raypipe.ports import QUARANTINE_TABLE, Check, Listing, Staged

if TYPE_CHECKING:
    from raypipe.engine.shard_run import ShardRunner

SHOWN_MAX = 5  # a check names the first few of what is wrong
INPUT_SHARE = 8  # of run.memory: the input of one task, as in a run with one slot
_ALL = 2**62  # rows of the ledger or the quarantine
_COUNTS = ("read", "expanded", "loaded", "filtered", "duplicate", "quarantined")
_ASIDE = ("source", "position", "rule", "error", "raw", "truncated")


@dataclass(frozen=True, slots=True)
class Difference:
    """A live shard that says something else when it is computed again; `outputs` are the tables that differ."""

    window: Window
    texts: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    tables: Mapping[str, Any] | None = None
    """The contributions of the task that computed it again, as Arrow."""


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What computing all live shards again found."""

    shards: int
    left_out: int
    """Live shards whose input or definition is another one now."""
    differences: tuple[Difference, ...]


def recompute(pipeline: Pipeline) -> Sequence[Check]:
    """Compute what is live again, and count the source's records from the outside."""
    with scratch_index(pipeline) as parts:
        snapshot, listing = parts.destination.snapshot(), _listed(parts)
        found = recomputed(parts, snapshot, listing)
        return [_check_shards(found), _check_records(parts, snapshot, listing, found)]


def differences(pipeline: Pipeline) -> Recomputed:
    """Compute what is live again and return what differs, with its rows."""
    with scratch_index(pipeline) as parts:
        return recomputed(parts, parts.destination.snapshot(), _listed(parts))


def recomputed(parts: Parts, snapshot: Snapshot, listing: Listing) -> Recomputed:
    """Compute the live shards again, task by task; the destination was observed before the source was listed."""
    live: dict[Window, list[LiveRange]] = {}
    for one in snapshot.live:
        live.setdefault(one.window, []).append(one)
    windows = sorted(live)
    shards = [
        Shard(parts.ready.index_of(window), window, Reason.FORCED, frozenset(), slices)
        for window, slices in zip(windows, parts.source.slices(listing, windows), strict=True)
    ]
    current = _current_versions(parts, snapshot)
    same = [
        shard
        for shard in shards
        if all(one.input_fp == input_fingerprint(shard.slices) for one in live[shard.window])
        and {one.output: one.definition for one in live[shard.window]} == current
    ]
    ledger = {(one["seq"], one["start"], one["end"]): one for one in parts.destination.ledger(limit=_ALL)}
    aside = _aside(parts)
    found = []
    for staged in _run(parts, same):
        again = _quarantined(staged)
        found.extend(Difference(one.window, (one.error,)) for one in staged.failures)
        for result in staged.results:
            ranges, start = live[result.window], iso(result.window.start_us)
            entry = ledger.get((ranges[0].seq, start, iso(result.window.end_us)), {})
            texts = [*_counts_differ(entry, result)]
            if aside.get(start, Counter()) != again.get(start, Counter()):
                texts.append("other rows are in quarantine")
            outputs = [one for one in ranges if (one.rows, one.output_fp) != _stat(result, one.output)]
            texts += [f"{one.output}: {one.rows} rows were committed, {_stat(result, one.output)[0]} come again" for one in outputs]
            if texts:
                found.append(Difference(result.window, tuple(texts), tuple(one.output for one in outputs), staged.tables))
    return Recomputed(len(same), len(shards) - len(same), tuple(found))


# ---- checks -----------------------------------------------------------------------------------------------


def _check_shards(found: Recomputed) -> Check:
    wrong = [f"{one.window}: {', '.join(one.texts)}" for one in found.differences]
    more = f" (and {len(wrong) - SHOWN_MAX} more)" if len(wrong) > SHOWN_MAX else ""
    late = f"; {found.left_out} were left out, whose input or definition is another one now" if found.left_out else ""
    good = f"{found.shards} live shards say the same when they are computed again{late}"
    return Check("recomputed", not wrong, "; ".join(wrong[:SHOWN_MAX]) + more if wrong else good)


def _check_records(parts: Parts, snapshot: Snapshot, listing: Listing, found: Recomputed) -> Check:
    """Compare the rows read, over all shards, with the lines and footers of the files."""
    from raypipe.sources.records import count_records

    name = "records"
    if found.left_out or snapshot.watermark_us is None or parts.ready.window != Window(*_history(parts, snapshot)):
        return Check(name, True, "not compared: not all of history is live as the source is now")
    counts = [count_records(parts.pipeline.source, file.uri) for file in listing.files]
    if None in counts:
        return Check(name, True, "not compared: line ends do not tell the records of these files")
    records, outside = sum(one for one in counts if one is not None), parts.source.outside(listing)
    said = snapshot.accounts.read + outside
    text = f"{records} records in {len(counts)} files, {snapshot.accounts.read} rows read and {outside} outside of history"
    return Check(name, records == said, text)


def _history(parts: Parts, snapshot: Snapshot) -> tuple[int, int]:
    start_us = parts.pipeline.time.start_us
    return start_us, snapshot.watermark_us or start_us + 1


# ---- computing again --------------------------------------------------------------------------------------


def _listed(parts: Parts) -> Listing:
    listing = parts.source.list()
    parts.source.record([parts.source.scan(file) for file in parts.source.unindexed(listing)])
    return listing


def _current_versions(parts: Parts, snapshot: Snapshot) -> Mapping[str, int]:
    """Return the version of each output's definition of today; 0 where today's was never run."""
    newest = {output: versions[-1] for output, versions in snapshot.definitions.items() if versions}
    return {
        output: newest[output].version if output in newest and newest[output].fingerprint == one.fingerprint else 0
        for output, one in parts.definitions.items()
    }


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


def _aside(parts: Parts) -> Mapping[str, Counter[tuple[Any, ...]]]:
    """Return what is in quarantine, by the start of its shard."""
    found: dict[str, Counter[tuple[Any, ...]]] = {}
    for row in parts.destination.quarantine_rows(rule=None, window=None, limit=_ALL):
        found.setdefault(row["shard"], Counter())[tuple(row[name] for name in _ASIDE)] += 1
    return found


def _quarantined(staged: Staged) -> Mapping[str, Counter[tuple[Any, ...]]]:
    found: dict[str, Counter[tuple[Any, ...]]] = {}
    if QUARANTINE_TABLE in staged.tables:
        for row in staged.tables[QUARANTINE_TABLE].to_pylist():
            start = row["_shard"].isoformat() + "Z"
            found.setdefault(start, Counter())[tuple(row[name] for name in _ASIDE)] += 1
    return found
