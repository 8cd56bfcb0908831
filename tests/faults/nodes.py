"""Nodes: runs on a Ray cluster of three nodes on this machine, whose nodes and driver are killed at random moments.

    python -m tests.faults.nodes --rounds 10 --shards 500 --seed 1     # what a release is held to, about ten minutes
    python -m tests.faults.nodes --rounds 1 --shards 500 --seed 17     # replays the choices of one round

A round runs made-up events into an empty destination. Meanwhile a node is killed with all its processes and another one
joins, again and again, and once the driver's process is killed: a new driver with the next epoch takes over, and nobody is
asked. In the end nothing may be left to do, the oracle must find nothing, and tables and ledger must be equal to those of a
run in one process that nothing befell.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil

from tests.cluster.several_nodes import CPUS, NODE_MEMORY_BYTES, several_nodes

NODES = 3
KILLS_MAX = 4  # nodes in a round
EVENTS_A_SHARD = 40
CONFIG = """\
name: nodes
time: {{column: ts, start: 2026-01-01, end: {end}, shard: 1h}}
source: {{kind: files, path: events.csv, columns: {{ts: timestamp, n: int64, who: string}}}}
quality: {{rules: [{{name: small, expect: "n < 990"}}]}}
transform: [{{python: "steps:slowly"}}]
outputs:
  - {{table: hourly, sql: "SELECT who, count(*) AS events, sum(n) AS total FROM rows GROUP BY ALL"}}
  - {{table: totals, group_by: [who], measures: {{events: count(*), total: sum(n), most: max(n)}}}}
  - {{table: clean, rows: all}}
destination: {{kind: duckdb, path: {name}.duckdb}}
run: {{memory: 1GiB, retries: {{attempts: 4, delay: 1s, factor: 2}}}}
"""
STEPS = "import time\n\ndef slowly(rows):\n    time.sleep(0.02)\n    return rows\n"
TABLES = ("hourly", "totals", "clean")


def small_tasks() -> None:
    """Let a task hold few shards, in every process of the cluster: a kill then meets many tasks."""
    from raypipe.core import grouping

    grouping.ROWS_MIN = 5 * EVENTS_A_SHARD


@dataclass
class Nodes:
    """A cluster of this process, and the pipelines that run on it."""

    folder: Path
    cluster: Any
    shards: int
    whole: Any = None
    counts: Counter[str] = field(default_factory=Counter)

    def write(self, name: str) -> Path:
        """Write a pipeline of this name over the events."""
        path = self.folder / f"{name}.yaml"
        end = datetime.datetime(2026, 1, 1) + datetime.timedelta(hours=self.shards)
        path.write_text(CONFIG.format(name=name, end=end.isoformat()))
        return path

    def prepare(self) -> None:
        """Make the events, and do once in this process what all rounds must end in."""
        import raypipe
        from tests.faults.contents import contents

        rng = Random(0)
        first = datetime.datetime(2026, 1, 1)
        lines = [
            f"{(first + datetime.timedelta(seconds=rng.randrange(self.shards * 3600))).isoformat()},{rng.randrange(1000)},{who}"
            for who in "abcd"
            for _ in range(self.shards * EVENTS_A_SHARD // 4)
        ]
        (self.folder / "events.csv").write_text("ts,n,who\n" + "\n".join(lines) + "\n")
        (self.folder / "steps.py").write_text(STEPS)
        path = self.write("whole")
        assert raypipe.run(raypipe.load(str(path)), executor="inline").closed.status == "done"
        self.whole = contents(path.with_suffix(".duckdb"), *TABLES)

    def round(self, name: str, rng: Random) -> None:
        """Run once under fire, and prove what it left."""
        import raypipe
        from raypipe.testing import oracle
        from tests.faults.contents import contents

        path, ended = self.write(name), []
        run = threading.Thread(target=lambda: ended.append(raypipe.run(raypipe.load(str(path)))))
        run.start()
        self._fire(run, rng)
        run.join()
        assert ended, "the run ended by an error: see above"
        (report,) = ended
        assert (report.closed.status, report.closed.failures) == ("done", ()), report.closed
        oracle.check(path)
        assert contents(path.with_suffix(".duckdb"), *TABLES) == self.whole
        self.counts["rounds"] += 1

    def _fire(self, run: threading.Thread, rng: Random) -> None:
        actions = [self._kill_node] * rng.randint(1, KILLS_MAX) + [self._kill_driver]
        rng.shuffle(actions)
        for action in actions:
            run.join(rng.uniform(0.5, 3.0))
            if not run.is_alive():
                return
            action(rng)

    def _kill_node(self, rng: Random) -> None:
        node = rng.choice(sorted(self.cluster.worker_nodes, key=lambda one: one.unique_id))
        self.cluster.remove_node(node, allow_graceful=False)
        self.counts["nodes"] += 1
        self.cluster.add_node(num_cpus=CPUS, memory=NODE_MEMORY_BYTES)

    def _kill_driver(self, rng: Random) -> None:
        """Kill the process of the driver's actor, once it is there."""
        until_s = time.monotonic() + 5
        while time.monotonic() < until_s:
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.name().startswith("ray::DriverActo"):
                        process.kill()
                        self.counts["drivers"] += 1
                        return
            time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the rounds that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--shards", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    asked = parser.parse_args(arguments)
    started_s = time.monotonic()
    with several_nodes([Path.cwd()] * NODES, setup=small_tasks) as (folder, cluster):
        made = Nodes(folder, cluster, asked.shards)
        made.prepare()
        for number in range(asked.rounds):
            print(
                f"round {number + 1} of {asked.rounds}: --rounds 1 --shards {asked.shards} --seed {asked.seed + number}", flush=True
            )
            made.round(f"round-{number}".replace("-", "_"), Random(asked.seed + number))
        told = ", ".join(f"{count} {name}" for name, count in sorted(made.counts.items()))
        print(f"all equal to an untouched run: {told} ({asked.shards} shards each) in {time.monotonic() - started_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
