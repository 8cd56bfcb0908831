"""Ten runs on Ray at once on one machine: none may fail, their tables are those of one run, and they fit in a laptop's memory.

    python -m tests.faults.ten_on_ray                     # a month of the flights, ten times at once: some minutes of two cores
    python -m tests.faults.ten_on_ray --runs 3 --case events

Each run is a process of its own with a destination of its own. The peak is the proportional set size of all that they start.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from raypipe.testing import oracle
from tests.faults.belonging import processes_of
from tests.faults.contents import contents
from tests.faults.storm import Case, events, flights

LAPTOP_BYTES = 16 * 1024**3
GIB = 1024**3
SAMPLE_S = 0.3
CASES = {"flights": flights, "events": events}


@dataclass(slots=True)
class Peaks:
    """The most that was seen at one time."""

    memory_bytes: int = 0
    processes: int = 0
    raylets: int = 0

    def look(self, temporary: Path) -> None:
        """Take note of what runs now."""
        running = processes_of(temporary)
        self.memory_bytes = max(self.memory_bytes, sum(map(_used_bytes, running)))
        self.processes = max(self.processes, len(running))
        self.raylets = max(self.raylets, len(processes_of(temporary, "raylet")))


def _used_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def at_once(case: Case, folder: Path, temporary: Path, names: Sequence[str], executor: str = "ray") -> tuple[float, Peaks]:
    """Start a run for each name and wait for all; return the seconds and the peaks. Raises AssertionError where one fails."""
    started_s, peaks = time.monotonic(), Peaks()
    running = [_start(case.write(folder, name), temporary, executor) for name in names]
    while any(one.poll() is None for one in running):
        peaks.look(temporary)
        time.sleep(SAMPLE_S)
    seconds = time.monotonic() - started_s
    failed = [(one.returncode, (folder / f"{name}.err").read_text()) for one, name in zip(running, names, strict=True)]
    assert not any(code for code, _ in failed), failed
    return seconds, peaks


def _start(path: Path, temporary: Path, executor: str) -> subprocess.Popen[bytes]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "RAY"))}
    with path.with_suffix(".err").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "raypipe", "run", str(path), "--executor", executor],
            env={**own, "TMPDIR": str(temporary)}, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one in one process, one alone on Ray, and all at once; compare, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--case", choices=CASES, default="flights")
    asked = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="raypipe-ten-") as folder,
        tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as temporary,
        contextlib.chdir(folder),
    ):
        place, short = Path(folder), Path(temporary)
        case = CASES[asked.case](place)
        names = [f"run-{number}" for number in range(asked.runs)]
        at_once(case, place, short, ["inline"], "inline")
        for what in (["alone"], names):
            seconds, peaks = at_once(case, place, short, what)
            print(
                f"{len(what)} at once: {seconds:.0f} s, peak {peaks.memory_bytes / GIB:.2f} GiB in {peaks.processes} processes, "
                f"{peaks.raylets} raylet",
                flush=True,
            )
        for name in ("alone", *names):
            oracle.check(place / f"{name}.yaml")
            assert contents(place / f"{name}.duckdb", *case.tables) == contents(place / "inline.duckdb", *case.tables)
        assert processes_of(short) == []
        assert list(short.iterdir()) == []
    assert peaks.raylets == 1
    assert peaks.memory_bytes < LAPTOP_BYTES
    print("none failed, all tables are those of a run in one process, nothing is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
