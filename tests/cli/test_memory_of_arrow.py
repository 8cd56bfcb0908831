"""Arrow takes its memory from the system, which gets it back, unless a person has chosen. In a process: Arrow asks once."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """\
import raypipe.cli
from raypipe.cli import group

def told(**options):
    import pyarrow
    print(pyarrow.default_memory_pool().backend_name)

group.cli = told
raypipe.cli.main()
"""


@pytest.mark.parametrize(("chosen", "expected"), [(None, "system"), ("mimalloc", "mimalloc")])
def test_arrow_takes_memory_of_the_system_unless_its_own_variable_says_otherwise(monkeypatch, chosen, expected):
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    if chosen:
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", chosen)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == f"{expected}\n"
