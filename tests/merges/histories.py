"""Made-up histories of a source and its commits, and the real contributions of all of their shards, computed at once.

A history changes files (late ones, corrected ones with fewer rows, lost ones), commits ranges of any width in any order, asks for
commits twice, lets a zombie ask for what is long replaced, compacts neighbours, and ends when every range is committed as the
source is then.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.accounts import Accounts
from raypipe.core.calendar import parse_width
from raypipe.core.commit import CommitRequest, ShardCommit
from raypipe.core.compaction import Compaction, compaction
from raypipe.core.fingerprint import commit_id, output_fingerprint
from raypipe.core.shard import Observed, Outcome, OutputStat, Reason, Shard, ShardResult, Task
from raypipe.core.state import Definition, OpenedRun, RunKind, RunOpening, Snapshot
from raypipe.core.window import Window
from raypipe.engine.outputs import Outputs
from raypipe.engine.stage import write_staged
from raypipe.pipeline import DuckDBDestination, EventTime, FilesSource, GroupByOutput, Pipeline, RowsOutput
from raypipe.ports import Destination, Staged

HOUR_US = 3_600_000_000
HOURS = 8  # of history: few enough that ranges meet often
URIS = ("a.csv", "b.csv", "c.csv")
MEASURES = {
    "n": "count(*)", "known": "count(x)", "total": "sum(x)", "mean": "avg(f)", "var": "variance(f)", "dev": "stddev(x)",
    "least": "min(f)", "most": "max(x)", "every": "bool_and(x > 2)", "some": "bool_or(x > 2)", "head": "first(x)",
    "tail": "last(op)", "kinds": "count(DISTINCT x)", "about": "approx_count_distinct(x)", "middle": "approx_quantile(f, 0.5)",
}  # fmt: skip
OUTPUTS = (
    RowsOutput(table="everything"),
    RowsOutput(table="newest", key=("k",), latest_by=("v",), delete_when="op = 'd'"),
    GroupByOutput(table="groups", group_by={"g": "g"}, measures=MEASURES),
)
MERGES = {one.table: one.merge for one in OUTPUTS if one.merge is not None}
PIPELINE = Pipeline(
    name="histories",
    time=EventTime(column="t", start_us=0, shard=parse_width("1h")),
    source=FilesSource(paths=URIS, format="csv"),
    outputs=OUTPUTS,
    destination=DuckDBDestination(path="unused"),
)
SCHEMA = {"k": pl.Int64, "v": pl.Int64, "op": pl.String, "g": pl.String, "x": pl.Int64, "f": pl.Float64}


@dataclass(frozen=True)
class Event:
    """One row of the source; `values` are those of SCHEMA."""

    source: int
    position: int
    time_us: int
    values: tuple[Any, ...]

    def as_row(self) -> dict[str, Any]:
        return dict(zip(SCHEMA, self.values, strict=True))


@dataclass(frozen=True)
class Made:
    """One shard of a commit: its range and the events of the source that it saw."""

    window: Window
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Commit:
    """Ask for these shards; `again` asks a second time, `zombie` repeats an earlier commit with what it observed then.

    `merged` are live ranges that become one instead.
    """

    shards: tuple[Made, ...] = ()
    again: bool = False
    zombie: int | None = None
    merged: tuple[Window, ...] = ()


@dataclass(frozen=True)
class History:
    """Commits in order, and the events of the source at the end of them."""

    commits: tuple[Commit, ...]
    events: tuple[Event, ...]


# ---- drawing ----------------------------------------------------------------------------------------------


def draw_history(random: Random, *, steps_max: int = 8, number: Any = None) -> History:
    """Draw a history; `number` draws the values of the floating column, multiples of a quarter unless it is given."""
    drawn = _Drawn(random, number or (lambda: random.randint(-40, 40) / 4))
    drawn.change_source()
    for _ in range(random.randint(1, steps_max)):
        random.choice((drawn.change_source, drawn.commit, drawn.commit, drawn.repeat, drawn.compact))()
    drawn.finish()
    return History(tuple(drawn.commits), drawn.events(0, HOURS))


class _Drawn:
    def __init__(self, random: Random, number: Any) -> None:
        self.random, self.number = random, number
        self.files: dict[int, list[tuple[int, tuple[Any, ...]]]] = {}
        self.live: dict[tuple[int, int], tuple[Event, ...]] = {}
        self.commits: list[Commit] = []

    def events(self, lo: int, hi: int) -> tuple[Event, ...]:
        found = (
            Event(source, position, time_us, values)
            for source, rows in self.files.items()
            for position, (time_us, values) in enumerate(rows)
        )
        within = (one for one in found if lo * HOUR_US <= one.time_us < hi * HOUR_US)
        return tuple(sorted(within, key=lambda one: (one.source, one.position)))

    def change_source(self) -> None:
        """A file comes, grows, is replaced by one with fewer or other rows, or is lost."""
        source = self.random.randrange(len(URIS))
        rows = self.files.get(source, [])
        kind = self.random.choice(("grow", "grow", "shrink", "change", "lose")) if rows else "grow"
        if kind == "grow":
            rows = [*rows, *(self._row() for _ in range(self.random.randint(1, 6)))]
        elif kind == "shrink":
            rows = rows[: self.random.randrange(len(rows))]
        elif kind == "change":
            place = self.random.randrange(len(rows))
            rows = [*rows[:place], self._row(), *rows[place + 1 :]]
        else:
            rows = []
        self.files[source] = rows

    def commit(self) -> None:
        """Commit a few disjoint shards, each widened to the live ranges that it meets."""
        shards: list[tuple[int, int]] = []
        for _ in range(self.random.randint(1, 3)):
            lo = self.random.randrange(HOURS)
            wide = self._widened(lo, self.random.randint(lo + 1, HOURS))
            if not any(_meet(wide, one) for one in shards):
                shards.append(wide)
        self._take(shards, again=self.random.random() < 0.2)

    def repeat(self) -> None:
        """A zombie asks for an earlier commit with what it had observed."""
        real = [place for place, one in enumerate(self.commits) if one.shards]
        if real:
            self.commits.append(Commit(zombie=self.random.choice(real)))

    def compact(self) -> None:
        """Neighbours become one live range, whatever became of their input."""
        ranges = sorted(self.live)
        runs = [
            ranges[first:last]
            for first, last in itertools.combinations(range(len(ranges) + 1), 2)
            if last - first > 1 and all(a[1] == b[0] for a, b in itertools.pairwise(ranges[first:last]))
        ]
        if runs:
            run = self.random.choice(runs)
            events = sorted((event for one in run for event in self.live.pop(one)), key=lambda one: (one.source, one.position))
            self.live[run[0][0], run[-1][1]] = tuple(events)
            self.commits.append(Commit(merged=tuple(Window(lo * HOUR_US, hi * HOUR_US) for lo, hi in run)))

    def finish(self) -> None:
        """Commit every range that is missing, or that the source has changed since, in any order and at any width."""
        while left := [(hour, hour + 1) for hour in range(HOURS) if not any(_meet((hour, hour + 1), one) for one in self.live)] + [
            one for one, events in self.live.items() if events != self.events(*one)
        ]:
            lo, hi = self.random.choice(left)
            self._take([self._widened(lo, self.random.randint(hi, HOURS))], again=False)

    def _row(self) -> tuple[int, tuple[Any, ...]]:
        random = self.random
        time_us = random.randrange(HOURS) * HOUR_US + random.randrange(2)
        x = random.choice((None, *range(5)))
        values = (random.randrange(4), random.choice((None, 1, 2)), random.choice("uuud"), random.choice(("p", "q", None)), x)
        return time_us, (*values, random.choice((None, self.number(), self.number())))

    def _widened(self, lo: int, hi: int) -> tuple[int, int]:
        while met := [one for one in self.live if _meet((lo, hi), one) and not (lo <= one[0] and one[1] <= hi)]:
            lo, hi = min(lo, *(one[0] for one in met)), max(hi, *(one[1] for one in met))
        return lo, hi

    def _take(self, shards: Sequence[tuple[int, int]], *, again: bool) -> None:
        for shard in shards:
            for gone in [one for one in self.live if _meet(shard, one)]:
                del self.live[gone]
            self.live[shard] = self.events(*shard)
        made = tuple(Made(Window(lo * HOUR_US, hi * HOUR_US), self.events(lo, hi)) for lo, hi in shards)
        self.commits.append(Commit(made, again))


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


# ---- contributions ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contributed:
    """What shards contribute, made by the engine of raypipe: for each shard its rows as Arrow, and their digests."""

    tables: Mapping[str, Mapping[Made, Any]]
    stats: Mapping[str, Mapping[Made, OutputStat]]


def contribute(outputs: Outputs, shards: Sequence[Made]) -> Contributed:
    """Compute the contributions of any number of shards in one call, as one task does for the shards that share it."""
    shards = list(dict.fromkeys(shards))
    places = [Window(place * HOUR_US, (place + 1) * HOUR_US) for place in range(len(shards))]
    found = outputs.contributions(iter([_frame(shards)]), places, URIS).found
    tables: dict[str, dict[Made, Any]] = {}
    for table, one in found.items():
        order = one.table.take(pc.sort_indices(one.table["_shard"]))
        starts = order["_shard"].cast("int64").to_pylist()
        bounds = [*(bisect.bisect_left(starts, place.start_us) for place in places), len(starts)]
        tables[table] = {made: order.slice(lo, hi - lo) for made, (lo, hi) in zip(shards, itertools.pairwise(bounds), strict=True)}
    stats = {table: {made: one.stats[place] for made, place in zip(shards, places, strict=True)} for table, one in found.items()}
    return Contributed(tables, stats)


def _frame(shards: Sequence[Made]) -> pl.DataFrame:
    rows = [(place, event) for place, made in enumerate(shards) for event in made.events]
    columns: dict[str, Any] = {
        name: pl.Series(name, [event.values[column] for _, event in rows], dtype=dtype)
        for column, (name, dtype) in enumerate(SCHEMA.items())
    }
    hidden = {
        "_raypipe_shard": (pl.UInt32, [place for place, _ in rows]),
        "_time": (pl.Int64, [event.time_us for _, event in rows]),
        "_source": (pl.UInt32, [event.source for _, event in rows]),
        "_position": (pl.Int64, [event.position for _, event in rows]),
        "_raypipe_row": (pl.UInt32, list(range(len(rows)))),
    }
    return pl.DataFrame(columns | {name: pl.Series(name, values, dtype=dtype) for name, (dtype, values) in hidden.items()})


# ---- committing -------------------------------------------------------------------------------------------


@dataclass
class Committer:
    """Asks a destination for the commits of a history, as a driver does."""

    destination: Destination
    contributed: Contributed
    as_rows: bool = False
    """Hand over plain rows instead of Arrow, which the memory destination reads faster."""
    folder: Path | None = None
    """Hand over files that were staged in this folder."""
    tables: Callable[[], Any] = lambda: None
    """What a reader sees: no compaction may change it by a bit."""
    asked: int = 0
    requests: list[tuple[CommitRequest, list[Staged]]] = field(default_factory=list)

    def run(self, commits: Sequence[Commit]) -> None:
        opened = self.destination.open_run(opening())
        for commit in commits:
            if commit.zombie is not None:
                request, staged = self.requests[commit.zombie]
                self.requests.append((request, staged))
                self.asked += 1
                receipt = self.destination.commit(replace(request, commit_id=f"zombie-{self.asked}"), staged)
                assert not receipt.outcomes, "a zombie committed"
                continue
            if commit.merged:
                self._compact(opened, Compaction(commit.merged))
                continue
            request, staged = self._group(opened, commit.shards)
            self.requests.append((request, staged))
            receipt = self.destination.commit(request, staged)
            assert not receipt.conflicts
            if commit.again:
                assert self.destination.commit(request, staged) == receipt

    def _compact(self, opened: OpenedRun, one: Compaction) -> None:
        before = self.tables()
        request = compaction(opened, one, _observed(self.destination.snapshot(), one.window))
        self.requests.append((request, []))
        assert self.destination.commit(request, ()).outcomes == {one.window: Outcome.COMPACTED}
        assert self.tables() == before, "a compaction changed a table"

    def _group(self, opened: OpenedRun, shards: Sequence[Made]) -> tuple[CommitRequest, list[Staged]]:
        self.asked += 1
        snapshot = self.destination.snapshot()
        planned = tuple(Shard(0, one.window, Reason.NEW, _observed(snapshot, one.window)) for one in shards)
        task = Task(opened.run_id, opened.epoch, 1, self.asked, planned)
        results = [self._result(one, shard.observed) for one, shard in zip(shards, planned, strict=True)]
        commits = tuple(
            ShardCommit(result, Outcome.LOADED if one.events else Outcome.EMPTY, task.attempt_id, f"in-{self.asked}")
            for one, result in zip(shards, results, strict=True)
        )
        named = [(one.window, one.outcome.value, output_fingerprint(one.result.outputs), one.result.observed) for one in commits]
        request = CommitRequest(
            run_id=opened.run_id,
            epoch=opened.epoch,
            commit_id=commit_id(f"{opened.run_id}-{self.asked}", named),
            shards=commits,
            definitions=opened.definitions,
        )
        tables = {table: self._table(table, shards) for table in opened.definitions}
        staged = Staged(task, tuple(results), tables=tables)
        return request, [write_staged(staged, self.folder / task.attempt_id) if self.folder else staged]

    def _result(self, made: Made, observed: frozenset[Observed]) -> ShardResult:
        outputs = {table: stats[made] for table, stats in self.contributed.stats.items()}
        return ShardResult(made.window, observed, (), Accounts(read=len(made.events), loaded=len(made.events)), outputs)

    def _table(self, table: str, shards: Sequence[Made]) -> Any:
        parts = self.contributed.tables[table]
        if self.as_rows:
            return [{**row, "_shard": one.window.start_us} for one in shards for row in parts[one].to_pylist()]
        placed = []
        for one in shards:
            rows = parts[one].drop_columns(["_shard"])
            start = pa.repeat(pa.scalar(one.window.start_us, pa.timestamp("us")), rows.num_rows)
            placed.append(rows.append_column("_shard", start))
        return pa.concat_tables(placed)


def opening() -> RunOpening:
    """Return the opening of the one run of a history."""
    return RunOpening(
        run_id="run", kind=RunKind.RUN, window=None, start_us=0, holder="elsewhere:1:1.0",
        definitions={one.table: Definition(0, "f", {}) for one in OUTPUTS}, versions={}, merges=MERGES,
    )  # fmt: skip


def _observed(snapshot: Snapshot, window: Window) -> frozenset[Observed]:
    return frozenset(live.observed for live in snapshot.live if live.window.meets(window))


def shards_of(histories: Sequence[History]) -> Iterator[Made]:
    """Yield every shard of histories, and for each history the one shard of a clean run."""
    for history in histories:
        yield clean_run(history).shards[0]
        yield from (made for commit in history.commits for made in commit.shards)


def clean_run(history: History) -> Commit:
    """Return the one commit of a clean run over the source as it is in the end."""
    return Commit((Made(Window(0, HOURS * HOUR_US), history.events),))
