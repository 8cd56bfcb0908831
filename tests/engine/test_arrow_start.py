"""Arrow starts without pandas, and those who want pandas still get it. In a process of its own: what is loaded stays loaded."""

from __future__ import annotations

import subprocess
import sys


def _said(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_arrow_takes_python_values_without_loading_pandas() -> None:
    program = (
        "import sys; from raypipe.engine.arrow_start import start_without_pandas; import pyarrow as pa; start_without_pandas();"
        "print(len(pa.array([1, 2])), 'pandas' in sys.modules, len([one for one in sys.meta_path if 'raypipe' in repr(one)]))"
    )
    assert _said(program) == ["2", "False", "0"]


def test_who_asks_arrow_for_pandas_gets_it_afterwards() -> None:
    program = (
        "from raypipe.engine.arrow_start import start_without_pandas; import pyarrow as pa; start_without_pandas();"
        "print(type(pa.table({'a': [1]}).to_pandas()).__name__); import pandas;"
        "print(pa.array(pandas.Series([1.0, float('nan')])).null_count)"
    )
    assert _said(program) == ["DataFrame", "1"]
