"""Engines take their memory so that the system gets it back, unless a person has chosen. In a process: they ask once."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from raypipe.core.room import engines_memory

PROGRAM = """\
import raypipe.cli
from raypipe.cli import group

def told(**options):
    import os
    import polars  # puts its own settings before
    import pyarrow
    assert polars.Series([1]).sum() == pyarrow.array([1])[0].as_py()
    print(pyarrow.default_memory_pool().backend_name, os.environ["JE_ARROW_MALLOC_CONF"], os.environ["_RJEM_MALLOC_CONF"])

group.cli = told
raypipe.cli.main()
"""
FREED = """\
import ctypes, os
from pathlib import Path
from raypipe.system_memory import give_back_freed_memory

give_back_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident_kib():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))

libc.free(libc.malloc(30 * 1024**2))  # from then on glibc would keep what is smaller
before = resident_kib()
blocks = [libc.malloc(1024**2) for _ in range(25)]
for block in blocks:
    ctypes.memset(block, 1, 1024**2)
for block in blocks:
    libc.free(block)
print(resident_kib() - before)
"""
USUAL = engines_memory(os.cpu_count() or 1)
CHOSEN = {"ARROW_DEFAULT_MEMORY_POOL": "mimalloc", "JE_ARROW_MALLOC_CONF": "narenas:3", "_RJEM_MALLOC_CONF": "narenas:4"}


@pytest.mark.parametrize(("chosen", "expected"), [({}, USUAL), (CHOSEN, CHOSEN)], ids=["usual", "chosen"])
def test_engines_give_memory_back_unless_their_own_variables_say_otherwise(monkeypatch, chosen, expected):
    for name in USUAL:
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    backend, of_arrow, of_polars = done.stdout.split()
    assert backend == expected["ARROW_DEFAULT_MEMORY_POOL"]
    assert of_arrow == expected["JE_ARROW_MALLOC_CONF"]
    assert of_polars.endswith(expected["_RJEM_MALLOC_CONF"])  # what comes last counts
    assert done.stderr == ""  # where the allocators tell of a setting that they do not know


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no freed memory")
@pytest.mark.parametrize(("variable", "kept_kib"), [(USUAL["MALLOC_TRIM_THRESHOLD_"], 0), ("", 25 * 1024), ("some", 25 * 1024)])
def test_freed_memory_goes_back_to_the_system(monkeypatch, variable, kept_kib):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)  # the process itself is not started with it
    program = f"import os; os.environ['MALLOC_TRIM_THRESHOLD_'] = {variable!r}\n{FREED}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(kept_kib, abs=5 * 1024)


@pytest.mark.parametrize(("cores", "arenas"), [(1, 1), (2, 1), (3, 1), (8, 4), (64, 32)])
def test_arenas_are_as_many_as_half_the_cores_and_at_least_one(cores, arenas):
    found = engines_memory(cores)
    for name in ("JE_ARROW_MALLOC_CONF", "_RJEM_MALLOC_CONF"):
        assert f"narenas:{arenas}" in found[name].split(",")
