"""Arrow starts without pandas, and those who want pandas still get it; alone also without numpy.

In processes of their own: what is loaded stays loaded.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import words_of


def test_arrow_takes_python_values_without_loading_pandas() -> None:
    program = (
        "import sys; from raypipe.engine.arrow_start import start_without_pandas; import pyarrow as pa; start_without_pandas();"
        "print(len(pa.array([1, 2])), 'pandas' in sys.modules, len([one for one in sys.meta_path if 'raypipe' in repr(one)]))"
    )
    assert words_of(program) == ["2", "False", "0"]


def test_who_asks_arrow_for_pandas_gets_it_afterwards() -> None:
    program = (
        "from raypipe.engine.arrow_start import start_without_pandas; import pyarrow as pa; start_without_pandas();"
        "print(type(pa.table({'a': [1]}).to_pandas()).__name__); import pandas;"
        "print(pa.array(pandas.Series([1.0, float('nan')])).null_count)"
    )
    assert words_of(program) == ["DataFrame", "1"]


def test_in_a_process_of_raypipes_own_arrow_hands_rows_on_without_loading_numpy() -> None:
    program = (
        "import sys; from types import SimpleNamespace; from raypipe.engine.arrow_start import start_arrow;"
        "start_arrow(SimpleNamespace(transform=()), own_process=True); import duckdb, polars, pyarrow as pa, pyarrow.csv;"
        "rows = polars.from_arrow(pa.table({'a': [1, None, 3]})).to_arrow();"
        "print(duckdb.sql('SELECT sum(a) FROM rows').to_arrow_table().to_pylist()[0].popitem()[1], 'numpy' in sys.modules)"
    )
    assert words_of(program) == ["4", "False"]


def test_arrows_functions_are_all_there_although_they_are_made_late() -> None:
    program = (
        "import subprocess, sys; from types import SimpleNamespace; from raypipe.engine.arrow_start import start_arrow;"
        "start_arrow(SimpleNamespace(transform=()), own_process=True); import pyarrow as pa, pyarrow.compute as pc;"
        "early = len([one for one in vars(pc).values() if hasattr(one, '__arrow_compute_function__')]);"
        "listing = 'import pyarrow.compute as pc; print(*(name for name in dir(pc) if not name.startswith(chr(95))))';"
        "usual = subprocess.run([sys.executable, '-c', listing], capture_output=True, text=True, check=True).stdout.split();"
        "lacking = [name for name in usual if not hasattr(pc, name)];"
        "print(early, len(usual) > 300, lacking, hasattr(pc, 'hash_sum'), hasattr(pc, 'no_such'));"
        "print(pc.and_(pa.array([True]), pa.array([False]))[0], pc.function_registry().get_function('and').name)"
    )
    assert words_of(program) == ["2", "True", "[]", "False", "False", "False", "and"]


CONFIG = """
name: small
time: {column: t, start: 2024-01-01, shard: 1d, end: 2024-01-02}
source: {kind: files, path: a.csv, format: csv, columns: {t: timestamp, x: int64}}
outputs: [{table: rows, rows: all}]
destination: {kind: duckdb, path: out.duckdb}
"""


@pytest.mark.slow
def test_a_program_that_runs_a_pipeline_may_hand_arrays_to_arrow_afterwards(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,x\n2024-01-01T01:00:00,1\n")
    (tmp_path / "small.yaml").write_text(CONFIG)
    run = f"import raypipe; raypipe.run(raypipe.load({str(tmp_path / 'small.yaml')!r}), executor='inline')"
    handed = "import numpy, pyarrow; print(pyarrow.array(numpy.array([1, 2])).to_pylist() == [1, 2])"
    assert words_of(f"{run}; {handed}") == ["True"]
