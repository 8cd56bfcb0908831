"""Any order of arrival of the files of several inputs, at any width of shards, ends in the tables of one clean run.

Files come in any order, first in a version with other rows; in between the pipeline runs, at a width of that moment, over all of
history or a part of it, does parts again, and compacts. In CI one history runs (about 9 s of one core). The long part is

    JOIN_HISTORIES=60 pytest tests/end_to_end/test_join_histories.py

A history that fails is named by its seed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

import raypipe
from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.core.window import iso
from raypipe.launch import Ask
from raypipe.observe.several import Several
from raypipe.ports import StopFlag

HISTORIES = int(os.environ.get("JOIN_HISTORIES", "1"))
HOUR_US = 3_600_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
HOURS = 48
WIDTHS = ("4h", "4h", "6h", "12h")  # what was done at a width stays so wide
NEAR = "marks.t BETWEEN rows.t - INTERVAL 1 HOUR AND rows.t + INTERVAL 5 HOUR"
JOINED = f"""
    SELECT rows.id, rows.t, rows.n, count(marks.of) AS clicks, min(marks.t) AS first, sum(marks.weight)::BIGINT AS weight
    FROM rows LEFT JOIN marks ON marks.of = rows.id AND {NEAR} GROUP BY ALL"""
MARKED = "SELECT of, count(*) AS clicks, sum(weight)::BIGINT AS weight, min(t) AS t FROM marks WHERE _in_shard GROUP BY of, t"
CONFIG = f"""
name: histories
time: {{column: t, start: 2026-01-01, end: 2026-01-03, shard: 4h}}
source:
  kind: files
  path: shown/*.csv
  columns: {{id: int64, t: timestamp, n: int64}}
  also: [{{path: shown/*.jsonl}}]
inputs:
  marks:
    source: {{kind: files, path: marks/*.csv, columns: {{of: int64, t: timestamp, weight: int64}}}}
    time: {{column: t, lookback: 1h, lookahead: 5h}}
quality: {{max_quarantined: 100%}}
outputs:
  - {{table: joined, sql: "{JOINED.strip()}"}}
  - {{table: marked, sql: "{MARKED}"}}
  - {{table: totals, group_by: {{kind: n}}, measures: {{shown: count(*), last: max(t)}}}}
destination: {{kind: duckdb, path: out.duckdb}}
"""
ASIDE = "SELECT parse_filename(source), position, rule FROM _raypipe.quarantine ORDER BY ALL"


def drawn_lines(random: Random, name: str) -> list[str]:
    """The lines of one file, whose events lie anywhere in the two days: few ids and times, so that joins meet boundaries."""
    found = []
    for _ in range(random.randrange(1, 6)):
        time_us = START_US + random.randrange(HOURS * 4) * HOUR_US // 4
        at = iso(time_us).removesuffix("Z") if random.random() < 0.95 else "soon"
        key, value = random.randrange(2), random.randrange(4)
        found.append(f'{{"id": {key}, "t": "{at}", "n": {value}}}' if name.endswith("jsonl") else f"{key},{at},{value}")
    return found


@dataclass
class History:
    """A folder, what is still to arrive in it, and the pipeline over it."""

    folder: Path
    random: Random

    def __post_init__(self) -> None:
        for folder in ("shown", "marks"):
            (self.folder / folder).mkdir()
        (self.folder / "histories.yaml").write_text(CONFIG)
        self.pipeline = raypipe.load(str(self.folder / "histories.yaml"))
        names = ["shown/a.csv", "shown/b.csv", "shown/c.jsonl", "shown/d.jsonl", *(f"marks/{one}.csv" for one in "abcd")]
        self.waiting = [(name, drawn_lines(self.random, name)) for name in names]
        self.waiting += [(name, drawn_lines(self.random, name)) for name in self.random.sample(names, 3)]  # replaces the first
        self.random.shuffle(self.waiting)

    def arrive(self) -> None:
        name, lines = self.waiting.pop()
        heading = {"shown": "id,t,n", "marks": "of,t,weight"}[name[:5]]
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in ([] if name.endswith("jsonl") else [heading]) + lines))
        os.utime(path, (10**9, 10**9))

    def begin(self) -> None:
        self.arrive()
        assert raypipe.run(self.pipeline, executor="inline").closed.committed == HOURS // 4

    def step(self) -> None:
        for _ in range(min(len(self.waiting), self.random.randrange(1, 3))):
            self.arrive()
        act = self.random.choice((self.run, self.run, self.run, self.run_a_part, self.do_again, self.compact))
        act()

    def at_a_width(self) -> Any:
        return replace(self.pipeline, time=replace(self.pipeline.time, shard=parse_width(self.random.choice(WIDTHS))))

    def run(self, **ask: Any) -> Any:
        # a file that is replaced may leave a shard without rows of it, which is fine here
        asked = Ask(accept_shrunk=True, executor="inline", **ask)
        report = launch.run(self.at_a_width(), asked, observer=Several([]), stop=StopFlag())
        assert report.closed.failures == ()
        return report

    def a_part(self) -> dict[str, int]:
        start = self.random.randrange(HOURS - 1)
        end = self.random.randrange(start + 1, HOURS)
        return {"start_us": START_US + start * HOUR_US, "end_us": START_US + end * HOUR_US}

    def run_a_part(self) -> None:
        self.run(**self.a_part())

    def do_again(self) -> None:
        self.run(**self.a_part(), kind=RunKind.BACKFILL, scope=Scope.ALL, publish=self.random.choice(("atomic", "shard")))

    def compact(self) -> None:
        self.run()
        raypipe.compact(self.pipeline, START_US + self.random.randrange(HOURS) * HOUR_US, into=parse_width("8h"), any_cut=True)

    def finish(self) -> None:
        while self.waiting:
            self.arrive()
        self.run()
        assert self.run().closed.planned == 0


def contents(path: Path) -> dict[str, list[Any]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        queries = {table: f"SELECT * EXCLUDE (_shard) FROM {table} ORDER BY ALL" for table in ("joined", "marked")}
        queries |= {"totals": "FROM totals ORDER BY ALL", "aside": ASIDE}
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def by_duckdb(folder: Path) -> dict[str, list[Any]]:
    """The joins from the files alone."""
    with duckdb.connect() as connection:
        connection.execute(f"""
            CREATE TABLE rows AS SELECT * FROM (
                SELECT id, try_cast(t AS TIMESTAMP) AS t, n FROM read_csv('{folder}/shown/*.csv', all_varchar = true) UNION ALL
                SELECT id, try_cast(t AS TIMESTAMP), n FROM read_json('{folder}/shown/*.jsonl',
                    columns = {{id: 'VARCHAR', t: 'VARCHAR', n: 'VARCHAR'}})
            ) WHERE t IS NOT NULL;
            ALTER TABLE rows ALTER id TYPE BIGINT; ALTER TABLE rows ALTER n TYPE BIGINT;
            CREATE TABLE marks AS
            SELECT of::BIGINT AS of, try_cast(t AS TIMESTAMP) AS t, weight::BIGINT AS weight, true AS _in_shard
            FROM read_csv('{folder}/marks/*.csv', all_varchar = true) WHERE try_cast(t AS TIMESTAMP) IS NOT NULL;
        """)
        wanted = {"joined": JOINED, "marked": MARKED}
        return {name: connection.execute(f"FROM ({sql}) ORDER BY ALL").fetchall() for name, sql in wanted.items()}


@pytest.mark.parametrize("seed", range(1, HISTORIES + 1))
def test_any_history_of_the_files_of_several_inputs_ends_in_the_tables_of_a_clean_run(seed, tmp_path):
    history = History(tmp_path, Random(seed))
    history.begin()
    while history.waiting:
        history.step()
    history.finish()
    clean = replace(history.pipeline, destination=replace(history.pipeline.destination, path=str(tmp_path / "clean.duckdb")))
    assert raypipe.run(clean, executor="inline").closed.status == "done"
    found = contents(tmp_path / "out.duckdb")
    assert found == contents(tmp_path / "clean.duckdb")
    assert {name: found[name] for name in ("joined", "marked")} == by_duckdb(tmp_path)
    for checks in (raypipe.verify(history.pipeline), launch.recompute(history.pipeline)):
        assert [check for check in checks if not check.ok] == []
