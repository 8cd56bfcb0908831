"""The manifest of staged work: Staged as JSON and back, versioned and stable, because another run may read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raypipe.core.accounts import Accounts
from raypipe.core.shard import InputFile, Observed, OutputStat, Reason, Shard, ShardFailure, ShardResult, Slice, Task
from raypipe.core.window import Window
from raypipe.ports import Staged

MANIFEST_FORMAT = 1


def staged_to_json(staged: Staged) -> dict[str, Any]:
    """Return the manifest of staged files. Tables in memory are not part of it."""
    return {
        "format": MANIFEST_FORMAT,
        "task": task_to_json(staged.task),
        "results": [result_to_json(one) for one in staged.results],
        "failures": [failure_to_json(one) for one in staged.failures],
        "checksums": dict(staged.checksums),
        "fingerprints": dict(staged.fingerprints),
    }


def staged_from_json(document: Mapping[str, Any], folder: str) -> Staged:
    """Return the Staged of a manifest. Raises ValueError for another format or a broken document."""
    if document.get("format") != MANIFEST_FORMAT:
        raise ValueError(f"got a manifest of format {document.get('format')!r}, expected {MANIFEST_FORMAT}")
    try:
        return Staged(
            task=task_from_json(document["task"]),
            results=tuple(result_from_json(one) for one in document["results"]),
            failures=tuple(failure_from_json(one) for one in document["failures"]),
            folder=folder,
            checksums=dict(document["checksums"]),
            fingerprints=dict(document["fingerprints"]),
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"the manifest is broken: {error!r}") from error


def task_to_json(task: Task) -> dict[str, Any]:
    """Return a task as JSON."""
    shards = [_shard_to_json(one) for one in task.shards]
    return {"run_id": task.run_id, "epoch": task.epoch, "number": task.number, "attempt": task.attempt, "shards": shards}


def task_from_json(document: Mapping[str, Any]) -> Task:
    """Return a task from JSON."""
    shards = tuple(_shard_from_json(one) for one in document["shards"])
    return Task(document["run_id"], document["epoch"], document["number"], document["attempt"], shards)


def result_to_json(result: ShardResult) -> dict[str, Any]:
    """Return the result of a shard as JSON."""
    return {
        "window": _window_to_json(result.window),
        "observed": _observed_to_json(result.observed),
        "slices": [_slice_to_json(one) for one in result.slices],
        "accounts": result.accounts.as_json(),
        "outputs": {table: [stat.rows, stat.digest] for table, stat in result.outputs.items()},
        "filtered": dict(result.filtered),
        "broken": dict(result.broken),
        "warnings": list(result.warnings),
        "event_us": [result.event_start_us, result.event_end_us],
        "seconds": result.seconds,
    }


def result_from_json(document: Mapping[str, Any]) -> ShardResult:
    """Return the result of a shard from JSON."""
    first_us, last_us = document["event_us"]
    return ShardResult(
        window=_window_from_json(document["window"]),
        observed=_observed_from_json(document["observed"]),
        slices=tuple(_slice_from_json(one) for one in document["slices"]),
        accounts=Accounts(**document["accounts"]),
        outputs={table: OutputStat(rows, digest) for table, (rows, digest) in document["outputs"].items()},
        filtered=dict(document["filtered"]),
        broken=dict(document["broken"]),
        warnings=tuple(document["warnings"]),
        event_start_us=first_us,
        event_end_us=last_us,
        seconds=document["seconds"],
    )


def failure_to_json(failure: ShardFailure) -> dict[str, Any]:
    """Return the failure of a shard as JSON."""
    window = _window_to_json(failure.window)
    return {"window": window, "code": failure.code, "error": failure.error, "retryable": failure.retryable}


def failure_from_json(document: Mapping[str, Any]) -> ShardFailure:
    """Return the failure of a shard from JSON."""
    return ShardFailure(_window_from_json(document["window"]), document["code"], document["error"], document["retryable"])


def _window_to_json(window: Window) -> list[int]:
    return [window.start_us, window.end_us]


def _window_from_json(pair: list[int]) -> Window:
    return Window(pair[0], pair[1])


def _observed_to_json(observed: frozenset[Observed]) -> list[list[int]]:
    return [[one.start_us, one.end_us, one.seq] for one in sorted(observed)]


def _observed_from_json(rows: list[list[int]]) -> frozenset[Observed]:
    return frozenset(Observed(*row) for row in rows)


def _slice_to_json(one: Slice) -> dict[str, Any]:
    return {
        "file": [one.file.uri, one.file.size_bytes, one.file.version, one.file.origin],
        "digest": one.digest,
        "parts": list(one.parts),
        "rows": one.rows,
        "size_bytes": one.size_bytes,
        "exact": one.exact,
        "untimed": one.untimed,
        "lookback": one.lookback,
        "lookahead": one.lookahead,
    }


def _slice_from_json(document: Mapping[str, Any]) -> Slice:
    return Slice(
        file=InputFile(*document["file"]),
        digest=document["digest"],
        parts=tuple(document["parts"]),
        rows=document["rows"],
        size_bytes=document["size_bytes"],
        exact=document["exact"],
        untimed=document["untimed"],
        lookback=document.get("lookback", False),
        lookahead=document.get("lookahead", False),
    )


def _shard_to_json(shard: Shard) -> dict[str, Any]:
    return {
        "index": shard.index,
        "window": _window_to_json(shard.window),
        "reason": str(shard.reason),
        "observed": _observed_to_json(shard.observed),
        "slices": [_slice_to_json(one) for one in shard.slices],
        "outputs": list(shard.outputs),
    }


def _shard_from_json(document: Mapping[str, Any]) -> Shard:
    return Shard(
        index=document["index"],
        window=_window_from_json(document["window"]),
        reason=Reason(document["reason"]),
        observed=_observed_from_json(document["observed"]),
        slices=tuple(_slice_from_json(one) for one in document["slices"]),
        outputs=tuple(document["outputs"]),
    )
