"""The real commands, in processes of their own, as a person or a script types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import raypipe
from raypipe.cli.group import cli

PACKAGE = str(Path(raypipe.__file__).parents[1])
ROWS = {"read", "expanded", "loaded", "filtered", "duplicate", "quarantined"}

CONFIG = """
name: visits
time: {column: at_time, start: 2024-01-01, end: 2024-01-05, shard: 1d}
source:
  kind: files
  path: data/*.csv
  columns: {at_time: {type: timestamp, required: true}, page: string, ms: int32}
quality: {max_quarantined: {share: 50%, at_least: 5}, rules: [{name: possible, expect: "ms >= 0"}]}
outputs:
  - {table: visits_clean, rows: all}
  - {table: daily_visits, sql: "SELECT page, count(*) AS visits FROM rows GROUP BY ALL"}
destination: {kind: duckdb, path: visits.duckdb}
run: {executor: inline}
"""


class Person:
    """Types commands in a folder: in a process of their own, or, for the JSON of the many, in this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "raypipe", *words], cwd=self.folder, capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "PYTHONPATH": PACKAGE},
        )  # fmt: skip

    def asks(self, *words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "--json"], prog_name="raypipe")

    def reads(self, *words: str) -> dict[str, object]:
        result = self.asks(*words)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def person(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "visits.yaml").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    for day in range(1, 5):
        lines = [f"2024-01-0{day}T{hour:02d}:00:00,/p{hour % 3},{hour - (hour == 7) * 100}" for hour in range(24)]
        (tmp_path / "data" / f"{day}.csv").write_text("at_time,page,ms\n" + "\n".join(lines) + "\n")
    return Person(tmp_path)


def test_a_day_with_raypipe(person):
    plan = person.reads("plan", "visits.yaml")
    assert [(one["index"], one["reason"]) for one in plan["shards"]] == [(0, "new"), (1, "new"), (2, "new"), (3, "new")]
    assert not (person.folder / "visits.duckdb").exists()

    first = person.types("run", "visits.yaml")
    assert (first.returncode, "\x1b" in first.stdout + first.stderr) == (0, False)
    assert "possible" in first.stdout
    assert "visits: 4 shards, inline" in first.stderr

    again = person.types("run", "visits.yaml")
    assert again.returncode == 0
    assert again.stdout.startswith("visits: nothing to do; complete up to 2024-01-05T00:00:00Z")

    status = person.reads("status", "visits.yaml")
    assert status["rows"] == {"read": 96, "expanded": 0, "loaded": 92, "filtered": 0, "duplicate": 0, "quarantined": 4}
    assert status["coverage"] == [{"start": "2024-01-01T00:00:00Z", "end": "2024-01-05T00:00:00Z"}]
    assert {one["name"]: one["rows"] for one in status["tables"]} == {"visits_clean": 92, "daily_visits": 12}

    backfill = person.reads("backfill", "visits.yaml", "--start", "2024-01-02", "--end", "2024-01-03")
    assert {"pipeline", "run_id", "status", "executor", "shards", "rows", "seconds", "watermark", "failures"} <= backfill.keys()
    assert backfill["shards"] == {"planned": 1, "committed": 1, "failed": 0, "skipped": 0}
    assert backfill["rows"].keys() == ROWS

    assert [(one["rule"], one["rows"]) for one in person.reads("quarantine", "list", "visits.yaml")["rules"]] == [("possible", 4)]
    rows = person.reads("quarantine", "show", "visits.yaml", "--shards", "1:3")["rows"]
    assert [(one["shard"], one["position"], one["rule"]) for one in rows] == [
        ("2024-01-02T00:00:00Z", 9, "possible"), ("2024-01-03T00:00:00Z", 9, "possible"),
    ]  # fmt: skip

    verify = person.reads("verify", "visits.yaml")
    assert verify["ok"]
    assert all(one.keys() == {"name", "ok", "detail"} for one in verify["checks"])
    assert person.reads("cancel", "visits.yaml") == {"pipeline": "visits", "cancelled": []}
    assert person.reads("gc", "visits.yaml").keys() == {"pipeline", "folders", "size_bytes", "blanked"}
    assert len(list((person.folder / "visits.duckdb.raypipe" / "logs").glob("*.jsonl"))) == 2


def test_a_changed_file_makes_its_shard_late_and_a_lost_one_changes_nothing(person):
    person.reads("run", "visits.yaml")
    file = person.folder / "data" / "3.csv"
    file.write_text(file.read_text() + "2024-01-03T23:30:00,/p9,5\n")

    assert [(one["index"], one["reason"]) for one in person.reads("plan", "visits.yaml")["shards"]] == [(2, "late")]
    assert person.reads("run", "visits.yaml")["rows"]["read"] == 25

    file.unlink()
    shrunk = person.asks("run", "visits.yaml")
    assert shrunk.exit_code == 1
    assert "--accept-shrunk" in shrunk.stderr
    assert person.reads("status", "visits.yaml")["rows"]["read"] == 97


def test_a_shard_that_fails_leaves_the_others_committed_and_exit_code_1(person):
    (person.folder / "data" / "2.csv").write_text("at_time,page,ms\n" + "2024-01-02T01:00:00,/p1,-5\n" * 20)

    done = person.asks("run", "visits.yaml")

    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert document["shards"] == {"planned": 4, "committed": 3, "failed": 1, "skipped": 0}
    assert [(one["start"], one["code"]) for one in document["failures"]] == [("2024-01-02T00:00:00Z", "too_many_quarantined")]
    status = person.reads("status", "visits.yaml")
    assert status["gaps"] == [{"start": "2024-01-02T00:00:00Z", "end": "2024-01-03T00:00:00Z"}]
    assert status["watermark"] == "2024-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run"], "Missing argument 'CONFIG...'"),
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["run", "visits.yaml", "--set", "time.shrad=1d"], 'did you mean "shard"'),
        (["run", "visits.yaml", "--start", "2024-01-03", "--end", "2024-01-02"], "the window is inverted"),
        (["backfill", "visits.yaml"], "exactly one way"),
    ],
)
def test_a_mistake_is_one_plain_text_and_exit_code_2(person, words, text):
    done = person.asks(*words)

    assert done.exit_code == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (person.folder / "visits.duckdb").exists()


@pytest.mark.parametrize("mistake", ["SELECT pgae,,", "SELECT pgae,"], ids=["no SQL", "a mistyped column"])
def test_wrong_sql_is_told_before_anything_is_run(person, mistake):
    config = person.folder / "visits.yaml"
    config.write_text(config.read_text().replace("SELECT page,", mistake))

    done = person.asks("run", "visits.yaml")

    assert done.exit_code == 2
    assert "outputs.daily_visits.sql" in done.stderr
    assert not (person.folder / "visits.duckdb").exists()


LOADED = """
import os, sys
from raypipe.cli import main

def end(code, end=os._exit):
    print("loaded:", *sorted(set(os.environ["NAMES"].split()) & set(sys.modules)), flush=True)
    end(code)

os._exit = end
sys.argv = ["raypipe", "run", "visits.yaml"]
main()
"""
NEVER = "importlib.metadata email psutil numpy pandas ray polars.io.iceberg"


def test_a_run_loads_only_what_it_needs(person):
    for told, names in (("visits done in", NEVER), ("nothing to do", f"{NEVER} polars pyarrow rich")):
        done = subprocess.run(
            [sys.executable, "-c", LOADED],
            cwd=person.folder,
            env={**os.environ, "PYTHONPATH": PACKAGE, "NAMES": f"{names} duckdb"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0
        assert told in done.stdout
        assert done.stdout.splitlines()[-1] == "loaded: duckdb"


def test_a_pipe_that_closes_early_is_no_error(person):
    done = subprocess.run(
        f"{sys.executable} -m raypipe schema | head -c 1", cwd=person.folder, capture_output=True, text=True, shell=True,
        check=False, env={**os.environ, "PYTHONPATH": PACKAGE},
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("{", "")
