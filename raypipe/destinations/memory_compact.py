"""Compaction in a memory destination: what adjacent live ranges say becomes what one says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from raypipe.core.accounts import total
from raypipe.core.commit import ShardCommit
from raypipe.core.compaction import compacted, speaking
from raypipe.core.contribution_sql import added_in_order
from raypipe.core.fingerprint import combine_digests, digest_hex, fingerprint
from raypipe.core.merge import Merge
from raypipe.core.shard import OutputStat, ShardResult
from raypipe.core.state import LiveRange
from raypipe.core.window import Window
from raypipe.destinations.memory_merge import one_contribution
from raypipe.destinations.memory_state import MemoryStore, PipelineState, Row


def compact(store: MemoryStore, state: PipelineState, shard: ShardCommit, outputs: Iterable[str]) -> ShardCommit:
    """Merge what the live ranges of a window hold, and return the shard that says all that they said."""
    merged = [live for live in state.live.values() if shard.window.contains(live.window)]
    windows = sorted({live.window for live in merged})
    stats = {
        output: _compact_output(store, shard.window, output, [one for one in merged if one.output == output]) for output in outputs
    }
    state.quarantine[shard.window] = [row for window in windows for row in state.quarantine.pop(window, [])]
    state.live = {key: live for key, live in state.live.items() if not shard.window.contains(live.window)}
    said = speaking(merged)
    return compacted(shard, (part for live in said for part in live.inputs), _said(state, shard, said, stats))


def _compact_output(store: MemoryStore, whole: Window, output: str, live: Sequence[LiveRange]) -> OutputStat:
    contributions, merge = store.tables.setdefault(output, {}), store.merges.get(output)
    rows = [row for one in sorted(live, key=lambda one: one.window) for row in contributions.pop(one.window, [])]
    earlier = any(contributions[window] for window in contributions if window < whole)
    if merge is None or (earlier and _holds_floats(merge, rows)):
        contributions[whole] = rows
        return OutputStat(len(rows), combine_digests([one.output_fp for one in live]))
    contributions[whole] = one_contribution(merge, rows)
    hashes = (int(fingerprint({name: repr(value) for name, value in row.items()}), 16) for row in contributions[whole])
    return OutputStat(len(contributions[whole]), digest_hex(sum(hashes)))


def _holds_floats(merge: Merge, rows: Sequence[Row]) -> bool:
    return any(isinstance(row[name], float) for name in added_in_order(merge) for row in rows)


def _said(state: PipelineState, shard: ShardCommit, said: Sequence[LiveRange], stats: Mapping[str, OutputStat]) -> ShardResult:
    """Add up what the ledger says of live ranges."""
    entries = {(one.seq, one.window) for one in said}
    results = [entry.shard.result for entry in state.ledger if (entry.seq, entry.shard.window) in entries]
    filtered: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for one in results:
        filtered.update(one.filtered)
        broken.update(one.broken)
    return ShardResult(
        shard.window, shard.result.observed, (), total(one.accounts for one in results), stats, filtered, broken,
        event_start_us=min((one.event_start_us for one in results if one.event_start_us is not None), default=None),
        event_end_us=max((one.event_end_us for one in results if one.event_end_us is not None), default=None),
        seconds=sum(one.seconds for one in results),
    )  # fmt: skip
