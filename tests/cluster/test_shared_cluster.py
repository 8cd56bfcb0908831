"""One local Ray for all runs of a machine: they see nothing of each other, end in any order, and leave nothing.

The long form, ten at once: `python -m tests.faults.ten_on_ray`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import psutil
import pytest

from raypipe.runtime.session_folder import MARK, SessionFolder
from tests.faults.belonging import processes_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

GIVE_UP_S = 120  # on a busy machine
CONFIG = """\
name: shared
time: {column: ts, start: 2026-01-01, end: 2026-01-02, shard: 1d}
source: {kind: files, path: in.csv, columns: {id: int64, ts: timestamp}}
transform: [{python: "steps:step"}]
outputs: [{table: clean, rows: all}]
destination: {kind: duckdb, path: NAME.duckdb}
run: {memory: 512MiB, cpus_per_shard: 0.25, retries: {attempts: 3, delay: 0s}}
"""
STEPS = """\
import json, os, pathlib, time

HERE = pathlib.Path(__file__).parent

def step(rows):
    '''Tell where the work is done, and go on when the test says so.'''
    name = os.environ["RUN"]
    told = {"folder": os.getcwd(), "environment": dict(os.environ)}
    (HERE / f"{name}.new").write_text(json.dumps(told))
    (HERE / f"{name}.new").rename(HERE / f"{name}.json")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (HERE / f"{name}.go").exists():
        time.sleep(0.02)
    return rows
"""


class Runs:
    """Starts runs whose work waits until it is told to go on."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        self.folder = folder
        self.temporary = temporary
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "steps.py").write_text(STEPS)
        (folder / "in.csv").write_text("id,ts\n" + "".join(f"{one},2026-01-01T{one:02}:00:00\n" for one in range(24)))
        os.utime(folder / "in.csv", (10**9, 10**9))

    def start(self, name: str, **more: str) -> None:
        (self.folder / f"{name}.yaml").write_text(CONFIG.replace("NAME", name))
        (self.folder / name).mkdir(exist_ok=True)
        own = {one: value for one, value in os.environ.items() if not one.startswith(("RAY", "COV"))}
        places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, places))  # an empty one is the folder of each run: they would share no Ray
        self.started[name] = subprocess.Popen(
            [sys.executable, "-m", "raypipe", "run", str(self.folder / f"{name}.yaml"), "--executor", "ray"],
            env={**own, "PYTHONPATH": path, "TMPDIR": str(self.temporary), "RUN": name, **more},
            cwd=self.folder / name, stdout=subprocess.DEVNULL, stderr=(self.folder / f"{name}.err").open("w"),
        )  # fmt: skip

    def at_work(self, name: str) -> dict:
        """Wait until a run does its work, and return what it told."""
        told = self.folder / f"{name}.json"
        wait_until(told.exists, lambda: self.said(name))
        found = json.loads(told.read_text())
        told.unlink()
        return found

    def go_on(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()

    def ended(self, name: str) -> int:
        return self.started[name].wait(GIVE_UP_S)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.err").read_text()

    def rows(self, name: str) -> list:
        with duckdb.connect(str(self.folder / f"{name}.duckdb"), read_only=True) as connection:
            return connection.execute("SELECT id FROM clean ORDER BY id").fetchall()

    def processes(self, named: str = "") -> list[psutil.Process]:
        return processes_of(self.temporary, named)

    def nothing_left(self) -> bool:
        return not self.processes() and not list(self.temporary.iterdir())


def wait_until(there, told=lambda: "") -> None:
    deadline = time.monotonic() + GIVE_UP_S
    while not there() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert there(), told()


@pytest.fixture
def runs(tmp_path):
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as temporary, closed(Runs(tmp_path, Path(temporary))) as made:
        yield made


@contextmanager
def closed(made):
    try:
        yield made
    finally:
        for process in [*made.started.values(), *made.processes()]:
            with suppress(psutil.Error, OSError):
                process.kill()


def test_runs_at_once_share_one_ray_end_in_any_order_and_see_nothing_of_each_other(runs):
    names = ("first", "killed", "last")
    for name in names:
        runs.start(name, **{f"SECRET_OF_{name}": "s3cr3t"})
    told = {name: runs.at_work(name) for name in names}
    (folder,) = {one["environment"][MARK] for one in told.values()}
    assert len(runs.processes("raylet")) == 1
    for name, one in told.items():
        assert one["folder"] == str(runs.folder / name)
        assert [variable for variable in one["environment"] if variable.startswith("SECRET")] == [f"SECRET_OF_{name}"]
    raylet = runs.processes("raylet")[0]
    assert not [variable for one in (raylet, raylet.parent()) for variable in one.environ() if variable.startswith("SECRET")]

    runs.go_on("first")
    assert runs.ended("first") == 0, runs.said("first")
    wait_until(lambda: len(runs.processes("DriverActor")) == 2)  # its process ends a moment after it
    runs.started["killed"].kill()
    wait_until(lambda: len(runs.processes("DriverActor")) == 1)
    assert SessionFolder(Path(folder)).owner_is_alive()
    runs.go_on("last")
    assert runs.ended("last") == 0, runs.said("last")
    wait_until(runs.nothing_left)
    assert runs.rows("first") == runs.rows("last") == [(one,) for one in range(24)]
    assert "has ended" not in runs.said("last")


def test_a_run_whose_ray_is_gone_goes_on_with_another_and_leaves_nothing_of_either(runs):
    runs.start("first")
    folder = SessionFolder(Path(runs.at_work("first")["environment"][MARK]))
    psutil.Process(int(folder.read("owner").split()[1])).kill()
    assert runs.at_work("first")["environment"][MARK] != str(folder.path)
    assert "the local Ray has ended; the run goes on with another one" in runs.said("first")
    assert not folder.path.exists()
    runs.go_on("first")
    assert runs.ended("first") == 0, runs.said("first")
    assert runs.rows("first") == [(one,) for one in range(24)]
    wait_until(runs.nothing_left)
