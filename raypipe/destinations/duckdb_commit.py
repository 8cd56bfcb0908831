"""The commit transaction of a DuckDB file, step by step. `decide_commit` decides, this applies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

import duckdb
import pyarrow as pa

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
from raypipe.core.intervals import Ranges, normalise
from raypipe.core.shard import Observed, Outcome
from raypipe.core.window import Window
from raypipe.destinations.arrow_rows import (
    accepted_table,
    counts_table,
    coverage_table,
    ledger_table,
    live_table,
    parts_table,
    ranges_table,
)
from raypipe.destinations.contributions import Wanted, contributions, verify_checksums, wanted_of
from raypipe.destinations.duckdb_compact import Compacting
from raypipe.destinations.duckdb_engine import WRITER_THREADS
from raypipe.destinations.duckdb_file import all_threads, use_threads
from raypipe.destinations.duckdb_merged import MergedTable
from raypipe.destinations.duckdb_runs import beat, fenced, set_watermark
from raypipe.destinations.duckdb_state import changed, has_views, query
from raypipe.destinations.duckdb_tables import Typed, delete_ranges, fit_table, insert_rows, schema_number, typed
from raypipe.destinations.duckdb_views import make_views
from raypipe.destinations.sql_statements import statements
from raypipe.destinations.stored import Stored
from raypipe.errors import AccountsDontBalance, ShardError
from raypipe.failpoints import hit
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import QUARANTINE_TABLE, Staged

LARGE_BYTES = 8 * 1024**2  # a smaller commit goes to the log, which is sure to be written where the disk is all but full

_SQL = statements("commit")


class NothingToCommit(Exception):
    """Rolls the transaction back and carries the receipt out."""

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt
        super().__init__()


@dataclass(frozen=True, slots=True)
class _Live:
    """Live ranges that meet the group, and the rows that each output has in them."""

    facts: tuple[LiveFact, ...]
    rows: Mapping[str, Mapping[Window, int]]


def check_request(request: CommitRequest, staged: Sequence[Staged]) -> None:
    """Refuse what must not reach the transaction: accounts that do not balance, files that are not as staged."""
    for shard in request.shards:
        if not shard.result.accounts.balanced:
            raise AccountsDontBalance(f"shard {shard.window}: the accounts do not balance: {shard.result.accounts.as_json()}")
    verify_checksums(staged)


def is_large(staged: Sequence[Staged]) -> bool:
    """Tell whether so much is committed that it should be written once."""
    in_memory = sum(table.nbytes for one in staged for table in one.tables.values())
    return in_memory >= LARGE_BYTES or any(one.folder is not None for one in staged)  # what is in files was too large for memory


def apply(
    connection: duckdb.DuckDBPyConnection, pipeline: str, request: CommitRequest, staged: Sequence[Staged], now_us: int
) -> Receipt:
    """Do steps 1 to 6 inside the caller's transaction. Raises Fenced, or NothingToCommit with the receipt."""
    commit = _Commit(connection, pipeline, request, now_us)
    facts, live = commit.facts()
    match decide_commit(request, facts):
        case Accept(permit):
            hit("commit.after_cas")
            commit.replace_contributions(permit, live, staged)
            commit.accept_differences(permit)
            commit.write_ledger(permit, commit.compact(permit))
            commit.merge_coverage(permit)
            hit("commit.before_commit")
            return permit.receipt
        case Already(receipt):
            raise NothingToCommit(receipt)
        case FencedOff():
            raise fenced(request.run_id, request.epoch)
        case Conflict(windows):
            raise NothingToCommit(Receipt(request.commit_id, facts.commit_seq - 1, {}, windows))
        case other:
            assert_never(other)


@dataclass(frozen=True, slots=True)
class _Commit:
    """One transaction under way; its methods are the steps, in order."""

    connection: duckdb.DuckDBPyConnection
    pipeline: str
    request: CommitRequest
    now_us: int

    def facts(self) -> tuple[CommitFacts, _Live]:
        """Take the sequence number, write the fence, then read the ledger and the live ranges (steps 1 to 4)."""
        bumped = query(self.connection, _SQL["bump"], self._values())
        stands = beat(self.connection, self.pipeline, self.request.run_id, self.request.epoch, self.now_us)
        hit("commit.after_fence")
        if not bumped or not stands:
            return CommitFacts(fenced=True, already=None, commit_seq=0), _Live((), {})
        found = query(self.connection, _SQL["committed_before"], self._values())
        if found:
            already = {Window(lo, hi): Outcome(outcome) for _, lo, hi, outcome in found}
            return CommitFacts(fenced=False, already=already, commit_seq=found[0][0]), _Live((), {})
        live = self._live(normalise(shard.window for shard in self.request.shards))
        return CommitFacts(fenced=False, already=None, commit_seq=bumped[0][0], live=live.facts), live

    def replace_contributions(self, permit: CommitPermit, live: _Live, staged: Sequence[Staged]) -> None:
        """Take out what the replaced ranges contributed and put in the new contributions, counting both (step 5)."""
        replaced = normalise(permit.replaced)
        wanted = wanted_of(staged, permit.loaded)
        pieces = {
            output: [typed(self.connection, one) for one in contributions(output, staged, wanted)]
            for output in self.request.definitions
        }
        stored = self._fit_tables(pieces)
        with _registered(self.connection, replaced_in=ranges_table(replaced)):
            if replaced:
                self._delete(replaced, permit, live, stored)
            hit("commit.after_delete")
            for output, parts in pieces.items():
                self._insert(stored[output], parts, permit.loaded)
                self._merge(stored[output], permit.loaded, replaced=bool(replaced) and output in self._replaced_rows(live))
                hit("commit.mid_insert")
            self._replace_quarantine(replaced, permit, staged, wanted)
            hit("commit.after_insert")
            self._replace_live(replaced, permit, live, pieces)

    def accept_differences(self, permit: CommitPermit) -> None:
        """Let live ranges stand for the definition or the input of now, as a person said (step 6)."""
        definitions = self.request.definitions
        values = {**self._values(permit), "outputs": list(definitions), "versions": list(definitions.values())}
        for outcome, statement in (
            (Outcome.ACCEPTED_STALE, "accept_definitions"),
            (Outcome.ACCEPTED_SHRUNK, "accept_inputs"),
        ):
            shards = [shard for shard in permit.accepted if shard.outcome is outcome]
            if shards:
                with _registered(self.connection, accepted_in=accepted_table(shards)):
                    query(self.connection, _SQL[statement], values)
                    if parts := [part for shard in shards for part in shard.parts]:
                        with _registered(self.connection, parts_in=parts_table(parts)):
                            query(self.connection, _SQL["accept_parts"], values)

    def compact(self, permit: CommitPermit) -> list[ShardCommit]:
        """Make one live range of those in each compacted range, and return the shards with what they say (steps 5 and 6)."""
        found = []
        for shard in permit.compacted:
            values = {**self._values(permit), **_bounds([shard.window]), "outputs": list(self.request.definitions)}
            merging = Compacting(self.connection, values, shard, self._fit_tables({}))
            with all_threads(self.connection):
                whole = merging.merge(self.request.definitions)
            with _registered(self.connection, replaced_in=ranges_table([shard.window])):
                query(self.connection, _SQL["delete_live"], values)
            with _registered(self.connection, live_in=live_table([whole], self.request.definitions, merging.schema_numbers)):
                query(self.connection, _SQL["insert_live"], values)
            found.append(whole)
        return found

    def write_ledger(self, permit: CommitPermit, compacted: Sequence[ShardCommit]) -> None:
        """Write the ledger, the counts of rules, and what is settled or late by it (step 6)."""
        entries = [
            *((shard, shard.outcome) for shard in (*permit.loaded, *permit.satisfied, *permit.accepted, *compacted)),
            *((shard, Outcome.SUPERSEDED) for shard in permit.superseded),
        ]
        values = self._values(permit)
        with _registered(self.connection, ledger_in=ledger_table(entries)):
            query(self.connection, _SQL["insert_ledger"], values)
        counts = counts_table([*permit.loaded, *compacted])
        if counts.num_rows:
            with _registered(self.connection, filtered_in=counts):
                query(self.connection, _SQL["insert_filtered"], values)
        shrunk = (shard for shard in permit.accepted if shard.outcome is Outcome.ACCEPTED_SHRUNK)
        settled = normalise(shard.window for shard in (*permit.loaded, *permit.satisfied, *shrunk))
        with _registered(self.connection, ranges_in=ranges_table(settled)):
            query(self.connection, _SQL["clear_failed"], values)
            if permit.loaded:
                query(self.connection, _SQL["clear_late"], values)
        if permit.superseded:
            with _registered(self.connection, ranges_in=ranges_table([shard.window for shard in permit.superseded])):
                query(self.connection, _SQL["insert_late"], values)
        hit("commit.after_ledger")

    def merge_coverage(self, permit: CommitPermit) -> None:
        """Add the committed ranges to what is covered and move the low watermark (step 6)."""
        committed = normalise(shard.window for shard in permit.loaded)
        if committed:
            values = {**self._values(permit), **_bounds(committed)}
            near = query(self.connection, _SQL["coverage_near"], values)
            before = {(output, Window(lo, hi)) for output, lo, hi in near if output in self.request.definitions}
            after = {
                (output, window)
                for output in self.request.definitions
                for window in normalise([*(window for name, window in before if name == output), *committed])
            }
            for name, statement, changes in (
                ("coverage_out", "delete_coverage", before - after),
                ("coverage_in", "insert_coverage", after - before),
            ):
                if changes:
                    with _registered(self.connection, **{name: coverage_table(sorted(changes))}):
                        query(self.connection, _SQL[statement], values)
        set_watermark(self.connection, self.pipeline)
        hit("commit.after_wm")

    def _values(self, permit: CommitPermit | None = None) -> dict[str, Any]:
        return {
            "pipeline": self.pipeline,
            "run": self.request.run_id,
            "epoch": self.request.epoch,
            "commit_id": self.request.commit_id,
            "now": self.now_us,
            "seq": permit.commit_seq if permit else None,
        }

    def _live(self, ranges: Ranges) -> _Live:
        with _registered(self.connection, ranges_in=ranges_table(ranges)):
            found = query(self.connection, _SQL["live_meeting"], {**self._values(), **_bounds(ranges)})
        definitions: dict[Observed, dict[str, int]] = {}
        rows: dict[str, dict[Window, int]] = {}
        for output, lo, hi, seq, definition, count in found:
            definitions.setdefault(Observed(lo, hi, seq), {})[output] = definition
            rows.setdefault(output, {})[Window(lo, hi)] = count
        return _Live(tuple(LiveFact(observed, made_by) for observed, made_by in definitions.items()), rows)

    def _fit_tables(self, pieces: Mapping[str, Sequence[Typed]]) -> Mapping[str, Stored]:
        """Make every table fit what comes; return where the contributions to each output stand."""
        found = query(self.connection, _SQL["tables"], self._values())
        stored = {output: Stored.of_state(output, merge, created=created) for output, created, merge in found}
        for output, parts in pieces.items():
            if parts:
                stored[output] = self._fit(stored[output], parts)
        if any(stored[output].created and not created for output, created, _ in found) and has_views(self.connection):
            make_views(self.connection, self.pipeline)
        return stored

    def _fit(self, stored: Stored, parts: Sequence[Typed]) -> Stored:
        merged = self._merged(stored)
        if merged:
            for part in parts:
                merged.require_fit(part.columns)
        changes = fit_table(self.connection, stored, parts)
        if merged and changes:
            merged.fit()
        if not stored.created:
            query(self.connection, _SQL["table_created"], {**self._values(), "output": stored.output})
        return replace(stored, created=True)

    def _merged(self, stored: Stored) -> MergedTable | None:
        return MergedTable(self.connection, stored, stored.merge) if stored.merge else None

    def _delete(self, replaced: Ranges, permit: CommitPermit, live: _Live, stored: Mapping[str, Stored]) -> None:
        gone = set(permit.replaced)
        for output, counts in self._replaced_rows(live).items():
            expected = sum(count for window, count in counts.items() if window in gone)
            deleted = self._delete_from(stored[output], replaced) if stored[output].created else 0
            if deleted != expected:
                raise ShardError(
                    f"table {output}: the ledger says that {_span(replaced)} holds {expected} rows, the table holds {deleted}: "
                    f"another program changed it. `raypipe verify` names the ranges; drop the table to compute all of it again"
                )

    def _replaced_rows(self, live: _Live) -> Mapping[str, Mapping[Window, int]]:
        """Return the rows of live ranges by output, of those that this commit is about; the others keep theirs."""
        return {output: counts for output, counts in live.rows.items() if output in self.request.definitions}

    def _delete_from(self, stored: Stored, replaced: Ranges) -> int:
        if merged := self._merged(stored):
            merged.touch(replaced, "replaced_in")
        return delete_ranges(self.connection, stored, replaced)

    def _insert(self, stored: Stored, parts: Sequence[Typed], loaded: Sequence[ShardCommit]) -> None:
        expected = sum([shard.result.outputs[stored.output].rows for shard in loaded])
        inserted = sum(insert_rows(self.connection, stored, part) for part in parts)
        if inserted != expected:
            raise ShardError(
                f"table {stored.output}: the manifests of {len(loaded)} shards say {expected} rows, what they left holds "
                f"{inserted}: nothing of the group was committed"
            )

    def _merge(self, stored: Stored, loaded: Sequence[ShardCommit], *, replaced: bool) -> None:
        """Compute again what the contributions that went and those that came touch of a keyed or combined table."""
        merged = self._merged(stored)
        if merged is None or not stored.created or not loaded:
            return
        ranges = normalise(shard.window for shard in loaded)
        with _registered(self.connection, loaded_in=ranges_table(ranges)):
            merged.touch(ranges, "loaded_in")
        rows = sum(shard.result.outputs[stored.output].rows for shard in loaded)
        with all_threads(self.connection):
            merged.recompute(["replaced_in", "loaded_in"] if replaced else ["loaded_in"], rows)

    def _replace_quarantine(self, replaced: Ranges, permit: CommitPermit, staged: Sequence[Staged], wanted: Wanted) -> None:
        values = self._values(permit)
        if replaced:
            query(self.connection, _SQL["delete_quarantine"], {**values, **_bounds(replaced)})
        inserted = 0
        for contribution in contributions(QUARANTINE_TABLE, staged, wanted):
            use_threads(self.connection, WRITER_THREADS)
            with _registered(self.connection, quarantine_in=contribution.scannable()):
                inserted += changed(self.connection, _SQL["insert_quarantine"], values)
        expected = sum([shard.result.accounts.quarantined for shard in permit.loaded])
        if inserted != expected:
            raise ShardError(
                f"the accounts say {expected} quarantined rows, {inserted} were left: nothing of the group was committed"
            )

    def _replace_live(self, replaced: Ranges, permit: CommitPermit, live: _Live, pieces: Mapping[str, Sequence[Typed]]) -> None:
        if replaced:
            gone = set(permit.replaced)
            expected = sum(window in gone for counts in self._replaced_rows(live).values() for window in counts)
            values = {**self._values(), **_bounds(replaced), "outputs": list(self.request.definitions)}
            deleted = changed(self.connection, _SQL["delete_live"], values)
            if deleted != expected:
                raise ShardError(
                    f"{_span(replaced)}: {deleted} live ranges went where {expected} were observed; this is a bug of raypipe"
                )
        if permit.loaded:
            numbers = {output: self._schema_numbers(output, parts) for output, parts in pieces.items()}
            with _registered(self.connection, live_in=live_table(permit.loaded, self.request.definitions, numbers)):
                query(self.connection, _SQL["insert_live"], self._values(permit))

    def _schema_numbers(self, output: str, parts: Sequence[Typed]) -> Mapping[str, int]:
        """Return the number of the column set by attempt."""
        numbers: dict[str, int] = {}
        for part in parts:
            number = schema_number(self.connection, self.pipeline, output, part.columns)
            numbers.update({one.attempt_id: number for one in part.contribution.parts})
        return numbers


def _bounds(ranges: Sequence[Window]) -> dict[str, int]:
    return {"lo": ranges[0].start_us, "hi": ranges[-1].end_us}


def _span(ranges: Ranges) -> str:
    return f"{ranges[0]}" if len(ranges) == 1 else f"{len(ranges)} ranges from {ranges[0]} to {ranges[-1]}"


@contextlib.contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, **tables: pa.Table | pa.RecordBatchReader) -> Iterator[None]:
    """Show Arrow tables to DuckDB under these names, for as long as the block lasts."""
    for name, table in tables.items():
        connection.register(name, table)
    try:
        yield
    finally:
        with contextlib.suppress(duckdb.TransactionException):  # after an error the transaction takes nothing more
            for name in tables:
                connection.unregister(name)
