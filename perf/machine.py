"""What a figure depends on beside the code: the machine, the versions, and a fixed task that shows how steady it is."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from perf.measure import measure

PACKAGES = (
    "raypipe", "ray", "polars", "duckdb", "pyarrow", "pydantic", "dask", "pyspark", "daft", "prefect", "pandas", "numpy",
)  # fmt: skip

# Hashing, sorting and memory traffic in one thread, about a third of a second.
YARDSTICK = """
import hashlib
block = bytes(1 << 20)
for _ in range(150):
    block = hashlib.sha256(block).digest() * (1 << 15)
sorted((i * 2654435761) % 1000003 for i in range(300000))
"""


def yardstick_s() -> float:
    """Run the fixed task as a process of its own and return its wall."""
    return measure([sys.executable, "-S", "-c", YARDSTICK]).wall_s


def versions() -> Mapping[str, str]:
    """Return the versions of Python and of what is installed of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> Mapping[str, str]:
    """Return processor, cores that this process may use, memory and system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": _processor(),
        "cores": str(cores),
        "memory": f"{psutil.virtual_memory().total / 1024**3:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if line.startswith("model name")] \
        if listed.exists() else []  # fmt: skip
    return names[0] if names else platform.processor() or platform.machine()
