"""The failpoint loop: make the n-th hit of every point fail, n = 1, 2, ... until a run passes untouched; print the table.

    python -m tests.faults.loop                                   # inline: some 20 minutes of one core
    python -m tests.faults.loop --executor ray --minutes 150      # needs Ray; each run takes some seconds
    python -m tests.faults.loop --points commit. --actions kill   # a part of it

After every failure the next plain run must end well, the oracle must hold, and tables, ledger, quarantine and coverage must be
those of a run that nothing befell. A cell of the table says how many hits were made to fail so; `-` that the action has no
meaning at the point or the point is not met, `!` that something was wrong, told below the table.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from raypipe.failpoints import ANSWERS, POINTS
from tests.faults.forks import fork_server
from tests.faults.scenes import Stage

ACTIONS = ("kill", "abort", "exit", "raise", "return_lost", "hang")
RAY_ACTIONS = ("kill", "abort", "raise", "return_lost")  # what hangs there is ended by a time limit, which takes a while
ALONE = ("gc.", "cancel.", "commit.after_compaction")  # met in verbs that know no executor
HITS_MAX = 50  # a point that is met more often is met by every heartbeat


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the loop, print its table, and return how many cells are wrong, as an exit code."""
    asked = _asked(arguments)
    give_up_s = time.monotonic() + asked.minutes * 60
    actions = [one for one in (RAY_ACTIONS if asked.executor == "ray" else ACTIONS) if one in asked.actions]
    points = [one for one in POINTS if one.startswith(asked.points) and not (asked.executor == "ray" and one.startswith(ALONE))]
    wrong: list[str] = []
    print(f"{asked.executor:34}" + "".join(f"{one:>12}" for one in actions))
    with contextlib.ExitStack() as stack:
        if asked.executor == "ray":
            from raypipe.testing.local_cluster import LocalCluster

            stack.enter_context(LocalCluster(cpus=2, memory_bytes=1024**3))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raypipe-loop-"))) / "scene"
        folder.mkdir()
        stage = Stage(folder, stack.enter_context(fork_server()), asked.executor)
        stage.set_up()
        for point in points:
            cells = [_cell(stage, point, action, give_up_s, wrong) for action in actions]
            print(f"{point:34}" + "".join(f"{one:>12}" for one in cells), flush=True)
    late = " (time is up: the rest was not played)" if time.monotonic() > give_up_s else ""
    print(*wrong, f"{len(points)} points, {len(wrong)} wrong{late}", sep="\n")
    return min(len(wrong), 100)


def _cell(stage: Stage, point: str, action: str, give_up_s: float, wrong: list[str]) -> str:
    if action == "return_lost" and point not in ANSWERS:
        return "-"
    for nth in range(1, HITS_MAX + 1):
        if time.monotonic() > give_up_s:
            return f"{nth - 1}+"
        try:
            if not stage.play(point, action, nth, whole_oracle=True):
                return str(nth - 1) if nth > 1 else "-"
        except AssertionError as error:
            wrong.append(f"{point}={action}@{nth}: {error}")
            return "!"
    return f"{HITS_MAX}+"


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=("inline", "ray"), default="inline")
    parser.add_argument("--points", default="", help="only points whose names begin so")
    parser.add_argument("--actions", nargs="+", choices=ACTIONS, default=ACTIONS)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no case after this time")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
