"""Real pipelines over small Parquet files and real DuckDB destinations, four days of history, run in this process."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.datatype import parse_datatype
from raypipe.core.events import RunEvent
from raypipe.core.grouping import TaskLimits
from raypipe.core.retry import Retries
from raypipe.core.window import Window
from raypipe.engine import stage
from raypipe.launch import Ask, RunReport, StopFlag
from raypipe.launch.parts import Parts
from raypipe.pipeline import (
    Column,
    DuckDBDestination,
    EventTime,
    FilesSource,
    NamedInput,
    Pipeline,
    PythonStep,
    RowsOutput,
    RunOptions,
    SqlOutput,
)
from raypipe.runtime.claiming import NoClaims

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
LONG_AGO_S = 10**9
DAYS = 4
COUNTS = "SELECT date_trunc('day', ts) AS day, count(*) AS events, sum(n) AS total FROM rows GROUP BY ALL"


class Told:
    """Remembers events; `when` acts on the first of a kind."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self.acts: dict[type, list[Callable[[Any], Any]]] = {}

    def when(self, kind: type, act: Callable[[Any], Any]) -> None:
        self.acts.setdefault(kind, []).append(act)

    def on(self, event: RunEvent) -> None:
        self.events.append(event)
        if self.acts.get(type(event)):
            self.acts[type(event)].pop(0)(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Place:
    """A folder with a file of events a day, and pipelines over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out.duckdb"
        self.state = folder / "out.duckdb.raypipe"
        self.stage = self.state / "stage" / "events"
        for day in range(DAYS):
            self.day(day)
        self.pipeline = Pipeline(
            name="events",
            time=EventTime(column="ts", start_us=START_US, end_us=START_US + DAYS * DAY_US, shard=parse_width("1d")),
            source=FilesSource(paths=(f"{folder}/*.parquet",), format="parquet"),
            outputs=(RowsOutput(table="clean"), SqlOutput(table="daily", sql=COUNTS)),
            destination=DuckDBDestination(path=str(self.out)),
            run=RunOptions(executor="inline", retries=Retries(attempts=2, delay_s=0.0)),
            folder=folder,
        )

    def window(self, first: int, last: int | None = None) -> Window:
        return Window(START_US + first * DAY_US, START_US + (first + 1 if last is None else last) * DAY_US)

    def day(self, day: int, numbers: Any = (1, 2, 3), name: str | None = None) -> Path:
        """Write the file of a day, with one event for each number."""
        path = self.folder / (name or f"day{day}.parquet")
        times = [datetime.datetime(2026, 1, 1 + day, 6) for _ in numbers]
        part = path.with_suffix(".part")
        pq.write_table(pa.table({"ts": pa.array(times, pa.timestamp("us")), "n": pa.array(numbers, pa.int64())}), part)
        os.utime(part, (LONG_AGO_S, LONG_AGO_S + len(numbers)))  # settled: a version by its stat
        part.replace(path)
        return path

    def step(self, body: str) -> Pipeline:
        """The pipeline with a Python step."""
        (self.folder / "steps.py").write_text(f"import polars as pl\n\ndef step(rows: pl.LazyFrame) -> pl.LazyFrame:\n{body}")
        return replace(self.pipeline, transform=(PythonStep(function="steps:step", rows="fewer"),))

    def run(self, ask: Ask | None = None, *, pipeline: Pipeline | None = None, told: Any = None, stop: Any = None) -> RunReport:
        return launch.run(pipeline or self.pipeline, ask or Ask(), observer=told or Told(), stop=stop or StopFlag())

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.out), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def totals(self) -> list[tuple[Any, ...]]:
        """Day, events and their sum, by both tables, which must agree."""
        daily = self.query("SELECT day(day), events, total::BIGINT FROM daily ORDER BY day")
        assert self.query("SELECT day(ts), count(*), sum(n)::BIGINT FROM clean GROUP BY ALL ORDER BY ALL") == daily
        return daily

    def proven(self) -> bool:
        checks = launch.verify(self.pipeline)
        return bool(checks) and all(check.ok for check in checks)

    def runs(self) -> list[tuple[Any, ...]]:
        return self.query("SELECT run, state FROM _raypipe.runs ORDER BY started, run")

    def bytes_of_all_files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def all_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every task leave files, as only those that take long do."""
    monkeypatch.setattr(stage.StageWhenDear, "wants_files", lambda self, **figures: True)


@pytest.fixture
def killed(place: Place, monkeypatch: pytest.MonkeyPatch, all_is_dear: None) -> Callable[[], None]:
    """Let a run stage all of its work and end before any of it is committed, as one that is killed does."""

    class Killed(BaseException):
        pass

    def run() -> None:
        from raypipe.destinations.duckdb import DuckDBFile

        def dies(*arguments: Any) -> None:
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(DuckDBFile, "commit", dies)
            with pytest.raises(Killed):
                place.run()
        assert list(place.stage.glob("*/*/manifest.json"))

    return run


@pytest.fixture
def no_stage_is_left(place: Place) -> Callable[[], bool]:
    return lambda: not place.stage.exists() or not any(place.stage.rglob("*"))


@pytest.fixture(autouse=True)
def own_scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Scratch folders go where a test may look for what was left behind."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert [path.name for path in folder.iterdir()] == []
    shutil.rmtree(folder)


@pytest.fixture
def no_claims(monkeypatch):
    """Let runs overlap that would share out their shards: where one stands still inside the other, it cannot end first."""
    monkeypatch.setattr(Parts, "claims", NoClaims())


@pytest.fixture
def shards_a_task(monkeypatch):
    """Let tasks hold no more shards than a test says."""

    def bound(shards_max: int) -> None:
        def limits(slots: int, size_bytes: int, _: int, **more: int) -> TaskLimits:
            return TaskLimits(slots, size_bytes, shards_max, **more)

        monkeypatch.setattr("raypipe.runtime.driver.TaskLimits", limits)

    return bound


# ---- a second input ---------------------------------------------------------------------------------------

JOIN = """
SELECT rows.ts, rows.n, count(clicks.of) AS clicked FROM rows
LEFT JOIN clicks ON clicks.of = rows.n AND clicks.at_time BETWEEN rows.ts AND rows.ts + INTERVAL 1 DAY GROUP BY ALL
"""


class Clicks:
    """The place with a second input: clicks on the event n of a day, 20 hours later, that is on the next day."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder = place, place.folder / "clicks"
        self.folder.mkdir()
        for day in range(3):
            self.write(day, [f"{day % 3 + 1},2026-01-0{day + 2}T02:00:00"])
        columns = {"of": Column(type=parse_datatype("int64")), "at_time": Column(type=parse_datatype("timestamp"))}
        source = FilesSource(paths=(f"{self.folder}/*.csv",), format="csv", columns=columns)
        self.input = NamedInput(name="clicks", source=source, column="at_time", lookahead=parse_width("1d"))
        outputs = (RowsOutput(table="clean"), SqlOutput(table="joined", sql=JOIN))
        place.pipeline = replace(place.pipeline, inputs=(self.input,), outputs=outputs)

    def write(self, day: int, lines: list[str]) -> None:
        path = self.folder / f"{day}.csv"
        path.write_text("\n".join(["of,at_time", *lines]) + "\n")
        os.utime(path, (10**9, 10**9 + len(lines)))

    def joined(self) -> list[tuple[Any, ...]]:
        return self.place.query("SELECT day(ts), n, clicked FROM joined ORDER BY ALL")

    def by_duckdb(self) -> list[tuple[Any, ...]]:
        sql = JOIN.replace("clicks", "marks").replace("rows", "events")
        with duckdb.connect() as connection:
            connection.execute(f"CREATE VIEW events AS SELECT * FROM '{self.place.folder}/*.parquet'")
            connection.execute(f"CREATE VIEW marks AS SELECT * FROM '{self.folder}/*.csv'")
            return connection.execute(f"SELECT day(ts), n, clicked FROM ({sql}) ORDER BY ALL").fetchall()


@pytest.fixture
def clicks(place: Place) -> Clicks:
    return Clicks(place)
