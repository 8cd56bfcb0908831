"""Holders: which process owns a run or a file, and whether it is dead, as far as this host can tell."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_START_TOLERANCE_S = 2.0  # start times are derived from the boot time, which drifts a little with the clock


def own_start_s() -> float:
    """Return when this process started, as psutil tells it; where the system says so in a file, without 5 ms to load that."""
    try:
        ticks = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        lines = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
        booted = next(line.split()[1] for line in lines if line.startswith("btime "))
        return int(booted) + int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, LookupError, StopIteration):
        import psutil

        return psutil.Process().create_time()


def is_dead(holder: str) -> bool:
    """Tell whether a holder `host:pid:process start time` was a process of this host that no longer runs.

    False for other hosts and for texts of another form: only what is known for certain is dead.
    """
    host, pid, started_s = _parse(holder)
    if host != socket.gethostname() or pid is None:
        return False
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return started_s is not None and abs(process.create_time() - started_s) > _START_TOLERANCE_S
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def describe_process(pid: int) -> str:
    """Return `process 123 (duckdb flights.duckdb)`, with the command line where it may be seen."""
    import psutil

    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        command = ""
    return f"process {pid} ({command[:200]})" if command else f"process {pid}"


def _parse(holder: str) -> tuple[str, int | None, float | None]:
    host, _, rest = holder.partition(":")
    pid, _, started = rest.partition(":")
    return host, int(pid) if pid.isdecimal() else None, _number(started)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
