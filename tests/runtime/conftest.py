"""A run made of scripted parts: files that tests change, workers that fail on demand, a clock that only waits when told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from raypipe.core import events as ev
from raypipe.core.accounts import Accounts
from raypipe.core.calendar import Calendar, Width
from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.plan import Scope, horizon
from raypipe.core.retry import Retries
from raypipe.core.shard import InputFile, OutputStat, Shard, ShardResult, Slice, Task
from raypipe.core.state import Definition, RunKind, RunOpening
from raypipe.core.window import Window
from raypipe.destinations.memory import MemoryDestination
from raypipe.ports import Completion, FileIndex, Listing, Staged, StopFlag
from raypipe.runtime.driver import Driver, DriverSettings
from raypipe.runtime.planner import Planner

HOUR_US = 3_600_000_000


def hours(first: int, last: int | None = None) -> Window:
    return Window(first * HOUR_US, (first + 1 if last is None else last) * HOUR_US)


@dataclass
class FakeClock:
    """Time passes only where something waits."""

    now_s: float = 1000.0
    at: list[tuple[float, Callable[[], Any]]] = field(default_factory=list)
    """What happens at which time."""

    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep_s(self, seconds: float) -> None:
        self.now_s += seconds
        due = [act for at_s, act in self.at if at_s <= self.now_s]
        self.at = [one for one in self.at if one[0] > self.now_s]
        for act in due:
            act()


@dataclass
class Files:
    """A source of one file an hour: `versions` by hour; errors of scans by hour, one for each scan."""

    versions: dict[int, str]
    scan_errors: dict[int, list[BaseException]] = field(default_factory=dict)
    indexed: dict[str, str] = field(default_factory=dict)
    listings: int = 0
    scans: list[str] = field(default_factory=list)

    def list(self) -> Listing:
        self.listings += 1
        return Listing(tuple(InputFile(f"f{hour:02}", 10, version) for hour, version in sorted(self.versions.items())))

    def unindexed(self, listing: Listing) -> tuple[InputFile, ...]:
        return tuple(file for file in listing.files if self.indexed.get(file.uri) != file.version)

    def scan(self, file: InputFile) -> FileIndex:
        self.scans.append(file.uri)
        errors = self.scan_errors.get(int(file.uri[1:]), [])
        if errors:
            raise errors.pop(0)
        return FileIndex(file, {}, bytes_read=10)

    def record(self, entries: Any) -> None:
        self.indexed.update((entry.file.uri, entry.file.version) for entry in entries)

    def slices(self, listing: Listing, windows: Any) -> Any:
        assert not self.unindexed(listing)
        by_hour = {int(file.uri[1:]): file for file in listing.files}
        return [
            tuple(
                Slice(by_hour[hour], rows=400_000)
                for hour in range(window.start_us // HOUR_US, window.end_us // HOUR_US)
                if hour in by_hour
            )
            for window in windows
        ]

    def fingerprints(self, listing: Listing, windows: Any) -> Any:
        return [input_fingerprint(mine) for mine in self.slices(listing, windows)]

    def outside(self, listing: Listing) -> int:
        return 0


def staged(task: Task, shards: tuple[Shard, ...] | None = None, **more: Any) -> Staged:
    """What a worker leaves: a row for each file, in the table `t`."""
    done = task.shards if shards is None else shards
    rows = [{"_shard": one.window.start_us, "uri": s.file.uri, "version": s.file.version} for one in done for s in one.slices]
    results = tuple(
        ShardResult(
            one.window, one.observed, one.slices, Accounts(read=len(one.slices), loaded=len(one.slices)),
            {"t": OutputStat(len(one.slices), "0" * 32)},
        )
        for one in done
    )  # fmt: skip
    return Staged(task, results, tables={"t": rows}, fingerprints={"t": "f"}, **more)


class Workers:
    """An executor that does the work when it is waited for, one piece at a time, in the order of submission.

    `script` maps an hour to what happens to tasks that hold it, one entry each time: an error to raise, `hang` (it never
    ends), or a function of the task.
    """

    def __init__(self, clock: FakeClock, source: Files, slots: int = 1) -> None:
        self.clock, self.source, self.slots = clock, source, slots
        self.has_workers_apart = False
        self.script: dict[int, list[Any]] = {}
        self.waiting: list[tuple[object, Any]] = []
        self.hanging: list[tuple[object, Task]] = []
        self.late: list[Completion] = []
        self.attempts: list[tuple[float, list[int]]] = []
        self.in_flight_max = 0
        self.closed: list[bool] = []
        self.given_up: list[object] = []
        self.others_s = 0.0
        """Until when the workers do other runs' work: a task that hangs is taken for one that waits."""

    def submit_task(self, key: object, task: Task) -> None:
        self.waiting.append((key, task))
        self.in_flight_max = max(self.in_flight_max, len(self.waiting) + len(self.hanging))

    submit_scan = submit_task

    def is_waiting(self, key: object) -> bool:
        return self.clock.monotonic_s() < self.others_s

    def give_up(self, key: object) -> None:
        self.given_up.append(key)

    def wait(self, timeout_s: float) -> list[Completion]:
        if self.late:
            ended, self.late = self.late, []
            return ended
        while self.waiting:
            key, work = self.waiting.pop(0)
            try:
                if isinstance(work, InputFile):
                    return [Completion(key, self.source.scan(work))]
                return [Completion(key, self._do(work))]
            except Hangs:
                self.hanging.append((key, work))
            except BaseException as error:
                return [Completion(key, error=error)]
        self.clock.sleep_s(timeout_s)
        return []

    def _do(self, task: Task) -> Staged:
        self.attempts.append((self.clock.now_s, [one.window.start_us // HOUR_US for one in task.shards]))
        for shard in task.shards:
            acts = self.script.get(shard.window.start_us // HOUR_US, [])
            if acts:
                act = acts.pop(0)
                if act == "hang":
                    raise Hangs
                if isinstance(act, BaseException):
                    raise act
                return act(task)
        return staged(task)

    def close(self, *, at_once: bool) -> None:
        self.closed.append(at_once)


class Hangs(Exception):
    """The work does not end."""


class Stages:
    """A stage store that hands out what a test left in it."""

    def __init__(self) -> None:
        self.left: list[Callable[[Task], Staged]] = []
        self.released: list[str] = []

    def adopt(self, shards: Any, fingerprints: Any, run_id: str, epoch: int) -> Any:
        count = len(self.left)
        adopted = [make(Task(run_id, epoch, 900_000 + place, 0, (shards[place],))) for place, make in enumerate(self.left)]
        return adopted, shards[count:]

    def release(self, staged: Staged) -> None:
        self.released.append(staged.task.attempt_id)

    def collect(self, open_runs: Any) -> tuple[int, int]:
        raise AssertionError("a run collects nothing")


class Told:
    """Remembers events; `when` acts on the first of a kind."""

    def __init__(self) -> None:
        self.events: list[ev.RunEvent] = []
        self.acts: dict[type, list[Callable[[Any], Any]]] = {}

    def when(self, kind: type, act: Callable[[Any], Any]) -> None:
        self.acts.setdefault(kind, []).append(act)

    def on(self, event: ev.RunEvent) -> None:
        self.events.append(event)
        if self.acts.get(type(event)):
            self.acts[type(event)].pop(0)(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Bench:
    """One pipeline of four hours, `t` its only output, and the parts of one run over it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.source = Files(dict.fromkeys(range(4), "v1"))
        self.destination: Any = MemoryDestination("p", clock=self.clock)
        self.executor = Workers(self.clock, self.source)
        self.stages = Stages()
        self.told = Told()
        self.stop = StopFlag()
        self.claims: Any = None
        self.retries = Retries(attempts=3, delay_s=1.0, factor=4.0)
        self.ready = horizon(Calendar(0, Width(1, "h")), 0, 4 * HOUR_US, 0, 0)

    def planner(self, scope: Scope = Scope.DUE, window: Window | None = None) -> Planner:
        definitions = {"t": Definition(0, "f", {"sql": "f"})}
        return Planner(self.source, self.destination, self.ready, scope, window, definitions, self.clock)

    def driver(
        self, run_id: str = "r1", *, scope: Scope = Scope.DUE, window: Window | None = None, atomic: bool = False,
        prepare: Any = None,
    ) -> Driver:  # fmt: skip
        planner = self.planner(scope, window)
        settings = DriverSettings(
            pipeline="p", executor="by hand", memory_bytes=1 << 30, atomic=atomic, retries=self.retries, task_timeout_s=60.0
        )
        opening = RunOpening(
            run_id=run_id, kind=RunKind.RUN, window=None, start_us=0, holder="elsewhere:1:1.0",
            definitions=planner.definitions, versions={},
        )  # fmt: skip
        return Driver(
            settings, opening, planner, self.destination, self.executor, self.stages, self.told, self.clock, self.stop,
            *([prepare] if prepare else []), claims=self.claims,
        )  # fmt: skip

    def run(self, run_id: str = "r1", **how: Any) -> ev.RunClosed:
        return self.driver(run_id, **how).run()

    def other_run(self, run_id: str = "other", **how: Any) -> ev.RunClosed:
        """A run of another process over the same source and destination, to its end."""
        other = Bench()
        other.clock, other.source, other.destination = self.clock, self.source, self.plain
        other.executor = Workers(self.clock, self.source)
        other.claims = self.claims
        return other.run(run_id, **how)

    @property
    def plain(self) -> MemoryDestination:
        """The destination without what a test wrapped around it."""
        return getattr(self.destination, "inner", self.destination)

    def versions(self) -> dict[int, str]:
        """The table: the version of the file of each hour; it may hold each once."""
        rows = self.plain.rows("t")
        found = {int(row["uri"][1:]): row["version"] for row in rows}
        assert len(found) == len(rows)
        return found

    def record(self, run_id: str = "r1") -> Any:
        return next((run for run in self.plain.snapshot().runs if run.run_id == run_id), None)


class Wrapped:
    """A destination of which a test replaces methods; `inner` is the real one."""

    def __init__(self, inner: MemoryDestination, **methods: Any) -> None:
        self.inner = inner
        self.methods = methods
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return self.methods.get(name) or getattr(self.inner, name)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def wrap(bench: Bench) -> Callable[..., Wrapped]:
    """Replace methods of the bench's destination; each gets the real one first."""

    def replaced(**methods: Any) -> Wrapped:
        inner = bench.plain
        bound = {name: (lambda *a, _m=method, _n=name: _m(getattr(inner, _n), *a)) for name, method in methods.items()}
        bench.destination = Wrapped(inner, **bound)
        return bench.destination

    return replaced


@pytest.fixture
def window_of() -> Callable[..., Window]:
    return hours


@pytest.fixture
def leave() -> Callable[..., Staged]:
    return staged
