"""Fixtures that load configurations from text: what a person writes, and what comes back."""

from __future__ import annotations

import copy

import pytest
import yaml

from raypipe.config.load import load_pipeline
from raypipe.errors import ConfigurationError

SMALL = {
    "name": "rides",
    "time": {"column": "at", "start": "2024-05-01", "shard": "1d"},
    "source": {"kind": "files", "path": "rides.csv", "columns": {"at": "timestamp", "fare": "float64"}},
    "outputs": [{"table": "rides_clean", "rows": "all"}],
    "destination": {"kind": "duckdb", "path": "rides.duckdb"},
}


@pytest.fixture
def small():
    """Return a small valid document, to be changed."""
    return copy.deepcopy(SMALL)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that loads a document (text or plain data) written to `daily.yaml` in the working folder."""
    monkeypatch.chdir(tmp_path)

    def load_it(document, **options):
        text = document if isinstance(document, str | bytes) else yaml.safe_dump(document, sort_keys=False)
        (tmp_path / "daily.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_pipeline("daily.yaml", **{"environ": {}, **options})

    return load_it


@pytest.fixture
def problems(load):
    """Return a function that gives the problems of a document."""

    def problems_of(document, **options):
        with pytest.raises(ConfigurationError) as caught:
            load(document, **options)
        return list(caught.value.problems)

    return problems_of


@pytest.fixture
def problem(problems):
    """Return a function that gives the only problem of a document."""

    def problem_of(document, **options):
        found = problems(document, **options)
        assert len(found) == 1, found
        return found[0]

    return problem_of
