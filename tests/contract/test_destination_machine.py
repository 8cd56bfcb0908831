"""Every destination against a dictionary: any order of runs, stages, commits, losses and crashes leaves what the model holds.

Hypothesis draws the steps; after each one the destination's snapshot, tables, quarantine and ledger must be those of the
model, and now and then `verify` must find nothing. In CI a bounded part runs (about 40 s); the long part is

    HYPOTHESIS_PROFILE=long pytest tests/contract/test_destination_machine.py

which takes about ten minutes, and prints the steps of the shortest failure that it finds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from raypipe.core.accounts import Accounts, total
from raypipe.core.commit import CommitRequest, Receipt, ShardCommit
from raypipe.core.fingerprint import combine_digests, commit_id, digest_hex, input_fingerprint, output_fingerprint
from raypipe.core.shard import (
    InputFile,
    Observed,
    Outcome,
    OutputStat,
    Reason,
    Shard,
    ShardFailure,
    ShardResult,
    Slice,
    Task,
)
from raypipe.core.state import (
    Definition,
    FailedShard,
    LiveRange,
    OpenedRun,
    RunKind,
    RunOpening,
    RunRecord,
    RunState,
    Snapshot,
)
from raypipe.core.window import Window
from raypipe.destinations import duckdb as duckdb_destination
from raypipe.destinations import duckdb_commit
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.duckdb_file import reading
from raypipe.destinations.duckdb_snapshot import read_snapshot
from raypipe.destinations.duckdb_verify import verify
from raypipe.destinations.memory import MemoryDestination
from raypipe.destinations.memory_state import LedgerEntry
from raypipe.engine.stage import attempt_folder, write_staged
from raypipe.engine.stage_store import StagedFiles
from raypipe.errors import CommitUnknown, Fenced, RaypipeError, RunIsAlive, ShardError, StagedDamaged, UsageError
from raypipe.ports import Destination, Staged

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
HOUR_US = 3_600_000_000
HOURS = 8  # of history: few enough that ranges meet often
OUTPUTS = ("clean", "hourly")
SILENCE_US = 121_000_000  # a holder that says nothing for so long may be taken over
PENDING_MAX = 8
OPEN = (RunState.OPEN, RunState.PUBLISHING)
POINTS = (
    "commit.before_begin", "commit.after_fence", "commit.after_cas", "commit.after_delete", "commit.mid_insert",
    "commit.after_insert", "commit.after_ledger", "commit.after_wm", "commit.before_commit", "commit.after_commit_before_ack",
)  # fmt: skip
LOST = "commit.after_commit_before_ack"

Row = tuple[int, str | None]
"""`n`, unlike that of any other row that is ever staged, and `s`, which some contributions lack."""


def _hashes() -> Mapping[Row, int]:
    """The digests of all rows that a machine may stage, as raypipe defines them; taken once."""
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT n, md5_number(CAST(json_array(n) AS VARCHAR)), md5_number(CAST(json_array(n, 'wide') AS VARCHAR)) "
            "FROM range(5000) AS numbers(n)"
        ).fetchall()
    return {row: hashed for n, plain, wide in found for row, hashed in (((n, None), plain), ((n, "wide"), wide))}


HASHES = _hashes()


class Crash(BaseException):
    """The process is gone at a failpoint: no handler of raypipe may see an error that it knows."""


@dataclass
class MovingClock:
    """A clock that the machine moves."""

    now: int = 1_000_000_000_000_000

    def now_us(self) -> int:
        return self.now

    def monotonic_s(self) -> float:
        return self.now / 1e6

    def sleep_s(self, seconds: float) -> None:
        self.now += int(seconds * 1e6)


# ---- the model --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contribution:
    """What one staged shard would add."""

    window: Window
    observed: frozenset[Observed]
    rows: Mapping[str, tuple[Row, ...]]
    aside: tuple[int, ...]
    """Positions of its quarantined rows."""
    outcome: Outcome
    input_fp: str
    attempt_id: str

    @property
    def accounts(self) -> Accounts:
        if self.outcome is Outcome.SATISFIED:
            return Accounts()
        loaded = max(len(rows) for rows in self.rows.values())
        return Accounts(read=loaded + len(self.aside) + 1, loaded=loaded, filtered=1, quarantined=len(self.aside))

    def stats(self) -> dict[str, OutputStat]:
        return {
            output: OutputStat(len(rows), combine_digests([digest_hex(HASHES[row]) for row in rows]))
            for output, rows in self.rows.items()
        }


@dataclass
class Model:
    """A destination as a dictionary. One rule a method, in the plainest way; nothing of raypipe decides here."""

    clock: MovingClock
    seq: int = 0
    runs: dict[str, RunRecord] = field(default_factory=dict)
    versions: dict[str, tuple[Definition, ...]] = field(default_factory=dict)
    numbers: dict[str, dict[str, int]] = field(default_factory=dict)
    """The definitions that each run began with."""
    live: dict[Window, tuple[int, str, Contribution, Mapping[str, int]]] = field(default_factory=dict)
    """By range: sequence, run, contribution, versions."""
    ledger: list[tuple[int, str, int, str, Window, Outcome]] = field(default_factory=list)
    """Sequence, run, epoch, commit id, range, outcome."""
    failed: dict[Window, FailedShard] = field(default_factory=dict)

    def opens(self, opening: RunOpening) -> OpenedRun | type[RaypipeError]:
        found, now = self.runs.get(opening.run_id), self.clock.now
        if found and found.state not in OPEN:
            return UsageError
        if found and not (opening.force or found.holder == opening.holder or now - found.heartbeat_us > 120_000_000):
            return RunIsAlive
        versions = dict(self.versions)
        for output, definition in opening.definitions.items():
            known = versions.get(output, ())
            if not known or known[-1].fingerprint != definition.fingerprint:
                versions[output] = (*known, replace(definition, version=len(known) + 1))
        numbers = {output: versions[output][-1].version for output in opening.definitions}
        if found and numbers != self.numbers[opening.run_id]:
            return UsageError  # one run never mixes two definitions
        self.versions, self.numbers[opening.run_id] = versions, numbers
        if found:
            record = replace(found, epoch=found.epoch + 1, holder=opening.holder, heartbeat_us=now)
        else:
            record = RunRecord(opening.run_id, opening.kind, opening.window, RunState.OPEN, 1, opening.holder, now, now)
        self.runs[opening.run_id] = record
        return OpenedRun(opening.run_id, record.epoch, numbers)

    def owns(self, run_id: str, epoch: int) -> bool:
        record = self.runs.get(run_id)
        return bool(record and record.epoch == epoch and record.state in OPEN)

    def beats(self, run_id: str) -> None:
        self.runs[run_id] = replace(self.runs[run_id], heartbeat_us=self.clock.now)

    def ends(self, run_id: str, state: RunState) -> None:
        record = self.runs[run_id]
        self.runs[run_id] = replace(record, state=state, epoch=record.epoch + 1, ended_us=self.clock.now)

    def fails(self, run_id: str, failures: tuple[ShardFailure, ...]) -> None:
        for one in failures:
            self.settles(one.window)
        self.failed.update({one.window: FailedShard(one.window, run_id, one.code, one.error) for one in failures})

    def settles(self, window: Window) -> None:
        self.failed = {known: one for known, one in self.failed.items() if not known.meets(window)}

    def commits(self, asked: Asked) -> tuple[Receipt, dict[Window, Outcome]] | type[RaypipeError]:
        """Return the receipt that is due, and what is to be done for it: nothing where it was done before or not at all."""
        request = asked.request
        if not self.owns(request.run_id, request.epoch):
            return Fenced
        before = {window: outcome for _, _, _, known, window, outcome in self.ledger if known == request.commit_id}
        if before:
            seq = next(seq for seq, _, _, known, _, _ in self.ledger if known == request.commit_id)
            left_out = tuple(sorted(one.window for one in asked.shards if one.window not in before))
            return Receipt(request.commit_id, seq, before, left_out), {}
        done: dict[Window, Outcome] = {}
        conflicts = []
        for one in sorted(asked.shards, key=lambda one: one.window):
            outcome = None if any(one.window.meets(taken) for taken in done) else self._outcome(one, request.definitions)
            if outcome is None:
                conflicts.append(one.window)
            else:
                done[one.window] = outcome
        if not done or (request.atomic and conflicts):
            return Receipt(request.commit_id, self.seq, {}, tuple(conflicts)), {}
        if request.atomic and Outcome.SUPERSEDED in done.values():
            done = dict.fromkeys(done, Outcome.SUPERSEDED)
        return Receipt(request.commit_id, self.seq + 1, done, tuple(conflicts)), done

    def _outcome(self, one: Contribution, versions: Mapping[str, int]) -> Outcome | None:
        met = {window: live for window, live in self.live.items() if window.meets(one.window)}
        as_seen = {Observed(window.start_us, window.end_us, live[0]) for window, live in met.items()} == one.observed
        if not as_seen or not all(one.window.contains(window) for window in met):
            return None
        if one.outcome is Outcome.SATISFIED:
            hours = {hour for window, live in met.items() if _not_older(live[3], versions) for hour in _hours_of(window)}
            return Outcome.SATISFIED if hours >= set(_hours_of(one.window)) else None
        return one.outcome if all(_not_older(versions, live[3]) for live in met.values()) else Outcome.SUPERSEDED

    def applies(self, asked: Asked, done: Mapping[Window, Outcome]) -> None:
        self.seq += 1
        request = asked.request
        self.beats(request.run_id)
        for one in asked.shards:
            outcome = done.get(one.window)
            if outcome is None:
                continue
            self.ledger.append((self.seq, request.run_id, request.epoch, request.commit_id, one.window, outcome))
            if outcome is not Outcome.SUPERSEDED:
                self.settles(one.window)
            if outcome in (Outcome.LOADED, Outcome.EMPTY):
                self.live = {window: live for window, live in self.live.items() if not window.meets(one.window)}
                self.live[one.window] = (self.seq, request.run_id, one, dict(request.definitions))

    # ---- what a destination should show -------------------------------------------------------------------

    def rows(self, output: str) -> list[Row]:
        return sorted(row for _, _, one, _ in self.live.values() for row in one.rows[output])

    def aside(self) -> list[tuple[int, int]]:
        return sorted((window.start_us, place) for window, (_, _, one, _) in self.live.items() for place in one.aside)

    def entries(self, *, epochs: bool) -> list[tuple[Any, ...]]:
        return sorted(
            (seq, window.start_us, window.end_us, run, commit, outcome.value, epoch if epochs else None)
            for seq, run, epoch, commit, window, outcome in self.ledger
        )

    def snapshot(self) -> Snapshot:
        covered = _covered(self.live)
        runs = [
            replace(
                run,
                committed=sum(by == run.run_id and outcome is not Outcome.SUPERSEDED for _, by, _, _, _, outcome in self.ledger),
                failed=sum(one.run_id == run.run_id for one in self.failed.values()),
            )
            for run in sorted(self.runs.values(), key=lambda one: (one.started_us, one.run_id), reverse=True)
        ]
        return Snapshot(
            commit_seq=self.seq,
            watermark_us=covered[0].end_us if covered and covered[0].start_us == 0 else None,
            live=tuple(
                LiveRange(
                    output, window, seq, run, one.attempt_id, versions[output], one.input_fp, one.stats()[output].digest,
                    len(one.rows[output]), 1,
                )
                for window, (seq, run, one, versions) in sorted(self.live.items(), key=lambda item: item[0])
                for output in OUTPUTS
            ),
            coverage=dict.fromkeys(OUTPUTS, covered) if covered else {},
            failed=tuple(one for _, one in sorted(self.failed.items())),
            definitions=dict(sorted(self.versions.items())),
            runs=tuple(runs),
            accounts=total(one.accounts for _, _, one, _ in self.live.values()),
        )  # fmt: skip


def _not_older(ours: Mapping[str, int], theirs: Mapping[str, int]) -> bool:
    return all(ours[output] >= theirs[output] for output in OUTPUTS)


def _hours_of(window: Window) -> range:
    return range(window.start_us // HOUR_US, window.end_us // HOUR_US)


def _covered(live: Mapping[Window, Any]) -> tuple[Window, ...]:
    """Cover hour by hour: the slow way."""
    hours = sorted({hour for window in live for hour in _hours_of(window)})
    groups = [list(group) for _, group in itertools.groupby(enumerate(hours), lambda pair: pair[1] - pair[0])]
    return tuple(Window(group[0][1] * HOUR_US, (group[-1][1] + 1) * HOUR_US) for group in groups)


# ---- what is asked of a destination -----------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One group of staged shards, and what a destination is handed for it."""

    shards: tuple[Contribution, ...]
    request: CommitRequest
    staged: tuple[Staged, ...]


class Workbench:
    """Stages made-up work: each row has a number of its own."""

    def __init__(self, folder: Path) -> None:
        self.stage_folder = folder / "stage"
        self._numbers = itertools.count()
        self._attempts = itertools.count(1)

    def stage(
        self, run: OpenedRun, plan: Mapping[Window, frozenset[Observed]], kinds: list[str], *,
        wide: bool, atomic: bool, in_files: bool, version: int,
    ) -> Asked:  # fmt: skip
        attempt = next(self._attempts)
        file = Slice(InputFile("file:///in.csv", 10, f"v{version}"))
        shards = tuple(Shard(0, window, Reason.NEW, observed, (file,)) for window, observed in plan.items())
        task = Task(run.run_id, run.epoch, attempt, 0, shards)
        made = [self._contribution(shard, kind, task.attempt_id, wide) for shard, kind in zip(shards, kinds, strict=True)]
        return self._asked(run, task, tuple(made), wide=wide, atomic=atomic, in_files=in_files)

    def again(self, run: OpenedRun, asked: Asked, *, in_files: bool) -> Asked:
        """Do the same work once more, as Ray may: the same rows by another attempt."""
        task = replace(asked.staged[0].task, run_id=run.run_id, epoch=run.epoch, attempt=next(self._attempts))
        shards = tuple(replace(one, attempt_id=task.attempt_id) for one in asked.shards)
        wide = any(row[1] for one in shards for rows in one.rows.values() for row in rows)
        return self._asked(run, task, shards, wide=wide, atomic=asked.request.atomic, in_files=in_files)

    def _contribution(self, shard: Shard, kind: str, attempt_id: str, wide: bool) -> Contribution:
        def rows(count: int) -> tuple[Row, ...]:
            return tuple((next(self._numbers), "wide" if wide else None) for _ in range(count))

        counts = {"rows": (1, 2), "many": (3, 0), "empty": (0, 0), "aside": (0, 1), "satisfied": (0, 0)}[kind]
        outcome = {"satisfied": Outcome.SATISFIED, "empty": Outcome.EMPTY}.get(kind, Outcome.LOADED)
        aside = tuple(next(self._numbers) for _ in range(2)) if kind == "aside" else ()
        made = dict(zip(OUTPUTS, (rows(count) for count in counts), strict=True))
        fp = input_fingerprint(shard.slices)
        return Contribution(shard.window, shard.observed, made, aside, outcome, fp, attempt_id)

    def _asked(
        self, run: OpenedRun, task: Task, shards: tuple[Contribution, ...], *, wide: bool, atomic: bool, in_files: bool
    ) -> Asked:  # fmt: skip
        slices = {one.window: one.slices for one in task.shards}
        results = tuple(
            ShardResult(
                one.window, one.observed, slices[one.window], one.accounts, one.stats(),
                {"departed": 1}, {"plausible": len(one.aside)} if one.aside else {},
                event_start_us=one.window.start_us, event_end_us=one.window.end_us - 1,
            )
            for one in shards
        )  # fmt: skip
        commits = tuple(
            ShardCommit(result, one.outcome, one.attempt_id, one.input_fp) for one, result in zip(shards, results, strict=True)
        )
        named = [(one.window, one.outcome.value, output_fingerprint(one.result.outputs), one.result.observed) for one in commits]
        request = CommitRequest(
            run_id=run.run_id, epoch=run.epoch, commit_id=commit_id(run.run_id, named), shards=commits,
            definitions=run.definitions, atomic=atomic,
        )  # fmt: skip
        tables = {output: _table(output, shards, wide) for output in OUTPUTS} | {"_quarantine": _quarantine(shards)}
        there = tuple(one for one in results if one.accounts.read)
        staged = Staged(task=task, results=there, tables=tables, fingerprints={})
        if in_files:
            staged = write_staged(staged, attempt_folder(str(self.stage_folder), run.run_id, task.attempt_id))
        return Asked(shards, request, (staged,))


def _table(output: str, shards: tuple[Contribution, ...], wide: bool) -> pa.Table:
    rows = [(n, s, one.window.start_us) for one in shards for n, s in one.rows[output]]
    columns: dict[str, Any] = {"n": pa.array([n for n, _, _ in rows], pa.int64())}
    if wide:
        columns["s"] = pa.array([s for _, s, _ in rows], pa.string())
    return pa.table({**columns, "_shard": _times([start for _, _, start in rows])})


def _quarantine(shards: tuple[Contribution, ...]) -> pa.Table:
    places = [(one.window.start_us, place) for one in shards for place in one.aside]
    text = pa.array(["x"] * len(places), pa.string())
    return pa.table(
        {
            "_shard": _times([start for start, _ in places]),
            "source": text,
            "position": pa.array([place for _, place in places], pa.int64()),
            "rule": pa.array(["plausible"] * len(places), pa.string()),
            "error": text,
            "raw": text,
            "truncated": pa.array([False] * len(places), pa.bool_()),
        }
    )


def _times(starts: list[int]) -> pa.Array:
    return pa.array(starts, pa.int64()).cast(pa.timestamp("us"))


# ---- places -----------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a destination shows."""

    snapshot: Snapshot
    rows: Mapping[str, list[Row]]
    aside: list[tuple[int, int]]
    entries: list[tuple[Any, ...]]
    wrong: list[str]


class DuckDBPlace:
    """A DuckDB file, looked at in one opening."""

    files = epochs = True

    def __init__(self, folder: Path, clock: MovingClock) -> None:
        self._path, self._clock = folder / "flights.duckdb", clock
        self.destination: Destination = DuckDBFile(str(self._path), "flights", clock=clock)

    def see(self, *, prove: bool) -> Seen:
        with reading(str(self._path), self._clock) as connection:
            snapshot = read_snapshot(connection, "flights")
            ask = lambda sql: connection.execute(sql).fetchall()  # noqa: E731
            rows = {output: self._rows(connection, output) for output in OUTPUTS}
            aside = ask("SELECT epoch_us(shard), position FROM _raypipe.quarantine ORDER BY ALL")
            entries = ask(
                "SELECT seq, epoch_us(lo), epoch_us(hi), run, commit_id, outcome, epoch FROM _raypipe.shards ORDER BY seq, lo, hi"
            )
            checks = verify(connection, "flights") if prove else []
        return Seen(snapshot, rows, aside, entries, [f"{one.name}: {one.detail}" for one in checks if not one.ok])

    def _rows(self, connection: duckdb.DuckDBPyConnection, output: str) -> list[Row]:
        try:
            found = connection.execute(f"SELECT * EXCLUDE (_shard) FROM {output}").fetchall()
        except duckdb.CatalogException:
            return []
        return sorted(row if len(row) == 2 else (row[0], None) for row in found)


class MemoryPlace:
    """Dictionaries, with a ledger that keeps no epochs, and no files."""

    files = epochs = False

    def __init__(self, folder: Path, clock: MovingClock) -> None:
        self.destination = MemoryDestination("flights", clock=clock)

    def see(self, *, prove: bool) -> Seen:
        state = self.destination.store.pipelines["flights"]
        return Seen(
            self.destination.snapshot(),
            {output: sorted((row["n"], row.get("s")) for row in self.destination.rows(output)) for output in OUTPUTS},
            sorted((window.start_us, row["position"]) for window, rows in state.quarantine.items() for row in rows),
            sorted(_plain(one) for one in state.ledger),
            [],
        )


def _plain(entry: LedgerEntry) -> tuple[Any, ...]:
    window, run_id = entry.shard.window, entry.run_id
    return (entry.seq, window.start_us, window.end_us, run_id, entry.commit_id, entry.outcome.value, None)


# ---- the machine ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """How a group of shards looks."""

    windows: list[Window]
    kinds: list[str]
    widen: bool
    stale: bool
    atomic: bool
    wide: bool
    in_files: bool


def _often(*chances: bool) -> st.SearchStrategy[bool]:
    return st.sampled_from(chances)


windows = st.tuples(st.integers(0, HOURS - 1), st.integers(1, 3)).map(
    lambda pair: Window(pair[0] * HOUR_US, min(HOURS, sum(pair)) * HOUR_US)
)
shapes = st.builds(
    Shape,
    windows=st.lists(windows, min_size=1, max_size=3),
    kinds=st.lists(st.sampled_from(["rows", "rows", "many", "empty", "aside", "satisfied"]), min_size=3, max_size=3),
    widen=_often(True, True, True, False),
    stale=_often(False, False, False, True),
    atomic=_often(False, False, True),
    wide=_often(False, False, True),
    in_files=_often(False, False, True),
)
prints = st.sampled_from(["f1", "f1", "f2"])


class DestinationMachine(RuleBasedStateMachine):
    """The rules. `place_of` says which destination."""

    place_of: type[DuckDBPlace] | type[MemoryPlace] = MemoryPlace
    look_every, prove_every = 2, 8  # changes: to look takes as long as to commit, and `verify` three times as long

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="raypipe-machine-"))
        self.clock = MovingClock()
        self.place = self.place_of(self.folder, self.clock)
        self.model = Model(self.clock)
        self.bench = Workbench(self.folder)
        self.handles: list[OpenedRun] = []
        self.pending: list[Asked] = []
        self.seen_before: list[frozenset[Observed]] = [frozenset()]
        self.changes = self.looked = 0
        self.states: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.armed: tuple[str, type[BaseException]] | None = None
        self._hits = (duckdb_destination.hit, duckdb_commit.hit)
        duckdb_destination.hit = duckdb_commit.hit = self._hit

    def teardown(self) -> None:
        duckdb_destination.hit, duckdb_commit.hit = self._hits
        try:
            if self.handles:
                self._compare(prove=True)
        finally:
            shutil.rmtree(self.folder)

    def _hit(self, point: str) -> None:
        if self.armed and self.armed[0] == point:
            raise self.armed[1](f"failpoint {point}")

    @property
    def destination(self) -> Destination:
        return self.place.destination

    # ---- runs ---------------------------------------------------------------------------------------------

    @initialize()
    def two_runs(self) -> None:
        """The first has an older definition than the second."""
        self._open("r0", "f1", "far:1:1.0", force=False)
        self._open("r1", "f2", "far:1:1.0", force=False)
        self._stepped()

    @rule(data=st.data(), act=st.sampled_from(["open", "open", "beat", "fail", "end"]))
    def manage(self, data: st.DataObject, act: str) -> None:
        {"open": self._open_or_take_over, "beat": self._beat, "fail": self._record_failures, "end": self._end}[act](data)
        self._stepped()

    def _open_or_take_over(self, data: st.DataObject) -> None:
        fingerprint, holder = data.draw(prints, "definition"), data.draw(st.sampled_from(["far:1:1.0", "near:2:2.0"]), "holder")
        force = data.draw(st.booleans(), "force")
        run_id = data.draw(st.sampled_from([f"r{len(self.model.runs)}", *sorted(self.model.runs)]), "run")
        self._open(run_id, fingerprint, holder, force=force)

    def _open(self, run_id: str, fingerprint: str, holder: str, *, force: bool) -> None:
        definitions = {"clean": Definition(0, "g1", {"sql": "g1"}), "hourly": Definition(0, fingerprint, {"sql": fingerprint})}
        opening = RunOpening(
            run_id=run_id, kind=RunKind.RUN, window=None, start_us=0, holder=holder, definitions=definitions, versions={},
            force=force,
        )  # fmt: skip
        due = self.model.opens(opening)
        with _raises(due):
            opened = self.destination.open_run(opening)
        if isinstance(due, OpenedRun):
            assert opened == due
            self.handles.append(opened)

    def _beat(self, data: st.DataObject) -> None:
        self.clock.now += data.draw(st.sampled_from([1, 119, 121]), "seconds") * 1_000_000
        run = self._handle(data)
        owns = self.model.owns(run.run_id, run.epoch)
        with _raises(None if owns else Fenced):
            self.destination.heartbeat(run.run_id, run.epoch)
        if owns:
            self.model.beats(run.run_id)

    def _end(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from([RunState.DONE, RunState.FAILED, RunState.CANCELLED]), "state")
        if state is RunState.CANCELLED:
            self._cancel(data.draw(st.sampled_from([None, *sorted(self.model.runs)]), "run"))
        else:
            self._close(self._handle(data), state)

    def _close(self, run: OpenedRun, state: RunState) -> None:
        record = self.model.runs[run.run_id]
        closed_so = record.epoch == run.epoch + 1 and record.state is state
        owns = self.model.owns(run.run_id, run.epoch)
        with _raises(None if owns or closed_so else Fenced):
            watermark_us = self.destination.close_run(run.run_id, run.epoch, state)
        if owns:
            self.model.ends(run.run_id, state)
        if owns or closed_so:
            assert watermark_us == self.model.snapshot().watermark_us

    def _cancel(self, run_id: str | None) -> None:
        due = [one.run_id for one in self.model.runs.values() if one.state in OPEN and run_id in (None, one.run_id)]
        assert sorted(self.destination.cancel(run_id)) == sorted(due)
        for one in due:
            self.model.ends(one, RunState.CANCELLED)

    def _record_failures(self, data: st.DataObject) -> None:
        window, run = data.draw(windows, "range"), self._handle(data)
        failures = [ShardFailure(window, "shard", f"no {self.clock.now}")]
        if data.draw(st.booleans(), "two"):
            failures.append(ShardFailure(Window(window.end_us, window.end_us + HOUR_US), "source_unreadable", "cut"))
        self._fail(run.run_id, run.epoch, failures)

    def _fail(self, run_id: str, epoch: int, failures: list[ShardFailure]) -> None:
        owns = self.model.owns(run_id, epoch)
        with _raises(None if owns else Fenced):
            self.destination.record_failures(run_id, epoch, failures)
        if owns:
            self.model.fails(run_id, tuple(failures))
            self.model.beats(run_id)

    # ---- work ---------------------------------------------------------------------------------------------

    @rule(data=st.data(), shape=shapes, then=st.sampled_from(["commit", "commit", "wait", "fail", "lose the run"]))
    def work(self, data: st.DataObject, shape: Shape, then: str) -> None:
        """New, late or again; of any width, also one that would cut a live range; seen now, or long ago."""
        asked = self._staged(data, shape)
        self._pend(asked)
        if then == "fail":
            self._fail(asked.request.run_id, asked.request.epoch, [ShardFailure(asked.shards[0].window, "shard", "no")])
        if then == "lose the run":
            self._open(asked.request.run_id, "f1", "near:2:2.0", force=True)
        if then != "wait":
            self._commit(asked)

    @rule(data=st.data(), shape=shapes, point=st.sampled_from(POINTS), error=st.sampled_from([Crash, OSError]))
    def work_and_crash(self, data: st.DataObject, shape: Shape, point: str, error: type[BaseException]) -> None:
        """The process ends in the middle of the transaction; what comes next opens the destination again, and may ask again."""
        self._pend(self._staged(data, shape))
        self._commit(self.pending[-1], (point, error))

    @rule(data=st.data(), shape=shapes, times=st.integers(1, 2))
    def work_and_ask_again(self, data: st.DataObject, shape: Shape, times: int) -> None:
        """The reply is lost, and the same is asked until it is answered."""
        self._pend(self._staged(data, shape))
        for _ in range(times):
            self._commit(self.pending[-1], (LOST, OSError))
        self._commit(self.pending[-1])

    def _staged(self, data: st.DataObject, shape: Shape) -> Asked:
        run = self._handle(data)
        seen = data.draw(st.sampled_from(self.seen_before), "observed") if shape.stale else self._observed()
        plan: dict[Window, frozenset[Observed]] = {}
        for window in shape.windows:
            for one in sorted(seen) if shape.widen else ():
                window = window.hull(_window(one)) if window.meets(_window(one)) else window
            if not any(window.meets(known) for known in plan):
                plan[window] = frozenset(one for one in seen if _window(one).meets(window))
        kinds = [shape.kinds[place % len(shape.kinds)] for place in range(len(plan))]
        in_files = shape.in_files and self.place.files and "satisfied" not in kinds
        version = data.draw(st.integers(1, 2), "version of the input")
        return self.bench.stage(run, plan, kinds, wide=shape.wide, atomic=shape.atomic, in_files=in_files, version=version)

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), in_files=st.booleans())
    def stage_again(self, data: st.DataObject, in_files: bool) -> None:
        """Ray runs a task twice; or the run is taken over, and does it again under its new epoch."""
        asked = self._asked(data)
        if len(asked.staged) > 1:
            return
        run = next(one for one in reversed(self.handles) if one.run_id == asked.request.run_id)
        satisfied = any(one.outcome is Outcome.SATISFIED for one in asked.shards)
        self._pend(self.bench.again(run, asked, in_files=in_files and self.place.files and not satisfied))

    @precondition(lambda self: len(self.pending) > 1)
    @rule(data=st.data())
    def join_groups(self, data: st.DataObject) -> None:
        """The driver commits what several tasks left as one group, overlapping or not."""
        first, second = self._asked(data), self._asked(data)
        same = (first.request.run_id, first.request.epoch, first.request.definitions) == (
            second.request.run_id, second.request.epoch, second.request.definitions,
        )  # fmt: skip
        attempts = {one.task.attempt_id for one in first.staged} & {one.task.attempt_id for one in second.staged}
        windows = {one.window for one in first.shards} & {one.window for one in second.shards}
        if not same or attempts or windows:
            return
        shards = (*first.request.shards, *second.request.shards)
        identity = commit_id(
            first.request.run_id,
            ((one.window, one.outcome.value, output_fingerprint(one.result.outputs), one.result.observed) for one in shards),
        )
        request = replace(first.request, commit_id=identity, shards=shards)
        self._pend(Asked((*first.shards, *second.shards), request, (*first.staged, *second.staged)))

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), keep=st.booleans())
    def commit_what_waited(self, data: st.DataObject, keep: bool) -> None:
        asked = self._asked(data)
        self._commit(asked)
        if not keep:
            self.pending.remove(asked)

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), kind=st.sampled_from(["row", "file", "garbage"]))
    def mishap(self, data: st.DataObject, kind: str) -> None:
        if kind == "garbage":
            self._collect_garbage()
        elif kind == "row":
            self._lose_a_row(self._asked(data))
        else:
            self._lose_files(self._asked(data))
        self._stepped()

    def _lose_a_row(self, asked: Asked) -> None:
        """A row of what was staged is gone: nothing of the group is committed."""
        one = next((one for one in asked.staged if not one.folder and one.tables["clean"].num_rows), None)
        if one is None:
            return
        cut = replace(one, tables={**one.tables, "clean": one.tables["clean"].slice(1)})
        staged = tuple(cut if other is one else other for other in asked.staged)
        lost = one.tables["clean"]["n"][0].as_py()
        due = self.model.commits(asked)
        of_lost = next(shard for shard in asked.shards if any(n == lost for n, _ in shard.rows["clean"]))
        if isinstance(due, tuple) and due[1].get(of_lost.window) is Outcome.LOADED:
            with pytest.raises(ShardError):
                self.destination.commit(asked.request, staged)

    def _lose_files(self, asked: Asked) -> None:
        folders = [one.folder for one in asked.staged if one.folder and Path(one.folder).exists()]
        if folders:
            (Path(folders[0]) / "clean.parquet").write_bytes(b"")
            with pytest.raises(StagedDamaged):
                self.destination.commit(asked.request, asked.staged)
            self.pending = [one for one in self.pending if not any(part.folder == folders[0] for part in one.staged)]

    def _collect_garbage(self) -> None:
        """What open runs staged stays; what the others left is gone."""
        StagedFiles(str(self.bench.stage_folder)).collect(self._open_runs)
        kept = self._open_runs()
        for asked in list(self.pending):
            for one in asked.staged:
                if one.folder:
                    assert Path(one.folder).exists() == (one.task.run_id in kept)
        self.pending = [asked for asked in self.pending if all(not one.folder or one.task.run_id in kept for one in asked.staged)]

    # ---- within -------------------------------------------------------------------------------------------

    def _open_runs(self) -> frozenset[str]:
        return frozenset(run.run_id for run in self.destination.snapshot().runs if run.ended_us is None)

    def _handle(self, data: st.DataObject) -> OpenedRun:
        """Any owner there ever was: most often one that still is, but zombies are alive too."""
        owners = [one for one in self.handles if self.model.owns(one.run_id, one.epoch)]
        if not owners:
            self._open(f"r{len(self.model.runs)}", data.draw(prints, "definition"), "far:1:1.0", force=False)
            owners = self.handles[-1:]
        zombies = [one for one in self.handles if one not in owners]
        if zombies and data.draw(_often(False, False, False, True), "a zombie"):
            owners = zombies
        return data.draw(st.sampled_from(owners), "owner")

    def _asked(self, data: st.DataObject) -> Asked:
        return self.pending[data.draw(st.integers(0, len(self.pending) - 1), "group")]

    def _pend(self, asked: Asked) -> None:
        self.pending = [*self.pending[-PENDING_MAX + 1 :], asked]

    def _observed(self) -> frozenset[Observed]:
        return frozenset(Observed(window.start_us, window.end_us, live[0]) for window, live in self.model.live.items())

    def _commit(self, asked: Asked, armed: tuple[str, type[BaseException]] | None = None) -> None:
        self.armed = armed if self.place.files else None
        due = self.model.commits(asked)
        receipt, done = due if isinstance(due, tuple) else (None, {})
        broken: BaseException | None = None
        try:
            with _raises(due):
                assert self.destination.commit(asked.request, asked.staged) == receipt
        except (Crash, OSError, RaypipeError) as error:
            broken = error
        if broken is not None:
            self._was_due(broken, done)
        self.armed = None
        if done and (broken is None or isinstance(broken, CommitUnknown) or str(broken).endswith(LOST)):
            self.model.applies(asked, done)
            self.seen_before = [*self.seen_before[-3:], self._observed()]
        self._stepped()

    def _was_due(self, error: BaseException, done: Mapping[Window, Outcome]) -> None:
        """A commit breaks off where it was told to, and loses the answer only of what happened."""
        if self.armed is None or self.armed[0] not in str(error):
            raise error
        if self.armed[0] == LOST:
            assert done
            assert self.armed[1] is Crash or isinstance(error, CommitUnknown)

    def _stepped(self) -> None:
        self.clock.now += 1
        self.changes += 1

    @invariant()
    def the_destination_is_as_the_model(self) -> None:
        if self.changes >= self.looked + self.look_every:
            self._compare(prove=self.changes // self.prove_every > self.looked // self.prove_every)
            self.looked = self.changes

    def _compare(self, *, prove: bool) -> None:
        seen = self.place.see(prove=prove)
        assert seen.wrong == []
        assert seen.entries == self.model.entries(epochs=self.place.epochs)
        assert {output: self.model.rows(output) for output in OUTPUTS} == seen.rows
        assert seen.aside == self.model.aside()
        due = self.model.snapshot()
        for name in due.__dataclass_fields__.keys() - {"digest"}:
            assert getattr(seen.snapshot, name) == getattr(due, name), name
        self._compare_digests(seen.snapshot)

    def _compare_digests(self, seen: Snapshot) -> None:
        """The digest is that of the state: the same for the same, another for another; and a glance tells it too."""
        if not seen.commit_seq and not seen.definitions:
            return
        planned_from = repr((seen.commit_seq, seen.watermark_us, seen.live, seen.coverage, seen.definitions, seen.views,
                             [(one.window, one.code) for one in seen.failed]))  # fmt: skip
        assert self.states.setdefault(seen.digest, planned_from) == planned_from
        assert self.digests.setdefault(planned_from, seen.digest) == seen.digest
        glance = self.place.destination.glance()
        assert glance.digest == seen.digest
        assert (glance.commit_seq, glance.watermark_us, glance.views) == (seen.commit_seq, seen.watermark_us, seen.views)


@contextlib.contextmanager
def _raises(due: object) -> Iterator[None]:
    """Expect the error that is due, or none."""
    if isinstance(due, type):
        with pytest.raises(due):
            yield
    else:
        yield


def _window(one: Observed) -> Window:
    return Window(one.start_us, one.end_us)


class DuckDBMachine(DestinationMachine):
    place_of = DuckDBPlace


def _bounded(examples: int, steps: int, long_examples: int) -> settings:
    return settings(
        max_examples=long_examples if LONG else examples,
        stateful_step_count=steps * 2 if LONG else steps,
        deadline=None,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),
        print_blob=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_duckdb_file_is_always_what_the_model_says() -> None:
    run_state_machine_as_test(DuckDBMachine, settings=_bounded(14, 30, 150))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_memory_destination_is_always_what_the_model_says() -> None:
    run_state_machine_as_test(DestinationMachine, settings=_bounded(60, 40, 2_000))
