"""Runs a command as a whole process tree and measures it: wall, CPU and peak memory (shared pages counted once)."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from raypipe.runtime.shared_session import GUARDIAN

SAMPLE_S = 0.05
REST = 10  # a look at memory is followed by so many times its own duration without one: of a large process it takes 20 ms,
# in which the kernel keeps the process from mapping more; twenty a second made a run of 30 s take 38
SAMPLES_A_SCAN = 4  # looking for new processes reads all of /proc: more often would take time from what is measured
NOT_AS_USERS = "PYTHONDONTWRITEBYTECODE"  # where it is set, every start compiles what an installed package has compiled
OUTPUT_CHARS = 4_000  # of a command that failed: its end says why


class CommandFailed(RuntimeError):
    """A measured command did not end with 0; the text holds the end of its output."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: str = ""


def measure(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    expected: int = 0,
    on_ray: bool = True,
    memory: bool = True,
) -> Measured:
    """Run a command to its end. Raises CommandFailed with its output when it does not end with the expected code.

    To look at its memory takes time from it: without, its peak is 0.
    Where it may run on Ray, the guardian of a shared Ray that starts meanwhile is taken for its own: nobody else is to start one.
    """
    variables = {name: value for name, value in os.environ.items() if name != NOT_AS_USERS} | dict(environment or {})
    with tempfile.TemporaryFile("w+") as output:  # a pipe that nobody empties would hold the command up
        started_s = time.perf_counter()
        process = subprocess.Popen(list(command), stdout=output, stderr=subprocess.STDOUT, text=True, env=variables)
        ended = queue.SimpleQueue[_End]()
        tree = _Tree(process.pid, on_ray=on_ray)  # first: a process that was waited for is unknown
        threading.Thread(target=_wait, args=(process, ended), daemon=True).start()  # it may end between two samples
        end: _End | None = None
        while end is None:
            looked_s = tree.sample(memory=memory)
            with contextlib.suppress(queue.Empty):
                end = ended.get(timeout=max(SAMPLE_S, REST * looked_s))
        output.seek(0)
        text = output.read()
    if process.returncode != expected:
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{text[-OUTPUT_CHARS:]}")
    return Measured(end.at_s - started_s, max(end.cpu_s, tree.cpu_s), tree.peak_bytes, text)


@dataclass(frozen=True, slots=True)
class _End:
    """When a process ended, and what it and the children that it waited for took of the processor."""

    at_s: float
    cpu_s: float


def _wait(process: subprocess.Popen[str], ended: queue.SimpleQueue[_End]) -> None:
    _, status, usage = os.wait4(process.pid, 0)
    at_s = time.perf_counter()
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.put(_End(at_s, usage.ru_utime + usage.ru_stime))


class _Tree:
    """The processes below one, also those whose parent ended meanwhile: whoever was seen once stays watched.

    The guardian of a Ray that runs share is nobody's child: one that was started since is taken for the command's.
    """

    def __init__(self, pid: int, *, on_ray: bool) -> None:
        self._on_ray = on_ray
        self._watched = {pid: psutil.Process(pid)}
        self._others = set(psutil.pids()) - {pid}
        self._cpu_s: dict[int, float] = {}
        self._samples = 0
        self.peak_bytes = 0

    @property
    def cpu_s(self) -> float:
        """User and system seconds of all processes, as last seen."""
        return sum(self._cpu_s.values())

    def sample(self, *, memory: bool) -> float:
        """Look at every process once, now and then for new ones first; return how long that took, in seconds."""
        started_s = time.perf_counter()
        if self._samples % SAMPLES_A_SCAN == 0:
            self._scan()
        self._samples += 1
        watched = list(self._watched.values())
        self.peak_bytes = max(self.peak_bytes, sum(self._used_bytes(one, memory=memory) for one in watched))
        return time.perf_counter() - started_s

    def _scan(self) -> None:
        parents = _parents()
        for pid in sorted(parents):  # children have greater numbers than their parents, nearly always
            if pid not in self._watched and (parents[pid] in self._watched or self._is_guardian(pid)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._watched[pid] = psutil.Process(pid)

    def _is_guardian(self, pid: int) -> bool:
        if not self._on_ray or pid in self._others:
            return False
        with contextlib.suppress(psutil.Error):
            if GUARDIAN in psutil.Process(pid).cmdline():
                return True
            self._others.add(pid)
        return False

    def _used_bytes(self, one: psutil.Process, *, memory: bool) -> int:
        try:
            times = one.cpu_times()
            self._cpu_s[one.pid] = times.user + times.system
            return int(one.memory_full_info().pss) if memory else 0
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return 0


def _parents() -> dict[int, int]:
    """Return the parent of every process."""
    found = {}
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found[one.pid] = one.ppid()
    return found
