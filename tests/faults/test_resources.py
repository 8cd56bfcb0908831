"""A machine that lacks disk or memory in the middle of a run: it is named, nothing wrong is visible, the next run finishes."""

from __future__ import annotations

from datetime import datetime
from random import Random

import pytest

from tests.faults.forks import fork_server

ROWS = 60_000
COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp", "note": "string"}
COUNTS = [{"table": "counts", "sql": "SELECT count(*) AS n, count(DISTINCT note) AS notes FROM rows"}]
LITTLE_DISK = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1_600_000, 1_600_000))\n"  # a write of more fails
LITTLE_MEMORY = """
import resource
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 30), used + (8 << 30)))
"""
HUNGRY = """
def hungry(rows):
    '''Take more memory than the process may have, for one shard of three.'''
    if (rows.collect()["id"] % 3 == 1).any():
        bytearray(16 << 30)
    return rows
"""
HUNGRY_FOR_MANY = """
def hungry(rows):
    '''Take more memory than the process may have where there are many rows at once.'''
    if rows.collect().height > 300:
        bytearray(16 << 30)
    return rows
"""
FED = HUNGRY.replace("16 << 30", "16")


@pytest.fixture(scope="module")
def server():
    with fork_server() as made:
        yield made


def events(bench, rows: int) -> None:
    import pyarrow as pa

    random = Random(7)
    ids = pa.array(range(rows), pa.int64())
    times = pa.array([datetime(2026, 1, 1 + one % 3) for one in range(rows)], pa.timestamp("us"))
    notes = pa.array([random.randbytes(100).hex() for _ in range(rows)])
    bench.parquet("in.parquet", pa.table({"id": ids, "ts": times, "note": notes}))


@pytest.mark.slow
@pytest.mark.fault(18)
def test_a_disk_that_is_full_when_a_task_spills_fails_its_shards_by_name_and_the_next_run_finishes(server, bench):
    events(bench, ROWS)
    bench.config(
        "in.parquet", columns=COLUMNS, outputs=COUNTS, transform=[{"deduplicate": {"key": ["id"]}}],
        run={"memory": "32MiB", "retries": {"attempts": 2, "delay": "0s"}},
    )  # fmt: skip
    ended = server.cli("run", "pipeline.yaml", "--executor", "inline", cwd=bench.folder, before=LITTLE_DISK).wait()
    assert ended.code == 1, ended.err
    assert "File too large" in ended.err
    assert "Traceback" not in ended.err
    assert bench.query("SELECT * FROM _raypipe.live") == []
    bench.done()
    assert bench.query("SELECT sum(n), sum(notes) FROM counts") == [(ROWS, ROWS)]


@pytest.mark.slow
@pytest.mark.fault(15)
def test_a_step_that_exhausts_the_memory_fails_its_shard_alone_with_advice_and_the_next_run_finishes(server, bench):
    events(bench, 30)
    bench.write("steps.py", HUNGRY)
    bench.config("in.parquet", columns=COLUMNS, outputs=COUNTS, transform=[{"python": "steps:hungry"}])
    ended = server.cli("run", "pipeline.yaml", "--executor", "inline", cwd=bench.folder, before=LITTLE_MEMORY).wait()
    assert ended.code == 1, ended.err
    assert "needed more than all of run.memory (2,147,483,648 bytes), though it was done alone: give run.memory more" in ended.err
    ((error,),) = bench.query("SELECT error FROM _raypipe.failed")
    assert error.endswith("(after 2 attempts, each in another way with memory)")
    assert bench.query("SELECT DISTINCT day(lo) FROM _raypipe.live ORDER BY 1") == [(1,), (3,)]
    assert bench.query("SELECT DISTINCT code FROM _raypipe.failed") == [("out_of_memory",)]
    bench.write("steps.py", FED)
    ended = server.cli("run", "pipeline.yaml", "--executor", "inline", cwd=bench.folder, before=LITTLE_MEMORY).wait()
    assert ended.code == 0, ended.err
    assert bench.query("SELECT sum(n), sum(notes) FROM counts") == [(30, 30)]


@pytest.mark.slow
@pytest.mark.fault(15)
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_shard_that_exhausts_the_memory_whole_is_done_in_pieces_that_commit_as_one(server, bench, kind):
    import pyarrow as pa
    from pyarrow import csv

    times = [datetime(2026, 1, 1 + one % 2, one % 24, one % 60) for one in range(1_200)]
    rows = pa.table({"id": pa.array(range(1_200), pa.int64()), "ts": pa.array(times, pa.timestamp("us")), "note": ["n"] * 1_200})
    bench.write("steps.py", HUNGRY_FOR_MANY)
    bench.parquet("in.parquet", rows)
    csv.write_csv(rows, bench.folder / "in.csv")
    totals = {"table": "totals", "group_by": ["note"], "measures": {"n": "count(*)", "ids": "sum(id)"}}
    bench.config(
        f"in.{kind}", columns=COLUMNS, outputs=[{"table": "out", "rows": "all"}, totals], transform=[{"python": "steps:hungry"}]
    )
    ended = server.cli("run", "pipeline.yaml", "--executor", "inline", cwd=bench.folder, before=LITTLE_MEMORY).wait()
    assert ended.code == 0, ended.err
    assert bench.query("SELECT count(*), count(DISTINCT id), count(DISTINCT _shard) FROM out") == [(1_200, 1_200, 2)]
    assert bench.query("SELECT n, ids FROM totals") == [(1_200, sum(range(1_200)))]
    bench.write("steps.py", FED)
    bench.done()
