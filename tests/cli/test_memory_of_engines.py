"""Engines take their memory so that the system gets it back, unless a person has chosen. In a process: they ask once."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """\
import raypipe.cli
from raypipe.cli import group

def told(**options):
    import os
    import polars  # puts its own settings before
    import pyarrow
    print(pyarrow.default_memory_pool().backend_name, os.environ["_RJEM_MALLOC_CONF"].split(",")[-1])

group.cli = told
raypipe.cli.main()
"""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "system muzzy_decay_ms:0"),
        ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc", "_RJEM_MALLOC_CONF": "narenas:4"}, "mimalloc narenas:4"),
    ],
)
def test_engines_give_memory_back_unless_their_own_variables_say_otherwise(monkeypatch, chosen, expected):
    for name in ("ARROW_DEFAULT_MEMORY_POOL", "_RJEM_MALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == f"{expected}\n"
    assert done.stderr == ""  # where Polars' allocator tells of a setting that it does not know
