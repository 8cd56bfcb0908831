"""Acceptance: the commit by which a person says of live ranges that a difference is fine; it changes no row of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from raypipe.core.accounts import Accounts
from raypipe.core.commit import CommitRequest, ShardCommit
from raypipe.core.fingerprint import commit_id, input_fingerprint, parts_fingerprint
from raypipe.core.live_ranges import LiveRanges
from raypipe.core.shard import InputPart, Outcome, Shard, ShardResult, Slice
from raypipe.core.state import OpenedRun
from raypipe.core.window import Window


def accepted_stale(live: LiveRanges, windows: Iterable[Window]) -> tuple[ShardCommit, ...]:
    """Return what lets live ranges stand for today's definition; the input that they were made from stays noted."""
    return tuple(
        _accepted(live, window, (), Outcome.ACCEPTED_STALE, max(live.by_window[window], key=lambda one: one.seq).input_fp)
        for window in windows
    )


def accepted_shrunk(live: LiveRanges, shrunk: Iterable[Shard]) -> tuple[ShardCommit, ...]:
    """Return what lets live ranges stand for the input as it is now, and keep the rows of files that are gone.

    Of a compacted range only the parts stand for it that shrank: another part that is late stays so.
    """
    now: dict[Window, dict[Window, Shard]] = {}
    for one in shrunk:
        (whole,) = live.meeting(one.window)
        now.setdefault(whole, {})[one.window] = one
    return tuple(_stands_for(live, whole, parts) for whole, parts in now.items())


def _stands_for(live: LiveRanges, whole: Window, now: Mapping[Window, Shard]) -> ShardCommit:
    if whole in now:
        slices = now[whole].slices
        return _accepted(live, whole, slices, Outcome.ACCEPTED_SHRUNK, input_fingerprint(slices))
    parts = tuple(
        InputPart(part.window, input_fingerprint(now[part.window].slices), len(now[part.window].slices))
        if part.window in now
        else part
        for part in sorted(max(live.by_window[whole], key=lambda one: one.seq).inputs)
    )
    return replace(_accepted(live, whole, (), Outcome.ACCEPTED_SHRUNK, parts_fingerprint(parts)), parts=parts)


def _accepted(live: LiveRanges, window: Window, slices: tuple[Slice, ...], outcome: Outcome, input_fp: str) -> ShardCommit:
    result = ShardResult(window, live.observed(window), slices, Accounts(), {})
    return ShardCommit(result, outcome, "", input_fp)


def acceptance(run: OpenedRun, shards: tuple[ShardCommit, ...]) -> CommitRequest:
    """Return the commit of a run that accepts; asking for it twice is harmless."""
    named = ((one.window, one.outcome.value, one.input_fp, one.result.observed) for one in shards)
    return CommitRequest(
        run_id=run.run_id, epoch=run.epoch, commit_id=commit_id(run.run_id, named), shards=shards, definitions=run.definitions
    )
