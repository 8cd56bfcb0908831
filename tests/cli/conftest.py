from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner, Result

from raypipe import launch
from raypipe.cli.group import cli
from raypipe.core.accounts import Accounts
from raypipe.core.calendar import Width
from raypipe.core.compaction import Compaction, CompactionPlan
from raypipe.core.events import RunClosed
from raypipe.core.plan import Plan
from raypipe.core.shard import InputFile, Reason, Shard, ShardFailure, Slice
from raypipe.core.state import FailedShard, RunKind, RunRecord, RunState, Snapshot
from raypipe.core.window import Window
from raypipe.launch import AcceptReport, Ask, CheckReport, CompactReport, GcReport, PlanReport, RunReport, StatusReport
from raypipe.pipeline import DuckDBDestination, EventTime, FilesSource, Pipeline, RowsOutput
from raypipe.ports import Check, Observer, StopFlag
from raypipe.runtime.compactor import Compacted

DAY_US = 86_400_000_000
START_US = 1_356_998_400_000_000  # 2013-01-01T00:00:00Z


def day(number: int, days: int = 1) -> Window:
    return Window(START_US + number * DAY_US, START_US + (number + days) * DAY_US)


@dataclass
class Launched:
    """A launch module that does nothing: what it was asked, and what it answers."""

    pipeline: Pipeline
    closed: RunClosed
    asks: list[Ask] = field(default_factory=list)
    loads: list[tuple[str, str | None, tuple[str, ...]]] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    checks: list[Check] = field(default_factory=lambda: [Check("accounts", True, "10 = 9 + 1")])
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    filtered: dict[str, int] = field(default_factory=dict)
    check_report: CheckReport = field(default_factory=lambda: CheckReport((), ()))
    stages: list[tuple[str, Sequence[str], Sequence[Sequence[Any]], int]] = field(default_factory=list)
    while_running: Callable[[Observer, StopFlag], None] = lambda observer, stop: None

    def load(
        self,
        target: str,
        *,
        profile: str | None = None,
        overrides: Sequence[str] = (),
        folder: Path | None = None,
        elsewhere: bool = False,
    ) -> Pipeline:
        self.loads.append((target, profile, tuple(overrides)))
        return self.pipeline

    def run(self, pipeline: Pipeline, ask: Ask, *, observer: Observer, stop: StopFlag, own_process: bool) -> RunReport:
        assert own_process, "a command has its process for itself"
        self.asks.append(ask)
        self.while_running(observer, stop)
        return RunReport(
            pipeline, "20130101T000000-abcd", "inline, 2 threads", self.closed,
            quarantine=self.quarantine, filtered=self.filtered, tables={"hourly": 7}, bytes_input=1000, bytes_read=1000,
        )  # fmt: skip

    def plan(self, pipeline: Pipeline, ask: Ask) -> PlanReport:
        self.asks.append(ask)
        made, rows = Plan(tuple(self.shards)), sum(shard.rows for shard in self.shards)
        return PlanReport(pipeline, day(0, 365), made, Snapshot(commit_seq=3), "inline, 2 threads", rows, 1.5, 2**31)

    def status(self, pipeline: Pipeline) -> StatusReport:
        run = RunRecord("r1", RunKind.RUN, None, RunState.FAILED, 2, "host:1:1", START_US, START_US + 5, START_US + 9_000_000, 4, 1)
        snapshot = Snapshot(
            commit_seq=4, watermark_us=day(3).start_us, accounts=Accounts(read=10, loaded=9, quarantined=1), outside=2,
            failed=(FailedShard(day(5), "r1", "transform_failed", "bad \x1b[31mstep"),), runs=(run,),
        )  # fmt: skip
        return StatusReport(
            pipeline,
            snapshot,
            (day(0, 3), day(4)),
            (day(3),),
            (day(1),),
            ((day(2), "outputs.hourly.sql"),),
            {"hourly": 7},
            self.quarantine,
            failed=snapshot.failed,
            held=((day(0), "its input changed"),),
            waiting=(day(5),),
            other_widths=((day(0, 3), 1),),
            cut_tables=("hourly",),
        )

    def accept(self, pipeline: Pipeline, what: Literal["stale", "shrunk"], ask: Ask, *, observer: Observer) -> AcceptReport:
        self.asks.append(ask)
        return (
            AcceptReport(pipeline, what, "r9", (day(0), day(1)), (day(2),))
            if what == "stale"
            else AcceptReport(pipeline, what, None, ())
        )

    def compact(
        self, pipeline: Pipeline, before_us: int, *, into: Width | None, any_cut: bool, dry_run: bool, observer: Observer
    ) -> CompactReport:
        left = ((day(9), "hourly has nothing there yet"),)
        plan = CompactionPlan((Compaction((day(0), day(1), day(2))), Compaction((day(3), day(4)))), left)
        if dry_run:
            return CompactReport(pipeline, Compacted(plan, Snapshot()), {})
        return CompactReport(pipeline, Compacted(plan, Snapshot(), "r9", (day(0, 3),), (day(3, 2),)), {"hourly": (4000, 1500)})

    def answers(self) -> dict[str, Callable[..., Any]]:
        return {
            "load": self.load,
            "run": self.run,
            "plan": self.plan,
            "status": self.status,
            "verify": lambda pipeline: self.checks,
            "check": lambda pipeline: self.check_report,
            "sample": lambda pipeline, *, at_us, rows: self.stages,
            "quarantine_counts": lambda pipeline: self.quarantine,
            "quarantine_rows": lambda pipeline, *, rule, shards, limit: self.quarantine[:limit],
            "accept": self.accept,
            "compact": self.compact,
            "cancel": lambda pipeline, run_id: (run_id or "r1",),
            "gc": lambda pipeline: GcReport(3, 4_200_000),
            "schema": lambda: {"title": "raypipe"},
        }


def closed(status: str = "done", **changes: Any) -> RunClosed:
    values: dict[str, Any] = {
        "planned": 3, "committed": 3, "failed": 0, "skipped": 0, "seconds": 2.0,
        "watermark_us": day(3).start_us, "window": day(0, 3),
        "rows": Accounts(read=1000, loaded=900, filtered=60, duplicate=10, quarantined=30),
    }  # fmt: skip
    return RunClosed(status, **{**values, **changes})


@pytest.fixture
def pipeline(tmp_path: Any) -> Pipeline:
    return Pipeline(
        name="flights",
        time=EventTime(column="at", start_us=START_US, zone="Europe/Madrid", shard=Width(1, "d")),
        source=FilesSource(paths=("a.csv",), format="csv"),
        outputs=(RowsOutput(table="hourly"),),
        destination=DuckDBDestination(path=str(tmp_path / "flights.duckdb")),
    )


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> Launched:
    fake = Launched(pipeline, closed())
    for name, answer in fake.answers().items():
        monkeypatch.setattr(launch, name, answer)
    return fake


@pytest.fixture
def shards() -> list[Shard]:
    file = InputFile("/data/a.csv", 1000, "v1")
    return [
        Shard(number, day(number), Reason.NEW if number else Reason.LATE, frozenset(), (Slice(file, rows=10, size_bytes=100),))
        for number in range(20)
    ]


@pytest.fixture
def failure() -> ShardFailure:
    return ShardFailure(day(1), "source_unreadable", "/data/a.csv is truncated")


@pytest.fixture
def closing() -> Callable[..., RunClosed]:
    return closed


@pytest.fixture
def raypipe() -> Callable[..., Result]:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), prog_name="raypipe")

    return call
