"""The commit transaction of a DuckDB file: all or nothing under every fault, staged files, and its rows for people."""

from __future__ import annotations

import errno
import os
import pickle
import random
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from raypipe import failpoints
from raypipe.core.shard import Outcome, ShardFailure
from raypipe.core.state import Snapshot
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.duckdb_file import transaction
from raypipe.errors import CommitUnknown, DestinationBusy, RetryableError, StagedDamaged

pytestmark = pytest.mark.slow  # processes that are killed

POINTS = (
    "before_begin", "after_fence", "after_cas", "after_delete", "mid_insert", "after_insert", "after_ledger", "after_wm",
    "before_commit", "after_commit_before_ack",
)  # fmt: skip


def n(*values: int) -> dict[str, list[dict[str, int]]]:
    return {"hourly": [{"n": value} for value in values], "clean": [{"n": -value} for value in values]}


def in_child(act: Callable[[], object]) -> int:
    """Run something in a fork of this process; return how it ended (negative: by a signal)."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException as error:
            os._exit(3 if isinstance(error, RetryableError) else 4)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def arm(monkeypatch: pytest.MonkeyPatch, point: str, action: str) -> None:
    failpoints._hits.clear()
    monkeypatch.setenv("RAYPIPE_TESTING", "1")
    monkeypatch.setenv("RAYPIPE_FAILPOINTS", f"commit.{point}={action}")


@pytest.mark.parametrize("point", POINTS)
def test_a_commit_killed_anywhere_happened_whole_or_not_at_all_and_asking_again_settles_it(
    file: DuckDBFile, work: Any, sql: Any, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): n(1, 2)}, quarantined={work.hours(0): 1}))
    asked = work.group(opened, {work.hours(0): n(3), work.hours(1): n(4)}, snapshot=file.snapshot())
    before = file.snapshot()
    arm(monkeypatch, point, "kill")
    assert in_child(lambda: file.commit(*asked)) == -signal.SIGKILL
    monkeypatch.undo()
    happened = point == "after_commit_before_ack"
    assert (file.snapshot() == before) is not happened
    assert [check for check in file.verify() if not check.ok] == []
    receipt = file.commit(*asked)
    assert receipt.outcomes == {work.hours(0): Outcome.LOADED, work.hours(1): Outcome.LOADED}
    assert sql("SELECT n FROM hourly ORDER BY n") == [(3,), (4,)]
    assert sql("SELECT n FROM clean ORDER BY n") == [(-4,), (-3,)]
    assert (file.snapshot().commit_seq, sql("SELECT count(*) FROM _raypipe.quarantine")) == (2, [(0,)])
    assert [check for check in file.verify() if not check.ok] == []


@pytest.mark.parametrize("point", POINTS[1:-1])
def test_a_disk_that_fails_before_commit_leaves_nothing_and_may_be_tried_again(
    file: DuckDBFile, work: Any, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    opened = file.open_run(work.opening())
    asked = work.group(opened, {work.hours(0): n(1)})
    before = file.snapshot()
    arm(monkeypatch, point, "raise:ENOSPC")
    with pytest.raises(RetryableError, match=os.strerror(errno.ENOSPC)):
        file.commit(*asked)
    monkeypatch.undo()
    assert file.snapshot() == before
    assert file.commit(*asked).commit_seq == 1


def test_a_full_disk_loses_no_commit_and_leaves_no_half(file: DuckDBFile, work: Any, path: Path) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): n(1)}))
    texts = random.Random(1)
    rows = [{"n": place, "s": f"{texts.getrandbits(2048):x}"} for place in range(20_000)]
    asked = work.group(opened, {work.hours(1): {"hourly": rows}})

    def commit_with_little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 200_000,) * 2)
        file.commit(*asked)

    assert in_child(commit_with_little_room) == 3
    assert [check for check in file.verify() if not check.ok] == []
    file.commit(*asked)
    assert file.table_rows() == {"clean": 1, "hourly": 20_001}
    assert [check for check in file.verify() if not check.ok] == []


class _Engine:
    """A connection whose COMMIT, or what stands before it, gives an error."""

    def __init__(self, at_commit: duckdb.Error | None = None) -> None:
        self.at_commit = at_commit
        self.calls: list[str] = []

    def begin(self) -> None:
        self.calls.append("begin")

    def rollback(self) -> None:
        self.calls.append("rollback")

    def commit(self) -> None:
        self.calls.append("commit")
        if self.at_commit:
            raise self.at_commit


def test_any_error_of_commit_itself_is_unknown() -> None:
    engine: Any = _Engine(duckdb.IOException("fsync failed"))
    with pytest.raises(CommitUnknown, match="fsync failed"), transaction(engine):
        pass
    assert engine.calls == ["begin", "commit"]


def test_a_conflict_of_the_engine_before_commit_is_busy_and_rolled_back() -> None:
    engine: Any = _Engine()
    with pytest.raises(DestinationBusy, match="Conflict on update"), transaction(engine):
        raise duckdb.TransactionException("Conflict on update!")
    assert engine.calls == ["begin", "rollback"]


# ---- staged files -----------------------------------------------------------------------------------------


def test_contributions_in_files_are_loaded_as_those_in_memory(file: DuckDBFile, work: Any, sql: Any, tmp_path: Path) -> None:
    opened = file.open_run(work.opening())
    staged = work.group(opened, {work.hours(0): n(1, 2), work.hours(1): n(3)}, quarantined={work.hours(1): 2}, folder=tmp_path)
    asked, left = work.group(opened, {work.hours(2): n(4)})
    both = replace(asked, shards=(*staged[0].shards, *asked.shards))
    assert len(file.commit(both, [*staged[1], *left]).outcomes) == 3
    assert sql("SELECT n, epoch(_shard) / 3600 FROM hourly ORDER BY n") == [(1, 0), (2, 0), (3, 1), (4, 2)]
    assert sql("SELECT count(*) FROM _raypipe.quarantine") == [(2,)]
    assert [check for check in file.verify() if not check.ok] == []


def test_only_the_shards_asked_for_are_read_out_of_a_staged_file(file: DuckDBFile, work: Any, sql: Any, tmp_path: Path) -> None:
    opened = file.open_run(work.opening())
    asked, left = work.group(opened, {work.hours(0): n(1), work.hours(1): n(2), work.hours(2): n(3)}, folder=tmp_path)
    file.commit(replace(asked, shards=(asked.shards[0], asked.shards[2])), left)
    assert sql("SELECT n FROM hourly ORDER BY n") == [(1,), (3,)]


@pytest.mark.parametrize(
    "harm", [lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), Path.unlink], ids=["changed", "gone"]
)
def test_a_staged_file_that_is_not_what_its_manifest_says_is_never_loaded(
    file: DuckDBFile, work: Any, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    opened = file.open_run(work.opening())
    asked, left = work.group(opened, {work.hours(0): n(1)}, folder=tmp_path)
    harm(tmp_path / "hourly.parquet")
    with pytest.raises(StagedDamaged, match=r"hourly\.parquet"):
        file.commit(asked, left)
    assert file.snapshot().live == ()


# ---- what people query ------------------------------------------------------------------------------------


def test_the_ledger_says_what_happened_in_columns_that_people_can_query(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): n(1), work.hours(1): {}}, quarantined={work.hours(0): 1}))
    assert sql(
        "SELECT seq, lo::VARCHAR, outcome, read, loaded, filtered, quarantined, event_end::VARCHAR FROM _raypipe.shards ORDER BY lo"
    ) == [
        (1, "1970-01-01 00:00:00", "loaded", 3, 1, 1, 1, "1970-01-01 00:59:59.999999"),
        (1, "1970-01-01 01:00:00", "empty", 1, 0, 1, 0, "1970-01-01 01:59:59.999999"),
    ]  # fmt: skip
    assert sql("SELECT kind, rule, sum(rows) FROM _raypipe.filtered GROUP BY ALL ORDER BY ALL") == [
        ("broken", "late", 4),
        ("broken", "plausible", 1),
        ("filtered", "departed", 2),
    ]
    assert sql("SELECT count(*) FROM duckdb_tables() WHERE schema_name = '_raypipe' AND comment IS NULL") == [(0,)]


def test_the_ledger_refuses_accounts_that_do_not_balance(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): n(1)}))
    with pytest.raises(duckdb.ConstraintException):
        sql("UPDATE _raypipe.shards SET loaded = loaded + 1")


def test_a_superseded_range_is_marked_late_until_it_is_committed(file: DuckDBFile, work: Any, sql: Any) -> None:
    old = file.open_run(work.opening("old"))
    new = file.open_run(work.opening("new", fingerprints={"hourly": "f2", "clean": "g1"}))
    file.commit(*work.group(new, {work.hours(0): n(1)}))
    file.commit(*work.group(old, {work.hours(0): n(2)}, snapshot=file.snapshot()))
    assert sql("SELECT reason, epoch(hi) FROM _raypipe.late") == [("superseded", 3600)]
    assert sql("SELECT outcome FROM _raypipe.shards ORDER BY seq") == [("loaded",), ("superseded",)]
    assert [check for check in file.verify() if not check.ok] == []
    file.commit(*work.group(new, {work.hours(0): n(3)}, snapshot=file.snapshot()))
    assert sql("SELECT * FROM _raypipe.late") == []


def test_a_destination_travels_to_another_process(file: DuckDBFile, work: Any) -> None:
    opened = file.open_run(work.opening())
    copy = pickle.loads(pickle.dumps(file))
    copy.commit(*work.group(opened, {work.hours(0): n(1)}))
    assert file.snapshot() != Snapshot()
    assert file.snapshot() == copy.snapshot()


def test_an_answer_that_was_lost_is_unknown_and_the_ledger_has_it(
    file: DuckDBFile, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = file.open_run(work.opening())
    asked = work.group(opened, {work.hours(0): n(1)})
    arm(monkeypatch, "after_commit_before_ack", "raise:EIO")
    with pytest.raises(CommitUnknown, match="lost"):
        file.commit(*asked)
    monkeypatch.undo()
    assert file.commit(*asked).commit_seq == 1
    assert file.table_rows() == {"clean": 1, "hourly": 1}


def test_thousands_of_failures_are_remembered_at_once(file: DuckDBFile, work: Any, sql: Any) -> None:
    opened = file.open_run(work.opening())
    failures = [ShardFailure(work.hours(hour), "shard", f"no {hour}", hour % 2 == 0) for hour in range(3000)]
    file.record_failures("run1", opened.epoch, failures)
    file.record_failures("run1", opened.epoch, failures[:1])
    assert sql("SELECT count(*), count(DISTINCT lo), sum(retryable::INTEGER) FROM _raypipe.failed") == [(3000, 3000, 1500)]
    assert file.snapshot().failed[7].error == "no 7"
