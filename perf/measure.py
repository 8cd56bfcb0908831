"""Runs a command as a whole process tree and measures it: wall, CPU and peak memory (shared pages counted once)."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass

import psutil

SAMPLE_S = 0.05
NOT_AS_USERS = "PYTHONDONTWRITEBYTECODE"  # where it is set, every start compiles what an installed package has compiled


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: str


def measure(command: list[str]) -> Measured:
    """Run a command to its end. Raises RuntimeError with its output when it fails."""
    environment = {name: value for name, value in os.environ.items() if name != NOT_AS_USERS}
    started_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    watched, peak_bytes, cpu_s = psutil.Process(process.pid), 0, 0.0
    while process.poll() is None:
        used_bytes, used_s = _usage(watched)
        peak_bytes, cpu_s = max(peak_bytes, used_bytes), max(cpu_s, used_s)
        time.sleep(SAMPLE_S)
    wall_s = time.perf_counter() - started_s
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Measured(wall_s, cpu_s, peak_bytes, output)


def _usage(root: psutil.Process) -> tuple[int, float]:
    used_bytes, used_s = 0, 0.0
    try:
        for one in [root, *root.children(recursive=True)]:
            used_bytes += one.memory_full_info().pss
            times = one.cpu_times()
            used_s += times.user + times.system
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass
    return used_bytes, used_s
