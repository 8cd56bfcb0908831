"""The storm: runs that are killed, stopped, frozen and raced at random moments, each finished by a plain run and proven.

    python -m tests.faults.storm --kills 200 --seed 1 --minutes 60     # an hour of one core
    python -m tests.faults.storm --kills 20 --ray 20                   # all of them on Ray: launcher, driver, worker, raylet
    python -m tests.faults.storm --kills 0 --together 20               # ten runs at once, twenty times over
    python -m tests.faults.storm --seed 1 --round 17                   # replays the choices of one round

A round takes an empty destination, made-up events or the flights, and up to four kills: SIGKILL, SIGTERM, SIGINT, or SIGSTOP
with another run beside and SIGCONT afterwards. After every kill the laws of the ledger and the digests of all tables must
hold; after its last run the oracle, and all must be equal to a run that nothing befell. It prints a line every 20 kills.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from raypipe import launch
from raypipe.testing import oracle
from tests.faults import together
from tests.faults.belonging import processes_of
from tests.faults.contents import contents
from tests.faults.forks import ROOT, Ended, Process, Server, fork_server

KILLS_A_ROUND_MAX = 4
FLIGHTS_EVERY = 4  # rounds: they read a file of 336,776 lines each time
LINE_EVERY = 20
FROZEN_S = 3.0  # a frozen run may hold the destination: others wait for it a minute
SIGNALS = {"SIGKILL": 6, "SIGTERM": 2, "SIGINT": 2, "SIGSTOP": 2}
TARGETS = ("launcher", "driver", "worker", "raylet")
ENDS = {"SIGKILL": {-9, 0}, "SIGTERM": {143, -15, 0}, "SIGINT": {130, -2, 0}, "SIGSTOP": {0}}
"""How a run may end, by signal; 0 when it came too late, the signal itself when it came before anybody listened."""
RAY_ENDS = {0, 1, -9}
"""On Ray it may also have been another process of the run: the run went on, or said that it could not."""
HASTE = """
from raypipe.core import grouping
from raypipe.destinations import file_claims
grouping.ROWS_MIN = 200
file_claims.CLAIM_LIMIT_S = 0.5  # of a frozen run
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A pipeline, and what a run of it leaves that nothing befell."""

    name: str
    tables: tuple[str, ...]
    days: tuple[str, str]
    """A range for backfills."""
    text: str
    """The pipeline; NAME stands for the destination's."""

    def write(self, folder: Path, name: str) -> Path:
        """Write the pipeline with a destination of this name."""
        path = folder / f"{name}.yaml"
        path.write_text(self.text.replace("NAME", name))
        return path


@dataclass
class Storm:
    """Plays rounds and counts."""

    folder: Path
    temporary: Path
    """What the runs take for temporary files: their Ray is in it, and shared with nobody else."""
    server: Server
    seed: int
    rays: int = 0
    """Kills that are still to be made on Ray."""
    counts: Counter[str] = field(default_factory=Counter)
    whole: dict[str, tuple[float, list[list[tuple[object, ...]]]]] = field(default_factory=dict)
    """By case, how long a run takes and what it leaves."""

    def prepare(self, cases: Sequence[Case]) -> None:
        """Run each case once, untouched."""
        for case in cases:
            path = case.write(self.folder, f"{case.name}-whole")
            started_s = time.monotonic()
            _well(self._start(path, "run").wait())
            seconds = time.monotonic() - started_s
            oracle.check(path)
            self.whole[case.name] = (seconds, contents(path.with_suffix(".duckdb"), *case.tables))

    def round(self, number: int, case: Case, kills_max: int) -> int:
        """Play one round; return its kills."""
        rng = Random(f"{self.seed}:{number}")
        path = case.write(self.folder, f"{case.name}-{number}")
        kills = rng.randint(1, min(KILLS_A_ROUND_MAX, kills_max))
        for _ in range(kills):
            if self.rays:
                self.rays -= 1
                self._kill_on_ray(rng, path, self.whole[case.name][0])
            else:
                self._kill(rng, path, case)
            wrong = [one for one in launch.verify(launch.load(str(path))) if not one.ok]
            assert wrong == [], wrong
        if rng.random() < 0.3:
            _well(self.server.cli("gc", str(path), cwd=self.folder).wait())
        _well(self._start(path, "run").wait())
        oracle.check(path)
        assert contents(path.with_suffix(".duckdb"), *case.tables) == self.whole[case.name][1]
        self.counts["rounds"] += 1
        return kills

    def _kill(self, rng: Random, path: Path, case: Case) -> None:
        name = rng.choices(list(SIGNALS), list(SIGNALS.values()))[0]
        begun = path.with_suffix(".duckdb").exists()
        verb = ["backfill", "--start", case.days[0], "--end", case.days[1]] if begun and rng.random() < 0.3 else ["run"]
        process = self._start(path, *verb)
        time.sleep(rng.uniform(0.05, 1.0) * self.whole[case.name][0])
        process.signal(getattr(signal, name))
        if name == "SIGSTOP":
            beside = self._start(path, "run")
            time.sleep(rng.uniform(0.1, FROZEN_S))
            process.signal(signal.SIGCONT)
            _well(beside.wait())
        ended = process.wait()
        assert ended.code in ENDS[name], f"{name}: it ended with {ended.code}: {ended.err}"
        self.counts[name] += 1

    def _kill_on_ray(self, rng: Random, path: Path, seconds: float) -> None:
        target = rng.choice(TARGETS)
        process = self._start(path, "run", executor="ray")
        victim = _victim(process, self.temporary, target, rng.uniform(0.05, 1.0) * seconds)
        if victim is not None:
            with contextlib.suppress(psutil.Error):
                victim.kill()
        ended = process.wait()
        assert ended.code in RAY_ENDS, f"{target} of Ray: it ended with {ended.code}: {ended.err}"
        self.counts[f"Ray {target}" if victim is not None else "Ray too late"] += 1

    def _start(self, path: Path, verb: str, *options: str, executor: str = "inline") -> Process:
        return self.server.cli(
            verb, str(path), "--executor", executor, *options, cwd=self.folder, before=HASTE, TMPDIR=str(self.temporary)
        )


def _victim(process: Process, temporary: Path, target: str, wait_s: float) -> psutil.Process | None:
    """Wait for a process of the run on Ray, then some time more; None when the run was over before."""
    launcher = psutil.Process(process.pid)
    marks = {"driver": "DriverActor", "worker": "run_", "raylet": "raylet"}
    while launcher.is_running() and launcher.status() != psutil.STATUS_ZOMBIE:
        if processes_of(temporary, "DriverActor"):
            time.sleep(wait_s)
            if target == "launcher":
                return launcher
            if named := processes_of(temporary, marks[target]):
                return named[0]
        time.sleep(0.02)
    return None


def _well(ended: Ended) -> None:
    assert ended.code == 0, f"it ended with {ended.code}: {ended.err}"


# ---- what is run ------------------------------------------------------------------------------------------


def events(folder: Path) -> Case:
    """Made-up events in three files."""
    together.write(folder)
    return Case("events", ("clean", "daily"), ("2026-01-03", "2026-01-08"), together.CONFIG)


def flights(folder: Path) -> Case:
    """A month of the flights of 2013, as the README runs them."""
    text = (ROOT / "configs" / "flights.yaml").read_text()
    for old, new in (("end: 2014-01-01", "end: 2013-02-01"), ("flights.duckdb", "NAME.duckdb")):
        assert old in text
        text = text.replace(old, new)
    return Case("flights", ("hourly_delays", "daily_airports", "flights_clean"), ("2013-01-10", "2013-01-20"), text)


@contextlib.contextmanager
def storm(seed: int, rays: int = 0) -> Iterator[Storm]:
    """Yield a storm in a folder that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="raypipe-storm-") as folder,
        tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as temporary,
        fork_server() as server,
    ):
        yield Storm(Path(folder), Path(temporary), server, seed, rays)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the storm that the arguments ask for."""
    asked = _asked(arguments)
    print(f"seed {asked.seed}", flush=True)
    started_s = time.monotonic()
    kills = number = 0
    with storm(asked.seed, asked.ray) as made:
        cases = [make(made.folder) for make in (events, flights) if make.__name__ in asked.cases]
        made.prepare(cases if asked.kills else [])
        late = False
        while kills < asked.kills and not late:
            number = asked.round if asked.round is not None else number + 1
            case = cases[-1] if number % FLIGHTS_EVERY == 0 else cases[0]
            try:
                more = made.round(number, case, asked.kills - kills)
            except BaseException:
                print(f"wrong: replay with --seed {asked.seed} --round {number}", flush=True)
                raise
            if (kills + more) // LINE_EVERY > kills // LINE_EVERY:
                print(_line(kills + more, made, started_s), flush=True)
            kills += more
            late = time.monotonic() - started_s > asked.minutes * 60
            if asked.round is not None:
                break
        _play_together(made, asked.together, asked.seed, started_s + asked.minutes * 60)
        print(
            _line(kills, made, started_s) + (": time is up" if kills < asked.kills and late else ": all equal to an unkilled run")
        )
    return 0


def _play_together(made: Storm, times: int, seed: int, until_s: float) -> None:
    if not times:
        return
    together.write(made.folder)
    together.run_all(made.server, made.folder, "serial", together.windows(Random(0))[:1])
    for time_ in range(times):
        if time.monotonic() > until_s:
            print("time is up")
            return
        asked = together.windows(Random(f"{seed}:{time_}"))
        ended = together.run_all(made.server, made.folder, f"together-{time_}", asked)
        together.check(made.folder, f"together-{time_}", "serial", ended)
        print(f"{together.RUNS} runs at once, {time_ + 1} of {times}: equal to the serial result, no shard done twice", flush=True)


def _line(kills: int, made: Storm, started_s: float) -> str:
    told = ", ".join(f"{count} {name}" for name, count in sorted(made.counts.items()))
    return f"{kills} kills ({told}) in {time.monotonic() - started_s:.0f} s"


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after this time")
    parser.add_argument("--ray", type=int, default=0, help="how many of the kills are made on Ray")
    parser.add_argument("--together", type=int, default=0, help="how often ten runs are started at once")
    parser.add_argument("--round", type=int, help="play this round alone")
    parser.add_argument("--cases", nargs="+", choices=("events", "flights"), default=("events", "flights"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
