"""What digests cost is told by two processes that differ in nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

CONFIG = """
name: few
time: {column: ts, start: 2026-01-01, end: 2026-01-02, shard: 1d}
source: {kind: files, path: "in.csv", columns: {ts: timestamp, n: int64}}
outputs: [{table: sums, sql: "SELECT sum(n) AS n FROM rows"}]
destination: {kind: duckdb, path: out.duckdb}
"""
LOADED = "import perf.without_digests, sys; print([one for one in ('duckdb', 'numpy', 'polars', 'pyarrow') if one in sys.modules])"


@pytest.mark.parametrize(("module", "digested"), [("raypipe", True), ("perf.without_digests", False)])
def test_digests_are_made_or_left_out(tmp_path, monkeypatch, module, digested):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "in.csv").write_text("ts,n\n2026-01-01T05:00:00,7\n")
    (tmp_path / "few.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", module, "run", "few.yaml", "-q", "--executor", "inline"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with duckdb.connect(str(tmp_path / "out.duckdb")) as connection:
        assert connection.sql("SELECT n FROM sums").fetchall() == [(7,)]
        ((digest,),) = connection.sql("SELECT output_fp FROM _raypipe.live").fetchall()
    assert (digest != "0" * 32) == digested


def test_engines_start_as_in_the_command_itself(monkeypatch):
    """They ask once where their memory is from: what loads one before the command has told them is slower by a sixth."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
