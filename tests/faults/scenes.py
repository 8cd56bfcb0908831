"""Scenes: a small pipeline brought to a failpoint, made to fail there, finished by a plain run, and proven.

Each point belongs to one scene, which says what stood before and what is run with the point armed. After it the next plain
run must end well, the oracle must hold, and tables, ledger, quarantine and coverage must be those of a run that nothing befell.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import click.testing

from raypipe import launch
from raypipe.cli.exits import EXIT_UNEXPECTED as UNEXPECTED
from raypipe.cli.group import cli
from raypipe.testing import oracle
from tests.faults.contents import contents
from tests.faults.forks import Server

LONG_AGO_S = 10**9  # a file that was written a moment ago has another version than a settled one
ENDS = {"kill": (-9,), "abort": (-6,), "exit": (70,), "hang": (-9,)}
"""How the process ends that meets these actions; the others are survived."""
MAY_END = {0, 1, 4}
"""How a run may end that was told of an error: it went on, it failed, or it does not know."""
UNFORESEEN = {"settle.before_ask", "gc.after_list"}
"""Points at which nothing is read or written: an error there would be a bug, and is told as one."""

CONFIG = """
name: scene
time: {column: ts, start: 2026-01-01, end: 2026-01-06, shard: 12h}
source: {kind: files, path: "*.csv", format: csv, columns: {id: {type: int64, required: true}, ts: timestamp, amount: float64}}
quality: {rules: [{name: not_negative, expect: "amount >= 0"}], max_quarantined: {share: 50%, at_least: 100}}
transform:
  - {filter: amount <> 7, name: not_seven}
outputs:
  - {table: clean, rows: all}
  - {table: daily, sql: "SELECT date_trunc('day', ts) AS day, count(*) AS events, sum(amount) AS amount FROM rows GROUP BY ALL"}
destination: {kind: duckdb, path: out.duckdb}
run: {memory: 1GiB, retries: {attempts: 3, delay: 0s}}
"""
TABLES = ("clean", "daily")
SLOW = """
  - python: slow:step
"""
SLOW_STEP = """
import os, time

def step(rows):
    if os.environ.get("RAYPIPE_SLOW") == "1":
        time.sleep(2.1)  # dear enough for its work to be staged
    return rows
"""
PLAIN = {"RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": "", "RAYPIPE_SLOW": "0"}
"""Nothing is armed; said aloud, since a worker of Ray keeps what an earlier run set."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What comes before a point, and the command that meets it."""

    before: str = ""
    """Failpoints of a run that comes first, and is to leave something behind."""
    command: tuple[str, ...] = ("run",)
    also: str = ""
    """Failpoints that are armed with the point, so that it is met at all."""
    options: tuple[str, ...] = ()
    heartbeat_s: float = 60.0


LEFT = "commit.before_begin=kill"  # a run that staged its work and is gone
ONE_SHARD = ("--start", "2026-01-01", "--end", "2026-01-01T12:00")  # a task of several is halved and done again when it fails
DONE = "done"  # a run that nothing befell
SCENES: Mapping[str, Scene] = {
    "adopt.mid_link": Scene(before=LEFT),
    "adopt.after_link": Scene(before=LEFT),
    "gc.after_list": Scene(before=LEFT, command=("gc",)),
    "gc.mid_delete": Scene(before=LEFT, command=("gc",)),
    "cancel.after_commit": Scene(before=LEFT, command=("cancel",)),
    "commit.after_compaction": Scene(before=DONE, command=("compact",), options=("--before", "2026-01-04", "--any-cut")),
    "failures.after_commit": Scene(also="task.start=raise:EIO", options=("--set", "run.retries.attempts=1", *ONE_SHARD)),
    "settle.before_ask": Scene(also="commit.before_commit=raise:EIO"),
    "heartbeat.after_commit": Scene(heartbeat_s=0.0),
}
"""The scenes of points that a run over changed and new files does not meet by itself."""


@contextlib.contextmanager
def quick(heartbeat_s: float) -> Iterator[None]:
    """Have many tasks of a few rows, all of them staged, and no waits."""
    changes = {
        "raypipe.core.grouping.ROWS_MIN": 1,
        "raypipe.engine.stage.StageWhenDear.wants_files": lambda self, **figures: True,
        "raypipe.runtime.driver.HEARTBEAT_S": heartbeat_s,
        "raypipe.runtime.settling.SETTLE_WAIT_S": 0.01,
    }
    with contextlib.ExitStack() as stack:
        for name, value in changes.items():
            stack.enter_context(mock.patch(name, value))
        yield


QUICKLY = "from tests.faults.scenes import quick\nkept = quick({heartbeat_s})\nkept.__enter__()\n"


@dataclass
class Stage:
    """A folder with the pipeline, on which scenes are played one after the other."""

    folder: Path
    server: Server
    executor: str = "inline"
    _kept: dict[str, Path] = field(default_factory=dict)
    _untouched: list[list[tuple[object, ...]]] = field(default_factory=list)

    def set_up(self) -> None:
        """Commit a first version of the source, change the source, and see what a run makes of it that nothing befalls."""
        slow = self.executor == "ray"  # its workers are other processes, for which nothing can be patched
        (self.folder / "pipeline.yaml").write_text(CONFIG.replace("\noutputs:", SLOW + "outputs:") if slow else CONFIG)
        (self.folder / "slow.py").write_text(SLOW_STEP)
        self._write("a.csv", range(60))
        self._write("b.csv", range(60, 80))
        assert self._cli("run").exit_code == 0
        self._write("a.csv", range(60), plus=1)
        self._write("c.csv", range(80, 120))
        self._keep("")
        assert self._cli("run").exit_code == 0
        self._prove(True)
        self._untouched = self._contents()
        self._keep(DONE)
        for before in {scene.before for scene in SCENES.values()} - {"", DONE}:
            self._restore("")
            assert self._ends(before, Scene()) == -9
            self._keep(before)

    def play(self, point: str, action: str, nth: int = 1, *, whole_oracle: bool = False) -> bool:
        """Make the n-th hit of a point fail; raise AssertionError unless all is well afterwards. Tell whether it was met.

        The untouched run was proven by the oracle, so that being equal to it and keeping the laws of the ledger proves the
        same; with `whole_oracle` it is asked all the same.
        """
        scene = SCENES.get(point, Scene())
        self._restore(scene.before)
        armed = f"{point}={action}@{nth}" + (f";{scene.also}" if scene.also else "")
        with tempfile.TemporaryDirectory() as tokens:
            code = self._armed(armed, scene, tokens, action)
            met = (Path(tokens) / f"0-{point}.fired").exists()
        ends = ENDS.get(action, ()) if met and self.executor == "inline" else ()
        assert code in (ends or MAY_END) or (code == UNEXPECTED and point in UNFORESEEN), f"{armed}: it ended with {code}"
        if (
            code != 0 or scene.command != ("run",) or scene.options
        ):  # on Ray a driver that died is followed by another: all went well
            last = self._cli("run")
            assert last.exit_code == 0, f"{armed}: the next run ended with {last.exit_code}: {last.output}"
        self._prove(whole_oracle)
        have, due = self._contents(), self._untouched
        if scene.command == ("compact",) and code == 0:  # live ranges are others now; all else is as it was
            have, due = ([*found[: len(TABLES)], *found[len(TABLES) + 1 :]] for found in (have, due))
        assert have == due, armed
        return met

    def _prove(self, whole_oracle: bool) -> None:
        path = self.folder / "pipeline.yaml"
        if whole_oracle:
            oracle.check(path)
        else:
            assert [one for one in launch.verify(launch.load(str(path))) if not one.ok] == []

    # ---- within ---------------------------------------------------------------------------------------------

    def _armed(self, armed: str, scene: Scene, tokens: str, action: str) -> int:
        environment = {"RAYPIPE_FAILPOINTS": armed, "RAYPIPE_FP_DIR": tokens, "RAYPIPE_SLOW": "1"}
        if self.executor == "inline" and action in ENDS:
            return self._ends(armed, scene, tokens, hangs=action == "hang")
        with mock.patch.dict(os.environ, environment):
            return self._cli(*scene.command, *scene.options, heartbeat_s=scene.heartbeat_s).exit_code

    def _ends(self, armed: str, scene: Scene, tokens: str = "", *, hangs: bool = False) -> int:
        """Run in a process of its own; one that hangs is killed."""
        environment = {"RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": armed, **({"RAYPIPE_FP_DIR": tokens} if tokens else {})}
        quickly = QUICKLY.format(heartbeat_s=scene.heartbeat_s)
        arguments = self._arguments(*scene.command, *scene.options, executor="inline")
        process = self.server.cli(*arguments, cwd=self.folder, before=quickly, **environment)
        while hangs and not list(Path(tokens).glob("0-*.fired")) and _runs(process.pid):
            time.sleep(0.01)
        if hangs:
            process.signal(9)
        return process.wait().code

    def _cli(self, verb: str, *options: str, heartbeat_s: float = 60.0) -> click.testing.Result:
        armed = {name: value for name, value in os.environ.items() if name.startswith("RAYPIPE_")}
        with mock.patch.dict(os.environ, {**PLAIN, **armed}), quick(heartbeat_s):
            return click.testing.CliRunner().invoke(cli, self._arguments(verb, *options), prog_name="raypipe")

    def _arguments(self, verb: str, *options: str, executor: str = "") -> list[str]:
        chosen = ["--executor", executor or self.executor] if verb == "run" else []
        return [verb, str(self.folder / "pipeline.yaml"), *chosen, *options]

    def _contents(self) -> list[list[tuple[object, ...]]]:
        return contents(self.folder / "out.duckdb", *TABLES)

    def _write(self, name: str, numbers: range, plus: int = 0) -> None:
        lines = [f"{one},2026-01-0{1 + one % 5}T{one % 24:02}:00:00,{(one + plus) % 11 - 0.5}" for one in numbers]
        path = self.folder / name
        path.write_text("id,ts,amount\n" + "\n".join([*lines, f"x,2026-01-01,{plus}", ""]))
        os.utime(path, (LONG_AGO_S + plus, LONG_AGO_S + plus))

    def _keep(self, name: str) -> None:
        kept = self._kept[name] = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=f"{self.folder.name}-"))
        for one in self.folder.glob("out.duckdb*"):
            (shutil.copytree if one.is_dir() else shutil.copy)(one, kept / one.name)

    def _restore(self, name: str) -> None:
        for one in self.folder.glob("out.duckdb*"):
            (shutil.rmtree if one.is_dir() else Path.unlink)(one)
        for one in self._kept[name].glob("*"):
            (shutil.copytree if one.is_dir() else shutil.copy)(one, self.folder / one.name)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
