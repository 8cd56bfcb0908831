"""`python -m perf --rows 1000000`: the canonical job by raypipe and by hand, in turn, as whole processes."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import duckdb

from perf.events import make_events, pipeline_text
from perf.measure import Measured, measure

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m perf", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--executor", default="inline", choices=["inline", "ray"])
    asked = parser.parse_args()
    folder = make_events(HERE / "data" / f"events-{asked.rows}", asked.rows)
    found: dict[str, list[Measured]] = {"raypipe": [], "by hand": []}
    for _ in range(asked.runs):
        with tempfile.TemporaryDirectory() as scratch:
            found["raypipe"].append(_raypipe(folder, Path(scratch), asked.executor))
            found["by hand"].append(measure([sys.executable, str(HERE / "by_hand.py"), str(folder), f"{scratch}/hand.duckdb"]))
            _require_equal(Path(scratch))
    _print(asked.rows, found)


def _raypipe(folder: Path, scratch: Path, executor: str) -> Measured:
    config = scratch / "canonical.yaml"
    config.write_text(pipeline_text(folder, scratch / "raypipe.duckdb"))
    return measure([sys.executable, "-m", "raypipe", "run", str(config), "--executor", executor])


def _require_equal(scratch: Path) -> None:
    """A figure counts only where both gave the same answer."""
    connection = duckdb.connect()
    connection.execute(
        f"ATTACH '{scratch}/raypipe.duckdb' AS ours (READ_ONLY); ATTACH '{scratch}/hand.duckdb' AS theirs (READ_ONLY)"
    )
    ours, theirs = "SELECT * EXCLUDE (_shard) FROM ours.hourly", "SELECT * FROM theirs.hourly"
    query = f"SELECT (SELECT count(*) FROM ({ours} EXCEPT ALL {theirs})), (SELECT count(*) FROM ({theirs} EXCEPT ALL {ours}))"
    different = connection.execute(query).fetchone()
    connection.close()
    if different != (0, 0):
        raise SystemExit(f"the answers differ: {different} rows")


def _print(rows: int, found: dict[str, list[Measured]]) -> None:
    print(f"{rows:,} rows, median of {len(found['raypipe'])} runs in turn")
    for name, runs in found.items():
        wall_s = statistics.median(one.wall_s for one in runs)
        cpu_s = statistics.median(one.cpu_s for one in runs)
        peak = statistics.median(one.peak_bytes for one in runs)
        print(
            f"  {name:8}  {wall_s:7.2f} s wall  {cpu_s:7.2f} s CPU  {peak / 1024**2:6.0f} MiB peak  {rows / wall_s:12,.0f} rows/s"
        )
    ratios = [a.wall_s / b.wall_s for a, b in zip(found["raypipe"], found["by hand"], strict=True)]
    print(f"  raypipe / by hand: {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
