"""The driver: owns one run. It does what the coordinator commands and tells it what came of it; it decides nothing.

A run is stopped through its StopFlag, from any thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from raypipe.core import events as ev
from raypipe.core.accounts import Accounts
from raypipe.core.commands import Command, Commit, Dispatch, Finish, RecordFailures, Replan
from raypipe.core.commit import Receipt
from raypipe.core.coordinator import Coordinator
from raypipe.core.grouping import TaskLimits
from raypipe.core.intervals import normalise
from raypipe.core.retry import Retries
from raypipe.core.shard import InputFile, Shard, Task
from raypipe.core.state import OpenedRun, RunOpening, RunState
from raypipe.core.window import Window
from raypipe.errors import (
    CommitUnknown,
    DestinationBusy,
    Fenced,
    InDoubt,
    InputChanged,
    Interrupted,
    RaypipeError,
    ShardError,
)
from raypipe.ports import (
    Clock,
    Completion,
    Destination,
    Executor,
    FileIndex,
    Observer,
    Staged,
    StageStore,
    StopFlag,
)
from raypipe.runtime.planner import Planned, Planner, UnreadableFile

WAIT_MAX_S = 0.2  # how soon a signal is noticed
STOP_GRACE_S = 5.0  # work in flight may end within this time after a signal; container managers kill after 10 s or more
HEARTBEAT_S = 15.0  # well below the limit after which another process may take a run over
SETTLE_ATTEMPTS = 12  # with SETTLE_WAIT_S some two minutes in which a destination may come back
SETTLE_WAIT_S = 1.0
SETTLE_WAIT_MAX_S = 15.0
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
    ) -> None:
        self._settings = settings
        self._opening = opening
        self._planner = planner
        self._destination = destination
        self._executor = executor
        self._stages = stages
        self._observer = observer
        self._clock = clock
        self._staged: dict[str, Staged] = {}
        self._deadlines: dict[str, tuple[float, Task]] = {}
        self._deferred: list[ev.RunEvent] = []
        self._stop = stop
        self._stopped_s: float | None = None
        self._heartbeat_s = 0.0
        self._started_s = clock.monotonic_s()

    # ---- the run ------------------------------------------------------------------------------------------

    def run(self) -> ev.RunClosed:
        """Plan, work, commit, close. Raises Fenced, InDoubt, RunIsAlive, DestinationBusy and what the plan may raise."""
        try:
            planned = self._planner.first(self._scan)
        except Interrupted:
            return self._nothing_done(None, self._stop.signal or "SIGINT")
        self._tell(ev.Planned(planned.plan.shards, (), planned.plan.failures, outside=planned.outside))
        if not planned.plan.shards and not planned.plan.failures:
            return self._nothing_done(planned, None)
        run = self._destination.open_run(replace(self._opening, outside=planned.outside))
        self._tell(ev.RunOpened(self._settings.pipeline, run.run_id, run.epoch, self._settings.executor))
        for closed in run.closed:
            self._tell(ev.Warned(f"run {closed} was left open by a process that is gone; it was closed"))
        try:
            return self._work(run, planned)
        finally:
            self._executor.close(at_once=True)

    def _work(self, run: OpenedRun, planned: Planned) -> ev.RunClosed:
        share_bytes = self._settings.memory_bytes // max(1, self._executor.slots)
        limits = TaskLimits(slots=self._executor.slots, size_bytes=max(MIB, share_bytes // 8))
        coordinator = Coordinator(run, limits, self._settings.retries, atomic=self._settings.atomic)
        commands: deque[Command] = deque(coordinator.handle(self._adopted(run, planned), self._now_s()))
        self._heartbeat_s = self._now_s()
        while True:
            while commands:
                command = commands.popleft()
                if isinstance(command, Finish):
                    return self._close(run, coordinator, command.status, planned)
                commands.extend(self._perform(command, run, coordinator))
            commands.extend(self._next_events(run, coordinator))

    def _adopted(self, run: OpenedRun, planned: Planned) -> ev.Planned:
        """Take over what earlier runs staged and is still right; the rest is planned."""
        adopted, rest = self._stages.adopt(planned.plan.shards, self._planner.fingerprints, run.run_id, run.epoch)
        for staged in adopted:
            self._staged[staged.task.attempt_id] = staged
        ended = tuple(ev.TaskEnded(staged.task, staged.results, ()) for staged in adopted)
        return ev.Planned(tuple(rest), (), planned.plan.failures, ended, outside=planned.outside)

    def _perform(self, command: Command, run: OpenedRun, coordinator: Coordinator) -> list[Command]:
        match command:
            case Dispatch(task):
                self._deadlines[task.attempt_id] = (self._now_s() + self._settings.task_timeout_s * len(task.shards), task)
                self._executor.submit_task(task.attempt_id, task)
                self._tell(ev.TaskStarted(task))
                return []
            case Commit():
                return self._commit(command, coordinator)
            case Replan(windows, reasons):
                made = self._planner.again(windows, reasons, run.definitions, self._scan)
                return self._feed(coordinator, ev.Planned(made.shards, made.satisfied, made.failures, again=True))
            case RecordFailures(failures):
                self._destination.record_failures(run.run_id, run.epoch, failures)
                return []
            case Finish():
                raise AssertionError("the loop ends before a Finish is performed")
            case _:
                assert_never(command)

    def _next_events(self, run: OpenedRun, coordinator: Coordinator) -> list[Command]:
        """Wait for something to happen, a moment at most, and tell the coordinator."""
        commands = [command for event in self._deferred for command in self._feed(coordinator, event)]
        self._deferred = []
        due_s = coordinator.next_s
        wait_s = WAIT_MAX_S if due_s is None else min(WAIT_MAX_S, max(0.0, due_s - self._now_s()))
        for completion in self._executor.wait(wait_s):
            event = self._event_of(completion)
            if event is not None:
                commands += self._feed(coordinator, event)
        for event in self._overdue():
            commands += self._feed(coordinator, event)
        self._beat(run)
        return commands + self._notice_stop(coordinator) + coordinator.decide(self._now_s())

    def _event_of(self, completion: Completion) -> ev.RunEvent | None:
        found = self._deadlines.pop(str(completion.key), None)
        if found is None:
            return None  # it was given up as overdue: a zombie's result is nothing to us
        _, task = found
        if completion.error is None:
            staged = completion.value
            assert isinstance(staged, Staged)
            self._staged[task.attempt_id] = staged
            return ev.TaskEnded(task, staged.results, staged.failures)
        error = completion.error
        code = error.code if isinstance(error, RaypipeError) else "task_failed"
        text = str(error) if isinstance(error, RaypipeError) else f"{type(error).__name__}: {error}"
        return ev.TaskFailed(task, code, text, relist=isinstance(error, InputChanged))

    def _overdue(self) -> list[ev.TaskFailed]:
        now_s = self._now_s()
        late = [task for due_s, task in self._deadlines.values() if due_s < now_s]
        for task in late:
            del self._deadlines[task.attempt_id]
        text = f"it took longer than run.shard_timeout ({self._settings.task_timeout_s:g} s)"
        return [ev.TaskFailed(task, "timeout", text) for task in late]

    def _notice_stop(self, coordinator: Coordinator) -> list[Command]:
        if self._stop.signal is None:
            return []
        commands: list[Command] = []
        if self._stopped_s is None:
            self._stopped_s = self._now_s()
            commands += self._feed(coordinator, ev.StopAsked(self._stop.signal))
        if self._stop.at_once:
            raise Interrupted("stopped at once; what is committed and staged is kept: run again to resume")
        if self._now_s() - self._stopped_s > STOP_GRACE_S:
            coordinator.abandon()
            self._deadlines.clear()
        return commands

    # ---- the destination ----------------------------------------------------------------------------------

    def _commit(self, command: Commit, coordinator: Coordinator) -> list[Command]:
        started_s = self._now_s()
        staged = [self._staged[attempt] for attempt in command.attempts]
        receipt = self._settled(command, staged)
        results = tuple(shard.result for shard in command.request.shards)
        event = ev.GroupCommitted(receipt, results, self._now_s() - started_s)
        for one in staged:
            self._staged.pop(one.task.attempt_id, None)
            self._stages.release(one)
        return self._feed(coordinator, event)

    def _settled(self, command: Commit, staged: Sequence[Staged]) -> Receipt:
        """Commit, and while the outcome is unknown or the destination is held, ask again: the ledger knows."""
        unknown = False
        wait_s = SETTLE_WAIT_S
        last: RaypipeError = DestinationBusy("")
        for _ in range(SETTLE_ATTEMPTS):
            try:
                return self._destination.commit(command.request, staged)
            except (CommitUnknown, DestinationBusy) as error:
                unknown = unknown or isinstance(error, CommitUnknown)
                last = error
                self._tell(ev.Warned(f"{error}; trying again"))
                self._clock.sleep_s(wait_s)
                wait_s = min(SETTLE_WAIT_MAX_S, wait_s * 2)
        if not unknown:
            raise last
        raise InDoubt(f"the outcome of the last commit is not known ({last}); run again: the ledger settles it")

    def _beat(self, run: OpenedRun) -> None:
        if self._now_s() - self._heartbeat_s < HEARTBEAT_S:
            return
        self._heartbeat_s = self._now_s()
        try:
            self._destination.heartbeat(run.run_id, run.epoch)
        except DestinationBusy:
            return  # a heartbeat is for liveness only; the next commit waits properly

    def _close(self, run: OpenedRun, coordinator: Coordinator, status: str, planned: Planned) -> ev.RunClosed:
        state = {"done": RunState.DONE}.get(status, RunState.FAILED)
        try:
            self._destination.close_run(run.run_id, run.epoch, state)
        except Fenced:
            if status == "done":
                raise
        planned_count, committed, failed, skipped = coordinator.counts
        closed = ev.RunClosed(
            status, planned_count, committed, failed, skipped, coordinator.rows, self._now_s() - self._started_s,
            self._destination.snapshot().watermark_us, coordinator.failures, _span(planned.plan.shards),
        )  # fmt: skip
        self._tell(closed)
        return closed

    def _nothing_done(self, planned: Planned | None, signal: str | None) -> ev.RunClosed:
        status = "done" if signal is None else ("terminated" if signal == "SIGTERM" else "interrupted")
        watermark_us = planned.snapshot.watermark_us if planned else None
        closed = ev.RunClosed(status, 0, 0, 0, 0, Accounts(), self._now_s() - self._started_s, watermark_us)
        self._executor.close(at_once=True)
        self._tell(closed)
        return closed

    # ---- the index ----------------------------------------------------------------------------------------

    def _scan(self, files: Sequence[InputFile]) -> Iterator[FileIndex | UnreadableFile]:
        """Scan files on the workers, as many at once as there are slots."""
        if not files:
            return
        self._tell(ev.ScanStarted(len(files), sum(file.size_bytes for file in files)))
        waiting = deque(files)
        open_scans: dict[str, InputFile] = {}
        while waiting or open_scans:
            while waiting and len(open_scans) < self._executor.slots:
                file = waiting.popleft()
                open_scans[file.uri] = file
                self._executor.submit_scan(("scan", file.uri), file)
            for completion in self._executor.wait(WAIT_MAX_S):
                if isinstance(completion.key, tuple) and completion.key[1] in open_scans:
                    yield self._scanned(open_scans.pop(completion.key[1]), completion)
                elif (event := self._event_of(completion)) is not None:
                    self._deferred.append(event)
            if self._stop.signal is not None:
                raise Interrupted("stopped while files were read for the index; nothing was committed yet")

    def _scanned(self, file: InputFile, completion: Completion) -> FileIndex | UnreadableFile:
        if completion.error is None:
            assert isinstance(completion.value, FileIndex)
            self._tell(ev.FileScanned(file, completion.value.bytes_read))
            return completion.value
        if isinstance(completion.error, ShardError | InputChanged):
            return UnreadableFile(file, completion.error.code, str(completion.error))
        raise completion.error

    # ---- small things -------------------------------------------------------------------------------------

    def _feed(self, coordinator: Coordinator, event: ev.RunEvent) -> list[Command]:
        self._tell(event)
        return coordinator.handle(event, self._now_s())

    def _tell(self, event: ev.RunEvent) -> None:
        self._observer.on(event)

    def _now_s(self) -> float:
        return self._clock.monotonic_s()


def _span(shards: Sequence[Shard]) -> Window | None:
    ranges = normalise(shard.window for shard in shards)
    return Window(ranges[0].start_us, ranges[-1].end_us) if ranges else None
