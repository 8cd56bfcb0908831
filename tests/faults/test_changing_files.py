"""Files that come late, twice, half written, or change under a run: nothing is lost, doubled, mixed or silently emptied."""

from __future__ import annotations

import gzip
import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raypipe
from raypipe.core import events as ev
from raypipe.core.shard import Reason

COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp"}
KINDS = ["csv", "parquet"]  # JSON Lines are routed as CSV is


def text_of(kind: str, rows: list[tuple[int, int]]) -> bytes:
    """Rows (id, day of January) as one file."""
    if kind == "csv":
        return ("id,ts\n" + "".join(f"{number},2026-01-0{day}T00:00:00\n" for number, day in rows)).encode()
    if kind == "jsonl":
        return "".join(f'{{"id": {number}, "ts": "2026-01-0{day}T00:00:00"}}\n' for number, day in rows).encode()
    times = pa.array([f"2026-01-0{day}T00:00:00" for _, day in rows]).cast(pa.timestamp("us"))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": pa.array([number for number, _ in rows], pa.int64()), "ts": times}), sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


FIRST = [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]


def ids(bench) -> list[int]:
    return bench.column("SELECT id FROM clean ORDER BY id")


# ---- 43: the same twice -----------------------------------------------------------------------------------


@pytest.mark.fault(43)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_same_file_delivered_twice_counts_its_rows_as_duplicates(bench, kind):
    data = text_of(kind, FIRST)
    bench.write(f"a.{kind}", data)
    bench.write(f"copy of a.{kind}", data)
    bench.config(f"*.{kind}", columns=COLUMNS, transform=[{"deduplicate": {"key": ["id"]}}])
    report = bench.done()
    assert ids(bench) == [1, 2, 3, 4, 5, 6]
    assert (report.closed.rows.read, report.closed.rows.loaded, report.closed.rows.duplicate) == (12, 6, 6)


@pytest.mark.fault(43)
def test_a_file_that_two_patterns_name_is_read_once(bench):
    bench.write("a.csv", text_of("csv", FIRST))
    bench.config("*.csv", columns=COLUMNS, source__path=["*.csv", "a.csv", str(bench.folder / "[a]*.csv")])
    report = bench.done()
    assert (report.closed.rows.read, ids(bench)) == (6, [1, 2, 3, 4, 5, 6])


# ---- 44: late ---------------------------------------------------------------------------------------------


class Seen:
    """Keeps the events of a run, and may act on one."""

    def __init__(self, **actions) -> None:
        self.events = []
        self.actions = actions

    def on(self, event: ev.RunEvent) -> None:
        self.events.append(event)
        action = self.actions.pop(type(event).__name__, None)
        if action is not None:
            action()

    def planned(self) -> list[tuple[int, Reason]]:
        return [
            (shard.index, shard.reason)
            for event in self.events
            if isinstance(event, ev.Planned) and not event.again
            for shard in event.shards
        ]


@pytest.mark.fault(44)
@pytest.mark.parametrize("kind", KINDS)
def test_a_late_file_redoes_the_shards_that_it_touches_and_no_other(bench, kind):
    bench.write(f"a.{kind}", text_of(kind, FIRST))
    bench.config(f"*.{kind}", columns=COLUMNS)
    bench.done()
    untouched = bench.query("SELECT lo, seq FROM _raypipe.live WHERE lo <> TIMESTAMP '2026-01-02'")
    bench.write(f"b.{kind}", text_of(kind, [(7, 2)]))
    seen = Seen()
    report = bench.done(observer=seen)
    assert seen.planned() == [(1, Reason.LATE)]
    assert ids(bench) == [1, 2, 3, 4, 5, 6, 7]
    assert report.closed.rows.read == 3  # the shard is read whole and replaced
    assert bench.query("SELECT lo, seq FROM _raypipe.live WHERE lo <> TIMESTAMP '2026-01-02'") == untouched
    assert bench.accounts()["read"] == 7
    assert raypipe.plan(bench.load()).plan.shards == ()


@pytest.mark.fault(44)
def test_lines_appended_to_a_file_redo_only_the_shards_whose_rows_changed(bench):
    bench.write("a.csv.gz", gzip.compress(text_of("csv", FIRST)))
    bench.config("*.csv.gz", columns=COLUMNS)
    bench.done()
    bench.write("a.csv.gz", gzip.compress(text_of("csv", [*FIRST, (7, 3)])))
    seen = Seen()
    bench.done(observer=seen)
    assert seen.planned() == [(2, Reason.LATE)]
    assert ids(bench) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.fault(44, 46)
def test_a_file_that_is_gone_after_its_commit_fails_its_shards_until_it_is_accepted(bench):
    bench.write("a.csv", text_of("csv", FIRST))
    late = bench.write("b.csv", text_of("csv", [(7, 2)]))
    bench.config("*.csv", columns=COLUMNS)
    bench.done()
    late.unlink()
    ((code, error),) = bench.failed()
    assert code == "source_shrunk"
    assert "was made from 2 files and the source has 1 for it now: nothing was changed" in error
    assert ids(bench) == [1, 2, 3, 4, 5, 6, 7]


# ---- 45: half written -------------------------------------------------------------------------------------


@pytest.mark.fault(45)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_that_is_written_during_the_runs_is_whole_in_the_end(bench, kind):
    """A writer appends piece by piece, also half lines; runs go on beside it. After its end one run has all."""
    rows = [(number, 1 + number % 3) for number in range(600)]
    data = text_of(kind, rows)
    path = bench.folder / f"in.{kind}"
    first = len(text_of(kind, rows[:10]))
    path.write_bytes(data[:first])
    bench.config(f"in.{kind}", columns=COLUMNS)

    def append() -> None:
        with path.open("ab", buffering=0) as file:
            for at in range(first, len(data), 997):
                file.write(data[at : at + 997])
                time.sleep(0.1)

    writer = threading.Thread(target=append)
    writer.start()
    while writer.is_alive():
        report = bench.run()  # a shard may fail because the file never stood still; nothing wrong may be committed
        assert {failure.code for failure in report.closed.failures} <= {"input_changed", "source_unreadable"}
        bench.proven()
        if report.closed.committed and report.closed.status == "done":
            known = ids(bench)
            assert known == list(range(len(known))) or bench.rules()  # a half line at the end is set aside until it is whole
    writer.join()
    bench.done()
    assert ids(bench) == list(range(600))
    assert bench.aside() == {}
    assert bench.accounts()["read"] == 600


@pytest.mark.fault(45)
def test_a_parquet_file_that_is_still_written_fails_by_name_and_is_read_once_it_is_whole(bench):
    data = text_of("parquet", FIRST)
    path = bench.folder / "in.parquet"
    path.write_bytes(data[:-50])
    bench.config("in.parquet", columns=COLUMNS)
    assert all(code == "source_unreadable" and str(path) in error for code, error in bench.failed())
    with path.open("ab") as file:
        file.write(data[-50:])
    bench.done()
    assert ids(bench) == [1, 2, 3, 4, 5, 6]


# ---- 46: changed between plan and read --------------------------------------------------------------------


def replace_file(path: Path, data: bytes) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(data)
    other.replace(path)


OTHER = [(number + 10, day) for number, day in FIRST]


@pytest.mark.fault(46)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_replaced_after_the_plan_is_planned_again_and_never_mixed(bench, kind):
    path = bench.write(f"in.{kind}", text_of(kind, FIRST))
    bench.config(f"in.{kind}", columns=COLUMNS)
    report = bench.done(observer=Seen(Planned=lambda: replace_file(path, text_of(kind, OTHER))))
    assert ids(bench) == [number for number, _ in OTHER]
    assert report.closed.rows.read == 6
    assert f"{path}: changed while it was read" in report.warnings[0]


@pytest.mark.fault(46)
def test_a_file_that_is_replaced_under_a_task_is_read_as_the_one_or_as_the_other(bench):
    path = bench.write("in.parquet", text_of("parquet", FIRST))
    bench.config("in.parquet", columns=COLUMNS)
    report = bench.done(observer=Seen(TaskStarted=lambda: replace_file(path, text_of("parquet", OTHER))))
    assert ids(bench) in ([number for number, _ in FIRST], [number for number, _ in OTHER])
    assert report.closed.rows.read == 6
    bench.done()  # had the old one been read just before, it is late now
    assert ids(bench) == [number for number, _ in OTHER]


@pytest.mark.fault(46)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_is_replaced_by_one_of_equal_size_and_time_is_noticed(bench, kind):
    path = bench.write(f"in.{kind}", text_of(kind, FIRST))
    bench.config(f"in.{kind}", columns=COLUMNS)
    other = [(number % 6 + 1, day) for number, day in FIRST]

    def replace() -> None:
        data = text_of(kind, other)
        assert len(data) == path.stat().st_size
        path.write_bytes(data)
        os.utime(path, (10**9, 10**9))

    bench.done(observer=Seen(Planned=replace))
    assert bench.query("SELECT id, day(ts) FROM clean ORDER BY id") == sorted(other)


@pytest.mark.fault(46)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_that_is_deleted_after_the_plan_is_told_and_its_shards_are_planned_again(bench, kind):
    bench.write(f"a.{kind}", text_of(kind, [(1, 1), (2, 2)]))
    path = bench.write(f"b.{kind}", text_of(kind, [(3, 2), (4, 3)]))
    bench.config(f"*.{kind}", columns=COLUMNS)
    report = bench.done(observer=Seen(Planned=path.unlink))
    assert f"{path}: was there when the source was listed, and is gone now; its shards were planned again" in " ".join(
        report.warnings
    )
    assert ids(bench) == [1, 2]  # as one run over what is there now would leave it, and said aloud
    assert bench.accounts()["read"] == 2
    bench.write(f"b.{kind}", text_of(kind, [(3, 2), (4, 3)]))
    bench.done()
    assert ids(bench) == [1, 2, 3, 4]


@pytest.mark.fault(46)
def test_a_named_file_that_is_gone_is_an_error_that_names_it(bench, cli):
    path = bench.write("in.csv", text_of("csv", FIRST))
    bench.config("in.csv", columns=COLUMNS)
    bench.done()
    path.unlink()
    told = cli("run", "pipeline.yaml", "--executor", "inline")
    assert told.exit_code == 1
    assert f"{path}: there is no such file" in told.stderr
    assert "Traceback" not in told.stderr
    assert ids(bench) == [1, 2, 3, 4, 5, 6]
