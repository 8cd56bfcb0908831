"""The oracle is tested: what is lost, doubled, moved or changed at the destination is found by `verify`, every time.

Mutations are made up from the schema: in every table, rows drawn by a seed are deleted, doubled, and changed in every column.
What `verify` cannot find from the destination alone is listed in UNPROVABLE, each with the reason; a column that is in neither
list fails a test, so that whoever adds one decides.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from raypipe.core.compaction import Compaction, compaction
from raypipe.core.shard import ShardFailure
from raypipe.core.state import RunState
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.duckdb_verify import verify

pytestmark = pytest.mark.slow

SEEDS = int(os.environ.get("RAYPIPE_ORACLE_SEEDS", "1"))
"""In CI 1 (about 25 s); the long part: RAYPIPE_ORACLE_SEEDS=100."""

NOT_PROVEN = ("format", "claims", "views")
"""Tables that prove nothing: another format is refused at the door, claims are advice, on which no safety rests, and views
hold no rows."""

UNPROVABLE = {
    "pipeline.start": "the configuration says it; another start in the same covered range gives the same watermark",
    "runs.kind": "a run and a backfill commit alike",
    "runs.lo": "what was asked for leaves no trace in what was done",
    "runs.hi": "as lo",
    "runs.epoch": "a take-over leaves no trace when nothing is committed after it",
    "runs.holder": "says who, not what",
    "runs.versions": "recorded and never compared",
    "runs.outside": "rows of no table: `verify --source` counts the records of the source",
    "runs.started": "a time of a clock, which may stand anywhere",
    "runs.heartbeat": "a time of a clock",
    "runs.ended": "a time of a clock, as long as there is one",
    "runs.ended_seq": "commits of others may have come between its last one and its end",
    "runs.definitions": "what a run would have committed that has committed nothing which is live",
    "definitions.fingerprint": "the configuration says it: `plan` and `status` name what is stale",
    "definitions.parts": "explains the fingerprint",
    "definitions.seen": "a time of a clock",
    "definitions DELETE": "the newest version, as long as nothing that is live was made by it",
    "definitions.pipeline": "as DELETE",
    "schemas.columns": "another type that prints the values alike proves the same rows",
    "live.definition": "of an owner that was taken over since: what it had is not known any more",
    "live.files": "the next plan compares it with the source",
    "shards DELETE": "an entry that a later commit replaced, beside others of its commit",
    "shards.lo": "as DELETE",
    "shards.hi": "as DELETE",
    "shards.attempt": "of an entry that was replaced: nothing rests on it",
    "shards.input_fp": "as attempt",
    "shards.output_fp": "as attempt",
    "shards.commit_id": "a hash that cannot be taken again, of a commit with one entry",
    "shards.epoch": "of a commit with one entry, between those of other epochs",
    "shards.outcome": "loaded or empty, where rows were read and none was loaded",
    "shards.event_start": "within its shard",
    "shards.event_end": "within its shard",
    "shards.warnings": "texts",
    "shards.seconds": "a time of a clock",
    "shards.committed": "a time of a clock, of a commit with one entry",
    "filtered DELETE": "how often a rule was broken whose rows were kept",
    "filtered.pipeline": "as DELETE",
    "filtered.seq": "as DELETE",
    "filtered.lo": "as DELETE",
    "filtered.kind": "as DELETE",
    "filtered.rule": "a name: the counts of its shard are the same",
    "filtered.rows": "as DELETE",
    "failed DELETE": "what failed and is not committed: the next plan does it again, being new",
    "failed DOUBLE": "as DELETE",
    "failed.pipeline": "as DELETE",
    "failed.lo": "as DELETE",
    "failed.hi": "as DELETE",
    "failed.code": "as DELETE",
    "failed.error": "as DELETE",
    "failed.retryable": "as DELETE",
    "failed.failed": "as DELETE",
    "quarantine.source": "no digest of it is kept: `verify --source` sets the rows aside again and compares",
    "quarantine.position": "as source",
    "quarantine.rule": "as source, where another rule was broken as often",
    "quarantine.error": "as source",
    "quarantine.raw": "as source",
    "quarantine.truncated": "as source",
}


def other(value: Any, kind: str, draw: random.Random) -> Any:
    """Another value for a column."""
    hour = timedelta(hours=1)
    match kind.partition("(")[0]:
        case "BIGINT" | "INTEGER" | "UTINYINT":
            return (value or 0) + draw.choice([1, 2, 5])
        case "VARCHAR":
            return f"{value or ''}x"
        case "BOOLEAN":
            return not value
        case "DOUBLE" | "FLOAT":
            return (value or 0.0) + 1
        case "DECIMAL":
            return (value or Decimal(0)) + Decimal("0.001")
        case "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE":
            return (value or datetime(1970, 1, 1)) + draw.choice([hour, -hour, hour / 2, timedelta(microseconds=1)])
        case "DATE":
            return (value or date(1970, 1, 1)) + timedelta(days=1)
        case "TIME":
            return time(1, 2, 3, (value.microsecond + 1) % 1_000_000 if value else 0)
        case "BLOB":
            return (value or b"") + b"\x00"
        case "VARCHAR[]":
            return [*(value or []), None]
        case _:
            return {"a": draw.randrange(1000), "b": "other"}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file, filled once."""
    return tmp_path_factory.mktemp("history") / "flights.duckdb"


@pytest.fixture
def eventful(history: Path, still_clock: Any, work: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """Six hours and more: some replaced, one superseded, one satisfied, rows aside, a failure, a take-over, three runs."""
    if not history.exists():
        _fill(DuckDBFile(str(history), "flights", clock=still_clock), work, still_clock)
    with duckdb.connect(str(history)) as connection:
        yield connection


def _fill(file: DuckDBFile, work: Any, clock: Any) -> None:
    def rows(*numbers: int) -> dict[str, list[dict[str, Any]]]:
        return {"hourly": [{"n": n, "s": str(n)} for n in numbers], "clean": [{"n": -n, "s": None} for n in numbers]}

    run = file.open_run(work.opening())
    hours = work.hours
    file.commit(*work.group(run, {hours(h): rows(h, h + 1) for h in range(6)}, quarantined={hours(1): 2, hours(4): 1}))
    clock.now += 1_000_000
    again = work.group(run, {hours(1): rows(7), hours(2): {}}, snapshot=file.snapshot(), quarantined={hours(1): 3}, input_fp="in2")
    file.commit(*again)
    file.record_failures("run1", run.epoch, [ShardFailure(hours(8), "shard", "no")])
    run = file.open_run(work.opening())
    file.commit(*work.group(run, {hours(6, 8): rows(8, 8, 9)}))
    file.close_run("run1", run.epoch, RunState.DONE)
    old = file.open_run(work.opening("old"))
    new = file.open_run(work.opening("new", fingerprints={"hourly": "f2", "clean": "g1"}))
    file.commit(*work.group(new, {hours(3): rows(5)}, snapshot=file.snapshot()))
    file.commit(*work.group(old, {hours(3): rows(6), hours(9): rows(4)}, snapshot=file.snapshot()))
    file.commit(*work.group(new, {hours(3): None}, snapshot=file.snapshot()))
    file.commit(*work.group(new, {hours(0): rows(1, 2), hours(1): rows(7)}, snapshot=file.snapshot(), quarantined={hours(1): 3}))
    file.commit(compaction(new, Compaction((hours(0), hours(1))), work.observed(file.snapshot(), hours(0, 2))), ())
    file.close_run("new", new.epoch, RunState.FAILED)


def _mutations(
    connection: duckdb.DuckDBPyConnection, table: str, draw: random.Random, among: str = "true"
) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield a name, and SQL that does it: a row drawn anew for each is deleted, doubled, and changed in each column."""
    name = table.removeprefix("_raypipe.")
    ids = [one for (one,) in connection.execute(f"SELECT rowid FROM {table} WHERE {among} ORDER BY rowid").fetchall()]
    yield f"{name} DELETE", f"DELETE FROM {table} WHERE rowid = ?", [draw.choice(ids)]
    yield f"{name} DOUBLE", f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = ?", [draw.choice(ids)]
    for column, kind, *_ in connection.execute(f"DESCRIBE {table}").fetchall():
        place = draw.choice(ids)
        ((value,),) = connection.execute(f'SELECT "{column}" FROM {table} WHERE rowid = ?', [place]).fetchall()
        yield f"{name}.{column}", f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?', [other(value, kind, draw), place]


def _survives(connection: duckdb.DuckDBPyConnection, sql: str, values: list[Any]) -> bool:
    """Do it, verify, take it back; False also where the file's own constraints refuse it."""
    connection.begin()
    try:
        connection.execute(sql, values)
        return all(one.ok for one in verify(connection, "flights"))
    except duckdb.ConstraintException:
        return False
    finally:
        connection.rollback()


def _state_tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = '_raypipe' ORDER BY table_name")
    return [f"_raypipe.{name}" for (name,) in found.fetchall() if name not in NOT_PROVEN]


def test_the_eventful_history_is_sound(eventful: duckdb.DuckDBPyConnection) -> None:
    assert [one for one in verify(eventful, "flights") if not one.ok] == []
    outcomes = eventful.execute("SELECT DISTINCT outcome FROM _raypipe.shards ORDER BY ALL").fetchall()
    assert outcomes == [("compacted",), ("empty",), ("loaded",), ("satisfied",), ("superseded",)]
    assert [name for name in _state_tables(eventful) if not eventful.execute(f"SELECT 1 FROM {name}").fetchall()] == []


def test_what_cannot_be_proven_is_listed_and_exists(eventful: duckdb.DuckDBPyConnection) -> None:
    draw = random.Random(0)
    names = {name for table in _state_tables(eventful) for name, _, _ in _mutations(eventful, table, draw)}
    assert sorted(UNPROVABLE.keys() - names) == []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_mutation_of_the_state_is_found_or_listed(eventful: duckdb.DuckDBPyConnection, seed: int) -> None:
    draw = random.Random(seed)
    survivors = {
        name
        for table in _state_tables(eventful)
        for name, sql, values in _mutations(eventful, table, draw)
        if name not in UNPROVABLE and _survives(eventful, sql, values)
    }
    assert survivors == set()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_ledger_entry_of_a_live_range_can_be_wrong_in_nothing_that_counts(
    eventful: duckdb.DuckDBPyConnection, seed: int
) -> None:  # fmt: skip
    live = "(seq, lo) IN (SELECT (seq, lo) FROM _raypipe.live)"
    survivors = {
        name
        for name, sql, values in _mutations(eventful, "_raypipe.shards", random.Random(seed), live)
        if _survives(eventful, sql, values)
    }
    assert survivors <= {
        f"shards.{column}" for column in ("commit_id", "epoch", "event_start", "event_end", "warnings", "seconds", "committed")
    }


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_mutation_of_an_output_table_is_found(eventful: duckdb.DuckDBPyConnection, seed: int) -> None:
    draw = random.Random(seed)
    mutations = [one for table in ("hourly", "clean") for _ in range(3) for one in _mutations(eventful, table, draw)]
    assert [(sql, values) for _, sql, values in mutations if _survives(eventful, sql, values)] == []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_change_of_a_value_of_every_type_is_found(tmp_path: Path, still_clock: Any, work: Any, seed: int) -> None:
    types = {
        "flag": pa.bool_(), "small": pa.uint8(), "large": pa.int64(), "real": pa.float32(), "double": pa.float64(),
        "money": pa.decimal128(38, 3), "text": pa.string(), "blob": pa.binary(), "day": pa.date32(), "time": pa.time64("us"),
        "naive": pa.timestamp("us"), "zoned": pa.timestamp("us", "UTC"), "many": pa.list_(pa.string()),
        "pair": pa.struct([("a", pa.int64()), ("b", pa.string())]),
    }  # fmt: skip
    moment = datetime(2013, 3, 31, 1, 30)
    row = {
        "flag": True, "small": 5, "large": 2**62, "real": 0.5, "double": 1e-3, "money": Decimal("9" * 34 + ".125"), "text": "a",
        "blob": b"\xff", "day": moment.date(), "time": moment.time(), "naive": moment, "zoned": moment, "many": ["a"],
        "pair": {"a": 1, "b": "x"},
    }  # fmt: skip
    file = DuckDBFile(str(tmp_path / "types.duckdb"), "flights", clock=still_clock)
    shards = {work.hours(hour): {"hourly": [row, dict.fromkeys(types), row]} for hour in range(3)}
    file.commit(*work.group(file.open_run(work.opening()), shards, types=types))
    draw = random.Random(seed)
    with duckdb.connect(str(tmp_path / "types.duckdb")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        mutations = list(_mutations(connection, "hourly", draw))
        assert len(mutations) == len(types) + 3
        assert [name for name, sql, values in mutations if _survives(connection, sql, values)] == []


def test_a_value_that_does_not_fit_the_type_it_was_committed_with_is_found(tmp_path: Path, still_clock: Any, work: Any) -> None:
    """A column was widened since: cut back to its former type, the changed value would be the one that was committed."""
    file = DuckDBFile(str(tmp_path / "wide.duckdb"), "flights", clock=still_clock)
    run = file.open_run(work.opening())
    file.commit(*work.group(run, {work.hours(0): {"hourly": [{"n": 3, "m": None}]}}, types={"n": pa.int32(), "m": pa.int32()}))
    file.commit(*work.group(run, {work.hours(1): {"hourly": [{"n": 1.5, "m": 2**40}]}}, types={"n": pa.float64(), "m": pa.int64()}))
    with duckdb.connect(str(tmp_path / "wide.duckdb")) as connection:
        assert _survives(connection, "UPDATE hourly SET n = 3 WHERE n = ?", [3])
        assert not _survives(connection, "UPDATE hourly SET n = 3.4 WHERE n = ?", [3])
        assert not _survives(connection, "UPDATE hourly SET m = ? WHERE n = 3", [2**41])
        assert not _survives(connection, "ALTER TABLE hourly RENAME COLUMN m TO other", [])
