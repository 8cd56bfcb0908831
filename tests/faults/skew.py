"""One day of ten times the others' rows, within a budget that it does not fit in: the run ends well, and stays in the budget.

    python -m tests.faults.skew                          # 1 million rows a day and 10 million on one, within 1 GiB
    python -m tests.faults.skew --rows 200000 --memory 384MiB

Each pipeline runs as a process tree of its own, inline; printed are the peak of its memory (shared pages once) and its CPU.
What the tables hold is compared with DuckDB's own answer over the same files. CI runs the second form.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq

from perf.measure import Measured, measure
from raypipe.config.quantities import parse_size

DAYS, LARGE_DAY, TIMES = 4, 2, 10
AT_ONCE = 100_000
DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01

OUTPUTS: Mapping[str, str] = {
    "sql": "{table: out, sql: 'SELECT country, count(*) AS n, count(DISTINCT user) AS users, sum(amount) AS amount "
    "FROM rows GROUP BY country'}",
    "group_by": "{table: out, group_by: [user], measures: {n: count(*), amount: sum(amount)}}",
    "rows": "{table: out, rows: all}",
}
ANSWERS: Mapping[str, tuple[str, str]] = {
    "sql": (
        "SELECT count(*), sum(n), sum(users), sum(amount) FROM out",
        (
            "SELECT count(*), sum(n), sum(users), sum(amount) FROM (FROM clean SELECT country, day, count(*) n, "
            "count(DISTINCT user) users, sum(amount) amount GROUP BY ALL)"
        ),
    ),
    "group_by": (
        "SELECT count(*), sum(n), sum(amount), sum(user * n) FROM out",
        "SELECT count(DISTINCT user), count(*), sum(amount), sum(user) FROM clean",
    ),
    "rows": (
        "SELECT count(*), count(DISTINCT _shard), sum(amount), sum(hash(id, ts, url)) FROM out",
        "SELECT count(*), count(DISTINCT day), sum(amount), sum(hash(id, ts, url)) FROM clean",
    ),
}
"""What is asked of the table, and the same of the files: `clean` are their rows, one an id and day."""


def write_days(folder: Path, rows: int) -> None:
    """Write a file a day; every fiftieth row comes twice, the second time a little later."""
    for day in range(DAYS):
        total = rows * (TIMES if day == LARGE_DAY else 1)
        writer = None
        for first in range(0, total, AT_ONCE):
            place = pl.int_range(first, min(first + AT_ONCE, total), eager=True)
            table = pl.DataFrame(
                {
                    "id": place - (place % 50 == 1).cast(pl.Int64),
                    "ts": (START_US + day * DAY_US + place * (DAY_US // total)).cast(pl.Datetime("us")),
                    "user": place * 7919 % 100_003,
                    "country": "c" + (place * 31 % 250).cast(pl.String),
                    "amount": place * 37 % 10_000,
                    "url": "https://example.org/" + (place * 104_729 % 9_999_991).cast(pl.String) + "/a/rather/long/way/to/it",
                }
            ).to_arrow()
            writer = writer or pq.ParquetWriter(folder / f"day-{day}.parquet", table.schema, compression="zstd")
            writer.write_table(table)
        assert writer is not None
        writer.close()


def run(kind: str, folder: Path, memory: str) -> Measured:
    """Run a pipeline with an output of this kind over the days. Raises CommandFailed, and AssertionError for other tables."""
    config = folder / f"{kind}.yaml"
    config.write_text(
        f"""name: skewed
time: {{column: ts, start: 2026-01-01, end: 2026-01-0{DAYS + 1}, shard: 1d}}
source: {{kind: files, path: day-*.parquet, format: parquet}}
transform:
  - deduplicate: {{key: [id]}}
outputs:
  - {OUTPUTS[kind]}
destination: {{kind: duckdb, path: {kind}.duckdb}}
run: {{memory: {memory}, executor: inline}}
"""
    )
    measured = measure([sys.executable, "-m", "raypipe", "run", str(config)], on_ray=False)
    require_right(kind, folder)
    return measured


def require_right(kind: str, folder: Path) -> None:
    """Compare what the table holds with DuckDB's own answer over the files."""
    asked, expected = ANSWERS[kind]
    clean = (
        "CREATE TEMP VIEW clean AS SELECT *, date_trunc('day', ts) AS day FROM read_parquet($folder || '/day-*.parquet', "
        "file_row_number = true) QUALIFY row_number() OVER (PARTITION BY id, day ORDER BY ts DESC, file_row_number DESC) = 1"
    )
    with duckdb.connect(str(folder / f"{kind}.duckdb"), read_only=True) as out, duckdb.connect() as files:
        files.execute(clean.replace("$folder", f"'{folder}'"))
        found, wanted = out.execute(asked).fetchall(), files.execute(expected).fetchall()
    assert found == wanted, f"{kind}: expected {wanted}, the table says {found}"


def main() -> int:
    """Run each pipeline and print what it took; 1 where one needed more than the budget."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of a day; one has ten times as many")
    parser.add_argument("--memory", default="1GiB", help="run.memory")
    parser.add_argument("--kinds", nargs="*", default=list(OUTPUTS), choices=list(OUTPUTS))
    asked = parser.parse_args()
    budget_bytes = parse_size(asked.memory)
    over = False
    with tempfile.TemporaryDirectory(prefix="raypipe-skew-") as name:
        write_days(Path(name), asked.rows)
        for kind in asked.kinds:
            measured = run(kind, Path(name), asked.memory)
            over = over or measured.peak_bytes > budget_bytes
            peak_mib, budget_mib = measured.peak_bytes / 1024**2, budget_bytes / 1024**2
            print(f"{kind:10} {measured.cpu_s:6.1f} s CPU, peak {peak_mib:6.0f} MiB of {budget_mib:.0f} MiB", flush=True)
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
