"""The driver: owns one run. It does what the coordinator commands and tells it what came of it; it decides nothing.

A run is stopped through its StopFlag, from any thread.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import assert_never

from raypipe.core import events as ev
from raypipe.core.accounts import Accounts
from raypipe.core.claims import Claimant
from raypipe.core.commands import Command, Commit, Dispatch, Finish, GiveUp, RecordFailures, Replan
from raypipe.core.coordinator import Coordinator
from raypipe.core.grouping import SHARDS_MAX, TaskLimits
from raypipe.core.plan import Scope
from raypipe.core.retry import Retries
from raypipe.core.shard import Shard, Task
from raypipe.core.state import OpenedRun, RunOpening, RunState
from raypipe.core.stragglers import USUAL_LIMITS, StragglerLimits
from raypipe.core.window import Window
from raypipe.errors import (
    CommitUnknown,
    Fenced,
    Interrupted,
    RetryableError,
    ShardError,
    SourceUnreadable,
    StagedDamaged,
    StopError,
)
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Claims, Clock, Completion, Destination, Executor, Observer, Staged, StageStore, StopFlag
from raypipe.runtime.claiming import Claiming, NoClaims
from raypipe.runtime.planner import Planned, Planner, unreadable_text
from raypipe.runtime.scanning import Scanner
from raypipe.runtime.settling import Settler
from raypipe.runtime.stopping import WAIT_MAX_S, Stopping
from raypipe.runtime.task_errors import end_by_error

AHEAD = 2  # tasks handed out for each slot: while the driver commits, workers go on with the next ones
HEARTBEAT_S = 15.0  # well below the limit after which another process may take a run over
MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSettings:
    """What a run is told besides its plan."""

    pipeline: str
    executor: str
    """One phrase for the person."""
    memory_bytes: int
    atomic: bool
    retries: Retries
    task_timeout_s: float
    task_shards_max: int = SHARDS_MAX
    divisible: frozenset[str] = frozenset()
    """The outputs whose contribution may be computed in pieces of a shard's time."""
    stragglers: StragglerLimits = USUAL_LIMITS


class Driver:
    """Runs a plan to its end. The same under every executor; lives in the launcher's process or in a Ray actor."""

    def __init__(
        self,
        settings: DriverSettings,
        opening: RunOpening,
        planner: Planner,
        destination: Destination,
        executor: Executor,
        stages: StageStore,
        observer: Observer,
        clock: Clock,
        stop: StopFlag,
        prepare: Callable[[], object] = lambda: None,
        claims: Claims | None = None,
    ) -> None:
        self._settings = settings
        self._opening = opening
        self._planner = planner
        self._destination = destination
        self._executor = executor
        self._stages = stages
        self._tell = observer.on
        self._clock = clock
        self._prepare = prepare
        """Called when there is work, before the run opens: what it raises ends the run before there is one."""
        self._stopping = Stopping(stop, clock)
        self._settler = Settler(self._stopping, self._tell)
        claimant = Claimant(opening.run_id, opening.holder, atomic=settings.atomic)
        self._claiming = Claiming(claims or NoClaims(), claimant, self._stopping, self._tell)
        self._scanner = Scanner(executor, self._stopping, self._tell, self._meanwhile, attempts=settings.retries.attempts)
        self._run: OpenedRun | None = None
        self._planned_seq = 0
        """The last commit that the plan saw."""
        self._staged: dict[str, Staged] = {}
        self._unsettled: dict[str, set[Window]] = {}
        """By attempt, the shards whose commit is not known yet; the attempt's files are kept as long."""
        self._by_others: set[str] = set()
        """Attempts that were taken over from earlier runs."""
        self._deadlines: dict[str, tuple[float, Task]] = {}
        self._deferred: list[ev.TaskEnded | ev.TaskFailed] = []
        self._told_to_stop = False
        self._heartbeat_s = 0.0
        self._started_s = clock.monotonic_s()

    # ---- the run ------------------------------------------------------------------------------------------

    def run(self) -> ev.RunClosed:
        """Plan, work, commit, close.

        Raises Fenced, InDoubt, RunIsAlive, DestinationBusy, Interrupted after a second signal, SourceUnreadable when nothing
        is planned and yet a file cannot be read, and what `prepare` raises. Whatever it raises, the executor is closed.
        """
        try:
            return self._planned_run()
        finally:
            self._executor.close(at_once=True)
            self._claiming.close()

    def _planned_run(self) -> ev.RunClosed:
        try:
            planned = self._claiming.planned_within(self._planner.asked, lambda: self._planner.first(self._scanner.scan))
        except Interrupted:
            return self._unopened(None, self._stopping.signal)
        self._planned_seq = planned.snapshot.commit_seq
        remarks = planned.plan.remarks if self._planner.scope is Scope.DUE else ()
        self._tell(ev.Planned(planned.plan.shards, (), planned.plan.failures, outside=planned.outside, remarks=remarks))
        if self._has_nothing_to_do(planned):
            return self._unopened(planned, None)
        if self._stopping.signal is not None:
            return self._unopened(planned, self._stopping.signal)
        self._prepare()
        run = self._run = self._open(replace(self._opening, outside=planned.outside))
        try:
            self._tell(ev.RunOpened(self._settings.pipeline, run.run_id, run.epoch, self._settings.executor))
            for closed in run.closed:
                self._tell(ev.Warned(f"run {closed} was left open by a process that is gone; it was closed"))
            return self._work(run, planned)
        except (StopError, RetryableError):
            raise  # the run is not ours any more, or its destination does not answer, or there is no time for it
        except Exception:
            with contextlib.suppress(Exception):  # an end that nobody planned for; the first error is the one to show
                self._destination.close_run(run.run_id, run.epoch, RunState.FAILED)
            raise

    def _has_nothing_to_do(self, planned: Planned) -> bool:
        """Tell whether no shard is to be done, and the views stand as they should: other ones are made when a run opens."""
        if planned.plan.shards or planned.plan.failures:
            return False
        if planned.unreadable:
            raise SourceUnreadable(unreadable_text(planned.unreadable))
        return planned.snapshot.views == self._opening.views

    def _open(self, opening: RunOpening) -> OpenedRun:
        try:
            return self._destination.open_run(opening)
        except CommitUnknown:  # it may be open, and then by this holder, who may take it over
            return self._settler.settled(lambda: self._destination.open_run(opening))

    def _work(self, run: OpenedRun, planned: Planned) -> ev.RunClosed:
        settings, slots = self._settings, self._executor.slots
        size_bytes = max(MIB, settings.memory_bytes // max(1, slots) // 8)
        limits = TaskLimits(
            slots * AHEAD, size_bytes, settings.task_shards_max, workers=slots if self._executor.has_workers_apart else 0
        )
        coordinator = Coordinator(
            run, limits, settings.retries, atomic=settings.atomic, divisible=settings.divisible, stragglers=settings.stragglers
        )
        self._heartbeat_s = self._now_s()
        commands: deque[Command] = deque(coordinator.handle(self._adopted(run, planned), self._now_s()))
        while True:
            while commands:
                command = commands.popleft()
                if isinstance(command, Finish):
                    return self._close(run, coordinator, command.status, planned)
                commands.extend(self._perform(command, run, coordinator))
            commands.extend(self._next_events(coordinator))

    def _adopted(self, run: OpenedRun, planned: Planned) -> ev.Planned:
        """Take over what earlier runs staged and is still right; the rest is planned."""
        adopted, rest = self._stages.adopt(planned.plan.shards, self._planner.fingerprints, run.run_id, run.epoch)
        for staged in adopted:
            self._by_others.add(staged.task.attempt_id)
            self._keep(staged)
        ended = tuple(ev.TaskEnded(staged.task, staged.results, ()) for staged in adopted)
        if ended:
            self._tell(ev.Adopted(ended))
        return ev.Planned(tuple(rest), (), planned.plan.failures, ended, outside=planned.outside)

    def _perform(self, command: Command, run: OpenedRun, coordinator: Coordinator) -> list[Command]:
        match command:
            case Dispatch(task, straggler):
                if held := self._kept_from_starting(task):
                    return self._feed(coordinator, held)
                self._deadlines[task.attempt_id] = (self._due_s(task), task)
                self._executor.submit_task(task.attempt_id, task)
                self._tell(ev.TaskStarted(task, straggler))
                return []
            case GiveUp(task):
                self._give_up(task)
                return []
            case Commit():
                return self._commit(command, coordinator)
            case Replan():
                return self._replan(command, run, coordinator)
            case RecordFailures(failures):
                self._settler.settled(lambda: self._destination.record_failures(run.run_id, run.epoch, failures))
                return []
            case Finish():
                raise AssertionError("the loop ends before a Finish is performed")
            case _:
                assert_never(command)

    def _kept_from_starting(self, task: Task) -> ev.TaskHeld | None:
        """Return why a task is not started: other runs work on its shards, or a stop was told since it was decided."""
        if self._told_to_stop:
            return ev.TaskHeld(task, frozenset(shard.window for shard in task.shards), frozenset())
        return self._claiming.refused(task)

    def _replan(self, command: Replan, run: OpenedRun, coordinator: Coordinator) -> list[Command]:
        self._claiming.before_planning()
        try:
            made = self._settler.settled(
                lambda: self._planner.again(
                    command.windows, command.reasons, run.definitions, self._scanner.scan, self._planned_seq
                )
            )
        except Interrupted:
            return self._notice_stop(coordinator)
        self._claiming.planned(made.shards)
        return self._feed(coordinator, ev.Planned(made.shards, made.satisfied, made.failures, again=True))

    def _next_events(self, coordinator: Coordinator) -> list[Command]:
        """Wait for something to happen, a moment at most, and tell the coordinator."""
        due_s = coordinator.next_s
        wait_s = WAIT_MAX_S if due_s is None else min(WAIT_MAX_S, max(0.0, due_s - self._now_s()))
        self._meanwhile([] if self._deferred else self._executor.wait(wait_s))
        happened, self._deferred = [*self._deferred, *self._overdue()], []
        commands = self._notice_stop(coordinator)  # first: what happened may make room for new work
        commands += [command for event in happened if coordinator.awaits(event.task) for command in self._feed(coordinator, event)]
        return commands + coordinator.decide(self._now_s())

    def _meanwhile(self, completions: Sequence[Completion]) -> int:
        """Take what ended, for the coordinator to hear of, and say that this owner is alive; return the tasks in flight."""
        for completion in completions:
            event = self._event_of(completion)
            if event is not None:
                self._deferred.append(event)
        self._beat()
        return len(self._deadlines)

    def _event_of(self, completion: Completion) -> ev.TaskEnded | ev.TaskFailed | None:
        found = self._deadlines.pop(str(completion.key), None)
        if found is None:
            return None  # it was given up as overdue, or is a scan of a plan that was broken off: nothing to us
        _, task = found
        if completion.error is not None:
            self._claiming.release(task.attempt_id, done=False)
            return end_by_error(task, completion.error)
        staged = completion.value
        assert isinstance(staged, Staged)
        self._keep(staged)
        size_bytes = sum(getattr(rows, "nbytes", 0) for rows in staged.tables.values())  # rows of a simulation are lists
        return ev.TaskEnded(task, staged.results, staged.failures, size_bytes)

    def _due_s(self, task: Task) -> float:
        return self._now_s() + AHEAD * self._settings.task_timeout_s * len(task.shards)

    def _overdue(self) -> list[ev.TaskFailed]:
        now_s = self._now_s()
        late = [task for due_s, task in self._deadlines.values() if due_s < now_s]
        waiting = [task for task in late if self._executor.is_waiting(task.attempt_id)]  # other runs have the workers
        self._deadlines |= {task.attempt_id: (self._due_s(task), task) for task in waiting}
        late = [task for task in late if task not in waiting]
        for task in late:
            self._give_up(task)
        text = f"it took longer than run.shard_timeout ({self._settings.task_timeout_s:g} s)"
        return [ev.TaskFailed(task, "timeout", text) for task in late]

    def _give_up(self, task: Task) -> None:
        """Wait no longer for an attempt; where it has ended just now, what it left is of no use to anyone."""
        attempt = task.attempt_id
        if self._deadlines.pop(attempt, None) is not None:
            self._executor.give_up(attempt)
        elif attempt in self._staged:
            del self._unsettled[attempt]
            self._stages.release(self._staged.pop(attempt))
        self._claiming.release(attempt, done=False)

    def _notice_stop(self, coordinator: Coordinator) -> list[Command]:
        signal = self._stopping.signal
        if signal is None:
            return []
        commands: list[Command] = []
        if not self._told_to_stop:
            self._told_to_stop = True
            commands = self._feed(coordinator, ev.StopAsked(signal))
        if self._stopping.grace_is_over:
            coordinator.abandon()
            self._deadlines.clear()
        return commands

    # ---- the destination ----------------------------------------------------------------------------------

    def _commit(self, command: Commit, coordinator: Coordinator) -> list[Command]:
        started_s = self._now_s()
        request = command.request
        windows = tuple(shard.window for shard in request.shards)
        staged = [self._staged[attempt] for attempt in command.attempts]
        event: ev.RunEvent
        try:
            receipt = self._settler.settled(lambda: self._destination.commit(request, staged))
        except StagedDamaged as error:
            self._tell(ev.Warned(f"{error}; the work is done again"))
            event = ev.GroupRefused(windows, error.code, str(error), relist=True)
        except ShardError as error:
            in_parts = len(windows) > 1 and not request.atomic
            by_others = not self._by_others.isdisjoint(command.attempts)  # the same work would be found and refused for ever
            event = ev.GroupRefused(windows, error.code, str(error), relist=by_others and not in_parts)
            if in_parts:
                return self._feed(coordinator, event)  # its parts are tried apart: what is staged is still needed
        else:
            event = ev.GroupCommitted(receipt, tuple(shard.result for shard in request.shards), self._now_s() - started_s)
        settled = frozenset(windows)
        for attempt in command.attempts:
            self._settle(attempt, settled)
        return self._feed(coordinator, event)

    def _keep(self, staged: Staged) -> None:
        attempt = staged.task.attempt_id
        self._staged[attempt] = staged
        self._unsettled[attempt] = {result.window for result in staged.results}
        self._settle(attempt, frozenset())

    def _settle(self, attempt: str, windows: frozenset[Window]) -> None:
        """Let go of an attempt once each of its shards is committed, left out or refused."""
        self._unsettled[attempt] -= windows & self._unsettled[attempt]  # an attempt has few of the windows of a commit
        if not self._unsettled[attempt]:
            del self._unsettled[attempt]
            self._stages.release(self._staged.pop(attempt))
            self._claiming.release(attempt, done=True)

    def _beat(self) -> None:
        if self._run is None or self._now_s() - self._heartbeat_s < HEARTBEAT_S:
            return
        self._heartbeat_s = self._now_s()
        self._claiming.renew()
        with contextlib.suppress(RetryableError):  # it is for liveness only; the next commit waits properly
            self._destination.heartbeat(self._run.run_id, self._run.epoch)

    def _close(self, run: OpenedRun, coordinator: Coordinator, status: str, planned: Planned) -> ev.RunClosed:
        state = RunState.DONE if status == "done" else RunState.FAILED
        try:
            watermark_us = self._settler.settled(lambda: self._destination.close_run(run.run_id, run.epoch, state))
        except Fenced:
            if status in ("done", "failed"):
                raise
            watermark_us = self._settler.settled(self._destination.snapshot).watermark_us
        planned_count, committed, failed, skipped = coordinator.counts
        return self._closed(
            ev.RunClosed(
                status, planned_count, committed, failed, skipped, coordinator.rows, self._now_s() - self._started_s,
                watermark_us, coordinator.failures, _span(planned.plan.shards),
            )
        )  # fmt: skip

    def _unopened(self, planned: Planned | None, signal: str | None) -> ev.RunClosed:
        """End before a run was opened: nothing is to do, or a signal came."""
        status = {None: "done", "SIGTERM": "terminated"}.get(signal, "interrupted")
        count = len(planned.plan.shards) if planned else 0
        watermark_us = planned.snapshot.watermark_us if planned else None
        return self._closed(ev.RunClosed(status, count, 0, 0, count, Accounts(), self._now_s() - self._started_s, watermark_us))

    def _closed(self, closed: ev.RunClosed) -> ev.RunClosed:
        self._tell(closed)
        return closed

    # ---- small things -------------------------------------------------------------------------------------

    def _feed(self, coordinator: Coordinator, event: ev.RunEvent) -> list[Command]:
        self._tell(event)
        return coordinator.handle(event, self._now_s())

    def _now_s(self) -> float:
        return self._clock.monotonic_s()


def _span(shards: Sequence[Shard]) -> Window | None:
    if not shards:
        return None
    return Window(min(one.window.start_us for one in shards), max(one.window.end_us for one in shards))
