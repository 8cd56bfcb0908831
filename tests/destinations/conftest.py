"""A DuckDB file in a folder of the test, and a look into it without raypipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from raypipe.destinations.duckdb import DuckDBFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flights.duckdb"


@pytest.fixture
def file(path: Path, still_clock: Any) -> DuckDBFile:
    return DuckDBFile(str(path), "flights", clock=still_clock)


@pytest.fixture
def sql(path: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """Run SQL on the file as another program would."""

    def run(statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path)) as connection:
            return connection.execute(statement).fetchall()

    return run
