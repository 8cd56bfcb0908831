"""Bad situations as a person meets them at the command line: one clear text, the exit code of the contract, no traceback."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import pytest
from click.testing import Result

COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp"}
CSV = "id,ts\n1,2026-01-01T00:00:00\n2,2026-01-02T00:00:00\n"


def refused(told: Result, code: int, *texts: str) -> None:
    assert told.exit_code == code, told.stderr
    assert "Traceback" not in told.stderr + told.stdout
    for text in texts:
        assert text in told.stderr


@pytest.mark.fault(49)
def test_a_destination_that_another_program_holds_is_named_with_its_process(bench, cli):
    bench.write("in.csv", CSV)
    bench.config("in.csv", columns=COLUMNS)
    holding = "import duckdb, sys; connection = duckdb.connect('out.duckdb'); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holding]
    with subprocess.Popen(command, cwd=bench.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        told = cli("run", "pipeline.yaml", "--executor", "inline")
        refused(
            told, 1, f"error: {bench.out} is held by process {holder.pid} ", "Close it there, or stop that process, then try again"
        )
        holder.stdin.close()
    bench.done()


def test_a_destination_folder_that_is_missing_is_named_and_nothing_is_made_up(bench, cli):
    bench.write("in.csv", CSV)
    bench.config("in.csv", columns=COLUMNS, destination__path="no/where/out.duckdb")
    told = cli("run", "pipeline.yaml", "--executor", "inline")
    refused(told, 2, f"error: destination.path: the folder {bench.folder}/no/where does not exist")
    assert not (bench.folder / "no").exists()


def test_a_destination_that_is_no_duckdb_file_is_left_alone(bench, cli):
    bench.write("in.csv", CSV)
    bench.out.write_bytes(b"a diary\n" * 1000)
    bench.config("in.csv", columns=COLUMNS)
    told = cli("run", "pipeline.yaml", "--executor", "inline")
    refused(told, 2, f"error: {bench.out} is no DuckDB file: name another path under destination.path, or move that file away")
    assert bench.out.read_bytes() == b"a diary\n" * 1000


@pytest.fixture
def open_to_all():
    """A folder that anybody may enter: pytest's own are closed to all but their owner."""
    folder = Path(tempfile.mkdtemp(prefix="raypipe-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_source_file_that_may_not_be_read_fails_by_name(bench, open_to_all, kind):
    import duckdb

    bench.folder, bench.out = open_to_all, open_to_all / "out.duckdb"
    path = open_to_all / f"in.{kind}"
    duckdb.execute(f"COPY (SELECT 1 AS id, TIMESTAMP '2026-01-01' AS ts) TO '{path}' (FORMAT {kind})")
    os.utime(path, (10**9, 10**9))
    bench.config(f"in.{kind}", columns=COLUMNS)
    bench.done()  # loads all modules: others than root cannot read them everywhere
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # which may read everything
        os.seteuid(65534)
    try:
        report = bench.run("destination.path=refused.duckdb")
    finally:
        if root:
            os.seteuid(0)
    path.chmod(stat.S_IRUSR)
    bench.out = open_to_all / "refused.duckdb"
    assert {failure.code for failure in report.closed.failures} == {"source_unreadable"}
    assert {failure.error.partition(": Permission denied")[0] for failure in report.closed.failures} == {
        f"{path}: cannot be opened"
    }
    assert bench.query("SELECT * FROM _raypipe.live") == []


@pytest.mark.fault(68)
def test_a_source_that_matches_no_file_is_warned_of_and_the_files_are_read_once_they_come(bench, cli):
    bench.config("in*.csv", columns=COLUMNS)
    told = cli("run", "pipeline.yaml", "--executor", "inline")
    assert told.exit_code == 0
    warning = f"source.path matches no file: {bench.folder}/in*.csv; new shards are committed as empty."
    assert f"warning: {warning}" in told.stderr
    assert warning in " ".join(told.stdout.split())
    again = bench.done()
    assert again.closed.planned == 0
    assert again.warnings[0].startswith(warning)
    bench.write("in1.csv", CSV)
    report = bench.done()
    assert (report.closed.planned, report.warnings) == (2, ())
    assert bench.column("SELECT id FROM clean ORDER BY id") == [1, 2]


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))  # gives a write the error of a full disk, but for its number
from raypipe.engine import stage
from raypipe.runtime import settling
stage.StageWhenDear.wants_files = lambda self, **figures: {staging}
settling.SETTLE_WAIT_S = settling.SETTLE_WAIT_MAX_S = 0.0
from raypipe.cli import main
sys.argv = ["raypipe", "run", "pipeline.yaml", "--executor", "inline"]
sys.exit(main())
"""


@pytest.mark.fault(16, 17)
@pytest.mark.parametrize(
    ("limit", "staging", "code", "told"),
    [
        (200_000, True, 1, "cannot be written: File too large ("),
        (1_600_000, False, 4, "error: the outcome of the last commit is not known (COMMIT gave an error"),
    ],
    ids=["staging", "commit"],
)
def test_a_full_disk_is_named_and_the_next_run_finishes(bench, limit, staging, code, told):
    random = Random(7)
    rows = 60_000
    lines = "".join(f"{number},2026-01-0{1 + number % 3}T00:00:00,{random.randbytes(24).hex()}\n" for number in range(rows))
    bench.write("in.csv", "id,ts,note\n" + lines)
    bench.config("in.csv", columns={**COLUMNS, "note": "string"})
    script = FULL_DISK.format(limit=limit, staging=staging)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # it writes files too
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=bench.folder, env=environment, timeout=60, check=False
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    assert told in ended.stderr
    bench.done()
    assert bench.query("SELECT count(*), count(DISTINCT id), count(DISTINCT note) FROM clean") == [(rows, rows, rows)]
