"""Commit groups: finished shards that are committed together, and the request that asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from raypipe.core.commands import Commit
from raypipe.core.commit import CommitRequest, ShardCommit
from raypipe.core.fingerprint import commit_id
from raypipe.core.state import OpenedRun
from raypipe.core.window import Window


def commit_groups(finished: Iterable[ShardCommit], run: OpenedRun, *, atomic: bool) -> Collection[list[ShardCommit]]:
    """Return finished shards in groups: each is a commit.

    Those that are done for other outputs stand apart: a commit replaces the same outputs in all of its ranges. So does what is
    there twice, for it was planned again while it was at work: a receipt tells one outcome of a range. An atomic run is told
    by its conflict to do all again.
    """
    groups: dict[tuple[frozenset[str], int], list[ShardCommit]] = {}
    alike: dict[tuple[str, ...], frozenset[str]] = {}
    times: dict[Window, int] = {}
    for one in finished:
        named = tuple(one.result.outputs)
        outputs = alike.get(named) or alike.setdefault(named, _outputs_of(one, run))
        before = 0 if atomic else times.get(one.window, 0)
        groups.setdefault((outputs, before), []).append(one)
        times[one.window] = before + 1
    return groups.values()


def commit_of(group: Sequence[ShardCommit], run: OpenedRun, *, atomic: bool) -> Commit:
    """Return what asks for the commit of a group that is done for the same outputs."""
    identity = commit_id(run.run_id, ((one.window, one.outcome.value, one.output_fp, one.result.observed) for one in group))
    outputs = _outputs_of(group[0], run)
    request = CommitRequest(
        run_id=run.run_id, epoch=run.epoch, commit_id=identity, shards=tuple(group), atomic=atomic,
        definitions={output: version for output, version in run.definitions.items() if output in outputs},
    )  # fmt: skip
    return Commit(request, tuple(dict.fromkeys(one.attempt_id for one in group if one.attempt_id)))


def _outputs_of(finished: ShardCommit, run: OpenedRun) -> frozenset[str]:
    """Return the outputs that a shard is done for; where nothing was done, all: nothing may be missing."""
    return frozenset(finished.result.outputs or run.definitions)
