"""Endings: runs on a local Ray that end in every way there is, after which nothing of them may be left on the machine.

    python -m tests.faults.endings --runs 50 --seed 1     # what a release is held to, some ten minutes

After each run, whatever became of it, no process of it lives on and none of its ports is open; a folder may stay only where the
launcher was killed, and the next run on Ray removes it. In the end the temporary folder is empty, the oracle finds nothing,
and the tables are those of a run in one process that nothing befell.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from raypipe.testing import oracle
from tests.faults.belonging import processes_of
from tests.faults.contents import contents
from tests.faults.storm import Case, events

GONE_WITHIN_S = 180.0  # Ray's agents that are left alone try for a minute to tell a head that is gone, and end then
CODES = {
    "done": {0},
    "failed": {1},
    "interrupted": {130, 0, -2},
    "interrupted_twice": {130, 0, -2},
    "terminated": {143, 0, -15},
    "killed": {-9, 0},
    "driver_killed": {0},
    "guardian_killed": {0, 1},
}
"""How a run may end; 0 also where the signal came too late, the signal itself where it came before anybody listened.
A driver that was killed is replaced by another one, and Ray whose guardian was killed by another Ray; 1 where the run was
just joining that one."""


@dataclass
class Endings:
    """Plays runs in a temporary folder of their own, and looks for what they leave."""

    folder: Path
    temporary: Path
    """The folder that the runs take for temporary files: everything in it is theirs."""
    case: Case
    seconds: float = 10.0
    """How long a run takes that nothing befalls."""
    counts: Counter[str] = field(default_factory=Counter)

    def prepare(self) -> None:
        """Run once in one process, for comparison, and once on Ray, for the time that it takes."""
        assert self._start(self.case.write(self.folder, "whole"), executor="inline").wait() == 0
        started_s = time.monotonic()
        assert self._start(self.case.write(self.folder, "first")).wait() == 0
        self.seconds = time.monotonic() - started_s
        self.require_nothing_left()

    def play(self, ending: str, number: int, rng: Random) -> None:
        """Start a run, let it end so, and look for what it left."""
        path = self._failing() if ending == "failed" else self.case.write(self.folder, f"run-{number}")
        process = self._start(path)
        if ending not in ("done", "failed"):
            self._befall(process, ending, rng.uniform(0.0, 1.0) * self.seconds)
        code = process.wait()
        assert code in CODES[ending], f"{ending}: it ended with {code}, expected {CODES[ending]}"
        left = self.require_nothing_left(but_folders=code == -signal.SIGKILL)
        self.counts[f"{ending}{'' if code or ending in ('done', 'driver_killed', 'guardian_killed') else ' too late'}"] += 1
        self.counts["folders left by a kill"] += len(left)
        if ending != "failed":
            assert self._start(path).wait() == 0
            self.require_nothing_left()
            oracle.check(path)
            assert self._content(path) == self._content(self.folder / "whole.yaml")

    def require_nothing_left(self, *, but_folders: bool = False) -> list[Path]:
        """Raise AssertionError for a process that lives on, and for a file or folder unless a killed launcher left it."""
        give_up_s = time.monotonic() + GONE_WITHIN_S
        while (alive := processes_of(self.temporary)) and time.monotonic() < give_up_s:
            time.sleep(0.2)
        assert alive == [], f"these live on: {[(one.pid, one.name(), one.net_connections()) for one in alive]}"
        left = sorted(self.temporary.iterdir())
        assert left == [] or but_folders, f"these are left: {left}"
        return left

    def _befall(self, process: subprocess.Popen[bytes], ending: str, after_s: float) -> None:
        if ending == "driver_killed":
            self._kill(process, lambda: processes_of(self.temporary, "DriverActor"))
            return
        if ending == "guardian_killed":
            self._kill(process, self._guardians)
            return
        time.sleep(after_s)
        number = {"terminated": signal.SIGTERM, "killed": signal.SIGKILL}.get(ending, signal.SIGINT)
        process.send_signal(number)
        if ending == "interrupted_twice":
            time.sleep(0.2)
            process.send_signal(number)

    def _kill(self, process: subprocess.Popen[bytes], victims: Callable[[], list[psutil.Process]]) -> None:
        """Kill the first process that is found while the run lasts."""
        while process.poll() is None:
            if found := victims():
                with contextlib.suppress(psutil.Error):
                    found[0].kill()
                return
            time.sleep(0.02)

    def _guardians(self) -> list[psutil.Process]:
        """Return the process that keeps the run's Ray, once there is one to be lost."""
        return [one.parent() for one in processes_of(self.temporary, "raylet") if processes_of(self.temporary, "DriverActor")]

    def _start(self, path: Path, *, executor: str = "ray") -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "RAY"))}
        return subprocess.Popen(
            [sys.executable, "-m", "raypipe", "run", str(path), "--executor", executor],
            env={**environment, "TMPDIR": str(self.temporary)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_listen_to_interrupts,
        )

    def _failing(self) -> Path:
        text = self.case.text.replace("outputs:", "quality: {rules: [{name: no, expect: id < 0, otherwise: fail}]}\noutputs:")
        return Case("failing", (), self.case.days, text).write(self.folder, f"failing-{self.counts['failed']}")

    def _content(self, path: Path) -> object:
        return contents(path.with_suffix(".duckdb"), *self.case.tables)


def _listen_to_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background, which ignores it


@contextlib.contextmanager
def endings() -> Iterator[Endings]:
    """Yield the player in folders that are gone afterwards; the temporary one has a short path, for sockets stand in it."""
    with (
        tempfile.TemporaryDirectory(prefix="raypipe-endings-") as folder,
        tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as temporary,
    ):
        yield Endings(Path(folder), Path(temporary), events(Path(folder)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Play as many runs as the arguments ask for, each ending in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    asked = parser.parse_args(arguments)
    print(f"seed {asked.seed}", flush=True)
    rng, started_s = Random(asked.seed), time.monotonic()
    with endings() as made:
        made.prepare()
        for number in range(asked.runs):
            made.play(list(CODES)[number % len(CODES)], number, rng)
            print(f"{number + 1} of {asked.runs}: {dict(made.counts)} in {time.monotonic() - started_s:.0f} s", flush=True)
    print(f"{asked.runs} runs of every ending: no process, port or folder is left, and all tables are right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
