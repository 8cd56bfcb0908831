"""`verify` of a DuckDB file: sound work passes, and every single wrong row or entry is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raypipe.core.state import RunState
from raypipe.destinations.duckdb import DuckDBFile

pytestmark = pytest.mark.slow  # a real file is opened several times a test
Sql = Callable[..., list[tuple[Any, ...]]]


def wrong(file: DuckDBFile) -> dict[str, str]:
    return {check.name: check.detail for check in file.verify() if not check.ok}


_made: list[bytes] = []  # the same file for every test: made once, copied


@pytest.fixture
def loaded(file: DuckDBFile, path: Path, work: Any) -> DuckDBFile:
    """Three hours, one of them empty, one replaced; two rows are equal."""
    if _made:
        path.write_bytes(_made[0])
        return file
    opened = file.open_run(work.opening())
    rows = {"hourly": [{"n": 1, "s": "x"}, {"n": 1, "s": "x"}, {"n": 2, "s": None}], "clean": [{"n": 5, "s": "y"}]}
    file.commit(*work.group(opened, {work.hours(0): rows, work.hours(1): {}, work.hours(2): rows}, quarantined={work.hours(0): 2}))
    file.commit(*work.group(opened, {work.hours(2): {"hourly": [{"n": 9, "s": "z"}]}}, snapshot=file.snapshot()))
    _made.append(path.read_bytes())
    return file


def test_sound_work_passes_every_check(loaded: DuckDBFile, work: Any) -> None:
    file = loaded
    other = file.open_run(work.opening("run2"))
    file.commit(*work.group(other, {work.hours(0): None}, snapshot=file.snapshot()))
    file.close_run("run2", other.epoch, RunState.DONE)
    file.cancel(None)
    checks = {check.name: check for check in file.verify()}
    assert wrong(file) == {}
    assert list(checks) == [
        "readable", "accounts", "live_disjoint", "live_in_ledger", "commit_ids", "fences", "runs", "definitions", "outputs",
        "quarantine", "parts", "history", "contributions", "commit_seq", "coverage", "watermark", "table clean", "table hourly",
    ]  # fmt: skip
    assert checks["table hourly"].detail == "4 rows in 3 live ranges, as committed"
    assert checks["commit_seq"].detail == "3 commits, numbered without a gap"


@pytest.mark.parametrize(
    ("harm", "detail"),
    [
        ("DELETE FROM hourly WHERE n = 9", "[1970-01-01T02:00:00Z, 1970-01-01T03:00:00Z) should hold 1 rows and holds 0"),
        ("DELETE FROM hourly WHERE rowid = 0", "[1970-01-01T00:00:00Z, 1970-01-01T01:00:00Z) should hold 3 rows and holds 2"),
        ("INSERT INTO hourly SELECT * FROM hourly WHERE n = 2", "should hold 3 rows and holds 4"),
        ("UPDATE hourly SET n = 3 WHERE n = 2", "holds 3 rows, but not those that were committed"),
        ("UPDATE hourly SET s = '' WHERE s IS NULL", "but not those that were committed"),
        ("UPDATE hourly SET s = NULL WHERE s = 'z'", "but not those that were committed"),
        ("UPDATE hourly SET n = 2, s = NULL WHERE rowid = 0", "but not those that were committed"),
        ("UPDATE hourly SET _shard = _shard + INTERVAL 1 SECOND WHERE n = 9", "but not those that were committed"),
        (
            "UPDATE hourly SET _shard = '1970-01-01 01:00:00' WHERE n = 9",
            "[1970-01-01T01:00:00Z, 1970-01-01T02:00:00Z) should hold 0",
        ),
        ("INSERT INTO hourly VALUES (1, 'x', '1999-01-01')", "1 rows of shard 1999-01-01T00:00:00Z, which is in no live range"),
        (
            "ALTER TABLE hourly ADD COLUMN extra INTEGER; UPDATE hourly SET extra = 1 WHERE n = 9",
            "but not those that were committed",
        ),
        ("ALTER TABLE hourly DROP COLUMN s", "but not those that were committed"),
        ("DROP TABLE hourly", "it does not exist, and should hold 4 rows"),
    ],
)
def test_one_row_deleted_doubled_or_changed_is_found(loaded: DuckDBFile, sql: Sql, harm: str, detail: str) -> None:
    sql(harm)
    found = wrong(loaded)
    assert list(found) == ["table hourly"]
    assert detail in found["table hourly"]


@pytest.mark.parametrize(
    ("harm", "names"),
    [
        ("DELETE FROM _raypipe.shards WHERE seq = 1 AND outcome = 'empty'", ["accounts", "live_in_ledger", "history"]),
        ("DELETE FROM _raypipe.live WHERE seq = 2 AND output = 'hourly'", ["history", "coverage", "watermark", "table hourly"]),
        (
            "UPDATE _raypipe.live SET hi = hi + INTERVAL 1 MINUTE WHERE lo = '1970-01-01'",
            ["live_disjoint", "live_in_ledger", "quarantine", "history"],
        ),
        ("UPDATE _raypipe.live SET input_fp = 'other' WHERE seq = 2", ["live_in_ledger"]),
        ("UPDATE _raypipe.coverage SET hi = hi + INTERVAL 1 HOUR WHERE output = 'clean'", ["coverage"]),
        ("UPDATE _raypipe.pipeline SET watermark = '1971-01-01'", ["watermark"]),
        ("UPDATE _raypipe.pipeline SET commit_seq = 7", ["commit_seq"]),
        ("UPDATE _raypipe.shards SET commit_id = 'other' WHERE seq = 1 AND outcome = 'empty'", ["commit_ids"]),
        ("UPDATE _raypipe.runs SET ended_seq = 1", ["fences", "runs"]),
        ("UPDATE _raypipe.shards SET epoch = 9 WHERE seq = 2", ["fences"]),
        ("DELETE FROM _raypipe.runs", ["fences", "definitions"]),
        ("DELETE FROM _raypipe.quarantine WHERE position = 0", ["quarantine"]),
        ("UPDATE _raypipe.quarantine SET shard = '1970-01-01 01:00:00' WHERE position = 0", ["quarantine"]),
    ],
)
def test_an_entry_of_the_state_that_was_tampered_with_is_found(loaded: DuckDBFile, sql: Sql, harm: str, names: list[str]) -> None:
    sql(harm)
    assert [name for name in wrong(loaded) if name != "coverage" or "coverage" in names] == names


def test_accounts_that_do_not_balance_are_found_where_the_check_was_removed(loaded: DuckDBFile, sql: Sql) -> None:
    sql(
        "CREATE TABLE _raypipe.copy AS FROM _raypipe.shards; DROP TABLE _raypipe.shards; "
        "ALTER TABLE _raypipe.copy RENAME TO shards; UPDATE _raypipe.shards SET read = read + 1 WHERE seq = 2"
    )
    assert wrong(loaded) == {"accounts": "commit 2, shard [1970-01-01T02:00:00Z, 1970-01-01T03:00:00Z) does not balance"}


def test_many_wrong_ranges_are_counted_and_the_first_are_named(file: DuckDBFile, work: Any, sql: Sql) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(hour): {"hourly": [{"n": hour}]} for hour in range(9)}))
    sql("UPDATE hourly SET n = n + 1")
    detail = wrong(file)["table hourly"]
    assert detail.count("not those that were committed") == 5
    assert detail.endswith("(and 4 more)")


def test_every_kind_of_column_is_proven_in_the_table_as_it_was_in_the_contribution(file: DuckDBFile, work: Any) -> None:
    opened = file.open_run(work.opening())
    moment = datetime(2013, 3, 31, 1, 30, tzinfo=UTC)
    types = {
        "flag": pa.bool_(), "small": pa.uint8(), "large": pa.int64(), "real": pa.float32(), "double": pa.float64(),
        "money": pa.decimal128(12, 3), "text": pa.large_string(), "blob": pa.binary(), "day": pa.date32(), "time": pa.time64("us"),
        "naive": pa.timestamp("us"), "zoned": pa.timestamp("us", "Europe/Madrid"), "many": pa.list_(pa.string()),
        "pair": pa.struct([("a", pa.int32()), ("b", pa.string())]), "word": pa.dictionary(pa.int32(), pa.string()),
    }  # fmt: skip
    row = {
        "flag": True, "small": 255, "large": -(2**62), "real": 0.1, "double": 1e-300, "money": None, "text": "a'b\"ñ\x00",
        "blob": b"\xff\x00", "day": moment.date(), "time": moment.time(), "naive": moment.replace(tzinfo=None), "zoned": moment,
        "many": ["a", None], "pair": {"a": 1, "b": "x"}, "word": "w",
    }  # fmt: skip
    rows = [row, dict.fromkeys(types), {**row, "double": float("nan"), "real": float("inf")}]
    file.commit(*work.group(opened, {work.hours(0): {"hourly": rows}}, types=types))
    file.commit(*work.group(opened, {work.hours(1): {"hourly": [{"text": "new", "more": 1}]}}))
    assert wrong(file) == {}


def test_a_file_without_raypipe_has_nothing_to_prove_or_tell(file: DuckDBFile, sql: Sql) -> None:
    assert (file.verify(), file.table_rows(), file.ledger(limit=5), file.quarantine_counts()) == ([], {}, [], [])
    sql("CREATE TABLE mine (x INTEGER)")
    assert (file.verify(), file.table_rows(), file.ledger(limit=5), file.quarantine_counts()) == ([], {}, [], [])
    assert file.quarantine_rows(rule=None, window=None, limit=5) == []


# ---- the other questions ----------------------------------------------------------------------------------


def test_people_are_told_what_is_in_quarantine_and_why(loaded: DuckDBFile, work: Any) -> None:
    assert loaded.quarantine_counts() == [
        {"rule": "plausible", "rows": 2, "first": "1970-01-01T00:00:00Z", "last": "1970-01-01T00:00:00Z", "error": "n is 0"}
    ]
    assert loaded.quarantine_counts(run_id="other") == []
    assert len(loaded.quarantine_counts(run_id="run1")) == 1
    first, second = loaded.quarantine_rows(rule="plausible", window=work.hours(0), limit=5)
    assert first == {
        "shard": "1970-01-01T00:00:00Z", "source": "file:///in.csv", "position": 0, "rule": "plausible", "error": "n is 0",
        "raw": "{}", "truncated": False, "run": "run1",
    }  # fmt: skip
    assert second["position"] == 1
    assert loaded.quarantine_rows(rule=None, window=work.hours(1), limit=5) == []
    assert loaded.quarantine_rows(rule="other", window=None, limit=5) == []
    assert len(loaded.quarantine_rows(rule=None, window=None, limit=1)) == 1


def test_the_newest_ledger_entries_come_first(loaded: DuckDBFile) -> None:
    newest, *_ = entries = loaded.ledger(limit=3)
    assert (newest["seq"], newest["start"], newest["outcome"], newest["loaded"]) == (2, "1970-01-01T02:00:00Z", "loaded", 1)
    assert [(entry["seq"], entry["start"]) for entry in entries[1:]] == [(1, "1970-01-01T02:00:00Z"), (1, "1970-01-01T01:00:00Z")]


def test_table_rows_are_counted(loaded: DuckDBFile) -> None:
    assert loaded.table_rows() == {"clean": 1, "hourly": 4}
