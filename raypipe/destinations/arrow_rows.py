"""The rows of raypipe's own tables as Arrow, the way to insert thousands of them at once."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import pyarrow as pa

from raypipe.core.commit import ShardCommit
from raypipe.core.shard import InputPart, Outcome
from raypipe.core.window import Window


def ledger_table(entries: Sequence[tuple[ShardCommit, Outcome]]) -> pa.Table:
    """Return the ledger's rows for shards and their outcomes."""
    results = [shard.result for shard, _ in entries]
    windows, accounts = [result.window for result in results], [result.accounts for result in results]
    columns: dict[str, Any] = {
        "lo": times([window.start_us for window in windows]),
        "hi": times([window.end_us for window in windows]),
        "attempt": pa.array([shard.attempt_id for shard, _ in entries], pa.string()),
        "outcome": pa.array([outcome.value for _, outcome in entries], pa.string()),
        "outputs": pa.array([_names(tuple(result.outputs)) for result in results], pa.string()),
        "input_fp": pa.array([shard.input_fp for shard, _ in entries], pa.string()),
        "output_fp": pa.array([shard.output_fp for shard, _ in entries], pa.string()),
        "event_start": times([result.event_start_us for result in results]),
        "event_end": times([result.event_end_us for result in results]),
        "warnings": pa.array([json.dumps(result.warnings) if result.warnings else "[]" for result in results], pa.string()),
        "seconds": pa.array([result.seconds for result in results], pa.float64()),
    }
    for name in ("read", "expanded", "loaded", "filtered", "duplicate", "quarantined"):
        columns[name] = pa.array(map(attrgetter(name), accounts), pa.int64())
    return pa.table(columns)


@functools.cache
def _names(outputs: tuple[str, ...]) -> str:
    return json.dumps(sorted(outputs))


def counts_table(shards: Sequence[ShardCommit]) -> pa.Table:
    """Return what each filter dropped and how often each rule was broken, by shard."""
    rows = [
        (shard.window.start_us, kind, rule, count)
        for shard in shards
        for kind, counts in (("filtered", shard.result.filtered), ("broken", shard.result.broken))
        for rule, count in counts.items()
    ]
    return pa.table(
        {
            "lo": times(row[0] for row in rows),
            "kind": pa.array([row[1] for row in rows], pa.string()),
            "rule": pa.array([row[2] for row in rows], pa.string()),
            "rows": pa.array([row[3] for row in rows], pa.int64()),
        }
    )


def live_table(shards: Sequence[ShardCommit], definitions: Mapping[str, int], numbers: Mapping[str, Mapping[str, int]]) -> pa.Table:
    """Return the live ranges that shards become, one for each output; `numbers` are column sets by output and attempt."""
    windows, attempts = [shard.window for shard in shards], [shard.attempt_id for shard in shards]
    shared = {
        "lo": times([window.start_us for window in windows]),
        "hi": times([window.end_us for window in windows]),
        "attempt": pa.array(attempts, pa.string()),
        "input_fp": pa.array([shard.input_fp for shard in shards], pa.string()),
        "files": pa.array([shard.files for shard in shards], pa.int64()),
    }
    tables = []
    for output, definition in definitions.items():
        stats = [shard.result.outputs[output] for shard in shards]
        own = {
            "output": pa.repeat(output, len(shards)),
            "definition": pa.repeat(pa.scalar(definition, pa.int64()), len(shards)),
            "output_fp": pa.array([stat.digest for stat in stats], pa.string()),
            "rows": pa.array([stat.rows for stat in stats], pa.int64()),
            "schema_number": pa.array(map(numbers[output].get, attempts), pa.int64()),
        }
        tables.append(pa.table({**shared, **own}))
    return pa.concat_tables(tables)


def accepted_table(shards: Sequence[ShardCommit]) -> pa.Table:
    """Return the live ranges of which a difference was accepted, with the input that they stand for from now on."""
    ranges = ranges_table([shard.window for shard in shards])
    ranges = ranges.append_column("input_fp", pa.array([shard.input_fp for shard in shards], pa.string()))
    return ranges.append_column("files", pa.array([shard.files for shard in shards], pa.int64()))


def parts_table(parts: Sequence[InputPart]) -> pa.Table:
    """Return parts of compacted live ranges with what they were read from."""
    ranges = ranges_table([part.window for part in parts])
    ranges = ranges.append_column("input_fp", pa.array([part.input_fp for part in parts], pa.string()))
    return ranges.append_column("files", pa.array([part.files for part in parts], pa.int64()))


def coverage_table(changes: Sequence[tuple[str, Window]]) -> pa.Table:
    """Return covered ranges by output."""
    ranges = ranges_table([window for _, window in changes])
    return ranges.append_column("output", pa.array([output for output, _ in changes], pa.string()))


def ranges_table(windows: Sequence[Window]) -> pa.Table:
    """Return windows as an Arrow table with `lo` and `hi`."""
    return pa.table({"lo": times(one.start_us for one in windows), "hi": times(one.end_us for one in windows)})


def times(values: Iterable[int | None]) -> pa.Array[Any]:
    """Return microseconds (or None) as an Arrow array of naive UTC timestamps."""
    return pa.array(list(values), pa.int64()).cast(pa.timestamp("us"))
