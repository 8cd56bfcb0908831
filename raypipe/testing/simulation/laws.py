"""The laws: what any reader may rely on at any moment, judged by the contents of the source and the tables themselves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence, Set
from dataclasses import field
from typing import Any

from raypipe.core.accounts import Accounts
from raypipe.core.commit import CommitRequest, Receipt
from raypipe.core.events import RunClosed
from raypipe.core.replay import CommittedShard, Replayed
from raypipe.core.shard import Outcome, Task
from raypipe.core.state import LiveRange, OpenedRun
from raypipe.core.window import Window
from raypipe.destinations.memory_state import OPEN, MemoryStore, PipelineState, snapshot_of
from raypipe.lazy_dataclass import dataclass
from raypipe.testing.simulation.claim_laws import ClaimLaws
from raypipe.testing.simulation.commit_laws import WRITTEN, CommitJudge, Readings
from raypipe.testing.simulation.promise import Promise, hours, require
from raypipe.testing.simulation.rows import HOUR_US, OUTPUTS, Contribution
from raypipe.testing.simulation.source import SourceHistory
from raypipe.testing.simulation.stage import Disk

PIPELINE = "p"


@dataclass
class Laws:
    """Looks at the destination whenever it changed, and judges every commit and every end of a run."""

    store: MemoryStore
    source: SourceHistory
    disk: Disk
    claims: ClaimLaws
    commits: int = 0
    _promises: dict[tuple[str, int], Promise] = field(default_factory=dict)
    _epochs: dict[str, int] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    _published: set[int] = field(default_factory=set)
    """Rows that a commit put there and that are in the source ever since."""
    _contents: dict[tuple[str, Window, int], Any] = field(default_factory=dict)
    _made: dict[Any, Contribution] = field(default_factory=dict)
    read: Readings = field(default_factory=Readings)
    _live_before: dict[tuple[str, Window], LiveRange] = field(default_factory=dict)
    """What was live when anybody last looked."""
    _replayed: Replayed = field(default_factory=Replayed)
    _ledger_read: int = 0
    _stamp: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.state = self.store.pipelines.setdefault(PIPELINE, PipelineState())
        """What the destination remembers."""

    # ---- at every step -----------------------------------------------------------------------------------

    def look(self) -> None:
        """Read all tables as a reader would, if anything changed."""
        if self.disk.collected:
            for run_id in self.disk.collected:
                record = self.state.runs.get(run_id)
                require(
                    record is None or record.state not in OPEN,
                    f"a staged file of the open run {run_id} was removed by somebody else",
                )
            self.disk.collected.clear()
        state, tables = self.state, self.store.tables
        stamp = (state.commit_seq, len(state.ledger), len(state.live), len(state.quarantine), *map(len, tables.values()))
        if stamp == self._stamp:
            return
        self._stamp = stamp
        ranges = {output: sorted(window for name, window in state.live if name == output) for output in OUTPUTS}
        self._take_ledger()
        expected = [(one.start_us, one.end_us, one.seq) for one in self._replayed.live]
        for output in OUTPUTS:
            live = ranges[output]
            require(all(a.end_us <= b.start_us for a, b in itertools.pairwise(live)), "live ranges overlap")
            found = [(one.start_us, one.end_us, state.live[output, one].seq) for one in live]
            require(found == expected, "what is live is not what the commits of the ledger leave")
            require(set(tables.get(output, ())) == set(live), f"{output} is not the merge of its live contributions")
            for window in live:
                rows, one = tables[output][window], state.live[output, window]
                require(self._contents.setdefault((output, window, one.seq), rows) is rows, "rows changed without a commit")
                require(len(rows) == one.rows, f"{output} holds other rows than its live range says")
        require(set(state.quarantine) == set(ranges["clean"]), "rows are set aside for a range that is not live")
        self._same_as_read(ranges)
        visible = self._visible()
        require(len(visible) == len(set(visible)), "a row is there twice")
        require(self._published.issubset(visible), "a row that had been acknowledged is lost")
        self._live_before = dict(state.live)

    def source_changed(self) -> None:
        """Take note that rows went from the source: they may go from the tables too."""
        self._published &= self.source.uids()

    def _take_ledger(self) -> None:
        new = self.state.ledger[self._ledger_read :]
        self._ledger_read = len(self.state.ledger)
        for seq in sorted({entry.seq for entry in new}):
            self._replayed.take([CommittedShard(seq, one.shard.window, one.outcome) for one in new if one.seq == seq])

    def _same_as_read(self, ranges: Mapping[str, Sequence[Window]]) -> None:
        """Compare coverage and watermark, as the snapshot says them, with the live ranges hour by hour."""
        snapshot = snapshot_of(self.state)
        covered = {output: {hour for window in live for hour in hours(window)} for output, live in ranges.items()}
        for output, there in covered.items():
            said = {hour for window in snapshot.coverage.get(output, ()) for hour in hours(window)}
            require(said == there, "coverage is not the union of the live ranges")
        shared = set.intersection(*covered.values())
        reached = next(hour for hour in range(self.source.hours + 1) if hour not in shared)
        require((snapshot.watermark_us or 0) == reached * HOUR_US, "the watermark is not the end of what is covered from the start")

    def _visible(self, within: Set[Window] | None = None) -> list[int]:
        """Return the rows that a reader sees, of all ranges or of some."""
        tables = (self.store.tables.get("clean", {}), self.state.quarantine)
        return [
            row["uid"] for ranges in tables for window, rows in ranges.items() if within is None or window in within for row in rows
        ]  # fmt: skip

    # ---- runs --------------------------------------------------------------------------------------------

    def opened(self, run: OpenedRun, promise: Promise) -> OpenedRun:
        """A driver owns a run."""
        require(run.epoch > self._epochs.get(run.run_id, 0), "two drivers own the same epoch")
        require(run.run_id not in self._over, "a run that is over was opened")
        self._epochs[run.run_id] = run.epoch
        self._promises[run.run_id, run.epoch] = promise
        self._over.update(run.closed)
        return run

    def ended(self, run_id: str) -> None:
        """A run was cancelled, or closed by another: nothing of it happens from now on."""
        self._over.add(run_id)

    def fenced(self, run_id: str, epoch: int) -> None:
        """A driver changed something for its run: it must own it."""
        require(run_id not in self._over, "a run that was cancelled or closed changed something")
        require(self._epochs[run_id] == epoch, "a driver that was taken over changed something")

    def closed(self, run_id: str, epoch: int) -> None:
        """A driver closed its run; asking twice is fine."""
        require(self._epochs[run_id] == epoch, "a driver that was taken over closed the run of its successor")
        self._over.add(run_id)

    def began(self, task: Task, promise: Promise) -> None:
        """A driver hands out a task."""
        if promise.claims:
            self.claims.began(task, promise, self.state.live.values())

    def reported(self, closed: RunClosed, promise: Promise) -> None:
        """A driver told how its run ended."""
        if closed.status == "done":
            require(promise.plan <= promise.done_hours, "a run was done without all its shards")
        written = {window for window, outcome in promise.done.items() if outcome in WRITTEN}
        failed = {one.window for one in closed.failures}
        require(not failed & written, "a shard was reported as failed, and it is committed")
        require(closed.committed == len(written), "a run reported other commits than it made")
        require(closed.rows.read == sum(promise.read.values()), "a run reported other rows than it committed")

    # ---- commits -----------------------------------------------------------------------------------------

    def committed(self, request: CommitRequest, receipt: Receipt) -> None:
        """Judge a commit that was just made, or asked for again."""
        promise = self._promises[request.run_id, request.epoch]
        promise.done.update(receipt.outcomes)
        entries = [entry for entry in self.state.ledger[self._ledger_read :] if entry.seq == receipt.commit_seq]
        asked = [entry for entry in self.state.ledger if entry.seq == receipt.commit_seq] if receipt.outcomes else []
        written = [entry.shard for entry in asked if entry.outcome in WRITTEN]
        promise.read.update({(shard.window, receipt.commit_seq): shard.result.accounts.read for shard in written})
        if not entries:
            require(all(entry.run_id == request.run_id for entry in asked), "a run was told of a commit that another made")
            return
        self.commits += 1
        self.fenced(request.run_id, request.epoch)
        windows = sorted(entry.shard.window for entry in entries)
        require(all(not a.meets(b) for a, b in itertools.pairwise(windows)), "shards of one commit overlap")
        require({entry.shard.window: entry.outcome for entry in entries} == dict(receipt.outcomes), "the receipt is not the ledger")
        require(all(_balance(entry.shard.result.accounts) for entry in entries), "accounts that do not balance were committed")
        judge = CommitJudge(self.state, self.store, self.source, self._live_before, self._made, self.read)
        for entry in entries:
            judge.judge(request, promise, entry)
        if promise.atomic:
            _judge_whole(promise, receipt.outcomes)
        self.look()
        windows_written = {entry.shard.window for entry in entries if entry.outcome in WRITTEN}
        self._published |= self.source.uids().intersection(self._visible(windows_written))
        self.claims.committed(request, receipt.commit_seq, receipt.outcomes)


def _judge_whole(promise: Promise, outcomes: Mapping[Window, Outcome]) -> None:
    there = {hour for window in outcomes for hour in hours(window)}
    require(promise.plan <= there, "an atomic backfill is visible in part")
    mixed = Outcome.SUPERSEDED in outcomes.values() and any(one in WRITTEN for one in outcomes.values())
    require(not mixed, "an atomic backfill is visible in part, the rest is superseded")


def _balance(accounts: Accounts) -> bool:
    went = accounts.loaded + accounts.filtered + accounts.duplicate + accounts.quarantined
    return accounts.read + accounts.expanded == went
