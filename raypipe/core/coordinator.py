"""Coordinator: the state of one run in its owner's memory. Facts go in as events, decisions come out as commands.

It does no input or output and has no clock: the simulation drives the same object as the driver does. Losing it
loses nothing that is committed; safety is the destination's (core/commit.py), this is order and progress.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from raypipe.core import events as ev
from raypipe.core.accounts import Accounts, total
from raypipe.core.commands import Command, Commit, Dispatch, Finish, GiveUp, RecordFailures, Replan
from raypipe.core.commit import Receipt, ShardCommit
from raypipe.core.commit_groups import commit_groups, commit_of
from raypipe.core.flights import Flights
from raypipe.core.grouping import TaskLimits, group_shards
from raypipe.core.retry import Retries
from raypipe.core.room import Room, next_room
from raypipe.core.shard import Outcome, Reason, Shard, ShardFailure, ShardResult, Task
from raypipe.core.state import OpenedRun
from raypipe.core.stragglers import USUAL_LIMITS, Straggler, StragglerLimits
from raypipe.core.waiting import Buffer, Waiting
from raypipe.core.window import Window
from raypipe.errors import OutOfMemory

COMMIT_INTERVAL_S = 1.0  # what is finished becomes visible, and safe from a crash, within about this time, the last within twice
COMMIT_REST = 8  # a commit is followed by this many times its own duration without one: it costs a ninth of the time at most
COMMIT_INTERVAL_MAX_S = 30.0  # also after a commit that waited minutes for another program to let go of the destination
HELD_WAIT_S = 0.25  # after this a shard that another run works on is planned again; each time twice as long
HELD_WAIT_MAX_S = 4.0
CONFLICTS_MAX = 10  # a shard that loses so often is not making progress: it fails, and says so


class Coordinator:
    """Decides what a run does next. One instance per run and owner; not thread-safe."""

    def __init__(
        self, run: OpenedRun, limits: TaskLimits, retries: Retries, *, atomic: bool,
        divisible: frozenset[str] = frozenset(), stragglers: StragglerLimits = USUAL_LIMITS,
    ) -> None:  # fmt: skip
        self._run = run
        self._divisible = divisible
        """The outputs whose contribution may be computed in pieces of the shard's time."""
        self._limits = limits
        self._retries = retries
        self._atomic = atomic
        self._queue: deque[tuple[Shard, ...]] = deque()
        self._large: deque[tuple[Shard, ...]] = deque()
        """Shards that are done alone, once nothing else is left."""
        self._rooms: dict[Window, Room] = {}
        """How each shard is done that needs another way than the first one."""
        self._flights = Flights(limits.workers, stragglers)
        self._waiting = Waiting()
        self._held = Waiting()
        """Shards that other runs work on."""
        self._held_times: dict[Window, int] = {}
        self._buffer = Buffer()
        self._apart: deque[list[ShardCommit]] = deque()
        """Groups that are a commit of their own: halves of one that was refused as a whole, shards done for other outputs."""
        self._committing: list[ShardCommit] = []
        self._to_replan: list[Window] = []
        self._replanning: tuple[Window, ...] = ()
        self._reasons: dict[Window, Reason] = {}
        """Every shard of the plan, with its reason."""
        self._failures: dict[Window, ShardFailure] = {}
        self._unrecorded: list[ShardFailure] = []
        self._attempts: dict[Window, int] = {}
        self._conflicts: dict[Window, int] = {}
        self._outcomes: dict[Window, Outcome] = {}
        self._accounts: dict[tuple[Window, int], Accounts] = {}
        """Of what was committed, by shard and commit."""
        self._commit_interval_s = COMMIT_INTERVAL_S
        self._tasks = 0
        self._stopping: str | None = None
        self._finished = False

    # ---- facts ------------------------------------------------------------------------------------------

    def handle(self, event: ev.RunEvent, now_s: float) -> list[Command]:
        """Take in what happened and return what to do, in order."""
        match event:
            case ev.Planned():
                self._planned(event, now_s)
            case ev.TaskEnded() | ev.TaskFailed() | ev.TaskHeld():
                if self.awaits(event.task) and self._flights.land(event, now_s):
                    self._settled(event, now_s)
            case ev.GroupCommitted():
                self._commit_interval_s = min(max(COMMIT_INTERVAL_S, COMMIT_REST * event.seconds), COMMIT_INTERVAL_MAX_S)
                self._committed(event.receipt)
            case ev.GroupRefused():
                self._group_refused(event)
            case ev.StopAsked():
                self._stopping = event.signal
            case (
                ev.RunOpened()
                | ev.ScanStarted()
                | ev.FileScanned()
                | ev.TaskStarted()
                | ev.Adopted()
                | ev.Warned()
                | ev.RunClosed()
            ):
                pass
            case _:
                assert_never(event)
        return self._decide(now_s)

    def _planned(self, event: ev.Planned, now_s: float) -> None:
        for window in self._replanning:  # what comes back may be wider, or satisfied
            self._reasons.pop(window, None)
        self._replanning = ()
        for failure in event.failures:
            self._fail(failure)
        for shard in event.satisfied:
            result = ShardResult(shard.window, shard.observed, shard.slices, Accounts(), {})
            self._buffer.add(result, Outcome.SATISFIED, "", now_s)
        for shard in (*event.shards, *event.satisfied):
            self._reasons[shard.window] = shard.reason
        for ended in event.adopted:
            self._reasons.update({shard.window: shard.reason for shard in ended.task.shards})
            self._task_ended(ended, now_s)
        self._queue.extend(group_shards(event.shards, self._limits))

    def awaits(self, task: Task) -> bool:
        """Tell whether the end of an attempt is news: it is in flight, and no other did its shards before it."""
        return self._flights.awaits(task)

    def _settled(self, event: ev.TaskEnded | ev.TaskFailed | ev.TaskHeld, now_s: float) -> None:
        match event:
            case ev.TaskEnded():
                self._task_ended(event, now_s)
            case ev.TaskFailed():
                self._task_failed(event, now_s)
            case ev.TaskHeld():
                self._task_held(event, now_s)

    def _task_ended(self, event: ev.TaskEnded, now_s: float) -> None:
        for result in event.results:
            outcome = Outcome.LOADED if result.accounts.read else Outcome.EMPTY
            self._buffer.add(result, outcome, event.task.attempt_id, now_s)
        self._buffer.size_bytes += event.size_bytes  # of the task: its tables hold all of its shards
        by_window = {shard.window: shard for shard in event.task.shards}
        for failure in event.failures:
            if failure.retryable:
                self._try_again((by_window[failure.window],), failure.code, failure.error, now_s)
            else:
                self._fail(failure)

    def _task_failed(self, event: ev.TaskFailed, now_s: float) -> None:
        if event.relist:
            self._plan_again((shard.window for shard in event.task.shards), event.code, event.error)
            return
        shards = event.task.shards
        # Never the same way again: a group is halved, so that one shard cannot take its neighbours down.
        if event.code == OutOfMemory.code and len(shards) > 1:  # and taken apart at once: halves might run out of it again
            for shard in shards:
                self._waiting.add(now_s, (shard,))
            return
        half = len(shards) // 2
        for part in (shards[:half], shards[half:]):
            if part:
                self._try_again(part, event.code, event.error, now_s)

    def _task_held(self, event: ev.TaskHeld, now_s: float) -> None:
        """Go on with what is free; what others work on is planned again later, what they have finished now."""
        free = tuple(shard for shard in event.task.shards if shard.window not in event.held | event.done)
        if free:
            self._queue.appendleft(free)
        self._to_replan.extend(event.done)
        for shard in event.task.shards:
            if shard.window in event.held:
                times = self._held_times[shard.window] = self._held_times.get(shard.window, 0) + 1
                self._held.add(now_s + min(HELD_WAIT_MAX_S, HELD_WAIT_S * 2 ** (times - 1)), (shard,))

    def _try_again(self, shards: tuple[Shard, ...], code: str, error: str, now_s: float) -> None:
        if len(shards) > 1:  # still narrowing down: only attempts at a single shard are counted against it
            self._waiting.add(now_s, shards)
            return
        window = shards[0].window
        failures = self._attempts[window] = self._attempts.get(window, 0) + 1
        room = next_room(self._room_of(shards), code, divisible=self._is_divisible(shards[0]))
        # Another way with memory is no repetition: all that there are may be tried, and at once.
        wait_s = self._retries.wait_s(failures) if code != OutOfMemory.code else 0.0
        if wait_s is None or room is None:
            ways = ", each in another way with memory" if code == OutOfMemory.code and failures > 1 else ""
            self._fail(ShardFailure(window, code, f"{error} (after {failures} attempt{'s' if failures > 1 else ''}{ways})"))
            return
        self._rooms[window] = room
        self._waiting.add(now_s + wait_s, shards)

    def _room_of(self, shards: tuple[Shard, ...]) -> Room:
        return self._rooms.get(shards[0].window, Room.SHARED) if len(shards) == 1 else Room.SHARED

    def _is_divisible(self, shard: Shard) -> bool:
        return self._divisible.issuperset(shard.outputs or self._run.definitions)

    def _plan_again(self, windows: Iterable[Window], code: str, error: str) -> None:
        for window in windows:
            self._conflicts[window] = self._conflicts.get(window, 0) + 1
            if self._conflicts[window] > CONFLICTS_MAX:
                self._fail(ShardFailure(window, code, f"{error} (it happened {self._conflicts[window]} times)"))
            else:
                self._to_replan.append(window)

    def _fail(self, failure: ShardFailure) -> None:
        self._failures[failure.window] = failure
        self._unrecorded.append(failure)

    def _committed(self, receipt: Receipt) -> None:
        group, self._committing = self._committing, []
        for one in group:
            outcome = receipt.outcomes.get(one.window)
            if outcome is None:
                continue
            self._outcomes[one.window] = outcome
            if self._failures:
                self._failures.pop(one.window, None)
            if outcome in (Outcome.LOADED, Outcome.EMPTY):
                self._accounts[one.window, receipt.commit_seq] = one.result.accounts
        # Of an atomic group nothing is committed after a conflict: all of it is planned again.
        left_out = (one.window for one in group if one.window not in receipt.outcomes) if self._atomic else receipt.conflicts
        self._plan_again(left_out, "conflict", "another run keeps committing this range")

    def _group_refused(self, event: ev.GroupRefused) -> None:
        group, self._committing = self._committing, []
        if event.relist:
            self._plan_again((one.window for one in group), event.code, event.error)
        elif self._atomic or len(group) == 1:
            for one in group:
                self._fail(ShardFailure(one.window, event.code, event.error))
        else:  # as with tasks, one shard cannot take its neighbours down; the earlier of two that clash is taken
            group.sort(key=lambda one: one.window)
            half = len(group) // 2
            self._apart.extend((group[:half], group[half:]))

    # ---- decisions --------------------------------------------------------------------------------------

    def decide(self, now_s: float) -> list[Command]:
        """Return what to do now; asked again whenever time has passed, when all that had happened by then is told."""
        commands = self._decide(now_s)
        if not self._giving_up:  # only here: a task may look slow as long as its end is not told
            commands.extend(self._second_attempt(one, now_s) for one in self._flights.stragglers(now_s))
        return commands

    def _decide(self, now_s: float) -> list[Command]:
        if self._finished:
            return []
        commands: list[Command] = [GiveUp(task) for task in self._flights.take_given_up()]
        if self._unrecorded:
            commands.append(RecordFailures(tuple(self._unrecorded)))
            self._unrecorded = []
        if not self._giving_up:
            commands.extend(self._dispatches(now_s))
        if self._commit_due(now_s):
            commands.append(self._commit())
        self._to_replan.extend(shard.window for shards in self._held.take_due(now_s) for shard in shards)
        if self._to_replan and not self._replanning and not self._giving_up:
            commands.append(self._replan())
        if not commands and self._idle:
            self._finished = True
            commands.append(Finish(self._status))
        return commands

    def _replan(self) -> Replan:
        self._replanning, self._to_replan = tuple(sorted(set(self._to_replan))), []
        reasons = {window: self._reasons[window] for window in self._replanning if window in self._reasons}
        return Replan(self._replanning, reasons)

    @property
    def _giving_up(self) -> bool:
        """No new work: a person said stop, or an atomic backfill can no longer succeed."""
        return self._stopping is not None or (self._atomic and bool(self._failures))

    def _dispatches(self, now_s: float) -> Iterable[Dispatch]:
        for shards in reversed(self._waiting.take_due(now_s)):
            if self._room_of(shards).is_alone:
                self._large.appendleft(shards)
            else:
                self._queue.appendleft(shards)
        if len(self._flights) == 1 and all(task.room.is_alone for task in self._flights.tasks):
            return
        while self._queue and len(self._flights) < self._limits.slots:
            yield self._dispatch(self._queue.popleft(), now_s)
        if self._large and not self._flights:
            yield self._dispatch(self._large.popleft(), now_s)

    def _dispatch(self, shards: tuple[Shard, ...], now_s: float) -> Dispatch:
        self._tasks += 1
        attempt, room = self._attempts.get(shards[0].window, 0), self._room_of(shards)
        task = Task(self._run.run_id, self._run.epoch, self._tasks, attempt, shards, room)
        self._flights.add(task, now_s)
        return Dispatch(task)

    def _second_attempt(self, straggler: Straggler, now_s: float) -> Dispatch:
        self._tasks += 1
        first = straggler.task
        task = replace(first, number=self._tasks, attempt=first.attempt + 1, beside=first.attempt_id)
        self._flights.add(task, now_s)
        return Dispatch(task, straggler)

    def _commit_due(self, now_s: float) -> bool:
        if self._committing:
            return False
        if self._atomic:
            return bool(self._buffer.shards) and self._nothing_left and not self._giving_up
        if self._apart:
            return True
        if self._buffer.since_s is None:
            return False
        return self._buffer.is_full or now_s >= self._buffer.since_s + self._commit_wait_s or self._nothing_left

    @property
    def _commit_wait_s(self) -> float:
        """How long what is finished waits for more; for the last tasks longer, since one commit is cheaper than two."""
        return self._commit_interval_s + (COMMIT_INTERVAL_S if self._flights and not self._more_to_come else 0)

    @property
    def _nothing_left(self) -> bool:
        """Nothing more will be finished, so that there is nothing to wait for with a commit."""
        return not self._flights and (self._giving_up or not self._more_to_come)

    @property
    def _more_to_come(self) -> bool:
        """Tasks will be begun that are not out yet."""
        waits = self._waiting or self._held
        return bool(self._queue or self._large or waits or self._to_replan or self._replanning)

    @property
    def _idle(self) -> bool:
        waits = self._buffer.shards or self._apart
        return self._nothing_left and not self._committing and (not waits or self._atomic)

    def _commit(self) -> Commit:
        if not self._apart:
            self._apart.extend(commit_groups(self._buffer.take(), self._run, atomic=self._atomic))
        self._committing = self._apart.popleft()
        return commit_of(self._committing, self._run, atomic=self._atomic)

    def abandon(self) -> None:
        """Forget what is in flight: its workers were told to stop, or are not waited for any longer."""
        self._queue.extend(task.shards for task in self._flights.tasks)
        self._flights.clear()

    # ---- what people ask --------------------------------------------------------------------------------

    @property
    def _status(self) -> str:
        planned, committed, failed, _ = self.counts
        if self._stopping is not None and planned > committed + failed + self._left_to_others:
            return "terminated" if self._stopping == "SIGTERM" else "interrupted"
        return "failed" if failed else "done"

    @property
    def next_s(self) -> float | None:
        """When `decide` has something to do by itself: a wait ends or a commit is due."""
        times = [one.next_s for one in (self._waiting, self._held) if one.next_s is not None]
        if self._buffer.since_s is not None and not self._atomic:
            times.append(self._buffer.since_s + self._commit_wait_s)
        return min(times, default=None)

    @property
    def failures(self) -> tuple[ShardFailure, ...]:
        """Shards that failed for good, in time order."""
        return tuple(self._failures[window] for window in sorted(self._failures))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Planned, committed, failed, skipped. Takes time with the number of shards: for the end of a run."""
        planned = len(self._reasons) + len(self._failures.keys() - self._reasons.keys())
        committed = sum(outcome in (Outcome.LOADED, Outcome.EMPTY) for outcome in self._outcomes.values())
        failed = len(self._failures)
        return planned, committed, failed, max(0, planned - committed - failed)

    @property
    def rows(self) -> Accounts:
        """Accounts of what this run committed."""
        return total(self._accounts.values())

    @property
    def _left_to_others(self) -> int:
        """Shards that other runs have done, from the same input or by a newer definition."""
        return sum(outcome in (Outcome.SATISFIED, Outcome.SUPERSEDED) for outcome in self._outcomes.values())

    def story(self, window: Window) -> str:
        """Tell in one line what became of a shard so far, for a person who looks into a run."""
        if window in self._failures:
            return f"{window}: failed: {self._failures[window].error}"
        if window in self._outcomes:
            return f"{window}: {self._outcomes[window]}"
        if any(window == shard.window for task in self._flights.tasks for shard in task.shards):
            return f"{window}: being worked on, attempt {self._attempts.get(window, 0) + 1}"
        if any(window == one.window for one in self._buffer.shards):
            return f"{window}: finished, waits for its commit"
        return f"{window}: waits"
