"""MemoryDestination: the same contract over plain dictionaries, for simulations and tests. Rows may be dicts or Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, assert_never

from raypipe.core.commit import (
    Accept,
    Already,
    CommitFacts,
    CommitPermit,
    CommitRequest,
    Conflict,
    FencedOff,
    LiveFact,
    Receipt,
    ShardCommit,
    decide_commit,
)
from raypipe.core.merge import merge_changed, misfit, unmergeable
from raypipe.core.shard import Observed, Outcome, ShardFailure
from raypipe.core.state import (
    Definition,
    FailedShard,
    LiveRange,
    OpenedRun,
    RunOpening,
    RunRecord,
    RunState,
    Snapshot,
)
from raypipe.core.window import Window, to_us
from raypipe.destinations.holder import is_dead
from raypipe.destinations.limits import HEARTBEAT_LIMIT_S
from raypipe.destinations.memory_compact import compact
from raypipe.destinations.memory_merge import merged_rows
from raypipe.destinations.memory_state import (
    OPEN,
    LedgerEntry,
    MemoryStore,
    PipelineState,
    Row,
    glance_of,
    snapshot_of,
    watermark_of,
)
from raypipe.errors import AccountsDontBalance, Fenced, RunIsAlive, ShardError, UsageError
from raypipe.ports import QUARANTINE_TABLE, SHARD_COLUMN, Clock, Staged


class MemoryDestination:
    """The tables and the state of one pipeline in a MemoryStore."""

    def __init__(
        self, pipeline: str, *, clock: Clock, store: MemoryStore | None = None, dead: Callable[[str], bool] | None = None
    ) -> None:
        self.store = store or MemoryStore()
        self._pipeline = pipeline
        self._clock = clock
        self._dead = dead

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table, by range."""
        with self.store.lock:
            contributions = self.store.tables.get(table, {})
            if table in self.store.merges:
                return merged_rows(self.store.merges[table], contributions)
            return [row for _, rows in sorted(contributions.items()) for row in rows]

    # ---- Destination ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Read state at one moment."""
        with self.store.lock:
            state = self.store.pipelines.get(self._pipeline)
            return snapshot_of(state) if state else Snapshot()

    def glance(self) -> Snapshot:
        """Read digest, sequence, watermark and views at one moment."""
        return glance_of(self.snapshot())

    def open_run(self, opening: RunOpening) -> OpenedRun:
        """Create the run or take it over; number the definitions; claim the tables."""
        with self.store.lock:
            self._refuse_foreign(opening)
            state = self.store.pipelines.get(self._pipeline, PipelineState())
            now_us = self._clock.now_us()
            record = _opened_record(state, opening, now_us, self._is_dead)
            self.store.pipelines[self._pipeline] = state
            self._claim(state, opening)
            state.start_us, state.outside, state.views = opening.start_us, opening.outside, opening.views
            versions = {output: _number(state, output, one) for output, one in opening.definitions.items()}
            state.runs[opening.run_id] = record
            state.run_definitions[opening.run_id] = versions
            closed = _close_others(state, opening.run_id, now_us, self._is_dead)
            return OpenedRun(opening.run_id, record.epoch, versions, closed)

    def commit(self, request: CommitRequest, staged: Sequence[Staged]) -> Receipt:
        """Commit a group of shards, all at one moment."""
        for shard in request.shards:
            if not shard.result.accounts.balanced:
                raise AccountsDontBalance(f"shard {shard.window}: the accounts do not balance: {shard.result.accounts.as_json()}")
        with self.store.lock:
            state = self.store.pipelines.get(self._pipeline, PipelineState())
            facts = _facts(state, request)
            match decide_commit(request, facts):
                case Accept(permit):
                    self._apply(state, permit, staged)
                    return permit.receipt
                case Already(receipt):
                    return receipt
                case FencedOff():
                    raise _fenced(request.run_id)
                case Conflict(windows):
                    return Receipt(request.commit_id, state.commit_seq, {}, windows)
                case other:
                    assert_never(other)

    def heartbeat(self, run_id: str, epoch: int) -> None:
        """Say that the run's owner is alive."""
        with self.store.lock:
            state, record = self._fence(run_id, epoch)
            state.runs[run_id] = replace(record, heartbeat_us=self._clock.now_us())

    def record_failures(self, run_id: str, epoch: int, failures: Sequence[ShardFailure]) -> None:
        """Remember failed shards."""
        with self.store.lock:
            state, record = self._fence(run_id, epoch)
            state.runs[run_id] = replace(record, heartbeat_us=self._clock.now_us())
            for failure in failures:
                _settle_failures(state, [failure.window])
                state.failed[failure.window] = FailedShard(failure.window, run_id, failure.code, failure.error)

    def close_run(self, run_id: str, epoch: int, state: RunState) -> int | None:
        """End a run and raise its epoch; return the low watermark."""
        with self.store.lock:
            held = self.store.pipelines.get(self._pipeline, PipelineState())
            record = held.runs.get(run_id)
            if not (record and record.epoch == epoch + 1 and record.state is state):
                held, record = self._fence(run_id, epoch)
                held.runs[run_id] = _ended(record, state, self._clock.now_us())
            return watermark_of(held)

    def cancel(self, run_id: str | None) -> tuple[str, ...]:
        """Cancel one open run, or all of the pipeline."""
        with self.store.lock:
            state = self.store.pipelines.get(self._pipeline, PipelineState())
            runs = [one for one in state.runs.values() if one.state in OPEN and run_id in (None, one.run_id)]
            for record in runs:
                state.runs[record.run_id] = _ended(record, RunState.CANCELLED, self._clock.now_us())
            return tuple(record.run_id for record in runs)

    # ---- within --------------------------------------------------------------------------------------------

    def _is_dead(self, holder: str) -> bool:
        return is_dead(holder) if self._dead is None else self._dead(holder)

    def _refuse_foreign(self, opening: RunOpening) -> None:
        for output in opening.definitions:
            owner = self.store.owners.get(output)
            if owner not in (None, self._pipeline):
                raise UsageError(f"table {output} is written by pipeline {owner}: rename the output, or use another destination")
            if owner is None and output in self.store.tables:
                raise UsageError(f"table {output} exists and raypipe does not keep it: rename the output, or drop the table")
            if output in self.store.tables and self.store.merges.get(output) != opening.merges.get(output):
                raise UsageError(merge_changed(output))

    def _claim(self, state: PipelineState, opening: RunOpening) -> None:
        for output in state.outputs:
            if output not in opening.definitions:
                del self.store.owners[output]
                state.live = {key: one for key, one in state.live.items() if key[0] != output}
        self.store.merges.update(opening.merges)
        self.store.owners.update(dict.fromkeys(opening.definitions, self._pipeline))
        state.outputs = tuple(opening.definitions)

    def _fence(self, run_id: str, epoch: int) -> tuple[PipelineState, RunRecord]:
        state = self.store.pipelines.get(self._pipeline, PipelineState())
        record = state.runs.get(run_id)
        if record is None or record.epoch != epoch or record.state not in OPEN:
            raise _fenced(run_id)
        return state, record

    def _apply(self, state: PipelineState, permit: CommitPermit, staged: Sequence[Staged]) -> None:
        """Check all that can be wrong first, then change: nothing is left half done."""
        request = permit.request
        added = {
            (output, shard.window): _rows_of(output, shard, staged) for output in request.definitions for shard in permit.loaded
        }
        for (output, _), rows in added.items():
            merge = self.store.merges.get(output)
            if merge and rows and (problem := misfit(merge, [name for name in rows[0] if name != SHARD_COLUMN])):
                raise ShardError(unmergeable(output, problem))
        aside = {shard.window: _rows_of(QUARANTINE_TABLE, shard, staged) for shard in permit.loaded}
        _check_counts(permit, added, aside)
        state.commit_seq = permit.commit_seq
        state.runs[request.run_id] = replace(state.runs[request.run_id], heartbeat_us=self._clock.now_us())
        for window in permit.replaced:
            state.quarantine.pop(window, None)
            for output in request.definitions:
                state.live.pop((output, window), None)
                self.store.tables.get(output, {}).pop(window, None)
        for (output, window), rows in added.items():
            self.store.tables.setdefault(output, {})[window] = rows
        state.quarantine.update(aside)
        merged = [compact(self.store, state, shard, request.definitions) for shard in permit.compacted]
        _record(state, permit, merged)


def _check_counts(
    permit: CommitPermit, added: Mapping[tuple[str, Window], Sequence[Row]], aside: Mapping[Window, Sequence[Row]]
) -> None:
    """Raise ShardError unless what was left is as much as the manifests say."""
    outputs = permit.request.definitions
    for shard in permit.loaded:
        left = {output: len(added[output, shard.window]) for output in outputs}
        said = {output: shard.result.outputs[output].rows for output in outputs}
        if left != said or len(aside[shard.window]) != shard.result.accounts.quarantined:
            raise ShardError(
                f"shard {shard.window}: the manifest says {said} rows, {left} and {len(aside[shard.window])} aside were left"
            )


def _fenced(run_id: str) -> Fenced:
    return Fenced(f"run {run_id} was taken over, cancelled or closed")


def _opened_record(state: PipelineState, opening: RunOpening, now_us: int, dead: Callable[[str], bool]) -> RunRecord:
    found = state.runs.get(opening.run_id)
    if found is None:
        return RunRecord(opening.run_id, opening.kind, opening.window, RunState.OPEN, 1, opening.holder, now_us, now_us)
    if found.state not in OPEN:
        raise UsageError(f"run {opening.run_id} has ended ({found.state}): start a new one")
    silent = (now_us - found.heartbeat_us) / 1e6 > HEARTBEAT_LIMIT_S
    if not (opening.force or found.holder == opening.holder or dead(found.holder) or silent):
        raise RunIsAlive(f"run {opening.run_id} is held by {found.holder}")
    began = state.run_definitions[opening.run_id]
    now = {output: _known_version(state, output, one) for output, one in opening.definitions.items()}
    if now != began:
        raise UsageError(f"run {opening.run_id} began with other definitions ({began}, now {now}): start a new one")
    return replace(found, epoch=found.epoch + 1, holder=opening.holder, heartbeat_us=now_us)


def _close_others(state: PipelineState, run_id: str, now_us: int, dead: Callable[[str], bool]) -> tuple[str, ...]:
    closed = []
    for record in list(state.runs.values()):
        lost = dead(record.holder) or state.run_definitions[record.run_id].keys() != state.run_definitions[run_id].keys()
        if record.run_id != run_id and record.state in OPEN and lost:
            state.runs[record.run_id] = _ended(record, RunState.FAILED, now_us)
            closed.append(record.run_id)
    return tuple(closed)


def _ended(record: RunRecord, state: RunState, now_us: int) -> RunRecord:
    return replace(record, state=state, epoch=record.epoch + 1, ended_us=now_us)


def _known_version(state: PipelineState, output: str, definition: Definition) -> int | None:
    """Return the version of a definition if it is the newest one of its output."""
    known = state.definitions.get(output, ())
    return known[-1].version if known and known[-1].fingerprint == definition.fingerprint else None


def _number(state: PipelineState, output: str, definition: Definition) -> int:
    known = state.definitions.get(output, ())
    if not known or known[-1].fingerprint != definition.fingerprint:
        known = (*known, replace(definition, version=len(known) + 1))
        state.definitions[output] = known
    return known[-1].version


def _facts(state: PipelineState, request: CommitRequest) -> CommitFacts:
    record = state.runs.get(request.run_id)
    if record is None or record.epoch != request.epoch or record.state not in OPEN:
        return CommitFacts(fenced=True, already=None, commit_seq=0)
    found = [entry for entry in state.ledger if entry.commit_id == request.commit_id]
    if found:
        return CommitFacts(fenced=False, already={one.shard.window: one.outcome for one in found}, commit_seq=found[0].seq)
    made_by: dict[Observed, dict[str, int]] = {}
    for live in state.live.values():
        made_by.setdefault(live.observed, {})[live.output] = live.definition
    facts = tuple(LiveFact(observed, definitions) for observed, definitions in made_by.items())
    return CommitFacts(fenced=False, already=None, commit_seq=state.commit_seq + 1, live=facts)


def _record(state: PipelineState, permit: CommitPermit, compacted: Sequence[ShardCommit] = ()) -> None:
    request, seq = permit.request, permit.commit_seq
    for shard in (*permit.loaded, *compacted):
        for output, version in request.definitions.items():
            stat = shard.result.outputs[output]
            state.live[output, shard.window] = LiveRange(
                output, shard.window, seq, request.run_id, shard.attempt_id, version, shard.input_fp, stat.digest, stat.rows,
                shard.files, shard.parts,
            )  # fmt: skip
    for shard in permit.accepted:
        _accept(state, shard, request.definitions)
    outcomes = permit.receipt.outcomes
    shards = sorted(
        (*permit.loaded, *permit.satisfied, *permit.superseded, *permit.accepted, *compacted), key=lambda one: one.window
    )
    state.ledger.extend(LedgerEntry(seq, request.run_id, request.commit_id, shard, outcomes[shard.window]) for shard in shards)
    shrunk = (shard for shard in permit.accepted if shard.outcome is Outcome.ACCEPTED_SHRUNK)
    _settle_failures(state, [shard.window for shard in (*permit.loaded, *permit.satisfied, *shrunk)])


def _accept(state: PipelineState, shard: ShardCommit, definitions: Mapping[str, int]) -> None:
    for output, version in definitions.items():
        live = state.live.get((output, shard.window))
        if live is not None and shard.outcome is Outcome.ACCEPTED_STALE:
            state.live[output, shard.window] = replace(live, definition=version)
        elif live is not None:
            state.live[output, shard.window] = replace(live, input_fp=shard.input_fp, files=shard.files, parts=shard.parts)


def _settle_failures(state: PipelineState, windows: Sequence[Window]) -> None:
    state.failed = {key: one for key, one in state.failed.items() if not any(window.meets(key) for window in windows)}


def _rows_of(table: str, shard: ShardCommit, staged: Sequence[Staged]) -> list[Row]:
    for one in staged:
        if one.task.attempt_id == shard.attempt_id and table in one.tables:
            return [row for row in _as_rows(one.tables[table]) if _start_us(row[SHARD_COLUMN]) == shard.window.start_us]
    return []


def _as_rows(table: Any) -> Iterable[Row]:
    rows: Iterable[Row] = table.to_pylist() if hasattr(table, "to_pylist") else table
    return rows


def _start_us(value: int | datetime) -> int:
    return value if isinstance(value, int) else to_us(value.replace(tzinfo=UTC))
