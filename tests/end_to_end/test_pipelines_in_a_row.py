"""Three pipelines that read each other's tables: run as a set, changed at the start, killed in between; right at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import raypipe
from raypipe.cli.group import cli

PACKAGE = str(Path(raypipe.__file__).parents[1])
DAYS = 6
FIRST = """
name: sales
time: {column: sold_at, start: 2026-03-01, end: 2026-03-07, shard: 1d}
source: {kind: files, path: ../in/*.parquet}
transform: [{filter: cents > 0}]
outputs: [{table: sales, rows: all}]
destination: {kind: duckdb, path: ../shop.duckdb}
run: {executor: inline}
"""
SECOND = """
name: hours
time: {column: sold_at, start: 2026-03-01, end: 2026-03-07, shard: 6h}
source: {kind: table, table: sales}
outputs:
  - table: hours
    group_by: {hour: "date_trunc('hour', sold_at)", shop: shop}
    measures: {sales: count(*), cents: sum(cents)}
destination: {kind: duckdb, path: ../shop.duckdb}
run: {executor: inline}
"""
THIRD = """
name: report
time: {column: hour, start: 2026-03-01, end: 2026-03-07, shard: 2d}
source: {kind: table, table: hours, path: ../shop.duckdb}
outputs: [{table: report, sql: "SELECT shop, sum(cents)::BIGINT AS cents, max(hour) AS last FROM rows GROUP BY shop"}]
destination: {kind: duckdb, path: ../report.duckdb}
run: {executor: inline}
"""
ANSWERS = {
    "shop.duckdb": {
        "SELECT * EXCLUDE _shard FROM sales": "SELECT * FROM given WHERE cents > 0",
        "SELECT hour, shop, sales, cents::BIGINT FROM hours": """
            SELECT date_trunc('hour', sold_at), shop, count(*), sum(cents)::BIGINT FROM given WHERE cents > 0 GROUP BY ALL""",
    },
    "report.duckdb": {
        "SELECT shop, cents, last FROM report": """
            SELECT shop, sum(cents)::BIGINT, date_trunc('hour', max(sold_at)) FROM given WHERE cents > 0
            GROUP BY shop, (day(sold_at) - 1) // 2"""
    },
}


class Shop:
    """A folder with a file a day and three pipelines, and commands that are typed there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "in").mkdir()
        (folder / "pipes").mkdir()
        for name, text in (("c_first", FIRST), ("b_second", SECOND), ("a_third", THIRD)):  # a folder lists the last one first
            (folder / "pipes" / f"{name}.yaml").write_text(text)
        for day in range(1, DAYS + 1):
            self.sell(day, [(hour, hour * 7 % 5 * 100 - 50) for hour in range(24)])

    def sell(self, day: int, sales: list[tuple[int, int]], name: str = "all") -> None:
        times = [datetime(2026, 3, day) + timedelta(hours=hour, minutes=30) for hour, _ in sales]
        cents = [one for _, one in sales]
        shops = [f"shop{hour % 2}" for hour, _ in sales]
        path = self.folder / "in" / f"{day}-{name}.parquet"
        pq.write_table(pa.table({"sold_at": pa.array(times, pa.timestamp("us")), "shop": shops, "cents": cents}), path)
        os.utime(path, (10**9, 10**9 + len(sales)))

    def asks(self, verb: str, *words: str) -> tuple[int, dict[str, list[dict[str, object]]]]:
        result = CliRunner().invoke(cli, [verb, str(self.folder / "pipes"), *words, "--json"], prog_name="raypipe")
        return result.exit_code, json.loads(result.stdout)

    def redone(self) -> dict[str, list[str]]:
        """Run the set; return the starts of the shards that each pipeline committed."""
        code, document = self.asks("run")
        assert code == 0, document
        found = {}
        for run in document["runs"]:
            path = "report.duckdb" if run["pipeline"] == "report" else "shop.duckdb"
            sql = f"SELECT strftime(lo, '%d %H') FROM _raypipe.shards WHERE run = '{run['run_id']}' ORDER BY lo"
            found[str(run["pipeline"])] = [start for (start,) in self.query(path, sql)]
        assert list(found) == ["sales", "hours", "report"]
        return found

    def query(self, path: str, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect(str(self.folder / path), read_only=True) as connection:
            connection.execute(f"CREATE TEMP VIEW given AS FROM '{self.folder}/in/*.parquet'")
            return connection.execute(f"FROM ({sql}) ORDER BY ALL").fetchall()

    def is_right(self) -> bool:
        for path, answers in ANSWERS.items():
            for ours, theirs in answers.items():
                assert self.query(path, ours) == self.query(path, theirs), ours
        pipelines = [raypipe.load(str(one)) for one in (self.folder / "pipes").iterdir()]
        return all(check.ok for one in pipelines for check in raypipe.verify(one))


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_a_change_at_the_start_of_the_row_redoes_exactly_the_shards_that_it_touches_in_each(shop):
    assert {name: len(starts) for name, starts in shop.redone().items()} == {"sales": 6, "hours": 24, "report": 3}
    assert shop.is_right()
    assert shop.redone() == {"sales": [], "hours": [], "report": []}

    shop.sell(3, [(2, 500), (13, 700), (13, 900)], "late")
    assert shop.redone() == {"sales": ["03 00"], "hours": ["03 00", "03 12"], "report": ["03 00"]}
    assert shop.is_right()

    shop.sell(6, [(1, -3)], "late")  # the filter takes it away: whoever reads the table need not know
    assert shop.redone() == {"sales": ["06 00"], "hours": [], "report": []}

    shop.sell(1, [(23, 50), (0, 800)], "all")  # most of a day is gone
    assert shop.redone() == {"sales": ["01 00"], "hours": ["01 00", "01 06", "01 12", "01 18"], "report": ["01 00"]}
    assert shop.is_right()


def test_one_pipeline_that_fails_holds_back_those_behind_it_and_a_plan_of_all_says_what_waits(shop):
    shop.redone()
    (shop.folder / "in" / "4-all.parquet").write_bytes(b"no parquet")
    code, document = shop.asks("run")
    assert code == 1
    assert [one["status"] for one in document["runs"]] == ["failed", "waiting", "waiting"]

    shop.sell(4, [(5, 100)])
    code, document = shop.asks("plan")
    assert [(one["pipeline"], len(one["shards"]), one["waits_for"]) for one in document["plans"]] == [
        ("sales", 1, []), ("hours", 0, ["sales"]), ("report", 0, ["hours"])
    ]  # fmt: skip
    shop.redone()
    assert shop.is_right()


@pytest.mark.parametrize(
    "where",
    [
        "commit.after_commit_before_ack=kill",  # the first has committed, and the others know nothing of it
        "close.after=kill",  # the first is done; the second has not begun
        "commit.after_ledger=kill@2",  # the second is about to commit
    ],
)
def test_a_set_that_is_killed_between_an_upstream_commit_and_what_follows_is_finished_by_the_next_run(shop, where):
    environment = {**os.environ, "PYTHONPATH": PACKAGE, "RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": where}
    command = [sys.executable, "-m", "raypipe", "run", str(shop.folder / "pipes"), "-q"]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300)
    assert killed.returncode == -9
    assert shop.query("shop.duckdb", "SELECT count(*) > 0 FROM sales") == [(True,)]
    assert not (shop.folder / "report.duckdb").exists()

    found = shop.redone()

    assert found["report"] == ["01 00", "03 00", "05 00"]
    assert shop.is_right()
    assert shop.redone() == {"sales": [], "hours": [], "report": []}


def test_a_cycle_is_refused_before_anything_is_run(shop):
    path = shop.folder / "pipes" / "c_first.yaml"
    files, table = "kind: files, path: ../in/*.parquet", "kind: table, table: report, path: ../report.duckdb"
    path.write_text(path.read_text().replace(files, table))

    code, document = shop.asks("run")

    assert code == 2
    assert "a cycle, report -> hours -> sales -> report" in document["error"]["text"]
    assert not (shop.folder / "shop.duckdb").exists()
