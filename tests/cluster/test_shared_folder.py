"""Workers stage what the driver commits: a machine of the cluster without the driver's folder is named before any work is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from raypipe.errors import ConfigurationError
from raypipe.runtime import shared_folder
from raypipe.runtime.shared_folder import SharedFolder
from tests.cluster.several_nodes import ROOT

pytestmark = pytest.mark.ray

CONFIG = """\
name: shared
time: {column: ts, start: 2024-01-01, end: 2024-01-05, shard: 1d}
source: {kind: files, path: FOLDER/events.csv, columns: {ts: timestamp, n: int64}}
outputs: [{table: days, sql: "SELECT date_trunc('day', ts) AS day, sum(n) AS total FROM rows GROUP BY ALL"}]
destination: {kind: duckdb, path: /proc/self/cwd/shared.duckdb}
"""  # a path that leads each machine to the folder that its node was started in: to different ones, on one machine
PROGRAM = """\
import contextlib, sys
from pathlib import Path
import raypipe
from raypipe.errors import ConfigurationError
from tests.cluster.several_nodes import several_nodes

here, there = Path(sys.argv[1]), Path(sys.argv[2])
with several_nodes([here, there]), contextlib.chdir(here):
    def run():
        try:
            return raypipe.run(raypipe.load(str(here / "pipeline.yaml"))).closed.status
        except ConfigurationError as error:
            return str(error)
    print(run())
    print(sorted(one.name for one in here.glob("shared.duckdb*")))
    (there / "shared.duckdb.raypipe").mkdir()
    print(run())
    (there / "shared.duckdb.raypipe").rmdir()
    (there / "shared.duckdb.raypipe").symlink_to(here / "shared.duckdb.raypipe")
    print(run())
"""


@pytest.mark.slow
def test_a_run_names_the_machines_that_do_not_share_its_folder_and_goes_on_once_they_do(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    lines = [f"2024-01-0{day}T{hour:02d}:00:00,{day}" for day in range(1, 5) for hour in range(24)]
    (tmp_path / "here" / "events.csv").write_text("ts,n\n" + "\n".join(lines) + "\n")
    (tmp_path / "here" / "pipeline.yaml").write_text(CONFIG.replace("FOLDER", str(tmp_path / "here")))
    # In a process of its own: a process is in one Ray only, and the other tests share theirs.
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "here"), str(tmp_path / "there")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    missing, left, other, shared = ended.stdout.splitlines()
    assert "/proc/self/cwd/shared.duckdb.raypipe must be one folder" in missing
    assert "(127.0.0.1) does not have it" in missing
    assert left == "['shared.duckdb.raypipe']", "a table was begun before the machines were looked at"
    assert "(127.0.0.1) has another folder there" in other
    assert shared == "done"


def test_a_folder_keeps_its_mark(tmp_path):
    marked = SharedFolder.marked(str(tmp_path / "new"))
    assert marked.problem() is None
    assert SharedFolder.marked(str(tmp_path / "new")) == marked


def test_a_machine_without_the_marked_folder_says_what_it_has(tmp_path):
    marked = SharedFolder.marked(str(tmp_path / "new"))
    (tmp_path / "new" / marked.mark).unlink()
    with pytest.raises(ConfigurationError, match="has another folder there"):
        marked.require()
    (tmp_path / "new").rmdir()
    with pytest.raises(ConfigurationError, match="does not have it"):
        marked.require()


def test_a_machine_that_may_not_write_there_says_so(tmp_path, monkeypatch):
    marked = SharedFolder.marked(str(tmp_path / "new"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert marked.problem() == "may not write there"


def test_a_machine_that_cannot_look_there_says_why(tmp_path, monkeypatch):
    def refused(self):
        raise PermissionError(13, "Permission denied")

    marked = SharedFolder.marked(str(tmp_path / "new"))
    monkeypatch.setattr(Path, "is_dir", refused)
    assert marked.problem() == "cannot look there (Permission denied)"


def test_a_machine_that_dies_while_it_is_asked_is_passed_over(tmp_path, monkeypatch):
    def died(ref):
        raise ray.exceptions.NodeDiedError("its node is gone")

    nodes = [{"NodeID": "gone", "Alive": True, "Resources": {"CPU": 2.0}}]
    monkeypatch.setattr(shared_folder, "_others", lambda here, cpus: nodes)
    monkeypatch.setattr(shared_folder, "_asked", lambda node, folder: "asked")
    monkeypatch.setattr(shared_folder.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    monkeypatch.setattr(shared_folder.ray, "wait", lambda refs, **_: (refs, []))
    monkeypatch.setattr(shared_folder.ray, "get", died)
    shared_folder.require_on_every_node(SharedFolder.marked(str(tmp_path)), 1)
