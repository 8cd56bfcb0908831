"""The laws of one commit: what was written is a reading of the source that keeps the promise of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from raypipe.core.accounts import Accounts, total
from raypipe.core.commit import ACCEPTED, CommitRequest
from raypipe.core.intervals import normalise
from raypipe.core.merge import DELETED_COLUMN
from raypipe.core.plan import SHRUNK, Scope
from raypipe.core.shard import Observed, Outcome
from raypipe.core.state import LiveRange, Snapshot
from raypipe.core.window import Window
from raypipe.destinations.memory_state import LedgerEntry, MemoryStore, PipelineState
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import QUARANTINE_TABLE
from raypipe.testing.simulation.promise import Promise, Violation, hours, require
from raypipe.testing.simulation.rows import OUTPUTS, Contribution, Rules, contribution, rules_of
from raypipe.testing.simulation.source import File, SourceHistory

WRITTEN = (Outcome.LOADED, Outcome.EMPTY)


Identity = tuple[Window, int]
"""A range and the commit that put it there."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one commit read and put there for a range: it stands for itself, also where the range was compacted since."""

    window: Window
    tables: Mapping[str, Any]
    accounts: Accounts
    rules: Rules
    files: int
    """From how few files it can have been made, or was accepted."""
    accepted: range = range(0)
    """The moments of the source for any of which somebody may have said that it stands."""


@dataclass(slots=True)
class Readings:
    """All that was ever committed, and which of it a live range is made up of."""

    of_commit: dict[Identity, Reading] = field(default_factory=dict)
    merged: dict[Identity, tuple[Reading, ...]] = field(default_factory=dict)

    def of(self, live: LiveRange) -> tuple[Reading, ...]:
        """Return what a live range is made up of, in order."""
        identity = (live.window, live.seq)
        return self.merged.get(identity) or (self.of_commit[identity],)


@dataclass(frozen=True, slots=True)
class CommitJudge:
    """Judges the shards of one commit, by what was live before it."""

    state: PipelineState
    store: MemoryStore
    source: SourceHistory
    before: Mapping[tuple[str, Window], LiveRange]
    made: dict[Any, Contribution]
    """Contributions that were computed already: the same are asked for again and again."""
    read: Readings
    """What was committed until now."""

    def judge(self, request: CommitRequest, promise: Promise, entry: LedgerEntry) -> None:
        """Judge one shard."""
        window, accounts = entry.shard.window, entry.shard.result.accounts
        if entry.outcome in WRITTEN:
            self._judge_written(request, promise, window, accounts)
        elif entry.outcome is Outcome.SATISFIED:
            for output in OUTPUTS:
                self._judge_satisfied(request, promise, window, output)
        elif entry.outcome is Outcome.COMPACTED:
            self._judge_compacted(window, accounts)
        elif entry.outcome in ACCEPTED:
            self._judge_accepted(request, promise, window, entry.outcome)

    def _judge_written(self, request: CommitRequest, promise: Promise, window: Window, accounts: Accounts) -> None:
        rules = self._rules(request.definitions)
        tables = self._tables(window)
        made = {one: self.expected(one, window, rules) for one in range(promise.planned_at, self.source.now + 1)}
        moments = [one for one, there in made.items() if there.tables == tables and there.accounts == accounts]
        require(bool(moments), "what was committed is no reading of the source since its plan")
        files = min(self._files(one, window) for one in moments)
        self._judge_lateness(promise, window)
        self.read.of_commit[window, self.state.live["clean", window].seq] = Reading(window, tables, accounts, rules, files)
        for (output, old), live in self.before.items():
            if old.meets(window):
                require(live.definition <= request.definitions[output], "an older definition replaced a newer one")
                for one in self.read.of(live) if not promise.accept_shrunk else ():
                    require(self._has_files(one, promise), "a source that shrank replaced rows")

    def _judge_lateness(self, promise: Promise, window: Window) -> None:
        """A run leaves alone what is late and too old for it, and a backfill of what is held does nothing else."""
        until_us = promise.held_until_us
        if until_us is None or promise.scope not in (Scope.DUE, Scope.HELD):
            return
        seen = {live.window for live in promise.seen.live}
        old = [one for one in seen if one.end_us <= until_us and one.meets(window)]
        if promise.scope is Scope.HELD:
            require(bool(old), "a backfill of what is held did something else")
            return
        young = {hour for one in seen if one.end_us > until_us for hour in hours(one)}
        failed = {hour for one in promise.seen.failed if one.code != SHRUNK for hour in hours(one.window)}
        known = {hour for one in seen for hour in hours(one)}
        there = {live.window for live in self.before.values() if live.observed in _identities(promise.seen)}
        wanted = any(hour not in known or hour in young or hour in failed for hour in hours(window))
        require(wanted or there.isdisjoint(old), "a run did again what is held")

    def _judge_accepted(self, request: CommitRequest, promise: Promise, window: Window, outcome: Outcome) -> None:
        """Compare an accepted range with what it was: it says the same rows, and else only what somebody looked at."""
        for output in OUTPUTS:
            old, new = self.before.get((output, window)), self.state.live.get((output, window))
            if old is None or new is None:
                raise Violation("what is not live was accepted")
            require(old.observed in _identities(promise.seen), "what nobody had looked at was accepted")
            if outcome is Outcome.ACCEPTED_STALE:
                require(new.definition >= old.definition, "an acceptance went back to an older definition")
                require(new == replace(old, definition=request.definitions[output]), "an acceptance hid more than a definition")
            else:
                said = replace(old, input_fp=new.input_fp, files=new.files, parts=new.parts)
                require(new == said, "an acceptance changed more than what a range was made from")
        if outcome is Outcome.ACCEPTED_SHRUNK:
            self._take_shrunk(promise, self.before["clean", window], self.state.live["clean", window])

    def _take_shrunk(self, promise: Promise, old: LiveRange, new: LiveRange) -> None:
        """Note for which input the parts of a range stand from now on."""
        require([one.window for one in old.inputs] == [one.window for one in new.inputs], "an acceptance forgot parts of a range")
        moments = range(promise.planned_at, self.source.now + 1)
        parts = []
        for was, now, one in zip(old.inputs, new.inputs, self.read.of(old), strict=True):
            if was != now:
                files = min(self._files(moment, was.window) for moment in moments)
                require(files < was.files, "rows were accepted as gone whose files are there")
                one = replace(one, files=files, accepted=moments)
            parts.append(one)
        self.read.merged[new.window, new.seq] = tuple(parts)

    def _judge_satisfied(self, request: CommitRequest, promise: Promise, window: Window, output: str) -> None:
        met = [live for (name, there), live in self.state.live.items() if name == output and there.meets(window)]
        require(set(hours(window)) <= {hour for live in met for hour in hours(live.window)}, "a shard was settled that is not done")
        for live in met:
            require(live.definition >= request.definitions[output], "a run settled a shard with an older definition")
            for one in self.read.of(live):
                require(self.is_reading(one, promise.planned_at), "a run settled a shard with input older than its plan")

    def _judge_compacted(self, window: Window, accounts: Accounts) -> None:
        """Compare a compacted range with what was live in it: the same readings, which say the same to a reader."""
        now = self.state.live["clean", window]
        old = sorted((live for (name, there), live in self.before.items() if name == "clean" and there.meets(window)), key=_window)
        require(normalise(live.window for live in old) == (window,), "a compaction took in what was not live, or cut a range")
        for output in OUTPUTS:
            made_by = {live.definition for (name, there), live in self.before.items() if name == output and there.meets(window)}
            require(made_by == {self.state.live[output, window].definition}, "a compaction mixed definitions")
        parts = tuple(one for live in old for one in self.read.of(live))
        require([part.window for part in now.parts] == [one.window for one in parts], "a compacted range forgot its parts")
        require(now.parts == tuple(part for live in old for part in live.inputs), "a compacted range forgot the input of its parts")
        require(accounts == total(one.accounts for one in parts), "a compaction changed the accounts")
        now_says = Reading(window, self._tables(window), accounts, parts[0].rules, 0)
        require(_as_one(parts) == _as_one([now_says]), "a compaction changed a table")
        self.read.merged[window, now.seq] = parts

    def is_reading(self, one: Reading, since: int) -> bool:
        """Tell whether what was committed is what the source gave at some moment since then, or what it stands for."""
        stands_for = [one.tables, *(self.expected(moment, one.window, one.rules).tables for moment in one.accepted)]
        moments = range(self.source.now, since - 1, -1)
        return any(self.expected(moment, one.window, one.rules).tables in stands_for for moment in moments)

    def _tables(self, window: Window) -> Mapping[str, Any]:
        tables = self.store.tables
        there = {output: tables.get(output, {}).get(window) for output in OUTPUTS}
        return {**there, QUARANTINE_TABLE: self.state.quarantine.get(window)}

    def expected(self, moment: int, window: Window, rules: Rules) -> Contribution:
        """Return what a range contributes by the source of a moment."""
        key = (moment, window.start_us, window.end_us, rules)
        found = self.made.get(key)
        if found is None:
            found = self.made[key] = contribution(window, self.source.reading(moment, window), rules)
        return found

    def _rules(self, definitions: Mapping[str, int]) -> Rules:
        made_by = {output: self.state.definitions[output][version - 1].fingerprint for output, version in definitions.items()}
        rules = rules_of(made_by["clean"], made_by["totals"])
        require(rules is not None, "one shard was made by two definitions")
        assert rules is not None
        return rules

    def _has_files(self, before: Reading, promise: Promise) -> bool:
        """Tell whether the source had, at some moment since, as many files for a range as the range was made from."""
        moments = range(promise.planned_at, self.source.now + 1)
        return any(self._files(moment, before.window) >= before.files for moment in moments)

    def _files(self, moment: int, window: Window) -> int:
        """Return how many files had rows of a window at a moment."""
        return sum(_has_rows(file, window) for file in self.source.history[moment].values())


def _as_one(readings: Sequence[Reading]) -> Any:
    """Return what readings say to a reader together: rows, rows set aside, sums by key, and the newest row of each key."""
    rows = {name: [row for one in readings for row in one.tables[name]] for name in (*OUTPUTS, QUARANTINE_TABLE)}
    sums: dict[int, tuple[int, int]] = {}
    newest: dict[int, Any] = {}
    for row in rows["totals"]:
        total, count = sums.get(row["key"], (0, 0))
        sums[row["key"]] = (total + row["sum.sum"], count + row["count.count"])
    for row in rows["newest"]:
        version = (row["revision"], row["_time"], row["uid"], row["value"], row[DELETED_COLUMN])
        newest[row["key"]] = max(version, newest.get(row["key"], (-1,)))
    unions = [sorted(row["uid"] for row in rows[name]) for name in ("clean", QUARANTINE_TABLE)]
    return unions, sums, newest


def _identities(snapshot: Snapshot) -> set[Observed]:
    return {live.observed for live in snapshot.live}


def _window(live: LiveRange) -> Window:
    return live.window


def _has_rows(file: File, window: Window) -> bool:
    return any(window.start_us <= row.time_us < window.end_us for row in file.rows)
