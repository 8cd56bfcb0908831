"""Mistakes in the commit: what `decide_commit` must compare, and what the destination must do in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from raypipe.core.commit import Accept, CommitFacts, CommitPermit, CommitRequest, Decision
from raypipe.core.state import RunState
from raypipe.core.window import Window
from raypipe.destinations import memory
from raypipe.destinations.memory import MemoryDestination
from raypipe.destinations.memory_state import OPEN, PipelineState
from raypipe.testing.simulation.mutant import Change, Mutant, always, patched

_COMMIT = "raypipe.core.commit"
_MEMORY = "raypipe.destinations.memory"
_DECIDE = f"{_MEMORY}:decide_commit"
_APPLY = f"{_MEMORY}:MemoryDestination._apply"


def _unfenced(*, epoch: bool, state: bool) -> Change:
    """Read the facts as if the run were still open, or still ours."""

    def changed(real: Any) -> Any:
        def facts(held: PipelineState, request: CommitRequest) -> CommitFacts:
            record = held.runs.get(request.run_id)
            if record is not None:
                seen = replace(record, epoch=request.epoch) if epoch else record
                held.runs[request.run_id] = replace(seen, state=RunState.OPEN) if state else seen
            try:
                found: CommitFacts = real(held, request)
            finally:
                if record is not None:
                    held.runs[request.run_id] = record
            return found

        return facts

    return changed


def _fence_is_read_before(real: Any) -> Any:
    """Read the fence, give way, then do the transaction."""

    def commit(self: Any, request: CommitRequest, staged: Any) -> Any:
        self.inner.heartbeat(request.run_id, request.epoch)
        self.pause()
        return real(self, request, staged)

    return commit


def _in_two(first: str) -> Change:
    """Tear the transaction apart: what comes first is seen by others before the rest is."""

    def changed(real: Any) -> Any:
        def apply(self: MemoryDestination, state: PipelineState, permit: CommitPermit, staged: Any) -> None:
            record = memory._record
            if first == "rows":
                with patched(f"{_MEMORY}:_record", always(None)):
                    real(self, state, permit, staged)
                self._clock.sleep_s(0)
                record(state, permit)
                return
            if first == "live":
                record(state, permit)
            else:
                for window in permit.replaced:
                    for output in permit.request.definitions:
                        state.live.pop((output, window), None)
                        self.store.tables.get(output, {}).pop(window, None)
            self._clock.sleep_s(0)
            with patched(f"{_MEMORY}:_record", always(None) if first == "live" else lambda same: same):
                real(self, state, permit, staged)

        return apply

    return changed


def _nothing_is_replaced(real: Any) -> Any:
    def apply(self: MemoryDestination, state: PipelineState, permit: CommitPermit, staged: Any) -> None:
        permit.replaced = ()
        real(self, state, permit, staged)

    return apply


def _only_the_same_range(real: Any) -> Any:
    return lambda self, window: [one for one in real(self, window) if one.window == window]


def _uncut(real: Any) -> Any:
    return lambda shard, met: {live.observed for live in met} == shard.result.observed


def _unmerged(real: Any) -> Any:
    """Widen each window for itself; those that meet afterwards stay two."""

    def widen(windows: Any, known: Any) -> list[Window]:
        result = []
        for window in sorted(set(windows)):
            for met in known.meeting(window):
                window = window.hull(met)
            result.append(window)
        return result

    return widen


def _conflicts_go_along(real: Any) -> Any:
    """Commit a whole group as soon as one shard of it may."""

    def decide(request: CommitRequest, facts: CommitFacts) -> Decision:
        decision: Decision = real(request, facts)
        if isinstance(decision, Accept) and decision.permit.conflicts:
            with patched(f"{_COMMIT}:_as_observed", always(True)):
                return real(request, facts)  # type: ignore[no-any-return]
        return decision

    return decide


def _not_atomic(real: Any) -> Any:
    return lambda request, facts: real(replace(request, atomic=False), facts)


def _cancel_is_a_note(real: Any) -> Any:
    return lambda record, state, now_us: replace(record, ended_us=now_us)


def _epoch_stays(real: Any) -> Any:
    def opened(state: PipelineState, opening: Any, now_us: int, dead: Any) -> Any:
        found = state.runs.get(opening.run_id)
        record = real(state, opening, now_us, dead)
        return record if found is None else replace(record, epoch=found.epoch)

    return opened


def _ended_is_opened_again(real: Any) -> Any:
    def opened(state: PipelineState, opening: Any, now_us: int, dead: Any) -> Any:
        found = state.runs.get(opening.run_id)
        if found is not None and found.state not in OPEN:
            state.runs[opening.run_id] = replace(found, state=RunState.OPEN)
        return real(state, opening, now_us, dead)

    return opened


def _fence_of_others_is_gone(real: Any) -> Any:
    def fence(self: MemoryDestination, run_id: str, epoch: int) -> Any:
        state = self.store.pipelines[self._pipeline]
        return state, state.runs[run_id]

    return fence


def _revert_gets_its_old_number(real: Any) -> Any:
    def number(state: PipelineState, output: str, definition: Any) -> int:
        known = [one.version for one in state.definitions.get(output, ()) if one.fingerprint == definition.fingerprint]
        return known[0] if known else real(state, output, definition)

    return number


def _identity(*kept: str) -> Change:
    """Make the commit id from less."""

    def changed(real: Any) -> Any:
        def identity(run_id: str, shards: Any) -> str:
            parts = [
                (window, outcome if "outcome" in kept else "", output if "output" in kept else "",
                 observed if "observed" in kept else frozenset())
                for window, outcome, output, observed in shards
            ]  # fmt: skip
            return real(run_id if "run" in kept else "", parts if "shards" in kept else [])  # type: ignore[no-any-return]

        return identity

    return changed


def _hull(real: Any) -> Any:
    def hull(windows: Any) -> tuple[Window, ...]:
        found: Sequence[Window] = sorted(windows)
        return (Window(found[0].start_us, max(one.end_us for one in found)),) if found else ()

    return hull


def _last_end(real: Any) -> Any:
    return lambda coverage, start_us: coverage[-1].end_us if coverage else None


MUTANTS = (
    Mutant(
        "fence_removed",
        "a commit compares neither the epoch nor the state of its run",
        ((f"{_MEMORY}:_facts", _unfenced(epoch=True, state=True)),),
    ),
    Mutant(
        "epoch_not_compared",
        "a commit of a driver that was taken over counts",
        ((f"{_MEMORY}:_facts", _unfenced(epoch=True, state=False)),),
    ),
    Mutant(
        "fence_read_before_the_transaction",
        "the fence is a read that comes first",
        (
            ("raypipe.testing.simulation.destination:SimulatedDestination.commit", _fence_is_read_before),
            (f"{_MEMORY}:_facts", _unfenced(epoch=True, state=True)),
        ),
    ),
    Mutant(
        "cancel_is_a_note",
        "cancel and close neither raise the epoch nor change the state",
        ((f"{_MEMORY}:_ended", _cancel_is_a_note),),
    ),
    Mutant("take_over_keeps_the_epoch", "two drivers own the same epoch", ((f"{_MEMORY}:_opened_record", _epoch_stays),)),
    Mutant("ended_runs_open_again", "a run that is over is taken over", ((f"{_MEMORY}:_opened_record", _ended_is_opened_again),)),
    Mutant(
        "close_and_failures_are_not_fenced",
        "a driver that was taken over closes the run of its successor",
        ((f"{_MEMORY}:MemoryDestination._fence", _fence_of_others_is_gone),),
    ),
    Mutant(
        "compare_removed",
        "the last commit wins: live ranges are not compared with those observed",
        ((f"{_COMMIT}:_as_observed", always(True)),),
    ),
    Mutant(
        "overlap_by_equal_range",
        "only a live range of the same bounds counts as met",
        ((f"{_COMMIT}:_LiveIndex.meeting", _only_the_same_range),),
    ),
    Mutant(
        "live_ranges_are_cut",
        "a shard neither widens nor is refused for meeting a live range in part",
        (
            ("raypipe.core.plan:_widen", lambda real: lambda windows, known: sorted(set(windows))),
            (f"{_COMMIT}:_as_observed", _uncut),
        ),
    ),
    Mutant(
        "shards_of_a_group_overlap",
        "overlapping shards are neither made one by the plan nor refused in a group",
        ((f"{_COMMIT}:_overlaps", always(False)), ("raypipe.core.plan:_widen", _unmerged)),
    ),
    Mutant("conflicts_go_along", "a group with a conflict is committed whole", ((_DECIDE, _conflicts_go_along),)),
    Mutant("older_definition_wins", "an older definition replaces a newer one", ((f"{_COMMIT}:_is_older", always(False)),)),
    Mutant("atomic_survivors_go_on", "an atomic backfill commits what is not in conflict", ((_DECIDE, _not_atomic),)),
    Mutant(
        "atomic_superseded_in_part",
        "one superseded shard of an atomic backfill leaves the others",
        ((f"{_COMMIT}:_SortedOut.supersede_all", always(None)),),
    ),
    Mutant(
        "replaced_ranges_stay", "contributions are added and what they replace is not taken out", ((_APPLY, _nothing_is_replaced),)
    ),
    Mutant(
        "delete_and_insert_apart",
        "old contributions go in one transaction, new ones come in the next",
        ((_APPLY, _in_two("delete")),),
    ),
    Mutant("ledger_in_its_own_transaction", "rows are there before the ledger says so", ((_APPLY, _in_two("rows")),)),
    Mutant("watermark_before_the_rows", "live ranges, coverage and watermark come before the rows", ((_APPLY, _in_two("live")),)),
    Mutant(
        "watermark_is_the_last_end",
        "the watermark jumps over gaps",
        (("raypipe.destinations.memory_state:low_watermark", _last_end),),
    ),
    Mutant(
        "coverage_fills_gaps",
        "coverage is one range from the first to the last",
        (("raypipe.destinations.memory_state:normalise", _hull),),
    ),
    Mutant(
        "accounts_not_checked",
        "accounts that do not balance are committed",
        (("raypipe.core.accounts:Accounts.balanced", lambda real: property(lambda self: True)),),
    ),
    Mutant("counts_not_checked", "fewer rows than the manifest says are committed", ((f"{_MEMORY}:_check_counts", always(None)),)),
    Mutant(
        "revert_gets_its_old_number",
        "a definition that comes back is older than the one that it replaces",
        ((f"{_MEMORY}:_number", _revert_gets_its_old_number),),
    ),
    Mutant(
        "commit_id_of_the_run_alone",
        "every commit of a run is taken for the first one",
        (("raypipe.core.commit_groups:commit_id", _identity("run")),),
    ),
    Mutant(
        "commit_id_without_the_run",
        "the same contribution of two runs is taken for one commit",
        (("raypipe.core.commit_groups:commit_id", _identity("shards", "outcome", "output", "observed")),),
    ),
)
