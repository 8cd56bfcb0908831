"""`raypipe submit` against a real cluster with a token, whose image lacks raypipe: from another process, killed, resumed, twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import psutil
import pytest

from tests.cluster.heads import SECRET, started_head

pytestmark = [pytest.mark.ray, pytest.mark.slow]

WAIT_S = 240  # on a busy machine a job takes a minute to start
DAYS = 4
ROWS = 50
CONFIG = """\
name: {name}
time: {{column: at, start: 2024-01-01, end: 2024-01-0{end}, shard: 1d}}
source: {{kind: files, path: data/*.csv, columns: {{at: timestamp, n: int64, town: string}}}}
quality: {{rules: [{{name: known, expect: "town <> '${{env:SUBMIT_SECRET}}'"}}]}}
transform:
  - python: steps:enrich
  - lookup: {{path: towns.csv, on: town, columns: [country]}}
outputs: [{{table: clean, rows: all}}]
destination: {{kind: duckdb, path: {name}.duckdb}}
"""
STEPS = """\
import time
from pathlib import Path
import polars as pl
import inner

def enrich(rows):
    while not Path({gate!r}).exists():
        time.sleep(0.05)
    return rows.with_columns(n=inner.twice(pl.col("n")))
"""


class Person:
    """Somebody at a machine that has the pipeline's folder and the token, and none of the cluster's secrets."""

    def __init__(self, folder: Path, head, name: str) -> None:
        self.folder = folder
        self.head = head
        self.gate = folder / "gate"
        (folder / "data").mkdir()
        for day in range(1, DAYS + 1):
            lines = [f"2024-01-0{day}T{n % 24:02d}:00:00,{n},{'AB'[n % 2]}" for n in range(ROWS)]
            (folder / f"data/{day}.csv").write_text("at,n,town\n" + "\n".join(lines) + "\n")
        (folder / "pipeline.yaml").write_text(CONFIG.format(name=name, end=DAYS + 1))
        (folder / "steps.py").write_text(STEPS.format(gate=str(self.gate)))
        (folder / "inner.py").write_text("def twice(column):\n    return column * 2\n")
        (folder / "towns.csv").write_text("town,country\nA,X\nB,Y\n")
        self.name = name

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "raypipe", "submit", "pipeline.yaml", "--address", self.head.job_server, *options],
            cwd=self.folder, env=self.head.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def submit(self, *options: str) -> tuple[int, str, str]:
        process = self.start(*options)
        out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err

    def jobs(self):
        return json.loads(self.submit("--status", "--json")[1])["jobs"]

    def rows(self):
        with duckdb.connect(str(self.folder / f"{self.name}.duckdb"), read_only=True) as connection:
            return connection.execute(
                "SELECT count(*), sum(n), count(DISTINCT concat(clean.at, n)), count(country) FROM clean"
            ).fetchone()

    def has_tables(self) -> bool:
        place = self.folder / f"{self.name}.duckdb"
        if not place.exists():
            return False
        with duckdb.connect(str(place), read_only=True) as connection:
            return "clean" in str(connection.execute("SELECT table_name FROM duckdb_tables()").fetchall())

    def launcher(self) -> psutil.Process:
        """The process of the run inside the job, once it waits in the Python step."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            for one in psutil.process_iter():
                try:
                    if one.cmdline()[1:4] == ["-m", "raypipe", "run"] and str(self.folder) in one.cmdline():
                        return one
                except psutil.Error:
                    continue
            time.sleep(0.2)
        raise AssertionError(self.submit("--logs"))


def until_said(process: subprocess.Popen[str], text: str) -> None:
    """Wait until a process has said something on standard error."""
    assert process.stderr is not None
    while text not in (line := process.stderr.readline()):
        assert line, "it ended before it said so"


RIGHT = (DAYS * ROWS, 2 * DAYS * sum(range(ROWS)), DAYS * ROWS, DAYS * ROWS)


@pytest.fixture(scope="module")
def head():
    with started_head() as started:
        yield started


@pytest.fixture
def person(tmp_path, head, request):
    return Person(tmp_path, head, request.node.name.partition("_and_")[0].removeprefix("test_"))


def test_a_job_runs_where_raypipe_is_not_installed_and_its_secrets_are_seen_nowhere(person, head):
    person.gate.touch()
    code, out, err = person.submit("--wait", "--json")
    assert code == 0, err
    assert f"committed of {DAYS} planned" in err  # what the run printed
    assert person.rows() == RIGHT
    job = json.loads(out)["job"]
    assert (job["state"], job["attempt"], job["exit_code"]) == ("succeeded", 1, 0)

    code, out, err = person.submit("--wait", "--json")  # the same again: told, not done
    assert (code, json.loads(out)) == (0, {"pipeline": person.name, "what": "finished", "job": job})
    assert len(person.jobs()) == 1
    assert SECRET not in err + str(person.jobs())
    assert [path for path in _files(head.folder, person.folder) if SECRET.encode() in path.read_bytes()] == []


def _files(*folders):
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def test_two_at_once_are_one_execution_and_what_is_killed_is_resumed_by_the_same_command(person):
    both = [person.start("--json"), person.start("--json")]
    told = [json.loads(process.communicate(timeout=WAIT_S)[0]) for process in both]
    assert {one["job"]["id"] for one in told} == {told[0]["job"]["id"]}
    assert sorted(one["what"] for one in told) == ["attached", "started"]

    waiting = person.start("--wait", "--json")
    launcher = person.launcher()
    until_said(waiting, "does the same already")
    launcher.kill()
    out, err = waiting.communicate(timeout=WAIT_S)
    assert (waiting.returncode, json.loads(out)["job"]["exit_code"]) == (137, 137), err

    person.gate.touch()
    code, out, err = person.submit("--wait", "--json")
    assert (code, json.loads(out)["what"], json.loads(out)["job"]["attempt"]) == (0, "resumed", 2), err
    assert person.rows() == RIGHT
    assert [job["exit_code"] for job in person.jobs()] == [137, 0]


def test_a_job_is_cancelled_from_outside_and_nothing_of_it_lands(person):
    person.submit()
    person.launcher()
    code, out, err = person.submit("--cancel", "--json")
    assert (code, json.loads(out)["job"]["state"]) == (0, "stopped"), err
    assert "Running entrypoint" in person.submit("--logs")[1]
    person.gate.touch()
    assert not person.has_tables()


def test_who_has_another_token_is_not_let_in(person):
    assert person.submit("--status")[0] == 0
    stranger = subprocess.run(
        [sys.executable, "-m", "raypipe", "submit", "pipeline.yaml", "--address", person.head.job_server, "--status"],
        cwd=person.folder, env=person.head.environment(RAY_AUTH_TOKEN="f" * 64), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (stranger.returncode, "does not accept this token" in stranger.stderr) == (2, True)
