"""A commit that touches one key or group of a table, against the number of its keys or groups."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from perf.bench import Bench
from perf.canonical import WrongAnswer
from perf.commits import HOUR_US, TABLE, open_commits
from perf.values import Figure, Found, short_count
from raypipe.core.merge import Combined, Keyed, Merge, parse_measure

QUESTION = "Does a commit that touches one key or group of a table grow with the table?"
COMMITS = 15
MERGES: Mapping[str, Merge] = {
    "combined": Combined(("g",), tuple(parse_measure(name, text) for name, text in {"n": "count(*)", "mean": "avg(x)"}.items())),
    "keyed": Keyed(("g",)),
}


def run(bench: Bench) -> Iterator[Found]:
    """Measure a small table and a large one of each kind, in this process."""
    sizes = bench.sizes(1_000, 1_000_000, quick=1_000) if not bench.quick else (1_000, 50_000)
    figures = []
    for kind, merge in MERGES.items():
        medians = {}
        for keys in sizes:
            bench.run_yardstick()
            with tempfile.TemporaryDirectory(prefix="raypipe-perf-") as folder:
                seconds = _commits(Path(folder) / "out.duckdb", merge, keys)
            medians[keys] = statistics.median(seconds)
            name = f"touched.{kind}.{short_count(keys)}.commit"
            figures.append(Figure(name, medians[keys] * 1000, "ms", min(seconds) * 1000, max(seconds) * 1000))
        figures.append(Figure(f"touched.{kind}.large/small", medians[sizes[-1]] / medians[sizes[0]], "times"))
    title = f"touched keys, tables of {' and '.join(short_count(one) for one in sizes)}"
    notes = (f"Medians of {COMMITS} commits in one process.",)
    yield Found("touched", title, QUESTION, figures=tuple(figures), notes=notes, noise=bench.taken_yardsticks())


def _commits(path: Path, merge: Merge, keys: int) -> list[float]:
    """Load a table of so many keys, then touch one of them again and again."""
    commits = open_commits(path, merge)
    commits.commit(range(1), _columns(merge, range(keys), 0))
    seconds = [commits.commit(range(hour, hour + 1), _columns(merge, [keys // 2], hour)) for hour in range(1, COMMITS + 1)]
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute(f"SELECT count(*) FROM {TABLE}").fetchone()
    if found != (keys,):
        raise WrongAnswer(f"the table holds {found} rows, expected {keys}")
    return seconds


def _columns(merge: Merge, keys: Sequence[int], hour: int) -> dict[str, pa.Array]:
    rows = len(keys)
    names = {"g": pa.array([f"key {key}" for key in keys])}
    if isinstance(merge, Combined):
        ones = pa.array([1] * rows, pa.int64())
        return names | {"n.count": ones, "mean.sum": pa.array([0.5] * rows), "mean.count": ones}
    return names | {
        "x": pa.array([0.5] * rows),
        "_time": pa.array([hour * HOUR_US] * rows, pa.timestamp("us")),
        "_source": pa.array(["file"] * rows),
        "_position": pa.array(range(rows), pa.int64()),
        "_raypipe_deleted": pa.array([False] * rows),
    }
