"""`raypipe.testing` is one sorted page of documented names, and light to import."""

from __future__ import annotations

import subprocess
import sys

from raypipe import testing


def test_the_public_names_are_sorted_there_and_documented():
    assert testing.__all__ == sorted(testing.__all__)
    assert [name for name in testing.__all__ if not getattr(testing, name).__doc__] == []


def test_importing_it_loads_no_engine():
    code = (
        "import sys, raypipe.testing; "
        "print(sorted({'ray', 'polars', 'duckdb', 'pyarrow', 'pydantic', 'click', 'raypipe.launch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_not_there_is_an_attribute_error():
    assert not hasattr(testing, "no_such_name")
