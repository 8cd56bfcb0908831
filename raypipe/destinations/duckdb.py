"""DuckDBFile: a DuckDB file as a destination. Every method opens the file, acts and closes; nothing is held between.

It is a Destination and an Inspector. The steps stand beside: `duckdb_file` (who may open it), `duckdb_runs` (epochs,
tables, definitions), `duckdb_commit` (the transaction), `duckdb_snapshot`, `duckdb_inspect` and `duckdb_verify`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from raypipe.core.commit import CommitRequest, Receipt
from raypipe.core.shard import ShardFailure
from raypipe.core.state import OpenedRun, RunOpening, RunState, Snapshot
from raypipe.core.window import Window
from raypipe.destinations import duckdb_inspect, duckdb_runs, duckdb_verify
from raypipe.destinations.duckdb_engine import make_ready
from raypipe.destinations.duckdb_file import reading, transaction, write_at_commit, writing
from raypipe.destinations.duckdb_snapshot import read_glance, read_snapshot
from raypipe.destinations.duckdb_state import create_state, has_state, inspecting
from raypipe.errors import CommitUnknown
from raypipe.failpoints import hit
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Check, Clock, Staged

if TYPE_CHECKING:
    import duckdb

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DuckDBFile:
    """The tables and the state of one pipeline in a DuckDB file, which others may share. Picklable."""

    path: str
    pipeline: str
    clock: Clock
    memory_bytes: int | None = None
    """For a commit: what it does not fit in goes to disk. None: DuckDB's own limit, most of the machine."""

    def make_ready(self) -> None:
        """Start the engine, so that the next call does not wait for it; the file is not touched."""
        make_ready(os.path.realpath(self.path))

    # ---- Destination ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Read state in one transaction; a missing file stays missing."""
        if not Path(self.path).exists():
            return Snapshot()
        with reading(self.path, self.clock) as connection:
            found = read_snapshot(connection, self.pipeline)
            hit("plan.after_observe")
            return found

    def glance(self) -> Snapshot:
        """Read digest, sequence, watermark and views in one transaction; a missing file stays missing."""
        if not Path(self.path).exists():
            return Snapshot()
        with reading(self.path, self.clock) as connection:
            return read_glance(connection, self.pipeline)

    def open_run(self, opening: RunOpening) -> OpenedRun:
        """Create the run or take it over; number the definitions; claim the tables."""
        with writing(self.path, self.clock, brief=True) as connection, transaction(connection):
            if not has_state(connection):
                create_state(connection)
            opened = duckdb_runs.open_run(connection, self.pipeline, opening, self.clock.now_us())
            hit("plan.after_insert")
        return _acknowledged("open.after_commit", opened)

    def commit(self, request: CommitRequest, staged: Sequence[Staged]) -> Receipt:
        """Commit a group of shards in one transaction."""
        from raypipe.destinations import duckdb_commit  # brings Arrow, which a run with nothing to do should not load

        duckdb_commit.check_request(request, staged)
        with writing(self.path, self.clock, memory_bytes=self.memory_bytes) as connection:
            if duckdb_commit.is_large(staged):
                write_at_commit(connection)
            hit("commit.before_begin")
            try:
                with transaction(connection):
                    self._known_to(connection, request.run_id, request.epoch)
                    receipt = duckdb_commit.apply(connection, self.pipeline, request, staged, self.clock.now_us())
            except duckdb_commit.NothingToCommit as answer:
                return answer.receipt
        return _acknowledged("commit.after_commit_before_ack", receipt)

    def heartbeat(self, run_id: str, epoch: int) -> None:
        """Say that the run's owner is alive."""
        with writing(self.path, self.clock, brief=True) as connection, transaction(connection):
            self._fence(connection, run_id, epoch)
        _acknowledged("heartbeat.after_commit", None)

    def record_failures(self, run_id: str, epoch: int, failures: Sequence[ShardFailure]) -> None:
        """Remember failed shards."""
        with writing(self.path, self.clock, brief=True) as connection, transaction(connection):
            self._fence(connection, run_id, epoch)
            duckdb_runs.record_failures(connection, self.pipeline, run_id, failures, self.clock.now_us())
        _acknowledged("failures.after_commit", None)

    def close_run(self, run_id: str, epoch: int, state: RunState) -> int | None:
        """End a run and raise its epoch; return the low watermark."""
        with writing(self.path, self.clock, brief=True) as connection, transaction(connection):
            self._known_to(connection, run_id, epoch)
            hit("close.before")
            watermark_us = duckdb_runs.close_run(connection, self.pipeline, run_id, epoch, state, self.clock.now_us())
        return _acknowledged("close.after", watermark_us)

    def cancel(self, run_id: str | None) -> tuple[str, ...]:
        """Cancel one open run, or all of the pipeline."""
        if not Path(self.path).exists():
            return ()
        with writing(self.path, self.clock) as connection, transaction(connection):
            if not has_state(connection):
                return ()
            cancelled = duckdb_runs.cancel(connection, self.pipeline, run_id, self.clock.now_us())
        return _acknowledged("cancel.after_commit", cancelled)

    def blank_quarantine(self, before_us: int) -> int:
        """Take away the raw texts of rows set aside by commits before an instant."""
        if not Path(self.path).exists():
            return 0
        with writing(self.path, self.clock) as connection, transaction(connection):
            return duckdb_runs.blank_quarantine(connection, self.pipeline, before_us) if has_state(connection) else 0

    # ---- Inspector -----------------------------------------------------------------------------------------

    def table_rows(self) -> Mapping[str, int]:
        """Return the number of rows of each output table that exists."""
        with inspecting(self.path, self.clock) as connection:
            return duckdb_inspect.table_rows(connection, self.pipeline) if connection else {}

    def quarantine_counts(self, *, run_id: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Return rule, rows, first and last shard, and an example's error, most rows first; of one run or of all."""
        with inspecting(self.path, self.clock) as connection:
            return duckdb_inspect.quarantine_counts(connection, self.pipeline, run_id) if connection else []

    def outcome_of(self, run_id: str) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, int]]:
        """Return the quarantine counts of one run and the rows of all tables, in one opening of the file."""
        with inspecting(self.path, self.clock, brief=True) as connection:
            if connection is None:
                return [], {}
            counts = duckdb_inspect.quarantine_counts(connection, self.pipeline, run_id)
            return counts, duckdb_inspect.table_rows(connection, self.pipeline)

    def quarantine_rows(self, *, rule: str | None, window: Window | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return quarantined rows: shard (its start), source, position, rule, error, raw, truncated, run."""
        with inspecting(self.path, self.clock) as connection:
            if connection is None:
                return []
            return duckdb_inspect.quarantine_rows(connection, self.pipeline, rule=rule, window=window, limit=limit)

    def quarantine_shards(self, *, rule: str | None, window: Window | None) -> frozenset[int]:
        """Return the starts of the shards that have such rows in quarantine."""
        with inspecting(self.path, self.clock) as connection:
            if connection is None:
                return frozenset()
            return duckdb_inspect.quarantine_shards(connection, self.pipeline, rule=rule, window=window)

    def export_quarantine(self, path: Path, *, rule: str | None, window: Window | None) -> int:
        """Write quarantined rows to a .parquet or .csv file; return how many."""
        with inspecting(self.path, self.clock) as connection:
            if connection is None:
                return 0
            return duckdb_inspect.export_quarantine(connection, self.pipeline, path, rule=rule, window=window)

    def ledger(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return the newest ledger entries."""
        with inspecting(self.path, self.clock) as connection:
            return duckdb_inspect.ledger(connection, self.pipeline, limit) if connection else []

    def verify(self) -> Sequence[Check]:
        """Prove the destination. All is read in one transaction, so writers wait meanwhile."""
        with inspecting(self.path, self.clock) as connection:
            return duckdb_verify.verify(connection, self.pipeline) if connection else []

    # ---- within --------------------------------------------------------------------------------------------

    def _fence(self, connection: duckdb.DuckDBPyConnection, run_id: str, epoch: int) -> None:
        self._known_to(connection, run_id, epoch)
        if not duckdb_runs.beat(connection, self.pipeline, run_id, epoch, self.clock.now_us()):
            raise duckdb_runs.fenced(run_id, epoch)

    def _known_to(self, connection: duckdb.DuckDBPyConnection, run_id: str, epoch: int) -> None:
        """A file that was removed or replaced meanwhile does not know the run: it is fenced, and no file is made up."""
        if not has_state(connection):
            raise duckdb_runs.fenced(run_id, epoch)


def _acknowledged(point: str, answer: _T) -> _T:
    """Return what a transaction that is durable now found, unless a test loses it on the way."""
    try:
        hit(point)
    except OSError as error:
        raise CommitUnknown(f"the answer to COMMIT was lost: {error}") from error
    return answer
