"""`python -m perf.flights`: a year of flights in one zipped CSV, in daily and hourly shards, beside one DuckDB pass."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from perf.measure import measure

ROOT = Path(__file__).parent.parent
RUNS = 5
DUCKDB_PASS = """
import importlib.util, sys, zipfile, duckdb
spec = importlib.util.spec_from_file_location("expected", "{root}/tests/end_to_end/flights_by_duckdb.py")
expected = importlib.util.module_from_spec(spec); spec.loader.exec_module(expected)
expected.compute("{scratch}")
"""


def main() -> None:
    walls: dict[str, list[float]] = {"duckdb": [], "1d": [], "1h": []}
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as scratch:
            script = DUCKDB_PASS.format(root=ROOT, scratch=scratch)
            walls["duckdb"].append(measure([sys.executable, "-c", script]).wall_s)
            for shard in ("1d", "1h"):
                walls[shard].append(measure(_command(Path(scratch), shard)).wall_s)
    base = statistics.median(walls["duckdb"])
    print(f"one DuckDB pass {base:.2f} s, median of {RUNS} runs in turn")
    for shard in ("1d", "1h"):
        ratios = [ours / theirs for ours, theirs in zip(walls[shard], walls["duckdb"], strict=True)]
        print(f"  shards of {shard}: {statistics.median(walls[shard]):.2f} s, {statistics.median(ratios):.2f} times the pass")


def _command(scratch: Path, shard: str) -> list[str]:
    overrides = [
        f"destination.path={scratch}/{shard}.duckdb",
        f"time.shard={shard}",
        *(["quality.checks=[]"] if shard == "1h" else []),
    ]
    options = [word for override in overrides for word in ("--set", override)]
    return [sys.executable, "-m", "raypipe", "run", str(ROOT / "configs/flights.yaml"), "-q", "--executor", "inline", *options]


if __name__ == "__main__":
    main()
