"""The public API is one sorted page, complete, and light to import."""

from __future__ import annotations

import subprocess
import sys

import raypipe


def test_the_public_names_are_sorted_and_all_there():
    assert raypipe.__all__ == sorted(raypipe.__all__)
    assert [name for name in raypipe.__all__ if not getattr(raypipe, name, None)] == []


def test_every_public_name_is_documented():
    assert [name for name in raypipe.__all__ if not getattr(raypipe, name).__doc__] == []


def test_importing_raypipe_loads_no_engine():
    code = "import sys, raypipe; print(sorted({'ray', 'polars', 'duckdb', 'pyarrow', 'pydantic', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error():
    assert not hasattr(raypipe, "no_such_name")
