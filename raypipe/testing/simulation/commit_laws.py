"""The laws of one commit: what was written is a reading of the source that keeps the promise of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raypipe.core.commit import CommitRequest
from raypipe.core.shard import Outcome
from raypipe.core.state import LiveRange
from raypipe.core.window import Window
from raypipe.destinations.memory_state import MemoryStore, PipelineState
from raypipe.ports import QUARANTINE_TABLE
from raypipe.testing.simulation.rows import HOUR_US, OUTPUTS, Contribution, Rules, contribution, rules_of
from raypipe.testing.simulation.source import File, SourceHistory

CELL_HOURS_MAX = 4  # the widest shards
WRITTEN = (Outcome.LOADED, Outcome.EMPTY)


class Violation(BaseException):
    """A law does not hold. No handler of raypipe may take it for an error that it knows."""


def require(fact: bool, text: str) -> None:
    """Raise Violation unless the fact holds."""
    if not fact:
        raise Violation(text)


def hours(window: Window) -> range:
    """Return the hours of a window: the finest that ranges are cut at here."""
    return range(window.start_us // HOUR_US, window.end_us // HOUR_US)


@dataclass
class Promise:
    """What one driver said that it would do, and what it did."""

    planned_at: int
    """The moment of the source at which it began: what it commits is from then or later."""
    atomic: bool
    accept_shrunk: bool
    plan: set[int] = field(default_factory=set)
    """The hours of its first plan."""
    done: dict[Window, Outcome] = field(default_factory=dict)

    @property
    def done_hours(self) -> set[int]:
        """The hours that it committed or found done."""
        return {hour for window in self.done for hour in hours(window)}


@dataclass(frozen=True, slots=True)
class CommitJudge:
    """Judges the shards of one commit, by what was live before it."""

    state: PipelineState
    store: MemoryStore
    source: SourceHistory
    before: Mapping[tuple[str, Window], LiveRange]
    made: dict[Any, Contribution]
    """Contributions that were computed already: the same are asked for again and again."""
    files: dict[tuple[Window, int], int]
    """From how few files each range can have been made, by its window and commit."""

    def judge(self, request: CommitRequest, promise: Promise, window: Window, outcome: Outcome) -> None:
        """Judge one shard."""
        if outcome in WRITTEN:
            rules = self._rules(request.definitions)
            require(
                self.is_reading(window, rules, promise.planned_at), "what was committed is no reading of the source since its plan"
            )
            self._remember_files(window, self.state.live["clean", window].seq, rules, promise.planned_at)
            for (output, old), live in self.before.items():
                if old.meets(window):
                    require(live.definition <= request.definitions[output], "an older definition replaced a newer one")
                    require(
                        promise.accept_shrunk or self._has_files(live, promise.planned_at), "a source that shrank replaced rows"
                    )
        elif outcome is Outcome.SATISFIED:
            for output in OUTPUTS:
                self._judge_satisfied(request, promise, window, output)

    def _judge_satisfied(self, request: CommitRequest, promise: Promise, window: Window, output: str) -> None:
        met = [live for (name, there), live in self.state.live.items() if name == output and there.meets(window)]
        require(set(hours(window)) <= {hour for live in met for hour in hours(live.window)}, "a shard was settled that is not done")
        for live in met:
            require(live.definition >= request.definitions[output], "a run settled a shard with an older definition")
            rules = self.rules_of_live(live.window)
            require(self.is_reading(live.window, rules, promise.planned_at), "a run settled a shard with input older than its plan")

    def rules_of_live(self, window: Window) -> Rules:
        """Return the definition that a live range was made by."""
        return self._rules({output: self.state.live[output, window].definition for output in OUTPUTS})

    def is_reading(self, window: Window, rules: Rules, since: int) -> bool:
        """Tell whether the tables hold for a range what the source gave at some moment since then."""
        return any(self._is_there(window, self.expected(one, window, rules)) for one in range(self.source.now, since - 1, -1))

    def _is_there(self, window: Window, one: Contribution) -> bool:
        tables = self.store.tables
        there = {output: tables.get(output, {}).get(window) for output in OUTPUTS}
        there[QUARANTINE_TABLE] = self.state.quarantine.get(window)
        return one.tables == there

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

    def _has_files(self, before: LiveRange, since: int) -> bool:
        """Tell whether the source had, at some moment since, as many files for a range as the range was made from."""
        counts = (sum(_meets(file, before.window) for file in files.values()) for files in self.source.history[since:])
        return any(count >= self.files[before.window, before.seq] for count in counts)

    def _remember_files(self, window: Window, seq: int, rules: Rules, since: int) -> None:
        """Note from how few files a range can have been made."""
        moments = [one for one in range(since, self.source.now + 1) if self._is_there(window, self.expected(one, window, rules))]
        self.files[window, seq] = min(
            sum(_has_rows(file, window) for file in self.source.history[one].values()) for one in moments
        )  # fmt: skip


def _has_rows(file: File, window: Window) -> bool:
    return any(window.start_us <= row.time_us < window.end_us for row in file.rows)


def _meets(file: File, window: Window) -> bool:
    """Tell whether a source may count a file for a window: by the time from its first to its last row, or by wide cells."""
    times = [row.time_us for row in file.rows]
    reach_us = (CELL_HOURS_MAX - 1) * HOUR_US
    return bool(times) and min(times) - reach_us < window.end_us and window.start_us <= max(times) + reach_us
